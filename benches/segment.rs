//! Segments as wholes: writing 100,000 rows the way a flush does, reading columns and paths cold and warm.
#![expect(clippy::unwrap_used, reason = "a bench that cannot set up its input has nothing to measure")]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use insights_benches::{granules, quick, segment_columns, write_granules};
use insights_engine::codec::Density;
use insights_engine::disk::{Disk, os::OsDisk};
use insights_engine::id::{FileId, Stream};
use insights_engine::part::Part;
use insights_engine::schema::{ColumnId, ColumnVector, stream as columns};
use insights_engine::segment::{BlockCache, GRANULE_ROWS, SegmentReader};

const ROWS: usize = 100_000;

fn write(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let disk = OsDisk::open(dir.path()).unwrap();
    let mut group = quick(c, "segment/write");
    group.sample_size(10).throughput(Throughput::Elements(ROWS as u64));
    for stream in [Stream::Events, Stream::Metrics] {
        let granules = granules(stream, &segment_columns(stream, ROWS, 1)).unwrap();
        let write = || write_granules(&disk, Path::new("1.seg"), (stream, Density::Fast), &granules).unwrap();
        let path = PathBuf::from("1.seg");
        let written = write();
        group.bench_function(format!("{stream}/{ROWS}"), |b| {
            b.iter_batched(|| drop(disk.remove(&path)), |()| write(), BatchSize::PerIteration);
        });
        // What the disk alone takes for as many bytes.
        let bytes = vec![0x5A; usize::try_from(written.bytes).unwrap()];
        group.bench_function(format!("{stream}/{ROWS}/raw_write_and_sync_of_{}_bytes", bytes.len()), |b| {
            b.iter_batched(
                || drop(disk.remove(&path)),
                |()| {
                    let file = disk.create(&path).unwrap();
                    file.write_at(0, &bytes).unwrap();
                    file.sync().unwrap();
                },
                BatchSize::PerIteration,
            );
        });
        disk.remove(&path).unwrap();
    }
    group.finish();
}

fn read_all(reader: &SegmentReader, stream: Stream, column: ColumnId, path: Option<&[String]>) {
    for granule in 0..ROWS.div_ceil(GRANULE_ROWS) {
        black_box(match path {
            Some(path) => reader.path(stream, column, path, granule).unwrap(),
            None => reader.column(stream, column, granule).unwrap(),
        });
    }
}

/// Bytes of a column's values in memory.
fn decoded_bytes(reader: &SegmentReader, column: ColumnId, path: Option<&[String]>) -> usize {
    let of = |vector: &ColumnVector| match vector {
        ColumnVector::I64(values, _) => values.len() * 8,
        ColumnVector::Codes(codes) | ColumnVector::Dict { codes, .. } => codes.len() * 4,
        ColumnVector::Bytes(text) => text.memory_bytes(),
        _ => GRANULE_ROWS * 8,
    };
    let granules = 0..ROWS.div_ceil(GRANULE_ROWS);
    let read = granules.map(|granule| match path {
        Some(path) => reader.path(Stream::Events, column, path, granule).unwrap(),
        None => reader.column(Stream::Events, column, granule).unwrap(),
    });
    read.map(|vector| of(&vector)).sum()
}

fn scan(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let disk = OsDisk::open(dir.path()).unwrap();
    let path = Path::new("1.seg");
    let granules = granules(Stream::Events, &segment_columns(Stream::Events, ROWS, 1)).unwrap();
    let written = write_granules(&disk, path, (Stream::Events, Density::Fast), &granules).unwrap();
    let open = |cache| {
        let cache = BlockCache::new(cache);
        SegmentReader::open(&disk, path, FileId(1), Some(written.footer_hash), cache).unwrap()
    };
    let page = ["page".to_owned()];
    let cases: [(&str, ColumnId, Option<&[String]>); 4] = [
        ("time", columns::TIME.id, None),
        ("user", columns::USER_ID.id, None),
        ("page", columns::EVENT_DATA.id, Some(&page)),
        ("documents", columns::EVENT_DATA.id, None),
    ];
    let mut group = quick(c, &format!("segment/scan/{ROWS}_events_in_{}_bytes", written.bytes));
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, column, path) in cases {
        let (decoding, cached): (Arc<SegmentReader>, _) = (open(0), open(1 << 30));
        group.bench_function(format!("{name}/decode"), |b| {
            b.iter(|| read_all(&decoding, Stream::Events, column, path));
        });
        group.bench_function(format!("{name}/cached"), |b| {
            b.iter(|| read_all(&cached, Stream::Events, column, path));
        });
        // Memory alone: the decoded values of the column, copied.
        let bytes = vec![0x5A_u8; decoded_bytes(&cached, column, path)];
        group.bench_function(format!("{name}/copy_of_{}_bytes", bytes.len()), |b| {
            b.iter(|| black_box(&bytes).clone());
        });
    }
    group.finish();
}

criterion_group!(benches, write, scan);
criterion_main!(benches);
