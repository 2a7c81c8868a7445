//! Encodings of one granule: each kind of column, beside zstd alone and a copy of the same bytes.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use insights_benches::{Random, latencies, quick, times};
use insights_engine::codec::{
    decode_codes, decode_floats, decode_ints, decode_strings, encode_codes, encode_floats, encode_ints,
    encode_strings, to_ordered,
};
use insights_engine::schema::BytesColumn;

const ROWS: usize = 8192;

type Encode = Box<dyn Fn(&mut Vec<u8>)>;
type Decode = Box<dyn Fn(&[u8])>;

/// Name, bytes of the values as they are in memory, encoder, decoder.
fn columns() -> Vec<(&'static str, Vec<u8>, Encode, Decode)> {
    let mut random = Random(1);
    let mut out: Vec<(&'static str, Vec<u8>, Encode, Decode)> = Vec::new();
    let mut ints = |name, values: Vec<u64>| {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let decode: Decode = Box::new(|b| drop(black_box(decode_ints(b, ROWS))));
        out.push((name, raw, Box::new(move |b: &mut Vec<u8>| encode_ints(&values, b)), decode));
    };
    ints("time", times(ROWS, &mut random).into_iter().map(to_ordered).collect());
    ints("seq", (1..=ROWS as u64).collect());
    let floats = latencies(ROWS, &mut random);
    out.push((
        "latency",
        floats.iter().flat_map(|v| v.to_bits().to_le_bytes()).collect(),
        Box::new(move |b| encode_floats(&floats, b)),
        Box::new(|b| drop(black_box(decode_floats(b, ROWS)))),
    ));
    let codes: Vec<u32> = (0..ROWS).filter_map(|_| u32::try_from(random.skewed(5000)).ok()).collect();
    out.push((
        "user_code",
        codes.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Box::new(move |b| encode_codes(&codes, b)),
        Box::new(|b| drop(black_box(decode_codes(b, ROWS)))),
    ));
    let mut pages = BytesColumn::new();
    for _ in 0..ROWS {
        pages.push(Some(format!("/page/{}", random.skewed(300)).as_bytes()));
    }
    out.push((
        "page",
        pages.bytes().to_vec(),
        Box::new(move |b| encode_strings(&pages, b)),
        Box::new(|b| drop(black_box(decode_strings(b, ROWS)))),
    ));
    out
}

fn codec(c: &mut Criterion) {
    for (name, raw, encode, decode) in columns() {
        let mut encoded = Vec::new();
        encode(&mut encoded);
        let mut group = quick(c, &format!("codec/{name}/{}_bytes_of_{}", encoded.len(), raw.len()));
        group.throughput(Throughput::Elements(ROWS as u64));
        group.bench_function("encode", |b| {
            b.iter(|| {
                let mut out = Vec::new();
                encode(&mut out);
                out
            });
        });
        group.bench_function("decode", |b| b.iter(|| decode(black_box(&encoded))));
        let frame = zstd::bulk::compress(&raw, 3).unwrap_or_default();
        group.bench_function(format!("zstd3_decode_{}_bytes", frame.len()), |b| {
            b.iter(|| zstd::bulk::decompress(black_box(&frame), raw.len()));
        });
        group.bench_function("copy", |b| b.iter(|| black_box(&raw).clone()));
        group.finish();
    }
}

criterion_group!(benches, codec);
criterion_main!(benches);
