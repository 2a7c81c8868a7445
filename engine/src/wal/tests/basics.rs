//! What goes in comes out, over files, restarts and recycling.

use super::*;
use crate::disk::OsDisk;
use crate::disk::sim::CrashPolicy;

#[test]
fn frames_come_back_in_order_over_many_files() {
    let disk = SimDisk::new();
    let (_, _, mut wal) = reopen(&disk, 0).unwrap();
    for lsn in 1..=100 {
        commit(&mut wal, lsn, 300).unwrap();
    }
    let (replayed, found) = replay_all(&disk, 0).unwrap();
    assert_eq!(replayed.last_lsn, Lsn(100));
    assert!(replayed.damage.is_empty());
    assert_eq!(replayed.torn_tail_bytes, 0);
    assert_eq!(found, (1..=100).map(|lsn| (lsn, 1, payload(lsn, 300))).collect::<Vec<_>>());
    assert!(disk.paths().len() > 5);
}

#[test]
fn a_log_goes_on_after_each_restart() {
    let mut disk = SimDisk::new();
    for round in 0..5u64 {
        let (found, replayed, mut wal) = reopen(&disk, 0).unwrap();
        assert_eq!(lsns(&found), (1..=round * 10).collect::<Vec<_>>());
        assert!(replayed.damage.is_empty(), "{:?}", replayed.damage);
        for lsn in round * 10 + 1..=round * 10 + 10 {
            commit(&mut wal, lsn, 500).unwrap();
        }
        disk = disk.crash(CrashPolicy::DropAll, round);
    }
}

#[test]
fn a_frame_longer_than_a_file_gets_its_own() {
    let disk = SimDisk::new();
    let (_, _, mut wal) = reopen(&disk, 0).unwrap();
    for (lsn, len) in [(1, 100), (2, 100_000), (3, 100), (4, 0)] {
        commit(&mut wal, lsn, len).unwrap();
    }
    let (replayed, found) = replay_all(&disk, 0).unwrap();
    assert_eq!(found.iter().map(|f| f.2.len()).collect::<Vec<_>>(), [100, 100_000, 100, 0]);
    assert!(replayed.damage.is_empty());
    wal.rotate().unwrap();
    assert_eq!(wal.recycle(Lsn(4)).unwrap(), 3);
    assert_eq!(wal.spares().count(), 2, "the long file is removed, the others wait");
    assert_eq!(wal.live_bytes(), 0);
}

#[test]
fn recycled_files_are_used_again_and_their_old_frames_never_come_back() {
    let disk = SimDisk::new();
    let (_, _, mut wal) = reopen(&disk, 0).unwrap();
    let mut lsn = 0;
    for _ in 0..20 {
        for _ in 0..20 {
            lsn += 1;
            commit(&mut wal, lsn, 300).unwrap();
        }
        wal.recycle(Lsn(lsn)).unwrap();
        let (replayed, found) = replay_all(&disk, 0).unwrap();
        assert_eq!(replayed.last_lsn, Lsn(lsn));
        assert!(found.windows(2).all(|w| w[0].0 + 1 == w[1].0));
        assert!(disk.paths().len() <= 4, "{:?}", disk.paths());
    }
    let flushed = lsn - 3;
    let (replayed, found) = replay_all(&disk, flushed).unwrap();
    assert_eq!(lsns(&found), (flushed + 1..=lsn).collect::<Vec<_>>());
    assert!(replayed.damage.is_empty(), "what is missing was flushed");
}

#[test]
fn a_closed_log_takes_nothing_and_opens_clean() {
    let disk = SimDisk::new();
    let (_, _, mut wal) = reopen(&disk, 0).unwrap();
    append(&mut wal, 1, 10).unwrap();
    wal.close().unwrap();
    assert!(matches!(append(&mut wal, 2, 10), Err(crate::Error::Closed)));
    let (found, replayed, _) = reopen(&disk.crash(CrashPolicy::DropAll, 0), 0).unwrap();
    assert_eq!(lsns(&found), [1]);
    assert_eq!((replayed.torn_tail_bytes, replayed.damage.len()), (0, 0));
}

#[test]
fn a_real_disk_gives_back_what_was_synced() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::open(dir.path()).unwrap());
    for round in 0..3u64 {
        let (mut replayed, found) = replay_all(&*disk, 0).unwrap();
        assert_eq!(lsns(&found), (1..=round * 20).collect::<Vec<_>>());
        assert_eq!((replayed.damage.len(), replayed.torn_tail_bytes), (0, 0));
        let mut wal = WalWriter::open(disk.clone(), Path::new(DIR), &options(), &mut replayed).unwrap();
        for lsn in round * 20 + 1..=round * 20 + 20 {
            commit(&mut wal, lsn, 700).unwrap();
        }
    }
}
