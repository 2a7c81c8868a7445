//! The commands on a small store, beside the engine that has it open.

use std::path::Path;
use std::sync::Arc;

use clap::Parser;
use insights_engine::append::Append;
use insights_engine::clock::SystemClock;
use insights_engine::disk::OsDisk;
use insights_engine::id::{Stream, TenantId};
use insights_engine::schema::{BatchBuilder, Document, Value, stream};
use insights_engine::{Config, Engine};
use serde_json::{Value as Json, json};

use crate::args::{Arguments, Command, Compact, Place};
use crate::failure::Failure;
use crate::{compact, dump, open, segments, stats, verify};

/// 2026-02-15T00:00:00Z.
const NOW_US: i64 = 1_771_113_600_000_000;

/// Three events of two organizations in a segment, one more in the log alone.
fn store(dir: &Path) -> Arc<Engine> {
    let disk = Arc::new(OsDisk::open(dir).unwrap());
    let engine = Engine::open(Config::default(), disk, SystemClock::new(), [1; 32]).unwrap();
    for (tenant, second) in [("acme", 2), ("acme", 1), ("zeta", 3)] {
        engine.append(event(tenant, second)).unwrap();
    }
    engine.flush().unwrap();
    engine.append(event("acme", 4)).unwrap();
    engine
}

fn event(tenant: &str, second: i64) -> Append {
    let document = Document::encode(&Value::Object(vec![("page".into(), Value::Str("/a,b".into()))]));
    let mut batch = BatchBuilder::new(TenantId::new(tenant).unwrap(), Stream::Events);
    batch.i64(&stream::TIME, NOW_US + second * 1_000_000).str(&stream::EVENT_TYPE, Some("page.viewed"));
    batch.bytes(&stream::EVENT_DATA, Some(document.as_bytes()));
    batch.finish_row();
    Append::batch(batch.build())
}

/// Runs a command; whether all was well, and what it printed.
fn run(dir: &Path, arguments: &[&str]) -> (bool, String) {
    let (name, options) = arguments.split_first().unwrap();
    let all = ["insights-inspect", name, dir.to_str().unwrap()].into_iter().chain(options.iter().copied());
    let mut out = Vec::new();
    let is_whole = match Arguments::try_parse_from(all).unwrap().command {
        Command::Stats(place) => stats::run(&open(dir).unwrap(), place.json, &mut out),
        Command::Segments(place) => segments::run(&open(dir).unwrap(), place.json, &mut out),
        Command::Dump(args) => dump::run(&open(dir).unwrap(), &args, &mut out),
        Command::Verify(args) => verify::run(&open(dir).unwrap(), &args, &mut out),
        Command::Compact(args) => compact::run(&args, &mut out),
    };
    (is_whole.unwrap(), String::from_utf8(out).unwrap())
}

fn try_compact(dir: &Path) -> Result<bool, Failure> {
    let place = Place { dir: dir.to_owned(), json: false };
    compact::run(&Compact { place, config: None }, &mut Vec::new())
}

fn run_json(dir: &Path, arguments: &[&str]) -> Json {
    let (is_whole, text) = run(dir, arguments);
    assert!(is_whole, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_store_is_told_beside_its_engine() {
    let dir = tempfile::tempdir().unwrap();
    let engine = store(dir.path());
    let stats = run_json(dir.path(), &["stats", "--json"]);
    assert_eq!(stats["streams"]["events"]["rows"], 3);
    assert_eq!(stats["streams"]["metrics"]["rows"], 0);
    assert_eq!(stats["organizations"][0]["organization_id"], "acme");
    assert_eq!(stats["organizations"][0]["rows"], 2);
    let columns = stats["streams"]["events"]["columns"].as_array().unwrap();
    assert!(columns.iter().any(|c| c["name"] == "event_data.page" && c["bytes"].as_u64().unwrap() > 0));

    let segments = run_json(dir.path(), &["segments", "--json"]);
    let rows = &segments["segments"][0]["streams"][0];
    let expected = json!({
        "stream": "events", "rows": 3,
        "start": "2026-02-15T00:00:01Z", "end": "2026-02-15T00:00:03Z",
    });
    assert_eq!(rows, &expected);

    for level in ["quick", "full", "deep"] {
        let found = run_json(dir.path(), &["verify", "--level", level, "--json"]);
        assert_eq!((&found["ok"], &found["findings"]), (&json!(true), &json!([])), "{level}");
    }
    engine.close().unwrap();
}

#[test]
fn rows_are_dumped_oldest_first_with_those_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let engine = store(dir.path());
    let (_, text) = run(dir.path(), &["dump", "--stream", "events", "--organization", "acme"]);
    let rows: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let times: Vec<&str> = rows.iter().map(|r| r["timestamp"].as_str().unwrap()).collect();
    assert_eq!(times, ["2026-02-15T00:00:01Z", "2026-02-15T00:00:02Z", "2026-02-15T00:00:04Z"]);
    assert_eq!(rows[0]["event_data"], json!({"page": "/a,b"}));

    let window = ["--start", "2026-02-15T00:00:02Z", "--end", "2026-02-15T00:00:04Z", "--format", "csv"];
    let (_, text) = run(dir.path(), &[&["dump", "--stream", "events"][..], &window].concat());
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.starts_with("organization_id,timestamp,"));
    assert!(text.contains("\"{\"\"page\"\":\"\"/a,b\"\"}\""), "{text}");
    engine.close().unwrap();
}

#[test]
fn points_are_dumped_by_time_each_once() {
    let dir = tempfile::tempdir().unwrap();
    let engine = store(dir.path());
    // More than a page of one instant, in a segment and in the log.
    for part in 0..3 {
        let mut batch = BatchBuilder::new(TenantId::new("acme").unwrap(), Stream::Metrics);
        for n in 0..9_000 {
            batch.i64(&stream::TIME, NOW_US - i64::from(n == 0)).str(&stream::NAME, Some("cpu.usage"));
            batch.f64(&stream::VALUE, f64::from(part * 9_000 + n));
            batch.finish_row();
        }
        engine.append(Append::batch(batch.build())).unwrap();
        if part == 0 {
            engine.flush().unwrap();
        }
    }
    let (_, text) = run(dir.path(), &["dump", "--stream", "metrics"]);
    let points: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let times: Vec<&str> = points.iter().map(|p| p["timestamp"].as_str().unwrap()).collect();
    assert!(times.is_sorted());
    let mut values: Vec<f64> = points.iter().map(|p| p["value"].as_f64().unwrap()).collect();
    values.sort_by(f64::total_cmp);
    assert_eq!(values, (0..27_000).map(f64::from).collect::<Vec<_>>());
    engine.close().unwrap();
}

#[test]
fn compact_waits_for_the_server_to_go() {
    let dir = tempfile::tempdir().unwrap();
    let engine = store(dir.path());
    let refused = try_compact(dir.path()).unwrap_err();
    assert!(refused.to_string().contains("in use by another process"), "{refused}");
    engine.close().unwrap();
    let report = run_json(dir.path(), &["compact", "--json"]);
    assert!(report["jobs"].as_u64().unwrap() > 0, "{report}");
    let events = &run_json(dir.path(), &["stats", "--json"])["streams"]["events"];
    assert_eq!((&events["rows"], &events["segments"]), (&json!(4), &json!(1)));
    assert_eq!(run_json(dir.path(), &["verify", "--level", "deep", "--json"])["ok"], true);
}

#[test]
fn a_directory_without_a_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(stats::run(&open(dir.path()).unwrap(), false, &mut Vec::new()).is_err());
    assert!(open(&dir.path().join("none")).is_err());
    assert!(try_compact(dir.path()).is_err());
    assert_eq!(dir.path().read_dir().unwrap().count(), 0);
}
