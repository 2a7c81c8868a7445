//! The demo, killed while it fills and started again, is the demo that was never killed.

use std::fs;
use std::path::Path;
use std::thread;

use serde_json::{Value, json};

use crate::http::Request;
use crate::program::{Program, ROOT, Running};

const OPTIONS: [&str; 6] = ["--days", "2", "--seed", "7", "--end", "2024-03-02"];

/// How much of the log is written before each kill, in hundredths.
const KILLED_AT: [u64; 5] = [0, 2, 40, 75, 98];

/// Bytes of the log that are not zero any more, its files taken as preallocated.
fn log_bytes(data_dir: &Path) -> u64 {
    const PAGE: usize = 4_096;
    let Ok(files) = fs::read_dir(data_dir.join("wal")) else { return 0 };
    let written = |bytes: Vec<u8>| {
        let last = bytes.chunks(PAGE).rposition(|page| page != &[0; PAGE][..page.len()]);
        last.map_or(0, |page| (page as u64 + 1) * PAGE as u64)
    };
    files.flatten().map(|file| fs::read(file.path()).map_or(0, written)).sum()
}

/// What a reader sees: both reports of everybody, and the audit list without what differs from store
/// to store (the time of receipt, the leaves under random keys).
fn seen(server: &Running) -> (Value, String) {
    let window = json!({"start_date": "2024-03-01", "end_date": "2024-03-02", "group_by": "hour"});
    let analytics = server.post("/api/insights/analytics/", ROOT, &window, 200)["metrics"].clone();
    let apps: Vec<String> = analytics["app_metrics"]["apps"]
        .as_array()
        .expect("applications")
        .iter()
        .map(|app| app["app_id"].as_str().expect("an id").to_owned())
        .collect();
    assert!(
        !apps.is_empty() && analytics["user_activity"]["summary"]["events"].as_u64() > Some(100),
        "{analytics}"
    );
    let mut metrics = vec![analytics];
    for app in apps {
        let mut body = window.clone();
        body["app_id"] = json!(app);
        metrics.push(server.post("/api/insights/performance/", ROOT, &body, 200)["metrics"].clone());
    }
    let fields = "id,seq,timestamp,organization_id,action_type,description,user_id,user_name,app_id,content_object,targets,\
                  ip_address,user_agent,severity,outcome,metadata,changes,request_id,trace_id";
    let path = format!("/api/insights/audit/?limit=all&format=ndjson&fields={fields}");
    let audit = server.send(&Request::new("GET", path, ROOT));
    assert_eq!(audit.status, 200);
    assert!(audit.text().lines().count() > 100);
    (Value::Array(metrics), audit.text())
}

#[test]
fn a_demo_that_was_killed_goes_on_and_ends_the_same() {
    let (whole, broken) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let server = Program::demo(whole.path(), &OPTIONS).start();
    let all = log_bytes(server.data_dir());
    let expected = seen(&server);
    server.stop();

    let program = Program::demo(broken.path(), &OPTIONS);
    for hundredths in KILLED_AT {
        let filling = program.spawn();
        while log_bytes(filling.data_dir()) < all * hundredths / 100 {
            thread::yield_now();
        }
        filling.kill();
    }
    let server = program.start();
    assert!(seen(&server) == expected, "the demo that was killed differs");
    server.stop();
    // Other options than those of the directory are refused; without any it goes on.
    let other = ["--days", "3"];
    let mut refused = Program::demo(broken.path(), &other).spawn();
    assert_eq!(refused.wait().code(), Some(1));
    assert!(refused.log_to_its_end().contains("--seed 7 --days 2"));
    let server = Program::demo(broken.path(), &[]).start();
    assert!(seen(&server) == expected, "from segments the demo differs");
    server.stop();
}
