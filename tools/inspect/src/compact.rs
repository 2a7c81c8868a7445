//! `compact`: merges what is due now, and what could wait.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use insights_engine::Engine;
use insights_engine::clock::SystemClock;
use insights_engine::compaction::{CompactionReport, Effort};
use insights_engine::disk::OsDisk;
use insights_engine::manifest::Manifest;
use serde_json::json;

use crate::failure::Failure;
use crate::table::bytes;

/// Opens the store for itself, flushes and merges; refuses while a server has it.
pub(crate) fn run(dir: &Path, json: bool, out: &mut dyn Write) -> Result<bool, Failure> {
    let disk = Arc::new(OsDisk::existing(dir)?);
    if !Manifest::exists(&*disk)? {
        return Err(Failure::NoStore(dir.to_owned()));
    }
    // No key is used: nothing is appended.
    let engine = Engine::open(insights_engine::Config::default(), disk, SystemClock::new(), [0; 32])?;
    let compacted = engine.flush().and_then(|()| engine.compact(Effort::Full));
    engine.close()?;
    let report = compacted?;
    if json {
        serde_json::to_writer(&mut *out, &as_json(&report))?;
        writeln!(out)?;
    } else {
        writeln!(
            out,
            "{} merges: {} segments of {} became {} with {} rows",
            report.jobs,
            report.segments_read,
            bytes(report.bytes_read),
            bytes(report.bytes_written),
            report.rows
        )?;
    }
    Ok(true)
}

fn as_json(report: &CompactionReport) -> serde_json::Value {
    json!({
        "jobs": report.jobs,
        "segments_read": report.segments_read,
        "bytes_read": report.bytes_read,
        "bytes_written": report.bytes_written,
        "rows": report.rows,
    })
}
