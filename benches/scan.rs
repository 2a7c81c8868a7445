//! Raw scans: a filter and a group by over two columns of encoded granules, nothing cached, on one core.
#![expect(clippy::expect_used, reason = "a bench that cannot run should say so and stop")]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use insights_benches::{Decimal, Random, granules, quick, segment_columns, write_granules};
use insights_engine::codec::Density;
use insights_engine::disk::{Disk, os::OsDisk};
use insights_engine::id::{FileId, Lsn, Stream};
use insights_engine::part::Part;
use insights_engine::query::{
    Aggregate, Budget, Field, Filter, GroupBy, Literal, Op, Query, Scope, Snapshot, Stop, aggregate,
};
use insights_engine::schema::stream::{APP_ID, EVENT_TYPE, NAME, VALUE};
use insights_engine::schema::{ColumnDef, Schema};
use insights_engine::segment::{BlockCache, SegmentColumn, SegmentReader};
use insights_engine::time::TimeRange;

const ROWS: usize = 1_000_000;
/// Applications that events are of, and types that they have; metrics that points are of.
const APPS: u64 = 8;
const TYPES: u64 = 30;
const NAMES: u64 = 12;

/// A segment with a million rows of one tenant and day, and nothing between it and its bytes but the page cache.
fn segment(
    disk: &dyn Disk,
    stream: Stream,
    density: Density,
    codes: &[(ColumnDef, u64)],
) -> Arc<SegmentReader> {
    let mut columns = segment_columns(stream, ROWS, 1);
    let mut random = Random(2);
    for (column, def) in columns.iter_mut().zip(Schema::of(stream).columns) {
        if let Some((_, count)) = codes.iter().find(|(code, _)| code.id == def.id) {
            let mut code = || u32::try_from(random.skewed(*count)).expect("a code");
            *column = SegmentColumn::Codes((0..ROWS).map(|_| code()).collect());
        }
    }
    let path = PathBuf::from(format!("{stream}-{density:?}.seg"));
    let granules = granules(stream, &columns).expect("columns of the stream");
    let written = write_granules(disk, &path, (stream, density), &granules).expect("a disk with room");
    SegmentReader::open(disk, Path::new(&path), FileId(1), Some(written.footer_hash), BlockCache::new(0))
        .expect("what was written")
}

fn question(stream: Stream, filter: Filter, by: &ColumnDef) -> Query {
    Query {
        scope: Scope::All,
        stream,
        window: TimeRange::ALL,
        filter,
        group_by: vec![GroupBy::Field(Field::Column(by.id))],
        aggregates: vec![Aggregate::Count],
        budget: Budget::default(),
        rows_only: true,
        allow_partial: false,
    }
}

fn scan(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = OsDisk::open(dir.path()).expect("a directory");
    let of_app = Filter::Compare(Field::Column(APP_ID.id), Op::Is(Literal::Str("3".to_owned())));
    let above = Filter::Compare(Field::Column(VALUE.id), Op::Gt(Literal::F64(60.0)));
    let events = [(APP_ID, APPS), (EVENT_TYPE, TYPES)];
    let metrics = [(NAME, NAMES)];
    let cases = [
        ("code_by_code", question(Stream::Events, of_app, &EVENT_TYPE), &events[..], 8_u8),
        ("number_by_code", question(Stream::Metrics, above, &NAME), &metrics[..], 12),
    ];
    for (name, query, codes, bytes) in cases {
        let mut group = quick(c, &format!("query/scan/{name}"));
        group.throughput(Throughput::Elements(ROWS as u64));
        for density in [Density::Fast, Density::Dense] {
            let part: Arc<dyn Part> = segment(&disk, query.stream, density, codes);
            let snapshot = Snapshot {
                parts: vec![part],
                codes: Arc::new(Decimal),
                tenants: Arc::new(Decimal),
                hidden: Arc::default(),
                lsn: Lsn(1),
                stop: Stop::never(),
            };
            let answer = aggregate(&snapshot, &query).expect("an answer");
            assert_eq!(answer.cost.rows_scanned, ROWS as u64, "every row is looked at");
            assert!(answer.groups.len() > 5, "{} groups", answer.groups.len());
            group.bench_function(format!("{density:?}").to_lowercase(), |b| {
                b.iter(|| black_box(aggregate(black_box(&snapshot), black_box(&query)).expect("an answer")));
            });
        }
        // Memory alone: the two decoded columns, copied.
        let decoded = vec![0x5A_u8; usize::from(bytes) * ROWS];
        group.bench_function(format!("copy_of_{}_bytes", decoded.len()), |b| {
            b.iter(|| black_box(black_box(&decoded).clone()));
        });
        group.finish();
    }
}

criterion_group!(benches, scan);
criterion_main!(benches);
