//! The cells of one tenant, day, definition and tier in memory: columns, ready to be folded.

use std::ops::Range;

use super::cell_file::ALL_TENANTS;
use super::histogram::HistogramList;
use crate::id::TenantNo;
use crate::query::{KeyValue, Latest, Sum};
use crate::schema::IdentityKind;
use crate::sorted_file::MemoryBytes;

/// Cells, sorted by key and then by time. A **series** is the cells of one key.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Cells {
    /// One column for each key of the definition, one value for each series.
    pub(crate) keys: Vec<KeyColumn>,
    /// For each series one past its last cell.
    pub(crate) ends: Vec<u32>,
    /// For each cell the number of its interval within the day, ascending within a series.
    pub(crate) slots: Vec<u8>,
    /// For each cell its rows, at least one.
    pub(crate) counts: Vec<u64>,
    /// One column for each aggregate of the definition at this tier.
    pub(crate) states: Vec<StateColumn>,
}

/// One key of every series.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum KeyColumn {
    /// Codes of the tenant; [`crate::schema::NULL_CODE`] is absent.
    Codes(Vec<u32>),
    /// Places of values, each there once; [`crate::schema::NULL_CODE`] is absent.
    Values {
        /// The values, ascending.
        values: Vec<KeyValue>,
        /// For each series the place of its value.
        places: Vec<u32>,
    },
}

impl KeyColumn {
    /// The codes, where the key is of codes.
    pub(crate) fn codes(&self) -> Option<&[u32]> {
        match self {
            Self::Codes(codes) => Some(codes),
            Self::Values { .. } => None,
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Self::Codes(codes) => codes.len() * 4,
            Self::Values { values, places } => {
                let text = |v: &KeyValue| if let KeyValue::Str(text) = v { text.len() + 16 } else { 0 };
                places.len() * 4 + values.iter().map(|v| size_of::<KeyValue>() + text(v)).sum::<usize>()
            }
        }
    }
}

/// One aggregate of every cell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StateColumn {
    /// Sums, and of how many values.
    Sum(Vec<(Sum, u64)>),
    /// Least values; NaN is none.
    Min(Vec<f64>),
    /// Greatest values; NaN is none.
    Max(Vec<f64>),
    /// Latest values.
    Last(Vec<Option<Latest>>),
    /// Distributions of values.
    Histogram(HistogramList),
    /// Rows where a filter holds.
    CountIf(Vec<u64>),
    /// Distinct values, a list of sets for each space of values.
    Distinct(Vec<SetList>),
}

impl StateColumn {
    fn memory_bytes(&self) -> usize {
        match self {
            Self::Sum(list) => list.len() * size_of::<(Sum, u64)>(),
            Self::Min(list) | Self::Max(list) => list.len() * 8,
            Self::Last(list) => list.len() * size_of::<Option<Latest>>(),
            Self::Histogram(list) => list.memory_bytes(),
            Self::CountIf(list) => list.len() * 8,
            Self::Distinct(lists) => lists.iter().map(SetList::memory_bytes).sum(),
        }
    }
}

/// Bytes of bits that one value of a dense set may cost: half of what it costs as a code, and as much as one
/// that is near the first.
const DENSE_BYTES_A_VALUE: usize = 2;
/// Values from which on a set may be dense.
const DENSE_VALUES_MIN: usize = 32;

/// Sets of distinct values of one space: of every cell one, or one for each tenant that has some.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct SetList {
    /// What the codes are of; hashes of text without.
    pub(crate) kind: Option<IdentityKind>,
    /// In cells of all tenants: for each cell one past its last set, and the tenant of each set.
    pub(crate) of_tenants: Option<(Vec<u32>, Vec<TenantNo>)>,
    sets: Vec<Span>,
    codes: Vec<u32>,
    /// Of sets whose codes are near each other all but the first, as distances from it.
    nears: Vec<u16>,
    words: Vec<u64>,
    hashes: Vec<u128>,
}

/// Where a set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: u32,
    len: u32,
    form: Form,
}

/// Bytes of a set without its values, at most.
pub(super) const SPAN_BYTES_MAX: usize = 16;
const _: () = assert!(size_of::<Span>() <= SPAN_BYTES_MAX);

/// How a set of codes is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Codes, or hashes.
    Plain,
    /// The first code; the others are `nears`.
    Near(u32),
    /// The number of the first word.
    Bits(u32),
}

/// A set of distinct values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetRef<'a> {
    /// Codes, ascending.
    Codes(&'a [u32]),
    /// Codes, ascending, none far from the first.
    Near {
        /// The first.
        first: u32,
        /// How far the others are from it.
        others: &'a [u16],
    },
    /// One bit a code, from the code `64 * first_word` on.
    Bits {
        /// The number of the first word.
        first_word: usize,
        /// The words; neither the first nor the last is 0.
        words: &'a [u64],
    },
    /// Hashes of text, ascending.
    Hashes(&'a [u128]),
}

impl SetRef<'_> {
    /// How many values the set has.
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Codes(codes) => codes.len(),
            Self::Near { others, .. } => 1 + others.len(),
            Self::Bits { words, .. } => words.iter().map(|word| word.count_ones() as usize).sum(),
            Self::Hashes(hashes) => hashes.len(),
        }
    }

    /// The codes of the set, ascending; none for hashes.
    pub(crate) fn codes(self) -> Vec<u32> {
        match self {
            Self::Codes(codes) => codes.to_vec(),
            Self::Near { first, others } => near_codes(first, others).collect(),
            Self::Bits { first_word, words } => {
                let mut out = Vec::new();
                for (at, word) in words.iter().enumerate() {
                    let mut left = *word;
                    while left != 0 {
                        // Codes are under 2^32, so the word's number is under 2^26.
                        out.push(u32::try_from((first_word + at) * 64).unwrap_or(0) + left.trailing_zeros());
                        left &= left - 1;
                    }
                }
                out
            }
            Self::Hashes(_) => Vec::new(),
        }
    }
}

/// The codes of a [`SetRef::Near`].
pub(crate) fn near_codes(first: u32, others: &[u16]) -> impl Iterator<Item = u32> {
    std::iter::once(first).chain(others.iter().map(move |far| first.saturating_add(u32::from(*far))))
}

impl SetList {
    /// No set yet, of one kind of values.
    pub(crate) fn new(kind: Option<IdentityKind>) -> Self {
        Self { kind, ..Self::default() }
    }

    /// How many sets there are.
    pub(crate) fn len(&self) -> usize {
        self.sets.len()
    }

    /// Values of all sets.
    pub(crate) fn values(&self) -> usize {
        (0..self.len()).filter_map(|set| self.get(set)).map(SetRef::len).sum()
    }

    /// The sets of a cell.
    pub(crate) fn of_cell(&self, cell: usize) -> Range<usize> {
        match &self.of_tenants {
            None => cell..cell + 1,
            Some((ends, _)) => {
                let end = |cell: usize| ends.get(cell).map_or(0, |e| *e as usize);
                cell.checked_sub(1).map_or(0, end)..end(cell)
            }
        }
    }

    /// The tenant of a set in cells of all tenants.
    pub(crate) fn tenant(&self, set: usize) -> Option<TenantNo> {
        self.of_tenants.as_ref().and_then(|(_, tenants)| tenants.get(set)).copied()
    }

    /// A set.
    pub(crate) fn get(&self, set: usize) -> Option<SetRef<'_>> {
        let span = self.sets.get(set)?;
        let range = span.start as usize..span.start as usize + span.len as usize;
        Some(match span.form {
            Form::Plain if self.kind.is_none() => SetRef::Hashes(self.hashes.get(range)?),
            Form::Plain => SetRef::Codes(self.codes.get(range)?),
            Form::Near(first) => SetRef::Near { first, others: self.nears.get(range)? },
            Form::Bits(first) => SetRef::Bits { first_word: first as usize, words: self.words.get(range)? },
        })
    }

    /// Adds a set of codes, ascending; it is dense when that is shorter.
    pub(crate) fn push_codes(&mut self, codes: &[u32]) {
        let (Some(first), Some(last)) = (codes.first().copied(), codes.last().copied()) else {
            self.sets.push(Span { start: index(self.codes.len()), len: 0, form: Form::Plain });
            return;
        };
        let words = (last / 64 - first / 64) as usize + 1;
        if codes.len() >= DENSE_VALUES_MIN && words * 8 <= codes.len() * DENSE_BYTES_A_VALUE {
            return self.push_bits(codes, first / 64, words);
        }
        if last - first > u32::from(u16::MAX) {
            let start = index(self.codes.len());
            self.codes.extend_from_slice(codes);
            self.sets.push(Span { start, len: index(codes.len()), form: Form::Plain });
            return;
        }
        let start = index(self.nears.len());
        #[expect(clippy::cast_possible_truncation, reason = "none is further than the last, which fits")]
        self.nears.extend(codes.iter().skip(1).map(|code| (code - first) as u16));
        self.sets.push(Span { start, len: index(codes.len() - 1), form: Form::Near(first) });
    }

    fn push_bits(&mut self, codes: &[u32], first: u32, words: usize) {
        let start = self.words.len();
        self.words.resize(start + words, 0);
        for code in codes {
            if let Some(word) = self.words.get_mut(start + (code / 64 - first) as usize) {
                *word |= 1 << (code % 64);
            }
        }
        self.sets.push(Span { start: index(start), len: index(words), form: Form::Bits(first) });
    }

    /// Adds a set of hashes, ascending.
    pub(crate) fn push_hashes(&mut self, hashes: &[u128]) {
        let (start, len) = (index(self.hashes.len()), index(hashes.len()));
        self.hashes.extend_from_slice(hashes);
        self.sets.push(Span { start, len, form: Form::Plain });
    }

    /// Gives back what growing took beyond the sets.
    pub(crate) fn shrink(&mut self) {
        self.sets.shrink_to_fit();
        self.codes.shrink_to_fit();
        self.nears.shrink_to_fit();
        self.words.shrink_to_fit();
        self.hashes.shrink_to_fit();
    }

    /// The sets without a code of a tenant's, `None` when none has it. The sets of a list that is not of
    /// tenants are all of the one that the caller means.
    pub(crate) fn without(&self, code: u32, tenant: TenantNo) -> Option<Self> {
        let is_of = |set: usize| self.tenant(set).is_none_or(|of| of == tenant);
        let has = |set: usize| match self.get(set) {
            Some(SetRef::Codes(codes)) => codes.binary_search(&code).is_ok(),
            Some(SetRef::Near { first, others }) => near_codes(first, others).any(|found| found == code),
            Some(SetRef::Bits { first_word, words }) => (code as usize / 64)
                .checked_sub(first_word)
                .and_then(|word| words.get(word))
                .is_some_and(|word| word >> (code % 64) & 1 == 1),
            Some(SetRef::Hashes(_)) | None => false,
        };
        if self.kind.is_none() || !(0..self.len()).any(|set| is_of(set) && has(set)) {
            return None;
        }
        let mut out = Self { of_tenants: self.of_tenants.clone(), ..Self::new(self.kind) };
        for set in 0..self.len() {
            let mut codes = self.get(set).map(SetRef::codes).unwrap_or_default();
            codes.retain(|found| *found != code || !is_of(set));
            out.push_codes(&codes);
        }
        Some(out)
    }

    fn memory_bytes(&self) -> usize {
        let tenants = self.of_tenants.as_ref().map_or(0, |(ends, tenants)| (ends.len() + tenants.len()) * 4);
        tenants
            + self.sets.len() * size_of::<Span>()
            + self.codes.len() * 4
            + self.nears.len() * 2
            + self.words.len() * 8
            + self.hashes.len() * 16
    }
}

/// An index as 32 bits: what is built and what is decoded is bounded far below.
fn index(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl Cells {
    /// How many cells there are.
    pub(crate) fn len(&self) -> usize {
        self.counts.len()
    }

    /// How many series there are.
    pub(crate) fn series(&self) -> usize {
        self.ends.len()
    }

    /// Whose series lie where: all are of `tenant`, but where one more key than the `keys` of the
    /// definition numbers the tenants, ascending; then those of `tenant`, or of every tenant for [`ALL_TENANTS`].
    pub(crate) fn whose(&self, keys: usize, tenant: TenantNo) -> Whose {
        let Some(numbers) = self.keys.get(keys).and_then(KeyColumn::codes) else {
            return Whose::one(tenant, self);
        };
        if tenant != ALL_TENANTS {
            let from = numbers.partition_point(|number| *number < tenant.0);
            let of = numbers.get(from..).unwrap_or_default().iter().take_while(|number| **number == tenant.0);
            let of = from..from + of.count();
            return Whose { of: vec![(tenant, of)] };
        }
        let mut from = 0;
        let of = |chunk: &[u32]| {
            let start = from;
            from += chunk.len();
            (TenantNo(chunk.first().copied().unwrap_or(0)), start..from)
        };
        Whose { of: numbers.chunk_by(|a, b| a == b).map(of).collect() }
    }

    /// The cells of a series.
    pub(crate) fn of_series(&self, series: usize) -> Range<usize> {
        let end = |series: usize| self.ends.get(series).map_or(0, |e| *e as usize);
        series.checked_sub(1).map_or(0, end)..end(series)
    }
}

/// Which series of some cells are of which tenant: stretches of series that follow each other.
#[derive(Debug)]
pub(crate) struct Whose {
    of: Vec<(TenantNo, Range<usize>)>,
}

impl Whose {
    /// All series are of one tenant.
    pub(crate) fn one(tenant: TenantNo, cells: &Cells) -> Self {
        Self { of: vec![(tenant, 0..cells.series())] }
    }

    /// The series of all of them.
    pub(crate) fn series(&self) -> Range<usize> {
        let start = self.of.first().map_or(0, |(_, series)| series.start);
        start..self.of.last().map_or(start, |(_, series)| series.end)
    }

    /// Of each tenant its series, and where they are in a list of one thing for each of [`Self::series`].
    pub(crate) fn stretches(&self) -> impl Iterator<Item = (TenantNo, Range<usize>, Range<usize>)> {
        let from = self.series().start;
        self.of.iter().map(move |(of, series)| (*of, series.clone(), series.start - from..series.end - from))
    }
}

impl MemoryBytes for Cells {
    fn memory_bytes(&self) -> usize {
        let keys: usize = self.keys.iter().map(KeyColumn::memory_bytes).sum();
        let states: usize = self.states.iter().map(StateColumn::memory_bytes).sum();
        keys + states + self.ends.len() * 4 + self.slots.len() + self.counts.len() * 8 + size_of::<Self>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_set_is_what_was_put_in_whatever_its_form(
            sets in prop::collection::vec(
                (any::<u32>(), prop_oneof![Just(9_u32), Just(300), Just(60_000), Just(70_000), Just(u32::MAX)],
                 prop::collection::vec(any::<u32>(), 0..90)),
                0..12,
            ),
        ) {
            let mut list = SetList::new(Some(IdentityKind::User));
            let sets: Vec<Vec<u32>> = sets
                .into_iter()
                .map(|(base, range, codes)| {
                    let codes = codes.into_iter().map(|code| base.saturating_add(code % range));
                    codes.collect::<BTreeSet<u32>>().into_iter().collect()
                })
                .collect();
            for codes in &sets {
                list.push_codes(codes);
            }
            prop_assert_eq!(list.values(), sets.iter().map(Vec::len).sum::<usize>());
            for (at, codes) in sets.iter().enumerate() {
                let found = list.get(at).unwrap();
                prop_assert_eq!((found.codes(), found.len()), (codes.clone(), codes.len()));
                if let Some(code) = codes.get(codes.len() / 2) {
                    let left = list.without(*code, TenantNo(0)).unwrap();
                    let kept: Vec<u32> = codes.iter().copied().filter(|other| other != code).collect();
                    prop_assert_eq!(left.get(at).unwrap().codes(), kept);
                }
            }
        }
    }
}
