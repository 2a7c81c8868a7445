//! Golden stores of format version 1: whole data directories that every later version opens.

mod check;
mod data;
mod model;
mod versions;
mod write;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use insights_engine::Engine;
use insights_engine::append::Append;
use insights_engine::catalog::{RetentionDocument, StreamRetention};
use insights_engine::clock::ManualClock;
use insights_engine::compaction::Effort;
use insights_engine::config::Config;
use insights_engine::disk::{Disk, OsDisk};
use insights_engine::id::Stream;
use insights_engine::inspect::{Inspection, Level};
use insights_engine::query::{Aggregate, Field, Filter, Literal, Op, SessionClasses};
use insights_engine::rollup::{Kept, RollupDefinition, Tier, TierAggregates};
use insights_engine::schema::stream;
use insights_engine::time::TimestampUs;
use serde_json::Value;
use tempfile::TempDir;

use write::{Filling, Kind, copy, files, idempotency};

/// Encodings that no golden store happens to hold; `codec.bin` of the engine pins their bytes.
const ELSEWHERE: [&str; 3] = ["delta+zstd", "frame+zstd", "repeat"];

/// Every name that `insights_engine::codec::encoding_name` and the columns of segments give an encoding.
const ENCODINGS: [&str; 22] = [
    "constant",
    "runs",
    "frame",
    "delta",
    "pco",
    "repeat",
    "runs+zstd",
    "frame+zstd",
    "delta+zstd",
    "raw",
    "plain",
    "dictionary",
    "uuid",
    "hex",
    "ipv4",
    "decimal",
    "template",
    "recent",
    "first seen",
    "told",
    "partitions",
    "paths",
];

fn is(field: Field, literal: Literal) -> Filter {
    Filter::Compare(field, Op::Is(literal))
}

fn classes() -> SessionClasses {
    let page = check::page();
    let passive =
        is(Field::Path(stream::EVENT_DATA.id, vec!["interactive".to_owned()]), Literal::Bool(false));
    let not = |filter: &Filter| Filter::Not(Box::new(filter.clone()));
    let action = Filter::And(vec![not(&page), not(&passive)]);
    SessionClasses { interactive: Filter::Or(vec![page.clone(), action.clone()]), page, action }
}

fn rollups() -> Vec<RollupDefinition> {
    let of = |id, stream, keys: Vec<Field>, aggregates: Vec<Aggregate>| RollupDefinition {
        id,
        stream,
        filter: Filter::all(),
        keys,
        tiers: Tier::ALL.map(|tier| TierAggregates { tier, aggregates: aggregates.clone() }).to_vec(),
        priority: id,
        kept: Kept::Always,
    };
    let value = || Field::Column(stream::VALUE.id);
    let of_value = vec![
        Aggregate::Sum(value()),
        Aggregate::Min(value()),
        Aggregate::Max(value()),
        Aggregate::Last(value()),
        Aggregate::Quantile(value(), 0.5),
    ];
    let users = vec![Aggregate::Distinct(Field::Column(stream::USER_ID.id))];
    let views = vec![Aggregate::CountIf(Box::new(check::page()))];
    let types = vec![Field::Column(stream::EVENT_TYPE.id)];
    let apps = vec![Field::Column(stream::APP_ID.id), Field::Column(stream::NAME.id)];
    vec![
        of(1, Stream::Events, types.clone(), users.clone()),
        of(2, Stream::Events, vec![], views),
        of(3, Stream::Metrics, vec![Field::Column(stream::NAME.id)], of_value.clone()),
        RollupDefinition { kept: Kept::Together, ..of(4, Stream::Metrics, apps, of_value) },
        RollupDefinition { kept: Kept::Outliving, ..of(5, Stream::Events, types, users) },
    ]
}

fn config() -> Config {
    // Rows go before their cells: all cells are kept then, however few the rows.
    let kept = StreamRetention { raw_days: Some(30), ..StreamRetention::FOREVER };
    Config {
        wal_file_bytes: 128 << 10,
        wal_bytes_max: 2 << 20,
        memtable_bytes_max: 16 << 20,
        memtable_flush_bytes: 8 << 20,
        disk_reserve_bytes: 0,
        retention: RetentionDocument { events: kept, audit: kept, metrics: kept },
        rollups: rollups(),
        sessions: Some(classes()),
        ..Config::default()
    }
}

fn open(dir: &Path, clock: &Arc<ManualClock>, seed: u8) -> Arc<Engine> {
    let disk = Arc::new(OsDisk::open(dir).unwrap());
    Engine::open_stepped(config(), disk, Arc::clone(clock) as _, [seed; 32]).unwrap()
}

/// Where a golden store is; with `INSIGHTS_WRITE_GOLDEN` set one that is missing is made.
fn stored(kind: Kind) -> PathBuf {
    static MAKING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one_at_a_time = MAKING.lock().unwrap();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/v1/stores").join(kind.name());
    if !dir.exists() {
        let may_write = std::env::var_os("INSIGHTS_WRITE_GOLDEN").is_some();
        assert!(may_write, "{} is missing: it is part of the repository, and never made anew", dir.display());
        fs::create_dir_all(&dir).unwrap();
        write::make(kind, &dir);
    }
    dir
}

/// A copy of a golden store that may be written to, and what it is to answer.
fn copied(kind: Kind) -> (TempDir, Value) {
    let (dir, from) = (tempfile::tempdir().unwrap(), stored(kind));
    copy(&from.join("data"), dir.path());
    (dir, serde_json::from_slice(&fs::read(from.join("expected.json")).unwrap()).unwrap())
}

fn verify(dir: &Path, context: &str) {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::existing(dir).unwrap());
    let found = Inspection::open(&disk).unwrap().verify(Level::Deep, &rollups()).unwrap();
    assert_eq!(found.findings, [], "{context}");
    assert!(found.checked.files > 3 && found.checked.blocks > 100, "{context}: {:?}", found.checked);
}

/// Opens, asks, appends, flushes, merges, opens again and asks again.
fn a_store_answers(kind: Kind) {
    let (dir, expected) = copied(kind);
    verify(dir.path(), kind.name());
    let now = expected["now"].as_i64().unwrap();
    let clock = ManualClock::new(TimestampUs(now));
    let engine = open(dir.path(), &clock, 12);
    let cells = check::check(&engine, &expected, &[], "as it was");
    assert_eq!(cells > 0, kind != Kind::Killed, "{cells} cells");

    let mut more = Filling::of(engine, Arc::clone(&clock), now);
    repeat_requests(&more, &expected);
    let mut records = data::records("zeta", &mut data::Random(7), 20);
    // Of the days whose rows every store keeps, so that they are merged with those that are there.
    records.retain(|record| record.day() >= data::FIRST_DAY + data::DAYS - 2);
    more.fill(records);
    check::check(&more.engine, &expected, &["zeta"], "with more rows in memory");
    more.engine.flush().unwrap();
    check::check(&more.engine, &expected, &["zeta"], "flushed");
    check::check_trees(&more.engine, &expected, "flushed");
    clock.advance(std::time::Duration::from_hours(5));
    more.engine.compact(Effort::Full).unwrap();
    assert!(check::check(&more.engine, &expected, &["zeta"], "merged") > 0);
    let zeta = model::answers(&more.records, &model::Fate::default());
    let with_zeta = |expected: &Value| {
        let mut all = expected.clone();
        all["answers"]["zeta"] = zeta["zeta"].clone();
        all
    };
    more.engine.close().unwrap();
    drop(more);
    let engine = open(dir.path(), &clock, 13);
    check::check(&engine, &with_zeta(&expected), &[], "opened again");
    check::check_trees(&engine, &expected, "opened again");
    engine.close().unwrap();
    verify(dir.path(), "opened again");
}

/// Named requests are answered as they were, and their records are not taken twice.
fn repeat_requests(more: &Filling, expected: &Value) {
    for request in expected["requests"].as_array().unwrap() {
        let named = idempotency(request[0].as_str().unwrap());
        let again = more.append(Append { idempotency: Some(named), ..Append::default() });
        assert!(again.replayed, "{request}");
        assert_eq!(again.batches[0].first_seq, request[1].as_u64().unwrap(), "{request}");
        assert_eq!(u64::from(again.batches[0].rows), request[2].as_u64().unwrap(), "{request}");
    }
}

#[test]
fn a_store_whose_process_was_killed_answers_what_it_was_made_to_hold() {
    a_store_answers(Kind::Killed);
}

#[test]
fn a_merged_store_with_cells_answers_what_it_was_made_to_hold() {
    a_store_answers(Kind::Compacted);
}

#[test]
fn a_store_that_let_rows_expire_and_forgot_answers_what_it_was_made_to_hold() {
    a_store_answers(Kind::Forgotten);
}

#[test]
fn looking_at_a_golden_store_changes_no_byte() {
    for kind in Kind::ALL {
        let (dir, _) = copied(kind);
        let contents = || -> Vec<_> {
            let read = |file: PathBuf| (fs::read(dir.path().join(&file)).unwrap(), file);
            files(dir.path()).into_iter().map(read).collect()
        };
        let before = contents();
        verify(dir.path(), kind.name());
        let disk: Arc<dyn Disk> = Arc::new(OsDisk::existing(dir.path()).unwrap());
        assert!(Inspection::open(&disk).unwrap().weigh().unwrap().total_bytes > 0);
        assert!(contents() == before, "{} was changed by a look", kind.name());
    }
}

#[test]
fn the_golden_stores_hold_every_kind_of_file_and_encoding() {
    let (mut encodings, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for kind in Kind::ALL {
        let dir = stored(kind).join("data");
        let disk: Arc<dyn Disk> = Arc::new(OsDisk::existing(&dir).unwrap());
        let weight = Inspection::open(&disk).unwrap().weigh().unwrap();
        let columns = weight.streams.into_iter().flat_map(|stream| stream.columns);
        encodings.extend(columns.flat_map(|column| column.encodings.into_keys()));
        kinds.extend(files(&dir).iter().map(|f| f.parent().unwrap().to_str().unwrap().to_owned()));
    }
    let all: BTreeSet<&str> = ENCODINGS.into_iter().filter(|name| !ELSEWHERE.contains(name)).collect();
    assert_eq!(encodings, all);
    let dirs = ["", "catalog", "cells", "dictionary", "idempotency", "ids", "manifest", "segments", "wal"];
    assert_eq!(kinds, dirs.map(str::to_owned).into());
}
