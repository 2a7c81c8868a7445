//! The engine's door: open, append, ask, flush, close; the only file that wires rooms together.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::append::{Append, Appended, CatalogKind, CatalogPut, Idempotency};
use crate::catalog::erasure::EraseTarget;
use crate::catalog::{ErasureId, ErasureRecord, RetentionDocument};
use crate::checkpoint::{self, CheckpointReport};
use crate::clock::Clock;
use crate::codes::Tenants;
use crate::compaction::compactor;
use crate::compaction::pace::Pace;
use crate::compaction::{CompactionReport, Effort};
use crate::config::Config;
use crate::core::Core;
use crate::disk::{DirLock, Disk};
use crate::erasure::{ErasurePass, pass};
use crate::error::{Error, Result};
use crate::id::{Stream, TenantId};
use crate::query::{
    Answer, Cancel, Damage, Field, Filter, Literal, Op, Order, Query, RowPage, RowRequest, ScanEnd,
    ScanRequest, ScanVector, Scope, Series, Stop,
};
use crate::retention::{RetentionReport, expire};
use crate::schema::{Batch, BatchBuilder, stream};
use crate::time::{TimeRange, TimestampUs};
use crate::view::View;
use crate::{background, format_check, recover};

/// An open store. One for a data directory; cheap to share in an `Arc`.
#[derive(Debug)]
pub struct Engine {
    pub(crate) core: Arc<Core>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    closed: AtomicBool,
    /// Released last: the directory is ours for as long as the engine lives.
    lock: Mutex<Option<Box<dyn DirLock>>>,
}

/// What a tenant keeps in one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Rows.
    pub rows: u64,
    /// Bytes on disk, its share of shared files; rows that are only in memory count with their memory.
    pub bytes: u64,
    /// Distinct series (metrics alone).
    pub series: u64,
}

/// Whether the engine can do its work.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Why appends are refused, if they are.
    pub read_only: Option<String>,
    /// What cannot be read.
    pub damaged: Vec<Damage>,
    /// What recovery found wrong, in words, with file and offset; for the log, not for a client.
    pub findings: Vec<String>,
}

/// Counters of the engine since it was opened, and its present sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Rows appended.
    pub rows_appended: u64,
    /// Frames written to the WAL.
    pub frames_written: u64,
    /// Syncs of the WAL.
    pub wal_syncs: u64,
    /// Bytes of WAL that are not flushed.
    pub wal_bytes: u64,
    /// Bytes of rows in memory.
    pub memtable_bytes: u64,
    /// Rows in memory.
    pub memtable_rows: u64,
    /// Bytes of decoded granules that are kept.
    pub block_cache_bytes: u64,
    /// Flushes that were published.
    pub flushes: u64,
    /// Live segments.
    pub segments: u64,
    /// Their bytes.
    pub segment_bytes: u64,
    /// Rows in them.
    pub segment_rows: u64,
    /// Merges of segments that were published.
    pub compactions: u64,
    /// Merges of segments that failed.
    pub compaction_failures: u64,
    /// Bytes of segments that merges read.
    pub compaction_bytes_read: u64,
    /// Bytes of segments that merges wrote.
    pub compaction_bytes_written: u64,
    /// Damaged places found since the engine was opened.
    pub damage_found: u64,
    /// Bytes of unacknowledged frames that the last recovery cut from the end of the WAL.
    pub wal_torn_bytes: u64,
    /// Nothing expires because the clock jumped ahead, until a day of uptime has passed.
    pub retention_is_held: bool,
    /// Erasures whose bytes are still there.
    pub erasures_pending: u64,
}

impl Engine {
    /// Opens the store in a data directory, or makes a new one; replays the WAL and starts the threads.
    ///
    /// `seed` is secret randomness for keys and ids, from the operating system.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] when another process has it, [`Error::NewerFormat`] and [`Error::OlderFormat`] when any file has
    /// a version that is not read (then nothing was touched), [`Error::Corrupt`] when
    /// the manifest or the catalog is damaged, [`Error::Io`].
    pub fn open(
        config: Config,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        seed: [u8; 32],
    ) -> Result<Arc<Self>> {
        let engine = Self::open_as(config, disk, clock, seed, false)?;
        *engine.threads.lock() = background::start(&engine.core)?;
        Ok(engine)
    }

    /// Opens a store without threads: nothing happens between calls, and [`Self::step_log`],
    /// [`Self::step_flush`] and [`Self::step_compaction`] do what the threads would. [`Self::append`] waits for ever here; use
    /// [`Self::submit`]. This is how crashes are simulated.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_stepped(
        config: Config,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        seed: [u8; 32],
    ) -> Result<Arc<Self>> {
        Self::open_as(config, disk, clock, seed, true)
    }

    fn open_as(
        config: Config,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        seed: [u8; 32],
        is_stepped: bool,
    ) -> Result<Arc<Self>> {
        config.check()?;
        format_check::check(&*disk)?;
        disk.create_dir(Path::new(""))?;
        let lock = disk.lock()?;
        let core = Arc::new(recover::open(config, disk, clock, seed, is_stepped)?);
        Ok(Arc::new(Self {
            core,
            threads: Mutex::new(Vec::new()),
            closed: AtomicBool::new(false),
            lock: Mutex::new(Some(lock)),
        }))
    }

    /// Writes, syncs and hands on what is queued in the log; true when there was something.
    ///
    /// # Errors
    ///
    /// The first error of the disk; the log takes nothing from then on.
    pub fn step_log(&self) -> Result<bool> {
        self.core.step_log()
    }

    /// Flushes what is in memory into a segment; true when there was something.
    ///
    /// # Errors
    ///
    /// The error of the disk; the rows stay in memory and in the WAL.
    pub fn step_flush(&self) -> Result<bool> {
        self.core.step_flush()
    }

    /// Merges segments that are due to be merged, one job; true when there was one. What the thread of
    /// merges does all the time, without its pauses.
    ///
    /// # Errors
    ///
    /// The error of the disk, or damage of a segment: no row was lost, and nothing has changed.
    pub fn step_compaction(&self) -> Result<bool> {
        Ok(self.core.compactor.step(&self.core, Effort::Due, &Pace::free())?.is_some())
    }

    /// Merges segments until none is due to be merged, as fast as it can.
    ///
    /// # Errors
    ///
    /// The first error of the disk. When a segment is damaged, its error comes after everything else was
    /// merged; the segment stays as it is.
    pub fn compact(&self, effort: Effort) -> Result<CompactionReport> {
        let report = compactor::compact(&self.core, effort)?;
        if effort == Effort::Full {
            self.run_erasures()?;
        }
        Ok(report)
    }

    /// Reads how much of the disk is free, as the flush thread does all the time.
    pub fn look_at_disk(&self) {
        self.core.look_at_disk();
    }

    /// Gives rows and records to the log and returns; `done` is called once, possibly from another
    /// thread, when they are kept or refused. It must not block.
    pub fn submit(&self, append: Append, done: Box<dyn FnOnce(Result<Appended>) + Send>) {
        self.core.submit(append, done);
    }

    /// Keeps rows and records, and waits until they are kept.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`], [`Error::DiskFull`] and [`Error::Overloaded`] before anything is accepted,
    /// [`Error::IdempotencyMismatch`], [`Error::Invalid`].
    pub fn append(&self, append: Append) -> Result<Appended> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.submit(append, Box::new(move |result| drop(sender.send(result))));
        receiver.recv().unwrap_or(Err(Error::Closed))
    }

    /// Whether a request was answered within the idempotency window, so that an append of the same name
    /// is answered with what was kept then.
    ///
    /// # Errors
    ///
    /// [`Error::IdempotencyMismatch`] when that request had another body; damage and I/O of the files of
    /// answers.
    pub fn is_answered(&self, request: &Idempotency) -> Result<bool> {
        let Some(stored) = self.core.requests.get(&request.key)? else { return Ok(false) };
        if stored.body_hash == request.body_hash { Ok(true) } else { Err(Error::IdempotencyMismatch) }
    }

    /// Answers a question for numbers.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] for damage (unless `allow_partial`), [`Error::QueryLimit`], [`Error::Invalid`].
    pub fn aggregate(&self, question: &Query) -> Result<Answer> {
        self.view().aggregate(question)
    }

    /// A moment of the store, for several questions whose answers must agree. They have the time of
    /// [`Config::query_deadline`] together.
    pub fn view(&self) -> View {
        self.view_until(self.core.config.query_deadline, Cancel::new())
    }

    /// As [`Self::view`], with a time of its own, and a token that stops its questions early.
    pub fn view_until(&self, deadline: Duration, cancel: Cancel) -> View {
        let stop = Stop::after(Arc::clone(&self.core.clock), deadline, cancel);
        View::new(Arc::clone(&self.core), stop)
    }

    /// Answers a question for rows.
    ///
    /// # Errors
    ///
    /// As [`Self::aggregate`].
    pub fn rows(&self, request: &RowRequest) -> Result<RowPage> {
        self.view().rows(request)
    }

    /// Gives the fields of all matching rows to `each`, vector by vector, in no order.
    ///
    /// # Errors
    ///
    /// As [`Self::aggregate`], and the first error of `each`.
    pub fn scan(
        &self,
        request: &ScanRequest,
        each: &mut dyn FnMut(&ScanVector) -> Result<()>,
    ) -> Result<ScanEnd> {
        self.view().scan(request, each)
    }

    /// The series of a scope that have a point in a window and match `matchers`, sorted; an error when
    /// there are more than `series_max`.
    ///
    /// # Errors
    ///
    /// As [`Self::aggregate`].
    pub fn series(
        &self,
        scope: &Scope,
        matchers: &Filter,
        window: TimeRange,
        series_max: usize,
    ) -> Result<Vec<Series>> {
        Ok(self.view().series(scope, matchers, window, series_max)?.series)
    }

    /// The samples of one series in a range, by time; an error when there are more than `samples_max`.
    ///
    /// # Errors
    ///
    /// As [`Self::aggregate`].
    pub fn samples(
        &self,
        series: &Series,
        range: TimeRange,
        samples_max: usize,
    ) -> Result<Vec<(TimestampUs, f64)>> {
        Ok(self.view().samples(series, range, samples_max)?.samples)
    }

    /// One row by its id, given by the client or derived, with every column; `None` when the scope has none.
    ///
    /// # Errors
    ///
    /// As [`Self::aggregate`].
    pub fn row_by_id(&self, scope: &Scope, stream: Stream, id: &str) -> Result<Option<Batch>> {
        if let Some((tenant, seq)) = self.parse_derived_id(scope, stream, id) {
            let seq = Filter::Compare(Field::Column(stream::SEQ.id), Op::Is(Literal::U64(seq)));
            return self.first_row(Scope::One(tenant), stream, seq);
        }
        let given = Filter::Compare(Field::Column(stream::ID.id), Op::Is(Literal::Str(id.to_owned())));
        self.first_row(scope.clone(), stream, given)
    }

    fn first_row(&self, scope: Scope, stream: Stream, filter: Filter) -> Result<Option<Batch>> {
        let page = self.rows(&RowRequest {
            scope,
            stream,
            window: TimeRange::ALL,
            filter,
            order: Order::Desc,
            limit: 1,
            after: None,
            columns: None,
            allow_partial: false,
        })?;
        Ok(page.batches.into_iter().next())
    }

    fn parse_derived_id(&self, scope: &Scope, stream: Stream, id: &str) -> Option<(TenantId, u64)> {
        let parse = |tenant: &TenantId| {
            let number = self.core.catalog.number_of(tenant)?;
            Some((tenant.clone(), self.core.derived_ids.parse(number, stream, id)?.0))
        };
        match scope {
            Scope::One(tenant) => parse(tenant),
            Scope::Several(tenants) => tenants.iter().find_map(parse),
            Scope::All => self.tenants().iter().find_map(parse),
        }
    }

    /// The id of a row whose client gave none: a `UUIDv7` that is derived, never stored. `None` for a
    /// tenant that does not exist.
    pub fn derived_id(
        &self,
        tenant: &TenantId,
        stream: Stream,
        seq: u64,
        received: TimestampUs,
    ) -> Option<String> {
        let number = self.core.catalog.number_of(tenant)?;
        Some(self.core.derived_ids.derive(number, stream, seq, received))
    }

    /// The leaf hashes of an audit batch that was read back; one a row.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for another stream, or when the key of a row's subject is gone.
    pub fn leaves(&self, batch: &Batch) -> Result<Vec<[u8; 32]>> {
        self.core.leaves(batch)
    }

    /// Erases a tenant or a user: from the return on nothing answers with it, and [`Self::run_erasures`]
    /// takes the bytes away. `with` becomes durable together with it, or not at all.
    ///
    /// What is being erased already is taken further, to the rows of the present, under its first id.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a tenant that does not exist, and as [`Self::append`]; a full disk does not
    /// refuse it.
    pub fn erase(&self, target: EraseTarget, with: Append) -> Result<(ErasureId, Appended)> {
        self.core.erase(target, with)
    }

    /// An erasure: what is to be erased, or the receipt of it.
    pub fn erasure(&self, id: ErasureId) -> Option<ErasureRecord> {
        let value = self.catalog_get(CatalogKind::Erasure, &id.0)?;
        let record = ErasureRecord::decode(&value).ok()?;
        // The last bytes of one that is done may still be in files that are being wiped.
        let outcome = record.outcome.filter(|_| !self.core.is_unwiped());
        Some(ErasureRecord { outcome, ..record })
    }

    /// What the threads share, for tests of the rooms behind the door.
    #[cfg(test)]
    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// Removes what has expired, and carries erasures out that have waited for most of a day; true when
    /// there was something. What a thread of the engine does every hour.
    ///
    /// # Errors
    ///
    /// As [`Self::enforce_retention`] and [`Self::run_erasures`].
    pub fn step_retention(&self) -> Result<bool> {
        self.core.step_retention()
    }

    /// Takes the bytes of everything that is erased out of every file, as a thread of the engine does
    /// once a day.
    ///
    /// # Errors
    ///
    /// Damage of a file that may hold what is erased, and I/O: the erasures stay pending and hidden, and
    /// the next call goes on.
    pub fn run_erasures(&self) -> Result<ErasurePass> {
        pass::run(&self.core)
    }

    /// How long a tenant's streams are kept, and whether that is its own document and not the default.
    pub fn retention(&self, tenant: &TenantId) -> (RetentionDocument, bool) {
        let number = self.core.catalog.number_of(tenant);
        let own = number.and_then(|number| self.core.catalog.policies().document(number).copied());
        (own.unwrap_or(self.core.config.retention), own.is_some())
    }

    /// Sets how long a tenant's streams are kept; `None` is the default.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a tenant that does not exist or limits that make no sense, and as
    /// [`Self::append`].
    pub fn set_retention(&self, tenant: &TenantId, document: Option<RetentionDocument>) -> Result<()> {
        self.core.set_retention(tenant, document)
    }

    /// Since when rows of a tenant's stream are kept; earlier ones are not shown, nor taken.
    pub fn kept_since(&self, tenant: &TenantId, stream: Stream) -> TimestampUs {
        let hidden = self.core.hidden();
        let number = self.core.catalog.number_of(tenant).unwrap_or_default();
        hidden.kept_since(number, stream)
    }

    /// Removes the files whose rows have all passed what their tenants keep, as a thread of the engine does
    /// every hour; with `dry_run` it only says which they are.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] and [`Error::Poisoned`].
    pub fn enforce_retention(&self, dry_run: bool) -> Result<RetentionReport> {
        expire::enforce(&self.core, dry_run)
    }

    /// A catalog record. Sees every append that was acknowledged.
    pub fn catalog_get(&self, kind: CatalogKind, key: &[u8]) -> Option<Arc<[u8]>> {
        self.core.catalog.get(kind, key)
    }

    /// The catalog records of a kind whose keys start with `prefix`, sorted by key.
    pub fn catalog_scan(&self, kind: CatalogKind, prefix: &[u8]) -> Vec<(Vec<u8>, Arc<[u8]>)> {
        self.core.catalog.scan(kind, prefix)
    }

    /// A secret of this store: made at the first call for a name, then the same for ever.
    ///
    /// # Errors
    ///
    /// As [`Self::append`].
    pub fn secret(&self, name: &str) -> Result<[u8; 32]> {
        let key = name.as_bytes();
        let _guard = self.core.secrets.lock();
        if let Some(secret) = self.catalog_get(CatalogKind::Secret, key) {
            return secret.as_ref().try_into().map_err(|_| Error::invalid("a secret of the wrong length"));
        }
        let secret = self.core.entropy.next();
        let put = CatalogPut { kind: CatalogKind::Secret, key: key.to_vec(), value: Some(secret.to_vec()) };
        self.append(Append::puts(vec![put]))?;
        Ok(secret)
    }

    /// Whether a tenant has written, or was named by [`Self::create_tenant`].
    pub fn tenant_exists(&self, tenant: &TenantId) -> bool {
        self.core.catalog.number_of(tenant).is_some()
    }

    /// Makes a tenant exist before its first row; fine when it does.
    ///
    /// # Errors
    ///
    /// As [`Self::append`].
    pub fn create_tenant(&self, tenant: &TenantId) -> Result<()> {
        if self.tenant_exists(tenant) {
            return Ok(());
        }
        let empty = BatchBuilder::new(tenant.clone(), Stream::Events).build();
        self.append(Append::batch(empty)).map(drop)
    }

    /// The tenants that exist, sorted by name.
    pub fn tenants(&self) -> Vec<TenantId> {
        let named = self.core.catalog.scan(CatalogKind::Tenant, &[]);
        named.iter().filter_map(|(key, _)| TenantId::new(std::str::from_utf8(key).ok()?).ok()).collect()
    }

    /// What a tenant keeps in a stream.
    ///
    /// # Errors
    ///
    /// As [`Self::aggregate`].
    pub fn usage(&self, tenant: &TenantId, stream: Stream) -> Result<Usage> {
        self.core.usage(tenant, stream)
    }

    /// Writes what is in memory into segments, and waits for it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] and [`Error::Poisoned`].
    pub fn flush(&self) -> Result<()> {
        self.core.flush_upto(self.core.tables.lsn_max())
    }

    /// Makes a copy of the store as of now, below `checkpoints/` of the data directory: a data directory of
    /// its own, which shares the sealed files by hard links. Appends and questions go on meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a name that is none or is taken, [`Error::DiskFull`], [`Error::Poisoned`],
    /// [`Error::Io`]; nothing is left of it then.
    pub fn checkpoint(&self, name: &str) -> Result<CheckpointReport> {
        checkpoint::checkpoint(&self.core, name)
    }

    /// Stops taking appends, writes what is queued, flushes, and stops the threads. A second call does
    /// nothing.
    ///
    /// # Errors
    ///
    /// The error of the last flush, or of the log.
    pub fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let panicked = !self.end_threads();
        if panicked {
            self.core.log.abandon(true);
        }
        let flushed = self.core.drain_log().and_then(|()| self.flush());
        // Also after an error: an append that came in meanwhile waits for its answer.
        let closed = self.core.log.close();
        *self.lock.lock() = None;
        flushed.and(closed)
    }

    /// Ends the threads; false when one had panicked.
    fn end_threads(&self) -> bool {
        self.core.begin_close();
        let threads: Vec<JoinHandle<()>> = self.threads.lock().drain(..).collect();
        let this = std::thread::current().id();
        // The last owner of the engine may be an answer that the log's own thread gives.
        let ends = threads.into_iter().filter(|t| t.thread().id() != this).map(JoinHandle::join);
        // Each is waited for, also after one that had panicked.
        ends.filter(Result::is_err).count() == 0
    }

    /// Whether the engine can do its work.
    pub fn health(&self) -> Health {
        let mut damaged = self.core.damage.lock().clone();
        damaged.extend(self.core.missing.iter().flat_map(|m| m.damage.clone()));
        Health { read_only: self.core.read_only(), damaged, findings: self.core.findings() }
    }

    /// Counters and sizes.
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }
}

impl Drop for Engine {
    /// Stops the threads. Nothing that was kept is lost without [`Engine::close`]: the next open replays
    /// the WAL. What is still queued is refused.
    fn drop(&mut self) {
        self.end_threads();
        self.core.log.abandon(false);
    }
}
