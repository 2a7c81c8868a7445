//! Starting, stopping, and who may use a data directory.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::http::{Request, read_answer};
use crate::program::{Program, ROOT};

#[test]
fn sigterm_lets_open_requests_end_and_exits_with_0() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = Program::serve(dir.path());
    let mut server = program.start();
    let key = server.key("acme");
    let event = json!({"event_type": "login", "user_id": "u1", "id": "sent-while-stopping"});
    let bytes = Request::new("POST", "/api/insights/track/", &key).json(&event).bytes();
    let (first, rest) = bytes.split_at(bytes.len() - 10);
    let mut stream = TcpStream::connect(server.address()).expect("a connection");
    stream.write_all(first).expect("sent");
    // Answered on another connection: the first part is surely there.
    server.get("/api/insights/keys/", ROOT);
    server.terminate();
    assert!(server.wait_for_log("stopping"));
    stream.write_all(rest).expect("sent");
    let answer = read_answer(&mut stream).expect("an answer").expect(202);
    assert_eq!((&answer["accepted"], &answer["durable"]), (&json!(1), &json!(true)));
    assert_eq!(server.wait().code(), Some(0));

    let server = program.start();
    let events = server.get("/api/insights/events/", &key);
    assert_eq!(events["results"][0]["id"], "sent-while-stopping");
    server.stop();
}

#[test]
fn a_second_process_on_the_directory_is_refused_within_a_second() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = Program::serve(dir.path());
    let server = program.start();
    // A busy machine may be slow to start a process: the best of a few counts.
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let began = Instant::now();
        let mut second = program.spawn();
        let status = second.wait();
        fastest = fastest.min(began.elapsed());
        let log = second.log_to_its_end();
        assert!(status.code().is_some_and(|code| code != 0), "{status}: {log}");
        assert!(log.contains(&dir.path().display().to_string()), "{log}");
        assert!(!log.contains("panicked") && !log.contains("Locked {"), "{log}");
        assert_eq!(log.lines().count(), 1, "{log}");
    }
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
    // The first one never noticed.
    server.get("/api/insights/keys/", ROOT);
    server.stop();
    program.start().stop();
}

fn check_modes(path: &Path) {
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(path), 0o700, "{}", path.display());
    for entry in fs::read_dir(path).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            check_modes(&path);
        } else {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }
}

#[test]
fn nobody_else_may_read_the_data_whatever_the_umask() {
    let outer = tempfile::tempdir().expect("a directory");
    let data = outer.path().join("data");
    let program = Program::serve(&data).set("INSIGHTS_SUPERUSER_KEY", "");
    let server = program.start();
    let root = fs::read_to_string(data.join("superuser.key")).expect("a key");
    let body = json!({"name": "n", "organization_id": "acme", "scopes": ["admin"]});
    let key = server.post("/api/insights/keys/", root.trim(), &body, 201)["key"]
        .as_str()
        .expect("a key")
        .to_owned();
    for (path, record) in [
        ("track", json!({"event_type": "login"})),
        ("audit", json!({"action_type": "user.login"})),
        ("metrics", json!({"name": "cpu.usage", "value": 1})),
    ] {
        let status = if path == "audit" { 201 } else { 202 };
        server.post(&format!("/api/insights/{path}/"), &key, &record, status);
    }
    check_modes(&data);
    // The stop flushes: now there are segments too.
    server.stop();
    check_modes(&data);
    assert!(fs::read_dir(&data).expect("a directory").count() > 2);
}

#[test]
fn wrong_settings_are_refused_before_anything_is_written() {
    let outer = tempfile::tempdir().expect("a directory");
    let data = outer.path().join("data");
    for (name, value) in [
        ("INSIGHTS_DURABILITY", "often"),
        ("INSIGHTS_SUPERUSER_KEY", "short"),
        ("INSIGHTS_MEMTABLE_BYTES", "0"),
    ] {
        let mut refused = Program::serve(&data).set(name, value).spawn();
        assert_eq!(refused.wait().code(), Some(78), "{name}");
        let log = refused.log_to_its_end();
        assert!(log.contains(name), "{log}");
        assert!(!data.exists());
    }
}
