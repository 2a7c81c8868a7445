//! Buckets of one sign in memory: two bytes each where they lie near each other and hold few values, else eight.

use super::{INDEX_MAX, INDEX_MIN};

/// Bits of a wide bucket that are its count, which saturates: more values than a day has rows.
const COUNT_BITS: u32 = 46;
/// The greatest count of a bucket.
pub(super) const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const _: () = assert!(INDEX_MAX - INDEX_MIN < 1 << (64 - COUNT_BITS));

/// Bytes of a wide bucket, the most that one takes.
pub(crate) const BUCKET_BYTES_MAX: usize = size_of::<u64>();
/// Bytes of the index that narrow buckets start from.
const BASE_BYTES: usize = size_of::<i32>();
/// Bytes of a narrow bucket: how far it is from the one before, its count.
const NARROW_BYTES: usize = 2;
const _: () = assert!(BASE_BYTES + NARROW_BYTES <= BUCKET_BYTES_MAX);

/// Some buckets, ascending by index, each with a value at least.
///
/// Narrow ones are the first's index, then a byte for the distance to the bucket before (0 for the first)
/// and a byte for the count. A wide one is a word: the index from [`INDEX_MIN`] on, and below it the count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Buckets<'a> {
    bytes: &'a [u8],
    is_wide: bool,
}

impl<'a> Buckets<'a> {
    pub(super) fn new(bytes: &'a [u8], is_wide: bool) -> Self {
        Self { bytes, is_wide }
    }

    /// Writes (index, count) after `out`, as short as they are, and says whether they are wide.
    pub(super) fn write(buckets: &[(i32, u64)], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let Some((first, _)) = buckets.first() else { return false };
        out.extend_from_slice(&first.to_le_bytes());
        let mut before = *first;
        for (index, count) in buckets {
            let (Ok(gap), Ok(count)) = (u8::try_from(index.abs_diff(before)), u8::try_from(*count)) else {
                out.truncate(start);
                out.extend(buckets.iter().flat_map(|(index, count)| wide(*index, *count).to_le_bytes()));
                return true;
            };
            out.extend_from_slice(&[gap, count]);
            before = *index;
        }
        false
    }

    /// How many there are.
    pub(crate) fn len(self) -> usize {
        if self.is_wide {
            self.bytes.len() / BUCKET_BYTES_MAX
        } else {
            self.bytes.len().saturating_sub(BASE_BYTES) / NARROW_BYTES
        }
    }

    /// The index and the count of each.
    pub(crate) fn iter(self) -> BucketIter<'a> {
        match self.bytes.split_first_chunk() {
            Some((base, rest)) if !self.is_wide => {
                BucketIter { index: i32::from_le_bytes(*base), bytes: rest, is_wide: false }
            }
            _ => BucketIter { index: 0, bytes: self.bytes, is_wide: self.is_wide },
        }
    }
}

/// A wide bucket.
fn wide(index: i32, count: u64) -> u64 {
    u64::from(index.abs_diff(INDEX_MIN)) << COUNT_BITS | count.min(COUNT_MAX)
}

/// Buckets one after the other, from the least index on.
#[derive(Debug, Clone)]
pub(crate) struct BucketIter<'a> {
    /// That of the narrow bucket before.
    index: i32,
    bytes: &'a [u8],
    is_wide: bool,
}

impl Iterator for BucketIter<'_> {
    type Item = (i32, u64);

    #[inline]
    fn next(&mut self) -> Option<(i32, u64)> {
        if self.is_wide {
            let (word, rest) = self.bytes.split_first_chunk()?;
            self.bytes = rest;
            return Some(of_word(u64::from_le_bytes(*word)));
        }
        let ([gap, count], rest) = self.bytes.split_first_chunk::<NARROW_BYTES>()?;
        self.bytes = rest;
        self.index = self.index.wrapping_add(i32::from(*gap));
        Some((self.index, u64::from(*count)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.bytes.len() / if self.is_wide { BUCKET_BYTES_MAX } else { NARROW_BYTES };
        (left, Some(left))
    }
}

impl ExactSizeIterator for BucketIter<'_> {}

fn of_word(word: u64) -> (i32, u64) {
    let place = i32::try_from(word >> COUNT_BITS).unwrap_or(0);
    (INDEX_MIN + place, word & COUNT_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn buckets_are_what_was_written_and_take_no_more_than_wide_ones(
            base in INDEX_MIN..INDEX_MAX,
            steps in prop::collection::vec(
                (prop_oneof![9 => 1_u32..256, 1 => 256_u32..4_000], prop_oneof![9 => 1_u64..256, 1 => 1..=COUNT_MAX]),
                0..40,
            ),
        ) {
            let mut index = base;
            let mut buckets = Vec::new();
            for (gap, count) in steps {
                index = index.saturating_add_unsigned(gap);
                buckets.push((index, count));
            }
            buckets.retain(|(index, _)| *index < INDEX_MAX);
            let mut bytes = vec![7; 3];
            let is_wide = Buckets::write(&buckets, &mut bytes);
            let found = Buckets::new(&bytes[3..], is_wide);
            prop_assert_eq!(found.iter().collect::<Vec<_>>(), buckets.clone());
            prop_assert_eq!((found.len(), found.iter().len()), (buckets.len(), buckets.len()));
            prop_assert!(bytes.len() - 3 <= buckets.len() * BUCKET_BYTES_MAX);
            let few = buckets.iter().all(|(_, count)| *count < 256)
                && buckets.windows(2).all(|two| two[1].0 - two[0].0 < 256);
            prop_assert_eq!(is_wide, !few);
        }
    }
}
