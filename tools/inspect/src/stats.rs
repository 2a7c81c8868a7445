//! `stats`: rows and bytes by stream, column and organization.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use insights_engine::disk::Disk;
use insights_engine::inspect::{Inspection, StoreWeight, StreamWeight};
use serde::Serialize;

use crate::failure::Failure;
use crate::table::{Table, bytes, per_row};

/// What `stats --json` prints.
#[derive(Debug, Serialize)]
struct Stats {
    streams: BTreeMap<&'static str, Stream>,
    organizations: Vec<Owner>,
    /// Bytes of live files by kind.
    files: BTreeMap<&'static str, u64>,
    wal_bytes: u64,
    total_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Stream {
    rows: u64,
    /// Rows with their share of indexes, dictionaries and proofs.
    bytes: u64,
    bytes_per_row: f64,
    rollup_bytes: u64,
    segments: u64,
    overhead_bytes: u64,
    dictionary_bytes: u64,
    proof_bytes: u64,
    id_bytes: u64,
    columns: Vec<Column>,
}

#[derive(Debug, Serialize)]
struct Column {
    name: String,
    encoding: String,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Owner {
    /// `null` when the catalog has no name for its number.
    organization_id: Option<String>,
    rows: u64,
    bytes: u64,
}

/// Prints what the store weighs; false when a segment could not be read.
pub(crate) fn run(disk: &Arc<dyn Disk>, json: bool, out: &mut dyn Write) -> Result<bool, Failure> {
    let inspection = Inspection::open(disk)?;
    let weight = inspection.weigh()?;
    if json {
        serde_json::to_writer(&mut *out, &stats(&weight))?;
        writeln!(out)?;
    } else {
        write_tables(&weight, out)?;
    }
    Ok(inspection.segments().iter().all(|s| s.reader.is_ok()))
}

fn stats(weight: &StoreWeight) -> Stats {
    let organizations = weight.tenants.iter().map(|t| Owner {
        organization_id: t.name.as_ref().map(|n| n.as_str().to_owned()),
        rows: t.rows,
        bytes: t.bytes,
    });
    Stats {
        streams: weight.streams.iter().map(|s| (s.stream.name(), stream(s))).collect(),
        organizations: organizations.collect(),
        files: weight.kinds.iter().map(|(kind, bytes)| (kind.dir(), *bytes)).collect(),
        wal_bytes: weight.wal_bytes,
        total_bytes: weight.total_bytes,
    }
}

fn stream(weight: &StreamWeight) -> Stream {
    let columns = weight.columns.iter();
    Stream {
        rows: weight.rows,
        bytes: weight.bytes(),
        bytes_per_row: ratio(weight.bytes(), weight.rows),
        rollup_bytes: weight.rollup_bytes,
        segments: weight.segments,
        overhead_bytes: weight.overhead_bytes,
        dictionary_bytes: weight.dictionary_bytes,
        proof_bytes: weight.proof_bytes,
        id_bytes: weight.id_bytes,
        columns: columns
            .map(|c| Column { name: c.name.clone(), encoding: c.encoding(), bytes: c.bytes() })
            .collect(),
    }
}

/// Bytes of a row, to three decimals.
#[expect(clippy::cast_precision_loss, reason = "counts of bytes and rows are far below 2^53")]
fn ratio(bytes: u64, rows: u64) -> f64 {
    (bytes as f64 / rows.max(1) as f64 * 1000.0).round() / 1000.0
}

fn write_tables(weight: &StoreWeight, out: &mut dyn Write) -> Result<(), Failure> {
    let mut table = Table::new(&["stream", "rows", "bytes", "per row", "rollups", "segments"]);
    for stream in &weight.streams {
        table.line(vec![
            stream.stream.name().to_owned(),
            stream.rows.to_string(),
            bytes(stream.bytes()),
            per_row(stream.bytes(), stream.rows),
            bytes(stream.rollup_bytes),
            stream.segments.to_string(),
        ]);
    }
    table.write(out)?;
    for stream in weight.streams.iter().filter(|s| s.rows > 0) {
        writeln!(out)?;
        let mut table = Table::new(&[stream.stream.name(), "bytes", "per row", "encoding"]);
        let mut line = |name: &str, size: u64, encoding: &str| {
            if size > 0 {
                let cells = [name.to_owned(), bytes(size), per_row(size, stream.rows), encoding.to_owned()];
                table.line(cells.to_vec());
            }
        };
        for column in &stream.columns {
            line(&column.name, column.bytes(), &column.encoding());
        }
        line("(indexes)", stream.overhead_bytes, "");
        line("(dictionaries)", stream.dictionary_bytes, "");
        line("(proofs)", stream.proof_bytes, "");
        line("(remembered ids)", stream.id_bytes, "");
        table.write(out)?;
    }
    writeln!(out)?;
    let mut table = Table::new(&["organization", "rows", "bytes"]);
    for tenant in &weight.tenants {
        let name = tenant.name.as_ref().map_or_else(|| format!("#{}", tenant.number.0), ToString::to_string);
        table.line(vec![name, tenant.rows.to_string(), bytes(tenant.bytes)]);
    }
    table.write(out)?;
    writeln!(out, "\nlog {}, all files {}", bytes(weight.wal_bytes), bytes(weight.total_bytes))?;
    Ok(())
}
