//! What every question does alike: counts what it looks at, and skips damage when it may.

use super::mask::{Mask, Rows};
use super::plan::Slice;
use super::request::{Cost, Damage};
use super::snapshot::Snapshot;
use super::stop::Stop;
use crate::disk::meter;
use crate::error::{Error, Result};
use crate::id::Stream;
use crate::time::{TimeRange, TimestampUs};

/// Cost and damage of one question.
#[derive(Debug)]
pub(crate) struct Tally {
    stream: Stream,
    window: TimeRange,
    allow_partial: bool,
    /// Bytes that were read until it last paused.
    bytes: u64,
    /// What the meter said when it last went on; none while it pauses.
    since: Option<u64>,
    rows: u64,
    cells: u64,
    damaged: Vec<TimeRange>,
    stop: Stop,
}

impl Tally {
    /// Nothing looked at yet.
    pub(crate) fn new(snapshot: &Snapshot, stream: Stream, window: TimeRange, allow_partial: bool) -> Self {
        Self {
            stream,
            window,
            allow_partial,
            bytes: 0,
            since: Some(meter::bytes_read()),
            rows: 0,
            cells: 0,
            damaged: Vec::new(),
            stop: snapshot.stop.clone(),
        }
    }

    /// Forgets what it has cost so far.
    pub(crate) fn start_over(&mut self) {
        (self.bytes, self.rows, self.cells, self.since) = (0, 0, 0, None);
    }

    /// What is read from now on is for another question.
    pub(crate) fn pause(&mut self) {
        if let Some(since) = self.since.take() {
            self.bytes += meter::bytes_read().saturating_sub(since);
        }
    }

    /// What is read from now on is for this question.
    pub(crate) fn resume(&mut self) {
        self.since = Some(meter::bytes_read());
    }

    /// How many rows were looked at.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Counts cells that were folded.
    pub(crate) fn folded(&mut self, cells: u64) {
        self.cells += cells;
    }

    /// Counts the rows of a slice that is looked at next.
    ///
    /// # Errors
    ///
    /// Those of [`Stop::check`]: the question ends here.
    pub(crate) fn look_at(&mut self, slice: &Slice) -> Result<()> {
        self.rows += slice.rows.len() as u64;
        self.stop.check()
    }

    /// The result of reading a slice; `None` when it could not be read and the question goes on without.
    ///
    /// # Errors
    ///
    /// Every other error.
    pub(crate) fn or_skip<T>(&mut self, result: Result<T>, slice: &Slice) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Error::Corrupt { .. } | Error::Io { .. }) if self.allow_partial => {
                let end = TimestampUs(slice.last().0.saturating_add(1)).min(self.window.end);
                self.damaged.push(TimeRange { start: slice.first().max(self.window.start), end });
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// What it cost, and what could not be read: ranges in order, joined where they touch.
    pub(crate) fn finish(mut self) -> (Cost, Vec<Damage>) {
        self.so_far()
    }

    /// What it has cost, and what could not be read: ranges in order, joined where they touch.
    pub(crate) fn so_far(&mut self) -> (Cost, Vec<Damage>) {
        self.pause();
        self.damaged.sort_unstable_by_key(|r| (r.start, r.end));
        let mut joined: Vec<TimeRange> = Vec::new();
        for range in self.damaged.iter().copied() {
            match joined.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        let stream = self.stream;
        let damaged = joined.into_iter().map(|range| Damage { stream, range }).collect();
        (Cost { rows_scanned: self.rows, cells_read: self.cells, bytes_read: self.bytes }, damaged)
    }
}

/// The rows of a slice that a mask selects; `list` is where they are written down when they have holes.
pub(crate) fn selected<'a>(mask: &Mask, slice: &Slice, list: &'a mut Vec<u32>) -> Rows<'a> {
    if mask.count() == mask.len() {
        return Rows::Range(slice.rows.start, slice.rows.end);
    }
    mask.rows_into(slice.rows.start, list);
    Rows::List(list)
}
