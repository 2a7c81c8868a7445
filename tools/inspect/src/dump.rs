//! `dump`: rows as they are stored, with every column.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use insights_engine::clock::SystemClock;
use insights_engine::disk::{Disk, OverlayDisk};
use insights_engine::id::{Stream, TenantId};
use insights_engine::manifest::Manifest;
use insights_engine::query::{Cancel, Filter, Order, RowRequest, Scope};
use insights_engine::schema::{Batch, Column, ColumnDef, ColumnType, Document, Schema, Value};
use insights_engine::time::{TimeRange, TimestampUs};
use insights_engine::{Config, Engine};
use serde_json::{Map, Number, Value as Json};

use crate::args::{Dump, Format};
use crate::failure::Failure;
use crate::segments::instant;

/// Rows that are in memory at a time.
const PAGE_ROWS: usize = 20_000;
/// Longest time for the rows of one organization.
const DUMP_MAX: Duration = Duration::from_hours(24 * 7);
/// How often the store is opened again when files are missing.
const TRIES_MAX: usize = 5;

/// Prints the rows. The store is opened on top of its files, recovery included, and never written to.
pub(crate) fn run(disk: &Arc<dyn Disk>, args: &Dump, out: &mut dyn Write) -> Result<bool, Failure> {
    if !Manifest::exists(&**disk)? {
        return Err(Failure::NoStore(args.place.dir.clone()));
    }
    let engine = open(disk)?;
    let tenants = match &args.organization {
        Some(name) => {
            let tenant = TenantId::new(name)?;
            if !engine.tenant_exists(&tenant) {
                return Err(Failure::NoOrganization(name.clone()));
            }
            vec![tenant]
        }
        None => engine.tenants(),
    };
    let micros = |at: Option<jiff::Timestamp>| at.map(|at| TimestampUs(at.as_microsecond()));
    let window = TimeRange::new(
        micros(args.start).unwrap_or(TimeRange::ALL.start),
        micros(args.end).unwrap_or(TimeRange::ALL.end),
    )?;
    let stream = args.stream.into();
    let mut sink = Sink { out, csv: args.format == Format::Csv && !args.place.json, stream };
    sink.head()?;
    let mut is_whole = engine.health().damaged.is_empty();
    for tenant in tenants {
        is_whole &= dump_tenant(&engine, tenant, stream, window, &mut sink)?;
    }
    Ok(is_whole)
}

/// Opens the store on top of its files; again when a running server took some away meanwhile.
fn open(disk: &Arc<dyn Disk>) -> Result<Arc<Engine>, Failure> {
    let mut tries = 1;
    loop {
        let overlay: Arc<dyn Disk> = Arc::new(OverlayDisk::new(Arc::clone(disk)));
        // No key is used: nothing is appended.
        let engine = Engine::open_stepped(Config::default(), overlay, SystemClock::new(), [0; 32]);
        let is_whole = engine.as_ref().is_ok_and(|engine| engine.health().damaged.is_empty());
        if is_whole || tries == TRIES_MAX {
            return Ok(engine?);
        }
        tries += 1;
    }
}

/// The rows of one tenant; false when some could not be read.
fn dump_tenant(
    engine: &Engine,
    tenant: TenantId,
    stream: Stream,
    window: TimeRange,
    sink: &mut Sink<'_>,
) -> Result<bool, Failure> {
    let mut request = RowRequest {
        scope: Scope::One(tenant),
        stream,
        window,
        filter: Filter::all(),
        order: Order::Asc,
        limit: PAGE_ROWS,
        after: None,
        columns: None,
        allow_partial: true,
    };
    let mut is_whole = true;
    // Cursors of points lead on in one view alone; nothing is written here, so it takes what it takes.
    let view = engine.view_until(DUMP_MAX, Cancel::new());
    loop {
        let page = view.rows(&request)?;
        is_whole &= page.damaged.is_empty();
        for batch in &page.batches {
            sink.rows(batch)?;
        }
        request.after = page.next;
        if request.after.is_none() {
            return Ok(is_whole);
        }
    }
}

/// Where rows go.
struct Sink<'a> {
    out: &'a mut dyn Write,
    csv: bool,
    stream: Stream,
}

impl Sink<'_> {
    fn head(&mut self) -> Result<(), Failure> {
        if self.csv {
            let names = Schema::of(self.stream).columns.iter().map(|c| c.name);
            let line: Vec<&str> = std::iter::once("organization_id").chain(names).collect();
            write!(self.out, "{}\r\n", line.join(","))?;
        }
        Ok(())
    }

    fn rows(&mut self, batch: &Batch) -> Result<(), Failure> {
        let columns: Vec<(&ColumnDef, &Column)> =
            Schema::of(batch.stream()).columns.iter().zip(batch.columns()).collect();
        for row in 0..batch.rows() {
            let organization = Json::String(batch.tenant().as_str().to_owned());
            let mut cells = vec![("organization_id", organization)];
            for (def, column) in &columns {
                cells.push((def.name, cell(def, column, row)?));
            }
            if self.csv {
                let line: Vec<String> = cells.iter().map(|(_, value)| csv_cell(value)).collect();
                write!(self.out, "{}\r\n", line.join(","))?;
            } else {
                let present = cells.into_iter().filter(|(_, value)| !value.is_null());
                let object: Map<String, Json> = present.map(|(name, v)| (name.to_owned(), v)).collect();
                serde_json::to_writer(&mut *self.out, &object)?;
                writeln!(self.out)?;
            }
        }
        Ok(())
    }
}

/// A value as JSON; an absent one and a number that JSON does not have are null.
fn cell(def: &ColumnDef, column: &Column, row: usize) -> Result<Json, Failure> {
    let bytes = || column.as_bytes().and_then(|c| c.get(row));
    Ok(match def.ty {
        ColumnType::Time => match column.as_i64().and_then(|c| c.get(row)) {
            Some(at) => Json::String(instant(TimestampUs(*at))),
            None => Json::Null,
        },
        ColumnType::U64 => column.as_u64().and_then(|c| c.get(row)).map_or(Json::Null, |n| (*n).into()),
        ColumnType::F64 => {
            let number = column.as_f64().and_then(|c| c.get(row)).and_then(|n| Number::from_f64(*n));
            number.map_or(Json::Null, Json::Number)
        }
        ColumnType::Str | ColumnType::Code(_) => {
            bytes().map_or(Json::Null, |text| Json::String(String::from_utf8_lossy(text).into_owned()))
        }
        ColumnType::Document => match bytes() {
            Some(document) => document_json(&Document::decode(document)?),
            None => Json::Null,
        },
    })
}

fn document_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(b) => Json::Bool(*b),
        Value::I64(n) => (*n).into(),
        Value::U64(n) => (*n).into(),
        Value::F64(n) => Number::from_f64(*n).map_or(Json::Null, Json::Number),
        Value::Str(text) => Json::String(text.clone()),
        Value::Array(items) => Json::Array(items.iter().map(document_json).collect()),
        Value::Object(members) => {
            Json::Object(members.iter().map(|(k, v)| (k.clone(), document_json(v))).collect())
        }
    }
}

/// A cell of CSV; text that a spreadsheet would take for a formula gets an apostrophe in front.
fn csv_cell(value: &Json) -> String {
    let text = match value {
        Json::Null => return String::new(),
        Json::String(text) if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => format!("'{text}"),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_of_csv_are_quoted_and_are_no_formulas() {
        let cases = [
            (json!(null), ""),
            (json!(-1), "-1"),
            (json!("a,b"), "\"a,b\""),
            (json!("=1+1"), "'=1+1"),
            (json!({"a": "x"}), "\"{\"\"a\"\":\"\"x\"\"}\""),
        ];
        for (value, expected) in cases {
            assert_eq!(csv_cell(&value), expected);
        }
    }
}
