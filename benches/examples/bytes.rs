//! What rows take in the final segments of their days, by column: `bytes DIR` reads the NDJSON files of the
//! peer harness's data and prints bytes a row; `bytes DIR fast` as a flush writes them.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::path::Path;

use insights_engine::codec::Density;
use insights_engine::disk::{Disk, SimDisk};
use insights_engine::id::{FileId, Lsn, Stream, TenantId, TenantNo};
use insights_engine::schema::{BytesColumn, ColumnType, Document, IdentityKind, NULL_CODE, Schema, Value};
use insights_engine::segment::{BlockCache, SegmentColumn, SegmentEnd, SegmentReader, SegmentWriter};
use insights_engine::time::TimestampUs;
use serde_json::Value as Json;

/// Records of a request.
const BATCH: usize = 1_000;

type Row = HashMap<&'static str, Json>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).ok_or("bytes DIR [fast]")?;
    let density =
        if std::env::args().nth(2).as_deref() == Some("fast") { Density::Fast } else { Density::Dense };
    for stream in [Stream::Metrics, Stream::Events, Stream::Audit] {
        let name = match stream {
            Stream::Metrics => "metrics",
            Stream::Events => "events",
            Stream::Audit => "audit",
        };
        measure(stream, density, &Path::new(&dir).join(format!("{name}.ndjson")))?;
    }
    Ok(())
}

fn field(name: &str) -> &'static str {
    match name {
        "organization_id" => "tenant",
        "ip" => "ip_address",
        "action" => "action_type",
        "id" => "skip",
        other => Box::leak(other.to_owned().into_boxed_str()),
    }
}

struct Codes(HashMap<(u32, IdentityKind), HashMap<String, u32>>, u64);

impl Codes {
    fn of(&mut self, tenant: u32, kind: IdentityKind, text: &str) -> u32 {
        let map = self.0.entry((tenant, kind)).or_default();
        let next = u32::try_from(map.len()).unwrap();
        if let Some(code) = map.get(text) {
            return *code;
        }
        self.1 += if text.len() == 36 { 16 } else { text.len() as u64 };
        map.insert(text.to_owned(), next);
        next
    }
}

fn measure(stream: Stream, density: Density, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut names: HashMap<String, &'static str> = HashMap::new();
    let mut tenants: HashMap<String, u32> = HashMap::new();
    let mut seqs: HashMap<u32, u64> = HashMap::new();
    let mut codes = Codes(HashMap::new(), 0);
    // (day, tenant) -> rows
    let mut parts: BTreeMap<(i32, u32), Vec<(Vec<u64>, Row)>> = BTreeMap::new();
    for (number, line) in BufReader::new(std::fs::File::open(path)?).lines().enumerate() {
        let Json::Object(object) = serde_json::from_str(&line?)? else { continue };
        let mut row: Row = HashMap::new();
        for (key, value) in object {
            let name = *names.entry(key.clone()).or_insert_with(|| field(&key));
            row.insert(name, value);
        }
        let org = row["tenant"].as_str().unwrap().to_owned();
        let next = u32::try_from(tenants.len()).unwrap() + 1;
        let tenant = *tenants.entry(org).or_insert(next);
        let seq = seqs.entry(tenant).or_insert(0);
        *seq += 1;
        let lsn = (number / BATCH) as u64 + 1;
        let time = row["timestamp"].as_i64().unwrap() * 1000;
        let received = 1_772_000_000_000_000 + lsn * 21_337 + lsn % 7 * 131;
        row.insert("lsn", lsn.into());
        row.insert("seq", (*seq).into());
        row.insert("received_at", received.into());
        row.insert("timestamp", time.into());
        row.insert("writing_key", "superuser".into());
        if stream == Stream::Metrics {
            let kind = match row["name"].as_str().unwrap() {
                "network.in" | "network.out" | "requests.count" | "errors.count" => 1,
                "response.time" => 3,
                _ => 0,
            };
            row.insert("kind", kind.into());
        }
        if stream == Stream::Audit {
            let severity = match row["severity"].as_str().unwrap() {
                "info" => 0,
                "warning" => 2,
                "error" => 3,
                _ => 4,
            };
            row.insert("severity", severity.into());
            row.insert("outcome", 0.into());
            row.insert("request_id", format!("01996f{lsn:010x}-7abc").into());
        }
        let mut key = vec![0, 0, 0];
        if stream == Stream::Metrics {
            for (slot, (name, kind)) in key.iter_mut().zip([
                ("app_id", IdentityKind::App),
                ("host", IdentityKind::Name),
                ("name", IdentityKind::Name),
            ]) {
                let text = row[name].as_str().unwrap();
                *slot =
                    if text.is_empty() { u64::from(NULL_CODE) } else { codes.of(tenant, kind, text).into() };
            }
        }
        key.push(time as u64);
        key.push(lsn);
        key.push(*seq);
        parts.entry((TimestampUs(time).day(), tenant)).or_default().push((key, row));
    }
    let mut total: BTreeMap<String, u64> = BTreeMap::new();
    let mut rows_total = 0_u64;
    let mut file_bytes = 0;
    let mut by_day: BTreeMap<i32, Vec<(u32, Vec<(Vec<u64>, Row)>)>> = BTreeMap::new();
    for ((day, tenant), rows) in parts {
        by_day.entry(day).or_default().push((tenant, rows));
    }
    let begun = std::time::Instant::now();
    let mut spent = std::time::Duration::ZERO;
    let disk = SimDisk::new();
    disk.create_dir(Path::new("s"))?;
    let mut read = std::time::Duration::ZERO;
    for (file, (_, tenants)) in (1..).zip(by_day) {
        let path = format!("s/{file}");
        let mut writer = SegmentWriter::create(&disk, Path::new(&path), FileId(file), density)?;
        writer.begin(stream)?;
        for (tenant, mut rows) in tenants {
            rows.sort_by(|a, b| a.0.cmp(&b.0));
            rows_total += rows.len() as u64;
            let columns: Vec<SegmentColumn> = Schema::of(stream)
                .columns
                .iter()
                .map(|def| column(def.name, def.ty, tenant, &rows, &mut codes))
                .collect();
            let at = std::time::Instant::now();
            writer.push(TenantNo(tenant), &columns)?;
            spent += at.elapsed();
        }
        let at = std::time::Instant::now();
        let summary = writer.finish(SegmentEnd {
            flushed_lsn: Lsn(1),
            replaces: vec![],
            tenant_names: vec![(TenantNo(1), TenantId::new("a")?)],
        })?;
        spent += at.elapsed();
        file_bytes += summary.bytes;
        let reader = SegmentReader::open(
            &disk,
            Path::new(&path),
            FileId(file),
            Some(summary.footer_hash),
            BlockCache::new(0),
        )?;
        let at = std::time::Instant::now();
        let bad = reader.verify();
        assert!(bad.is_empty(), "{bad:?}");
        read += at.elapsed();
        for stats in reader.column_stats(stream)? {
            *total.entry(format!("{:<24} {}", stats.name, stats.encoding)).or_default() += stats.bytes;
        }
    }
    println!(
        "== {stream}: {rows_total} rows, {:.2} bytes a row, dictionary {:.2}; {:.0} rows/s written, {:.0} read ({:?})",
        file_bytes as f64 / rows_total as f64,
        codes.1 as f64 / rows_total as f64,
        rows_total as f64 / spent.as_secs_f64(),
        rows_total as f64 / read.as_secs_f64(),
        begun.elapsed()
    );
    for (name, bytes) in total {
        println!("{name:<50} {:>8.3}", bytes as f64 / rows_total as f64);
    }
    Ok(())
}

fn column(
    name: &str,
    ty: ColumnType,
    tenant: u32,
    rows: &[(Vec<u64>, Row)],
    codes: &mut Codes,
) -> SegmentColumn {
    let get = |row: &Row| row.get(name).filter(|v| v.as_str() != Some("")).cloned();
    match ty {
        ColumnType::Time => SegmentColumn::I64(
            rows.iter().map(|(_, r)| get(r).and_then(|v| v.as_i64()).unwrap_or(0)).collect(),
        ),
        ColumnType::U64 => SegmentColumn::U64(
            rows.iter().map(|(_, r)| get(r).and_then(|v| v.as_u64()).unwrap_or(0)).collect(),
        ),
        ColumnType::F64 => SegmentColumn::F64(
            rows.iter().map(|(_, r)| get(r).and_then(|v| v.as_f64()).unwrap_or(0.0)).collect(),
        ),
        ColumnType::Code(kind) => SegmentColumn::Codes(
            rows.iter()
                .map(|(_, r)| {
                    get(r).and_then(|v| v.as_str().map(|t| codes.of(tenant, kind, t))).unwrap_or(NULL_CODE)
                })
                .collect(),
        ),
        ColumnType::Str => {
            let mut out = BytesColumn::new();
            for (_, r) in rows {
                out.push(get(r).as_ref().and_then(|v| v.as_str()).map(str::as_bytes));
            }
            SegmentColumn::Bytes(out)
        }
        ColumnType::Document => {
            let mut out = BytesColumn::new();
            for (_, r) in rows {
                let doc = get(r).map(|v| Document::encode(&value(&v)));
                out.push(doc.as_ref().map(Document::as_bytes));
            }
            SegmentColumn::Bytes(out)
        }
    }
}

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => {
            n.as_i64().map(Value::I64).unwrap_or_else(|| Value::F64(n.as_f64().unwrap_or(0.0)))
        }
        Json::String(s) => Value::Str(s.clone()),
        Json::Array(list) => Value::Array(list.iter().map(value).collect()),
        Json::Object(map) => Value::Object(map.iter().map(|(k, v)| (k.clone(), value(v))).collect()),
    }
}
