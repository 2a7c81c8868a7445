//! A small store on a simulated disk, weighed and verified beside its engine.

use std::path::Path;
use std::sync::Arc;

use super::{Inspection, Level};
use crate::append::Append;
use crate::clock::ManualClock;
use crate::config::Config;
use crate::disk::{Disk, SimDisk};
use crate::engine::Engine;
use crate::id::{Stream, TenantId};
use crate::part::Part;
use crate::schema::{BatchBuilder, stream};
use crate::time::TimestampUs;

const NOW: TimestampUs = TimestampUs(1_771_113_600_000_000);

/// A store with flushed rows of two tenants, and some in the log alone.
fn store() -> (SimDisk, Arc<Engine>) {
    let disk = SimDisk::new();
    let engine =
        Engine::open_stepped(Config::default(), Arc::new(disk.clone()), ManualClock::new(NOW), [7; 32])
            .unwrap();
    for (tenant, rows) in [("a", 300), ("b", 100)] {
        append(&engine, tenant, rows);
    }
    while engine.step_log().unwrap() {}
    engine.step_flush().unwrap();
    append(&engine, "a", 5);
    while engine.step_log().unwrap() {}
    (disk, engine)
}

fn append(engine: &Engine, tenant: &str, rows: i64) {
    let mut batch = BatchBuilder::new(TenantId::new(tenant).unwrap(), Stream::Events);
    for row in 0..rows {
        batch.i64(&stream::TIME, NOW.0 + row).str(&stream::EVENT_TYPE, Some("page.viewed"));
        batch.str(&stream::USER_ID, Some(&format!("user-{}", row % 10)));
        batch.finish_row();
    }
    engine.submit(Append::batch(batch.build()), Box::new(|done| drop(done.unwrap())));
}

fn files(disk: &SimDisk) -> Vec<(String, u64)> {
    let dirs = ["", "segments", "dictionary", "manifest", "catalog", "wal"];
    let list = |dir| disk.list(Path::new(dir)).unwrap().into_iter().map(|e| (e.name, e.bytes));
    dirs.into_iter().flat_map(list).collect()
}

#[test]
fn a_store_is_weighed_beside_its_engine_and_not_touched() {
    let (disk, engine) = store();
    let before = (files(&disk), disk.change_count());
    let below: Arc<dyn Disk> = Arc::new(disk.clone());
    let weight = Inspection::open(&below).unwrap().weigh().unwrap();
    assert_eq!((files(&disk), disk.change_count()), before);
    let events = weight.streams.iter().find(|s| s.stream == Stream::Events).unwrap();
    assert_eq!((events.rows, events.segments), (400, 1));
    let tenants: Vec<_> =
        weight.tenants.iter().map(|t| (t.name.as_ref().unwrap().as_str(), t.rows)).collect();
    assert_eq!(tenants, [("a", 300), ("b", 100)]);
    // Everything in the two files belongs to the one stream that has rows, but for what rounds down.
    let files: u64 = weight.kinds.iter().filter(|(k, _)| k.dir() != "catalog").map(|(_, b)| b).sum();
    assert!(files - events.bytes() < 8, "{files} {events:?}");
    assert!(events.dictionary_bytes > 0 && weight.wal_bytes > 0);
    engine.close().unwrap();
}

#[test]
fn a_whole_store_has_no_findings_and_a_flipped_byte_has_one() {
    let (disk, engine) = store();
    let below: Arc<dyn Disk> = Arc::new(disk.clone());
    for level in [Level::Quick, Level::Full, Level::Deep] {
        let found = Inspection::open(&below).unwrap().verify(level, &[]).unwrap();
        assert_eq!((found.findings, found.torn_tail_bytes), (Vec::new(), 0));
        assert!(found.checked.files >= 3);
    }
    let inspection = Inspection::open(&below).unwrap();
    let path = inspection.segments().first().unwrap().meta.path();
    let file = disk.open_write(&path).unwrap();
    let mut byte = [0];
    file.read_at(200, &mut byte).unwrap();
    file.write_at(200, &[byte[0] ^ 1]).unwrap();
    assert!(Inspection::open(&below).unwrap().verify(Level::Quick, &[]).unwrap().findings.is_empty());
    let found = Inspection::open(&below).unwrap().verify(Level::Full, &[]).unwrap().findings;
    assert_eq!(found.iter().map(|f| (f.file.clone(), f.kind)).collect::<Vec<_>>(), [(path, "corrupt")]);
    engine.close().unwrap();
}

#[test]
fn a_missing_file_is_named_and_an_empty_directory_is_no_store() {
    let (disk, engine) = store();
    let below: Arc<dyn Disk> = Arc::new(disk.clone());
    let path = Inspection::open(&below).unwrap().segments().first().unwrap().meta.path();
    disk.remove(&path).unwrap();
    let found = Inspection::open(&below).unwrap().verify(Level::Quick, &[]).unwrap().findings;
    assert_eq!(found.iter().map(|f| (f.file.clone(), f.kind)).collect::<Vec<_>>(), [(path, "missing")]);
    let empty: Arc<dyn Disk> = Arc::new(SimDisk::new());
    assert!(Inspection::open(&empty).is_err());
    engine.close().unwrap();
}

#[test]
fn an_audit_record_that_was_changed_with_its_checksum_is_not_that_of_the_root() {
    let (disk, engine) = store();
    let mut batch = BatchBuilder::new(TenantId::new("a").unwrap(), Stream::Audit);
    for (row, name) in (0..).zip(["Ada Lovelace", "Grace Hopper", "Hedy Lamarr"]) {
        batch.i64(&stream::TIME, NOW.0 + row).str(&stream::USER_NAME, Some(name)).finish_row();
    }
    engine.submit(Append::batch(batch.build()), Box::new(|done| drop(done.unwrap())));
    while engine.step_log().unwrap() {}
    engine.step_flush().unwrap();
    let below: Arc<dyn Disk> = Arc::new(disk.clone());
    let verify = || Inspection::open(&below).unwrap().verify(Level::Deep, &[]).unwrap();
    assert_eq!((verify().findings, verify().checked.leaves), (Vec::new(), 3));
    for one in Inspection::open(&below).unwrap().segments() {
        let reader = one.reader.as_ref().unwrap();
        if reader.rows(Stream::Audit) > 0 {
            reader.forge(&disk, &one.meta.path(), b"Grace Hopper", b"Grace Hoqqer");
        }
    }
    let found = verify().findings;
    assert_eq!(found.iter().map(|f| f.kind).collect::<Vec<_>>(), ["corrupt"], "{found:?}");
    assert!(found[0].detail.contains("root") && found[0].detail.contains("records 1 to 3 of a"));
    engine.close().unwrap();
}
