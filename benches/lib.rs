//! Seeded workloads for the benches.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use insights_engine::Result;
use insights_engine::codec::Density;
use insights_engine::codes::{Codes, Tenants};
use insights_engine::disk::Disk;
use insights_engine::id::{FileId, Lsn, Stream, TenantId, TenantNo};
use insights_engine::schema::{
    BytesColumn, ColumnDef, ColumnType, Document, IdentityKind, NULL_CODE, Schema, Value,
};
use insights_engine::segment::{GRANULE_ROWS, SegmentColumn, SegmentEnd, SegmentSummary, SegmentWriter};
use insights_engine::time::DAY_US;

/// A group that is measured for a second a figure: enough for what takes microseconds, and a whole run stays short.
pub fn quick<'a>(c: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(20);
    group
}

/// A small generator (`SplitMix64`), so that every run and every machine sees the same values.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number under `n`, the small ones more often: what identities and names look like.
    pub fn skewed(&mut self, n: u64) -> u64 {
        let (a, b) = (self.draw() % n, self.draw() % n);
        a * b / n
    }
}

/// Sorted instants of one UTC day, in microseconds.
pub fn times(rows: usize, random: &mut Random) -> Vec<i64> {
    let mut out: Vec<i64> =
        (0..rows).map(|_| 20_000 * DAY_US + (random.draw() % DAY_US.unsigned_abs()).cast_signed()).collect();
    out.sort_unstable();
    out
}

/// Response times with two decimals, around 40 ms.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
pub fn latencies(rows: usize, random: &mut Random) -> Vec<f64> {
    (0..rows).map(|_| (1000 + random.skewed(20_000)) as f64 / 100.0).collect()
}

/// The data of a page view: a page, a button now and then, a duration.
pub fn event_data(random: &mut Random) -> Document {
    let mut members = vec![
        ("page".to_owned(), Value::Str(format!("/page/{}", random.skewed(300)))),
        ("duration_ms".to_owned(), Value::I64(random.skewed(9000).cast_signed())),
    ];
    if random.draw().is_multiple_of(3) {
        members.push(("button".to_owned(), Value::Str(format!("button-{}", random.draw() % 3))));
    }
    Document::encode(&Value::Object(members))
}

fn column(name: &str, ty: ColumnType, times: &[i64], random: &mut Random) -> SegmentColumn {
    let rows = times.len();
    match ty {
        ColumnType::Time => SegmentColumn::I64(times.to_vec()),
        ColumnType::U64 if name == "key_id" => SegmentColumn::U64(vec![0; rows]),
        ColumnType::U64 => SegmentColumn::U64((1..=rows as u64).collect()),
        ColumnType::F64 => SegmentColumn::F64(latencies(rows, random)),
        ColumnType::Code(_) => SegmentColumn::Codes(
            (0..rows).map(|_| u32::try_from(random.skewed(5000)).unwrap_or(NULL_CODE)).collect(),
        ),
        ColumnType::Str | ColumnType::Document => {
            let mut out = BytesColumn::new();
            for _ in 0..rows {
                match (ty, name) {
                    (ColumnType::Document, _) => out.push(Some(event_data(random).as_bytes())),
                    (_, "writing_key" | "user_agent" | "ip_address") => {
                        out.push(Some(format!("{name}-{}", random.skewed(500)).as_bytes()));
                    }
                    _ => out.push(None),
                }
            }
            SegmentColumn::Bytes(out)
        }
    }
}

/// The tenant of the rows that [`segment_columns`] makes.
pub const TENANT: TenantNo = TenantNo(1);

/// The columns of rows of one tenant, stream and day, in the order of a segment.
pub fn segment_columns(stream: Stream, rows: usize, seed: u64) -> Vec<SegmentColumn> {
    let mut random = Random(seed);
    let times = times(rows, &mut random);
    Schema::of(stream).columns.iter().map(|c| column(c.name, c.ty, &times, &mut random)).collect()
}

/// Columns of a stream cut into granules, which is how a flush has them.
///
/// # Errors
///
/// For columns of another stream.
pub fn granules(stream: Stream, columns: &[SegmentColumn]) -> Result<Vec<Vec<SegmentColumn>>> {
    let rows = columns.first().map_or(0, SegmentColumn::len);
    let cut = |from: usize| {
        let of = |(column, def): (&SegmentColumn, &ColumnDef)| {
            let mut granule = SegmentColumn::new(def.ty);
            granule.extend(column, from..rows.min(from + GRANULE_ROWS))?;
            Ok(granule)
        };
        columns.iter().zip(Schema::of(stream).columns).map(of).collect()
    };
    (0..rows).step_by(GRANULE_ROWS).map(cut).collect()
}

/// Writes granules of one stream into a segment, as a flush does.
///
/// # Errors
///
/// Those of [`SegmentWriter`].
pub fn write_granules(
    disk: &dyn Disk,
    path: &Path,
    (stream, density): (Stream, Density),
    granules: &[Vec<SegmentColumn>],
) -> Result<SegmentSummary> {
    let mut writer = SegmentWriter::create(disk, path, FileId(1), density)?;
    writer.begin(stream)?;
    for granule in granules {
        let rows = granule.first().map_or(0, SegmentColumn::len);
        writer.push_pieces(&[(TENANT, rows)], granule)?;
    }
    let tenant_names = TenantId::new("acme").map(|name| (TENANT, name)).into_iter().collect();
    writer.finish(SegmentEnd { flushed_lsn: Lsn(1), replaces: Vec::new(), tenant_names })
}

/// A dictionary whose identities, and whose tenants' names, are their numbers in decimal.
#[derive(Debug)]
pub struct Decimal;

impl Codes for Decimal {
    fn code_of(&self, _: TenantNo, _: IdentityKind, identity: &[u8]) -> Result<Option<u32>> {
        Ok(std::str::from_utf8(identity).ok().and_then(|text| text.parse().ok()))
    }

    fn identity_of(&self, _: TenantNo, _: IdentityKind, code: u32) -> Result<Option<Arc<[u8]>>> {
        Ok(Some(code.to_string().into_bytes().into()))
    }

    fn count(&self, _: TenantNo, _: IdentityKind) -> Result<u32> {
        Ok(1_000_000)
    }
}

impl Tenants for Decimal {
    fn number_of(&self, tenant: &TenantId) -> Option<TenantNo> {
        tenant.as_str().parse().ok().map(TenantNo)
    }

    fn name_of(&self, number: TenantNo) -> Option<TenantId> {
        TenantId::new(&number.to_string()).ok()
    }
}
