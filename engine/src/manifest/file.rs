//! The files of a store besides the WAL: their kinds, names, and what the manifest keeps of each.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::id::{FileId, Stream};
use crate::time::TimestampUs;

/// What a file holds. The number is stable, it is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FileKind {
    /// Rows.
    Segment = 0,
    /// Identities and their codes.
    Dictionary = 1,
    /// Record ids that clients gave in one hour.
    Ids = 2,
    /// Answers to requests that were named in one hour.
    Idempotency = 3,
    /// The log of the catalog.
    Catalog = 4,
}

impl FileKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Segment, Self::Dictionary, Self::Ids, Self::Idempotency, Self::Catalog];

    /// The directory of the kind, below the data directory.
    pub const fn dir(self) -> &'static str {
        match self {
            Self::Segment => "segments",
            Self::Dictionary => "dictionary",
            Self::Ids => "ids",
            Self::Idempotency => "idempotency",
            Self::Catalog => "catalog",
        }
    }

    /// How the names of the kind end.
    const fn extension(self) -> &'static str {
        match self {
            Self::Segment => "seg",
            Self::Dictionary => "dict",
            Self::Ids => "ids",
            Self::Idempotency => "idem",
            Self::Catalog => "log",
        }
    }

    /// The path of a file of this kind, below the data directory.
    pub fn path(self, id: FileId) -> PathBuf {
        PathBuf::from(self.dir()).join(format!("{:010}.{}", id.0, self.extension()))
    }

    /// The number in a file's name, if it is a name of this kind.
    pub fn id_of(self, name: &str) -> Option<FileId> {
        numbered(name, self.extension())
    }
}

/// The number in front of `.extension`.
pub(super) fn numbered(name: &str, extension: &str) -> Option<FileId> {
    let digits = name.strip_suffix(extension)?.strip_suffix('.')?;
    let plain = digits.len() >= 10 && digits.bytes().all(|b| b.is_ascii_digit());
    if plain { digits.parse().ok().map(FileId) } else { None }
}

/// What a file holds of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamMeta {
    /// The stream.
    pub stream: Stream,
    /// Its rows.
    pub rows: u64,
    /// The earliest event time.
    pub min_time: TimestampUs,
    /// The latest event time.
    pub max_time: TimestampUs,
}

/// A live file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMeta {
    /// Its number; with the kind it gives the path.
    pub id: FileId,
    /// What it holds.
    pub kind: FileKind,
    /// Its length in bytes; for the catalog's log, which grows, the bytes that are durable at least.
    pub bytes: u64,
    /// SHA-256 of its footer, so that another file cannot pass for it; zeroes for the catalog's log.
    pub hash: [u8; 32],
    /// How often its rows were merged, from 0.
    pub level: u8,
    /// The streams it has rows of, by stream.
    pub streams: Vec<StreamMeta>,
    /// For files of one hour of receipt: hours since 1970.
    pub hour: Option<i64>,
}

impl FileMeta {
    /// A file without rows and without an hour.
    pub fn new(id: FileId, kind: FileKind, bytes: u64, hash: [u8; 32]) -> Self {
        Self { id, kind, bytes, hash, level: 0, streams: Vec::new(), hour: None }
    }

    /// Where it is, below the data directory.
    pub fn path(&self) -> PathBuf {
        self.kind.path(self.id)
    }

    /// What it holds of a stream, if anything.
    pub fn stream(&self, stream: Stream) -> Option<&StreamMeta> {
        self.streams.iter().find(|s| s.stream == stream)
    }
}

/// What a room wants to change in the set of live files; it counts once the manifest has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileChange {
    /// Files that were written and synced.
    pub add: Vec<FileMeta>,
    /// Files that are no longer needed.
    pub remove: Vec<FileId>,
}
