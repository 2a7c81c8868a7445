//! One durable append, beside a raw `fdatasync` of the same bytes on the same disk.
#![expect(clippy::expect_used, reason = "a bench stops when its disk fails")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use insights_benches::quick;
use insights_engine::Error;
use insights_engine::clock::SystemClock;
use insights_engine::disk::{Disk, OsDisk};
use insights_engine::id::Lsn;
use insights_engine::wal::{Entry, Log, LogOptions, Sink, WalOptions, WalWriter, replay};

const FILE_BYTES: u64 = 64 << 20;

/// Counts nothing: the bench waits for the step itself.
struct Nobody;

impl Sink for Nobody {
    type Job = ();

    fn kept(&self, jobs: Vec<()>) {
        black_box(jobs);
    }

    fn lost(&self, _jobs: Vec<()>, error: &Error) {
        panic!("the disk of the bench failed: {error}");
    }
}

fn log(disk: &Arc<dyn Disk>) -> Log<Nobody> {
    let dir = Path::new("wal");
    let options = WalOptions { file_bytes: FILE_BYTES, spare_files_max: 2, new_log_id: 1 };
    let mut replayed = replay(&**disk, dir, Lsn(0), &mut |_| Ok(())).expect("an empty directory");
    let wal = WalWriter::open(disk.clone(), dir, &options, &mut replayed).expect("a disk with room");
    Log::new(wal, Nobody, LogOptions::default(), SystemClock::new())
}

fn append(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory for the bench");
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::open(dir.path()).expect("a directory for the bench"));
    let mut group = quick(c, "wal");
    for bytes in [100usize, 10_000, 1_000_000] {
        group.throughput(Throughput::Bytes(bytes as u64));
        let payload = vec![0x5A; bytes];
        group.bench_with_input(BenchmarkId::new("append", bytes), &payload, |b, payload| {
            let log = log(&disk);
            let mut lsn = log.stats().synced_lsn.0;
            b.iter(|| {
                lsn += 1;
                let entry = Entry { lsn: Lsn(lsn), kind: 1, payload: payload.clone(), job: () };
                log.push(entry).expect("an empty queue");
                log.step().expect("a disk with room");
                // As the engine does after each flush, so that files are used again.
                if lsn.is_multiple_of(64) {
                    log.recycle(Lsn(lsn)).expect("a disk with room");
                }
            });
            log.rotate().expect("a disk with room");
            log.recycle(Lsn(lsn)).expect("a disk with room");
        });
        group.bench_with_input(BenchmarkId::new("raw_fdatasync", bytes), &payload, |b, payload| {
            let path = Path::new("raw");
            let file = disk.create(path).expect("a disk with room");
            file.allocate(FILE_BYTES).expect("a disk with room");
            file.sync().expect("a disk with room");
            let mut at = 0;
            b.iter(|| {
                file.write_at(at, payload).expect("a disk with room");
                file.sync().expect("a disk with room");
                at += payload.len() as u64;
                if at + payload.len() as u64 > FILE_BYTES {
                    at = 0;
                }
            });
            disk.remove(path).expect("the file of the bench");
        });
    }
    group.finish();
}

/// Sixty-four appends that queued up while a sync ran: one write and one sync for all of them.
fn group_commit(c: &mut Criterion) {
    const APPENDS: u64 = 64;
    const BYTES: usize = 1_000;
    let dir = tempfile::tempdir().expect("a directory for the bench");
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::open(dir.path()).expect("a directory for the bench"));
    let log = log(&disk);
    let mut lsn = log.stats().synced_lsn.0;
    let mut group = quick(c, "wal");
    group.throughput(Throughput::Elements(APPENDS));
    group.bench_function(BenchmarkId::new("group_commit_of_64", BYTES), |b| {
        b.iter(|| {
            for _ in 0..APPENDS {
                lsn += 1;
                let payload = vec![0x5A; BYTES];
                log.push(Entry { lsn: Lsn(lsn), kind: 1, payload, job: () }).expect("an empty queue");
            }
            log.step().expect("a disk with room");
            log.recycle(Lsn(lsn)).expect("a disk with room");
        });
    });
    group.finish();
}

criterion_group!(benches, append, group_commit);
criterion_main!(benches);
