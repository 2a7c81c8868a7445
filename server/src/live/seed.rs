//! What happened before anybody looked: the last five minutes from the store.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use insights_engine::Result;
use insights_engine::id::Stream;
use insights_engine::query::{Field, ScanColumn, ScanRequest, ScanVector};
use insights_engine::schema::{NULL_CODE, stream};
use insights_engine::time::{TimeRange, TimestampUs};

use super::feed::{Feed, second_of};
use super::ring::{AHEAD_S, Ring};
use super::{Hasher, IDENTITIES_MAX};
use crate::auth::ReadScope;
use crate::report::app_metrics::{ERRORS, REQUESTS};
use crate::report::fields::{column, identity, is_one_of};
use crate::store::Asking;

/// Identities that are put into the ring while it is held.
const SEEN_AT_ONCE: usize = 1_000;

/// Fills the ring of a feed with what the store has, and lets it take what comes from then on.
///
/// The moment of the store is taken while the ring is held: rows that become readable after it wait for the ring, and
/// come with a later frame than the moment's; those before it are dropped when they are told. So no row is missed and
/// none counts twice, and rows are taken in while the store is read.
///
/// # Errors
///
/// What the store says; the feed is seeded anew then.
pub(super) fn seed(
    asking: &Asking,
    scope: &ReadScope,
    feed: &Feed,
    now_s: i64,
    hasher: &Hasher,
) -> Result<()> {
    let (filling, window) = {
        let mut state = feed.state.lock();
        state.ring = Ring::new(now_s, hasher.room.clone());
        state.fillings += 1;
        state.seeded = [asking.lsn(scope, Stream::Events)?, asking.lsn(scope, Stream::Metrics)?];
        let us = |at_s: i64| TimestampUs(at_s.saturating_mul(1_000_000));
        let window = TimeRange { start: us(state.ring.first_s()), end: us(now_s + AHEAD_S + 1) };
        (state.fillings, window)
    };
    let events = events(asking, scope, window)?;
    let points = points(asking, scope, window)?;
    let fill = |with: &mut dyn FnMut(&mut Ring)| {
        let mut state = feed.state.lock();
        // Whoever began this has left, and another look began anew.
        if state.fillings == filling {
            with(&mut state.ring);
        }
    };
    fill(&mut |ring| {
        for (at_s, count) in &events.counts {
            ring.add_events(*at_s, *count);
        }
        for (at_s, (requests, errors)) in &points {
            ring.add_requests(*at_s, *requests);
            ring.add_errors(*at_s, *errors);
        }
        if events.is_crowded {
            ring.miss_somebody();
        }
    });
    // A few at a time: the thread that acknowledges appends waits for the ring, too.
    for some in events.last_seen.chunks(SEEN_AT_ONCE) {
        fill(&mut |ring| {
            for (organization, who, at_s) in some {
                ring.see(hasher.identity(organization, who.as_bytes()), *at_s);
            }
        });
    }
    fill(&mut |ring| {
        ring.publish();
    });
    Ok(())
}

/// Events by second, and of everybody the second of the last one.
struct Events {
    counts: HashMap<i64, u64>,
    last_seen: Vec<(Arc<str>, Arc<str>, i64)>,
    /// There were more than are remembered.
    is_crowded: bool,
}

fn events(asking: &Asking, scope: &ReadScope, window: TimeRange) -> Result<Events> {
    let mut counts: HashMap<i64, u64> = HashMap::new();
    let mut last: HashMap<(u32, u32), i64> = HashMap::new();
    let mut is_crowded = false;
    let fields = vec![column(&stream::TIME), Field::Tenant, identity()];
    let request = ScanRequest { fields, ..scope.scan_request(Stream::Events, window) };
    let end = asking.scan(scope, request, &mut |vector: &ScanVector| {
        let [ScanColumn::I64(times, _), ScanColumn::Codes(tenants), ScanColumn::Codes(who)] =
            vector.columns.as_slice()
        else {
            return Ok(());
        };
        for ((at, tenant), who) in times.iter().zip(tenants).zip(who) {
            let at_s = second_of(*at);
            *counts.entry(at_s).or_default() += 1;
            if *who == NULL_CODE {
                continue;
            }
            let has_room = last.len() < IDENTITIES_MAX;
            match last.entry((*tenant, *who)) {
                Entry::Occupied(mut last) => *last.get_mut() = at_s.max(*last.get()),
                Entry::Vacant(place) if has_room => drop(place.insert(at_s)),
                Entry::Vacant(_) => is_crowded = true,
            }
        }
        Ok(())
    })?;
    let text = |field: usize, code: u32| {
        let code = usize::try_from(code).unwrap_or(usize::MAX);
        end.names.get(field).and_then(|names| names.get(code)).cloned().unwrap_or_default()
    };
    let last_seen = last.into_iter().map(|((tenant, who), at_s)| (text(1, tenant), text(2, who), at_s));
    Ok(Events { counts, last_seen: last_seen.collect(), is_crowded })
}

/// Requests and errors by second.
fn points(asking: &Asking, scope: &ReadScope, window: TimeRange) -> Result<HashMap<i64, (f64, f64)>> {
    // Which code is which name is known at the end alone.
    let mut sums: HashMap<(u32, i64), f64> = HashMap::new();
    let request = ScanRequest {
        fields: vec![column(&stream::TIME), column(&stream::NAME), column(&stream::VALUE)],
        filter: is_one_of(&stream::NAME, &[REQUESTS, ERRORS]),
        ..scope.scan_request(Stream::Metrics, window)
    };
    let end = asking.scan(scope, request, &mut |vector: &ScanVector| {
        let [ScanColumn::I64(times, _), ScanColumn::Codes(names), ScanColumn::F64(values, _)] =
            vector.columns.as_slice()
        else {
            return Ok(());
        };
        for ((at, name), value) in times.iter().zip(names).zip(values) {
            *sums.entry((*name, second_of(*at))).or_default() += value;
        }
        Ok(())
    })?;
    let mut points: HashMap<i64, (f64, f64)> = HashMap::new();
    for ((name, at_s), sum) in sums {
        let name = usize::try_from(name).ok().and_then(|code| end.names.get(1)?.get(code));
        let (requests, errors) = points.entry(at_s).or_default();
        match name {
            Some(name) if &**name == REQUESTS => *requests += sum,
            Some(_) => *errors += sum,
            None => {}
        }
    }
    Ok(points)
}
