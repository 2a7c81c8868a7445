//! Values in the place of others: a histogram of things that change, a few at a time.

use super::{Histogram, Tally, index_of};

/// Whole numbers above this are not all doubles: their sum depends on its order.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

impl Histogram {
    /// Counts whole numbers from 0 on in the place of others that were counted before: the result is what counting
    /// those that are left anew gives. False, and good for nothing any more, where it cannot be told what is left: of the
    /// least and the greatest value each was told once, and a sum may have been rounded.
    pub(crate) fn replace_all(&mut self, removed: &[f64], added: &[f64], tally: &mut Tally) -> bool {
        let (before_min, before_max) = (self.min, self.max);
        for value in removed {
            let was_there = if *value > 0.0 { self.forget_positive(*value) } else { self.forget_zero() };
            if !was_there || self.count == 0 {
                return false;
            }
            self.count -= 1;
            self.sum -= value;
        }
        self.positive.buckets.retain(|(_, count)| *count > 0);
        if self.count == 0 {
            *self = Self::default();
            self.record_all(added, tally);
            return self.sum < WHOLE_MAX;
        }
        let of_removed = |edge: f64| removed.contains(&edge);
        let least = added.iter().copied().fold(f64::INFINITY, f64::min);
        let most = added.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let min_stays = least <= before_min || !of_removed(before_min) || self.zero > 0;
        let max_stays = most >= before_max || !of_removed(before_max);
        self.record_all(added, tally);
        min_stays && max_stays && self.sum < WHOLE_MAX
    }

    fn forget_positive(&mut self, value: f64) -> bool {
        let buckets = &mut self.positive.buckets;
        let place = buckets.binary_search_by_key(&index_of(value), |bucket| bucket.0);
        let count = place.ok().and_then(|at| buckets.get_mut(at)).map(|bucket| &mut bucket.1);
        count.filter(|count| **count > 0).map(|count| *count -= 1).is_some()
    }

    fn forget_zero(&mut self) -> bool {
        let left = self.zero.checked_sub(1);
        self.zero = left.unwrap_or(0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[f64]) -> Histogram {
        let mut histogram = Histogram::default();
        histogram.record_all(values, &mut Tally::default());
        histogram
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_replaced_is_as_if_it_had_never_been_counted(
            kept in prop::collection::vec(0_u32..400, 0..60),
            removed in prop::collection::vec(0_u32..500, 0..60),
            added in prop::collection::vec(0_u32..500, 0..60),
        ) {
            let doubles = |values: &[u32]| values.iter().map(|n| f64::from(*n)).collect::<Vec<_>>();
            let (kept, removed, added) = (doubles(&kept), doubles(&removed), doubles(&added));
            let mut histogram = of(&[kept.clone(), removed.clone()].concat());
            let told = histogram.replace_all(&removed, &added, &mut Tally::default());
            if told {
                prop_assert_eq!(histogram, of(&[kept, added].concat()));
            } else {
                // Only where an edge went and nothing beyond it came.
                let edge = |values: &[f64], most: bool| {
                    values.iter().copied().reduce(if most { f64::max } else { f64::min })
                };
                let lost = |most: bool| edge(&removed, most).is_some_and(|edge_of| {
                    edge(&kept, most).is_none_or(|k| if most { edge_of >= k } else { edge_of <= k })
                });
                prop_assert!(lost(true) || lost(false));
            }
        }
    }

    #[test]
    fn a_value_that_was_not_counted_is_told() {
        assert!(!of(&[1.0, 2.0]).replace_all(&[900.0], &[], &mut Tally::default()));
        assert!(!of(&[1.0, 2.0]).replace_all(&[0.0], &[], &mut Tally::default()));
    }
}
