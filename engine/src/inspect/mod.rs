//! Looks at a data directory without opening the store: what its files hold, and whether they are whole.
//!
//! Nothing is written and no lock is taken, so it is safe beside a running server. What the server holds
//! in memory alone is not seen, except through its log; files that it removes meanwhile make the look
//! start again from the newer manifest.

mod verify;
mod weigh;

use std::sync::Arc;

use crate::catalog::Catalog;
use crate::disk::{Disk, OverlayDisk};
use crate::error::{Error, Result};
use crate::format_check;
use crate::manifest::{FileKind, FileMeta, Manifest, Version};
use crate::segment::{BlockCache, FooterHash, SegmentReader};

pub use verify::{Checked, Finding, Level, Verification};
pub use weigh::{ColumnWeight, StoreWeight, StreamWeight, TenantWeight};

/// How often a look starts again because files went away under it.
const TRIES_MAX: usize = 5;
/// Bytes of decoded blocks that are kept; a look reads most of them once.
const CACHE_BYTES: u64 = 16 << 20;

/// The files of a store at one moment.
#[derive(Debug)]
pub struct Inspection {
    disk: Arc<dyn Disk>,
    version: Arc<Version>,
    catalog: Catalog,
    segments: Vec<Inspected>,
}

/// A segment that the manifest names.
#[derive(Debug)]
pub struct Inspected {
    /// What the manifest says of it.
    pub meta: Arc<FileMeta>,
    /// The open file, or why it cannot be opened.
    pub reader: Result<Arc<SegmentReader>>,
}

impl Inspection {
    /// Reads manifest and catalog and opens the segments; one that cannot be opened is kept as such.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when the manifest or the catalog is damaged or the directory holds no store,
    /// [`Error::NewerFormat`], [`Error::Io`].
    pub fn open(disk: &Arc<dyn Disk>) -> Result<Self> {
        let mut tries = 1;
        loop {
            let attempt = Self::attempt(disk);
            let moved = match &attempt {
                Ok(found) => found.is_outdated(disk),
                Err(_) => true,
            };
            if !moved || tries == TRIES_MAX {
                return attempt;
            }
            tries += 1;
        }
    }

    fn attempt(disk: &Arc<dyn Disk>) -> Result<Self> {
        let disk: Arc<dyn Disk> = Arc::new(OverlayDisk::new(Arc::clone(disk)));
        if !Manifest::exists(&*disk)? {
            return Err(Error::invalid("the directory holds no store: it has no manifest"));
        }
        format_check::check(&*disk)?;
        let version = Manifest::open_or_create(Arc::clone(&disk))?.version();
        let catalog = Catalog::open(Arc::clone(&disk), &version)?;
        let cache = BlockCache::new(CACHE_BYTES);
        let mut segments = Vec::new();
        for meta in version.files_of(FileKind::Segment) {
            let hash = Some(FooterHash(meta.hash));
            let reader = SegmentReader::open(&*disk, &meta.path(), meta.id, hash, Arc::clone(&cache));
            segments.push(Inspected { meta: Arc::clone(meta), reader });
        }
        Ok(Self { disk, version, catalog, segments })
    }

    /// Whether a file could not be opened that a newer manifest may no longer name.
    fn is_outdated(&self, disk: &Arc<dyn Disk>) -> bool {
        let is_gone = |one: &Inspected| {
            one.reader.is_err() && disk.exists(&one.meta.path()).is_ok_and(|exists| !exists)
        };
        self.segments.iter().any(is_gone)
    }

    /// The live files.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The segments, by number.
    pub fn segments(&self) -> &[Inspected] {
        &self.segments
    }
}

#[cfg(test)]
mod tests;
