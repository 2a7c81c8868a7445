//! The histograms of many cells: their buckets one after the other, without a list of its own for each.

use super::buckets::{Buckets, COUNT_MAX};
use super::{Histogram, INDEX_MAX, INDEX_MIN};
use crate::codec::unzigzag;
use crate::error::{Error, Result};

/// In an end: whether the buckets before it are wide.
const WIDE: u32 = 1 << 31;

/// What a histogram has beside its buckets.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Head {
    /// Values that are zero.
    pub(crate) zero: u64,
    /// All values.
    pub(crate) count: u64,
    /// Their sum.
    pub(crate) sum: f64,
    /// The least; nothing without values.
    pub(crate) min: f64,
    /// The greatest; nothing without values.
    pub(crate) max: f64,
}

/// Histograms, one for each cell.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct HistogramList {
    heads: Vec<Head>,
    /// Of each where the bytes of its positive and those of its negative buckets end, and in the upper bit
    /// whether they are wide.
    ends: Vec<(u32, u32)>,
    /// Of all buckets.
    bytes: Vec<u8>,
    /// How many buckets that are.
    buckets: usize,
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HistogramRef<'a> {
    /// All but the buckets.
    pub(crate) head: &'a Head,
    /// Those of positive values, ascending by index.
    pub(crate) positive: Buckets<'a>,
    /// Those of negative values, ascending by index.
    pub(crate) negative: Buckets<'a>,
}

impl HistogramRef<'_> {
    /// The least value, if there is one.
    pub(crate) fn min(&self) -> Option<f64> {
        (self.head.count > 0).then_some(self.head.min)
    }

    /// The greatest value, if there is one.
    pub(crate) fn max(&self) -> Option<f64> {
        (self.head.count > 0).then_some(self.head.max)
    }
}

impl HistogramList {
    /// None yet, with room for so many histograms and buckets.
    pub(crate) fn with_capacity(histograms: usize, buckets: usize) -> Self {
        Self {
            heads: Vec::with_capacity(histograms),
            ends: Vec::with_capacity(histograms),
            bytes: Vec::with_capacity(buckets.saturating_mul(super::BUCKET_BYTES_MAX)),
            ..Self::default()
        }
    }

    /// Adds one.
    pub(crate) fn push(&mut self, histogram: &Histogram) {
        let (zero, positive, negative) = histogram.parts();
        let ends = (self.push_side(positive), self.push_side(negative));
        self.ends.push(ends);
        let Histogram { count, sum, min, max, .. } = *histogram;
        self.heads.push(Head { zero, count, sum, min, max });
    }

    /// Adds the buckets of one sign and says where they end.
    fn push_side(&mut self, buckets: &[(i32, u64)]) -> u32 {
        self.buckets += buckets.len();
        let is_wide = Buckets::write(buckets, &mut self.bytes);
        place(self.bytes.len()) | if is_wide { WIDE } else { 0 }
    }

    /// Adds one of its parts: the next `positive` and `negative` of the buckets that are given, of each the
    /// difference to the index before (zigzag of the index itself for the first of a side) and the count.
    /// The count of `head` is what they add up to; `room` is any list, which spares one for each.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when they are not parts of one: buckets that do not ascend, out of range or empty,
    /// or fewer than there should be.
    pub(crate) fn push_parts(
        &mut self,
        head: Head,
        (positive, negative): (u64, u64),
        buckets: &mut impl Iterator<Item = (u64, u64)>,
        room: &mut Vec<(i32, u64)>,
    ) -> Result<()> {
        let mut count = head.zero;
        let mut ends = (0, 0);
        for len in [positive, negative] {
            room.clear();
            let mut before: Option<i32> = None;
            for _ in 0..len {
                let (delta, of_bucket) = buckets.next().ok_or_else(unfit)?;
                let index = match before {
                    None => i32::try_from(unzigzag(delta)).ok(),
                    Some(before) => u32::try_from(delta)
                        .ok()
                        .filter(|d| *d > 0)
                        .and_then(|d| before.checked_add_unsigned(d)),
                };
                let index = index.filter(|i| (INDEX_MIN..INDEX_MAX).contains(i)).ok_or_else(unfit)?;
                count = count.checked_add(of_bucket).ok_or_else(unfit)?;
                if !(1..=COUNT_MAX).contains(&of_bucket) {
                    return Err(unfit());
                }
                room.push((index, of_bucket));
                before = Some(index);
            }
            ends = (ends.1, self.push_side(room));
        }
        let ordered = head.min.is_finite() && head.max.is_finite() && head.min <= head.max;
        let head = match count {
            0 => Head::default(),
            _ if ordered => Head { count, ..head },
            _ => return Err(unfit()),
        };
        self.ends.push(ends);
        self.heads.push(head);
        Ok(())
    }

    /// Gives back memory that was taken for more.
    pub(crate) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.heads.len()
    }

    /// How many buckets they have together.
    pub(crate) fn buckets(&self) -> usize {
        self.buckets
    }

    /// One of them.
    pub(crate) fn get(&self, at: usize) -> Option<HistogramRef<'_>> {
        let (middle, end) = *self.ends.get(at)?;
        let start = at.checked_sub(1).map_or(0, |before| self.ends.get(before).map_or(0, |ends| ends.1));
        let side = |start: u32, end: u32| {
            let bytes = self.bytes.get((start & !WIDE) as usize..(end & !WIDE) as usize)?;
            Some(Buckets::new(bytes, end & WIDE != 0))
        };
        Some(HistogramRef {
            head: self.heads.get(at)?,
            positive: side(start, middle)?,
            negative: side(middle, end)?,
        })
    }

    /// All of them in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = HistogramRef<'_>> + Clone {
        (0..self.len()).filter_map(|at| self.get(at))
    }

    /// Bytes of memory this takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.heads.len() * (size_of::<Head>() + size_of::<(u32, u32)>()) + self.bytes.len()
    }
}

/// A number of bytes as an end: those of the buckets of a blob are far fewer than 2^31.
fn place(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX).min(!WIDE)
}

fn unfit() -> Error {
    Error::invalid("a histogram whose parts do not fit")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::zigzag;

    fn histogram() -> impl Strategy<Value = Histogram> {
        let value = prop_oneof![
            8 => -40.0..400.0_f64,
            1 => prop::sample::select(vec![0.0, 1e300, -1e300, 5e-324, f64::MAX, f64::MIN, f64::NAN]),
        ];
        prop::collection::vec(value, 0..40).prop_map(|values| {
            let mut out = Histogram::new();
            for value in values {
                out.record(value);
            }
            out
        })
    }

    /// Differences of indexes, as a blob has them.
    fn deltas(side: &[(i32, u64)]) -> Vec<(u64, u64)> {
        let mut before: Option<i32> = None;
        side.iter()
            .map(|(index, count)| {
                let delta =
                    before.map_or(zigzag(i64::from(*index)), |before| u64::from(index.abs_diff(before)));
                before = Some(*index);
                (delta, *count)
            })
            .collect()
    }

    fn delta() -> impl Strategy<Value = u64> {
        prop_oneof![20 => 1_u64..3_000, 2 => Just(0), 2 => 130_000_u64..160_000, 1 => any::<u64>()]
    }

    /// The indexes of differences, where all are some.
    fn side(deltas: &[(u64, u64)]) -> Option<Vec<(i32, u64)>> {
        let mut index = None;
        let of = |(delta, count): &(u64, u64)| {
            let next = match index {
                None => i128::from(unzigzag(*delta)),
                Some(before) => before + i128::from(*delta),
            };
            index = Some(next);
            Some((i32::try_from(next).ok()?, *count))
        };
        deltas.iter().map(of).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_list_holds_what_was_put_in(
            all in prop::collection::vec(histogram(), 0..18),
        ) {
            let mut list = HistogramList::default();
            for histogram in &all {
                list.push(histogram);
            }
            prop_assert_eq!((list.len(), list.iter().count()), (all.len(), all.len()));
            let mut copy = HistogramList::default();
            for (found, histogram) in list.iter().zip(&all) {
                let (zero, positive, negative) = histogram.parts();
                prop_assert_eq!(found.positive.iter().collect::<Vec<_>>(), positive);
                prop_assert_eq!(found.negative.iter().collect::<Vec<_>>(), negative);
                prop_assert_eq!((found.head.zero, found.head.count), (zero, histogram.count()));
                prop_assert_eq!((found.min(), found.max()), (histogram.min(), histogram.max()));
                prop_assert_eq!(found.head.sum.to_bits(), histogram.sum().to_bits());
                let mut all = deltas(positive).into_iter().chain(deltas(negative));
                let lens = (positive.len() as u64, negative.len() as u64);
                copy.push_parts(*found.head, lens, &mut all, &mut Vec::new()).unwrap();
            }
            prop_assert_eq!(copy, list);
        }

        #[test]
        fn parts_that_are_no_histogram_are_refused(
            found in prop::collection::vec((delta(), prop_oneof![20 => 1_u64..4, 1 => Just(0), 1 => Just(u64::MAX)]), 0..6),
            lens in (0_u64..5, 0_u64..5),
            zero in prop_oneof![4 => 0_u64..2, 1 => Just(u64::MAX)],
            (min, max) in (-2.0..0.5_f64, prop_oneof![4 => 0.0..2.0_f64, 1 => Just(f64::NAN)]),
        ) {
            let head = Head { zero, count: 0, sum: 1.0, min, max };
            let mut list = HistogramList::default();
            let taken = list.push_parts(head, lens, &mut found.iter().copied(), &mut Vec::new());
            let (positive, rest) = found.split_at(found.len().min(usize::try_from(lens.0).unwrap()));
            let negative = &rest[..rest.len().min(usize::try_from(lens.1).unwrap())];
            let whole = positive.len() as u64 == lens.0 && negative.len() as u64 == lens.1;
            let small = |side: &[(u64, u64)]| side.iter().all(|(_, count)| *count <= COUNT_MAX);
            let expected = side(positive).zip(side(negative)).and_then(|(positive, negative)| {
                Histogram::from_parts(zero, positive, negative, (1.0, min, max)).ok()
            });
            let fits = whole && small(positive) && small(negative) && expected.is_some();
            prop_assert_eq!(taken.is_ok(), fits);
        }
    }
}
