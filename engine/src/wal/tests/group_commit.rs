//! The log shares a sync, tells the truth to every job, and ends with its first error.

use std::time::Duration;

use parking_lot::Mutex;

use super::*;
use crate::clock::ManualClock;
use crate::config::Durability;
use crate::disk::sim::{CrashPolicy, FaultKind, OpKind};
use crate::error::Error;
use crate::time::TimestampUs;

/// Remembers what it was told.
#[derive(Debug, Default, Clone)]
struct Told {
    kept: Arc<Mutex<Vec<u64>>>,
    lost: Arc<Mutex<Vec<u64>>>,
}

impl Sink for Told {
    type Job = u64;

    fn kept(&self, jobs: Vec<u64>) {
        self.kept.lock().extend(jobs);
    }

    fn lost(&self, jobs: Vec<u64>, error: &Error) {
        assert!(matches!(error, Error::Io { .. } | Error::Poisoned));
        self.lost.lock().extend(jobs);
    }
}

struct Fixture {
    disk: SimDisk,
    log: Log<Told>,
    told: Told,
    clock: Arc<ManualClock>,
}

fn fixture(options: LogOptions) -> Fixture {
    let disk = SimDisk::new();
    let (_, _, wal) = reopen(&disk, 0).unwrap();
    let (told, clock) = (Told::default(), ManualClock::new(TimestampUs(0)));
    let log = Log::new(wal, told.clone(), options, clock.clone());
    Fixture { disk, log, told, clock }
}

impl Fixture {
    fn push(&self, lsn: u64, len: usize) -> Result<()> {
        self.log.push(Entry { lsn: Lsn(lsn), kind: 1, payload: payload(lsn, len), job: lsn })
    }

    fn kept(&self) -> Vec<u64> {
        self.told.kept.lock().clone()
    }

    fn lost(&self) -> Vec<u64> {
        self.told.lost.lock().clone()
    }

    /// What comes back after a power cut that takes all that was not synced.
    fn after_power_cut(&self) -> Vec<u64> {
        lsns(&replay_all(&self.disk.crash(CrashPolicy::DropAll, 0), 0).unwrap().1)
    }
}

#[test]
fn everything_queued_shares_one_write_and_one_sync() {
    let f = fixture(LogOptions::default());
    let before = (f.disk.op_count_of(OpKind::Write), f.disk.op_count_of(OpKind::Sync));
    (1..=20).for_each(|lsn| f.push(lsn, 50).unwrap());
    assert!(f.log.wait_for_work(Duration::from_mins(1)));
    assert!(f.kept().is_empty(), "nothing is answered before it is synced");
    let step = f.log.step().unwrap();
    assert_eq!(step, Step { frames: 20, bytes: 1000, synced: true });
    let after = (f.disk.op_count_of(OpKind::Write), f.disk.op_count_of(OpKind::Sync));
    assert_eq!((after.0 - before.0, after.1 - before.1), (1, 1));
    assert_eq!(f.kept(), (1..=20).collect::<Vec<_>>());
    assert!(f.log.step().unwrap().is_idle());
    assert_eq!(f.log.stats().synced_lsn, Lsn(20));
    assert_eq!(f.after_power_cut(), (1..=20).collect::<Vec<_>>());
}

#[test]
fn a_step_takes_no_more_than_its_limit_but_always_one() {
    let f = fixture(LogOptions { step_bytes_max: 100, ..LogOptions::default() });
    for (lsn, len) in [(1, 300), (2, 60), (3, 40), (4, 1)] {
        f.push(lsn, len).unwrap();
    }
    let frames: Vec<_> = (0..4).map(|_| f.log.step().unwrap().frames).collect();
    assert_eq!(frames, [1, 2, 1, 0]);
}

#[test]
fn a_full_queue_refuses_and_takes_again_after_a_step() {
    let f = fixture(LogOptions { queue_bytes_max: 100, payload_bytes_max: 500, ..LogOptions::default() });
    f.push(1, 60).unwrap();
    assert!(matches!(f.push(2, 60), Err(Error::Overloaded { limit: 100, .. })));
    assert!(matches!(f.log.check_room(60), Err(Error::Overloaded { .. })));
    assert!(matches!(f.push(2, 501), Err(Error::Invalid { .. })));
    f.log.step().unwrap();
    f.push(2, 400).unwrap();
    f.log.step().unwrap();
    assert_eq!(f.kept(), [1, 2]);
    assert_eq!(f.log.stats().queued_bytes, 0);
}

#[test]
#[should_panic(expected = "in the order of their numbers")]
fn entries_out_of_order_are_a_bug_of_the_caller() {
    let f = fixture(LogOptions::default());
    f.push(2, 1).unwrap();
    let _ = f.push(1, 1);
}

#[test]
fn after_a_failed_sync_all_jobs_are_lost_for_ever() {
    let f = fixture(LogOptions { step_bytes_max: 60, ..LogOptions::default() });
    f.push(1, 50).unwrap();
    f.log.step().unwrap();
    (2..=4).for_each(|lsn| f.push(lsn, 50).unwrap());
    f.disk.fail_kind_at(OpKind::Sync, f.disk.op_count_of(OpKind::Sync), FaultKind::Eio, false);
    assert!(matches!(f.log.step(), Err(Error::Io { action: "sync", .. })));
    assert_eq!((f.kept(), f.lost()), (vec![1], vec![2, 3, 4]));
    assert!(f.log.is_poisoned());
    assert!(matches!(f.push(5, 1), Err(Error::Poisoned)));
    assert!(matches!(f.log.check_room(1), Err(Error::Poisoned)));
    assert!(matches!(f.log.step(), Err(Error::Poisoned)));
    assert!(matches!(f.log.close(), Err(Error::Poisoned)));
    assert_eq!(f.after_power_cut(), [1]);
}

#[test]
fn every_job_is_told_once_whichever_operation_fails() {
    for at in 0..60 {
        let f = fixture(LogOptions { step_bytes_max: 900, ..LogOptions::default() });
        f.disk.fail_at(f.disk.op_count() + at, FaultKind::Enospc, true);
        let mut refused = Vec::new();
        for lsn in 1..=40 {
            if f.push(lsn, 400).is_err() {
                refused.push(lsn);
            }
            if lsn % 3 == 0 {
                let _ = f.log.step();
            }
        }
        let _ = f.log.close();
        let all = [f.kept(), f.lost(), refused].concat();
        assert_eq!(all, (1..=40).collect::<Vec<_>>(), "operation {at}");
        let back = f.after_power_cut();
        assert!(back.starts_with(&f.kept()), "operation {at}");
    }
}

#[test]
fn buffered_answers_after_the_write_and_syncs_when_idle_or_after_a_second() {
    let f = fixture(LogOptions { durability: Durability::Buffered, ..LogOptions::default() });
    f.push(1, 10).unwrap();
    assert_eq!(f.log.step().unwrap(), Step { frames: 1, bytes: 10, synced: false });
    assert_eq!(f.kept(), [1]);
    f.clock.advance(Duration::from_millis(999));
    f.push(2, 10).unwrap();
    assert!(!f.log.step().unwrap().synced);
    f.clock.advance(Duration::from_millis(1));
    assert!(f.log.wait_for_work(Duration::from_mins(1)), "the sync is due");
    f.push(3, 10).unwrap();
    assert!(f.log.step().unwrap().synced);
    f.push(4, 10).unwrap();
    f.log.step().unwrap();
    assert_eq!(f.log.step().unwrap(), Step { frames: 0, bytes: 0, synced: true });
    assert!(f.log.step().unwrap().is_idle());
    f.push(5, 10).unwrap();
    f.log.step().unwrap();
    assert_eq!(f.after_power_cut(), [1, 2, 3, 4]);
}

#[test]
fn close_keeps_what_is_queued_and_refuses_the_rest() {
    for durability in [Durability::Synced, Durability::Buffered] {
        let f = fixture(LogOptions { durability, step_bytes_max: 10, ..LogOptions::default() });
        (1..=5).for_each(|lsn| f.push(lsn, 10).unwrap());
        f.log.close().unwrap();
        f.log.close().unwrap();
        assert!(matches!(f.push(6, 1), Err(Error::Closed)));
        assert!(f.log.step().unwrap().is_idle());
        assert_eq!(f.kept(), [1, 2, 3, 4, 5]);
        assert_eq!(f.after_power_cut(), [1, 2, 3, 4, 5]);
    }
}

#[test]
fn recycling_shrinks_what_would_be_replayed() {
    let f = fixture(LogOptions::default());
    for lsn in 1..=30 {
        f.push(lsn, 500).unwrap();
        f.log.step().unwrap();
    }
    let before = f.log.live_bytes();
    f.log.rotate().unwrap();
    assert!(f.log.recycle(Lsn(30)).unwrap() > 2);
    assert!(before > 15_000 && f.log.live_bytes() == 0);
    assert!(!f.log.spares().fill().unwrap(), "recycled files are ready");
    f.log.spares().wipe().unwrap();
    f.push(31, 10).unwrap();
    f.log.step().unwrap();
    f.disk.clear_faults();
    let disk = f.disk.crash(CrashPolicy::DropAll, 0);
    assert_eq!(lsns(&replay_all(&disk, 30).unwrap().1), [31]);
}

#[test]
fn threads_push_while_one_steps_and_nothing_is_lost() {
    let f = fixture(LogOptions::default());
    let next = Mutex::new(0u64);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..250 {
                    let mut lsn = next.lock();
                    *lsn += 1;
                    f.push(*lsn, 20).unwrap();
                }
            });
        }
        scope.spawn(|| {
            while f.told.kept.lock().len() < 1000 {
                if f.log.wait_for_work(Duration::from_millis(10)) {
                    f.log.step().unwrap();
                }
            }
        });
    });
    assert_eq!(f.kept(), (1..=1000).collect::<Vec<_>>());
    assert!(f.log.stats().syncs <= 1000);
}
