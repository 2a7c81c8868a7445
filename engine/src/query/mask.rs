//! A set of rows of one slice, as bits: what a filter narrows.

#![expect(clippy::indexing_slicing, reason = "word indexes come from the mask's own length")]

use crate::error::Result;

/// One bit a row; bits past the length are 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mask {
    words: Vec<u64>,
    len: usize,
}

impl Mask {
    /// Every one of `len` rows.
    pub(crate) fn all(len: usize) -> Self {
        let mut words = vec![u64::MAX; len.div_ceil(64)];
        if !len.is_multiple_of(64)
            && let Some(last) = words.last_mut()
        {
            *last = (1 << (len % 64)) - 1;
        }
        Self { words, len }
    }

    /// None of `len` rows.
    pub(crate) fn none(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len }
    }

    /// How many rows are in the set.
    pub(crate) fn count(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// Whether no row is in the set.
    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|w| *w == 0)
    }

    /// Takes every row out.
    pub(crate) fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Adds the rows of another set of the same length.
    pub(crate) fn or(&mut self, other: &Self) {
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
    }

    /// Takes out the rows of another set of the same length.
    pub(crate) fn and_not(&mut self, other: &Self) {
        for (word, less) in self.words.iter_mut().zip(&other.words) {
            *word &= !less;
        }
    }

    /// Keeps the rows where a cheap test holds. The test may be asked about rows that are not in the
    /// set: 64 at a time without a branch between them.
    pub(crate) fn retain(&mut self, test: impl Fn(usize) -> bool) {
        for (index, word) in self.words.iter_mut().enumerate() {
            if *word == 0 {
                continue;
            }
            let base = index * 64;
            let rows = (self.len - base).min(64);
            let mut bits = 0_u64;
            for row in 0..rows {
                bits |= u64::from(test(base + row)) << row;
            }
            *word &= bits;
        }
    }

    /// Keeps the rows whose value passes a cheap test; `values` has one for each row, in the set or not.
    /// A loop without bounds to check, which compilers turn into vector instructions.
    pub(crate) fn retain_values<T: Copy>(&mut self, values: &[T], test: impl Fn(T) -> bool) {
        if values.len() != self.len {
            return self.clear();
        }
        for (word, values) in self.words.iter_mut().zip(values.chunks(64)) {
            if *word != 0 {
                let mut bits = 0_u64;
                for (row, value) in values.iter().enumerate() {
                    bits |= u64::from(test(*value)) << row;
                }
                *word &= bits;
            }
        }
    }

    /// Keeps the rows where a costly test holds; it is asked about rows of the set alone.
    pub(crate) fn try_retain(&mut self, mut test: impl FnMut(usize) -> Result<bool>) -> Result<()> {
        for (index, word) in self.words.iter_mut().enumerate() {
            let mut left = *word;
            while left != 0 {
                let bit = left.trailing_zeros() as usize;
                left &= left - 1;
                if !test(index * 64 + bit)? {
                    *word &= !(1 << bit);
                }
            }
        }
        Ok(())
    }

    /// Takes a row out.
    pub(crate) fn remove(&mut self, row: usize) {
        self.words[row / 64] &= !(1 << (row % 64));
    }

    /// Whether a row is in the set.
    pub(crate) fn get(&self, row: usize) -> bool {
        self.words[row / 64] >> (row % 64) & 1 == 1
    }

    /// The rows, shifted by `base`, ascending; `out` is cleared first.
    pub(crate) fn rows_into(&self, base: usize, out: &mut Vec<u32>) {
        out.clear();
        for (index, word) in self.words.iter().enumerate() {
            let from = u32::try_from(base + index * 64).unwrap_or(u32::MAX);
            let mut left = *word;
            while left != 0 {
                out.push(from + left.trailing_zeros());
                left &= left - 1;
            }
        }
    }

    /// The bits, 64 rows a word.
    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    /// How many rows there are, in the set or not.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

/// Rows of a granule that take part, ascending.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rows<'a> {
    /// All from one row up to, not including, another.
    Range(usize, usize),
    /// These.
    List(&'a [u32]),
}

impl Rows<'_> {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Range(from, to) => to - from,
            Self::List(list) => list.len(),
        }
    }

    /// Calls with (place among these rows, row of the granule) for each.
    #[inline]
    pub(crate) fn each(&self, mut call: impl FnMut(usize, usize)) {
        match self {
            Self::Range(from, to) => (*from..*to).enumerate().for_each(|(at, row)| call(at, row)),
            Self::List(list) => list.iter().enumerate().for_each(|(at, row)| call(at, *row as usize)),
        }
    }

    /// As [`Self::each`], and stops at the first error.
    #[inline]
    pub(crate) fn try_each(&self, mut call: impl FnMut(usize, usize) -> Result<()>) -> Result<()> {
        match self {
            Self::Range(from, to) => (*from..*to).enumerate().try_for_each(|(at, row)| call(at, row)),
            Self::List(list) => list.iter().enumerate().try_for_each(|(at, row)| call(at, *row as usize)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_narrows_and_lists_its_rows() {
        for len in [0, 1, 63, 64, 65, 130] {
            let mut mask = Mask::all(len);
            assert_eq!(mask.count(), len);
            mask.retain(|row| row % 3 == 0);
            mask.try_retain(|row| Ok(row % 2 == 0)).unwrap();
            let mut rows = Vec::new();
            mask.rows_into(10, &mut rows);
            let expected: Vec<u32> =
                (0..u32::try_from(len).unwrap()).filter(|r| r % 6 == 0).map(|r| r + 10).collect();
            assert_eq!(rows, expected);
            let mut rest = Mask::all(len);
            rest.and_not(&mask);
            assert!((0..len).all(|row| rest.get(row) != mask.get(row)));
            rest.or(&mask);
            assert_eq!(rest, Mask::all(len));
        }
    }
}
