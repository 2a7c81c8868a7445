//! Whether the files of a store are whole, as deep as asked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Inspected, Inspection};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::dedup::{idempotency, ids};
use crate::dictionary::{DictionarySet, format as dictionary};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::manifest::{FileKind, FileMeta};
use crate::recover::WAL_DIR;
use crate::rollup::{CellCache, CellFile, RollupDefinition, Rollups};
use crate::sorted_file::SortedReader;
use crate::wal;

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Manifest, catalog, the WAL's frames, and of every other file its length, its footer and its index.
    Quick,
    /// Every block's checksum too, those of cells included.
    Full,
    /// Every value is decoded, and compared with what the index says of it; cells with their rows, each other
    /// and the dictionary; audit records with the roots of their trees.
    Deep,
}

/// What was found wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file, relative to the data directory.
    pub file: PathBuf,
    /// The first byte of the structure that is wrong.
    pub offset: u64,
    /// What kind of trouble it is: `missing`, `corrupt`, `unreadable`, `newer_format`.
    pub kind: &'static str,
    /// In words.
    pub detail: String,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checked {
    /// Files.
    pub files: u64,
    /// Blocks whose checksums were computed.
    pub blocks: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Audit records whose leaves were computed again and are under a root that was kept.
    pub leaves: u64,
}

/// Bytes of decoded cells that are kept; each is read once.
const CELL_CACHE_BYTES: u64 = 1 << 20;

/// The outcome of a verification; whole when nothing was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verification {
    /// Everything that is wrong.
    pub findings: Vec<Finding>,
    /// What was looked at.
    pub checked: Checked,
    /// Bytes at the end of the WAL that were never acknowledged; no damage, a start cuts them.
    pub torn_tail_bytes: u64,
}

impl Verification {
    /// The outcome when manifest or catalog is damaged, so that nothing else could be looked at.
    pub fn of(error: &Error) -> Self {
        let mut out = Self::default();
        out.add(Path::new(""), error);
        out
    }

    fn add(&mut self, path: &Path, error: &Error) {
        let (offset, kind, detail) = match error {
            Error::Corrupt { offset, reason, what, .. } => (*offset, "corrupt", format!("{what}: {reason}")),
            Error::NewerFormat { .. } => (0, "newer_format", error.to_string()),
            Error::OlderFormat { .. } => (0, "older_format", error.to_string()),
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                (0, "missing", "a file that the manifest names is missing".to_owned())
            }
            Error::Io { source, .. } => (0, "unreadable", format!("{error}: {source}")),
            other => (0, "unreadable", other.to_string()),
        };
        let file = error.file().unwrap_or(path).to_owned();
        self.findings.push(Finding { file, offset, kind, detail });
    }
}

impl Inspection {
    /// Looks at every live file and at the WAL; manifest and catalog were read when this was opened. What cells
    /// of rollups are, `rollups` say: cells of others are read and not decoded.
    ///
    /// # Errors
    ///
    /// Those of [`Rollups::new`].
    pub fn verify(&self, level: Level, rollups: &[RollupDefinition]) -> Result<Verification> {
        let rollups = Rollups::new(rollups)?;
        let mut out = Verification::default();
        for meta in self.version.files() {
            out.checked.files += 1;
            out.checked.bytes += meta.bytes;
        }
        for segment in &self.segments {
            verify_segment(segment, level, &mut out);
        }
        let sorted = [
            (FileKind::Dictionary, dictionary::TYPE),
            (FileKind::Ids, ids::TYPE),
            (FileKind::Idempotency, idempotency::TYPE),
        ];
        for (kind, ty) in sorted {
            for meta in self.version.files_of(kind) {
                let read = SortedReader::open(&*self.disk, meta, ty)
                    .and_then(|reader| if level == Level::Quick { Ok(0) } else { reader.verify() });
                match read {
                    Ok(blocks) => out.checked.blocks += blocks,
                    Err(error) => out.add(&meta.path(), &error),
                }
            }
        }
        self.verify_cells(level, &rollups, &mut out);
        self.verify_wal(&mut out);
        if level == Level::Deep {
            self.verify_audit(&mut out);
        }
        Ok(out)
    }

    fn verify_cells(&self, level: Level, rollups: &Arc<Rollups>, out: &mut Verification) {
        let cache = CellCache::new(CELL_CACHE_BYTES);
        // What is wrong with it was said of its files.
        let codes = DictionarySet::open(Arc::clone(&self.disk), &self.version).ok();
        for meta in self.version.files_of(FileKind::Cells) {
            let before = out.findings.len();
            self.verify_length(meta, out);
            if out.findings.len() > before {
                continue;
            }
            let file = match CellFile::open(&*self.disk, meta, rollups, &cache) {
                Ok(file) => file,
                Err(error) => {
                    out.add(&meta.path(), &error);
                    continue;
                }
            };
            if level == Level::Quick {
                continue;
            }
            match (file.verify_blocks(), &codes) {
                (Ok(blocks), Some(codes)) if level == Level::Deep => {
                    out.checked.blocks += blocks;
                    let segment = meta.of.and_then(|of| self.version.get(of.segment)).unwrap_or(meta);
                    let rows = segment.stream(file.stream()).map_or(0, |stream| stream.rows);
                    file.check(codes, rows).iter().for_each(|error| out.add(&meta.path(), error));
                }
                (Ok(blocks), _) => out.checked.blocks += blocks,
                (Err(error), _) => out.add(&meta.path(), &error),
            }
        }
    }

    /// Computes the leaves of audit records and the roots over them again.
    fn verify_audit(&self, out: &mut Verification) {
        let path = self.version.files_of(FileKind::Catalog).next().map(|meta| meta.path());
        let path = path.unwrap_or_default();
        let config = Config { disk_reserve_bytes: 0, ..Config::default() };
        let checked = Engine::open_stepped(config, Arc::clone(&self.disk), SystemClock::new(), [0; 32])
            .and_then(|engine| engine.verify_audit());
        match checked {
            Ok(checked) => {
                out.checked.leaves = checked.leaves;
                for reason in checked.findings {
                    out.add(&path, &Error::corrupt("audit log", &path, 0, reason));
                }
            }
            Err(error) => out.add(&path, &error),
        }
    }

    fn verify_length(&self, meta: &FileMeta, out: &mut Verification) {
        let path = meta.path();
        match self.disk.open_read(&path).and_then(|file| file.bytes()) {
            Ok(bytes) if bytes == meta.bytes => {}
            Ok(bytes) => {
                let reason = "a file that is not as long as the manifest says";
                out.add(&path, &Error::corrupt("file", &path, bytes.min(meta.bytes), reason));
            }
            Err(error) => out.add(&path, &error),
        }
    }

    fn verify_wal(&self, out: &mut Verification) {
        let flushed = self.version.flushed_lsn();
        let replayed = wal::replay(&*self.disk, Path::new(WAL_DIR), flushed, &mut |_| {
            out.checked.blocks += 1;
            Ok(())
        });
        match replayed {
            Ok(replayed) => {
                out.torn_tail_bytes = replayed.torn_tail_bytes;
                for damage in &replayed.damage {
                    let to = damage.lsn_to.map_or_else(|| "?".to_owned(), |lsn| lsn.to_string());
                    let reason =
                        format!("frames {} to {to} cannot be read ({} bytes)", damage.lsn_from, damage.bytes);
                    let error = Error::corrupt("write-ahead log", &damage.path, damage.offset, reason);
                    out.add(&damage.path, &error);
                }
            }
            Err(error) => out.add(Path::new(WAL_DIR), &error),
        }
    }
}

fn verify_segment(segment: &Inspected, level: Level, out: &mut Verification) {
    let path = segment.meta.path();
    let reader = match &segment.reader {
        Ok(reader) => reader,
        Err(error) => return out.add(&path, error),
    };
    let errors = match level {
        Level::Quick => return,
        Level::Full => reader.verify_blocks(),
        Level::Deep => reader.verify(),
    };
    out.checked.blocks += reader.block_count();
    for error in errors {
        out.add(&path, &error);
    }
}
