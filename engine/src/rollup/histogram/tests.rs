#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "ranks of a few hundred values"
)]

use proptest::prelude::*;

use super::*;

/// Beyond this a quantile may not be from the exact one, relative to the larger of the values around it.
const ERROR_MAX: f64 = 0.0055;

fn of(values: &[f64]) -> Histogram {
    let mut out = Histogram::new();
    for value in values {
        out.record(*value);
    }
    out
}

fn encoded(histogram: &Histogram) -> Vec<u8> {
    let mut out = Vec::new();
    histogram.encode(&mut out);
    out
}

#[test]
fn an_empty_histogram_has_no_quantile() {
    let empty = of(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
    assert_eq!(empty, Histogram::new());
    assert_eq!((empty.quantile(0.5), empty.min(), empty.max(), empty.count()), (None, None, None, 0));
    assert_eq!(Histogram::decode(&encoded(&empty)).unwrap(), empty);
}

#[test]
fn one_value_is_every_quantile_of_itself() {
    for value in [3.25, -3.25, 0.0, f64::MAX, f64::MIN, f64::MIN_POSITIVE, f64::from_bits(1)] {
        let one = of(&[value]);
        for q in [0.0, 0.5, 1.0] {
            assert_eq!(one.quantile(q), Some(value));
        }
    }
}

#[test]
fn bounds_are_the_roots_of_two() {
    // m is at most 2^(k/64) exactly when m^64 is at most 2^k; here to within the last bit of a double.
    for (k, bound) in (0..).zip(BOUNDS) {
        let bound = f64::from_bits((1023 << FRACTION_BITS) | bound);
        let root = (f64::from(k) / 64.0).exp2();
        assert!((root - bound).abs() <= 2.0 * f64::EPSILON, "2^({k}/64)");
        // A bound is the last double of its bucket, and the next one is in the next bucket.
        assert_eq!(index_of(bound), k - 1);
        assert_eq!(index_of(bound.next_up()), k);
    }
}

#[test]
fn powers_of_two_are_upper_bounds_of_their_buckets() {
    for exponent in -1074..1024_i32 {
        let power = if exponent < -1022 {
            f64::from_bits(1 << (exponent + 1074))
        } else {
            f64::from_bits(u64::try_from(exponent + 1023).unwrap() << FRACTION_BITS)
        };
        assert_eq!(index_of(power), exponent * 64 - 1, "2^{exponent}");
        if exponent > -1022 {
            assert_eq!(index_of(power.next_up()), exponent * 64);
            assert_eq!(index_of(power.next_down()), exponent * 64 - 1);
        }
    }
    assert_eq!(index_of(f64::MAX), INDEX_MAX - 1);
    assert!(index_of(f64::from_bits(1)) >= INDEX_MIN);
}

#[test]
fn counts_below_a_bound_follow_the_buckets() {
    let histogram = of(&[-4.0, -1.0, 0.0, 0.5, 100.0, 400.0]);
    let below: Vec<u64> =
        [-5.0, -4.0, -2.0, 0.0, 0.1, 0.5, 101.0, 1e9].map(|b| histogram.count_at_most(b)).to_vec();
    assert_eq!(below, [0, 1, 1, 3, 3, 4, 5, 6]);
}

#[test]
fn bytes_of_the_golden_file_are_those_of_today() {
    let histogram = of(&[0.0, 1.0, 1.5, 250.0, 250.0, 1e-9, -3.0, -3.0, -1e12, 0.0, 2.5e-310]);
    let bytes = encoded(&histogram);
    crate::golden::check("histogram.bin", &bytes);
    assert_eq!(Histogram::decode(&bytes).unwrap(), histogram);
}

#[test]
fn a_count_of_buckets_that_cannot_follow_is_refused() {
    let mut bytes = vec![VERSION, 0];
    bytes.extend_from_slice(&[0; 8]);
    bytes.push(0);
    put_varint(u64::MAX, &mut bytes);
    assert!(matches!(Histogram::decode(&bytes), Err(Error::Invalid { .. })));
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => 0.001_f64..1e6,
        2 => -1e3_f64..1e3,
        1 => Just(0.0),
        1 => any::<f64>().prop_filter("finite", |v| v.is_finite()),
    ]
}

proptest! {
    #[test]
    fn a_quantile_is_within_its_error(mut values in prop::collection::vec(value(), 1..200), q in 0.0_f64..=1.0) {
        let histogram = of(&values);
        values.sort_by(f64::total_cmp);
        let place = q * (values.len() - 1) as f64;
        let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
        let exact = low * (1.0 - place.fract()) + high * place.fract();
        let found = histogram.quantile(q).unwrap();
        let error = ERROR_MAX * low.abs().max(high.abs()) + f64::MIN_POSITIVE;
        prop_assert!((found - exact).abs() <= error, "{found}, not {exact}");
        // Of one sign the error is relative to the quantile itself.
        if low > f64::MIN_POSITIVE {
            prop_assert!((found / exact - 1.0).abs() <= ERROR_MAX);
        }
    }

    #[test]
    fn merging_is_recording_everything(a in prop::collection::vec(value(), 0..50), b in prop::collection::vec(value(), 0..50)) {
        let mut left = of(&a);
        let mut right = of(&b);
        let both = of(&[a, b].concat());
        let (first, second) = (left.clone(), right.clone());
        left.merge(&second);
        right.merge(&first);
        // The sum alone depends on the order, in its last bits.
        for merged in [&mut left, &mut right] {
            prop_assert!((merged.sum - both.sum).abs() <= both.sum.abs().max(f64::MIN_POSITIVE) * 1e-9 || !both.sum.is_finite()
                || first.sum.abs().max(second.sum.abs()) * 1e-9 >= (merged.sum - both.sum).abs());
            merged.sum = both.sum;
            prop_assert_eq!(&*merged, &both);
        }
    }

    #[test]
    fn many_values_at_once_are_the_same_as_one_by_one(parts in prop::collection::vec(prop::collection::vec(value(), 0..200), 1..4)) {
        let (mut at_once, mut tally) = (Histogram::new(), Tally::default());
        for part in &parts {
            at_once.record_all(part, &mut tally);
        }
        prop_assert_eq!(at_once, of(&parts.concat()));
    }

    #[test]
    fn bytes_come_back_as_the_histogram(values in prop::collection::vec(value(), 0..100)) {
        let histogram = of(&values);
        let bytes = encoded(&histogram);
        prop_assert_eq!(Histogram::decode(&bytes).unwrap(), histogram);
    }

    #[test]
    fn hostile_bytes_never_panic(values in prop::collection::vec(value(), 0..20), at in any::<usize>(), byte in any::<u8>(), random in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut bytes = encoded(&of(&values));
        let at = at % bytes.len();
        bytes[at] = byte;
        for bytes in [&bytes[..], &bytes[..at], &random] {
            if let Ok(histogram) = Histogram::decode(bytes) {
                let mut copy = histogram.clone();
                copy.merge(&histogram);
                copy.quantile(0.5);
                copy.record(1.0);
                copy.count_at_most(0.5);
            }
        }
    }
}
