//! Round trips of every encoding, and hostile bytes.

use proptest::prelude::*;

use super::*;
use crate::schema::{BytesColumn, NULL_CODE};

fn check_ints(values: &[u64]) {
    let mut bytes = Vec::new();
    encode_ints(values, &mut bytes);
    assert_eq!(decode_ints(&bytes, values.len()).unwrap(), values);
}

fn check_floats(values: &[f64]) {
    let mut bytes = Vec::new();
    encode_floats(values, &mut bytes);
    let bits = |v: &[f64]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&decode_floats(&bytes, values.len()).unwrap()), bits(values));
}

fn column(values: &[Option<Vec<u8>>]) -> BytesColumn {
    let mut out = BytesColumn::new();
    for value in values {
        out.push(value.as_deref());
    }
    out
}

fn check_strings(values: &[Option<Vec<u8>>]) -> u8 {
    let column = column(values);
    let mut bytes = Vec::new();
    encode_strings(&column, &mut bytes);
    assert_eq!(decode_strings(&bytes, column.len()).unwrap().into_plain(), column);
    bytes[0]
}

#[test]
fn numbers_of_every_shape_come_back() {
    let rows = 8192_u64;
    check_ints(&[]);
    check_ints(&[u64::MAX]);
    check_ints(&[0, u64::MAX, 0, u64::MAX]);
    check_ints(&vec![7; 8192]);
    check_ints(&(0..rows).collect::<Vec<_>>());
    check_ints(&(0..rows).map(|i| i / 100).collect::<Vec<_>>());
    check_ints(&(0..rows).map(|i| i * i % 1009).collect::<Vec<_>>());
    check_ints(&(0..rows).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect::<Vec<_>>());
    check_ints(
        &(0..rows).map(|i| to_ordered(1_700_000_000_000_000) + i * 15_000_000 + i % 7).collect::<Vec<_>>(),
    );
    for width in 0..64 {
        check_ints(&(0..100).map(|i| (1 << width) * (i % 2)).collect::<Vec<_>>());
    }
}

#[test]
fn the_order_of_signed_numbers_is_kept() {
    for pair in [i64::MIN, -2, -1, 0, 1, i64::MAX].windows(2) {
        assert!(to_ordered(pair[0]) < to_ordered(pair[1]));
        assert_eq!(from_ordered(to_ordered(pair[0])), pair[0]);
    }
}

#[test]
fn a_sequence_takes_no_byte_a_row() {
    let mut bytes = Vec::new();
    encode_ints(&(1..=8192).collect::<Vec<_>>(), &mut bytes);
    assert!(bytes.len() < 16, "{}", bytes.len());
}

#[test]
fn doubles_of_every_shape_come_back_bit_for_bit() {
    check_floats(&[]);
    check_floats(&[f64::NAN, -0.0, 0.0, f64::INFINITY, f64::from_bits(0x7ff8_dead_beef_0001)]);
    let steps: Vec<f64> = (0..8192).map(|i| f64::from(i % 1000) / 100.0).collect();
    check_floats(&steps);
    let mut noise: Vec<f64> =
        (0..8192_u64).map(|i| f64::from_bits(i.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    check_floats(&noise);
    noise[17] = f64::from_bits(0xfff0_0000_0000_0001);
    check_floats(&noise);
    let mut decimals = steps;
    decimals[100] = f64::from_bits(0x7ff0_0000_0000_0042);
    decimals[101] = -0.0;
    check_floats(&decimals);
}

#[test]
fn text_takes_the_encoding_that_fits_it() {
    let text = |f: fn(u64) -> String| (0..500).map(|i| Some(f(i).into_bytes())).collect::<Vec<_>>();
    assert_eq!(check_strings(&text(|i| format!("page-{}", i % 9))), 1);
    assert_eq!(check_strings(&text(|i| format!("/item/{i}"))), 0);
    let uuid =
        |i: u64| format!("{:08x}-0000-7000-8000-{i:012x}", i.wrapping_mul(0x9e37_79b1) >> 3 & 0xffff_ffff);
    let mut uuids = text(uuid);
    assert_eq!(check_strings(&uuids), 2);
    uuids[3] = None;
    assert_eq!(check_strings(&uuids), 2);
    uuids[4] = Some(b"0000000A-0000-7000-8000-000000000001".to_vec());
    assert_eq!(check_strings(&uuids), 0, "upper case is not canonical");
    check_strings(&[]);
    check_strings(&vec![None; 70]);
    check_strings(&[Some(Vec::new()), None]);
}

#[test]
fn absent_codes_and_the_largest_code_come_back() {
    let codes = [0, NULL_CODE, NULL_CODE - 1, 5];
    let mut bytes = Vec::new();
    encode_codes(&codes, &mut bytes);
    assert_eq!(decode_codes(&bytes, 4).unwrap(), codes);
}

proptest! {
    #[test]
    fn any_numbers_come_back(values in prop::collection::vec(prop_oneof![any::<u64>(), 0..9_u64], 0..300)) {
        check_ints(&values);
    }

    #[test]
    fn any_doubles_come_back(bits in prop::collection::vec(prop_oneof![any::<u64>(), 0..3_u64], 0..300)) {
        check_floats(&bits.into_iter().map(f64::from_bits).collect::<Vec<_>>());
    }

    #[test]
    fn any_text_comes_back(values in prop::collection::vec(prop::option::of("[a-c]{0,3}|.{0,40}"), 0..200)) {
        check_strings(&values.into_iter().map(|v| v.map(String::into_bytes)).collect::<Vec<_>>());
    }

    #[test]
    fn random_bytes_are_refused_or_decoded_but_never_a_panic(
        tag in 0..8_u8, zstd in any::<bool>(), body in prop::collection::vec(any::<u8>(), 0..200), rows in 0..8192_usize,
    ) {
        let mut bytes = vec![tag | if zstd { 0x80 } else { 0 }];
        bytes.extend(body);
        if let Ok(values) = decode_ints(&bytes, rows) { prop_assert_eq!(values.len(), rows); }
        if let Ok(values) = decode_floats(&bytes, rows) { prop_assert_eq!(values.len(), rows); }
        if let Ok(values) = decode_codes(&bytes, rows) { prop_assert_eq!(values.len(), rows); }
        if let Ok(values) = decode_strings(&bytes, rows) { prop_assert_eq!(values.into_plain().len(), rows); }
    }

    #[test]
    fn damaged_encodings_are_refused_or_decoded_but_never_a_panic(
        seed in any::<u64>(), shape in 0..5, at in any::<prop::sample::Index>(), bits in 1..=255_u8,
    ) {
        let values: Vec<u64> = (0..600_u64).map(|i| match shape {
            0 => i / 50,
            1 => (i ^ seed) % 1000,
            2 => i.wrapping_mul(seed | 1),
            3 => seed / 2 + i * 1000 + (i * 7) % 13,
            _ => i.pow(3),
        }).collect();
        let mut ints = Vec::new();
        encode_ints(&values, &mut ints);
        let mut floats = Vec::new();
        #[expect(clippy::cast_precision_loss, reason = "any doubles will do")]
        encode_floats(&values.iter().map(|v| *v as f64 / 8.0).collect::<Vec<_>>(), &mut floats);
        let mut text = Vec::new();
        encode_strings(&column(&values.iter().map(|v| Some(v.to_string().into_bytes())).collect::<Vec<_>>()), &mut text);
        for bytes in [&mut ints, &mut floats, &mut text] {
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
        }
        let _ = decode_ints(&ints, 600);
        let _ = decode_floats(&floats, 600);
        let _ = decode_strings(&text, 600);
    }
}

/// One input for every encoding of numbers, doubles, codes and text.
fn every_encoding() -> Vec<u8> {
    let mut out = Vec::new();
    let rising: Vec<u64> = (0..300).map(|i| 1_700_000_000 + i * 15).collect();
    let mixed: Vec<u64> = (0..300).map(|i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    let runs: Vec<u64> = (0..300).map(|i| i / 100).collect();
    let small: Vec<u64> = (0..300).map(|i| i * 37 % 11).collect();
    for values in [&[7; 300][..], &rising, &mixed, &runs, &small] {
        encode_ints(values, &mut out);
    }
    let decimals: Vec<f64> = (0..300).map(|i| f64::from(i % 97) / 10.0).collect();
    for values in [&[0.5; 300][..], &decimals, &[f64::NAN, -0.0, f64::INFINITY, 1e-300]] {
        encode_floats(values, &mut out);
    }
    encode_codes(&[3, NULL_CODE, 3, 9], &mut out);
    let names: Vec<_> =
        (0..200).map(|i| (i % 7 != 0).then(|| format!("page-{}", i % 5).into_bytes())).collect();
    let uuids: Vec<_> =
        (0..3).map(|i| Some(format!("00000000-0000-4000-8000-00000000000{i}").into_bytes())).collect();
    let texts: Vec<_> =
        (0..40).map(|i| Some(format!("a text of its own, number {i}").into_bytes())).collect();
    for values in [names, uuids, texts] {
        encode_strings(&column(&values), &mut out);
    }
    out
}

#[test]
fn the_bytes_of_every_encoding_are_the_ones_of_before() {
    crate::golden::check("codec.bin", &every_encoding());
}
