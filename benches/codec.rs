//! Encodings of one granule: each kind of column in both densities, beside zstd alone and a copy of the same
//! bytes. The names say how many bytes a value takes.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use insights_benches::{Random, latencies, quick, times};
use insights_engine::codec::{
    Density, decode_codes, decode_floats, decode_ints, decode_strings, encode_codes_at, encode_floats_at,
    encode_ints_at, encode_ints_in_runs, encode_strings_at, to_ordered,
};
use insights_engine::schema::BytesColumn;

const ROWS: usize = 8192;

type Encode = Box<dyn Fn(Density, &mut Vec<u8>)>;
type Decode = fn(&[u8]);

/// A column of a granule.
struct Column {
    name: &'static str,
    /// Its values as they are in memory.
    raw: Vec<u8>,
    encode: Encode,
    decode: Decode,
}

fn ints(name: &'static str, values: Vec<u64>) -> Column {
    Column {
        name,
        raw: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        encode: Box::new(move |density, out| encode_ints_at(&values, density, out)),
        decode: |bytes| drop(black_box(decode_ints(bytes, ROWS))),
    }
}

/// Numbers of series that were read at the same moments: `ROWS / 256` runs of 256.
fn series(name: &'static str, run: &[u64]) -> Column {
    let values: Vec<u64> = run.iter().copied().cycle().take(ROWS).collect();
    let lens = vec![run.len(); ROWS / run.len()];
    Column {
        name,
        raw: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        encode: Box::new(move |density, out| match density {
            Density::Fast => encode_ints_at(&values, density, out),
            Density::Dense => encode_ints_in_runs(&values, &lens, density, out),
        }),
        decode: |bytes| drop(black_box(decode_ints(bytes, ROWS))),
    }
}

fn floats(name: &'static str, values: Vec<f64>) -> Column {
    Column {
        name,
        raw: values.iter().flat_map(|v| v.to_bits().to_le_bytes()).collect(),
        encode: Box::new(move |density, out| encode_floats_at(&values, density, out)),
        decode: |bytes| drop(black_box(decode_floats(bytes, ROWS))),
    }
}

fn codes(name: &'static str, values: Vec<u32>) -> Column {
    Column {
        name,
        raw: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        encode: Box::new(move |density, out| encode_codes_at(&values, density, out)),
        decode: |bytes| drop(black_box(decode_codes(bytes, ROWS))),
    }
}

fn texts(name: &'static str, mut value: impl FnMut() -> String) -> Column {
    let mut column = BytesColumn::new();
    (0..ROWS).for_each(|_| column.push(Some(value().as_bytes())));
    Column {
        name,
        raw: column.bytes().to_vec(),
        encode: Box::new(move |density, out| encode_strings_at(&column, density, out)),
        decode: |bytes| drop(black_box(decode_strings(bytes, ROWS))),
    }
}

fn uuid(n: u64) -> String {
    let hash = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{:08x}-{:04x}-4222-8333-{:012x}", hash >> 32, hash & 0xffff, hash >> 16)
}

fn columns() -> Vec<Column> {
    let mut random = Random(1);
    let instants: Vec<u64> = times(ROWS, &mut random).into_iter().map(to_ordered).collect();
    let run = instants.get(..256).unwrap_or(&instants).to_vec();
    let mut walk = 40.0;
    let gauge = (0..ROWS).map(|_| {
        walk += f64::from(u32::try_from(random.draw() % 200).unwrap_or(0)) / 100.0 - 1.0;
        f64::round(walk * 100.0) / 100.0
    });
    let gauge = gauge.collect();
    let mut session = 0_u64;
    let mut pages = Random(2);
    let mut sessions = Random(3);
    let mut requests = Random(4);
    let mut addresses = Random(5);
    let mut notes = Random(6);
    vec![
        ints("time", instants),
        series("time_of_series", &run),
        ints("seq", (1..=ROWS as u64).collect()),
        floats("latency", latencies(ROWS, &mut random)),
        floats("gauge", gauge),
        codes("user_code", (0..ROWS).filter_map(|_| u32::try_from(random.skewed(5000)).ok()).collect()),
        texts("page", move || format!("/page/{}", pages.skewed(300))),
        texts("session", move || {
            session += u64::from(sessions.draw().is_multiple_of(12));
            uuid(session.saturating_sub(sessions.draw() % 8))
        }),
        texts("request_hex", move || format!("{:016x}", requests.draw())),
        texts("address", move || format!("10.{}.{}.7", addresses.draw() % 250, addresses.draw() % 250)),
        texts("description", move || {
            format!("project #{} moved to #{}", notes.draw() % 5000, notes.draw() % 90)
        }),
    ]
}

fn codec(c: &mut Criterion) {
    for Column { name, raw, encode, decode } in columns() {
        for (density, label) in [(Density::Fast, "fast"), (Density::Dense, "dense")] {
            let mut encoded = Vec::new();
            encode(density, &mut encoded);
            let bytes = bytes_a_value(encoded.len());
            let mut group = quick(c, &format!("codec/{name}/{label}_{bytes}"));
            group.throughput(Throughput::Bytes(raw.len() as u64));
            group.bench_function("encode", |b| {
                b.iter(|| {
                    let mut out = Vec::new();
                    encode(density, &mut out);
                    out
                });
            });
            group.bench_function("decode", |b| b.iter(|| decode(black_box(&encoded))));
            group.finish();
        }
        let frame = zstd::bulk::compress(&raw, 3).unwrap_or_default();
        let mut group = quick(c, &format!("codec/{name}/zstd3_{}", bytes_a_value(frame.len())));
        group.throughput(Throughput::Bytes(raw.len() as u64));
        group.bench_function("encode", |b| b.iter(|| zstd::bulk::compress(black_box(&raw), 3)));
        group.bench_function("decode", |b| b.iter(|| zstd::bulk::decompress(black_box(&frame), raw.len())));
        group.finish();
        let mut group = quick(c, &format!("codec/{name}/copy_{}", bytes_a_value(raw.len())));
        group.throughput(Throughput::Bytes(raw.len() as u64));
        group.bench_function("copy", |b| b.iter(|| black_box(&raw).clone()));
        group.finish();
    }
}

#[expect(clippy::cast_precision_loss, reason = "a granule has few bytes")]
fn bytes_a_value(bytes: usize) -> String {
    format!("{:.2}_bytes", bytes as f64 / ROWS as f64)
}

criterion_group!(benches, codec);
criterion_main!(benches);
