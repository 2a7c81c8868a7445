//! How much memory the bytes of cells may become: counted before it is taken.
//!
//! A few bytes can stand for millions of equal numbers, and do so in sets of codes that follow one another.
//! So what a blob says that it holds is no measure of its length, and has a limit of its own.

use super::cells::{Cells, SPAN_BYTES_MAX, SetList, StateColumn};
use super::histogram::{BUCKET_BYTES_MAX, Head};
use crate::codec::{Decoded, Malformed};
use crate::query::{Aggregate, KeyValue, Latest, Sum};

/// Most bytes of memory that one blob may become, the numbers included that are needed on the way. It is four
/// times what the groups of cells may take while they are made: [`super::cells_format::VALUES_MAX`] codes
/// fit, whose bits are all that is kept of them.
pub(crate) const MEMORY_BYTES_MAX: usize = 256 << 20;

/// Bytes of a series: the number of its cells as read, its end.
const SERIES_BYTES: usize = 8 + 4;
/// Bytes of a series for each key: a code as read and as kept, a value.
const KEY_BYTES: usize = 8 + 4 + size_of::<KeyValue>();
/// Bytes of a cell without its states: its slot as read and as kept, its rows.
const CELL_BYTES: usize = 8 + 1 + 8;
/// Bytes of a bucket of a histogram: index and count as read, and at most as kept.
const BUCKET_BYTES: usize = 8 + 8 + BUCKET_BYTES_MAX;
/// Bytes of a cell for each space of distinct values: the number of its sets as read, their end.
const SPACE_BYTES: usize = 8 + 4;
/// Bytes of a set without its values: its tenant as read and as kept, its length as read, its place.
const SET_BYTES: usize = 8 + 4 + 8 + SPAN_BYTES_MAX;
/// Bytes of a code of a set: as read, as kept.
const CODE_BYTES: usize = 8 + 4;
/// Bytes of a hash of a set: on its way, as kept.
const HASH_BYTES: usize = 2 * 16;

/// Bytes of a cell for a state, without buckets and sets: columns as read, then what is kept.
fn state_bytes(aggregate: &Aggregate) -> usize {
    match aggregate {
        Aggregate::Sum(_) => SUM_BYTES,
        Aggregate::Last(_) => LAST_BYTES,
        Aggregate::Quantile(..) => HISTOGRAM_BYTES,
        Aggregate::Min(_) | Aggregate::Max(_) | Aggregate::CountIf(_) => 8,
        // Those that cells cannot keep are refused; sets are counted by their spaces.
        _ => 0,
    }
}

const SUM_BYTES: usize = 3 * 8 + size_of::<(Sum, u64)>();
const LAST_BYTES: usize = 4 * 8 + size_of::<Option<Latest>>();
const HISTOGRAM_BYTES: usize = 6 * 8 + size_of::<Head>() + size_of::<(u32, u32)>();

/// What is left of the memory that a blob may become.
#[derive(Debug)]
pub(super) struct Allowance {
    bytes: usize,
}

impl Allowance {
    /// All of it.
    pub(super) fn new(bytes: usize) -> Self {
        Self { bytes }
    }

    /// Takes what so many values need.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it is more than what is left.
    fn take(&mut self, values: usize, bytes_each: usize) -> Decoded<()> {
        let left = values.checked_mul(bytes_each).and_then(|bytes| self.bytes.checked_sub(bytes));
        self.bytes = left.ok_or(Malformed("cells that take too much memory"))?;
        Ok(())
    }

    /// Series and cells without buckets and sets.
    pub(super) fn cells(
        &mut self,
        (series, keys): (usize, usize),
        cells: usize,
        states: &[Aggregate],
    ) -> Decoded<()> {
        self.take(series, SERIES_BYTES + keys * KEY_BYTES)?;
        self.take(cells, CELL_BYTES + states.iter().map(state_bytes).sum::<usize>())
    }

    /// The buckets of histograms.
    pub(super) fn buckets(&mut self, buckets: usize) -> Decoded<()> {
        self.take(buckets, BUCKET_BYTES)
    }

    /// The cells of a space of distinct values.
    pub(super) fn space(&mut self, cells: usize) -> Decoded<()> {
        self.take(cells, SPACE_BYTES)
    }

    /// Sets without their values.
    pub(super) fn sets(&mut self, sets: usize) -> Decoded<()> {
        self.take(sets, SET_BYTES)
    }

    /// The values of sets: codes, or hashes.
    pub(super) fn values(&mut self, values: usize, are_codes: bool) -> Decoded<()> {
        self.take(values, if are_codes { CODE_BYTES } else { HASH_BYTES })
    }
}

/// What cells need when their bytes are read: what a writer asks, so that nothing is written that a reader
/// would refuse.
pub(super) fn to_decode(cells: &Cells) -> usize {
    let space = |list: &SetList| {
        let value = if list.kind.is_some() { CODE_BYTES } else { HASH_BYTES };
        cells.len() * SPACE_BYTES + list.len() * SET_BYTES + list.values() * value
    };
    let state = |state: &StateColumn| match state {
        StateColumn::Sum(_) => cells.len() * SUM_BYTES,
        StateColumn::Last(_) => cells.len() * LAST_BYTES,
        StateColumn::Min(_) | StateColumn::Max(_) | StateColumn::CountIf(_) => cells.len() * 8,
        StateColumn::Histogram(list) => cells.len() * HISTOGRAM_BYTES + list.buckets() * BUCKET_BYTES,
        StateColumn::Distinct(lists) => lists.iter().map(space).sum(),
    };
    cells.series() * (SERIES_BYTES + cells.keys.len() * KEY_BYTES)
        + cells.len() * CELL_BYTES
        + cells.states.iter().map(state).sum::<usize>()
}
