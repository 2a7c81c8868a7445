//! The state that the door and the threads share, and the steps that move it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::append::{Append, Appended};
use crate::apply::{Applier, Done, Job, Waiter};
use crate::catalog::state::check_put;
use crate::catalog::{Catalog, ErasureId};
use crate::clock::Clock;
use crate::codes::Tenants;
use crate::compaction::compactor::Compactor;
use crate::config::Config;
use crate::dedup::{IdIndex, IdempotencyIndex};
use crate::disk::Disk;
use crate::engine::{Stats, Usage};
use crate::entropy::Entropy;
use crate::error::{Error, Result};
use crate::flush::Flusher;
use crate::id::{Lsn, Stream, TenantId, TenantNo};
use crate::manifest::{FileKind, Manifest};
use crate::query::{self, Damage, Filter, Hidden, Scope, Snapshot};
use crate::recover::MissingSegment;
use crate::retention::class::Classes;
use crate::retention::clock::TrustedClock;
use crate::rollup::CellRoom;
use crate::segment::BlockCache;
use crate::sequencer::Sequencer;
use crate::sequencer::derived_id::DerivedIds;
use crate::sequencer::plan::{Frame, Plan, Prepared};
use crate::tables::Tables;
use crate::time::{TimeRange, TimestampUs};
use crate::wal::{Entry, Log, WalDamage};

/// The kind of a frame that holds an append; the only one there is.
pub(crate) const FRAME_APPEND: u8 = 1;

/// Counters since the engine was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Rows that became readable.
    pub rows_appended: AtomicU64,
    /// Flushes that were published.
    pub flushes: AtomicU64,
    /// Damaged places that were found.
    pub damage_found: AtomicU64,
    /// Bytes that recovery cut from the end of the WAL.
    pub wal_torn_bytes: AtomicU64,
}

/// Everything of an open engine but its threads.
#[derive(Debug)]
pub(crate) struct Core {
    /// Its limits.
    pub config: Config,
    /// Its files.
    pub disk: Arc<dyn Disk>,
    /// Its time.
    pub clock: Arc<dyn Clock>,
    /// Its randomness.
    pub entropy: Entropy,
    /// Which files are live.
    pub manifest: Arc<Manifest>,
    /// Decoded blocks of segments.
    pub cache: Arc<BlockCache>,
    /// Cells of segments.
    pub cells: CellRoom,
    /// What can be read.
    pub tables: Arc<Tables>,
    /// Small durable state.
    pub catalog: Arc<Catalog>,
    /// Order.
    pub sequencer: Mutex<Sequencer>,
    /// Ids that clients gave.
    pub ids: Arc<IdIndex>,
    /// Requests that clients named.
    pub requests: Arc<IdempotencyIndex>,
    /// The write-ahead log.
    pub log: Log<Applier>,
    /// Memtable -> segment.
    pub flusher: Mutex<Flusher>,
    /// Counters.
    pub counters: Arc<Counters>,
    /// Merges of segments.
    pub compactor: Compactor,
    /// Segments that could not be opened.
    pub missing: Vec<MissingSegment>,
    /// What the replay of the WAL could not read.
    pub wal_damage: Vec<WalDamage>,
    /// Damage that queries found.
    pub damage: Mutex<Vec<Damage>>,
    /// No appends any more.
    pub closing: AtomicBool,
    /// The last flush failed, with this.
    pub flush_error: Mutex<Option<String>>,
    /// Wakes the flush thread.
    pub flush_wanted: (Mutex<()>, Condvar),
    /// Free bytes of the disk when last looked.
    pub free_bytes: AtomicU64,
    /// Held while a secret is made.
    pub secrets: Mutex<()>,
    /// What derived ids are made with.
    pub derived_ids: DerivedIds,
    /// The time that retention goes by.
    pub trusted_clock: TrustedClock,
    /// No thread steps the log: who waits for it steps it.
    pub is_stepped: bool,
    /// Held while an erasure is asked for: the next one sees its record.
    pub erasing: Mutex<()>,
    /// Held while erasures are carried out.
    pub erasure_pass: Mutex<()>,
    /// Since when this process knows each pending erasure, by the monotonic clock.
    pub erasures_known: Mutex<BTreeMap<ErasureId, Duration>>,
    /// What went wrong with retention or erasure last, in words.
    pub retention_failure: Mutex<Option<String>>,
    /// Segments that cannot be read, whose rows should stand in a file of another class, in words.
    pub unmoved: Mutex<Vec<String>>,
    /// Segments that cannot be read and may hold what is erased, in words.
    pub unerased: Mutex<Vec<String>>,
    /// Wakes the thread of retention so that it ends.
    pub retention_wanted: (Mutex<()>, Condvar),
}

/// Most series that a tenant's usage counts.
const SERIES_MAX: usize = 10_000_000;

/// Most damaged ranges that are kept for [`crate::engine::Health`].
const DAMAGE_MAX: usize = 1_000;

impl Core {
    /// Gives an append to the log; `done` hears what became of it.
    pub(crate) fn submit(&self, append: Append, done: Done) {
        match self.admit().and_then(|()| Prepared::new(append)) {
            Ok(prepared) => self.submit_prepared(prepared, done),
            Err(error) => done(Err(error)),
        }
    }

    fn submit_prepared(&self, prepared: Prepared, done: Done) {
        if let Err((error, done)) = self.sequence(prepared, done) {
            done(Err(error));
        }
    }

    /// Keeps records of the engine's own and waits for it, also on a disk that is too full for others:
    /// what retention and erasure write makes room.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::Poisoned`], and what the plan of the append says.
    pub(crate) fn append_own(&self, prepared: Prepared) -> Result<Appended> {
        self.admit_own()?;
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.submit_prepared(prepared, Box::new(move |result| drop(sender.send(result))));
        if self.is_stepped {
            self.drain_log()?;
        }
        receiver.recv().unwrap_or(Err(Error::Closed))
    }

    fn admit_own(&self) -> Result<()> {
        if self.is_closing() {
            return Err(Error::Closed);
        }
        if self.log.is_poisoned() {
            return Err(Error::Poisoned);
        }
        Ok(())
    }

    /// Whether an append can be taken at all.
    fn admit(&self) -> Result<()> {
        self.admit_own()?;
        let (free, reserve) = (self.free_bytes.load(Ordering::Relaxed), self.config.disk_reserve_bytes);
        if free < reserve {
            return Err(Error::DiskFull { free, reserve });
        }
        if self.memory_is_full() && self.flush_fails() {
            return Err(Error::Overloaded { what: "memtable", limit: self.config.memtable_bytes_max });
        }
        Ok(())
    }

    /// Gives the append its place and pushes its frame. `done` comes back when it was not taken.
    fn sequence(&self, prepared: Prepared, done: Done) -> Result<(), (Error, Done)> {
        let mut sequencer = self.sequencer.lock();
        let received = self.clock.now();
        let plan = match sequencer.plan(prepared, received, &self.entropy) {
            Ok(plan) => plan,
            Err(error) => return Err((error, done)),
        };
        let frame = match plan {
            Plan::Write(frame) => *frame,
            // The first answer may still wait for its sync. An empty frame after it waits for the same
            // one, or for the next: what it tells is true by then.
            Plan::Replay(appended) => match Frame::empty(sequencer.next_lsn(), received, appended) {
                Ok(frame) => frame,
                Err(error) => return Err((error, done)),
            },
        };
        let Frame { lsn, payload, rows, puts, appended, changes } = frame;
        let checked = puts.iter().try_for_each(check_put);
        if let Err(error) = checked.and_then(|()| self.log.check_room(payload.len() as u64)) {
            return Err((error, done));
        }
        // Under this lock the queue only gets shorter, so the push is refused only by a log that was
        // poisoned meanwhile; then no number given here is ever read again.
        sequencer.commit(changes, lsn, received);
        let job = Job { lsn, rows, puts, appended, waiter: Waiter::new(done) };
        let pushed = self.log.offer(Entry { lsn, kind: FRAME_APPEND, payload, job });
        // Who waits is told by the caller, who holds no lock.
        pushed.map_err(|(error, job)| (error, job.waiter.into_done()))
    }

    /// Writes, syncs and hands on what is queued in the log; true when there was something.
    ///
    /// # Errors
    ///
    /// The first error of the disk.
    pub(crate) fn step_log(&self) -> Result<bool> {
        Ok(!self.log.step()?.is_idle())
    }

    /// Steps the log until nothing is queued.
    ///
    /// # Errors
    ///
    /// The first error of the disk.
    pub(crate) fn drain_log(&self) -> Result<()> {
        while self.step_log()? {}
        Ok(())
    }

    /// Flushes what is in memory; true when there was something.
    ///
    /// # Errors
    ///
    /// The error of the disk; the rows stay in memory and in the WAL.
    pub(crate) fn step_flush(&self) -> Result<bool> {
        let mut flusher = self.flusher.lock();
        let outcome = flusher.step(self);
        *self.flush_error.lock() = outcome.as_ref().err().map(ToString::to_string);
        outcome
    }

    /// Whether memory, the WAL or time asks for a flush.
    pub(crate) fn flush_is_due(&self) -> bool {
        let (bytes, oldest) = self.tables.active();
        let age = oldest.map_or(Duration::ZERO, |at| self.clock.monotonic().saturating_sub(at));
        bytes >= self.config.memtable_flush_bytes
            || age >= self.config.flush_interval
            || self.log.live_bytes() >= self.config.wal_bytes_max / 2
            || self.memory_is_full()
    }

    /// Whether rows in memory are at their limit.
    pub(crate) fn memory_is_full(&self) -> bool {
        self.tables.memory().0 >= self.config.memtable_bytes_max
            || self.log.live_bytes() >= self.config.wal_bytes_max
    }

    /// Flushes until every frame up to `lsn`, which can be read, is in segments; frames that come meanwhile
    /// may wait.
    ///
    /// # Errors
    ///
    /// As [`Self::step_flush`].
    pub(crate) fn flush_upto(&self, lsn: Lsn) -> Result<()> {
        while self.manifest.version().flushed_lsn() < lsn && self.step_flush()? {}
        Ok(())
    }

    /// Stops appends and wakes the threads so that they end.
    pub(crate) fn begin_close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        {
            let _guard = self.retention_wanted.0.lock();
            self.retention_wanted.1.notify_all();
        }
        self.wake_flush();
        self.compactor.wake();
    }

    /// Whether the engine is closing.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Wakes the flush thread.
    pub(crate) fn wake_flush(&self) {
        let _guard = self.flush_wanted.0.lock();
        self.flush_wanted.1.notify_all();
    }

    /// Sleeps until a flush is wanted or `timeout` has passed.
    pub(crate) fn wait_for_flush(&self, timeout: Duration) {
        let mut guard = self.flush_wanted.0.lock();
        if !self.is_closing() {
            self.flush_wanted.1.wait_for(&mut guard, timeout);
        }
    }

    /// Reads how much of the disk is free.
    pub(crate) fn look_at_disk(&self) {
        if let Ok(free) = self.disk.free_bytes() {
            self.free_bytes.store(free, Ordering::Relaxed);
        }
    }

    /// Whether there is space for files that are made ahead of their need.
    pub(crate) fn disk_is_roomy(&self) -> bool {
        self.free_bytes.load(Ordering::Relaxed) / 4 >= self.config.disk_reserve_bytes
    }

    /// Whether the last flush failed.
    pub(crate) fn flush_fails(&self) -> bool {
        self.flush_error.lock().is_some()
    }

    /// What is damaged, in words, with file and offset.
    pub(crate) fn findings(&self) -> Vec<String> {
        let segments = self.missing.iter().map(|m| format!("{}: {}", m.path.display(), m.reason));
        let wal = self.wal_damage.iter().map(|d| {
            let last = d.lsn_to.map_or_else(|| "?".to_owned(), |lsn| lsn.to_string());
            let kept =
                d.quarantine.as_ref().map_or_else(String::new, |q| format!(", kept in {}", q.display()));
            format!(
                "{} at byte {}: frames {} to {last} cannot be read ({} bytes{kept})",
                d.path.display(),
                d.offset,
                d.lsn_from,
                d.bytes
            )
        });
        let mut out: Vec<String> = segments.chain(wal).collect();
        out.extend(self.ids.findings());
        out.extend(self.requests.findings());
        out.extend(self.tables.codes().findings());
        out.extend(self.compactor.findings());
        out.extend(self.retention_failure.lock().clone());
        out.extend(self.unmoved.lock().iter().cloned());
        out.extend(self.unerased.lock().iter().cloned());
        if self.trusted_clock.is_held(self.clock.as_ref()) {
            out.push("the clock jumped ahead: nothing expires until a day of uptime has passed".to_owned());
        }
        out.extend(self.cells.findings());
        out.extend(self.tables.cell_findings());
        out
    }

    /// The retention classes of now: segments from level 1 on hold rows of one class.
    pub(crate) fn classes(&self) -> Classes {
        Classes::new(self.hidden())
    }

    /// Why appends are refused, if they are.
    pub(crate) fn read_only(&self) -> Option<String> {
        self.admit().err().map(|e| e.to_string())
    }

    /// Since when ids and requests are remembered, with an hour to spare.
    pub(crate) fn remembered_since(&self) -> TimestampUs {
        let window = i64::try_from(self.config.deduplication_window.as_micros()).unwrap_or(i64::MAX);
        // A clock that jumps ahead forgets no request.
        let now = self.trusted_clock.now(self.clock.as_ref());
        TimestampUs(now.0.saturating_sub(window).saturating_sub(3_600_000_000))
    }

    /// What a question reads: the segments, and the memtable chunks of its scope.
    pub(crate) fn snapshot(&self, scope: &Scope, stream: Stream) -> Snapshot {
        let one = match scope {
            Scope::One(tenant) => self.catalog.number_of(tenant),
            Scope::Several(_) | Scope::All => None,
        };
        self.snapshot_of(stream, one)
    }

    fn snapshot_of(&self, stream: Stream, tenant: Option<TenantNo>) -> Snapshot {
        // What is hidden is read before the rows: rows that an erasure has taken away meanwhile were
        // hidden by it.
        let hidden = Arc::new(self.hidden());
        self.tables.snapshot(stream, tenant, Arc::clone(&self.catalog) as Arc<dyn Tenants>, hidden)
    }

    /// What no question sees now.
    pub(crate) fn hidden(&self) -> Hidden {
        let now = self.trusted_clock.now(self.clock.as_ref());
        Hidden::new(self.catalog.policies(), &self.config.retention, now)
    }

    /// What segments that could not be opened would have added to a question.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`], naming the segment, unless `allow_partial`.
    pub(crate) fn missing_from(
        &self,
        stream: Stream,
        window: TimeRange,
        allow_partial: bool,
    ) -> Result<Vec<Damage>> {
        let mut out = Vec::new();
        for segment in &self.missing {
            for damage in segment.damage.iter().filter(|d| d.stream == stream) {
                let last = TimestampUs(damage.range.end.0.saturating_sub(1));
                if window.overlaps(damage.range.start, last) {
                    if !allow_partial {
                        return Err(Error::corrupt("segment", &segment.path, 0, &segment.reason));
                    }
                    out.push(damage.clone());
                }
            }
        }
        Ok(out)
    }

    /// Keeps what could not be read, for [`crate::engine::Health`].
    pub(crate) fn note_damage(&self, found: &[Damage]) {
        let mut known = self.damage.lock();
        for damage in found {
            if !known.contains(damage) && known.len() < DAMAGE_MAX {
                self.counters.damage_found.fetch_add(1, Ordering::Relaxed);
                known.push(damage.clone());
            }
        }
    }

    /// What a tenant keeps in a stream.
    ///
    /// # Errors
    ///
    /// Damage and I/O errors.
    pub(crate) fn usage(&self, tenant: &TenantId, stream: Stream) -> Result<Usage> {
        let Some(number) = self.catalog.number_of(tenant) else { return Ok(Usage::default()) };
        let snapshot = self.snapshot_of(stream, Some(number));
        let mut usage = Usage::default();
        for part in &snapshot.parts {
            let runs = part.runs_of(stream, number);
            let rows: u64 = runs.iter().map(|r| r.rows.end - r.rows.start).sum();
            usage.rows += rows;
            usage.bytes += part.bytes_of(stream).saturating_mul(rows) / part.rows(stream).max(1);
        }
        let hidden = &snapshot.hidden;
        if hidden.hides_rows_of(number) || hidden.kept_since(number, stream) > TimestampUs(i64::MIN) {
            let shown = query::count(&snapshot, tenant, stream)?;
            let bytes = u128::from(usage.bytes) * u128::from(shown) / u128::from(usage.rows.max(1));
            usage = Usage { rows: shown, bytes: u64::try_from(bytes).unwrap_or(u64::MAX), series: 0 };
        }
        if stream == Stream::Metrics {
            let scope = Scope::One(tenant.clone());
            let list = query::series(&snapshot, &scope, &Filter::all(), TimeRange::ALL, SERIES_MAX, true)?;
            usage.series = list.series.len() as u64;
        }
        Ok(usage)
    }

    /// Counters and sizes.
    pub(crate) fn stats(&self) -> Stats {
        let (memtable_bytes, memtable_rows) = self.tables.memory();
        let log = self.log.stats();
        let version = self.manifest.version();
        let segments: Vec<_> = version.files_of(FileKind::Segment).collect();
        Stats {
            rows_appended: self.counters.rows_appended.load(Ordering::Relaxed),
            frames_written: log.frames,
            wal_syncs: log.syncs,
            wal_bytes: log.live_bytes,
            memtable_bytes,
            memtable_rows,
            block_cache_bytes: self.cache.bytes(),
            flushes: self.counters.flushes.load(Ordering::Relaxed),
            segments: segments.len() as u64,
            segment_bytes: segments.iter().map(|s| s.bytes).sum(),
            segment_rows: segments.iter().flat_map(|s| &s.streams).map(|s| s.rows).sum(),
            damage_found: self.counters.damage_found.load(Ordering::Relaxed),
            compactions: self.compactor.counters.jobs.load(Ordering::Relaxed),
            compaction_failures: self.compactor.counters.failures.load(Ordering::Relaxed),
            compaction_bytes_read: self.compactor.counters.bytes_read.load(Ordering::Relaxed),
            compaction_bytes_written: self.compactor.counters.bytes_written.load(Ordering::Relaxed),
            wal_torn_bytes: self.counters.wal_torn_bytes.load(Ordering::Relaxed),
            retention_is_held: self.trusted_clock.is_held(self.clock.as_ref()),
            erasures_pending: self.catalog.policies().pending().len() as u64,
        }
    }
}
