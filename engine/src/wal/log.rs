//! Group commit: whatever queued up while the last sync ran shares the next write and the next sync.
//!
//! No timer delays anything. One thread calls [`Log::wait_for_work`] and [`Log::step`] in turn; any
//! thread calls [`Log::push`].

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::spare::Spares;
use super::writer::{Extent, WalWriter};
use crate::clock::Clock;
use crate::config::Durability;
use crate::error::{Error, Result};
use crate::id::Lsn;

/// Who is told what became of the entries.
///
/// Called by the thread that calls [`Log::step`], in the order of the log, while the log is locked: it
/// must not call the log.
pub trait Sink: Send + Sync {
    /// What the pusher gave along with the bytes.
    type Job: Send;

    /// These are in the log, as durable as was asked for.
    fn kept(&self, jobs: Vec<Self::Job>);

    /// These are not in the log, and nothing will be until it is reopened. Whether a part of them
    /// comes back then is not known.
    fn lost(&self, jobs: Vec<Self::Job>, error: &Error);
}

/// One frame to be, and the job that waits for it.
#[derive(Debug)]
pub struct Entry<J> {
    /// Its number, above all that were pushed before.
    pub lsn: Lsn,
    /// What the payload is.
    pub kind: u8,
    /// The bytes.
    pub payload: Vec<u8>,
    /// What the sink gets.
    pub job: J,
}

/// How a log answers, and its limits.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// When an entry is kept.
    pub durability: Durability,
    /// Bytes of payload that may wait.
    pub queue_bytes_max: u64,
    /// Bytes of payload after which one step takes no further entry.
    pub step_bytes_max: u64,
    /// Bytes of one payload.
    pub payload_bytes_max: u64,
    /// How long a written frame may wait for its sync when writes are answered before.
    pub sync_interval: Duration,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Synced,
            queue_bytes_max: 64 << 20,
            step_bytes_max: 8 << 20,
            payload_bytes_max: 64 << 20,
            sync_interval: Duration::from_secs(1),
        }
    }
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Step {
    /// Frames that were written.
    pub frames: u64,
    /// Their payload.
    pub bytes: u64,
    /// Whether there was a sync.
    pub synced: bool,
}

impl Step {
    /// Whether there was nothing to do.
    pub fn is_idle(self) -> bool {
        self == Self::default()
    }
}

/// Counters of a log since it was opened, and its present sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogStats {
    /// Frames that were written.
    pub frames: u64,
    /// Their payload.
    pub payload_bytes: u64,
    /// Syncs for them.
    pub syncs: u64,
    /// Bytes of frames that would be replayed now.
    pub live_bytes: u64,
    /// Bytes of payload that wait.
    pub queued_bytes: u64,
    /// Number of the last frame that is durable.
    pub synced_lsn: Lsn,
}

/// What waits to be written.
struct Queue<J> {
    entries: VecDeque<Entry<J>>,
    bytes: u64,
    last_lsn: Lsn,
    /// Why nothing more is taken.
    end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Closed,
    Poisoned,
}

impl End {
    fn error(self) -> Error {
        match self {
            Self::Closed => Error::Closed,
            Self::Poisoned => Error::Poisoned,
        }
    }
}

/// The writer and what is known of its unsynced frames.
#[derive(Debug)]
struct Tail {
    wal: WalWriter,
    /// When the oldest frame that is not synced was written.
    unsynced_since: Option<Duration>,
}

#[derive(Debug, Default)]
struct Counters {
    frames: AtomicU64,
    payload_bytes: AtomicU64,
    syncs: AtomicU64,
    live_bytes: AtomicU64,
    synced_lsn: AtomicU64,
    /// When the next sync is due, in microseconds of the monotonic clock; `u64::MAX` for none.
    sync_due_us: AtomicU64,
}

/// The log that many threads push to and one thread drives.
pub struct Log<S: Sink> {
    options: LogOptions,
    clock: Arc<dyn Clock>,
    sink: S,
    queue: Mutex<Queue<S::Job>>,
    work: Condvar,
    tail: Mutex<Tail>,
    spares: Arc<Spares>,
    counters: Counters,
}

impl<S: Sink> fmt::Debug for Log<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("options", &self.options)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl<S: Sink> Log<S> {
    /// A log that goes on where `wal` ends.
    pub fn new(wal: WalWriter, sink: S, options: LogOptions, clock: Arc<dyn Clock>) -> Self {
        let log = Self {
            options,
            clock,
            sink,
            queue: Mutex::new(Queue {
                entries: VecDeque::new(),
                bytes: 0,
                last_lsn: wal.appended_lsn(),
                end: None,
            }),
            work: Condvar::new(),
            spares: wal.spares(),
            counters: Counters { sync_due_us: AtomicU64::new(u64::MAX), ..Counters::default() },
            tail: Mutex::new(Tail { wal, unsynced_since: None }),
        };
        log.publish(&log.tail.lock());
        log
    }

    /// Whether an entry with that much payload would be taken now.
    ///
    /// A caller that is the only one to push (it holds a lock of its own) may rely on it until it
    /// pushes: the queue only gets shorter meanwhile. A poisoned log can still come in between.
    ///
    /// # Errors
    ///
    /// [`Error::Overloaded`], [`Error::Invalid`], [`Error::Closed`], [`Error::Poisoned`].
    pub fn check_room(&self, payload_bytes: u64) -> Result<()> {
        self.check(&self.queue.lock(), payload_bytes)
    }

    fn check(&self, queue: &Queue<S::Job>, payload_bytes: u64) -> Result<()> {
        if let Some(end) = queue.end {
            return Err(end.error());
        }
        if payload_bytes > self.options.payload_bytes_max {
            let limit = self.options.payload_bytes_max;
            return Err(Error::invalid(format!("a batch has at most {limit} bytes")));
        }
        let limit = self.options.queue_bytes_max;
        // An entry above the whole limit is taken alone.
        if !queue.entries.is_empty() && queue.bytes.saturating_add(payload_bytes) > limit {
            return Err(Error::Overloaded { what: "the queue of the log", limit });
        }
        Ok(())
    }

    /// Queues an entry; the sink hears of it later, whatever happens.
    ///
    /// # Errors
    ///
    /// As [`Self::check_room`]. Then the sink does not hear of it.
    ///
    /// # Panics
    ///
    /// If its number is not above all that were pushed before: the caller holds its own lock while it
    /// gives numbers and pushes.
    pub fn push(&self, entry: Entry<S::Job>) -> Result<()> {
        self.offer(entry).map_err(|(error, _)| error)
    }

    /// As [`Self::push`], and gives the job back with the error.
    ///
    /// # Errors
    ///
    /// As [`Self::push`].
    ///
    /// # Panics
    ///
    /// As [`Self::push`].
    pub fn offer(&self, entry: Entry<S::Job>) -> Result<(), (Error, S::Job)> {
        let payload_bytes = entry.payload.len() as u64;
        let mut queue = self.queue.lock();
        if let Err(error) = self.check(&queue, payload_bytes) {
            return Err((error, entry.job));
        }
        assert!(entry.lsn > queue.last_lsn, "entries are pushed in the order of their numbers");
        queue.last_lsn = entry.lsn;
        queue.bytes += payload_bytes;
        queue.entries.push_back(entry);
        let was_empty = queue.entries.len() == 1;
        drop(queue);
        if was_empty {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Waits until something is queued, a sync is due, the log ends, or the time is over; answers whether
    /// a step has something to do.
    pub fn wait_for_work(&self, timeout: Duration) -> bool {
        let mut queue = self.queue.lock();
        if queue.entries.is_empty() {
            let until_sync = self.until_sync().unwrap_or(timeout);
            self.work.wait_for(&mut queue, timeout.min(until_sync));
        }
        !queue.entries.is_empty() || self.until_sync().is_some_and(|left| left.is_zero())
    }

    /// Time left until a sync is due; `None` when everything is synced.
    fn until_sync(&self) -> Option<Duration> {
        let due_us = self.counters.sync_due_us.load(Ordering::Acquire);
        let due = (due_us < u64::MAX).then(|| Duration::from_micros(due_us))?;
        Some(due.saturating_sub(self.clock.monotonic()))
    }

    /// Takes what is queued, writes it once, syncs it once, and tells the sink.
    ///
    /// With [`Durability::Buffered`] the sink is told after the write, and the sync follows in the
    /// first step that finds the queue empty, or after `sync_interval`.
    ///
    /// # Errors
    ///
    /// The first error of the log; [`Error::Poisoned`] in all later steps. By then the sink was told
    /// that everything queued is lost.
    pub fn step(&self) -> Result<Step> {
        let mut tail = self.tail.lock();
        if tail.wal.is_closed() {
            return Ok(Step::default());
        }
        let batch = self.take_batch();
        let result = self.write_batch(&mut tail, batch);
        self.publish(&tail);
        result
    }

    /// Refuses entries from now on, writes and syncs those that are queued, and seals the log.
    ///
    /// # Errors
    ///
    /// As [`Self::step`]: what was answered before its sync may then be lost.
    pub fn close(&self) -> Result<()> {
        {
            let mut queue = self.queue.lock();
            if queue.end == Some(End::Closed) {
                return Ok(());
            }
            queue.end.get_or_insert(End::Closed);
        }
        self.work.notify_all();
        while self.step()?.frames > 0 {}
        let mut tail = self.tail.lock();
        let closed = tail.wal.close();
        self.publish(&tail);
        closed
    }

    /// Ends the log without writing what is queued: its jobs are lost, as closed or as poisoned.
    pub fn abandon(&self, poisoned: bool) {
        let end = if poisoned { End::Poisoned } else { End::Closed };
        self.end(end, Vec::new(), &end.error());
    }

    /// Takes back the files whose frames are all at or below `upto`, which is flushed.
    ///
    /// # Errors
    ///
    /// As [`WalWriter::recycle`].
    pub fn recycle(&self, upto: Lsn) -> Result<usize> {
        let mut tail = self.tail.lock();
        let count = tail.wal.recycle(upto);
        self.publish(&tail);
        count
    }

    /// The files of the log as far as they are written, and the number of the last frame in them. They stay
    /// as they are until the next [`Self::recycle`].
    pub fn extents(&self) -> (Vec<Extent>, Lsn) {
        self.tail.lock().wal.extents()
    }

    /// Begins the next file, so that the present one can be recycled after the next flush.
    ///
    /// # Errors
    ///
    /// As [`WalWriter::rotate`]; the log is poisoned then.
    pub fn rotate(&self) -> Result<()> {
        let mut tail = self.tail.lock();
        let rotated = tail.wal.rotate();
        if let Err(error) = &rotated {
            self.lose(Vec::new(), error);
        }
        self.publish(&tail);
        rotated
    }

    /// The pool of files: fill it in the background, so that no append ever waits for zeroes.
    pub fn spares(&self) -> &Arc<Spares> {
        &self.spares
    }

    /// Whether an error has ended the log.
    pub fn is_poisoned(&self) -> bool {
        self.queue.lock().end == Some(End::Poisoned)
    }

    /// Counters and sizes, as of the last step.
    pub fn stats(&self) -> LogStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LogStats {
            frames: load(&self.counters.frames),
            payload_bytes: load(&self.counters.payload_bytes),
            syncs: load(&self.counters.syncs),
            live_bytes: load(&self.counters.live_bytes),
            queued_bytes: self.queue.lock().bytes,
            synced_lsn: Lsn(load(&self.counters.synced_lsn)),
        }
    }

    /// Bytes of frames that would be replayed now, as of the last step.
    pub fn live_bytes(&self) -> u64 {
        self.counters.live_bytes.load(Ordering::Relaxed)
    }

    fn take_batch(&self) -> Vec<Entry<S::Job>> {
        let mut queue = self.queue.lock();
        let mut bytes = 0;
        let fits = |entry: &&Entry<S::Job>| {
            bytes += entry.payload.len() as u64;
            bytes <= self.options.step_bytes_max
        };
        // At least one, however long it is.
        let count = queue.entries.iter().take_while(fits).count().max(1).min(queue.entries.len());
        let batch: Vec<_> = queue.entries.drain(..count).collect();
        queue.bytes -= batch.iter().map(|entry| entry.payload.len() as u64).sum::<u64>();
        batch
    }

    fn write_batch(&self, tail: &mut Tail, batch: Vec<Entry<S::Job>>) -> Result<Step> {
        let step = Step {
            frames: batch.len() as u64,
            bytes: batch.iter().map(|entry| entry.payload.len() as u64).sum(),
            synced: false,
        };
        let before = tail.wal.synced_lsn();
        let written = self.write_and_sync(tail, &batch);
        let jobs = batch.into_iter().map(|entry| entry.job).collect::<Vec<_>>();
        if let Err(error) = written {
            self.lose(jobs, &error);
            return Err(error);
        }
        if !jobs.is_empty() {
            self.sink.kept(jobs);
        }
        let step = Step { synced: tail.wal.synced_lsn() > before, ..step };
        self.counters.frames.fetch_add(step.frames, Ordering::Relaxed);
        self.counters.payload_bytes.fetch_add(step.bytes, Ordering::Relaxed);
        self.counters.syncs.fetch_add(u64::from(step.synced), Ordering::Relaxed);
        Ok(step)
    }

    fn write_and_sync(&self, tail: &mut Tail, batch: &[Entry<S::Job>]) -> Result<()> {
        for entry in batch {
            tail.wal.append(entry.lsn, entry.kind, &[&entry.payload])?;
        }
        tail.wal.write()?;
        let now = self.clock.monotonic();
        let sync_now = match self.options.durability {
            Durability::Synced => true,
            Durability::Buffered => {
                let since = tail.unsynced_since.unwrap_or(now);
                batch.is_empty() || now.saturating_sub(since) >= self.options.sync_interval
            }
        };
        if sync_now {
            tail.wal.sync()?;
        }
        let all_synced = tail.wal.synced_lsn() == tail.wal.written_lsn();
        tail.unsynced_since = if all_synced { None } else { tail.unsynced_since.or(Some(now)) };
        Ok(())
    }

    /// Ends the log: these jobs and everything that is queued are lost.
    fn lose(&self, jobs: Vec<S::Job>, error: &Error) {
        self.end(End::Poisoned, jobs, error);
    }

    fn end(&self, end: End, mut jobs: Vec<S::Job>, error: &Error) {
        let queued = {
            let mut queue = self.queue.lock();
            queue.end = Some(end);
            queue.bytes = 0;
            std::mem::take(&mut queue.entries)
        };
        jobs.extend(queued.into_iter().map(|entry| entry.job));
        if !jobs.is_empty() {
            self.sink.lost(jobs, error);
        }
        self.work.notify_all();
    }

    /// Makes the sizes readable without the lock that a sync holds.
    fn publish(&self, tail: &Tail) {
        let due = tail.unsynced_since.map(|since| since + self.options.sync_interval);
        let due_us = due.map_or(u64::MAX, |due| u64::try_from(due.as_micros()).unwrap_or(u64::MAX));
        self.counters.sync_due_us.store(due_us, Ordering::Release);
        self.counters.live_bytes.store(tail.wal.live_bytes(), Ordering::Relaxed);
        self.counters.synced_lsn.store(tail.wal.synced_lsn().0, Ordering::Relaxed);
    }
}
