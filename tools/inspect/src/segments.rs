//! `segments`: the live segments, as the manifest and their footers tell.

use std::io::Write;
use std::sync::Arc;

use insights_engine::disk::Disk;
use insights_engine::inspect::{Inspected, Inspection};
use insights_engine::time::TimestampUs;
use serde::Serialize;

use crate::failure::Failure;
use crate::table::{Table, bytes, per_row};

#[derive(Debug, Serialize)]
struct Segment {
    file: String,
    bytes: u64,
    level: u8,
    /// UTC day of all its rows.
    day: Option<String>,
    class: u8,
    dense: bool,
    streams: Vec<Share>,
    /// Why it cannot be opened.
    damage: Option<String>,
}

#[derive(Debug, Serialize)]
struct Share {
    stream: &'static str,
    rows: u64,
    start: String,
    /// The latest row's instant.
    end: String,
}

/// Prints the segments; false when one could not be opened.
pub(crate) fn run(disk: &Arc<dyn Disk>, json: bool, out: &mut dyn Write) -> Result<bool, Failure> {
    let inspection = Inspection::open(disk)?;
    let segments: Vec<Segment> = inspection.segments().iter().map(segment).collect();
    if json {
        serde_json::to_writer(&mut *out, &serde_json::json!({ "segments": segments }))?;
        writeln!(out)?;
    } else {
        let mut table =
            Table::new(&["file", "level", "day", "stream", "rows", "bytes", "per row", "first", "last"]);
        for segment in &segments {
            lines(segment, &mut table);
        }
        table.write(out)?;
    }
    Ok(segments.iter().all(|s| s.damage.is_none()))
}

fn segment(one: &Inspected) -> Segment {
    let meta = &one.meta;
    let rows = meta.streams.iter().map(|s| Share {
        stream: s.stream.name(),
        rows: s.rows,
        start: instant(s.min_time),
        end: instant(s.max_time),
    });
    Segment {
        file: meta.path().display().to_string(),
        bytes: meta.bytes,
        level: meta.level,
        day: meta.day.map(date),
        class: meta.class,
        dense: meta.dense,
        streams: rows.collect(),
        damage: one.reader.as_ref().err().map(ToString::to_string),
    }
}

fn lines(segment: &Segment, table: &mut Table) {
    let all: u64 = segment.streams.iter().map(|s| s.rows).sum();
    for rows in &segment.streams {
        table.line(vec![
            segment.file.clone(),
            format!("{}{}", segment.level, if segment.dense { " dense" } else { "" }),
            segment.day.clone().unwrap_or_else(|| "-".to_owned()),
            rows.stream.to_owned(),
            rows.rows.to_string(),
            bytes(segment.bytes),
            per_row(segment.bytes, all),
            rows.start.clone(),
            rows.end.clone(),
        ]);
    }
    if let Some(damage) = &segment.damage {
        table.line(vec![segment.file.clone(), format!("damaged: {damage}")]);
    }
}

fn date(day: i32) -> String {
    let at = TimestampUs(i64::from(day).saturating_mul(insights_engine::time::DAY_US));
    instant(at).chars().take_while(|c| *c != 'T').collect()
}

/// RFC 3339, or the number of microseconds when that has no such form.
pub(crate) fn instant(at: TimestampUs) -> String {
    at.to_jiff().map_or_else(|_| at.0.to_string(), |at| at.to_string())
}
