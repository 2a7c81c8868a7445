//! Latencies in buckets that grow with the value: bounded memory, at most 0.8 % off.
//!
//! Log-linear, as `HdrHistogram` is: values below 128 have a bucket each, above that every power of two has 64.

/// Buckets of one power of two, as a power of two.
const SUB_BITS: u32 = 6;
const SUB: u64 = 1 << SUB_BITS;

/// Counts of latencies, in microseconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    /// Counts one value.
    pub(crate) fn record(&mut self, value: u64) {
        let index = index(value);
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(index) {
            *count += 1;
        }
        self.total += 1;
        self.max = self.max.max(value);
    }

    /// Adds what another one counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// How many values were counted.
    pub(crate) fn count(&self) -> u64 {
        self.total
    }

    /// The greatest value, exactly; 0 without values.
    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// The value that the share `numerator` / `denominator` of all values is at or below; the middle of its bucket.
    pub(crate) fn quantile(&self, numerator: u64, denominator: u64) -> u64 {
        let rank = (u128::from(self.total) * u128::from(numerator)).div_ceil(u128::from(denominator)).max(1);
        let mut seen = 0_u128;
        for (index, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= rank {
                return middle(index).min(self.max);
            }
        }
        self.max
    }
}

/// The bucket of a value.
fn index(value: u64) -> usize {
    let power = (u64::BITS - value.leading_zeros()).saturating_sub(SUB_BITS + 1);
    let index = u64::from(power) * SUB + (value >> power);
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// The value in the middle of a bucket.
fn middle(index: usize) -> u64 {
    let index = index as u64;
    let power = (index / SUB).saturating_sub(1);
    let start = (index - power * SUB) << power;
    start + ((1 << power) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_within_its_error_of_all_its_values() {
        for value in (0..10_000).chain((10_000..100_000_000).step_by(9_973)).chain([u64::MAX / 2]) {
            let near = middle(index(value));
            assert!(near.abs_diff(value) * 125 <= value, "{value} -> {near}");
        }
        assert!((0..10_000).all(|v| index(v) <= index(v + 1) && index(v + 1) - index(v) <= 1));
    }

    #[test]
    fn quantiles_of_a_known_series() {
        let mut low = Histogram::default();
        let mut high = Histogram::default();
        (1..=50).for_each(|v| low.record(v));
        (51..=100).for_each(|v| high.record(v));
        low.merge(&high);
        assert_eq!(
            (low.quantile(1, 2), low.quantile(99, 100), low.quantile(1, 1), low.max()),
            (50, 99, 100, 100)
        );
        assert_eq!(low.count(), 100);
        assert_eq!(Histogram::default().quantile(1, 2), 0);
    }
}
