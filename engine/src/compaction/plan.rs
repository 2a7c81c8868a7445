//! Which segments to merge next; pure, from the live files, the time and the limits.
//!
//! # Invariants
//!
//! * A segment's level is the most merges that any of its rows went through; no merge makes one above
//!   [`LEVEL_MAX`].
//! * From level 1 on a job's segments are of one stream, UTC day and class.
//! * The jobs of one plan have no segment in common.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::compactor::Effort;
use crate::codec::Density;
use crate::config::CompactionLimits;
use crate::id::{FileId, Stream};
use crate::manifest::{FileKind, FileMeta, Version};
use crate::time::{DAY_US, TimestampUs};

/// Merges that a row goes through at most; what erasure, changes of class and repair rewrite is not counted.
pub(crate) const LEVEL_MAX: u8 = 3;

/// Segments that one merge reads at most: each takes a decoded granule of memory.
pub(crate) const INPUTS_MAX: usize = 32;

/// Young rows of a day that is over, one in so many of its rows, that make its final merge wait.
const BUSY_SHARE: u64 = 10;

/// Why segments are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum JobKind {
    /// Segments of level 0 become one for each stream, UTC day and class.
    Fresh,
    /// All segments of a day that is over become one, densely encoded.
    Final,
    /// Some segments of a day become one: there are many.
    Tier,
    /// One segment is written without what is erased; counted apart from merges.
    Rewrite,
}

/// Segments that become others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    /// Why.
    pub kind: JobKind,
    /// The segments, by number.
    pub inputs: Vec<Arc<FileMeta>>,
    /// The level of what they become.
    pub level: u8,
}

impl Job {
    fn new(kind: JobKind, mut inputs: Vec<Arc<FileMeta>>) -> Self {
        inputs.sort_unstable_by_key(|f| f.id);
        let level = inputs.iter().map(|f| f.level).max().unwrap_or(0) + 1;
        Self { kind, inputs, level }
    }

    /// A segment that becomes others of its own level, dense where it is.
    pub(crate) fn rewrite(file: Arc<FileMeta>) -> Self {
        // Rows of one day and class are never at level 0.
        Self { kind: JobKind::Rewrite, level: file.level.max(1), inputs: vec![file] }
    }

    /// How much work its encodings are worth.
    pub(crate) fn density(&self) -> Density {
        if self.is_dense() { Density::Dense } else { Density::Fast }
    }

    /// Whether what it writes is the final segment of a day.
    pub(crate) fn is_dense(&self) -> bool {
        match self.kind {
            JobKind::Final => true,
            JobKind::Rewrite => self.inputs.iter().all(|file| file.dense),
            JobKind::Fresh | JobKind::Tier => false,
        }
    }

    /// Bytes that it reads, and that it writes at most, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.inputs.iter().map(|f| f.bytes).sum()
    }
}

/// What a plan depends on beside the live files and the limits.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// The time.
    pub now: TimestampUs,
    /// How long a file is known.
    pub age: &'a dyn Fn(FileId) -> Duration,
    /// Files that cannot be merged.
    pub aside: &'a BTreeSet<FileId>,
    /// How far to go.
    pub effort: Effort,
}

/// What the segments of a job have in common from level 1 on.
type Key = (i32, Stream, u8);

/// The merges that are due, the most urgent first.
pub(crate) fn plan(version: &Version, facts: Facts<'_>, limits: &CompactionLimits) -> Vec<Job> {
    let mut fresh = Vec::new();
    let mut days: BTreeMap<Key, Vec<Arc<FileMeta>>> = BTreeMap::new();
    for file in version.files_of(FileKind::Segment).filter(|f| !facts.aside.contains(&f.id)) {
        match (file.day, file.streams.first()) {
            (Some(day), Some(stream)) => {
                days.entry((day, stream.stream, file.class)).or_default().push(Arc::clone(file));
            }
            _ => fresh.push(Arc::clone(file)),
        }
    }
    let mut jobs: Vec<Job> = fresh_job(fresh, facts, limits).into_iter().collect();
    for ((day, _, _), files) in days {
        let job = if is_over(day, facts.now, limits) {
            of_past_day(&files, facts, limits)
        } else {
            tier(&files, 1, limits.day_files)
        };
        jobs.extend(job);
    }
    jobs.sort_by_key(|job| job.kind);
    jobs
}

/// Whether a day ended long enough ago that what comes is late.
pub(crate) fn is_over(day: i32, now: TimestampUs, limits: &CompactionLimits) -> bool {
    let end = (i64::from(day) + 1).saturating_mul(DAY_US);
    let grace = i64::try_from(limits.day_grace.as_micros()).unwrap_or(i64::MAX);
    end.saturating_add(grace) <= now.0
}

/// The oldest segments of level 0, when there are enough or one waits for long.
fn fresh_job(files: Vec<Arc<FileMeta>>, facts: Facts<'_>, limits: &CompactionLimits) -> Option<Job> {
    let waits = |file: &Arc<FileMeta>| (facts.age)(file.id) >= limits.fresh_age;
    let due = facts.effort == Effort::Full || files.len() >= limits.fresh_files || files.iter().any(waits);
    if files.is_empty() || !due {
        return None;
    }
    let mut bytes = 0_u64;
    let mut inputs = Vec::new();
    for file in files.into_iter().take(INPUTS_MAX) {
        bytes = bytes.saturating_add(file.bytes);
        if !inputs.is_empty() && bytes > limits.input_bytes_max {
            break;
        }
        inputs.push(file);
    }
    Some(Job::new(JobKind::Fresh, inputs))
}

/// The merge of a day that is over.
fn of_past_day(files: &[Arc<FileMeta>], facts: Facts<'_>, limits: &CompactionLimits) -> Option<Job> {
    let (last, late): (Vec<_>, Vec<_>) = files.iter().cloned().partition(|f| f.dense);
    let late: Vec<_> = late.into_iter().filter(may_merge).collect();
    if late.is_empty() && (last.len() < 2 || !last.iter().all(may_merge)) {
        return None;
    }
    let due = facts.effort == Effort::Full
        || last.is_empty()
        || last.len() > 1
        || late.len() >= limits.late_files
        || rows(&late).saturating_mul(100) >= rows(&last).saturating_mul(limits.late_percent);
    let fits = last.iter().all(may_merge) && last.len() + late.len() <= INPUTS_MAX;
    if due && fits && !is_busy(files, facts, limits) {
        return Some(Job::new(JobKind::Final, last.into_iter().chain(late).collect()));
    }
    // Late rows stay beside a final segment that was merged as often as may be, in few files.
    let level_max = if last.is_empty() { 1 } else { LEVEL_MAX - 1 };
    (1..=level_max).find_map(|level| tier(&late, level, limits.late_files))
}

/// Whether a good part of a day's rows came just now, so that more will: as in an import.
fn is_busy(files: &[Arc<FileMeta>], facts: Facts<'_>, limits: &CompactionLimits) -> bool {
    let young = files.iter().filter(|f| (facts.age)(f.id) < limits.day_quiet).map(|f| f.rows());
    let young: u64 = young.sum();
    facts.effort == Effort::Due && young > 0 && young.saturating_mul(BUSY_SHARE) >= rows(files)
}

/// The segments of one level, when there are at least `count`.
fn tier(files: &[Arc<FileMeta>], level: u8, count: usize) -> Option<Job> {
    let of_level: Vec<_> = files.iter().filter(|f| f.level == level && !f.dense).cloned().collect();
    (of_level.len() >= count.max(2))
        .then(|| Job::new(JobKind::Tier, of_level.into_iter().take(INPUTS_MAX).collect()))
}

fn may_merge(file: &Arc<FileMeta>) -> bool {
    file.level < LEVEL_MAX
}

fn rows(files: &[Arc<FileMeta>]) -> u64 {
    files.iter().map(|f| f.rows()).sum()
}
