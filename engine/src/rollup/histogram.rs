//! A sparse exponential histogram: mergeable quantiles with a relative error of at most 0.55 %.
//!
//! Buckets are those of OpenTelemetry at scale 6: bucket `i` of the positive values is
//! `(base^i, base^(i+1)]` with `base = 2^(1/64)`, and the negative values mirror them. Zero has a
//! bucket of its own; NaN and infinities are not counted. A quantile is the geometric middle of the
//! bucket of its rank, which no value of the bucket is further from than `2^(1/128) - 1 = 0.543 %`.
//!
//! The bytes are described in `docs/format/cells.md`.

mod buckets;
mod growing;
mod list;
mod reader;
mod replace;

pub(crate) use buckets::BUCKET_BYTES_MAX;
pub(crate) use growing::Growing;
pub(crate) use list::{Head, HistogramList, HistogramRef};
use reader::Reader;

use crate::error::{Error, Result};
use crate::schema::document::put_varint;

/// Buckets of one doubling.
const BUCKETS_A_DOUBLING: i32 = 64;

/// Bits of the fraction of a double.
const FRACTION_BITS: u32 = 52;

/// The least and the greatest index of a double: subnormals reach down to 2^-1074.
const INDEX_MIN: i32 = -1075 * BUCKETS_A_DOUBLING;
const INDEX_MAX: i32 = 1024 * BUCKETS_A_DOUBLING;

/// The version that [`Histogram::encode`] writes.
const VERSION: u8 = 1;

/// Counts of values in exponential buckets, with count, sum, least and greatest value beside.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    zero: u64,
    positive: Side,
    negative: Side,
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

/// Buckets of one sign, sorted by index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Side {
    buckets: Vec<(i32, u64)>,
}

/// The fraction bits of the greatest double that is at most `2^(k/64)`, for `k` in 0..64: the upper
/// bounds of the buckets of one doubling, found with whole-number arithmetic (`m^64 <= 2^k`).
#[rustfmt::skip]
const BOUNDS: [u64; 64] = [
    0x0_0000_0000_0000, 0x0_2c9a_3e77_8060, 0x0_59b0_d315_8574, 0x0_8745_1875_9bc8,
    0x0_b558_6cf9_890f, 0x0_e3ec_32d3_d1a2, 0x1_1301_d012_5b50, 0x1_429a_aea9_2ddf,
    0x1_72b8_3c7d_517a, 0x1_a35b_eb6f_cb75, 0x1_d487_3168_b9aa, 0x2_063b_8862_8cd6,
    0x2_387a_6e75_6238, 0x2_6b45_65e2_7cdd, 0x2_9e9d_f51f_dee1, 0x2_d285_a6e4_030b,
    0x3_06fe_0a31_b715, 0x3_3c08_b264_16ff, 0x3_71a7_373a_a9ca, 0x3_a7db_34e5_9ff6,
    0x3_dea6_4c12_3422, 0x4_160a_21f7_2e29, 0x4_4e08_6061_892d, 0x4_86a2_b5c1_3cd0,
    0x4_bfda_d536_2a27, 0x4_f9b2_769d_2ca6, 0x5_342b_569d_4f81, 0x5_6f47_36b5_27da,
    0x5_ab07_dd48_5429, 0x5_e76f_15ad_2148, 0x6_247e_b03a_5584, 0x6_6238_8255_2224,
    0x6_a09e_667f_3bcc, 0x6_dfb2_3c65_1a2e, 0x7_1f75_e8ec_5f73, 0x7_5feb_5642_67c8,
    0x7_a114_73eb_0186, 0x7_e2f3_36cf_4e62, 0x8_2589_994c_ce12, 0x8_68d9_9b44_92ec,
    0x8_ace5_422a_a0db, 0x8_f1ae_9915_7736, 0x9_3737_b0cd_c5e4, 0x9_7d82_9fde_4e4f,
    0x9_c491_82a3_f090, 0xa_0c66_7b5d_e564, 0xa_5503_b23e_255c, 0xa_9e6b_5579_fdbf,
    0xa_e89f_995a_d3ad, 0xb_33a2_b84f_15fa, 0xb_7f76_f2fb_5e46, 0xb_cc1e_904b_c1d2,
    0xc_199b_dd85_529c, 0xc_67f1_2e57_d14b, 0xc_b720_dcef_9069, 0xd_072d_4a07_897b,
    0xd_5818_dcfb_a487, 0xd_a9e6_03db_3285, 0xd_fc97_337b_9b5e, 0xe_502e_e78b_3ff6,
    0xe_a4af_a2a4_90d9, 0xe_fa1b_ee61_5a27, 0xf_5076_5b6e_4540, 0xf_a7c1_819e_90d8,
];

/// For the upper six bits of a fraction, how many bounds lie below every fraction that starts with them.
const FIRST: [u8; 64] = first_bounds();

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "evaluated at compile time, under 64"
)]
const fn first_bounds() -> [u8; 64] {
    let mut out = [0; 64];
    let mut start = 0;
    while start < 64 {
        let least = (start as u64) << (FRACTION_BITS - 6);
        let mut below = 0;
        while below < 64 && BOUNDS[below] < least {
            below += 1;
        }
        out[start] = below as u8;
        start += 1;
    }
    out
}

/// The bucket of a positive, finite number: `i` where `2^(i/64) < n <= 2^((i+1)/64)`, from its bits.
fn index_of(n: f64) -> i32 {
    let bits = n.to_bits();
    let biased = (bits >> FRACTION_BITS) & 0x7ff;
    let fraction = bits & ((1 << FRACTION_BITS) - 1);
    let (exponent, fraction) = if biased == 0 {
        // Subnormal: shifted until the leading bit stands where a normal number hides it.
        let shift = fraction.leading_zeros() - (63 - FRACTION_BITS);
        (-1022 - shift.cast_signed(), (fraction << shift) & ((1 << FRACTION_BITS) - 1))
    } else {
        (i32::try_from(biased).unwrap_or(0) - 1023, fraction)
    };
    let start = usize::try_from(fraction >> (FRACTION_BITS - 6)).unwrap_or(0);
    let mut below = FIRST.get(start).map_or(0, |n| usize::from(*n));
    while BOUNDS.get(below).is_some_and(|bound| *bound < fraction) {
        below += 1;
    }
    exponent * BUCKETS_A_DOUBLING + i32::try_from(below).unwrap_or(0) - 1
}

/// The geometric middle of a bucket.
fn middle_of(index: i32) -> f64 {
    ((f64::from(index) + 0.5) / f64::from(BUCKETS_A_DOUBLING)).exp2()
}

/// Up to so many buckets are added one by one: fewer moves than a list that is written anew.
const ADDED_MAX: usize = 4;

/// As many values are worth a [`Tally`].
const TALLY_VALUES_MIN: usize = 64;

/// A counter for every bucket there may be, to count many values before they join a histogram.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// By index from [`INDEX_MIN`] on; empty until it is first used, then all 0 between uses.
    counts: Vec<u64>,
    /// The indexes that are not 0.
    touched: Vec<i32>,
}

impl Tally {
    fn add(&mut self, index: i32, more: u64) {
        if self.counts.is_empty() {
            self.counts.resize(usize::try_from(INDEX_MAX - INDEX_MIN).unwrap_or(0), 0);
        }
        if let Some(count) = usize::try_from(index - INDEX_MIN).ok().and_then(|at| self.counts.get_mut(at)) {
            if *count == 0 {
                self.touched.push(index);
            }
            *count = count.saturating_add(more);
        }
    }

    /// What was counted, as buckets; the counters are 0 again.
    fn take(&mut self) -> Side {
        self.touched.sort_unstable();
        let counts = &mut self.counts;
        let bucket = |index: i32| {
            let count =
                usize::try_from(index - INDEX_MIN).ok().and_then(|at| counts.get_mut(at)).map(std::mem::take);
            (index, count.unwrap_or(0))
        };
        Side { buckets: self.touched.drain(..).map(bucket).collect() }
    }
}

/// How many values some buckets hold.
fn sum<'a>(buckets: impl Iterator<Item = &'a (i32, u64)>) -> u64 {
    buckets.fold(0, |sum, bucket| sum.saturating_add(bucket.1))
}

impl Side {
    fn add(&mut self, index: i32, count: u64) {
        match self.buckets.binary_search_by_key(&index, |b| b.0) {
            Ok(at) => {
                if let Some(bucket) = self.buckets.get_mut(at) {
                    bucket.1 = bucket.1.saturating_add(count);
                }
            }
            Err(at) => self.buckets.insert(at, (index, count)),
        }
    }

    /// Adds buckets, ascending by index.
    fn merge(&mut self, other: impl ExactSizeIterator<Item = (i32, u64)>) {
        if other.len() <= ADDED_MAX {
            return other.for_each(|(index, count)| self.add(index, count));
        }
        let mut out = Vec::with_capacity(self.buckets.len().max(other.len()));
        let (mut left, mut right) = (self.buckets.iter().copied().peekable(), other.peekable());
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            let index = a.0.min(b.0);
            let count = left.next_if(|x| x.0 == index).map_or(0, |x| x.1);
            out.push((index, count.saturating_add(right.next_if(|x| x.0 == index).map_or(0, |x| x.1))));
        }
        out.extend(left.chain(right));
        self.buckets = out;
    }

    fn iter(&self) -> impl ExactSizeIterator<Item = (i32, u64)> {
        self.buckets.iter().copied()
    }

    fn count(&self) -> u64 {
        sum(self.buckets.iter())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(self.buckets.len() as u64, out);
        let mut before = None;
        for (index, count) in &self.buckets {
            let delta = match before {
                None => (index.wrapping_shl(1) ^ (index >> 31)).cast_unsigned(),
                Some(before) => index.abs_diff(before),
            };
            put_varint(u64::from(delta), out);
            put_varint(*count, out);
            before = Some(*index);
        }
    }
}

impl Histogram {
    /// No value.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a value. NaN and infinities are left out.
    pub fn record(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        if value > 0.0 {
            self.positive.add(index_of(value), 1);
        } else if value < 0.0 {
            self.negative.add(index_of(-value), 1);
        } else {
            self.zero = self.zero.saturating_add(1);
        }
        self.count_beside(value);
    }

    /// Counts many values: the same as [`Self::record`] for each of them, several times faster.
    pub(crate) fn record_all(&mut self, values: &[f64], tally: &mut Tally) {
        if values.len() < TALLY_VALUES_MIN {
            for value in values {
                self.record(*value);
            }
            return;
        }
        for value in values.iter().filter(|v| v.is_finite()) {
            if *value > 0.0 {
                tally.add(index_of(*value), 1);
            } else if *value < 0.0 {
                self.negative.add(index_of(-value), 1);
            } else {
                self.zero = self.zero.saturating_add(1);
            }
            if self.count == 0 {
                (self.min, self.max) = (*value, *value);
            }
            (self.min, self.max) = (self.min.min(*value), self.max.max(*value));
            self.count = self.count.saturating_add(1);
            self.sum += value;
        }
        self.positive.merge(tally.take().iter());
    }

    /// Adds the values of another one: the same as if each had been recorded here.
    pub fn merge(&mut self, other: &Self) {
        self.positive.merge(other.positive.iter());
        self.negative.merge(other.negative.iter());
        let Self { zero, count, sum, min, max, .. } = *other;
        self.merge_head(Head { zero, count, sum, min, max });
    }

    /// As [`Self::merge`], of one of a list.
    pub(crate) fn merge_ref(&mut self, other: HistogramRef<'_>) {
        self.merge_positive(other.positive.iter());
        self.merge_beside(other);
    }

    /// Adds positive buckets, ascending by index, to those that are there, and nothing beside.
    fn merge_positive(&mut self, buckets: impl ExactSizeIterator<Item = (i32, u64)>) {
        self.positive.merge(buckets);
    }

    /// Counts a finite value beside its bucket.
    fn count_beside(&mut self, value: f64) {
        if self.count == 0 {
            (self.min, self.max) = (value, value);
        } else {
            (self.min, self.max) = (self.min.min(value), self.max.max(value));
        }
        self.count = self.count.saturating_add(1);
        self.sum += value;
    }

    /// As [`Self::merge_ref`], of one whose positive buckets are added elsewhere.
    fn merge_beside(&mut self, other: HistogramRef<'_>) {
        self.negative.merge(other.negative.iter());
        self.merge_head(*other.head);
    }

    /// Adds what another one has beside its buckets.
    fn merge_head(&mut self, other: Head) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            (self.min, self.max) = (other.min, other.max);
        } else {
            (self.min, self.max) = (self.min.min(other.min), self.max.max(other.max));
        }
        self.zero = self.zero.saturating_add(other.zero);
        self.count = self.count.saturating_add(other.count);
        self.sum += other.sum;
    }

    /// Takes the positive buckets away, to be kept elsewhere.
    fn take_positive(&mut self) -> Vec<(i32, u64)> {
        std::mem::take(&mut self.positive.buckets)
    }

    /// Puts the positive buckets back.
    fn put_positive(&mut self, buckets: Vec<(i32, u64)>) {
        self.positive = Side { buckets };
    }

    /// Adds the values of many others: the same as [`Self::merge_ref`] for each of them, faster for several.
    pub(crate) fn merge_all<'h>(
        &mut self,
        others: impl Iterator<Item = HistogramRef<'h>>,
        tally: &mut Tally,
    ) {
        for other in others.filter(|other| other.head.count > 0) {
            for (index, count) in other.positive.iter() {
                tally.add(index, count);
            }
            self.merge_beside(other);
        }
        self.positive.merge(tally.take().iter());
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The least value, if there is one.
    pub fn min(&self) -> Option<f64> {
        (self.count > 0).then_some(self.min)
    }

    /// The greatest value, if there is one.
    pub fn max(&self) -> Option<f64> {
        (self.count > 0).then_some(self.max)
    }

    /// The `q` quantile, `q` in 0..=1; `None` without values.
    ///
    /// The rank is that of linear interpolation, `q * (count - 1)` (Hyndman and Fan's type 7, as in
    /// `percentile_cont`): between the values of the two ranks around it, each taken as the middle of
    /// its bucket. So the result is within 0.55 % of the exact one while both have the same sign, and
    /// the ends are the least and the greatest value themselves.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        if self.count == 0 || q.is_nan() {
            return None;
        }
        let (rank, part) = rank_of(q, self.count);
        let low = self.value_at(rank);
        if part == 0.0 {
            return Some(low);
        }
        Some(interpolate(low, self.value_at(rank + 1), part))
    }

    /// The middle of the bucket that holds the value of a rank, from 0.
    fn value_at(&self, rank: u64) -> f64 {
        if rank == 0 {
            return self.min;
        }
        if rank + 1 >= self.count {
            return self.max;
        }
        let mut left = rank;
        for (index, count) in self.negative.buckets.iter().rev() {
            if left < *count {
                return (-middle_of(*index)).clamp(self.min, self.max);
            }
            left -= count;
        }
        if left < self.zero {
            return 0.0;
        }
        left -= self.zero;
        for (index, count) in &self.positive.buckets {
            if left < *count {
                return middle_of(*index).clamp(self.min, self.max);
            }
            left -= count;
        }
        self.max
    }

    /// How many values are at most `bound`, as exactly as the buckets allow: those of the bucket that
    /// holds `bound` count with it.
    pub fn count_at_most(&self, bound: f64) -> u64 {
        if bound.is_nan() || self.count == 0 || bound < self.min {
            return 0;
        }
        if bound >= self.max {
            return self.count;
        }
        if bound < 0.0 {
            let index = index_of(-bound);
            return sum(self.negative.buckets.iter().filter(|b| b.0 >= index));
        }
        let mut count = self.negative.count().saturating_add(self.zero);
        if bound > 0.0 {
            let index = index_of(bound);
            count = count.saturating_add(sum(self.positive.buckets.iter().take_while(|b| b.0 <= index)));
        }
        count
    }

    /// The positive buckets as (lower bound, upper bound, count), ascending: the lower bound is outside.
    pub fn positive_buckets(&self) -> impl Iterator<Item = (f64, f64, u64)> + '_ {
        let bound = |index: i32| (f64::from(index) / f64::from(BUCKETS_A_DOUBLING)).exp2();
        self.positive.buckets.iter().map(move |(index, count)| (bound(*index), bound(index + 1), *count))
    }

    /// A histogram of values that are zero and of buckets of positive ones, ascending by index.
    ///
    /// `None` when the buckets do not ascend, are of no double, or empty, and when `min` and `max` do not
    /// fit values that are not negative.
    pub(crate) fn from_buckets(
        zero: u64,
        buckets: Vec<(i32, u64)>,
        (min, max): (f64, f64),
        sum: f64,
    ) -> Option<Self> {
        let fit = buckets.iter().all(|(index, count)| (INDEX_MIN..INDEX_MAX).contains(index) && *count > 0)
            && buckets.is_sorted_by(|a, b| a.0 < b.0);
        let count = buckets.iter().try_fold(zero, |sum, bucket| sum.checked_add(bucket.1))?;
        let ordered = 0.0 <= min && min <= max && max.is_finite() && sum.is_finite();
        let positive = Side { buckets };
        (fit && ordered && count > 0).then_some(Self {
            zero,
            positive,
            count,
            sum,
            min,
            max,
            ..Self::default()
        })
    }

    /// Values that are zero, and the (index, count) of the buckets of positive ones.
    pub(crate) fn buckets(&self) -> (u64, &[(i32, u64)]) {
        (self.zero, &self.positive.buckets)
    }

    /// Bytes of memory this takes.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + (self.positive.buckets.capacity() + self.negative.buckets.capacity()) * 16
    }

    /// Zeroes, positive buckets and negative buckets, those by index.
    #[expect(clippy::type_complexity, reason = "three parts, said above")]
    pub(crate) fn parts(&self) -> (u64, &[(i32, u64)], &[(i32, u64)]) {
        (self.zero, &self.positive.buckets, &self.negative.buckets)
    }

    /// A histogram of its parts; sum, least and greatest value mean nothing where there are no values.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when they are not parts of one: buckets out of order, out of range or empty.
    #[cfg(test)]
    pub(crate) fn from_parts(
        zero: u64,
        positive: Vec<(i32, u64)>,
        negative: Vec<(i32, u64)>,
        (sum, min, max): (f64, f64, f64),
    ) -> Result<Self> {
        let fine = |side: &[(i32, u64)]| {
            side.iter().all(|(index, count)| (INDEX_MIN..INDEX_MAX).contains(index) && *count > 0)
                && side.is_sorted_by(|a, b| a.0 < b.0)
        };
        let total = positive.iter().chain(&negative).try_fold(zero, |sum, b| sum.checked_add(b.1));
        let ordered = min.is_finite() && max.is_finite() && min <= max;
        match total {
            Some(0) if positive.is_empty() && negative.is_empty() => Ok(Self::default()),
            Some(count) if ordered && fine(&positive) && fine(&negative) => {
                let (positive, negative) = (Side { buckets: positive }, Side { buckets: negative });
                Ok(Self { zero, positive, negative, count, sum, min, max })
            }
            _ => Err(Error::invalid("a histogram whose parts do not fit")),
        }
    }

    /// Appends the bytes, as the format has them.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        put_varint(self.zero, out);
        out.extend_from_slice(&self.sum.to_bits().to_le_bytes());
        out.push(u8::from(self.count > 0));
        if self.count > 0 {
            out.extend_from_slice(&self.min.to_bits().to_le_bytes());
            out.extend_from_slice(&self.max.to_bits().to_le_bytes());
        }
        self.positive.encode(out);
        self.negative.encode(out);
    }

    /// Reads what [`Self::encode`] wrote; all of `bytes` must be it.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader { bytes };
        if reader.byte()? != VERSION {
            return Err(Error::invalid("a histogram of an unknown version"));
        }
        let mut out = Self { zero: reader.varint()?, sum: reader.f64()?, ..Self::default() };
        let some = match reader.byte()? {
            0 => false,
            1 => true,
            _ => return Err(Error::invalid("a histogram whose presence byte is neither 0 nor 1")),
        };
        if some {
            (out.min, out.max) = (reader.f64()?, reader.f64()?);
        }
        out.positive = reader.side()?;
        out.negative = reader.side()?;
        let counts = out.positive.buckets.iter().chain(&out.negative.buckets).map(|b| b.1);
        let total = counts.into_iter().try_fold(out.zero, u64::checked_add);
        out.count = total.ok_or_else(|| Error::invalid("a histogram of more than 2^64 values"))?;
        let ordered = out.min.is_finite() && out.max.is_finite() && out.min <= out.max;
        if !reader.bytes.is_empty() || some != (out.count > 0) || !ordered {
            return Err(Error::invalid("a histogram whose parts do not fit"));
        }
        Ok(out)
    }
}

/// The rank of a quantile among `count` values, from 0, and how far it is on the way to the next.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank is within 0..count, and counts over 2^53 are out of reach"
)]
pub(crate) fn rank_of(q: f64, count: u64) -> (u64, f64) {
    let last = count.saturating_sub(1);
    let place = q.clamp(0.0, 1.0) * last as f64;
    let rank = (place.floor() as u64).min(last);
    if rank == last { (rank, 0.0) } else { (rank, place - rank as f64) }
}

/// The number a part of the way from one to another.
pub(crate) fn interpolate(low: f64, high: f64, part: f64) -> f64 {
    let way = high - low;
    if way.is_finite() { low + way * part } else { low * (1.0 - part) + high * part }
}

#[cfg(test)]
mod tests;
