//! The one error of the engine, grouped by what a caller does next.

use std::io;
use std::path::{Path, PathBuf};

use crate::time::TimestampUs;

/// The result of an engine call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An engine call that did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes at `offset` of a file are not what the format says they must be.
    ///
    /// The file is set aside and everything else stays readable.
    #[error("corrupt {what} in {path} at byte {offset}: {reason}", path = path.display())]
    Corrupt {
        /// The structure that was being read.
        what: &'static str,
        /// The file it was read from, relative to the data directory.
        path: PathBuf,
        /// The first byte of the structure, from the start of the file.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A file was written by a newer version; the directory is left untouched.
    #[error(
        "{path} has format version {found}, this program reads up to version {supported}: a newer program wrote it. \
         Nothing was changed; open this data directory with that program",
        path = path.display()
    )]
    NewerFormat {
        /// The file, relative to the data directory.
        path: PathBuf,
        /// The version it says it has.
        found: u32,
        /// The newest version this program reads.
        supported: u32,
    },
    /// A file was written by a program from before the first release; the directory is left untouched.
    #[error(
        "{path} has format version {found}, this program reads from version {oldest} on: version {found} was never \
         released. Nothing was changed; start with an empty data directory and load the data again",
        path = path.display()
    )]
    OlderFormat {
        /// The file, relative to the data directory.
        path: PathBuf,
        /// The version it says it has.
        found: u32,
        /// The oldest version this program reads.
        oldest: u32,
    },
    /// The operating system refused a file operation.
    #[error("{action} {path}", path = path.display())]
    Io {
        /// The operation, as a verb: `open`, `read`, `sync`.
        action: &'static str,
        /// The file, relative to the data directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Another process has the data directory open.
    #[error("the data directory {path} is in use by another process", path = path.display())]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// An earlier write or sync failed, so the engine takes no writes until it is reopened.
    #[error("engine is read-only after a failed sync")]
    Poisoned,
    /// The engine was closed, or is closing.
    #[error("engine is closed")]
    Closed,
    /// The file system is too full to take writes safely; nothing was accepted, reads go on.
    #[error("disk is full: {free} bytes free, {reserve} are kept in reserve")]
    DiskFull {
        /// Bytes that are free.
        free: u64,
        /// Bytes that must stay free.
        reserve: u64,
    },
    /// The idempotency key was used before with another body.
    #[error("the idempotency key was used with another body")]
    IdempotencyMismatch,
    /// Too much is waiting to become durable or to be flushed; nothing was accepted.
    #[error("engine is overloaded: {what} is at its limit of {limit} bytes")]
    Overloaded {
        /// The budget that is used up.
        what: &'static str,
        /// The budget, in bytes.
        limit: u64,
    },
    /// The caller asked for something the engine cannot do.
    #[error("invalid request: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
    /// A question needs rows of before an instant, and they were not kept that long.
    #[error("rows of before {since:?} have expired")]
    RowsExpired {
        /// Rows are there from here on.
        since: TimestampUs,
    },
    /// A query went over one of its budgets and was stopped.
    #[error("query stopped: {what} is limited to {limit}")]
    QueryLimit {
        /// The budget, with its unit.
        what: &'static str,
        /// The budget.
        limit: u64,
    },
    /// A query took longer than it may and was stopped.
    #[error("query stopped: it may take {limit:?}")]
    QueryDeadline {
        /// What it may take.
        limit: std::time::Duration,
    },
    /// A query was stopped because nobody waits for its answer.
    #[error("query stopped: nobody waits for its answer")]
    Cancelled,
}

impl Error {
    /// A corrupt structure in a file; `path` is relative to the data directory.
    pub fn corrupt(
        what: &'static str,
        path: impl Into<PathBuf>,
        offset: u64,
        reason: impl Into<String>,
    ) -> Self {
        Self::Corrupt { what, path: path.into(), offset, reason: reason.into() }
    }

    /// A request the engine cannot serve.
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid { reason: reason.into() }
    }

    /// The file that could not be read or written, relative to the data directory.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Corrupt { path, .. }
            | Self::NewerFormat { path, .. }
            | Self::OlderFormat { path, .. }
            | Self::Io { path, .. } => Some(path),
            Self::Locked { .. }
            | Self::Poisoned
            | Self::Closed
            | Self::DiskFull { .. }
            | Self::IdempotencyMismatch
            | Self::Overloaded { .. }
            | Self::Invalid { .. }
            | Self::RowsExpired { .. }
            | Self::QueryLimit { .. }
            | Self::QueryDeadline { .. }
            | Self::Cancelled => None,
        }
    }

    /// Whether a file has a version of the format that this program does not read.
    pub const fn is_foreign_format(&self) -> bool {
        matches!(self, Self::NewerFormat { .. } | Self::OlderFormat { .. })
    }

    /// Whether stored bytes are damaged: reading again will not help, repair may.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Corrupt { .. } => true,
            Self::NewerFormat { .. }
            | Self::OlderFormat { .. }
            | Self::Io { .. }
            | Self::Locked { .. }
            | Self::Poisoned
            | Self::Closed
            | Self::DiskFull { .. }
            | Self::IdempotencyMismatch
            | Self::Overloaded { .. }
            | Self::Invalid { .. }
            | Self::RowsExpired { .. }
            | Self::QueryLimit { .. }
            | Self::QueryDeadline { .. }
            | Self::Cancelled => false,
        }
    }
}
