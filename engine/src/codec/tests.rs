//! Round trips of every encoding, and hostile bytes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::blocks::put_numbers;
use super::*;
use crate::schema::{BytesColumn, NULL_CODE};

fn check_ints(values: &[u64]) {
    for density in [Density::Fast, Density::Dense] {
        let mut bytes = Vec::new();
        encode_ints_at(values, density, &mut bytes);
        assert_eq!(decode_ints(&bytes, values.len()).unwrap(), values);
    }
}

fn check_floats(values: &[f64]) {
    let bits = |v: &[f64]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    for density in [Density::Fast, Density::Dense] {
        let mut bytes = Vec::new();
        encode_floats_at(values, density, &mut bytes);
        assert_eq!(bits(&decode_floats(&bytes, values.len()).unwrap()), bits(values));
    }
}

fn column(values: &[Option<Vec<u8>>]) -> BytesColumn {
    let mut out = BytesColumn::new();
    for value in values {
        out.push(value.as_deref());
    }
    out
}

fn check_strings(values: &[Option<Vec<u8>>]) -> u8 {
    check_dense(values);
    let column = column(values);
    let mut bytes = Vec::new();
    encode_strings(&column, &mut bytes);
    assert_eq!(decode_strings(&bytes, column.len()).unwrap().into_plain(), column);
    bytes[0]
}

/// The name of the dense encoding of text, which comes back.
fn check_dense(values: &[Option<Vec<u8>>]) -> &'static str {
    let column = column(values);
    let mut bytes = Vec::new();
    encode_strings_at(&column, Density::Dense, &mut bytes);
    let decoded = decode_strings(&bytes, column.len()).unwrap();
    assert_eq!(decoded.clone().into_plain(), column);
    let (codes, texts) = decoded.into_dictionary();
    let back: Vec<_> = codes.iter().map(|code| texts.get(*code as usize).map(<[u8]>::to_vec)).collect();
    assert_eq!(back, values);
    encoding_name(Values::Text, &bytes)
}

#[test]
fn text_that_stays_is_written_as_what_it_was_written_out_from() {
    let hash = |i: u64| i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let text = |f: &dyn Fn(u64) -> String| (0..500).map(|i| Some(f(i).into_bytes())).collect::<Vec<_>>();
    let address = |i: u64| std::net::Ipv4Addr::from(u32::try_from(hash(i) >> 32).unwrap()).to_string();
    let mut hex = text(&|i| format!("{:016x}", hash(i)));
    assert_eq!(check_dense(&hex), "hex");
    hex[9] = None;
    hex[10] = Some(Vec::new());
    assert_eq!(check_dense(&hex), "hex");
    hex[11] = Some(b"0A".to_vec());
    assert_eq!(check_dense(&hex), "plain", "upper case would not come back");
    assert_eq!(check_dense(&text(&address)), "ipv4");
    assert_eq!(check_dense(&text(&|i| (hash(i) >> 3).to_string())), "decimal");
    let mut sentences = text(&|i| format!("project #{i} of {} moved to 00{}", hash(i) >> 50, i % 7));
    assert_eq!(check_dense(&sentences), "template");
    sentences[3] = None;
    sentences[4] = Some(b"99999999999999999999999 is too long, 007 too short".to_vec());
    assert_eq!(check_dense(&sentences), "template");
    sentences[5] = Some(b"a\0b 5".to_vec());
    assert_eq!(check_dense(&sentences), "plain");
    let sessions = text(&|i| format!("{:08x}-1111-4222-8333-{:012x}", hash(i / 9) >> 32, hash(i / 9) >> 16));
    assert_eq!(check_dense(&sessions), "recent");
    assert_eq!(check_dense(&text(&|i| format!("page {}", hash(i) >> 60))), "first seen");
}

#[test]
fn numbers_inside_of_numbers_do_not_nest_without_end() {
    // Repeats whose first list is a compressed section of repeats, and so on: a stack would not hold them.
    let mut bytes = vec![0, 1];
    for _ in 0..20_000 {
        let mut body = vec![1];
        put_varint(bytes.len() as u64, &mut body);
        body.extend_from_slice(&bytes);
        let mut outer = vec![0x85];
        put_varint(body.len() as u64, &mut outer);
        put_varint(body.len() as u64, &mut outer);
        outer.extend_from_slice(&body);
        bytes = outer;
        if bytes.len() > 100_000 {
            break;
        }
    }
    assert!(decode_ints(&bytes, 8192).is_err());
    assert!(decode_ints(&[5, 1, 2, 5, 1], 1).is_err());
}

#[test]
fn a_template_of_endless_numbers_is_refused_before_they_are_made() {
    // One template of a million slots, each a constant of 8,192 rows: three bytes become 64 KiB.
    let (rows, slots) = (8192, 1_000_000);
    let mut bytes = vec![6];
    put_numbers(&vec![1; rows], Density::Dense, &mut bytes);
    put_varint(1, &mut bytes);
    put_numbers(&[slots as u64], Density::Dense, &mut bytes);
    section::put_section_at(&vec![0; slots], Density::Dense, &mut bytes);
    put_numbers(&vec![0; rows], Density::Dense, &mut bytes);
    for _ in 0..slots {
        bytes.extend_from_slice(&[2, 0, 7]);
    }
    assert!(decode_strings(&bytes, rows).is_err());
}

/// Runs of one length that repeat each other but for some rows.
fn repeated(runs: usize, len: usize, every: usize) -> (Vec<u64>, Vec<usize>) {
    let noise = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50;
    let base: Vec<u64> = (0..len).map(|i| 1_000_000 * i as u64 + noise(i)).collect();
    let value = |i: usize| base[i % len] + if i % every == every - 1 { noise(i) } else { 0 };
    ((0..runs * len).map(value).collect(), vec![len; runs])
}

#[test]
fn runs_that_repeat_each_other_take_hardly_more_than_one() {
    let (values, lens) = repeated(6, 300, 100);
    let (mut together, mut one) = (Vec::new(), Vec::new());
    encode_ints_in_runs(&values, &lens, Density::Dense, &mut together);
    encode_ints_at(&values[..300], Density::Dense, &mut one);
    assert_eq!(encoding_name(Values::Numbers, &together), "repeat");
    assert!(together.len() < one.len() + 150, "{} {}", together.len(), one.len());
    assert_eq!(decode_ints(&together, values.len()).unwrap(), values);
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
    fn numbers_in_any_runs_come_back(
        lens in prop::collection::vec(1..40_usize, 1..20), every in 2..50_usize, at in any::<prop::sample::Index>(),
        bits in 0..=255_u8,
    ) {
        let rows: usize = lens.iter().sum();
        let (values, _) = repeated(rows.div_ceil(40), 40, every);
        let values = &values[..rows];
        let mut bytes = Vec::new();
        encode_ints_in_runs(values, &lens, Density::Dense, &mut bytes);
        prop_assert_eq!(&decode_ints(&bytes, rows).unwrap(), values);
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        if let Ok(values) = decode_ints(&bytes, rows) { prop_assert_eq!(values.len(), rows); }
    }

    #[test]
    fn damaged_text_that_stays_is_refused_or_decoded_but_never_a_panic(
        shape in 0..6, seed in any::<u64>(), at in any::<prop::sample::Index>(), bits in 1..=255_u8,
    ) {
        let hash = |i: u64| (i ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let text = |i: u64| match shape {
            0 => format!("{:016x}", hash(i)),
            1 => std::net::Ipv4Addr::from(u32::try_from(hash(i) >> 32).unwrap()).to_string(),
            2 => (hash(i) >> 5).to_string(),
            3 => format!("row {i} of {}", hash(i) >> 52),
            4 => format!("session {}", hash(i / 7)),
            _ => format!("{:08x}-1111-4222-8333-{:012x}", hash(i) >> 32, hash(i) >> 16),
        };
        let values: Vec<_> = (0..200).map(|i| (i % 11 != 3).then(|| text(i).into_bytes())).collect();
        let mut bytes = Vec::new();
        encode_strings_at(&column(&values), Density::Dense, &mut bytes);
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        if let Ok(strings) = decode_strings(&bytes, 200) { prop_assert_eq!(strings.into_plain().len(), 200); }
    }

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
        tag in 0..12_u8, zstd in any::<bool>(), body in prop::collection::vec(any::<u8>(), 0..200), rows in 0..8192_usize,
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

/// One input for every encoding of numbers, doubles, codes and text, each as it is written.
fn every_encoding() -> Vec<(Values, Vec<u8>)> {
    let mut out = Vec::new();
    let rising: Vec<u64> = (0..300).map(|i| 1_700_000_000 + i * 15).collect();
    let mixed: Vec<u64> = (0..300).map(|i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    let runs: Vec<u64> = (0..300).map(|i| i / 100).collect();
    let small: Vec<u64> = (0..300).map(|i| i * 37 % 11).collect();
    // A fifth are bytes that come again: zstd gains that, and pco no quarter.
    let noise = |n: u64| {
        let n = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 48
    };
    let wide: Vec<u64> = (0..300).map(|i| noise(i % 240)).collect();
    let steps: Vec<u64> =
        wide.iter().scan(0, |sum, step| Some(std::mem::replace(sum, *sum + step / 2))).collect();
    let turns: Vec<u64> = wide.iter().flat_map(|value| [*value; 12]).collect();
    let squares: Vec<u64> = (0..300).map(|i| 1_000_000_000 + 7 * i * i).collect();
    for values in [&[7; 300][..], &rising, &mixed, &runs, &small, &wide, &steps, &turns, &squares] {
        out.push(written(Values::Numbers, |out| encode_ints(values, out)));
    }
    let decimals: Vec<f64> = (0..300).map(|i| f64::from(i % 97) / 10.0).collect();
    for values in [&[0.5; 300][..], &decimals, &[f64::NAN, -0.0, f64::INFINITY, 1e-300]] {
        out.push(written(Values::Doubles, |out| encode_floats(values, out)));
    }
    out.push(written(Values::Numbers, |out| encode_codes(&[3, NULL_CODE, 3, 9], out)));
    let names: Vec<_> =
        (0..200).map(|i| (i % 7 != 0).then(|| format!("page-{}", i % 5).into_bytes())).collect();
    let uuids: Vec<_> =
        (0..3).map(|i| Some(format!("00000000-0000-4000-8000-00000000000{i}").into_bytes())).collect();
    let texts: Vec<_> =
        (0..40).map(|i| Some(format!("a text of its own, number {i}").into_bytes())).collect();
    for values in [names, uuids, texts] {
        out.push(written(Values::Text, |out| encode_strings(&column(&values), out)));
    }
    every_dense_encoding(&mut out);
    out
}

fn written(values: Values, write: impl FnOnce(&mut Vec<u8>)) -> (Values, Vec<u8>) {
    let mut bytes = Vec::new();
    write(&mut bytes);
    (values, bytes)
}

/// The encodings of rows that stay.
fn every_dense_encoding(out: &mut Vec<(Values, Vec<u8>)>) {
    let (values, lens) = repeated(5, 60, 20);
    out.push(written(Values::Numbers, |out| encode_ints_in_runs(&values, &lens, Density::Dense, out)));
    let text: [fn(u64) -> String; 6] = [
        |i| format!("{:016x}", (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        |i| format!("10.{}.{}.1", i % 250, i / 250),
        |i| (i * 7_919).to_string(),
        |i| format!("project #{i} moved"),
        |i| format!("s{}", i / 5 * 104_729),
        |i| format!("page {}", i * i % 11),
    ];
    for text in text {
        let values: Vec<_> = (0..300).map(|i| (i % 50 != 7).then(|| text(i).into_bytes())).collect();
        out.push(written(Values::Text, |out| encode_strings_at(&column(&values), Density::Dense, out)));
    }
}

#[test]
fn the_bytes_of_every_encoding_are_the_ones_of_before() {
    let all = every_encoding();
    let bytes: Vec<u8> = all.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    crate::golden::check("codec.bin", &bytes);
    let of = |kind| {
        let own = all.iter().filter(move |(values, _)| *values == kind);
        own.map(|(values, bytes)| encoding_name(*values, bytes)).collect::<BTreeSet<_>>()
    };
    let numbers =
        ["constant", "delta", "delta+zstd", "frame", "frame+zstd", "pco", "repeat", "runs", "runs+zstd"];
    assert_eq!(of(Values::Numbers), numbers.into());
    assert_eq!(of(Values::Doubles), ["constant", "pco", "raw"].into());
    let text = ["decimal", "dictionary", "first seen", "hex", "ipv4", "plain", "recent", "template", "uuid"];
    assert_eq!(of(Values::Text), text.into());
}
