//! Files that are cut or overwritten: what is whole is served, what is not is named.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::http::Request;
use crate::program::{Program, Running};

/// The file of a kind with the greatest number.
fn newest(directory: &Path, extension: &str) -> PathBuf {
    let files = fs::read_dir(directory).expect("a directory").flatten().map(|entry| entry.path());
    files.filter(|path| path.extension().is_some_and(|e| e == extension)).max().expect("a file")
}

/// Where the zeros begin that end a preallocated file: frames end at multiples of 8.
fn written(path: &Path) -> u64 {
    let bytes = fs::read(path).expect("a file");
    let last = bytes.iter().rposition(|byte| *byte != 0).expect("something is written");
    (last as u64 + 1).next_multiple_of(8)
}

fn track(server: &Running, key: &str, id: &str) {
    let event =
        json!({"event_type": "login", "user_id": "u1", "id": id, "timestamp": "2024-01-10T10:00:00Z"});
    server.post("/api/insights/import/?stream=events", key, &event, 202);
}

fn ids(server: &Running, key: &str) -> Vec<String> {
    let list = server.get("/api/insights/events/?order=asc", key);
    list["results"]
        .as_array()
        .expect("results")
        .iter()
        .map(|e| e["id"].as_str().expect("an id").to_owned())
        .collect()
}

#[test]
fn a_torn_end_of_the_log_does_not_stop_the_start() {
    /// What is done to the newest file of the log, which is written up to a byte.
    type Tear = fn(&Path, u64);
    fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
        let mut file = OpenOptions::new().write(true).open(path).expect("a file");
        file.seek(SeekFrom::Start(at)).expect("a place");
        file.write_all(bytes).expect("written");
    }
    fn cut(path: &Path, len: u64) {
        OpenOptions::new().write(true).open(path).expect("a file").set_len(len).expect("cut");
    }
    let tears: [(&str, Tear, usize); 4] = [
        ("garbage after the end", |path, end| overwrite(path, end + 64, &[0xa5; 3_000]), 3),
        ("a file that is cut right behind its end", cut, 3),
        ("a last frame that is cut", |path, end| cut(path, end - 5), 2),
        ("a last frame with other bytes", |path, end| overwrite(path, end - 20, b"torn!"), 2),
    ];
    for (name, tear, kept) in tears {
        let dir = tempfile::tempdir().expect("a directory");
        let program = Program::serve(dir.path());
        let server = program.start();
        let key = server.key("acme");
        let all = ["e1", "e2", "e3"];
        for id in all {
            track(&server, &key, id);
        }
        server.kill();
        let file = newest(&dir.path().join("wal"), "wal");
        tear(&file, written(&file));
        let server = program.start();
        assert_eq!(ids(&server, &key), all[..kept], "{name}");
        assert_eq!(server.get("/readyz", "")["damaged"], json!([]), "{name}");
        // It is written on where the tear was.
        track(&server, &key, "e4");
        let mut expected = all[..kept].to_vec();
        expected.push("e4");
        server.kill();
        let server = program.start();
        assert_eq!(ids(&server, &key), expected, "{name}");
        server.stop();
    }
}

/// The answer of a route without and with `allow_partial`.
fn check_damage(server: &Running, key: &str, method: &'static str, path: &str, body: &Value, stream: &str) {
    let request = |allow: bool| {
        if method == "GET" {
            return Request::new(method, format!("{path}?allow_partial={allow}"), key);
        }
        let mut body = body.clone();
        body["allow_partial"] = json!(allow);
        Request::new(method, path, key).json(&body)
    };
    let refused = server.send(&request(false)).expect(500);
    assert_eq!(refused["code"], "damaged", "{path}");
    let detail = refused["detail"].as_str().expect("a detail");
    assert!(detail.contains(stream) && detail.contains("2024-01-10T"), "{path}: {detail}");
    let text = refused.to_string();
    assert!(
        !text.contains(".seg") && !text.contains("segments") && !text.contains("checksum"),
        "{path}: {text}"
    );
    let partial = server.send(&request(true)).expect(200);
    assert_eq!(partial["partial"], true, "{path}");
    if let Some(quantiles) = partial.get("exactness").map(|e| &e["quantiles"]) {
        assert_eq!(*quantiles, json!({"exact": false, "relative_error": null}), "{path}");
    }
    let damaged = partial["damaged"].as_array().expect("what is damaged");
    assert!(damaged.iter().any(|range| range["stream"] == *stream), "{path}: {damaged:?}");
    for range in damaged {
        let (start, end) =
            (range["start"].as_str().expect("an instant"), range["end"].as_str().expect("an instant"));
        assert!(start < "2024-01-12" && end > "2024-01-10", "{path}: {range}");
    }
}

/// A store with one segment of all three streams, and events in memory that come later.
fn damaged_store(damage: impl Fn(&Path)) -> (tempfile::TempDir, Program, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let program = Program::serve(dir.path());
    let server = program.start();
    let key = server.key("acme");
    for (stream, record) in [
        (
            "events",
            json!({"event_type": "login", "user_id": "u1", "id": "e1", "timestamp": "2024-01-10T10:00:00Z"}),
        ),
        (
            "audit",
            json!({"action_type": "user.login", "user_id": "u1", "id": "a1", "timestamp": "2024-01-10T10:00:00Z"}),
        ),
        (
            "metrics",
            json!({"name": "requests.count", "value": 7, "app_id": "shop", "timestamp": "2024-01-10T10:00:00Z"}),
        ),
    ] {
        server.post(&format!("/api/insights/import/?stream={stream}"), &key, &record, 202);
    }
    server.stop();
    damage(&newest(&dir.path().join("segments"), "seg"));
    (dir, program, key)
}

fn cut_in_half(path: &Path) {
    let len = fs::metadata(path).expect("a file").len();
    OpenOptions::new().write(true).open(path).expect("a file").set_len(len / 2).expect("cut");
}

#[test]
fn a_cut_segment_is_named_by_stream_and_window_and_nothing_else_stops() {
    let (_dir, program, key) = damaged_store(cut_in_half);
    let server = program.start();
    let window = json!({"start_date": "2024-01-10", "end_date": "2024-01-11"});
    let mut performance = window.clone();
    performance["app_id"] = json!("shop");
    let mut query = window.clone();
    query["name"] = json!("requests.count");
    for (family, stream) in [("user_activity", "events"), ("app_metrics", "metrics")] {
        let mut analytics = window.clone();
        analytics["metrics"] = json!([family]);
        check_damage(&server, &key, "POST", "/api/insights/analytics/", &analytics, stream);
    }
    check_damage(&server, &key, "POST", "/api/insights/performance/", &performance, "metrics");
    check_damage(&server, &key, "POST", "/api/insights/metrics/query/", &query, "metrics");
    check_damage(&server, &key, "GET", "/api/insights/events/", &Value::Null, "events");
    check_damage(&server, &key, "GET", "/api/insights/audit/", &Value::Null, "audit");
    check_damage(&server, &key, "GET", "/api/insights/audit/actions/", &Value::Null, "audit");
    check_damage(&server, &key, "GET", "/api/insights/metrics/", &Value::Null, "metrics");
    let ready = server.get("/readyz", "");
    assert_eq!(ready["status"], "ready");
    let streams: Vec<_> =
        ready["damaged"].as_array().expect("a list").iter().map(|d| d["stream"].as_str()).collect();
    for stream in ["events", "audit", "metrics"] {
        assert!(streams.contains(&Some(stream)), "{ready}");
    }
    assert!(!ready.to_string().contains(".seg"));

    // What is whole is answered: windows that the damage does not touch, and new records. The damage may reach up to
    // now: the server keeps points of its own requests when it stops.
    let elsewhere = json!({"start_date": "2023-12-01", "end_date": "2023-12-02"});
    let answer = server.post("/api/insights/analytics/", &key, &elsewhere, 200);
    assert!(answer.get("partial").is_none(), "{answer}");
    let event =
        json!({"event_type": "login", "user_id": "u2", "id": "e2", "timestamp": "2023-12-01T10:00:00Z"});
    server.post("/api/insights/import/?stream=events", &key, &event, 202);
    let answer = server.post("/api/insights/analytics/", &key, &elsewhere, 200);
    assert_eq!(answer["metrics"]["user_activity"]["summary"]["events"], 1);
    let listed = server.get("/api/insights/events/?start=2023-12-01&end=2023-12-02", &key);
    assert_eq!(listed["results"][0]["id"], "e2");
    server.stop();
    program.start().stop();
}

#[test]
fn a_segment_that_is_gone_is_damage_too() {
    let (_dir, program, key) = damaged_store(|path| fs::remove_file(path).expect("removed"));
    let server = program.start();
    let activity =
        json!({"start_date": "2024-01-10", "end_date": "2024-01-11", "metrics": ["user_activity"]});
    check_damage(&server, &key, "POST", "/api/insights/analytics/", &activity, "events");
    assert_ne!(server.get("/readyz", "")["damaged"], json!([]));
    server.stop();
}
