//! The files of a store besides the WAL: their kinds, names, and what the manifest keeps of each.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::id::{FileId, Lsn, Stream};
use crate::rollup::Tier;
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
    /// Rollup cells of one segment at one tier.
    Cells = 5,
}

impl FileKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Segment, Self::Dictionary, Self::Ids, Self::Idempotency, Self::Catalog, Self::Cells];

    /// The directory of the kind, below the data directory.
    pub const fn dir(self) -> &'static str {
        match self {
            Self::Segment => "segments",
            Self::Dictionary => "dictionary",
            Self::Ids => "ids",
            Self::Idempotency => "idempotency",
            Self::Catalog => "catalog",
            Self::Cells => "cells",
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
            Self::Cells => "cells",
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

/// What a file of rollup cells was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellsOf {
    /// The segment whose rows it sums up; it goes when that one goes.
    pub segment: FileId,
    /// How long the intervals of its cells are.
    pub tier: Tier,
    /// Hash of the rollup definitions that it was made with.
    pub definitions: u64,
}

/// The retention class of rows that are kept for ever, and of all rows of level 0.
pub const CLASS_DEFAULT: u8 = 0;

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
    /// The most merges that any of its rows went through, from 0; what erasure rewrites is not counted.
    pub level: u8,
    /// The UTC day of all its rows, in days since 1970; of every segment from level 1 on.
    pub day: Option<i32>,
    /// How long its rows live; [`CLASS_DEFAULT`] at level 0, where rows of all classes stand together.
    pub class: u8,
    /// Whether it is the final segment of a day that is over, in the densest encoding.
    pub dense: bool,
    /// None of its rows came in a later frame.
    pub lsn_max: Lsn,
    /// The streams it has rows of, by stream.
    pub streams: Vec<StreamMeta>,
    /// For files of one hour of receipt: hours since 1970.
    pub hour: Option<i64>,
    /// For cells: what they sum up.
    pub of: Option<CellsOf>,
}

impl FileMeta {
    /// A file without rows, day and hour.
    pub fn new(id: FileId, kind: FileKind, bytes: u64, hash: [u8; 32]) -> Self {
        Self {
            id,
            kind,
            bytes,
            hash,
            level: 0,
            day: None,
            class: CLASS_DEFAULT,
            dense: false,
            lsn_max: Lsn(0),
            streams: Vec::new(),
            hour: None,
            of: None,
        }
    }

    /// Where it is, below the data directory.
    pub fn path(&self) -> PathBuf {
        self.kind.path(self.id)
    }

    /// What it holds of a stream, if anything.
    pub fn stream(&self, stream: Stream) -> Option<&StreamMeta> {
        self.streams.iter().find(|s| s.stream == stream)
    }

    /// Rows of all its streams.
    pub fn rows(&self) -> u64 {
        self.streams.iter().map(|s| s.rows).sum()
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
