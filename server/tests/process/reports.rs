//! A report that was answered is there, with the same bytes, after the program was killed.

use serde_json::{Value, json};

use crate::http::Request;
use crate::program::Program;

#[test]
fn a_report_outlives_the_program_with_the_same_bytes() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = Program::serve(dir.path());
    let server = program.start();
    let key = server.key("acme");
    let events: Vec<Value> = (0..24)
        .map(|hour| {
            json!({"event_type": "page_view", "user_id": format!("u{}", hour % 5),
                   "timestamp": format!("2024-01-31T{hour:02}:30:00Z"), "event_data": {"page": "/home"}})
        })
        .collect();
    server.post("/api/insights/import/?stream=events", &key, &json!(events), 202);
    let wanted = json!({"type": "daily", "date": "2024-01-31"});
    let made = server.post("/api/insights/reports/", &key, &wanted, 201);
    let summary = &made["report"]["metrics"]["user_activity"]["summary"];
    assert_eq!((&summary["events"], &summary["active_users"]), (&json!(24), &json!(5)));
    server.kill();

    let path = format!("/api/insights/reports/{}/", made["id"].as_str().expect("an id"));
    let paths =
        ["?format=json", "?format=csv", "?format=ndjson", "?format=html&lang=en", "?format=html&lang=fr"]
            .map(|query| format!("{path}{query}"));
    let mut rounds = Vec::new();
    for _ in 0..2 {
        let server = program.start();
        let fetched = server.get(&path, &key);
        assert_eq!(fetched["report"], made["report"]);
        assert_eq!(fetched["sha256"], made["sha256"]);
        let again = server.post("/api/insights/reports/", &key, &wanted, 200);
        assert_eq!(again, fetched);
        let bodies = paths.each_ref().map(|path| {
            let answer = server.send(&Request::new("GET", path, &key));
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            answer.body
        });
        assert!(bodies[3].starts_with(b"<!DOCTYPE html>\n<html lang=\"en\">"));
        rounds.push(bodies);
        server.stop();
    }
    assert!(rounds[0] == rounds[1], "every format has the same bytes after another start");
}
