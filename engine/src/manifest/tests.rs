//! The manifest through crashes, failures and damage.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::disk::Disk;
use crate::disk::sim::{CrashPolicy, FaultKind, OpKind, SimDisk};
use crate::error::Error;
use crate::id::{FileId, Lsn, Stream};
use crate::rollup::Tier;
use crate::time::TimestampUs;

/// Small enough that a handful of commits starts a new log.
const LOG_BYTES: u64 = 700;

fn open(disk: &SimDisk) -> crate::Result<Manifest> {
    Manifest::open_with(Arc::new(disk.clone()), LOG_BYTES)
}

fn segment(id: FileId) -> FileMeta {
    let stream = StreamMeta {
        stream: Stream::Audit,
        rows: id.0 * 10,
        min_time: TimestampUs(-5),
        max_time: TimestampUs(id.0.cast_signed()),
    };
    FileMeta {
        level: 1,
        day: Some(-1),
        class: 2,
        dense: true,
        lsn_max: Lsn(id.0),
        streams: vec![stream],
        hour: Some(-3),
        of: Some(CellsOf { segment: FileId(1), tier: Tier::Hour, definitions: 7 }),
        ..FileMeta::new(id, FileKind::Segment, 99, [3; 32])
    }
}

fn write(disk: &SimDisk, meta: &FileMeta) -> crate::Result<()> {
    let file = disk.create(&meta.path())?;
    file.write_at(0, b"rows")?;
    file.sync()?;
    disk.sync_dir(Path::new(meta.kind.dir()))
}

/// Commits one file, and takes back the one of two steps before.
fn step(disk: &SimDisk, manifest: &Manifest) -> crate::Result<()> {
    let version = manifest.version();
    let meta = segment(manifest.allocate());
    write(disk, &meta)?;
    let oldest = version.files().next().map(|f| f.id).filter(|_| version.files().count() > 1);
    let flushed_lsn = Some(Lsn(version.flushed_lsn().0 + 1));
    manifest.commit(Edit {
        add: vec![meta],
        remove: oldest.into_iter().collect(),
        flushed_lsn,
        ..Edit::default()
    })?;
    if let Some(id) = oldest {
        disk.remove(&FileKind::Segment.path(id))?;
    }
    Ok(())
}

/// Opens and commits until something fails; gives the flushed LSN of the last commit that was answered.
fn work(disk: &SimDisk) -> u64 {
    let Ok(manifest) = open(disk) else { return 0 };
    if manifest.sweep().is_err() {
        return 0;
    }
    let mut answered = manifest.version().flushed_lsn().0;
    for _ in 0..12 {
        // A write that failed may be tried again; after a failed sync nothing is answered any more.
        drop(step(disk, &manifest));
        let now = manifest.version().flushed_lsn().0;
        assert!(now <= answered + 1);
        answered = now;
    }
    answered
}

/// What must hold of any disk that is found after a crash.
fn check_recovered(disk: &SimDisk, answered: u64, context: &str) {
    let manifest = open(disk).unwrap_or_else(|e| panic!("{context}: {e}"));
    let version = manifest.version();
    let found = version.flushed_lsn().0;
    assert!(found == answered || found == answered + 1, "{context}: {answered} answered, {found} found");
    assert_eq!(version.files().count() as u64, found.min(2), "{context}");
    for file in version.files() {
        assert_eq!(disk.content(file.path()).unwrap_or_default(), b"rows", "{context}: {}", file.id);
        assert_eq!(**file, segment(file.id));
    }
    let orphans = manifest.orphans().unwrap();
    assert!(version.files().all(|f| !orphans.contains(&f.path())), "{context}");
    let next = manifest.allocate();
    let numbers = disk.paths().into_iter().filter_map(|p| FileKind::Segment.id_of(p.file_name()?.to_str()?));
    assert!(numbers.into_iter().all(|id| id < next), "{context}: a number is given twice");
    manifest.sweep().unwrap();
    assert_eq!(manifest.orphans().unwrap(), Vec::<std::path::PathBuf>::new());
    step(disk, &manifest).unwrap();
    let again = disk.crash(CrashPolicy::DropAll, 0);
    assert_eq!(open(&again).unwrap().version().flushed_lsn().0, found + 1, "{context}");
}

#[test]
fn a_commit_is_there_at_the_next_start() {
    let disk = SimDisk::new();
    let manifest = open(&disk).unwrap();
    let meta = segment(manifest.allocate());
    write(&disk, &meta).unwrap();
    let edit = Edit { add: vec![meta.clone()], flushed_lsn: Some(Lsn(9)), ..Edit::default() };
    let version = manifest.commit(edit).unwrap();
    let reopened = open(&disk.crash(CrashPolicy::DropAll, 0)).unwrap();
    assert_eq!(*reopened.version(), *version);
    assert_eq!(**reopened.version().get(meta.id).unwrap(), meta);
    assert_eq!(reopened.version().flushed_lsn(), Lsn(9));
}

#[test]
fn every_crash_keeps_what_was_answered() {
    let disk = SimDisk::new();
    assert_eq!(work(&disk), 12);
    let changes = disk.change_count();
    for change in 0..=changes {
        for policy in CrashPolicy::ALL {
            for seed in 0..3 {
                let disk = SimDisk::new();
                disk.crash_at_change(change);
                let answered = work(&disk);
                check_recovered(&disk.crash(policy, seed), answered, &format!("{change} {policy:?} {seed}"));
            }
        }
    }
}

#[test]
fn a_failure_of_any_operation_loses_nothing_that_was_answered() {
    let disk = SimDisk::new();
    work(&disk);
    for op in 0..disk.op_count() {
        for kind in [FaultKind::Eio, FaultKind::Enospc, FaultKind::ShortWrite] {
            let disk = SimDisk::new();
            disk.fail_at(op, kind, false);
            let answered = work(&disk);
            for policy in CrashPolicy::ALL {
                check_recovered(&disk.crash(policy, op), answered, &format!("{op} {kind:?} {policy:?}"));
            }
            check_recovered(&disk.kill(), answered, &format!("{op} {kind:?} killed"));
        }
    }
}

#[test]
fn after_a_failed_sync_nothing_is_committed_until_the_store_is_opened_anew() {
    let disk = SimDisk::new();
    let manifest = open(&disk).unwrap();
    step(&disk, &manifest).unwrap();
    disk.fail_kind_at(OpKind::Sync, disk.op_count_of(OpKind::Sync), FaultKind::Eio, false);
    assert!(matches!(manifest.commit(Edit::default()), Err(Error::Io { .. })));
    assert!(matches!(manifest.commit(Edit::default()), Err(Error::Poisoned)));
    assert!(manifest.is_poisoned());
    assert_eq!(manifest.version().flushed_lsn(), Lsn(1));
}

#[test]
fn a_log_that_grew_is_replaced_and_the_old_one_removed() {
    let disk = SimDisk::new();
    work(&disk);
    let logs = |disk: &SimDisk| disk.list(Path::new("manifest")).unwrap();
    let names: Vec<String> = logs(&disk).into_iter().map(|e| e.name).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(!names.contains(&"0000000001.log".to_owned()));
    assert!(logs(&disk).iter().all(|e| e.bytes < 4 * LOG_BYTES));
}

#[test]
fn a_store_without_current_beside_rows_is_damaged_not_new() {
    let disk = SimDisk::new();
    work(&disk);
    disk.lose("manifest/CURRENT");
    assert!(open(&disk).is_err_and(|e| e.is_damage()));
    let disk = SimDisk::new();
    work(&disk);
    let log = disk.paths().into_iter().find(|p| p.extension().is_some_and(|e| e == "log")).unwrap();
    disk.lose(log);
    assert!(open(&disk).is_err_and(|e| e.is_damage()));
}

#[test]
fn every_changed_byte_is_found_or_says_the_same() {
    let disk = SimDisk::new();
    work(&disk);
    let version = open(&disk).unwrap().version();
    let disk = disk.crash(CrashPolicy::KeepAll, 0);
    let files = disk.paths().into_iter().filter(|p| p.starts_with("manifest"));
    for path in files {
        for offset in 0..disk.content(&path).unwrap().len() as u64 {
            let damaged = disk.kill();
            damaged.corrupt(&path, offset, 0x10);
            match open(&damaged) {
                Ok(manifest) => assert_eq!(*manifest.version(), *version, "{} {offset}", path.display()),
                Err(Error::Corrupt { path: blamed, .. }) => assert_eq!(blamed, path),
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[test]
fn an_edit_that_does_not_fit_is_refused_and_changes_nothing() {
    let disk = SimDisk::new();
    let manifest = open(&disk).unwrap();
    step(&disk, &manifest).unwrap();
    let before = manifest.version();
    let live = before.files().next().unwrap().id;
    let bad = [
        Edit { remove: vec![FileId(77)], ..Edit::default() },
        Edit { remove: vec![live, live], ..Edit::default() },
        Edit { add: vec![segment(live), segment(live)], ..Edit::default() },
        Edit { add: vec![segment(FileId(1000))], ..Edit::default() },
        Edit { add: vec![FileMeta::new(live, FileKind::Ids, 1, [0; 32])], ..Edit::default() },
        Edit { flushed_lsn: Some(Lsn(0)), ..Edit::default() },
    ];
    for edit in bad {
        assert!(matches!(manifest.commit(edit), Err(Error::Invalid { .. })));
    }
    assert_eq!(*manifest.version(), *before);
    step(&disk, &manifest).unwrap();
}

#[test]
fn files_of_other_programs_are_left_alone() {
    let disk = SimDisk::new();
    let manifest = open(&disk).unwrap();
    for name in ["segments/notes.txt", "segments/1.seg", "segments/0000000005.tmp", "manifest/0000000001.bak"]
    {
        disk.put(name, b"x");
    }
    disk.put("segments/0000000009.seg", b"x");
    disk.put("manifest/CURRENT.tmp", b"x");
    let orphans = manifest.orphans().unwrap();
    assert_eq!(orphans, [Path::new("segments/0000000009.seg"), Path::new("manifest/CURRENT.tmp")]);
    let reopened = open(&disk).unwrap();
    assert_eq!(reopened.allocate(), FileId(10));
}

#[test]
fn the_bytes_of_a_manifest_are_the_ones_of_before() {
    let disk = SimDisk::new();
    let manifest = Manifest::open_or_create(Arc::new(disk.clone())).unwrap();
    for _ in 0..3 {
        step(&disk, &manifest).unwrap();
    }
    crate::golden::check("manifest/CURRENT", &disk.content("manifest/CURRENT").unwrap());
    crate::golden::check("manifest/0000000001.log", &disk.content("manifest/0000000001.log").unwrap());
}

proptest! {
    #[test]
    fn random_edits_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(edit) = crate::record::decode::<Edit>(&bytes) {
            drop(Version::default().apply(&edit));
        }
    }
}
