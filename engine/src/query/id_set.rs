//! A set of ids that starts sparse and becomes one bit an id where it is dense.

use roaring::RoaringBitmap;

use super::ids::ABSENT;
use crate::rollup::near_codes;

/// Values of a sparse set before it is looked at whether it is dense.
const DENSE_VALUES_MIN: usize = 64;

/// Values from which on a dense set may take more bytes than a sparse one.
const LARGE_VALUES_MIN: usize = 512;

/// Ascending values that are joined as a set of their own: one by one each moves those after it.
const BULK_VALUES_MIN: usize = 32;

/// Bytes of bits that one value may cost in a dense set.
const DENSE_BYTES_A_VALUE: usize = 16;

/// Bytes of bits that are dense whatever their number of values: about what a sparse set takes to be there.
const DENSE_BYTES_MIN: usize = 256;

/// Bytes that one value costs in a sparse set, by estimate.
const SPARSE_BYTES_A_VALUE: usize = 4;

/// Whether so many words of bits are worth it for a number of values.
const fn is_worth(words: usize, values: usize) -> bool {
    let bytes = words * size_of::<u64>();
    bytes <= DENSE_BYTES_MIN || bytes <= values * DENSE_BYTES_A_VALUE
}

/// Distinct ids.
#[derive(Debug)]
pub(crate) enum IdSet {
    /// By Roaring containers.
    Sparse {
        /// The ids.
        bitmap: RoaringBitmap,
        /// How many there are.
        values: usize,
        /// How many there will be when the set is next looked at.
        look_at: usize,
    },
    /// One bit an id.
    Dense {
        /// The bits.
        words: Vec<u64>,
        /// How many are set.
        values: usize,
    },
}

impl Default for IdSet {
    fn default() -> Self {
        Self::Sparse { bitmap: RoaringBitmap::new(), values: 0, look_at: DENSE_VALUES_MIN }
    }
}

impl IdSet {
    /// Adds ids; [`ABSENT`] is none. The set becomes dense when it may and that is not larger.
    pub(crate) fn add_all(&mut self, ids: &[u32], may_be_dense: bool) {
        let mut ids = ids;
        loop {
            match self {
                Self::Dense { words, values } => {
                    let Some(rest) = add_bits(words, values, ids) else { return };
                    // An id far beyond the others: what is left goes into a sparse set.
                    ids = rest;
                    *self = self.sparse();
                }
                Self::Sparse { values: 0, .. } if may_be_dense && starts_low(ids) => {
                    *self = Self::Dense { words: Vec::new(), values: 0 };
                }
                Self::Sparse { bitmap, values, look_at } => {
                    *values += add_sparse(bitmap, ids);
                    if *values >= *look_at {
                        *look_at = *values * 2;
                        if may_be_dense {
                            self.make_dense();
                        }
                    }
                    return;
                }
            }
        }
    }

    /// Adds an id and others by how far they are from it, ascending.
    pub(crate) fn add_near(&mut self, first: u32, others: &[u16], may_be_dense: bool) {
        let last = first.saturating_add(others.last().map_or(0, |far| u32::from(*far)));
        if let Self::Dense { words, values } = self
            && (last as usize / 64) < words.len()
        {
            for id in near_codes(first, others) {
                if let Some(word) = words.get_mut(id as usize / 64) {
                    let bit = 1 << (id % 64);
                    *values += usize::from(*word & bit == 0);
                    *word |= bit;
                }
            }
            return;
        }
        self.add_all(&near_codes(first, others).collect::<Vec<u32>>(), may_be_dense);
    }

    /// The bits of the word that an id is in, when there is one.
    pub(crate) fn word_of(&self, id: u32) -> u64 {
        match self {
            Self::Sparse { .. } => 0,
            Self::Dense { words, .. } => words.get(id as usize / 64).copied().unwrap_or(0),
        }
    }

    /// Adds the ids of set bits, from the id `64 * first_word` on.
    pub(crate) fn add_words(&mut self, first_word: usize, more: &[u64], may_be_dense: bool) {
        match self {
            Self::Dense { words, values } => {
                let end = first_word + more.len();
                let added = more.iter().map(|w| w.count_ones() as usize).sum::<usize>();
                if end > words.len() && !is_worth(end, *values + added) {
                    *self = self.sparse();
                    return self.add_words(first_word, more, false);
                }
                if end > words.len() {
                    words.resize(with_room(end), 0);
                }
                let there = words.get_mut(first_word..end).unwrap_or_default();
                let mut new = 0;
                for (word, more) in there.iter_mut().zip(more) {
                    new += (more & !*word).count_ones();
                    *word |= more;
                }
                *values += new as usize;
            }
            Self::Sparse { values: 0, .. } if may_be_dense => {
                // Bits of a set that is dense enough to be written as bits, if it does not start too high.
                let values = more.iter().map(|w| w.count_ones() as usize).sum::<usize>();
                let end = first_word + more.len();
                if !is_worth(end, values) {
                    return self.add_all(&ids_of(first_word, more), false);
                }
                let mut words = vec![0; first_word];
                words.extend_from_slice(more);
                *self = Self::Dense { words, values };
            }
            Self::Sparse { .. } => self.add_all(&ids_of(first_word, more), may_be_dense),
        }
    }

    /// Changes the ids from `first` on that `new` has another one for.
    pub(crate) fn renumber(&mut self, first: u32, new: impl Fn(u32) -> Option<u32>) {
        let is_touched = match self {
            Self::Sparse { bitmap, .. } => bitmap.max().is_some_and(|max| max >= first),
            Self::Dense { words, .. } => words.len() > first as usize / 64,
        };
        if !is_touched {
            return;
        }
        let (may_be_dense, mut ids) = (self.is_dense(), self.ids());
        for id in &mut ids {
            *id = if *id < first { *id } else { new(*id).unwrap_or(*id) };
        }
        ids.sort_unstable();
        *self = Self::default();
        self.add_all(&ids, may_be_dense);
    }

    /// The ids, ascending.
    pub(crate) fn ids(&self) -> Vec<u32> {
        match self {
            Self::Sparse { bitmap, .. } => bitmap.iter().collect(),
            Self::Dense { words, .. } => ids_of(0, words),
        }
    }

    /// How many ids there are.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Sparse { values, .. } | Self::Dense { values, .. } => *values as u64,
        }
    }

    /// Whether it is one bit an id.
    pub(crate) fn is_dense(&self) -> bool {
        matches!(self, Self::Dense { .. })
    }

    /// Bytes of memory this takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Self::Sparse { values, .. } => *values * SPARSE_BYTES_A_VALUE,
            Self::Dense { words, .. } => words.len() * size_of::<u64>(),
        }
    }

    fn make_dense(&mut self) {
        let Self::Sparse { bitmap, values, .. } = self else { return };
        let words = bitmap.max().map_or(0, |max| max as usize / 64 + 1);
        // Many small sets are to take no more bytes than they do.
        let is_smaller = words * size_of::<u64>() <= *values * SPARSE_BYTES_A_VALUE;
        if !is_smaller && (*values < LARGE_VALUES_MIN || !is_worth(words, *values)) {
            return;
        }
        let mut bits = vec![0_u64; words];
        for id in bitmap.iter() {
            if let Some(word) = bits.get_mut(id as usize / 64) {
                *word |= 1 << (id % 64);
            }
        }
        *self = Self::Dense { words: bits, values: *values };
    }

    /// The same ids, sparse and to stay so until there are twice as many.
    fn sparse(&self) -> Self {
        let Self::Dense { words, values } = self else { return Self::default() };
        let bitmap = ids_of(0, words).into_iter().collect();
        Self::Sparse { bitmap, values: *values, look_at: *values * 2 }
    }
}

/// The ids of set bits, from the id `64 * first_word` on.
fn ids_of(first_word: usize, words: &[u64]) -> Vec<u32> {
    let mut out = Vec::new();
    for (base, word) in (first_word..).zip(words) {
        let mut left = *word;
        while left != 0 {
            // An id has 32 bits, so its word's number fits.
            out.push(u32::try_from(base * 64).unwrap_or(ABSENT) | left.trailing_zeros());
            left &= left - 1;
        }
    }
    out
}

/// Whether bits up to the greatest of some ids are few whatever their number.
fn starts_low(ids: &[u32]) -> bool {
    let greatest = ids.iter().filter(|id| **id != ABSENT).max();
    greatest.is_some_and(|id| is_worth(*id as usize / 64 + 1, 0))
}

/// Words to take for so many.
const fn with_room(words: usize) -> usize {
    words.next_multiple_of(if words < 32 { 8 } else { 64 })
}

/// Adds ids to a sparse set; gives the number of new ones.
fn add_sparse(bitmap: &mut RoaringBitmap, ids: &[u32]) -> usize {
    if ids.len() >= BULK_VALUES_MIN
        && let Ok(more) = RoaringBitmap::from_sorted_iter(ids.iter().copied().filter(|id| *id != ABSENT))
    {
        let before = bitmap.len();
        *bitmap |= more;
        return usize::try_from(bitmap.len() - before).unwrap_or(usize::MAX);
    }
    let (mut last, mut new) = (ABSENT, 0);
    for id in ids {
        // Equal neighbours are frequent: one event after the other of the same user.
        if *id != ABSENT && *id != last {
            last = *id;
            new += usize::from(bitmap.insert(*id));
        }
    }
    new
}

/// Sets bits; gives back the ids from one on that would make the bits too long.
fn add_bits<'a>(words: &mut Vec<u64>, values: &mut usize, ids: &'a [u32]) -> Option<&'a [u32]> {
    for (at, id) in ids.iter().enumerate() {
        let bit = 1 << (id % 64);
        let place = *id as usize / 64;
        match words.get_mut(place) {
            Some(word) => {
                *values += usize::from(*word & bit == 0);
                *word |= bit;
            }
            None if *id == ABSENT => {}
            None if !is_worth(place + 1, *values + 1) => {
                return ids.get(at..);
            }
            None => {
                // Some room beyond, so that ids that ascend do not grow it one by one.
                words.resize(with_room(place + 1), 0);
                *values += 1;
                if let Some(word) = words.get_mut(place) {
                    *word |= bit;
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_counts_as_a_plain_set_does(
            parts in prop::collection::vec(
                (0_u32..4, prop::collection::vec(any::<u32>(), 0..2000), any::<bool>(), any::<bool>()), 1..6,
            ),
        ) {
            let mut set = IdSet::default();
            let mut plain = BTreeSet::new();
            for (shape, ids, may_be_dense, as_cells_have_them) in parts {
                let bound = [1000, 5000, 1_000_000, u32::MAX][shape as usize];
                let mut ids: Vec<u32> = ids.into_iter().map(|id| if id % 50 == 0 { ABSENT } else { id % bound }).collect();
                if as_cells_have_them {
                    ids.sort_unstable();
                    ids.dedup();
                }
                set.add_all(&ids, may_be_dense);
                plain.extend(ids.iter().copied().filter(|id| *id != ABSENT));
                prop_assert_eq!(set.len(), plain.len() as u64);
                prop_assert_eq!(set.ids(), plain.iter().copied().collect::<Vec<_>>());
            }
        }
    }

    proptest! {
        #[test]
        fn ids_near_the_first_join_as_all_ids_do(
            parts in prop::collection::vec(
                (0_u32..5000, prop::collection::btree_set(1_u16.., 0..60), 2_u16.., any::<bool>()), 1..20,
            ),
        ) {
            let (mut near, mut whole) = (IdSet::default(), IdSet::default());
            for (first, others, bound, may_be_dense) in parts {
                let others: Vec<u16> = others.into_iter().filter(|far| *far < bound).collect();
                near.add_near(first, &others, may_be_dense);
                whole.add_all(&near_codes(first, &others).collect::<Vec<_>>(), may_be_dense);
                prop_assert_eq!(near.ids(), whole.ids());
                prop_assert_eq!((near.len(), near.is_dense()), (whole.len(), whole.is_dense()));
            }
        }
    }

    #[test]
    fn a_set_becomes_dense_and_sparse_again() {
        let mut set = IdSet::default();
        set.add_all(&(0..2000).collect::<Vec<u32>>(), true);
        assert!(set.is_dense());
        set.add_all(&[5, u32::MAX - 5, 7], true);
        assert!(!set.is_dense());
        assert_eq!(set.len(), 2001);
    }
}
