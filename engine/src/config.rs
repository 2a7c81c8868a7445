//! The engine's limits, checked once, units in the names.

use std::time::Duration;

use crate::catalog::RetentionDocument;
use crate::error::{Error, Result};
use crate::query::SessionClasses;
use crate::rollup::{RollupDefinition, Rollups};

/// When an append is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// After its bytes are synced to disk.
    #[default]
    Synced,
    /// After its bytes are written; they are synced within a second. A power cut may lose that second.
    Buffered,
}

/// When segments are merged, and how much that may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactionLimits {
    /// Segments of level 0 that start a merge.
    pub fresh_files: usize,
    /// Age of the newest row of a segment of level 0 that starts a merge, however few there are.
    pub fresh_age: Duration,
    /// Bytes of segments that a merge of a day that is not over reads; more wait for the next one.
    pub input_bytes_max: u64,
    /// Segments of one stream, class and day that is not over that start a merge.
    pub day_files: usize,
    /// How long after its end a day counts as over: rows that come later are late.
    pub day_grace: Duration,
    /// How long a day that is over waits for more when a good part of its rows came just now.
    pub day_quiet: Duration,
    /// Late segments of a day that are merged with its final one, whatever they hold.
    pub late_files: usize,
    /// Late rows of a day that are merged with its final segment, in percent of its rows.
    pub late_percent: u64,
    /// Bytes that are read and written in a second, about.
    pub io_bytes_per_second: u64,
}

impl Default for CompactionLimits {
    fn default() -> Self {
        Self {
            fresh_files: 4,
            fresh_age: Duration::from_mins(30),
            input_bytes_max: 1 << 30,
            day_files: 8,
            day_grace: Duration::from_hours(2),
            day_quiet: Duration::from_mins(15),
            late_files: 8,
            late_percent: 10,
            io_bytes_per_second: 64 << 20,
        }
    }
}

/// The limits of one engine.
#[derive(Debug, Clone)]
pub struct Config {
    /// When an append is answered.
    pub durability: Durability,
    /// Bytes of rows in memory, active and frozen together, that stop appends.
    pub memtable_bytes_max: u64,
    /// Bytes of rows in the active memtable that start a flush; a part of `memtable_bytes_max`.
    pub memtable_flush_bytes: u64,
    /// Bytes of WAL that are not flushed that stop appends; half of it starts a flush.
    pub wal_bytes_max: u64,
    /// Bytes of one WAL file.
    pub wal_file_bytes: u64,
    /// Age of the oldest row in memory that starts a flush.
    pub flush_interval: Duration,
    /// Bytes of one frame.
    pub frame_bytes_max: u64,
    /// How long the questions of one view may take.
    pub query_deadline: Duration,
    /// Bytes of decoded granules that are kept.
    pub block_cache_bytes: u64,
    /// Bytes of free disk under which appends are refused.
    pub disk_reserve_bytes: u64,
    /// How long a record's id and a request's idempotency key are remembered.
    pub deduplication_window: Duration,
    /// When segments are merged.
    pub compaction: CompactionLimits,
    /// How long rows and cells are kept of tenants that have no retention document.
    pub retention: RetentionDocument,
    /// What is kept of rows beside them, from their first merge on, so that questions need not read them.
    pub rollups: Vec<RollupDefinition>,
    /// How events are told apart for the cells of sessions; without there are none.
    pub sessions: Option<SessionClasses>,
    /// Bytes of decoded cells that are kept.
    pub cell_cache_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            durability: Durability::Synced,
            memtable_bytes_max: 48 << 20,
            memtable_flush_bytes: 24 << 20,
            wal_bytes_max: 256 << 20,
            wal_file_bytes: 16 << 20,
            flush_interval: Duration::from_mins(5),
            frame_bytes_max: 64 << 20,
            query_deadline: Duration::from_secs(30),
            block_cache_bytes: 32 << 20,
            disk_reserve_bytes: 64 << 20,
            deduplication_window: Duration::from_hours(24),
            compaction: CompactionLimits::default(),
            retention: RetentionDocument::default(),
            rollups: Vec::new(),
            sessions: None,
            cell_cache_bytes: 24 << 20,
        }
    }
}

impl Config {
    /// Checks the limits against each other.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`], naming the limit.
    pub fn check(&self) -> Result<()> {
        let positive = [
            ("memtable_bytes_max", self.memtable_bytes_max),
            ("memtable_flush_bytes", self.memtable_flush_bytes),
            ("wal_bytes_max", self.wal_bytes_max),
            ("wal_file_bytes", self.wal_file_bytes),
            ("frame_bytes_max", self.frame_bytes_max),
            ("compaction.fresh_files", self.compaction.fresh_files as u64),
            ("compaction.input_bytes_max", self.compaction.input_bytes_max),
            ("compaction.late_files", self.compaction.late_files as u64),
            ("compaction.io_bytes_per_second", self.compaction.io_bytes_per_second),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, n)| *n == 0) {
            return Err(Error::invalid(format!("{name} must be positive")));
        }
        if self.memtable_flush_bytes > self.memtable_bytes_max {
            return Err(Error::invalid("memtable_flush_bytes is at most memtable_bytes_max"));
        }
        if self.compaction.day_files < 2 {
            return Err(Error::invalid("compaction.day_files is at least 2"));
        }
        Rollups::new(&self.rollups)?;
        self.retention.check()
    }
}
