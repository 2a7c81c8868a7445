//! Rows of several segments as one sequence in the order of a segment, in bounded memory.

use std::sync::Arc;

use super::input::Input;
use super::rewrite::{Fate, RowRewrite};
use crate::error::Result;
use crate::id::{Stream, TenantNo};
use crate::schema::Schema;
use crate::segment::{GRANULE_ROWS, SegmentColumn, SegmentReader};

/// Takes the rows of a merge.
pub(super) trait RowSink {
    /// Whether it wants the rows of a partition in this pass.
    fn wants(&self, tenant: TenantNo, day: i32) -> bool;

    /// Takes the next rows of a partition, one granule of them at most: columns in the schema's order.
    ///
    /// # Errors
    ///
    /// What ends the merge.
    fn rows(&mut self, tenant: TenantNo, day: i32, columns: &[SegmentColumn]) -> Result<()>;

    /// Hears how many bytes were read so far; may wait.
    ///
    /// # Errors
    ///
    /// What ends the merge, as that the engine is closing.
    fn progress(&mut self, bytes_read: u64) -> Result<()>;
}

/// Gives all rows of `stream` that `sink` wants to it, sorted by (tenant, UTC day, stream key, time,
/// arrival). Rows that are equal in all of it come in the order of the segments, then in their own.
///
/// Memory is bounded by one decoded granule for each segment and one for the rows on their way.
///
/// # Errors
///
/// Damage and I/O of the segments, and what `sink` and `rewrite` say.
pub(super) fn merge(
    readers: &[Arc<SegmentReader>],
    stream: Stream,
    rewrite: &dyn RowRewrite,
    sink: &mut dyn RowSink,
) -> Result<()> {
    let inputs = readers.iter().map(|reader| Input::new(Arc::clone(reader), stream)).collect();
    let columns = Schema::of(stream).columns.iter().map(|def| SegmentColumn::new(def.ty)).collect();
    Merge { stream, inputs, columns, rewrite, sink }.run()
}

struct Merge<'a> {
    stream: Stream,
    inputs: Vec<Input>,
    /// Rows on their way.
    columns: Vec<SegmentColumn>,
    rewrite: &'a dyn RowRewrite,
    sink: &'a mut dyn RowSink,
}

impl Merge<'_> {
    fn run(mut self) -> Result<()> {
        while let Some(partition) = self.inputs.iter().filter_map(Input::partition).min() {
            let (tenant, day) = partition;
            let members: Vec<usize> = (0..self.inputs.len())
                .filter(|index| self.inputs.get(*index).and_then(Input::partition) == Some(partition))
                .collect();
            let fate = self.rewrite.fate(self.stream, tenant);
            if fate != Fate::Drop && self.sink.wants(tenant, day) {
                self.partition(tenant, day, &members, fate)?;
            }
            for index in members {
                if let Some(input) = self.inputs.get_mut(index) {
                    input.skip_run();
                }
            }
        }
        Ok(())
    }

    /// Merges the rows of one partition, which the inputs `members` have rows of.
    fn partition(&mut self, tenant: TenantNo, day: i32, members: &[usize], fate: Fate) -> Result<()> {
        let mut open: Vec<usize> = members.to_vec();
        for index in members {
            self.load(*index)?;
        }
        while let Some((first, second)) = self.two_first(&open) {
            let room = GRANULE_ROWS - self.columns.first().map_or(0, SegmentColumn::len);
            let (Some(input), other) = (self.inputs.get(first), second.and_then(|i| self.inputs.get(i)))
            else {
                break;
            };
            let count = match (other, second) {
                (Some(other), Some(second)) => input.ahead_of(other, first < second, room),
                _ => input.reach().min(room),
            };
            if let Some(input) = self.inputs.get_mut(first) {
                // The first of all is ahead of the second; were the file out of order, still one row goes.
                input.take(count.max(1), &mut self.columns)?;
                if input.is_empty() {
                    open.retain(|index| *index != first);
                }
            }
            if self.columns.first().map_or(0, SegmentColumn::len) == GRANULE_ROWS {
                self.emit(tenant, day, fate)?;
            }
            self.load(first)?;
        }
        self.emit(tenant, day, fate)
    }

    /// The inputs whose next rows are first and second in order; among equals the earlier input is.
    fn two_first(&self, open: &[usize]) -> Option<(usize, Option<usize>)> {
        let before = |a: usize, b: usize| match (self.inputs.get(a), self.inputs.get(b)) {
            (Some(x), Some(y)) => x.cmp_next(y).then(a.cmp(&b)).is_lt(),
            _ => false,
        };
        let (mut first, rest) = open.split_first().map(|(first, rest)| (*first, rest))?;
        let mut second = None;
        for &index in rest {
            if before(index, first) {
                second = Some(std::mem::replace(&mut first, index));
            } else if second.is_none_or(|second| before(index, second)) {
                second = Some(index);
            }
        }
        Some((first, second))
    }

    fn load(&mut self, index: usize) -> Result<()> {
        if let Some(input) = self.inputs.get_mut(index) {
            input.load()?;
        }
        Ok(())
    }

    /// Hands the rows on their way to the sink.
    fn emit(&mut self, tenant: TenantNo, day: i32, fate: Fate) -> Result<()> {
        if self.columns.first().is_none_or(SegmentColumn::is_empty) {
            return Ok(());
        }
        if fate == Fate::Look {
            let stays = self.rewrite.look(self.stream, tenant, &mut self.columns)?;
            if stays.contains(&false) {
                self.columns.iter_mut().try_for_each(|column| column.retain(&stays))?;
            }
        }
        if self.columns.first().is_some_and(|column| !column.is_empty()) {
            self.sink.rows(tenant, day, &self.columns)?;
        }
        self.columns.iter_mut().for_each(SegmentColumn::clear);
        self.sink.progress(self.inputs.iter().map(Input::bytes_read).sum())
    }
}
