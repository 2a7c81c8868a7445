//! What happened before anybody looked: the last five minutes from the store.

use std::collections::HashMap;
use std::sync::Arc;

use insights_engine::Result;
use insights_engine::id::Stream;
use insights_engine::query::{Field, ScanColumn, ScanRequest, ScanVector};
use insights_engine::schema::{NULL_CODE, stream};
use insights_engine::time::{TimeRange, TimestampUs};

use super::Hasher;
use super::feed::{Feed, second_of};
use super::ring::{AHEAD_S, Ring};
use crate::auth::ReadScope;
use crate::report::app_metrics::{ERRORS, REQUESTS};
use crate::report::fields::{column, identity, is_one_of};
use crate::store::Asking;

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
    let window = {
        let mut state = feed.state.lock();
        let room = hasher.room.clone();
        state.ring = Ring::new(now_s, room);
        state.seeded = [asking.lsn(scope, Stream::Events)?, asking.lsn(scope, Stream::Metrics)?];
        let us = |at_s: i64| TimestampUs(at_s.saturating_mul(1_000_000));
        TimeRange { start: us(state.ring.first_s()), end: us(now_s + AHEAD_S + 1) }
    };
    let events = events(asking, scope, window)?;
    let points = points(asking, scope, window)?;
    let mut state = feed.state.lock();
    for (at_s, count) in events.counts {
        state.ring.add_events(at_s, count);
    }
    for (organization, who, at_s) in events.last_seen {
        state.ring.see(hasher.identity(&organization, who.as_bytes()), at_s);
    }
    for (at_s, (requests, errors)) in points {
        state.ring.add_requests(at_s, requests);
        state.ring.add_errors(at_s, errors);
    }
    state.ring.publish();
    Ok(())
}

/// Events by second, and of everybody the second of the last one.
struct Events {
    counts: HashMap<i64, u64>,
    last_seen: Vec<(Arc<str>, Arc<str>, i64)>,
}

fn events(asking: &Asking, scope: &ReadScope, window: TimeRange) -> Result<Events> {
    let mut counts: HashMap<i64, u64> = HashMap::new();
    let mut last: HashMap<(u32, u32), i64> = HashMap::new();
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
            if *who != NULL_CODE {
                let last = last.entry((*tenant, *who)).or_insert(at_s);
                *last = at_s.max(*last);
            }
        }
        Ok(())
    })?;
    let text = |field: usize, code: u32| {
        let code = usize::try_from(code).unwrap_or(usize::MAX);
        end.names.get(field).and_then(|names| names.get(code)).cloned().unwrap_or_default()
    };
    let last_seen = last.into_iter().map(|((tenant, who), at_s)| (text(1, tenant), text(2, who), at_s));
    Ok(Events { counts, last_seen: last_seen.collect() })
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
