//! Cells as bytes, and cells of a whole engine.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;

use super::cells_decode::{decode, decode_within};
use super::cells_format::{CELLS_MAX, Layout, VALUES_MAX, encode};
use super::cells_memory::{MEMORY_BYTES_MAX, to_decode};
use super::*;
use crate::append::Append;
use crate::clock::ManualClock;
use crate::compaction::Effort;
use crate::config::Config;
use crate::disk::sim::SimDisk;
use crate::engine::Engine;
use crate::id::{Stream, TenantId};
use crate::manifest::FileKind;
use crate::query::{
    Aggregate, Budget, Field, Filter, GroupBy, KeyValue, Latest, Literal, Op, Query, Scope, Sum,
};
use crate::schema::stream::{APP_ID, EVENT_DATA, EVENT_TYPE, SESSION_ID, TIME, USER_ID, VALUE};
use crate::schema::{BatchBuilder, IdentityKind, NULL_CODE};
use crate::sorted_file::MemoryBytes;
use crate::time::{DAY_US, TimeRange, TimestampUs};

const DAY: i32 = 19_800;

fn column(def: &crate::schema::ColumnDef) -> Field {
    Field::Column(def.id)
}

fn identity() -> Field {
    Field::FirstOf(vec![column(&USER_ID), column(&SESSION_ID)])
}

/// Every kind of key and state; its aggregates are of two streams, which bytes do not mind.
fn everything() -> RollupDefinition {
    let value = || column(&VALUE);
    let aggregates = vec![
        Aggregate::Sum(value()),
        Aggregate::Quantile(value(), 0.5),
        Aggregate::Min(value()),
        Aggregate::Max(value()),
        Aggregate::Last(value()),
        Aggregate::CountIf(Box::new(Filter::all())),
        Aggregate::Distinct(identity()),
    ];
    RollupDefinition {
        id: 3,
        stream: Stream::Events,
        filter: Filter::all(),
        keys: vec![column(&EVENT_TYPE), Field::Path(EVENT_DATA.id, vec!["a".to_owned()])],
        tiers: vec![TierAggregates { tier: Tier::Hour, aggregates }],
        priority: 0,
        kept: Kept::Always,
    }
}

fn layout(definition: &RollupDefinition) -> Layout<'_> {
    Layout { definition, tier: Tier::Hour, day: DAY }
}

fn value() -> impl Strategy<Value = KeyValue> {
    prop_oneof![
        any::<bool>().prop_map(KeyValue::Bool),
        any::<i64>().prop_map(KeyValue::I64),
        (1_u64 << 63..).prop_map(KeyValue::U64),
        any::<u64>().prop_map(KeyValue::F64),
        "[a-c]{0,3}".prop_map(|text| KeyValue::Str(text.as_str().into())),
    ]
}

fn histogram() -> impl Strategy<Value = Histogram> {
    prop::collection::vec(select(vec![0.0, 1.5, -2.0, 1e300, 5e-324, 1000.0]), 0..6).prop_map(|values| {
        let mut histogram = Histogram::new();
        for value in values {
            histogram.record(value);
        }
        histogram
    })
}

/// (slots and rows, values, sets) of each series, and the keys.
fn cells() -> impl Strategy<Value = Cells> {
    let cell =
        (1_u64..9, any::<f64>(), histogram(), prop::collection::btree_set(0_u32..3_000, 0..80), 0..9_u64);
    let series = prop::collection::btree_map(0_u8..24, cell, 1..5);
    let keyed = (series, prop::option::of(0_u32..50), prop::option::of(value()));
    prop::collection::vec(keyed, 0..6).prop_map(|list| {
        let mut values: Vec<KeyValue> = list.iter().filter_map(|(.., value)| value.clone()).collect();
        values.sort();
        values.dedup();
        let place =
            |value: &KeyValue| u32::try_from(values.iter().position(|v| v == value).unwrap()).unwrap();
        let places = list.iter().map(|(.., value)| value.as_ref().map_or(NULL_CODE, place)).collect();
        let mut cells = Cells {
            keys: vec![
                KeyColumn::Codes(list.iter().map(|(_, code, _)| code.unwrap_or(NULL_CODE)).collect()),
                KeyColumn::Values { places, values: values.clone() },
            ],
            ..Cells::default()
        };
        let (mut users, mut sessions) = (SetList::new(Some(IdentityKind::User)), SetList::new(None));
        let (mut sums, mut latest, mut hits) = (vec![], vec![], vec![]);
        let mut histograms = HistogramList::default();
        let (mut least, mut most) = (vec![], vec![]);
        for (series, ..) in &list {
            for (slot, (rows, number, histogram, set, n)) in series {
                cells.slots.push(*slot);
                cells.counts.push(*rows);
                sums.push((Sum::from_parts(*number, number * 1e-17), *n));
                least.push(histogram.min().unwrap_or(f64::NAN));
                most.push(if *n == 0 { f64::INFINITY } else { histogram.max().unwrap_or(f64::NAN) });
                histograms.push(histogram);
                hits.push(*n);
                let time = i64::from(DAY) * DAY_US + i64::from(*slot) * Tier::Hour.width_us() + 77;
                latest.push((*n > 3).then_some(Latest { time, lsn: *n, seq: 1 << n, value: *number }));
                users.push_codes(&set.iter().copied().collect::<Vec<_>>());
                sessions.push_hashes(&set.iter().map(|c| u128::from(*c) << 90).collect::<Vec<_>>());
            }
            cells.ends.push(u32::try_from(cells.slots.len()).unwrap());
        }
        cells.states = vec![
            StateColumn::Sum(sums),
            StateColumn::Histogram(histograms),
            StateColumn::Min(least),
            StateColumn::Max(most),
            StateColumn::Last(latest),
            StateColumn::CountIf(hits),
            StateColumn::Distinct(vec![users, sessions]),
        ];
        cells
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cells_come_back_as_they_were_written(cells in cells()) {
        let definition = everything();
        let bytes = encode(&cells, layout(&definition));
        let back = decode(&bytes, layout(&definition)).unwrap();
        // By bytes, because a NaN equals nothing.
        prop_assert_eq!(encode(&back, layout(&definition)), bytes);
        prop_assert_eq!(&back.keys, &cells.keys);
        prop_assert_eq!((&back.ends, &back.slots, &back.counts), (&cells.ends, &cells.slots, &cells.counts));
        prop_assert_eq!(&back.states[6], &cells.states[6]);
        let (StateColumn::Histogram(a), StateColumn::Histogram(b)) = (&back.states[1], &cells.states[1]) else {
            panic!("histograms")
        };
        for (a, b) in a.iter().zip(b.iter()) {
            prop_assert_eq!((a.positive, a.negative, a.head.zero), (b.positive, b.negative, b.head.zero));
            prop_assert_eq!((a.min(), a.max()), (b.min(), b.max()));
        }
    }

    #[test]
    fn other_bytes_are_refused_or_some_other_cells(
        cells in cells(),
        at in any::<prop::sample::Index>(),
        xor in 1_u8..,
        cut in any::<prop::sample::Index>(),
    ) {
        let definition = everything();
        let mut bytes = encode(&cells, layout(&definition));
        prop_assert!(decode(&bytes[..cut.index(bytes.len())], layout(&definition)).is_err());
        let at = at.index(bytes.len());
        bytes[at] ^= xor;
        if let Ok(other) = decode(&bytes, layout(&definition)) {
            prop_assert!(other.memory_bytes() <= MEMORY_BYTES_MAX);
        }
    }

    #[test]
    fn cells_are_read_within_the_memory_that_their_writer_counted_and_not_within_less(cells in cells()) {
        let definition = everything();
        let bytes = encode(&cells, layout(&definition));
        let needed = to_decode(&cells);
        let back = decode_within(&bytes, layout(&definition), needed).unwrap();
        prop_assert!(needed + size_of::<Cells>() + texts(&back) >= back.memory_bytes());
        if needed > 0 {
            prop_assert!(decode_within(&bytes, layout(&definition), needed - 1).is_err());
        }
    }

    /// Any few bytes may be others: among them are those that say how many values there are.
    #[test]
    fn other_bytes_never_become_more_than_the_limit(
        cells in cells(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..9),
        memory_bytes_max in 0_usize..60_000,
    ) {
        let definition = everything();
        let mut bytes = encode(&cells, layout(&definition));
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(other) = decode_within(&bytes, layout(&definition), memory_bytes_max) {
            prop_assert!(to_decode(&other) <= memory_bytes_max);
            prop_assert!(other.memory_bytes() <= memory_bytes_max + size_of::<Cells>() + texts(&other));
        }
    }
}

/// Bytes of the texts of keys: they are there in the blob.
fn texts(cells: &Cells) -> usize {
    let text = |value: &KeyValue| if let KeyValue::Str(text) = value { text.len() + 16 } else { 0 };
    let key = |key: &KeyColumn| match key {
        KeyColumn::Codes(_) => 0,
        KeyColumn::Values { values, .. } => values.iter().map(text).sum::<usize>(),
    };
    cells.keys.iter().map(key).sum()
}

/// Bytes that say there is one series of one cell, whose set of users has the codes from 0 on; `values` may
/// be wrong.
fn claim(values: u64) -> (RollupDefinition, Vec<u8>) {
    let users = vec![Aggregate::Distinct(column(&USER_ID))];
    let tiers = vec![TierAggregates { tier: Tier::Hour, aggregates: users }];
    let definition = RollupDefinition { keys: Vec::new(), tiers, ..everything() };
    let mut bytes = Vec::new();
    crate::codec::put_varint(1, &mut bytes);
    crate::codec::put_varint(1, &mut bytes);
    for column in [1, 0, 1] {
        crate::codec::put_block(|out| crate::codec::encode_ints(&[column], out), &mut bytes);
    }
    bytes.push(0);
    crate::codec::put_block(|out| crate::codec::encode_ints(&[values], out), &mut bytes);
    crate::codec::put_block(|out| crate::codec::encode_ints(&[0; 8], out), &mut bytes);
    (definition, bytes)
}

#[test]
fn a_few_bytes_that_claim_millions_of_values_are_held_to_the_limit() {
    let (definition, bytes) = claim(1 << 20);
    assert!(bytes.len() < 64);
    let back = decode(&bytes, layout(&definition)).unwrap();
    let StateColumn::Distinct(lists) = &back.states[0] else { panic!("sets") };
    assert_eq!(lists[0].values(), 1 << 20, "all codes up to one are such a set");
    assert!(decode_within(&bytes, layout(&definition), 12 << 20).is_err());
    let (definition, bytes) = claim(VALUES_MAX as u64 + 1);
    assert!(decode(&bytes, layout(&definition)).is_err());
    let (definition, bytes) = claim(u64::MAX);
    assert!(decode(&bytes, layout(&definition)).is_err());
    // Many cells with every state are more than the limit, and so are the states of fewer.
    let definition = everything();
    let mut bytes = Vec::new();
    crate::codec::put_varint(1, &mut bytes);
    crate::codec::put_varint(CELLS_MAX as u64, &mut bytes);
    let refused = decode(&bytes, layout(&definition)).unwrap_err();
    assert_eq!(refused.0, "cells that take too much memory");
}

const START: TimestampUs = TimestampUs(DAY as i64 * DAY_US);

fn engine_config() -> Config {
    let users = vec![Aggregate::Distinct(identity())];
    let tiers = Tier::ALL.map(|tier| TierAggregates { tier, aggregates: users.clone() }).to_vec();
    let of = |id, keys| RollupDefinition {
        id,
        stream: Stream::Events,
        filter: Filter::all(),
        keys,
        tiers: tiers.clone(),
        priority: id,
        kept: Kept::Always,
    };
    Config {
        wal_file_bytes: 1 << 20,
        disk_reserve_bytes: 0,
        rollups: vec![of(1, vec![]), of(2, vec![column(&EVENT_TYPE), column(&APP_ID)])],
        ..Config::default()
    }
}

fn open(disk: &SimDisk, clock: &Arc<ManualClock>) -> Arc<Engine> {
    Engine::open_stepped(engine_config(), Arc::new(disk.clone()), Arc::clone(clock) as _, [3; 32]).unwrap()
}

/// Events of two days and two tenants, flushed in several files and merged.
fn filled(disk: &SimDisk) -> (Arc<Engine>, Arc<ManualClock>) {
    let clock = ManualClock::new(TimestampUs(START.0 + 3 * DAY_US));
    let engine = open(disk, &clock);
    for round in 0..3_i64 {
        for tenant in ["acme", "globex"] {
            let mut rows = BatchBuilder::new(TenantId::new(tenant).unwrap(), Stream::Events);
            for n in 0..600_i64 {
                let minute = (n * 4 + round) % (2 * 1440);
                rows.i64(&TIME, START.0 + minute * 60_000_000)
                    .str(&EVENT_TYPE, Some(["view", "click", "buy"][usize::try_from(n % 3).unwrap()]))
                    .str(&APP_ID, (n % 5 > 0).then_some("web"));
                match n % 7 {
                    0 => rows.str(&SESSION_ID, Some(&format!("s{}", n % 11))),
                    _ => rows.str(&USER_ID, Some(&format!("u{}", n % (40 + round)))),
                };
                rows.finish_row();
            }
            engine.submit(Append::batch(rows.build()), Box::new(|result| assert!(result.is_ok())));
            while engine.step_log().unwrap() {}
        }
        engine.step_flush().unwrap();
    }
    clock.advance(Duration::from_hours(1));
    assert!(engine.compact(Effort::Full).unwrap().jobs > 0);
    (engine, clock)
}

fn question(scope: Scope, group_by: Vec<GroupBy>) -> Query {
    Query {
        scope,
        stream: Stream::Events,
        window: TimeRange { start: START, end: TimestampUs(START.0 + 2 * DAY_US) },
        filter: Filter::all(),
        group_by,
        aggregates: vec![Aggregate::Count, Aggregate::Distinct(identity())],
        budget: Budget::default(),
        rows_only: false,
        allow_partial: false,
    }
}

/// Questions of several kinds; answers how many cells they read, and how many rows.
fn check(engine: &Engine) -> (u64, u64) {
    let (mut cells, mut rows) = (0, 0);
    let acme = || Scope::One(TenantId::new("acme").unwrap());
    let by_type = || vec![GroupBy::Field(column(&EVENT_TYPE))];
    let web = Filter::Compare(column(&APP_ID), Op::Is(Literal::Str("web".to_owned())));
    let mut odd = question(acme(), by_type());
    odd.window.start.0 += 61 * 60_000_000;
    let questions = [
        question(acme(), vec![]),
        question(Scope::All, vec![]),
        question(Scope::All, by_type()),
        Query { filter: web, ..question(acme(), by_type()) },
        odd,
    ];
    for question in questions {
        let answer = engine.aggregate(&question).unwrap();
        let exact = engine.aggregate(&Query { rows_only: true, ..question }).unwrap();
        assert_eq!(answer.groups, exact.groups);
        assert!(!answer.groups.is_empty());
        cells += answer.cost.cells_read;
        rows += answer.cost.rows_scanned;
    }
    (cells, rows)
}

#[test]
fn an_engine_answers_from_cells_before_and_after_it_was_opened_again() {
    let disk = SimDisk::new();
    let (engine, clock) = filled(&disk);
    let (cells, rows) = check(&engine);
    assert!(cells > 0);
    engine.close().unwrap();
    drop(engine);
    let engine = open(&disk, &clock);
    assert_eq!(check(&engine), (cells, rows));
    assert!(engine.health().findings.is_empty(), "{:?}", engine.health().findings);
}

#[test]
fn a_cell_file_that_is_lost_or_damaged_changes_no_answer() {
    let disk = SimDisk::new();
    let (engine, clock) = filled(&disk);
    assert!(check(&engine).0 > 0);
    engine.close().unwrap();
    drop(engine);
    let files: Vec<_> = disk.paths().into_iter().filter(|p| p.starts_with(FileKind::Cells.dir())).collect();
    assert!(files.len() >= 2, "of two days");
    for (at, path) in files.iter().enumerate() {
        let bytes = disk.content(path).unwrap();
        match at % 3 {
            0 => assert!(disk.lose(path)),
            1 => assert!(disk.cut(path, bytes.len() as u64 / 2)),
            _ => assert!(disk.corrupt(path, bytes.len() as u64 - 60, 0x20)),
        }
        let engine = open(&disk, &clock);
        // Finer cells answer in the place of coarse ones, or rows: each as rows do.
        check(&engine);
        assert_eq!(engine.health().findings.len(), at + 1, "{:?}", engine.health().findings);
    }
    let engine = open(&disk, &clock);
    assert_eq!(check(&engine).0, 0);
}

#[test]
fn the_bytes_of_cell_files_are_pinned() {
    let disk = SimDisk::new();
    drop(filled(&disk));
    let mut files: Vec<_> =
        disk.paths().into_iter().filter(|p| p.starts_with(FileKind::Cells.dir())).collect();
    files.sort();
    let day = files.iter().map(|path| disk.content(path).unwrap()).min_by_key(Vec::len).unwrap();
    crate::golden::check("cells.bin", &day);
}
