//! `compact`: merges what is due now, and what could wait.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use insights_engine::Engine;
use insights_engine::clock::SystemClock;
use insights_engine::compaction::{CompactionReport, Effort};
use insights_engine::disk::OsDisk;
use insights_engine::manifest::Manifest;
use insights_server::Config;
use insights_server::config::RawConfig;
use serde_json::json;

use crate::args::Compact;
use crate::failure::Failure;
use crate::table::bytes;

/// Opens the store for itself, flushes and merges; refuses while a server has it.
pub(crate) fn run(args: &Compact, out: &mut dyn Write) -> Result<bool, Failure> {
    let (dir, json) = (&args.place.dir, args.place.json);
    let disk = Arc::new(OsDisk::existing(dir)?);
    if !Manifest::exists(&*disk)? {
        return Err(Failure::NoStore(dir.clone()));
    }
    // No key is used: nothing is appended.
    let engine = Engine::open(settings(args.config.as_deref())?, disk, SystemClock::new(), [0; 32])?;
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

/// The engine's limits and rollups as the server would have them.
pub(crate) fn settings(file: Option<&Path>) -> Result<insights_engine::Config, Failure> {
    let mut raw = RawConfig::defaults();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Failure::Settings(format!("{}: {source}", path.display())))?;
        raw.file(path, &text)?;
    }
    // A variable that is no UTF-8 is none of ours.
    raw.environment(
        std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))),
    )?;
    Ok(Config::try_from(&raw)?.engine)
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
