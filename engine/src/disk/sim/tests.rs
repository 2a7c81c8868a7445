//! The simulated disk keeps what it promises and forgets the rest.

use std::path::Path;

use super::*;
use crate::disk::Disk;
use crate::error::Error;

fn p(path: &str) -> &Path {
    Path::new(path)
}

/// A disk with a synced file `d/f` that holds `old`.
fn disk_with(old: &[u8]) -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir(p("d")).unwrap();
    let file = disk.create(p("d/f")).unwrap();
    file.write_at(0, old).unwrap();
    file.sync().unwrap();
    disk.sync_dir(p("d")).unwrap();
    disk
}

#[test]
fn synced_bytes_survive_every_policy_and_unsynced_ones_only_some() {
    for policy in CrashPolicy::ALL {
        let disk = disk_with(b"old");
        let file = disk.open_write(p("d/f")).unwrap();
        file.write_at(3, b"new").unwrap();
        let after = disk.crash(policy, 7).content("d/f").unwrap();
        assert!(after.starts_with(b"old"), "{policy:?}");
        match policy {
            CrashPolicy::DropAll => assert_eq!(after, b"old"),
            CrashPolicy::KeepAll => assert_eq!(after, b"oldnew"),
            _ => assert!(b"oldnew".starts_with(&after)),
        }
    }
}

#[test]
fn a_file_whose_name_was_not_synced_vanishes() {
    let disk = disk_with(b"old");
    let file = disk.create(p("d/g")).unwrap();
    file.write_at(0, b"x").unwrap();
    file.sync().unwrap();
    assert_eq!(disk.crash(CrashPolicy::DropAll, 0).paths(), [p("d/f")]);
    assert_eq!(disk.crash(CrashPolicy::KeepAll, 0).paths(), [p("d/f"), p("d/g")]);
}

#[test]
fn a_removed_name_comes_back_until_its_directory_is_synced() {
    let disk = disk_with(b"old");
    disk.remove(p("d/f")).unwrap();
    assert_eq!(disk.crash(CrashPolicy::DropAll, 0).content("d/f").unwrap(), b"old");
    let disk = disk_with(b"old");
    disk.remove(p("d/f")).unwrap();
    disk.sync_dir(p("d")).unwrap();
    assert!(disk.crash(CrashPolicy::DropAll, 0).paths().is_empty());
}

#[test]
fn a_renamed_file_is_found_under_exactly_one_of_its_names() {
    let mut seen = [false; 2];
    for seed in 0..64 {
        let disk = disk_with(b"old");
        disk.rename(p("d/f"), p("d/g")).unwrap();
        disk.rename(p("d/g"), p("d/f")).unwrap();
        disk.rename(p("d/f"), p("d/g")).unwrap();
        let paths = disk.crash(CrashPolicy::KeepRandomSubset, seed).paths();
        assert_eq!(paths.len(), 1);
        seen[usize::from(paths[0] == p("d/g"))] = true;
    }
    assert_eq!(seen, [true, true]);
}

#[test]
fn a_replaced_file_is_the_old_or_the_new_one() {
    let disk = disk_with(b"old");
    let new = disk.create(p("d/tmp")).unwrap();
    new.write_at(0, b"new").unwrap();
    new.sync().unwrap();
    disk.rename(p("d/tmp"), p("d/f")).unwrap();
    assert_eq!(disk.crash(CrashPolicy::DropAll, 0).content("d/f").unwrap(), b"old");
    let after = disk.crash(CrashPolicy::KeepAll, 0);
    assert_eq!(after.content("d/f").unwrap(), b"new");
    assert_eq!(after.paths().len(), 1);
}

#[test]
fn a_torn_write_is_cut_at_sectors_and_elsewhere() {
    let mut lens = std::collections::BTreeSet::new();
    for seed in 0..500 {
        let disk = disk_with(b"");
        disk.open_write(p("d/f")).unwrap().write_at(0, &[1; 9000]).unwrap();
        lens.insert(disk.crash(CrashPolicy::TearLast, seed).content("d/f").unwrap().len());
    }
    assert!(lens.contains(&512) && lens.contains(&4096) && lens.contains(&0));
    assert!(lens.iter().any(|len| len % 512 != 0));
}

#[test]
fn handles_fail_after_a_crash_and_the_lock_is_free() {
    let disk = disk_with(b"old");
    let file = disk.open_read(p("d/f")).unwrap();
    let _lock = disk.lock().unwrap();
    assert!(matches!(disk.lock(), Err(Error::Locked { .. })));
    let after = disk.crash(CrashPolicy::KeepAll, 0);
    assert!(matches!(file.read_at(0, &mut [0]), Err(Error::Io { action: "read", .. })));
    assert!(disk.create(p("x")).is_err());
    after.lock().unwrap();
}

#[test]
fn the_chosen_operation_fails_and_only_it() {
    let disk = disk_with(b"old");
    disk.fail_at(disk.op_count() + 1, FaultKind::Enospc, false);
    let file = disk.open_write(p("d/f")).unwrap();
    assert!(file.write_at(0, b"a").is_err());
    file.write_at(0, b"b").unwrap();
    disk.fail_kind_at(OpKind::Write, disk.op_count_of(OpKind::Write) + 1, FaultKind::ShortWrite, true);
    file.write_at(0, b"cccc").unwrap();
    file.sync().unwrap();
    assert!(file.write_at(0, b"dddd").is_err());
    assert!(file.write_at(4, b"eeee").is_err());
    assert_eq!(disk.content("d/f").unwrap(), b"ddccee");
    disk.crash_at(disk.op_count());
    assert!(file.sync().is_err());
    disk.clear_faults();
    assert!(file.sync().is_err(), "the power stays off");
}

#[test]
fn writes_of_a_failed_sync_are_seen_but_never_durable() {
    let disk = disk_with(b"old");
    let file = disk.open_write(p("d/f")).unwrap();
    file.write_at(0, b"new").unwrap();
    disk.fail_kind_at(OpKind::Sync, disk.op_count_of(OpKind::Sync), FaultKind::Eio, false);
    assert!(file.sync().is_err());
    file.write_at(3, b"!").unwrap();
    file.sync().unwrap();
    assert_eq!(disk.content("d/f").unwrap(), b"new!");
    assert_eq!(disk.crash(CrashPolicy::KeepAll, 0).content("d/f").unwrap(), b"old!");
}

#[test]
fn a_kill_keeps_writes_that_a_power_cut_still_takes() {
    let disk = disk_with(b"old");
    disk.open_write(p("d/f")).unwrap().write_at(0, b"new").unwrap();
    let killed = disk.kill();
    assert!(disk.open_read(p("d/f")).is_err());
    assert_eq!(killed.content("d/f").unwrap(), b"new");
    assert_eq!(killed.crash(CrashPolicy::DropAll, 0).content("d/f").unwrap(), b"old");
}

#[test]
fn a_full_disk_refuses_growth_and_recovers() {
    let disk = disk_with(b"old");
    disk.set_capacity(Some(5));
    let file = disk.open_write(p("d/f")).unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 2);
    assert!(file.allocate(6).is_err());
    assert!(file.write_at(3, b"abc").is_err());
    file.write_at(0, b"xyzab").unwrap();
    disk.set_capacity(None);
    file.allocate(6).unwrap();
    assert_eq!(disk.content("d/f").unwrap(), b"xyzab\0");
}

#[test]
fn damage_is_what_was_asked_for() {
    let disk = disk_with(b"old");
    disk.put("e/g", b"other");
    assert!(disk.corrupt("d/f", 1, 0xFF));
    assert!(!disk.corrupt("d/f", 9, 0xFF));
    assert_eq!(disk.content("d/f").unwrap(), [b'o', b'l' ^ 0xFF, b'd']);
    assert!(disk.swap("d/f", "e/g"));
    assert_eq!(disk.crash(CrashPolicy::DropAll, 0).content("d/f").unwrap(), b"other");
    assert!(disk.cut("d/f", 2));
    assert_eq!(disk.content("d/f").unwrap(), b"ot");
    assert!(disk.lose("e/g"));
    assert_eq!(disk.paths(), [p("d/f")]);
}

#[test]
fn a_removed_file_is_read_through_its_handle() {
    let disk = disk_with(b"old");
    let file = disk.open_read(p("d/f")).unwrap();
    disk.remove(p("d/f")).unwrap();
    disk.sync_dir(p("d")).unwrap();
    let mut buf = [0; 3];
    file.read_at(0, &mut buf).unwrap();
    assert_eq!((&buf, &*file.map().unwrap()), (b"old", &b"old"[..]));
}
