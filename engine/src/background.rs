//! The threads that drive the log, the flush and the merges; each only calls steps.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::compaction::Effort;
use crate::compaction::pace::Pace;
use crate::core::Core;
use crate::error::{Error, Result};

/// How long the log's thread sleeps without work before it looks whether to stop.
const LOG_IDLE: Duration = Duration::from_millis(100);

/// How often the flush thread looks whether a flush is due.
const FLUSH_TICK: Duration = Duration::from_millis(200);

/// How long a flush that failed waits before it is tried again.
const FLUSH_RETRY: Duration = Duration::from_secs(2);

/// How long the log waits at a time for a flush when memory is full.
const RELIEF_WAIT: Duration = Duration::from_millis(50);

/// How often the thread of merges looks whether one is due.
const COMPACTION_TICK: Duration = Duration::from_secs(1);

/// How much less the thread of merges asks of a busy processor than one whose work somebody waits for (`nice(2)`, of the
/// calling thread on Linux): a quarter of a core beside one other thread.
#[cfg(target_os = "linux")]
const COMPACTION_NICENESS: i32 = 5;

/// How long a merge that failed waits before it is tried again.
const COMPACTION_RETRY: Duration = Duration::from_mins(1);

/// How often the thread of retention looks whether it is time.
const RETENTION_TICK: Duration = Duration::from_secs(1);

/// How often what has expired is removed.
const RETENTION_INTERVAL: Duration = Duration::from_hours(1);

/// How long after the start retention is looked at first.
const RETENTION_FIRST: Duration = Duration::from_mins(5);

/// Starts the threads of the log, the flush, the merges and retention. They end after [`Core::begin_close`].
///
/// # Errors
///
/// [`Error::Io`] when the system gives no thread.
pub(crate) fn start(core: &Arc<Core>) -> Result<Vec<JoinHandle<()>>> {
    Ok(vec![
        spawn("insights-log", core, drive_log)?,
        spawn("insights-flush", core, drive_flush)?,
        spawn("insights-compact", core, drive_compaction)?,
        spawn("insights-keep", core, drive_retention)?,
    ])
}

fn spawn(name: &'static str, core: &Arc<Core>, drive: fn(&Core)) -> Result<JoinHandle<()>> {
    let core = Arc::clone(core);
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || drive(&core));
    thread.map_err(|source| Error::Io { action: "start thread", path: name.into(), source })
}

/// Ends the log when its thread panics, so that nobody waits for an answer that cannot come.
struct EndOnPanic<'a>(&'a Core);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.log.abandon(true);
        }
    }
}

fn drive_log(core: &Core) {
    let _guard = EndOnPanic(core);
    while !core.is_closing() {
        core.log.wait_for_work(LOG_IDLE);
        // Memory is full: callers wait for their answer until a flush has made room, the queue fills,
        // and further appends are refused. While flushes fail nobody is kept waiting: what was taken before
        // goes on, what comes is refused.
        while core.memory_is_full() && !core.flush_fails() && !core.is_closing() {
            core.wake_flush();
            core.tables.wait_for_relief(RELIEF_WAIT);
        }
        // The error was told to the callers and is kept by the log; the thread stays for later ones.
        drop(core.step_log());
    }
}

fn drive_flush(core: &Core) {
    while !core.is_closing() {
        core.wait_for_flush(FLUSH_TICK);
        core.look_at_disk();
        // A file that is ready before it is needed spares an append the wait for its zeroes.
        if core.disk_is_roomy() {
            drop(core.log.spares().fill());
        }
        if core.flush_is_due() && core.step_flush().is_err() {
            wait_for_retry(core);
        }
    }
}

fn drive_compaction(core: &Core) {
    // Refused or not, merges go on: on a busy machine those who wait for an answer come first. Elsewhere it would be
    // the niceness of the whole process.
    #[cfg(target_os = "linux")]
    rustix::process::nice(COMPACTION_NICENESS).ok();
    while !core.is_closing() {
        let pause = match core.compactor.step(core, Effort::Due, &Pace::steady(core)) {
            Ok(Some(_)) => continue,
            Ok(None) => COMPACTION_TICK,
            // The engine counts it, and says what it left alone.
            Err(_) => COMPACTION_RETRY,
        };
        let until = core.clock.monotonic() + pause;
        loop {
            let left = until.saturating_sub(core.clock.monotonic());
            if left.is_zero() || core.is_closing() {
                break;
            }
            core.compactor.wait(left, core);
        }
    }
}

/// Lets time pass after a flush that failed, whoever asks for the next one meanwhile.
fn wait_for_retry(core: &Core) {
    let until = core.clock.monotonic() + FLUSH_RETRY;
    while !core.is_closing() {
        let left = until.saturating_sub(core.clock.monotonic());
        if left.is_zero() {
            break;
        }
        core.wait_for_flush(left);
    }
}

/// Removes what has expired once an hour, and carries out erasures that have waited for most of a day.
fn drive_retention(core: &Core) {
    // A process that lives for less than an hour has its turn too.
    let mut next = core.clock.monotonic() + RETENTION_FIRST;
    while !core.is_closing() {
        core.wait_for_retention(RETENTION_TICK);
        if core.is_closing() || core.clock.monotonic() < next {
            continue;
        }
        next = core.clock.monotonic() + RETENTION_INTERVAL;
        // What fails stays hidden, is told by the health, and is tried again in an hour.
        drop(core.step_retention());
    }
}
