//! One job after the other: what is due, what failed, and what waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::pace::Pace;
use super::plan::{Facts, Job, plan};
use super::rewrite::{KeepAll, RowRewrite};
use super::run::{Done, run};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::id::FileId;
use crate::manifest::{FileKind, FileMeta, Manifest, Version};

/// How far a compaction goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// What the engine's own thread would do now.
    Due,
    /// Also what could wait: every young segment, every late row.
    Full,
}

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompactionReport {
    /// Merges.
    pub jobs: u64,
    /// Segments that were read and are gone.
    pub segments_read: u64,
    /// Their bytes.
    pub bytes_read: u64,
    /// Bytes of the segments that took their place.
    pub bytes_written: u64,
    /// Rows in them; a row counts at each of its merges.
    pub rows: u64,
}

/// Names the next segment to write anew, none when all are done; told which could not be read.
pub(crate) type NextSegment<'a> =
    dyn FnMut(&Version, &BTreeMap<FileId, Error>) -> Result<Option<Arc<FileMeta>>> + 'a;

/// What became of segments that were to be written anew.
#[derive(Debug, Default)]
pub(crate) struct Rewrites {
    /// What was done.
    pub(crate) report: CompactionReport,
    /// Segments that cannot be read, and why.
    pub(crate) failed: BTreeMap<FileId, Error>,
}

/// Whether an error says that a segment cannot be read, or not be written anew as it is.
pub(crate) fn is_about(error: &Error, segment: &FileMeta) -> bool {
    error.file().is_some_and(|file| file == segment.path())
}

/// An error of reading the rows of one segment, or of putting them into others, and of nothing else: what does
/// not fit together there is that segment's, and is told with its name.
pub(crate) fn of_rows(error: Error, segment: &FileMeta) -> Error {
    match error {
        Error::Invalid { reason } => Error::corrupt("rows", segment.path(), 0, reason),
        error => error,
    }
}

/// What merges need from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Compactor {
    /// Held while a job runs: there is one at a time.
    state: Mutex<State>,
    /// How many wait for it.
    waiting: AtomicUsize,
    /// Files that the present job writes; nobody else may take them for left over.
    writing: Mutex<BTreeSet<(FileKind, FileId)>>,
    wanted: (Mutex<()>, Condvar),
    /// What went wrong, in words.
    findings: Mutex<Findings>,
    /// Counters.
    pub(crate) counters: CompactionCounters,
}

/// Counters since the engine was opened.
#[derive(Debug, Default)]
pub(crate) struct CompactionCounters {
    /// Jobs that were committed.
    pub(crate) jobs: AtomicU64,
    /// Jobs that failed.
    pub(crate) failures: AtomicU64,
    /// Bytes of segments that were read.
    pub(crate) bytes_read: AtomicU64,
    /// Bytes of segments that were written.
    pub(crate) bytes_written: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Since when each file is known, by the monotonic clock.
    known: BTreeMap<FileId, Duration>,
    /// Files that could not be merged, until the next start.
    aside: BTreeSet<FileId>,
}

#[derive(Debug, Default)]
struct Findings {
    /// Segments that could not be merged.
    aside: BTreeMap<FileId, String>,
    /// A merge that waits for space.
    waits: Option<String>,
}

impl Compactor {
    /// A number for a file of the present job.
    pub(super) fn allocate(&self, manifest: &Manifest) -> FileId {
        self.allocate_kind(manifest, FileKind::Segment)
    }

    /// A number for a file of some kind of the present job.
    pub(crate) fn allocate_kind(&self, manifest: &Manifest, kind: FileKind) -> FileId {
        let mut writing = self.writing.lock();
        let id = manifest.allocate();
        writing.insert((kind, id));
        id
    }

    /// Calls `each` with the files that the present job writes. None becomes live, and none is added, before
    /// it returns.
    pub(crate) fn while_writing<R>(&self, each: impl FnOnce(&BTreeSet<(FileKind, FileId)>) -> R) -> R {
        each(&self.writing.lock())
    }

    /// The files of a job that has ended.
    pub(super) fn take_writing(&self) -> BTreeSet<(FileKind, FileId)> {
        std::mem::take(&mut *self.writing.lock())
    }

    /// Sleeps until there may be work, the engine closes or `timeout` has passed.
    pub(crate) fn wait(&self, timeout: Duration, core: &Core) {
        let mut guard = self.wanted.0.lock();
        if !core.is_closing() {
            self.wanted.1.wait_for(&mut guard, timeout);
        }
    }

    /// Wakes the thread.
    pub(crate) fn wake(&self) {
        let _guard = self.wanted.0.lock();
        self.wanted.1.notify_all();
    }

    /// What is wrong, in words.
    pub(crate) fn findings(&self) -> Vec<String> {
        let findings = self.findings.lock();
        findings.aside.values().chain(&findings.waits).cloned().collect()
    }

    /// One job at a time: waits for the present one, which goes on as fast as it can while somebody waits.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let state = self.state.lock();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        state
    }

    /// Whether somebody waits for the present job to end.
    pub(super) fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Does the most urgent job that is due and has room; `None` when there is none.
    ///
    /// # Errors
    ///
    /// The error of the job. Segments that it says are damaged, or that can never be merged, are left alone
    /// from then on.
    pub(crate) fn step(&self, core: &Core, effort: Effort, pace: &Pace) -> Result<Option<(Job, Done)>> {
        let mut state = self.lock();
        let Some(job) = self.next(core, effort, &mut state)? else { return Ok(None) };
        match run(core, &job, &KeepAll, pace) {
            Ok(done) => {
                self.counters.jobs.fetch_add(1, Ordering::Relaxed);
                self.counters.bytes_read.fetch_add(done.bytes_read, Ordering::Relaxed);
                self.counters.bytes_written.fetch_add(done.bytes_written, Ordering::Relaxed);
                Ok(Some((job, done)))
            }
            Err(error) => {
                if !matches!(error, Error::Closed) {
                    self.counters.failures.fetch_add(1, Ordering::Relaxed);
                }
                self.set_aside(core, &mut state, &job, &error);
                Err(error)
            }
        }
    }

    /// Writes segments anew, one after the other, whoever merges meanwhile waits: `next` names those that
    /// hold what `rewrite` takes out, until there is none. It is told which could not be read: what is wrong
    /// with one segment does not keep the others.
    ///
    /// # Errors
    ///
    /// Those of `next`, and of the first job that failed for another reason than its segment.
    pub(crate) fn rewrite_all(
        &self,
        core: &Core,
        rewrite: &dyn RowRewrite,
        pace: &Pace,
        next: &mut NextSegment<'_>,
    ) -> Result<Rewrites> {
        let mut rewrites = Rewrites::default();
        loop {
            let _one_at_a_time = self.lock();
            let file = next(&core.manifest.version(), &rewrites.failed)?;
            let Some(file) = file.filter(|file| !rewrites.failed.contains_key(&file.id)) else {
                return Ok(rewrites);
            };
            let job = Job::rewrite(Arc::clone(&file));
            match run(core, &job, rewrite, pace) {
                Ok(done) => {
                    let report = &mut rewrites.report;
                    report.jobs += 1;
                    report.segments_read += 1;
                    report.bytes_read += done.bytes_read;
                    report.bytes_written += done.bytes_written;
                    report.rows += done.rows;
                }
                Err(error) if is_about(&error, &file) => drop(rewrites.failed.insert(file.id, error)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Does something with the live files while nobody merges or rewrites them. Files that it writes get
    /// their numbers from [`Self::allocate_kind`].
    pub(crate) fn alone<R>(&self, work: impl FnOnce() -> R) -> R {
        let _one_at_a_time = self.lock();
        let done = work();
        self.take_writing();
        done
    }

    /// The first job of the plan that the disk has room for.
    fn next(&self, core: &Core, effort: Effort, state: &mut State) -> Result<Option<Job>> {
        let version = core.manifest.version();
        let monotonic = core.clock.monotonic();
        state.known.retain(|id, _| version.get(*id).is_some());
        for file in version.files_of(FileKind::Segment) {
            state.known.entry(file.id).or_insert(monotonic);
        }
        // What could not be opened at the start cannot be read now.
        state.aside.extend(core.missing.iter().map(|segment| segment.id));
        let age = |id| monotonic.saturating_sub(state.known.get(&id).copied().unwrap_or(monotonic));
        let facts = Facts { now: core.clock.now(), age: &age, aside: &state.aside, effort };
        let jobs = plan(&version, facts, &core.config.compaction);
        if jobs.is_empty() {
            self.findings.lock().waits = None;
            return Ok(None);
        }
        let (free, reserve) = (core.disk.free_bytes()?, core.config.disk_reserve_bytes);
        let fits = jobs.iter().position(|job| free >= job.bytes().saturating_add(reserve));
        self.findings.lock().waits = jobs.first().filter(|_| fits.is_none()).map(|job| {
            let needed = job.bytes().saturating_add(reserve);
            format!("compaction waits for space: {needed} bytes are needed, {free} are free")
        });
        Ok(fits.and_then(|index| jobs.into_iter().nth(index)))
    }

    /// Leaves segments alone that cannot be merged.
    fn set_aside(&self, core: &Core, state: &mut State, job: &Job, error: &Error) {
        let version = core.manifest.version();
        let all_live = job.inputs.iter().all(|f| version.get(f.id).is_some());
        let damaged: Vec<FileId> = match error {
            Error::Corrupt { path, .. }
            | Error::NewerFormat { path, .. }
            | Error::OlderFormat { path, .. } => {
                job.inputs.iter().filter(|f| f.path() == *path).map(|f| f.id).collect()
            }
            // It will not fit the next time either.
            Error::Invalid { .. } if all_live => job.inputs.iter().map(|f| f.id).collect(),
            _ => return,
        };
        for id in damaged {
            state.aside.insert(id);
            let finding = format!("{}: not merged: {error}", FileKind::Segment.path(id).display());
            self.findings.lock().aside.insert(id, finding);
        }
    }
}

/// Does job after job until none is due.
///
/// # Errors
///
/// The first error; when it is the damage of a segment, after everything else that is due was done.
pub(crate) fn compact(core: &Core, effort: Effort) -> Result<CompactionReport> {
    let mut report = CompactionReport::default();
    let mut failed = None;
    loop {
        let aside_before = core.compactor.findings().len();
        match core.compactor.step(core, effort, &Pace::free()) {
            Ok(Some((job, done))) => {
                report.jobs += 1;
                report.segments_read += job.inputs.len() as u64;
                report.bytes_read += done.bytes_read;
                report.bytes_written += done.bytes_written;
                report.rows += done.rows;
            }
            Ok(None) => return failed.map_or(Ok(report), Err),
            // The segment is left alone from now on, so the next try is another job.
            Err(error) if core.compactor.findings().len() > aside_before => {
                failed.get_or_insert(error);
            }
            Err(error) => return Err(failed.unwrap_or(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_about_the_segment_whose_file_or_rows_it_names() {
        let meta = |id| FileMeta::new(FileId(id), FileKind::Segment, 1, [0; 32]);
        let (own, other) = (meta(7), meta(8));
        let corrupt = |file: &FileMeta| Error::corrupt("block", file.path(), 3, "bits");
        assert!(is_about(&corrupt(&own), &own));
        assert!(!is_about(&corrupt(&other), &own));
        assert!(!is_about(&Error::invalid("an edit of the manifest that does not fit"), &own));
        assert!(!is_about(&Error::DiskFull { free: 0, reserve: 0 }, &own));
        assert!(is_about(&of_rows(Error::invalid("rows of several days in one run"), &own), &own));
        assert!(!is_about(&of_rows(corrupt(&other), &own), &own));
        assert!(!is_about(&of_rows(Error::Closed, &own), &own));
    }
}
