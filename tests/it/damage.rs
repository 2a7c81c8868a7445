//! Damage and failures of one place: what they cost, and that they cost nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use insights_engine::append::{Append, Appended, CatalogKind, CatalogPut, Idempotency, IdempotencyKey};
use insights_engine::clock::ManualClock;
use insights_engine::disk::sim::{CrashPolicy, FaultKind, OpKind, SimDisk};
use insights_engine::id::{Stream, TenantId};
use insights_engine::query::{Aggregate, Budget, Filter, Order, Query, RowRequest, Scope};
use insights_engine::schema::{BatchBuilder, Column, stream};
use insights_engine::time::{TimeRange, TimestampUs};
use insights_engine::{Config, Engine, Error};
use parking_lot::Mutex;

const START: TimestampUs = TimestampUs(1_700_000_000_000_000);

fn config() -> Config {
    Config {
        wal_file_bytes: 16 << 10,
        wal_bytes_max: 1 << 20,
        memtable_bytes_max: 1 << 20,
        memtable_flush_bytes: 512 << 10,
        disk_reserve_bytes: 0,
        ..Config::default()
    }
}

fn open(disk: &SimDisk) -> Result<Arc<Engine>, Error> {
    Engine::open_stepped(config(), Arc::new(disk.clone()), ManualClock::new(START), [3; 32])
}

/// Rows of a tenant, each with a client's id, a trace id of the same name, and a user.
fn rows(tenant: &str, stream: Stream, names: &[&str], user: &str) -> Append {
    let mut rows = BatchBuilder::new(TenantId::new(tenant).unwrap(), stream);
    for name in names {
        rows.i64(&stream::TIME, START.0)
            .str(&stream::ID, Some(name))
            .str(&stream::TRACE_ID, Some(name))
            .str(&stream::USER_ID, Some(user));
        rows.finish_row();
    }
    Append::batch(rows.build())
}

fn named(append: Append, key: &str) -> Append {
    let key = IdempotencyKey {
        tenant: "acme".to_owned(),
        principal: "p".to_owned(),
        route: "events".to_owned(),
        key: key.to_owned(),
    };
    Append { idempotency: Some(Idempotency { key, body_hash: [7; 32], rejected: Vec::new() }), ..append }
}

type Outcome = Arc<Mutex<Option<Result<Appended, Error>>>>;

fn submit(engine: &Engine, append: Append) -> Outcome {
    let outcome = Outcome::default();
    let told = Arc::clone(&outcome);
    engine.submit(append, Box::new(move |result| *told.lock() = Some(result)));
    outcome
}

fn append(engine: &Engine, append: Append) -> Result<Appended, Error> {
    let outcome = submit(engine, append);
    engine.step_log().unwrap();
    outcome.lock().take().expect("an answer")
}

/// trace id -> (tenant, seq).
fn read(engine: &Engine, stream: Stream) -> Result<BTreeMap<String, (String, u64)>, Error> {
    let page = engine.rows(&RowRequest {
        scope: Scope::All,
        stream,
        window: TimeRange::ALL,
        filter: Filter::all(),
        order: Order::Asc,
        limit: 100_000,
        after: None,
        columns: None,
        allow_partial: false,
    })?;
    let mut found = BTreeMap::new();
    for batch in &page.batches {
        let traces = batch.column(&stream::TRACE_ID).and_then(Column::as_bytes).unwrap();
        let seqs = batch.column(&stream::SEQ).and_then(Column::as_u64).unwrap();
        for (row, seq) in seqs.iter().enumerate() {
            let place = (batch.tenant().as_str().to_owned(), *seq);
            assert!(found.insert(traces.get_str(row).unwrap().to_owned(), place).is_none(), "twice");
        }
    }
    Ok(found)
}

fn files(disk: &SimDisk, dir: &str) -> Vec<PathBuf> {
    disk.paths().into_iter().filter(|p| p.starts_with(dir)).collect()
}

/// The places of `needle` in the files of a directory, in the order of the files.
fn places(disk: &SimDisk, dir: &str, needle: &[u8]) -> Vec<(PathBuf, u64)> {
    let mut out = Vec::new();
    for path in files(disk, dir) {
        let bytes = disk.content(&path).unwrap();
        for (at, window) in (0..).zip(bytes.windows(needle.len())) {
            if window == needle {
                out.push((path.clone(), at));
            }
        }
    }
    out
}

/// A store with three flushes of ids, requests and users.
fn three_flushes() -> SimDisk {
    let disk = SimDisk::new();
    let engine = open(&disk).unwrap();
    for n in ["1", "2", "3"] {
        let append_1 = rows("acme", Stream::Events, &[&format!("a{n}"), &format!("b{n}")], &format!("u{n}"));
        append(&engine, named(append_1, &format!("key {n}"))).unwrap();
        engine.step_flush().unwrap();
    }
    engine.close().unwrap();
    disk
}

#[test]
fn a_damaged_file_of_ids_or_requests_stops_nothing() {
    let whole = three_flushes();
    let mut states = 0;
    for path in files(&whole, "ids").into_iter().chain(files(&whole, "idempotency")) {
        let bytes = whole.content(&path).unwrap().len() as u64;
        let damages: [&dyn Fn(&SimDisk) -> bool; 4] = [
            &|disk| disk.lose(&path),
            &|disk| disk.cut(&path, bytes - 1),
            &|disk| disk.cut(&path, 0),
            &|disk| disk.make_unreadable(&path, 0, bytes),
        ];
        let mut disks = Vec::new();
        for damage in damages {
            let disk = whole.kill();
            assert!(damage(&disk));
            disks.push((disk, true));
        }
        for offset in 0..bytes {
            let disk = whole.kill();
            disk.corrupt(&path, offset, 0x10);
            disks.push((disk, false));
        }
        for (disk, gone) in disks {
            let engine = open(&disk).unwrap();
            for n in ["1", "2", "3"] {
                let again = rows("acme", Stream::Events, &[&format!("a{n}")], "u1");
                append(&engine, named(again, &format!("key {n}"))).unwrap();
            }
            let name = path.display().to_string();
            let found = engine.health().findings.iter().any(|f| f.contains(&name));
            assert!(found || !gone, "{name} is not named: {:?}", engine.health().findings);
            for n in 0..6 {
                append(&engine, rows("acme", Stream::Events, &[&format!("new {n}")], "u1")).unwrap();
                engine.step_flush().unwrap();
            }
            assert_eq!(
                append(&engine, rows("acme", Stream::Events, &["new 0"], "u1")).unwrap().batches[0]
                    .accepted(),
                0
            );
            engine.close().unwrap();
            drop(engine);
            open(&disk).unwrap();
            states += 1;
        }
    }
    assert!(states > 100);
}

#[test]
fn a_damaged_dictionary_file_is_named_and_no_code_is_given_twice() {
    let whole = three_flushes();
    let expected = read(&open(&whole).unwrap(), Stream::Events).unwrap();
    let path = files(&whole, "dictionary").into_iter().next().unwrap();
    let content = whole.content(&path).unwrap();
    for damage in 0..=content.len() as u64 {
        let disk = whole.kill();
        if damage == content.len() as u64 {
            disk.lose(&path);
        } else {
            disk.corrupt(&path, damage, 0x10);
        }
        let engine = open(&disk).unwrap();
        match read(&engine, Stream::Events) {
            Ok(found) => assert_eq!(found, expected),
            Err(error) => assert_eq!(error.file(), Some(path.as_path())),
        }
        // What needs no name is answered in any case.
        let count = Query {
            scope: Scope::All,
            stream: Stream::Events,
            window: TimeRange::ALL,
            filter: Filter::all(),
            group_by: Vec::new(),
            aggregates: vec![Aggregate::Count],
            budget: Budget::default(),
            rows_only: false,
            allow_partial: false,
        };
        assert_eq!(engine.aggregate(&count).unwrap().groups.len(), 1);
        append(&engine, rows("acme", Stream::Events, &["new"], "a new user")).unwrap();
        let flushed = engine.step_flush();
        if let Err(error) = &flushed {
            assert_eq!(error.file(), Some(path.as_path()), "{error}");
            let name = path.display().to_string();
            assert!(engine.health().findings.iter().any(|f| f.contains(&name)));
            // Known names of the other files are flushed on, and the file that is put back heals all.
            disk.put(&path, &content);
            drop(engine);
            let engine = open(&disk).unwrap();
            engine.step_flush().unwrap();
            let mut all = expected.clone();
            all.insert("new".to_owned(), ("acme".to_owned(), 7));
            assert_eq!(read(&engine, Stream::Events).unwrap(), all);
        }
    }
}

#[test]
fn a_lookup_that_cannot_read_refuses_its_append_alone() {
    let disk = three_flushes();
    let engine = open(&disk).unwrap();
    disk.fail_kind_at(OpKind::Read, disk.op_count_of(OpKind::Read), FaultKind::Eio, false);
    let outcome = submit(&engine, rows("acme", Stream::Events, &["a1"], "u1"));
    assert!(matches!(outcome.lock().take(), Some(Err(Error::Io { .. }))));
    let kept = append(&engine, rows("acme", Stream::Events, &["a1", "c1"], "u1")).unwrap();
    assert_eq!((kept.batches[0].accepted(), kept.batches[0].seq_of(1)), (1, (7, false)));
    engine.step_flush().unwrap();
}

#[test]
fn a_tenant_whose_first_frame_is_lost_exists_and_is_flushed() {
    let disk = SimDisk::new();
    let engine = open(&disk).unwrap();
    append(&engine, rows("bolt", Stream::Audit, &["x0"], "u0")).unwrap();
    append(&engine, rows("acme", Stream::Audit, &["x1"], "u1")).unwrap();
    append(&engine, rows("acme", Stream::Audit, &["x2"], "u1")).unwrap();
    append(&engine, rows("acme", Stream::Audit, &["x3"], "u2")).unwrap();
    drop(engine);
    let (path, offset) = places(&disk, "wal", b"acme").into_iter().next().unwrap();
    let disk = disk.kill();
    assert!(disk.corrupt(path, offset, 0x10));

    let engine = open(&disk).unwrap();
    let health = engine.health();
    assert!(health.findings.iter().any(|f| f.contains("frames 2 to 2")), "{:?}", health.findings);
    assert!(engine.tenant_exists(&TenantId::new("acme").unwrap()));
    // Neither the tenant's number nor a key's is given again.
    append(&engine, rows("cato", Stream::Audit, &["y1"], "u1")).unwrap();
    append(&engine, rows("acme", Stream::Audit, &["x4"], "u1")).unwrap();
    let expected: BTreeMap<String, (String, u64)> =
        [("x0", "bolt", 1), ("x2", "acme", 2), ("x3", "acme", 3), ("x4", "acme", 4), ("y1", "cato", 1)]
            .map(|(trace, tenant, seq)| (trace.to_owned(), (tenant.to_owned(), seq)))
            .into();
    assert_eq!(read(&engine, Stream::Audit).unwrap(), expected);
    while engine.step_flush().unwrap() {}
    assert_eq!(read(&engine, Stream::Audit).unwrap(), expected);
    drop(engine);
    let engine = open(&disk.crash(CrashPolicy::DropAll, 0)).unwrap();
    assert_eq!(read(&engine, Stream::Audit).unwrap(), expected);
}

#[test]
fn the_number_of_a_lost_last_frame_is_not_given_again() {
    let disk = SimDisk::new();
    let engine = open(&disk).unwrap();
    append(&engine, rows("acme", Stream::Events, &["a"], "u")).unwrap();
    append(&engine, rows("acme", Stream::Events, &["the last one"], "u")).unwrap();
    // The flush goes on in a new WAL file and fails then.
    disk.fail_kind_at(OpKind::Create, disk.op_count_of(OpKind::Create) + 1, FaultKind::Enospc, false);
    assert!(engine.step_flush().is_err());
    drop(engine);
    let disk = disk.kill();
    let (path, offset) = places(&disk, "wal", b"the last one").into_iter().next().unwrap();
    assert!(disk.corrupt(path, offset, 0x10));

    let engine = open(&disk).unwrap();
    assert!(engine.health().findings.iter().any(|f| f.contains("frames 2 to 2")));
    append(&engine, rows("acme", Stream::Events, &["b"], "u")).unwrap();
    engine.step_flush().unwrap();
    let names: BTreeSet<String> = read(&engine, Stream::Events).unwrap().into_keys().collect();
    assert_eq!(names, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
}

/// Whatever of a flush fails once, and whatever its later tries do: the rows are there, once.
#[test]
fn a_flush_that_failed_anywhere_loses_nothing_when_it_is_tried_again() {
    let prepare = || {
        let disk = SimDisk::new();
        let engine = open(&disk).unwrap();
        append(&engine, rows("acme", Stream::Audit, &["a", "b"], "u")).unwrap();
        engine.step_flush().unwrap();
        append(&engine, rows("acme", Stream::Audit, &["c", "d"], "v")).unwrap();
        (disk, engine)
    };
    let (disk, engine) = prepare();
    let first = disk.op_count();
    engine.step_flush().unwrap();
    let last = disk.op_count();
    for at in first..last {
        for later in [None, Some(OpKind::Write), Some(OpKind::Create), Some(OpKind::Sync)] {
            let (disk, engine) = prepare();
            disk.fail_at(at, FaultKind::Eio, false);
            drop(engine.step_flush());
            if let Some(op) = later {
                disk.fail_kind_at(op, disk.op_count_of(op), FaultKind::Eio, true);
            }
            let segments = files(&disk, "segments").len();
            for _ in 0..3 {
                drop(engine.step_flush());
            }
            assert!(files(&disk, "segments").len() <= segments + 1, "tries add up");
            drop(engine);
            disk.clear_faults();
            for disk in
                [disk.kill(), disk.crash(CrashPolicy::KeepAll, 0), disk.crash(CrashPolicy::DropAll, 0)]
            {
                let engine = open(&disk).unwrap();
                let found = read(&engine, Stream::Audit).unwrap_or_else(|e| panic!("{at} {later:?}: {e}"));
                let seqs: Vec<u64> = found.values().map(|(_, seq)| *seq).collect();
                assert_eq!(seqs, [1, 2, 3, 4], "operation {at}, then {later:?}");
            }
        }
    }
}

#[test]
fn an_append_after_the_close_is_refused_and_so_is_what_a_drop_finds_queued() {
    let disk = SimDisk::new();
    let engine = open(&disk).unwrap();
    let queued = submit(&engine, rows("acme", Stream::Events, &["a"], "u"));
    engine.close().unwrap();
    assert!(matches!(queued.lock().take(), Some(Ok(_))));
    let late = submit(&engine, rows("acme", Stream::Events, &["b"], "u"));
    assert!(matches!(late.lock().take(), Some(Err(Error::Closed))));
    assert!(matches!(engine.append(rows("acme", Stream::Events, &["c"], "u")), Err(Error::Closed)));
    drop(engine);
    let engine = open(&disk).unwrap();
    let queued = submit(&engine, rows("acme", Stream::Events, &["d"], "u"));
    drop(engine);
    assert!(matches!(queued.lock().take(), Some(Err(Error::Closed))));
}

#[test]
fn a_close_whose_flush_fails_ends_the_log() {
    let disk = SimDisk::new();
    let engine = open(&disk).unwrap();
    append(&engine, rows("acme", Stream::Events, &["a"], "u")).unwrap();
    disk.fail_kind_at(OpKind::Create, disk.op_count_of(OpKind::Create) + 1, FaultKind::Enospc, true);
    assert!(engine.close().is_err());
    assert!(engine.step_log().is_ok_and(|worked| !worked), "the log is sealed");
    disk.clear_faults();
    drop(engine);
    assert_eq!(read(&open(&disk).unwrap(), Stream::Events).unwrap().len(), 1);
}

#[test]
fn an_answer_may_be_the_last_owner_of_an_engine_with_threads() {
    let disk = SimDisk::new();
    let engine = Engine::open(config(), Arc::new(disk.clone()), ManualClock::new(START), [3; 32]).unwrap();
    let (sender, receiver) = mpsc::channel();
    let owner = Arc::clone(&engine);
    engine.submit(
        rows("acme", Stream::Events, &["a"], "u"),
        Box::new(move |result| {
            drop(owner);
            let _ = sender.send(result.is_ok());
        }),
    );
    drop(engine);
    assert_eq!(receiver.recv_timeout(Duration::from_secs(20)), Ok(true));
}

#[test]
fn nobody_waits_for_ever_when_memory_is_full_and_flushes_fail() {
    let disk = SimDisk::new();
    let small = Config { memtable_bytes_max: 64 << 10, memtable_flush_bytes: 32 << 10, ..config() };
    let engine = Engine::open(small, Arc::new(disk.clone()), ManualClock::new(START), [3; 32]).unwrap();
    disk.fail_kind_at(OpKind::SyncDir, disk.op_count_of(OpKind::SyncDir), FaultKind::Eio, true);
    append_many(&engine, 200);
    disk.clear_faults();
    drop(engine);
    drop(open(&disk).unwrap());
}

/// Appends until it is told no, or has appended so often; every call answers.
fn append_many(engine: &Engine, count: u32) {
    for n in 0..count {
        let names: Vec<String> = (0..50).map(|row| format!("{n}-{row}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if engine.append(rows("acme", Stream::Events, &names, "u")).is_err() {
            return;
        }
    }
}

#[test]
fn records_that_the_engine_keeps_for_itself_are_not_for_callers() {
    let engine = open(&SimDisk::new()).unwrap();
    for (kind, key) in [
        (CatalogKind::Tenant, &b"acme"[..]),
        (CatalogKind::SubjectKey, b"\0\0\0\x01u"),
        (CatalogKind::Sequence, b"\0\0\0\x01\x01"),
        (CatalogKind::AuditRoot, b"\0\0\0\x01"),
        (CatalogKind::Secret, b"derived-id"),
    ] {
        for value in [None, Some(b"x".to_vec())] {
            let outcome = submit(&engine, Append::puts(vec![CatalogPut { kind, key: key.to_vec(), value }]));
            assert!(matches!(outcome.lock().take(), Some(Err(Error::Invalid { .. }))), "{kind:?}");
        }
    }
}
