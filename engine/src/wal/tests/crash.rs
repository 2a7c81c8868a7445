//! Power cuts, kills and failing operations at every point of a workload.

use super::*;
use crate::disk::sim::{CrashPolicy, FaultKind, OpKind};

/// What a workload knows when it stops.
#[derive(Debug, Default, Clone, Copy)]
struct Known {
    /// The last number given away.
    appended: u64,
    /// The last number that was synced.
    acked: u64,
    /// Everything up to it is in segments.
    flushed: u64,
}

/// A small deterministic generator, so that a failing case can be named by its seed.
fn step_random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// Appends, syncs, rotates, recycles and fills the pool until the disk refuses; what is known then.
fn run(wal: &mut WalWriter, known: &mut Known, seed: u64, steps: u64) -> Result<()> {
    let mut random = seed;
    for _ in 0..steps {
        match step_random(&mut random) % 10 {
            0..=5 => {
                for _ in 0..=step_random(&mut random) % 3 {
                    let len = if step_random(&mut random).is_multiple_of(20) {
                        9000
                    } else {
                        step_random(&mut random) % 900
                    };
                    known.appended += 1;
                    append(wal, known.appended, usize::try_from(len).unwrap())?;
                }
                wal.write()?;
                wal.sync()?;
                known.acked = known.appended;
            }
            6 => {
                known.appended += 1;
                append(wal, known.appended, 200)?;
                wal.write()?;
            }
            7 => wal.rotate()?,
            8 => {
                known.flushed = known.acked;
                wal.recycle(Lsn(known.flushed))?;
            }
            _ => {
                wal.spares().fill()?;
            }
        }
    }
    Ok(())
}

/// Reopens and checks that nothing acknowledged is lost, nothing is invented and the order is whole.
fn check(disk: &SimDisk, known: &mut Known, case: &str) -> WalWriter {
    let (found, replayed, wal) = reopen(disk, known.flushed).unwrap_or_else(|e| panic!("{case}: {e:?}"));
    let last = found.last().map_or(known.flushed, |f| f.0);
    assert!(replayed.damage.is_empty(), "{case}: {:?}", replayed.damage);
    assert!(last >= known.acked, "{case}: {known:?}, last is {last}");
    assert!(last <= known.appended, "{case}: {known:?}, last is {last}");
    assert_eq!(lsns(&found), (known.flushed + 1..=last).collect::<Vec<_>>(), "{case}");
    for (lsn, kind, bytes) in &found {
        assert_eq!((*kind, bytes), (1, &payload(*lsn, bytes.len())), "{case}: frame {lsn}");
    }
    // What a restart has seen is durable from there on.
    (known.acked, known.appended) = (last, last);
    wal
}

fn start(seed: u64, steps: u64, crash_at: Option<u64>) -> (SimDisk, Known) {
    let disk = SimDisk::new();
    if let Some(at) = crash_at {
        disk.crash_at_change(at);
    }
    let mut known = Known::default();
    if let Ok((_, _, mut wal)) = reopen(&disk, 0) {
        let _ = run(&mut wal, &mut known, seed, steps);
    }
    (disk, known)
}

#[test]
fn acknowledged_frames_survive_a_power_cut_at_every_operation() {
    for seed in 0..6 {
        let (whole, _) = start(seed, 40, None);
        for at in 0..=whole.change_count() {
            let (cut, known) = start(seed, 40, Some(at));
            for (index, policy) in CrashPolicy::ALL.into_iter().enumerate() {
                let case = format!("seed {seed}, change {at}, {policy:?}");
                let disk = cut.crash(policy, seed * 1000 + at);
                let mut known = known;
                let mut wal = check(&disk, &mut known, &case);
                // And the log goes on: what comes next survives the next one.
                let _ = run(&mut wal, &mut known, at + index as u64, 3);
                check(&disk.crash(CrashPolicy::KeepRandomSubset, at), &mut known, &case);
            }
        }
    }
}

#[test]
fn a_power_cut_in_the_middle_of_a_restart_loses_nothing() {
    for seed in 0..4 {
        let (whole, _) = start(seed, 25, None);
        for at in (0..=whole.change_count()).step_by(3) {
            let (cut, known) = start(seed, 25, Some(at));
            for policy in CrashPolicy::ALL {
                for again in 0..12 {
                    let disk = cut.crash(policy, at);
                    disk.crash_at_change(again);
                    let opened = reopen(&disk, known.flushed).is_ok();
                    let after = disk.crash(CrashPolicy::KeepRandomSubset, again);
                    let case = format!("seed {seed}, change {at}, {policy:?}, then {again}");
                    check(&after, &mut known.clone(), &case);
                    if opened {
                        break;
                    }
                }
            }
        }
    }
}

#[test]
fn what_a_killed_process_wrote_is_durable_once_it_was_replayed() {
    for seed in 0..6 {
        let (whole, _) = start(seed, 30, None);
        for at in 0..=whole.change_count() {
            let (cut, mut known) = start(seed, 30, Some(at));
            let case = format!("seed {seed}, change {at}");
            let disk = cut.kill();
            let mut wal = check(&disk, &mut known, &case);
            let _ = run(&mut wal, &mut known, at, 2);
            check(&disk.crash(CrashPolicy::DropAll, at), &mut known, &case);
        }
    }
}

#[test]
fn bytes_that_a_failed_sync_dropped_are_written_again_before_they_are_relied_on() {
    for seed in 0..8 {
        let (whole, _) = start(seed, 30, None);
        for at in 0..whole.op_count_of(OpKind::Sync) {
            let disk = SimDisk::new();
            disk.fail_kind_at(OpKind::Sync, at, FaultKind::Eio, false);
            let mut known = Known::default();
            if let Ok((_, _, mut wal)) = reopen(&disk, 0) {
                let _ = run(&mut wal, &mut known, seed, 30);
            }
            let case = format!("seed {seed}, sync {at}");
            // The process restarts; the page cache still shows what the disk never got.
            let disk = disk.kill();
            check(&disk, &mut known, &case);
            check(&disk.crash(CrashPolicy::DropAll, 0), &mut known, &case);
        }
    }
}

#[test]
fn every_operation_may_fail_and_the_first_error_ends_the_log() {
    for kind in [FaultKind::Eio, FaultKind::Enospc, FaultKind::ShortWrite] {
        for sticky in [false, true] {
            let (whole, _) = start(5, 40, None);
            for at in 0..whole.op_count() {
                let disk = SimDisk::new();
                disk.fail_at(at, kind, sticky);
                let mut known = Known::default();
                let case = format!("{kind:?}, operation {at}, sticky {sticky}");
                if let Ok((_, _, mut wal)) = reopen(&disk, 0) {
                    let failed = run(&mut wal, &mut known, 5, 40).is_err();
                    if wal.is_poisoned() {
                        let before = disk.op_count();
                        assert!(failed, "{case}");
                        assert!(matches!(wal.sync(), Err(crate::Error::Poisoned)), "{case}");
                        assert!(
                            matches!(append(&mut wal, u64::MAX, 1), Err(crate::Error::Poisoned)),
                            "{case}"
                        );
                        assert_eq!(disk.op_count(), before, "{case}: a failed sync is not tried again");
                    }
                }
                check(&disk.crash(CrashPolicy::KeepRandomSubset, at), &mut known, &case);
            }
        }
    }
}

#[test]
fn a_torn_tail_at_every_byte_is_cut_not_fatal() {
    let disk = SimDisk::new();
    let (_, _, mut wal) = reopen(&disk, 0).unwrap();
    for lsn in 1..=5 {
        commit(&mut wal, lsn, 100).unwrap();
    }
    drop(wal);
    let path = disk.paths().pop().unwrap();
    let whole = disk.content(&path).unwrap();
    let start = 4096 + 2 * usize::try_from(record::frame_bytes(100)).unwrap();
    for cut in start..start + 3 * usize::try_from(record::frame_bytes(100)).unwrap() {
        for zeroed in [false, true] {
            let mut bytes = whole[..cut].to_vec();
            if zeroed {
                bytes.resize(whole.len(), 0);
            }
            let disk = SimDisk::new();
            disk.put(&path, &bytes);
            let (found, replayed, mut wal) = reopen(&disk, 0).unwrap();
            let whole_frames = 2 + (cut - start) / usize::try_from(record::frame_bytes(100)).unwrap();
            // Zeroes are also what the padding of the last frame is.
            assert!(
                found.len() == whole_frames || (zeroed && found.len() == whole_frames + 1),
                "cut at {cut}"
            );
            assert!(replayed.damage.is_empty(), "cut at {cut}: {:?}", replayed.damage);
            let next = found.len() as u64 + 1;
            commit(&mut wal, next, 50).unwrap();
            let (replayed, again) = replay_all(&disk, 0).unwrap();
            assert_eq!(lsns(&again), (1..=next).collect::<Vec<_>>(), "cut at {cut}");
            assert_eq!((replayed.torn_tail_bytes, replayed.damage.len()), (0, 0), "cut at {cut}");
        }
    }
}

#[test]
fn frames_behind_a_torn_one_never_come_back() {
    let disk = SimDisk::new();
    let (_, _, mut wal) = reopen(&disk, 0).unwrap();
    commit(&mut wal, 1, 100).unwrap();
    for lsn in 2..=4 {
        append(&mut wal, lsn, 100).unwrap();
    }
    wal.write().unwrap();
    drop(wal);
    let path = disk.paths().pop().unwrap();
    // The second frame of one write is torn, the others made it.
    assert!(disk.corrupt(&path, 4096 + 2 * record::frame_bytes(100) + 60, 1));
    let (found, replayed, mut wal) = reopen(&disk, 0).unwrap();
    assert_eq!(lsns(&found), [1, 2]);
    assert_eq!(replayed.torn_tail_bytes, 2 * record::frame_bytes(100));
    commit(&mut wal, 3, 77).unwrap();
    let (replayed, found) = replay_all(&disk, 0).unwrap();
    assert_eq!(lsns(&found), [1, 2, 3]);
    assert_eq!(found[2].2, payload(3, 77));
    assert!(replayed.damage.is_empty());
}
