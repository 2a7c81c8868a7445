//! A bar on a terminal, nothing elsewhere.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::error::BenchError;
use crate::pace::Span;

/// How often progress is shown.
const EVERY: Duration = Duration::from_secs(1);
/// Errors of one client that are told in full.
const TOLD_MAX: u64 = 3;

/// What was done so far; clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Done(Arc<AtomicU64>);

impl Done {
    /// So much more.
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// All of it.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Shows how far a run is, on a thread of its own, until this is dropped. `indicatif` looks itself whether stderr is
/// a terminal.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar, Option<std::sync::mpsc::Sender<()>>);

impl Progress {
    /// Shows `done` things of the named kind over a span.
    pub(crate) fn show(span: Span, done: &Done, unit: &'static str) -> Self {
        let (seconds, done) = (span.duration().as_secs(), done.clone());
        Self::start(seconds, move |bar| {
            let elapsed = span.started.elapsed();
            let per_s = to_f64(done.get()) / elapsed.as_secs_f64();
            bar.set_message(format!("{per_s:.0} {unit}/s"));
            bar.set_position(elapsed.as_secs().min(seconds));
        })
    }

    /// Shows how many things of the named kind of `total` are done.
    pub(crate) fn towards(total: u64, done: &Done, unit: &'static str) -> Self {
        let done = done.clone();
        Self::start(total, move |bar| {
            bar.set_message(format!("{} of {total} {unit}", done.get()));
            bar.set_position(done.get().min(total));
        })
    }

    /// A bar of `len` that a thread draws until it is dropped; none away from a terminal.
    fn start(len: u64, draw: impl Fn(&ProgressBar) + Send + 'static) -> Self {
        let bar = ProgressBar::new(len);
        if let Ok(style) = ProgressStyle::with_template("{elapsed:>4} {wide_bar} {msg}") {
            bar.set_style(style);
        }
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        if !bar.is_hidden() {
            let bar = bar.clone();
            std::thread::spawn(move || {
                while stopped.recv_timeout(EVERY) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                    draw(&bar);
                }
            });
        }
        Self(bar, Some(stop))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.1.take());
        self.0.finish_and_clear();
    }
}

/// Says what went wrong, the first few times.
pub(crate) fn tell(errors: u64, error: &BenchError) {
    if errors <= TOLD_MAX {
        drop(writeln!(std::io::stderr(), "insights-bench: {error}"));
    }
}

/// A count as a double.
#[expect(clippy::cast_precision_loss, reason = "counts and times of one run are far below 2^53")]
pub(crate) fn to_f64(n: u64) -> f64 {
    n as f64
}
