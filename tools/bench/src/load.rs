//! Sends bodies over many connections, in a closed or an open loop, and collects what happened.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;

use crate::args::Ingest;
use crate::client::{Client, Target};
use crate::histogram::Histogram;
use crate::records::Bodies;

/// Records of all bodies that are made beforehand.
const RECORDS_MADE: u64 = 200_000;
/// Bodies of one client at most.
const BODIES_MAX: u64 = 64;
/// Errors that are told in full.
const TOLD_MAX: u64 = 3;
/// How often progress is shown.
const PROGRESS: Duration = Duration::from_secs(1);

/// Why nothing could be measured, or a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The URL is not one of a server.
    #[error("{0} is not http://host[:port]")]
    Url(String),
    /// The server's answer was not a 2xx, or none that we understand.
    #[error("the server answered {0}: {1}")]
    Refused(u16, String),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Http(#[from] hyper::Error),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What happened.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Records that were accepted.
    pub(crate) rows: u64,
    /// Requests that were not.
    pub(crate) errors: u64,
    /// Bytes of the bodies that were answered well.
    pub(crate) bytes: u64,
    /// Latencies of the requests that were answered well, microseconds; one for each of them.
    pub(crate) latencies: Histogram,
    /// From the start to the last answer.
    pub(crate) elapsed: Duration,
}

/// When the requests of one client are due: none in a closed loop, else the first and the time between two.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    first: Duration,
    every: Duration,
}

impl Schedule {
    /// The schedule of client `index`: all clients together send `rate` records a second, evenly.
    fn of(args: &Ingest, index: u32) -> Option<Self> {
        let every = Duration::from_secs(1).mul_f64(f64::from(args.batch) / to_f64(args.rate?));
        Some(Self { first: every * index, every: every * args.clients })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate of records a second is far below 2^53")]
fn to_f64(n: u64) -> f64 {
    n as f64
}

/// Runs the load that `args` describe.
///
/// # Errors
///
/// [`LoadError::Url`], and whatever the first request fails with: without one good answer nothing is measured.
pub(crate) async fn run(args: &Ingest) -> Result<Outcome, LoadError> {
    let target = Target::new(&args.url, args.stream.path(), &args.key)?;
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let share = RECORDS_MADE / u64::from(args.clients) / u64::from(args.batch);
    let count = usize::try_from(share.clamp(1, BODIES_MAX)).unwrap_or(1);
    let make = |index: u32| {
        let seed = args.seed.wrapping_mul(0x1_0001).wrapping_add(u64::from(index));
        Bodies::make(args.stream, args.organization.as_deref(), (count, args.batch), seed, now_ms)
    };
    let bodies: Vec<Bodies> = (0..args.clients).map(make).collect();
    Client::new(target.clone()).send(first_record(args, now_ms)).await?;

    let rows = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let deadline = started + Duration::from_secs(args.duration);
    let progress = tokio::spawn(show_progress(Arc::clone(&rows), started, args.duration));
    let mut clients = JoinSet::new();
    for (bodies, index) in bodies.into_iter().zip(0..) {
        let (client, schedule) = (Client::new(target.clone()), Schedule::of(args, index));
        clients.spawn(send(client, bodies, schedule, (started, deadline), Arc::clone(&rows)));
    }
    let mut outcome = Outcome::default();
    while let Some(one) = clients.join_next().await {
        let one = one.map_err(io::Error::other)?;
        outcome.rows += one.rows;
        outcome.errors += one.errors;
        outcome.bytes += one.bytes;
        outcome.latencies.merge(&one.latencies);
    }
    outcome.elapsed = started.elapsed();
    progress.abort();
    Ok(outcome)
}

/// A body of one record: whether the server is there, and the key may write.
fn first_record(args: &Ingest, now_ms: i64) -> Bytes {
    let bodies = Bodies::make(args.stream, args.organization.as_deref(), (1, 1), args.seed, now_ms);
    Bytes::copy_from_slice(bodies.get(0).as_bytes())
}

/// One client, until the deadline. A request that is late is sent at once, and its latency counts from when it was due:
/// a slow server cannot make its own numbers better (no coordinated omission).
async fn send(
    mut client: Client,
    bodies: Bodies,
    schedule: Option<Schedule>,
    (started, deadline): (Instant, Instant),
    rows: Arc<AtomicU64>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut due = schedule.map(|schedule| started + schedule.first);
    for n in 0_u64.. {
        if let Some(due) = due {
            tokio::time::sleep_until(due.into()).await;
        }
        let begun = due.unwrap_or_else(Instant::now);
        if begun >= deadline || Instant::now() >= deadline {
            break;
        }
        let body = Bytes::copy_from_slice(bodies.get(n).as_bytes());
        let bytes = body.len() as u64;
        match client.send(body).await {
            Ok(accepted) => {
                outcome.latencies.record(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
                outcome.rows += accepted;
                outcome.bytes += bytes;
                rows.fetch_add(accepted, Ordering::Relaxed);
            }
            Err(error) => {
                outcome.errors += 1;
                if outcome.errors <= TOLD_MAX {
                    tell(&error);
                }
                // A server that refuses connections would be asked without end.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        due = due.zip(schedule).map(|(due, schedule)| due + schedule.every);
    }
    outcome
}

fn tell(error: &LoadError) {
    use std::io::Write;
    drop(writeln!(io::stderr(), "insights-bench: {error}"));
}

/// A bar on a terminal, nothing elsewhere; `indicatif` looks at stderr itself.
async fn show_progress(rows: Arc<AtomicU64>, started: Instant, duration_s: u64) {
    let bar = ProgressBar::new(duration_s);
    if let Ok(style) = ProgressStyle::with_template("{elapsed:>4} {wide_bar} {msg}") {
        bar.set_style(style);
    }
    loop {
        tokio::time::sleep(PROGRESS).await;
        let elapsed = started.elapsed();
        let per_s = to_f64(rows.load(Ordering::Relaxed)) / elapsed.as_secs_f64();
        bar.set_message(format!("{per_s:.0} records/s"));
        bar.set_position(elapsed.as_secs().min(duration_s));
    }
}
