//! A histogram that many values and cells are still to join: buckets near each other are counters side by side.

use super::buckets::{BucketIter, Buckets};
use super::{Histogram, HistogramRef, Tally, index_of};

/// Buckets from which on counters side by side are looked at.
const BUCKETS_MIN: usize = 8;

/// Counters that one bucket may cost: four times the bytes of buckets written one by one.
const COUNTERS_A_BUCKET: usize = 8;

/// Counters on either side of the buckets that are there, for those that come.
const ROOM: u8 = 8;

/// A [`Histogram`], and a counter for every positive bucket of some range once that is not much larger
/// than the buckets that are there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Growing {
    /// Everything; while there are counters all but the positive buckets.
    histogram: Histogram,
    /// The bucket of the first counter.
    first: i32,
    /// By bucket; empty until it is worth it.
    counters: Vec<u64>,
    /// Counters that are not 0.
    filled: usize,
    /// Buckets from which on counters are looked at again.
    look_at: usize,
}

impl Growing {
    /// Counts many values, as [`Histogram::record`] does for each of them.
    pub(crate) fn record_all(&mut self, values: &[f64], tally: &mut Tally) {
        if self.counters.is_empty() {
            self.histogram.record_all(values, tally);
            return self.look();
        }
        for value in values {
            if *value > 0.0 && value.is_finite() && self.count_or_widen(index_of(*value), 1) {
                self.histogram.count_beside(*value);
            } else {
                // Zero, negative ones, what does not count, and a bucket that has no counter.
                if *value > 0.0 {
                    self.settle();
                }
                self.histogram.record(*value);
            }
        }
        self.look();
    }

    /// Adds the values of others, as [`Histogram::merge`] does for each of them.
    pub(crate) fn merge_all<'h>(
        &mut self,
        others: impl Iterator<Item = HistogramRef<'h>>,
        tally: &mut Tally,
    ) {
        if self.counters.is_empty() {
            self.histogram.merge_all(others, tally);
            return self.look();
        }
        for other in others {
            self.merge(other);
        }
    }

    /// Adds the values of another one, as [`Histogram::merge`] does.
    pub(crate) fn merge(&mut self, other: HistogramRef<'_>) {
        if self.counters.is_empty() {
            if self.start_with(other.positive) {
                return self.histogram.merge_beside(other);
            }
            self.histogram.merge_ref(other);
            return self.look();
        }
        self.histogram.merge_beside(other);
        let mut buckets = other.positive.iter();
        while let Some((index, count)) = self.count_while(&mut buckets) {
            if !self.count_or_widen(index, count) {
                // A bucket that has no counter: it and what is left joins what the counters become.
                self.settle();
                let left: Vec<_> = std::iter::once((index, count)).chain(buckets).collect();
                self.histogram.merge_positive(left.into_iter());
                return self.look();
            }
        }
    }

    /// Counts values of a bucket, if it has a counter.
    #[inline]
    fn count(&mut self, index: i32, more: u64) -> bool {
        let at = usize::try_from(index - self.first).unwrap_or(usize::MAX);
        let Some(counter) = self.counters.get_mut(at) else { return false };
        self.filled += usize::from(*counter == 0);
        *counter = counter.saturating_add(more);
        true
    }

    /// Counts the values of buckets for as long as they have counters; the first one that has none.
    fn count_while(&mut self, buckets: &mut BucketIter<'_>) -> Option<(i32, u64)> {
        let (first, counters) = (self.first, self.counters.as_mut_slice());
        // Beside the loop's other values, and not in memory: each bucket would wait for the one before.
        let mut filled = 0;
        let left = buckets.find(|(index, more)| {
            let at = usize::try_from(index - first).unwrap_or(usize::MAX);
            let Some(counter) = counters.get_mut(at) else { return true };
            filled += usize::from(*counter == 0);
            *counter = counter.saturating_add(*more);
            false
        });
        self.filled += filled;
        left
    }

    #[inline]
    fn count_or_widen(&mut self, index: i32, more: u64) -> bool {
        self.count(index, more) || (self.widen(index) && self.count(index, more))
    }

    /// Makes a counter for a bucket, and room beyond it, when there are counters and they are worth it then.
    fn widen(&mut self, index: i32) -> bool {
        let before = usize::try_from(self.first - index).unwrap_or(0);
        let after = usize::try_from(index - self.first).unwrap_or(0).saturating_sub(self.counters.len());
        // By a part of what is there, so that many that lie further and further off cost few moves.
        let room = usize::from(ROOM) + self.counters.len() / 8;
        let span = self.counters.len() + room + before.max(after + 1);
        if span > self.filled * COUNTERS_A_BUCKET {
            return false;
        }
        if before > 0 {
            self.first = index - i32::try_from(room).unwrap_or(0);
            self.counters.splice(..0, std::iter::repeat_n(0, before + room));
        } else {
            self.counters.resize(span, 0);
        }
        true
    }

    /// Lays counters out when the buckets are near enough to each other.
    fn look(&mut self) {
        let (_, positive, _) = self.histogram.parts();
        if !self.counters.is_empty() || positive.len() < self.look_at.max(BUCKETS_MIN) {
            return;
        }
        self.look_at = positive.len() + positive.len() / 4;
        let (Some((first, _)), Some((last, _))) = (positive.first(), positive.last()) else { return };
        if self.lay_out(*first, *last, positive.len()) {
            for (index, count) in self.histogram.take_positive() {
                self.count(index, count);
            }
        }
    }

    /// Starts with the buckets of another one, when they are near enough to each other for counters.
    fn start_with(&mut self, buckets: Buckets<'_>) -> bool {
        let (_, positive, _) = self.histogram.parts();
        if !positive.is_empty() || buckets.len() < BUCKETS_MIN {
            return false;
        }
        let (Some((first, _)), Some((last, _))) = (buckets.iter().next(), buckets.iter().last()) else {
            return false;
        };
        let is_worth = self.lay_out(first, last, buckets.len());
        if is_worth {
            for (index, count) in buckets.iter() {
                self.count(index, count);
            }
        }
        is_worth
    }

    /// Makes counters from one bucket up to another, all 0, when so many of them as `filled` are worth it.
    fn lay_out(&mut self, first: i32, last: i32, filled: usize) -> bool {
        let span =
            usize::try_from(last - first).unwrap_or(usize::MAX).saturating_add(1 + 2 * usize::from(ROOM));
        if span > filled * COUNTERS_A_BUCKET {
            return false;
        }
        self.first = first - i32::from(ROOM);
        self.counters.resize(span, 0);
        self.filled = 0;
        true
    }

    /// Makes buckets of the counters: few bytes for what nothing joins any more.
    pub(crate) fn settle(&mut self) {
        let (counters, filled) = (std::mem::take(&mut self.counters), std::mem::take(&mut self.filled));
        if counters.is_empty() {
            return;
        }
        let mut buckets = Vec::with_capacity(filled);
        buckets.extend((self.first..).zip(counters).filter(|(_, count)| *count > 0));
        self.histogram.put_positive(buckets);
        self.look_at = 0;
    }

    /// The histogram.
    pub(crate) fn finish(mut self) -> Histogram {
        self.settle();
        self.histogram
    }

    /// Bytes of memory this takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>() - size_of::<Histogram>()
            + self.histogram.memory_bytes()
            + self.counters.len() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::HistogramList;
    use super::*;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            20 => 1.0..40.0_f64,
            4 => 1e-3..1e6_f64,
            1 => proptest::sample::select(vec![0.0, -3.5, 1e300, 5e-324, f64::NAN, f64::INFINITY]),
        ]
    }

    #[test]
    fn one_that_nothing_joins_any_more_takes_the_bytes_of_a_whole_one() {
        let values: Vec<f64> = (0..200).map(|n| 1.0 + f64::from(n) * 0.37).collect();
        let (mut growing, mut whole) = (Growing::default(), Histogram::new());
        for value in &values {
            whole.record(*value);
        }
        let mut list = HistogramList::default();
        list.push(&whole);
        growing.merge(list.get(0).unwrap());
        let counted = growing.memory_bytes();
        growing.settle();
        assert!(growing.counters.is_empty() && growing.memory_bytes() < counted);
        assert_eq!(growing.finish(), whole);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_growing_histogram_counts_as_one_that_is_whole(
            steps in prop::collection::vec((any::<bool>(), prop::collection::vec(value(), 0..90)), 0..40),
        ) {
            let (mut growing, mut whole) = (Growing::default(), Histogram::new());
            let mut tally = Tally::default();
            for (merged, values) in &steps {
                let mut other = Histogram::new();
                for value in values {
                    other.record(*value);
                    whole.record(*value);
                }
                if *merged {
                    let mut list = HistogramList::default();
                    list.push(&other);
                    growing.merge_all(list.iter(), &mut tally);
                } else {
                    growing.record_all(values, &mut tally);
                }
            }
            let growing = growing.finish();
            prop_assert_eq!(growing.parts(), whole.parts());
            prop_assert_eq!(
                (growing.count(), growing.min(), growing.max()),
                (whole.count(), whole.min(), whole.max())
            );
            prop_assert!((growing.sum() - whole.sum()).abs() <= whole.sum().abs() * 1e-9);
        }
    }

    #[test]
    fn buckets_near_each_other_become_counters_and_one_far_away_lets_them_be_buckets() {
        let (mut growing, mut tally) = (Growing::default(), Tally::default());
        let values: Vec<f64> = (0..100).map(|n| 10.0 + f64::from(n) / 5.0).collect();
        growing.record_all(&values, &mut tally);
        assert!(!growing.counters.is_empty());
        growing.record_all(&values, &mut tally);
        assert!(!growing.counters.is_empty());
        growing.record_all(&[1e-9], &mut tally);
        assert!(growing.counters.is_empty());
        assert_eq!(growing.finish().count(), 201);
    }
}
