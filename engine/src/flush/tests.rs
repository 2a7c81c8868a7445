//! The order of rows in a segment against a table that is sorted whole.

use std::time::Duration;

use proptest::prelude::*;

use super::gather::add_identities;
use super::order::{RowRef, i64s, order, texts};
use super::*;
use crate::disk::sim::SimDisk;
use crate::id::TenantId;
use crate::memtable::NewRows;
use crate::part::Run;
use crate::schema::{BatchBuilder, ColumnDef, IdentityKind, NULL_CODE, Schema, stream};
use crate::segment::SegmentColumn;
use crate::time::{DAY_US, TimestampUs};

fn metric_rows(tenant: u32, points: &[(&str, i64)]) -> NewRows {
    let mut rows = BatchBuilder::new(TenantId::new("t").unwrap(), Stream::Metrics);
    for (name, at) in points {
        rows.str(&stream::NAME, Some(name)).i64(&stream::TIME, *at);
        rows.finish_row();
    }
    let columns = rows.build().into_columns();
    NewRows { tenant: TenantNo(tenant), stream: Stream::Metrics, columns, leaves: Vec::new() }
}

/// Codes of all identities in the order of their text.
fn codes(chunks: &[Arc<Chunk>]) -> FlushCodes {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    disk.create_dir(Path::new("dictionary")).unwrap();
    let set = DictionarySet::open(Arc::clone(&disk), &Version::default()).unwrap();
    let mut identities = Identities::new();
    add_identities(chunks, &mut identities).unwrap();
    FlushCodes::assign(identities, &set, &mut DictionaryWriter::new(disk, FileId(1))).unwrap()
}

#[test]
fn rows_come_by_tenant_day_series_and_time() {
    let mut memtable = Memtable::default();
    memtable.push(metric_rows(2, &[("cpu", 5)]), Duration::ZERO);
    memtable.push(metric_rows(1, &[("mem", DAY_US + 1), ("mem", 3), ("cpu", 9), ("cpu", 4)]), Duration::ZERO);
    memtable.push(metric_rows(1, &[("cpu", 4), ("mem", -1)]), Duration::ZERO);
    let chunks = memtable.chunks();
    let codes = codes(&chunks);
    let ordered = order(Stream::Metrics, &chunks, &codes).unwrap();
    let row = |r: &RowRef| {
        let chunk = &chunks[r.chunk as usize];
        let name = texts(chunk, &stream::NAME).unwrap().get_str(r.row as usize).unwrap().to_owned();
        (chunk.tenant().0, name, i64s(chunk, &stream::TIME).unwrap()[r.row as usize])
    };
    let rows: Vec<_> = ordered.rows.iter().map(row).collect();
    let expected = [
        (1, "mem", -1),
        (1, "cpu", 4),
        (1, "cpu", 4),
        (1, "cpu", 9),
        (1, "mem", 3),
        (1, "mem", DAY_US + 1),
        (2, "cpu", 5),
    ];
    assert_eq!(rows, expected.map(|(t, n, at)| (t, n.to_owned(), at)));
    let runs: Vec<_> =
        ordered.runs.iter().map(|r| (r.tenant.0, r.rows.clone(), r.min_time.0, r.max_time.0)).collect();
    assert_eq!(
        runs,
        vec![(1, 0..1, -1, -1), (1, 1..5, 3, 9), (1, 5..6, DAY_US + 1, DAY_US + 1), (2, 6..7, 5, 5)]
    );
}

/// A point as a client has it.
#[derive(Debug, Clone)]
struct Point {
    tenant: u32,
    at: i64,
    app: Option<u8>,
    host: Option<u8>,
    name: u8,
    labels: Option<u8>,
    value: i32,
}

fn point() -> impl Strategy<Value = Point> {
    // Few of everything, so that series, times and tenants meet again.
    let at = (-1_i64..3, 0_i64..4).prop_map(|(day, at)| day * DAY_US + at);
    let some = || prop::option::of(0_u8..3);
    (1_u32..4, at, some(), some(), 0_u8..3, some(), any::<i32>()).prop_map(
        |(tenant, at, app, host, name, labels, value)| Point { tenant, at, app, host, name, labels, value },
    )
}

fn text(of: &str, number: Option<u8>) -> Option<String> {
    number.map(|number| format!("{of}{number}"))
}

/// A batch for each stretch of points of one tenant.
fn remember(points: &[Point]) -> Memtable {
    let mut memtable = Memtable::default();
    for of_tenant in points.chunk_by(|a, b| a.tenant == b.tenant) {
        let mut rows = BatchBuilder::new(TenantId::new("t").unwrap(), Stream::Metrics);
        for point in of_tenant {
            rows.str(&stream::NAME, text("n", Some(point.name)).as_deref())
                .str(&stream::APP_ID, text("a", point.app).as_deref())
                .str(&stream::HOST, text("h", point.host).as_deref())
                .str(&stream::LABELS, text("l", point.labels).as_deref())
                .f64(&stream::VALUE, f64::from(point.value))
                .i64(&stream::TIME, point.at);
            rows.finish_row();
        }
        let (tenant, columns) = (TenantNo(of_tenant[0].tenant), rows.build().into_columns());
        memtable
            .push(NewRows { tenant, stream: Stream::Metrics, columns, leaves: Vec::new() }, Duration::ZERO);
    }
    memtable
}

/// The points as a segment has them: absent names last, absent labels first, what came first before.
fn sorted(points: &[Point]) -> Vec<Point> {
    let last = |name: &Option<u8>| name.unwrap_or(u8::MAX);
    let mut points = points.to_vec();
    points.sort_by_key(|p| {
        let series = (last(&p.app), last(&p.host), p.name, p.labels);
        (p.tenant, TimestampUs(p.at).day(), series, p.at)
    });
    points
}

/// A column of the table, with the codes that the flush gave.
fn expected(points: &[Point], def: &ColumnDef, codes: &FlushCodes) -> Option<SegmentColumn> {
    let code = |p: &Point, kind, text: Option<String>| {
        text.map_or(NULL_CODE, |text| codes.of(TenantNo(p.tenant), kind, text.as_bytes()).unwrap())
    };
    let column_of = |kind, of: &dyn Fn(&Point) -> Option<String>| {
        Some(SegmentColumn::Codes(points.iter().map(|p| code(p, kind, of(p))).collect()))
    };
    match def.id {
        id if id == stream::TIME.id => Some(SegmentColumn::I64(points.iter().map(|p| p.at).collect())),
        id if id == stream::VALUE.id => {
            Some(SegmentColumn::F64(points.iter().map(|p| f64::from(p.value)).collect()))
        }
        id if id == stream::NAME.id => column_of(IdentityKind::Name, &|p| text("n", Some(p.name))),
        id if id == stream::APP_ID.id => column_of(IdentityKind::App, &|p| text("a", p.app)),
        id if id == stream::HOST.id => column_of(IdentityKind::Name, &|p| text("h", p.host)),
        _ => None,
    }
}

/// Whose rows are and of which day, each row for itself.
fn days(points: &[Point]) -> Vec<(TenantNo, i32)> {
    points.iter().map(|p| (TenantNo(p.tenant), TimestampUs(p.at).day())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever a granule's size is, the rows that are gathered are those of the table, and so are pieces.
    #[test]
    fn rows_gathered_by_granules_are_the_whole_table_in_order(
        points in prop::collection::vec(point(), 1..80),
        granule_rows in 1_usize..30,
    ) {
        let memtable = remember(&points);
        let chunks = memtable.chunks();
        let codes = codes(&chunks);
        let Ordered { rows, runs } = order(Stream::Metrics, &chunks, &codes).unwrap();
        let gather = Gather::new(Stream::Metrics, &chunks, &codes).unwrap();
        let table = sorted(&points);
        prop_assert_eq!(rows.len(), table.len());
        let mut pieces = Pieces::new(&runs);
        for (granule, points) in rows.chunks(granule_rows).zip(table.chunks(granule_rows)) {
            let columns = gather.columns(granule).unwrap();
            for (def, column) in Schema::of(Stream::Metrics).columns.iter().zip(&columns) {
                prop_assert_eq!(column.len(), points.len());
                if let Some(expected) = expected(points, def, &codes) {
                    prop_assert_eq!(column, &expected, "{}", def.name);
                }
            }
            let expected: Vec<(TenantNo, usize)> =
                days(points).chunk_by(|a, b| a == b).map(|day| (day[0].0, day.len())).collect();
            prop_assert_eq!(pieces.take(granule.len()), expected);
        }
        prop_assert_eq!(pieces.take(1), vec![]);
    }

    /// Runs of any sizes, taken by uneven numbers of rows: nothing is lost, doubled or joined.
    #[test]
    fn pieces_are_runs_cut_where_they_are_taken(
        sizes in prop::collection::vec(1_u64..9, 0..12),
        takes in prop::collection::vec(0_usize..14, 0..30),
    ) {
        let mut runs: Vec<Run> = Vec::new();
        let mut naive = Vec::new();
        for (number, size) in (0_u32..).zip(&sizes) {
            let start = runs.last().map_or(0, |run| run.rows.end);
            let (tenant, at) = (TenantNo(number / 2), TimestampUs(0));
            runs.push(Run { tenant, rows: start..start + size, min_time: at, max_time: at });
            naive.extend((0..*size).map(|_| (number, tenant)));
        }
        let mut pieces = Pieces::new(&runs);
        let mut rest = naive.as_slice();
        for rows in takes {
            let (taken, others) = rest.split_at(rows.min(rest.len()));
            rest = others;
            let expected: Vec<(TenantNo, usize)> =
                taken.chunk_by(|a, b| a.0 == b.0).map(|run| (run[0].1, run.len())).collect();
            prop_assert_eq!(pieces.take(rows), expected);
        }
    }
}
