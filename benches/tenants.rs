//! A hundred thousand tenants with a handful of rows each beside one that writes as fast as it can for a minute.
//!
//! Not a micro-benchmark: one run of the whole engine on a real disk, and its figures as a table.
//! `cargo bench --bench tenants`; with `--test` a small one.
#![expect(clippy::expect_used, reason = "a bench stops when its input is wrong")]
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use insights_engine::append::Append;
use insights_engine::clock::SystemClock;
use insights_engine::compaction::Effort;
use insights_engine::disk::os::OsDisk;
use insights_engine::id::{Stream, TenantId};
use insights_engine::query::{Aggregate, Budget, Filter, Query, Scope};
use insights_engine::schema::{Batch, BatchBuilder, stream};
use insights_engine::time::{TimeRange, TimestampUs};
use insights_engine::{Config, Engine};

/// 2024-02-29T12:00:00Z, a day that is over.
const NOW: i64 = 1_709_208_000_000_000;
/// Rows of each small tenant.
const ROWS: u64 = 5;
/// Rows of the large tenant in one append.
const LARGE_BATCH: u64 = 5_000;

fn tenant(number: u64) -> TenantId {
    TenantId::new(&format!("org-{number:06}")).expect("a name")
}

fn events(number: u64, rows: u64, first: u64) -> Batch {
    let mut batch = BatchBuilder::new(tenant(number), Stream::Events);
    for row in first..first + rows {
        let user = format!("user-{:04}", row % 5_000);
        batch
            .i64(&stream::TIME, NOW + i64::try_from(row).unwrap_or(0) * 100)
            .str(&stream::EVENT_TYPE, Some("click"))
            .str(&stream::APP_ID, Some("web"))
            .str(&stream::USER_ID, Some(&user));
        batch.finish_row();
    }
    batch.build()
}

#[expect(clippy::needless_pass_by_value, reason = "an append takes its batches")]
fn append(engine: &Engine, batches: Vec<Batch>) {
    let append = || Append { batches: batches.clone(), puts: Vec::new(), idempotency: None };
    // A full memtable refuses: its flush is on the way.
    while engine.append(append()).is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Median and slowest of some questions for one number.
fn ask(engine: &Engine, scopes: &[Scope]) -> (Duration, Duration) {
    let mut times: Vec<Duration> = Vec::new();
    for scope in scopes {
        let question = Query {
            scope: scope.clone(),
            stream: Stream::Events,
            window: TimeRange { start: TimestampUs(NOW), end: TimestampUs(NOW + 86_400_000_000 / 2) },
            filter: Filter::all(),
            group_by: Vec::new(),
            aggregates: vec![Aggregate::Count],
            budget: Budget::default(),
            rows_only: true,
            allow_partial: false,
        };
        let start = Instant::now();
        engine.aggregate(&question).expect("an answer");
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    (median, times.last().copied().unwrap_or_default())
}

/// Resident memory of this process in MiB.
fn memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Open descriptors of this process.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

fn main() {
    let small = std::env::args().any(|arg| arg == "--test");
    let (tenants, minute) =
        if small { (500, Duration::from_millis(200)) } else { (100_000, Duration::from_mins(1)) };
    let dir = tempfile::tempdir().expect("a directory");
    let disk = Arc::new(OsDisk::open(dir.path()).expect("a data directory"));
    let engine = Engine::open(Config::default(), disk, SystemClock::new(), [1; 32]).expect("a store");
    println!("{tenants} tenants of {ROWS} rows, one that writes for {minute:?}");

    let done = Arc::new(AtomicBool::new(false));
    let (writer, is_done) = (Arc::clone(&engine), Arc::clone(&done));
    let large = std::thread::spawn(move || {
        let (start, mut rows) = (Instant::now(), 0);
        while start.elapsed() < minute || !is_done.load(Ordering::Relaxed) {
            append(&writer, vec![events(0, LARGE_BATCH, rows)]);
            rows += LARGE_BATCH;
        }
        (rows, start.elapsed())
    });
    let start = Instant::now();
    let numbers: Vec<u64> = (1..=tenants).collect();
    for chunk in numbers.chunks(1_000) {
        append(&engine, chunk.iter().map(|number| events(*number, ROWS, 0)).collect());
    }
    let of_small = start.elapsed();
    done.store(true, Ordering::Relaxed);
    let (rows, of_large) = large.join().expect("a writer");
    println!("small tenants written in {of_small:.1?}; the large one wrote {rows} rows in {of_large:.1?}");

    let start = Instant::now();
    engine.flush().expect("a flush");
    println!("last flush {:.2?}, {} MiB of memory", start.elapsed(), memory_mib());
    let start = Instant::now();
    let report = engine.compact(Effort::Full).expect("a compaction");
    println!("compaction {:.2?}: {report:?}", start.elapsed());
    let stats = engine.stats();
    println!(
        "{} segments, {} bytes, {} rows; {} flushes, {} syncs of the log, {} merges, {} descriptors, {} MiB",
        stats.segments,
        stats.segment_bytes,
        stats.segment_rows,
        stats.flushes,
        stats.wal_syncs,
        stats.compactions,
        descriptors(),
        memory_mib(),
    );
    let step = usize::try_from(tenants / 100).unwrap_or(1).max(1);
    let small: Vec<Scope> = (1..=tenants).step_by(step).map(|number| Scope::One(tenant(number))).collect();
    let (median, slowest) = ask(&engine, &small);
    println!("a small tenant's rows: median {median:.2?}, slowest {slowest:.2?}");
    let (median, slowest) = ask(&engine, &vec![Scope::One(tenant(0)); 5]);
    println!("the large tenant's rows: median {median:.2?}, slowest {slowest:.2?}");
    let (median, slowest) = ask(&engine, &vec![Scope::All; 5]);
    println!("all rows: median {median:.2?}, slowest {slowest:.2?}");
    engine.close().expect("a clean end");
}
