//! Does one job: reads the segments, writes their successors, commits, lets readers see them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::compactor::of_rows;
use super::merge::merge;
use super::outputs::{Names, OPEN_MAX, Outputs, Target};
use super::pace::Pace;
use super::plan::{Job, JobKind};
use super::rewrite::{Fate, RowRewrite};
use crate::codes::Tenants;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::flush::open_segment;
use crate::id::{FileId, Stream};
use crate::manifest::{Edit, FileKind, FileMeta};
use crate::part::Part;
use crate::retention::class::Classes;
use crate::segment::{BlockCache, FooterHash, SegmentReader};
use crate::tables::{LiveSegment, Publication};

/// Bytes of decoded granules while cells are made: neighbours among small tenants share granules.
const READ_BACK_CACHE_BYTES: u64 = 16 << 20;

/// What a job did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Done {
    /// Rows of the segments that it wrote.
    pub rows: u64,
    /// Bytes of the segments that it read.
    pub bytes_read: u64,
    /// Bytes of the segments that it wrote.
    pub bytes_written: u64,
}

/// Runs a job. Until its one commit nothing has happened; after it everything has.
///
/// # Errors
///
/// Damage and I/O, [`Error::DiskFull`], [`Error::Closed`]: nothing has happened, and what was written is
/// removed again. [`Error::Poisoned`] and the error of a failed sync of the manifest: nobody knows whether
/// it happened, the files of both outcomes stay until the next start.
pub(super) fn run(core: &Core, job: &Job, rewrite: &dyn RowRewrite, pace: &Pace) -> Result<Done> {
    if core.manifest.is_poisoned() {
        return Err(Error::Poisoned);
    }
    // The reserve is there for this: what is erased goes also when the disk is full.
    let reserve = if job.kind == JobKind::Rewrite { 0 } else { core.config.disk_reserve_bytes };
    let free = core.disk.free_bytes()?;
    if free < job.bytes().saturating_add(reserve) {
        return Err(Error::DiskFull { free, reserve });
    }
    let result = write(core, job, rewrite, pace).and_then(|added| commit(core, job, added));
    let written = core.compactor.take_writing();
    if !core.manifest.is_poisoned() {
        let version = core.manifest.version();
        // Also of a job that was done: cells that could not be made to their end.
        for (kind, id) in written.into_iter().filter(|(_, id)| version.get(*id).is_none()) {
            // What stays is an orphan, and swept at the next start.
            drop(core.disk.remove(&kind.path(id)));
        }
    }
    result
}

/// Writes the successors of a job's segments; what is answered is synced, its name included.
fn write(core: &Core, job: &Job, rewrite: &dyn RowRewrite, pace: &Pace) -> Result<Vec<FileMeta>> {
    let flushed = core.manifest.version().flushed_lsn();
    let mut readers = Vec::with_capacity(job.inputs.len());
    let mut names = Names::new();
    for meta in &job.inputs {
        // Readers of its own: every block is read from the disk and verified before it is written anew, and
        // what a question costs is not mixed up with what a merge does.
        let hash = Some(FooterHash(meta.hash));
        let (disk, path) = (core.disk.as_ref(), meta.path());
        let reader = SegmentReader::open(disk, &path, meta.id, hash, Arc::clone(&core.cache))?;
        names.extend(reader.tenant_names()?);
        readers.push(reader);
    }
    let mut added = Vec::new();
    let mut bytes = 0;
    // A document that changes meanwhile counts from the next job on: every row goes to a file of its target.
    let classes = core.classes();
    for stream in Stream::ALL {
        let targets: Vec<Target> = targets(&classes, &readers, stream, rewrite).into_iter().collect();
        for pass in targets.chunks(OPEN_MAX) {
            let mut outputs = Outputs {
                core,
                job,
                stream,
                classes: &classes,
                targets: pass.iter().copied().collect(),
                pace,
                bytes_before: bytes,
                bytes_read: 0,
                open: BTreeMap::new(),
            };
            let merged = merge(&readers, stream, rewrite, &mut outputs);
            merged.map_err(|error| match job.inputs.as_slice() {
                [only] => of_rows(error, only),
                // Which of them it was is not known.
                _ => error,
            })?;
            bytes = outputs.bytes();
            added.extend(outputs.finish(flushed, &names)?);
        }
    }
    if !added.is_empty() {
        core.disk.sync_dir(Path::new(FileKind::Segment.dir()))?;
    }
    Ok(added)
}

/// The files that the rows of a stream go to.
fn targets(
    classes: &Classes,
    readers: &[Arc<SegmentReader>],
    stream: Stream,
    rewrite: &dyn RowRewrite,
) -> BTreeSet<Target> {
    let runs = readers.iter().flat_map(|reader| reader.runs(stream));
    runs.filter(|run| rewrite.fate(stream, run.tenant) != Fate::Drop)
        .map(|run| (run.min_time.day(), classes.of(stream, run.tenant)))
        .collect()
}

/// Puts the new segments in the place of the old ones, in the manifest and for readers.
fn commit(core: &Core, job: &Job, mut added: Vec<FileMeta>) -> Result<Done> {
    let done = Done {
        rows: added.iter().map(FileMeta::rows).sum(),
        bytes_read: job.bytes(),
        bytes_written: added.iter().map(|f| f.bytes).sum(),
    };
    // Opened before the commit: what cannot be read must not take the place of what can.
    let mut live: Vec<Arc<LiveSegment>> = Vec::with_capacity(added.len());
    let mut cells = Vec::new();
    for meta in &added {
        let segment = open_segment(core.disk.as_ref(), &core.cache, &Arc::new(meta.clone()))?;
        let (segment, files) = with_cells(core, segment)?;
        live.push(Arc::new(segment));
        cells.extend(files);
    }
    added.extend(cells);
    let inputs: BTreeSet<FileId> = job.inputs.iter().map(|f| f.id).collect();
    let before = core.manifest.version();
    let cells =
        before.files_of(FileKind::Cells).filter(|f| f.of.is_some_and(|of| inputs.contains(&of.segment)));
    let removed: Vec<Arc<FileMeta>> = job.inputs.iter().chain(cells).cloned().collect();
    let remove = removed.iter().map(|f| f.id).collect();
    core.manifest.commit(Edit { add: added, remove, ..Edit::default() })?;
    core.tables.publish(Publication {
        removed: inputs.into_iter().collect(),
        added: live,
        ..Publication::default()
    });
    for file in removed {
        // Questions that began before have it open. What cannot be removed now is swept at the next start.
        drop(core.disk.remove(&file.path()));
    }
    Ok(done)
}

/// Makes the cells of a segment out of its rows, read back from the disk, and opens them.
fn with_cells(core: &Core, segment: LiveSegment) -> Result<(LiveSegment, Vec<FileMeta>)> {
    let allocate = || core.compactor.allocate_kind(&core.manifest, FileKind::Cells);
    // A reader with a cache of its own: a pass over a whole day would drive out what questions want.
    let own = open_segment(core.disk.as_ref(), &BlockCache::new(READ_BACK_CACHE_BYTES), &segment.meta)?;
    let part = (own.reader as Arc<dyn Part>, segment.meta.id);
    let names = (core.tables.codes(), Arc::clone(&core.catalog) as Arc<dyn Tenants>);
    let hidden = core.hidden();
    let outlive = |of: Stream| segment.runs(of).iter().any(|run| hidden.cells_outlive_rows(run.tenant, of));
    let must_keep = Stream::ALL.into_iter().any(outlive);
    let files = core.cells.write(core.disk.as_ref(), part, names, must_keep, &allocate)?;
    let metas: Vec<Arc<FileMeta>> = files.iter().cloned().map(Arc::new).collect();
    let cells = core.cells.open(core.disk.as_ref(), metas.iter())?;
    Ok((LiveSegment { cells, ..segment }, files))
}
