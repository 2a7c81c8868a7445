//! A small deterministic generator: the same seed gives the same platform on every machine and version.
//!
//! `SplitMix64` (Steele, Lea and Flood, OOPSLA 2014). Not for secrets.

use std::f64::consts::TAU;

/// The odd constant that the state advances by: 2^64 / golden ratio.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// A stream of pseudo-random numbers.
#[derive(Debug, Clone)]
pub(crate) struct Prng {
    state: u64,
}

impl Prng {
    /// The stream that belongs to `parts`: other parts, another stream that shares nothing with it.
    pub(crate) fn new(parts: &[u64]) -> Self {
        let mut state = 0;
        for part in parts {
            state = mix(state ^ part.wrapping_add(GAMMA));
        }
        Self { state }
    }

    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// Uniform in `0..n`; 0 when `n` is 0. The bias is below `n` / 2^64.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        let high = (u128::from(self.bits()) * u128::from(n)) >> 64;
        u64::try_from(high).unwrap_or(0)
    }

    /// Uniform in `low..high`; `low` when the range is empty.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        let width = u64::try_from(high.saturating_sub(low)).unwrap_or(0);
        low.saturating_add_unsigned(self.below(width))
    }

    /// Uniform in `0.0..1.0`, 53 bits.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double")]
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True with probability `p`.
    pub(crate) fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// Normal with mean 0 and deviation 1 (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (TAU * self.unit()).cos()
    }

    /// Log-normal: `median` times e^(`sigma` x normal).
    pub(crate) fn lognormal(&mut self, median: f64, sigma: f64) -> f64 {
        median * (sigma * self.normal()).exp()
    }

    /// Poisson with a mean below a few hundred (Knuth), 0 for a mean that is not positive.
    pub(crate) fn poisson(&mut self, mean: f64) -> u64 {
        let limit = (-mean.max(0.0)).exp();
        let (mut count, mut product) = (0, self.unit());
        while product > limit {
            count += 1;
            product *= self.unit();
        }
        count
    }

    /// One of `items`, each as likely.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let index = self.below(items.len() as u64);
        items.get(usize::try_from(index).ok()?)
    }

    /// One of `items` by weight.
    pub(crate) fn weighted<'a, T>(&mut self, items: &'a [(u32, T)]) -> Option<&'a T> {
        let total: u64 = items.iter().map(|(weight, _)| u64::from(*weight)).sum();
        let mut left = self.below(total);
        items
            .iter()
            .find(|(weight, _)| {
                let here = left < u64::from(*weight);
                left = left.saturating_sub(u64::from(*weight));
                here
            })
            .map(|(_, item)| item)
    }

    /// One of `items`, the first ones more often: the square of a uniform number.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a list of a few hundred items, a factor in 0..1"
    )]
    pub(crate) fn favourite<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let u = self.unit();
        items.get((u * u * items.len() as f64) as usize)
    }

    /// A UUID of version 7 at `at_us`, the rest from this stream.
    pub(crate) fn uuid7(&mut self, at_us: i64) -> String {
        let ms = at_us.div_euclid(1000).cast_unsigned() & 0xffff_ffff_ffff;
        let (a, b) = (self.bits() & 0xfff, self.bits() & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000);
        format!("{:08x}-{:04x}-7{a:03x}-{:04x}-{:012x}", ms >> 16, ms & 0xffff, b >> 48, b & 0xffff_ffff_ffff)
    }
}

/// The finaliser of `MurmurHash3` with Stafford's constants (variant 13).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_that_of_splitmix64() {
        let mut prng = Prng { state: 0 };
        assert_eq!(prng.bits(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(prng.bits(), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn other_parts_give_another_stream() {
        let first = |parts: &[u64]| Prng::new(parts).bits();
        assert_eq!(first(&[1, 2]), first(&[1, 2]));
        assert_ne!(first(&[1, 2]), first(&[2, 1]));
        assert_ne!(first(&[1]), first(&[1, 0]));
    }

    #[test]
    fn draws_stay_in_their_range() {
        let mut prng = Prng::new(&[7]);
        for _ in 0..1000 {
            assert!(prng.below(3) < 3);
            assert!((-5..9).contains(&prng.between(-5, 9)));
            assert!((0.0..1.0).contains(&prng.unit()));
        }
        assert_eq!(prng.below(0), 0);
        assert_eq!(prng.weighted(&[(0, 'a'), (1, 'b')]), Some(&'b'));
        assert_eq!(prng.pick::<u8>(&[]), None);
    }

    #[test]
    fn a_uuid_has_version_variant_and_time() {
        let id = Prng::new(&[1]).uuid7(0x0123_4567_89ab * 1000);
        assert_eq!(id.len(), 36);
        assert!(id.starts_with("01234567-89ab-7"), "{id}");
        assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{id}");
    }
}
