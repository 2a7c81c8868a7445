//! What an engine has for cells: its definitions, the files of live segments, and their making.

use std::sync::Arc;

use parking_lot::Mutex;

use super::cell_file::{CellCache, CellFile};
use super::definition::Rollups;
use super::write::{CellSource, write_cells};
use crate::codes::{Codes, Tenants};
use crate::config::Config;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::id::{FileId, Stream};
use crate::manifest::FileMeta;
use crate::part::Part;
use crate::query::SessionClasses;

/// Most findings that are kept.
const FINDINGS_MAX: usize = 1_000;

/// The cells of an engine.
#[derive(Debug)]
pub(crate) struct CellRoom {
    rollups: Arc<Rollups>,
    sessions: Option<SessionClasses>,
    cache: Arc<CellCache>,
    /// Files that could not be opened, and segments whose cells could not be made.
    findings: Mutex<Vec<String>>,
}

impl CellRoom {
    /// The room of an engine.
    ///
    /// # Errors
    ///
    /// Those of [`Rollups::new`].
    pub(crate) fn new(config: &Config) -> Result<Self> {
        Ok(Self {
            rollups: Rollups::new(&config.rollups)?,
            sessions: config.sessions.clone(),
            cache: CellCache::new(config.cell_cache_bytes),
            findings: Mutex::default(),
        })
    }

    /// Whether rows of a stream have cells, when there are enough of them.
    pub(crate) fn has_cells_of(&self, stream: Stream) -> bool {
        self.rollups.of(stream).next().is_some() || (stream == Stream::Events && self.sessions.is_some())
    }

    /// The definitions of the engine.
    pub(crate) fn rollups(&self) -> &Arc<Rollups> {
        &self.rollups
    }

    /// Opens cell files of one segment, the finest tier first. One that cannot be opened is named and
    /// left out: rows answer instead.
    ///
    /// # Errors
    ///
    /// [`Error::NewerFormat`].
    pub(crate) fn open<'m>(
        &self,
        disk: &dyn Disk,
        metas: impl Iterator<Item = &'m Arc<FileMeta>>,
    ) -> Result<Vec<Arc<CellFile>>> {
        let mut files = Vec::new();
        for meta in metas {
            match CellFile::open(disk, meta, &self.rollups, &self.cache) {
                Ok(file) => files.push(file),
                Err(error) if error.is_foreign_format() => return Err(error),
                Err(error) => self.note(error.to_string()),
            }
        }
        files.sort_by_key(|file| file.tier());
        Ok(files)
    }

    /// Writes and syncs the cell files of a segment of one stream and UTC day. Where its rows, or the
    /// dictionary, cannot be read there are none.
    ///
    /// # Errors
    ///
    /// Those of the disk; files may be left for whoever allocated their numbers.
    pub(crate) fn write(
        &self,
        disk: &dyn Disk,
        (part, segment): (Arc<dyn Part>, FileId),
        (codes, tenants): (Arc<dyn Codes>, Arc<dyn Tenants>),
        must_keep: bool,
        allocate: &dyn Fn() -> FileId,
    ) -> Result<Vec<FileMeta>> {
        let mut streams = Stream::ALL.into_iter().filter(|stream| part.rows(*stream) > 0);
        let (Some(stream), None) = (streams.next(), streams.next()) else { return Ok(Vec::new()) };
        let sessions = self.sessions.as_ref();
        let rollups = &self.rollups;
        let source = CellSource { part, segment, stream, codes, tenants, rollups, sessions, must_keep };
        match write_cells(disk, &source, allocate) {
            Err(error @ (Error::Corrupt { .. } | Error::Invalid { .. })) => {
                self.note(format!("the cells of segment {segment} could not be made: {error}"));
                Ok(Vec::new())
            }
            result => result,
        }
    }

    /// What could not be read or made, in words; what open files say comes from them.
    pub(crate) fn findings(&self) -> Vec<String> {
        self.findings.lock().clone()
    }

    /// Keeps a finding.
    pub(crate) fn note(&self, finding: String) {
        let mut findings = self.findings.lock();
        if findings.len() < FINDINGS_MAX && !findings.contains(&finding) {
            findings.push(finding);
        }
    }
}
