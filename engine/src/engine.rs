//! The engine's door: open, append, ask, flush, close; the only file that wires rooms together.

use std::sync::Arc;

use crate::append::{Append, Appended, CatalogKind};
use crate::clock::Clock;
use crate::config::Config;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::id::{Stream, TenantId};
use crate::query::{Answer, Damage, Query, RowPage, RowRequest, ScanEnd, ScanRequest, ScanVector, Scope};
use crate::schema::Batch;
use crate::time::TimestampUs;

/// An open store. One for a data directory; cheap to share in an `Arc`.
#[derive(Debug)]
pub struct Engine {}

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
    /// Flushes that were published.
    pub flushes: u64,
    /// Live segments.
    pub segments: u64,
    /// Their bytes.
    pub segment_bytes: u64,
    /// Rows in them.
    pub segment_rows: u64,
    /// Damaged places found since the engine was opened.
    pub damage_found: u64,
}

impl Engine {
    /// Opens the store in a data directory, or makes a new one; replays the WAL and starts the threads.
    ///
    /// `seed` is secret randomness for keys and ids, from the operating system.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] when another process has it, [`Error::NewerFormat`], [`Error::Corrupt`] when
    /// the manifest or the catalog is damaged, [`Error::Io`].
    pub fn open(_config: Config, _disk: Arc<dyn Disk>, _clock: Arc<dyn Clock>, _seed: [u8; 32]) -> Result<Arc<Self>> {
        Err(Error::Closed)
    }

    /// Gives rows and records to the log and returns; `done` is called once, from another thread, when
    /// they are kept or refused. It must not block.
    pub fn submit(&self, _append: Append, done: Box<dyn FnOnce(Result<Appended>) + Send>) {
        done(Err(Error::Closed));
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

    /// Answers a question for numbers.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] for damage (unless `allow_partial`), [`Error::QueryLimit`], [`Error::Invalid`].
    pub fn aggregate(&self, _query: &Query) -> Result<Answer> {
        Err(Error::Closed)
    }

    /// Answers a question for rows.
    ///
    /// # Errors
    ///
    /// As [`Self::aggregate`].
    pub fn rows(&self, _request: &RowRequest) -> Result<RowPage> {
        Err(Error::Closed)
    }

    /// Gives the fields of all matching rows to `each`, vector by vector, in no order.
    ///
    /// # Errors
    ///
    /// As [`Self::aggregate`], and the first error of `each`.
    pub fn scan(&self, _request: &ScanRequest, _each: &mut dyn FnMut(&ScanVector) -> Result<()>) -> Result<ScanEnd> {
        Err(Error::Closed)
    }

    /// One row by its id, given by the client or derived, with every column; `None` when the scope has none.
    ///
    /// # Errors
    ///
    /// As [`Self::aggregate`].
    pub fn row_by_id(&self, _scope: &Scope, _stream: Stream, _id: &str) -> Result<Option<Batch>> {
        Err(Error::Closed)
    }

    /// The id of a row whose client gave none: a UUIDv7 that is derived, never stored.
    pub fn derived_id(&self, _tenant: &TenantId, _stream: Stream, _seq: u64, _received: TimestampUs) -> String {
        String::new()
    }

    /// The leaf hashes of an audit batch that was read back; one a row.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for another stream.
    pub fn leaves(&self, _batch: &Batch) -> Result<Vec<[u8; 32]>> {
        Err(Error::Closed)
    }

    /// A catalog record. Sees every append that was acknowledged.
    pub fn catalog_get(&self, _kind: CatalogKind, _key: &[u8]) -> Option<Arc<[u8]>> {
        None
    }

    /// The catalog records of a kind whose keys start with `prefix`, sorted by key.
    pub fn catalog_scan(&self, _kind: CatalogKind, _prefix: &[u8]) -> Vec<(Vec<u8>, Arc<[u8]>)> {
        Vec::new()
    }

    /// A secret of this store: made at the first call for a name, then the same for ever.
    ///
    /// # Errors
    ///
    /// As [`Self::append`].
    pub fn secret(&self, _name: &str) -> Result<[u8; 32]> {
        Err(Error::Closed)
    }

    /// Whether a tenant has written, or was named by [`Self::create_tenant`].
    pub fn tenant_exists(&self, _tenant: &TenantId) -> bool {
        false
    }

    /// Makes a tenant exist before its first row; fine when it does.
    ///
    /// # Errors
    ///
    /// As [`Self::append`].
    pub fn create_tenant(&self, _tenant: &TenantId) -> Result<()> {
        Err(Error::Closed)
    }

    /// The tenants that exist, sorted by name.
    pub fn tenants(&self) -> Vec<TenantId> {
        Vec::new()
    }

    /// What a tenant keeps in a stream.
    ///
    /// # Errors
    ///
    /// As [`Self::aggregate`].
    pub fn usage(&self, _tenant: &TenantId, _stream: Stream) -> Result<Usage> {
        Err(Error::Closed)
    }

    /// Writes what is in memory into segments, and waits for it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] and [`Error::Poisoned`].
    pub fn flush(&self) -> Result<()> {
        Err(Error::Closed)
    }

    /// Stops taking appends, flushes, and stops the threads.
    ///
    /// # Errors
    ///
    /// The error of the last flush.
    pub fn close(&self) -> Result<()> {
        Err(Error::Closed)
    }

    /// Whether the engine can do its work.
    pub fn health(&self) -> Health {
        Health::default()
    }

    /// Counters and sizes.
    pub fn stats(&self) -> Stats {
        Stats::default()
    }
}
