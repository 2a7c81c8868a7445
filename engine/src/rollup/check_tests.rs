//! What `verify` finds in cells of all tenants together, and what an erasure leaves of them.

use std::sync::Arc;
use std::time::Duration;

use super::super::cells_decode::decode;
use super::super::cells_format::encode;
use super::super::{Kept, RollupDefinition, TierAggregates};
use super::*;
use crate::append::Append;
use crate::catalog::erasure::EraseTarget;
use crate::catalog::{RetentionDocument, StreamRetention};
use crate::codes::Tenants;
use crate::compaction::Effort;
use crate::disk::Disk;
use crate::erasure::testing::{NOW, Store, one, rewrite_cells, tenant};
use crate::id::Stream;
use crate::inspect::{Inspection, Level};
use crate::part::Part;
use crate::probes::{Probe, encode_day, encode_mark};
use crate::query::{Budget, Filter, ProbeAnswer, ProbeRequest};
use crate::rollup::Tier;
use crate::schema::{BatchBuilder, stream};
use crate::time::{DAY_US, TimeRange, TimestampUs};

const BY_APP: u8 = 9;
const MINUTE: i64 = 60_000_000;
/// The day of all points.
const DAY: i64 = NOW.0 / DAY_US - 1;

fn limits(raw_days: u32) -> RetentionDocument {
    let metrics = StreamRetention { raw_days: Some(raw_days), ..StreamRetention::FOREVER };
    RetentionDocument { metrics, ..RetentionDocument::default() }
}

/// A day of metrics of two tenants with cells: `acme` has two applications and probes of one, `beta` has one
/// application and never a probe. `is_expired`: the cells alone are left.
fn store(is_expired: bool) -> Store {
    let by_app = RollupDefinition {
        id: BY_APP,
        stream: Stream::Metrics,
        filter: Filter::all(),
        keys: vec![Field::Column(stream::APP_ID.id)],
        tiers: Tier::ALL.map(|tier| TierAggregates { tier, aggregates: Vec::new() }).to_vec(),
        priority: 1,
        kept: Kept::Together,
    };
    let store = Store::with(|config| {
        config.retention = limits(30);
        config.rollups = vec![by_app];
    });
    for name in ["acme", "beta"] {
        let mut batch = BatchBuilder::new(tenant(name), Stream::Metrics);
        for row in 0..40 {
            let is_acme = name == "acme";
            batch
                .i64(&stream::TIME, DAY * DAY_US + row * MINUTE)
                .str(&stream::USER_ID, Some("ann"))
                .str(&stream::APP_ID, Some(if is_acme && row % 2 == 0 { "shop" } else { "blog" }))
                .str(&stream::NAME, Some(if is_acme && row % 4 == 0 { "uptime" } else { "cpu" }))
                .f64(&stream::VALUE, 1.0);
            batch.finish_row();
        }
        store.append(batch.build());
    }
    store.flush();
    store.clock.advance(Duration::from_hours(1));
    assert!(store.engine.compact(Effort::Full).unwrap().jobs > 0);
    if is_expired {
        store.clock.advance(Duration::from_hours(48));
        for name in ["acme", "beta"] {
            store.engine.set_retention(&tenant(name), Some(limits(1))).unwrap();
        }
        store.engine.enforce_retention(false).unwrap();
        assert_eq!(store.engine.stats().segments, 0);
    }
    store
}

fn files(store: &Store) -> Vec<Arc<CellFile>> {
    let tables = &store.engine.core().tables;
    let beside = tables.segments().iter().flat_map(|s| s.cells.clone()).collect::<Vec<_>>();
    beside.into_iter().chain(tables.remains().iter().flat_map(|r| r.cells().to_vec())).collect()
}

/// Writes the blobs of a definition of all tenants anew as `change` makes them, checksums and all.
fn forge(store: &Store, of: u8, change: &dyn Fn(&CellFile, &[u8]) -> Vec<u8>) {
    let written = rewrite_cells(store, &files(store), &|file, tenant, id, blob| {
        ((tenant, id) == (ALL_TENANTS, of)).then(|| change(file, blob))
    });
    assert!(written > 0, "a blob of {of}");
}

/// What a deep verification finds of cells.
fn verify(store: &Store) -> Vec<String> {
    let disk: Arc<dyn Disk> = Arc::new(store.disk.clone());
    let found = Inspection::open(&disk).unwrap().verify(Level::Deep, &store.config.rollups).unwrap().findings;
    found.into_iter().map(|finding| format!("{}: {}", finding.file.display(), finding.detail)).collect()
}

fn check_named(store: &Store, says: &str) {
    let found = verify(store);
    assert!(!found.is_empty(), "{says}");
    assert!(found.iter().all(|f| f.contains("cells") && f.contains(says)), "{says}: {found:?}");
}

#[test]
fn a_tenants_number_in_cells_of_all_is_checked_with_its_codes() {
    for is_expired in [false, true] {
        assert_eq!(verify(&store(is_expired)), Vec::<String>::new());
        let number = |store: &Store, name| store.engine.core().catalog.number_of(&tenant(name)).unwrap().0;
        let renumbered = |from: &'static str, to: Option<&'static str>| {
            let store = store(is_expired);
            let (from, to) = (number(&store, from), to.map_or(7_777, |to| number(&store, to)));
            forge(&store, BY_APP, &|file, blob| {
                let layout = file.layout_of(BY_APP).unwrap();
                let mut cells = decode(blob, layout).unwrap();
                let Some(KeyColumn::Codes(numbers)) = cells.keys.last_mut() else { panic!("numbers") };
                assert!(numbers.contains(&from));
                numbers.iter_mut().filter(|number| **number == from).for_each(|number| *number = to);
                encode(&cells, layout)
            });
            store
        };
        check_named(&renumbered("beta", None), "a tenant that the dictionary does not have");
        // The second application is one that the other tenant does not have.
        check_named(&renumbered("acme", Some("beta")), "a code that the dictionary does not have");
    }
}

#[test]
fn the_mark_of_all_tenants_probes_is_checked_with_what_they_have() {
    let day = i32::try_from(DAY).unwrap();
    let probe = Probe { at: TimestampUs(DAY * DAY_US), up: true, maintenance: false };
    let says_none = "a mark of all tenants' probes that is none";
    for (mark, says) in [
        (encode_mark(day, false), "a mark of all tenants' probes that is not what they have"),
        (encode_mark(day + 1, true), "cells of another day"),
        (encode_day(day, &[(0, vec![probe])]), says_none),
        (encode_day(day, &[(NULL_CODE, vec![probe])]), says_none),
    ] {
        let store = store(true);
        forge(&store, PROBES, &|_, _| mark.clone());
        check_named(&store, says);
    }
}

fn probes(store: &Store, name: &str) -> ProbeAnswer {
    let window = TimeRange { start: TimestampUs(DAY * DAY_US), end: TimestampUs((DAY + 1) * DAY_US) };
    let budget = Budget::default();
    let request = ProbeRequest { scope: one(name), window, app: None, budget, allow_partial: false };
    store.engine.view().probes(&request).unwrap()
}

#[test]
fn an_erasure_leaves_a_mark_that_is_true_of_the_others() {
    let store = store(true);
    let before = probes(&store, "acme");
    assert_eq!((before.apps.len(), before.expired), (1, None));
    let erase = |target| {
        store.engine.erase(target, Append::default()).unwrap();
        store.engine.run_erasures().unwrap();
        assert_eq!(verify(&store), Vec::<String>::new());
        // That nobody of them was up is known without rows.
        let others = probes(&store, "beta");
        assert_eq!((others.apps.len(), others.expired), (0, None));
    };
    let (user, credential) = ("ann".to_owned(), String::new());
    erase(EraseTarget::User { tenant: tenant("acme"), user, credential });
    assert_eq!(probes(&store, "acme").apps, before.apps, "probes are of no user");
    erase(EraseTarget::Tenant(tenant("acme")));
    let marks: Vec<_> = files(&store).iter().filter_map(|f| f.blob(ALL_TENANTS, PROBES).unwrap()).collect();
    assert_eq!(marks.len(), 1);
    assert!(!decode_mark(&marks[0]).unwrap().1);
}
