//! A checkpoint against what was appended before it, on the simulated disk.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::append::Append;
use crate::clock::ManualClock;
use crate::disk::SimDisk;
use crate::disk::sim::CrashPolicy;
use crate::id::{Stream, TenantId};
use crate::query::{Field, Filter, ScanRequest, Scope};
use crate::schema::{BatchBuilder, stream};
use crate::time::{TimeRange, TimestampUs};
use crate::{Config, Engine, Error};

const NOW: TimestampUs = TimestampUs(1_700_000_000_000_000);

fn open(disk: &SimDisk) -> Arc<Engine> {
    let config = Config { wal_file_bytes: 16 << 10, disk_reserve_bytes: 0, ..Config::default() };
    Engine::open_stepped(config, Arc::new(disk.clone()), ManualClock::new(NOW), [3; 32]).unwrap()
}

/// Appends one event of this type.
fn append(engine: &Engine, event_type: &str) {
    let mut rows = BatchBuilder::new(TenantId::new("acme").unwrap(), Stream::Events);
    rows.i64(&stream::TIME, NOW.0).str(&stream::EVENT_TYPE, Some(event_type));
    rows.finish_row();
    engine.submit(Append::batch(rows.build()), Box::new(|kept| drop(kept.unwrap())));
    while engine.step_log().unwrap() {}
}

fn event_types(engine: &Engine) -> BTreeSet<String> {
    let request = ScanRequest {
        scope: Scope::One(TenantId::new("acme").unwrap()),
        stream: Stream::Events,
        window: TimeRange::ALL,
        filter: Filter::all(),
        fields: vec![Field::Column(stream::EVENT_TYPE.id)],
        allow_partial: false,
    };
    let end = engine.scan(&request, &mut |_| Ok(())).unwrap();
    end.names.concat().iter().map(ToString::to_string).collect()
}

fn set(types: &[&str]) -> BTreeSet<String> {
    types.iter().map(ToString::to_string).collect()
}

/// The copy of a checkpoint as a disk of its own.
fn copy_of(disk: &SimDisk, name: &str) -> SimDisk {
    let copy = SimDisk::new();
    let base = Path::new("checkpoints").join(name);
    for path in disk.paths() {
        if let Ok(inside) = path.strip_prefix(&base) {
            copy.put(inside, &disk.content(&path).unwrap());
        }
    }
    copy
}

#[test]
fn a_copy_holds_segments_and_the_tail_of_the_log_and_nothing_later() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    append(&engine, "flushed");
    engine.flush().unwrap();
    append(&engine, "in the log");
    let report = engine.checkpoint("monday").unwrap();
    assert!(report.files_linked >= 2 && report.bytes_linked > 0 && report.bytes_copied > 0, "{report:?}");
    append(&engine, "later");
    // Files of the store go away and WAL files are used again; the copy stays.
    engine.flush().unwrap();
    append(&engine, "last");
    engine.flush().unwrap();
    let copy = copy_of(&disk, "monday");
    assert_eq!(event_types(&open(&copy)), set(&["flushed", "in the log"]));
    assert_eq!(event_types(&engine), set(&["flushed", "in the log", "later", "last"]));
    // A copy is a store: it takes appends, and copies of it are good.
    let copied = open(&copy.kill());
    append(&copied, "own");
    assert!(copied.health().findings.is_empty());
    assert_eq!(event_types(&copied), set(&["flushed", "in the log", "own"]));
}

#[test]
fn names_are_checked_and_not_given_twice() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    append(&engine, "a");
    for name in ["", "..", "a/b", "x y", &"n".repeat(65)] {
        assert!(matches!(engine.checkpoint(name), Err(Error::Invalid { .. })), "{name}");
    }
    engine.checkpoint("one").unwrap();
    assert!(matches!(engine.checkpoint("one"), Err(Error::Invalid { .. })));
    engine.checkpoint("two").unwrap();
}

#[test]
fn a_power_cut_at_any_operation_leaves_the_store_whole_and_the_copy_whole_or_none() {
    let prepared = || {
        let disk = SimDisk::new();
        let engine = open(&disk);
        append(&engine, "flushed");
        engine.flush().unwrap();
        append(&engine, "in the log");
        (disk, engine)
    };
    let (disk, engine) = prepared();
    let before = disk.op_count();
    engine.checkpoint("c").unwrap();
    let operations = disk.op_count() - before;
    assert!(operations > 30, "{operations}");
    let mut whole = 0;
    for at in 0..operations {
        for policy in [CrashPolicy::DropAll, CrashPolicy::KeepAll, CrashPolicy::KeepRandomSubset] {
            let (disk, engine) = prepared();
            disk.crash_at(disk.op_count() + at);
            assert!(engine.checkpoint("c").is_err(), "{at}");
            drop(engine);
            let after = disk.crash(policy, at);
            assert_eq!(event_types(&open(&after)), set(&["flushed", "in the log"]), "{at} {policy:?}");
            let copy = copy_of(&after, "c");
            if copy.content("manifest/CURRENT").is_some() {
                whole += 1;
                assert_eq!(event_types(&open(&copy)), set(&["flushed", "in the log"]), "{at} {policy:?}");
            }
        }
    }
    assert!(whole > 0);
}

#[test]
fn a_full_disk_leaves_nothing_of_a_copy() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    append(&engine, "a");
    engine.flush().unwrap();
    append(&engine, "b");
    let files = disk.paths();
    disk.set_capacity(Some(files.iter().map(|p| disk.content(p).unwrap().len() as u64).sum::<u64>() + 4_096));
    assert!(engine.checkpoint("c").is_err());
    assert_eq!(disk.paths(), files);
    disk.set_capacity(None);
    engine.checkpoint("c").unwrap();
}
