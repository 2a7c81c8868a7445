//! The requests of the platform as it writes them today, over a month whose numbers are known.

use serde_json::{Value, json};

use crate::http::Request;
use crate::program::{Program, ROOT, Running};

/// `POST track/` of the platform.
const TRACK: &str = r#"{
  "event_type": "button_click",
  "event_data": {
    "button_name": "submit",
    "page": "dashboard"
  },
  "session_id": "optional_session_id"
}"#;

/// `POST analytics/` of the platform.
const ANALYTICS: &str = r#"{
  "organization_id": "uuid",
  "start_date": "2024-01-01",
  "end_date": "2024-01-31",
  "metrics": ["user_activity", "system_performance", "app_metrics"],
  "group_by": "day"
}"#;

/// `POST performance/` of the platform.
const PERFORMANCE: &str = r#"{
  "app_id": "uuid",
  "start_date": "2024-01-01",
  "end_date": "2024-01-31",
  "metrics": ["response_time", "error_rate", "uptime"]
}"#;

/// Six events inside January and two just outside.
fn events() -> Value {
    json!([
        {"event_type": "page_view", "user_id": "u1", "session_id": "s1", "timestamp": "2024-01-01T09:00:00Z", "event_data": {"page": "/home"}},
        {"event_type": "button_click", "user_id": "u1", "session_id": "s1", "timestamp": "2024-01-01T09:10:00Z"},
        // Across midnight, without a session of the client: one chain of u2.
        {"event_type": "button_click", "user_id": "u2", "timestamp": "2024-01-01T23:50:00Z", "event_data": {"feature": "export"}},
        {"event_type": "page_view", "user_id": "u2", "timestamp": "2024-01-02T00:10:00Z", "event_data": {"page": "/home"}},
        {"event_type": "page_view", "user_id": "u1", "session_id": "s2", "timestamp": "2024-01-15T12:00:00Z", "event_data": {"page": "/pricing"}},
        {"event_type": "login", "user_id": "u3", "session_id": "s3", "timestamp": "2024-01-31T23:59:59Z"},
        {"event_type": "page_view", "user_id": "u4", "session_id": "s4", "timestamp": "2024-02-01T00:00:00Z"},
        {"event_type": "page_view", "user_id": "u5", "session_id": "s5", "timestamp": "2023-12-31T23:59:59Z"},
    ])
}

/// Response times, requests, probes and two hosts' load.
fn points() -> Value {
    let mut points = Vec::new();
    let mut of_app = |name: &str, value: f64, at: String| {
        points.push(json!({"name": name, "value": value, "app_id": "uuid", "timestamp": at}));
    };
    for (minute, ms) in [100.0, 200.0, 400.0, 600.0, 3_000.0].into_iter().enumerate() {
        of_app("response_time", ms, format!("2024-01-10T10:0{minute}:00Z"));
    }
    of_app("requests.count", 80.0, "2024-01-10T10:00:00Z".into());
    of_app("requests.count", 20.0, "2024-01-11T10:00:00Z".into());
    of_app("errors.count", 5.0, "2024-01-11T10:00:00Z".into());
    // A probe every five minutes from 10:00 to 10:55: 10:20 and 10:25 fail, 10:40 fails alone.
    for probe in 0..12 {
        let up = if [4, 5, 8].contains(&probe) { 0.0 } else { 1.0 };
        of_app("uptime", up, format!("2024-01-10T10:{:02}:00Z", probe * 5));
    }
    for (host, value, day) in [("web-1", 20.0, 1), ("web-2", 40.0, 2)] {
        points.push(json!({"name": "cpu.usage", "value": value, "host": host, "timestamp": format!("2024-01-0{day}T12:00:00Z")}));
    }
    Value::Array(points)
}

fn ask(server: &Running, path: &str, key: &str, body: &str) -> Value {
    let request = Request::new("POST", path, key).header("content-type", "application/json").body(body);
    server.send(&request).expect(200)
}

#[track_caller]
fn assert_near(found: &Value, expected: f64) {
    let found = found.as_f64().expect("a number");
    assert!((found - expected).abs() <= expected.abs() * 0.0055 + 1e-9, "{found}, not {expected}");
}

fn check_user_activity(family: &Value) {
    // Durations are 600 s, 1,200 s and two of one event; those two are bounces.
    let summary = json!({
        "events": 6, "active_users": 3, "sessions": 4, "session_duration": {"avg_s": 450.0, "median_s": 300.0},
        "bounce_rate": 0.5, "pages_visited": 3, "actions_performed": 3, "features_used": 3, "time_on_platform_s": 1800,
    });
    let mut found = family["summary"].clone();
    assert_near(&found["session_duration"]["median_s"], 300.0);
    found["session_duration"]["median_s"] = json!(300.0);
    assert_eq!(found, summary);
    let count =
        |name: &str, key: &str, count: u64, users: u64| json!({name: key, "count": count, "users": users});
    assert_eq!(
        family["event_types"],
        json!([
            count("event_type", "page_view", 3, 2),
            count("event_type", "button_click", 2, 2),
            count("event_type", "login", 1, 1)
        ])
    );
    assert_eq!(family["pages"], json!([count("page", "/home", 2, 2), count("page", "/pricing", 1, 1)]));
    let features = ["button_click", "export", "login"].map(|name| count("feature", name, 1, 1));
    assert_eq!(family["features"], json!(features));
    let series = family["series"].as_array().expect("buckets");
    assert_eq!(series.len(), 31);
    let row = |day: usize, numbers: [u64; 7], avg: Value| {
        let [events, users, sessions, active, pages, actions, time] = numbers;
        json!({"bucket": format!("2024-01-{day:02}T00:00:00Z"), "partial": false, "events": events, "active_users": users,
            "sessions": sessions, "active_sessions": active, "avg_session_duration_s": avg, "pages_visited": pages,
            "actions_performed": actions, "time_on_platform_s": time})
    };
    for (index, found) in series.iter().enumerate() {
        let expected = match index + 1 {
            1 => row(1, [3, 2, 2, 2, 1, 2, 1_200], json!(900.0)),
            2 => row(2, [1, 1, 0, 1, 1, 0, 600], Value::Null),
            15 => row(15, [1, 1, 1, 1, 1, 0, 0], json!(0.0)),
            31 => row(31, [1, 1, 1, 1, 0, 1, 0], json!(0.0)),
            day => row(day, [0; 7], Value::Null),
        };
        assert_eq!(*found, expected);
    }
}

fn check_system_performance(family: &Value) {
    assert_eq!(family["scope"], "organization");
    let cpu = &family["summary"]["cpu.usage"];
    for (name, expected) in [("count", 2.0), ("avg", 30.0), ("min", 20.0), ("max", 40.0), ("last", 40.0)] {
        assert_eq!(cpu[name].as_f64(), Some(expected), "{name}");
    }
    let nothing = json!({"count": 0, "avg": null, "min": null, "max": null, "p50": null, "p95": null, "p99": null, "last": null});
    assert_eq!(family["summary"]["memory.usage"], nothing);
    let series = family["series"].as_array().expect("buckets");
    assert_eq!(series.len(), 31);
    assert_eq!(series[0]["cpu.usage"]["avg"], json!(20.0));
    assert_eq!(series[1]["cpu.usage"]["max"], json!(40.0));
    assert_eq!(series[2]["cpu.usage"], json!({"avg": null, "max": null, "p95": null}));
}

fn check_app_metrics(family: &Value) {
    let app = &family["apps"][0];
    assert_eq!(app["app_id"], "uuid");
    for numbers in [&family["summary"], app] {
        assert_eq!((&numbers["requests"], &numbers["errors"]), (&json!(100), &json!(5)));
        assert_eq!((&numbers["error_rate"], &numbers["uptime"]), (&json!(0.05), &json!(55.0 / 65.0)));
        let times = &numbers["response_time"];
        assert_eq!((&times["count"], &times["avg"]), (&json!(5), &json!(860.0)));
        assert_eq!((&times["min"], &times["max"]), (&json!(100.0), &json!(3000.0)));
        assert_near(&times["p50"], 400.0);
    }
    let series = family["series"].as_array().expect("buckets");
    assert_eq!(series.len(), 31);
    let rates: Vec<&Value> = series.iter().map(|row| &row["error_rate"]).collect();
    assert_eq!((rates[8], rates[9], rates[10]), (&Value::Null, &json!(0.0), &json!(0.25)));
    assert_eq!(series[9]["response_time"]["avg"], json!(860.0));
    assert_eq!(series[0]["response_time"], json!({"avg": null, "p95": null}));
}

fn check_performance(answer: &Value) {
    assert_eq!(answer["app_id"], "uuid");
    let times = &answer["metrics"]["response_time"];
    assert_eq!((&times["unit"], &times["count"]), (&json!("ms"), &json!(5)));
    // 100, 200 and 400 satisfy at T = 500 ms, 600 is tolerated, 3,000 is not.
    assert_eq!(times["apdex"], json!({"t_ms": 500, "score": 0.7}));
    assert_near(&times["p50"], 400.0);
    assert_eq!(times["series"].as_array().map(Vec::len), Some(31));
    let rate = &answer["metrics"]["error_rate"];
    assert_eq!((&rate["requests"], &rate["errors"], &rate["rate"]), (&json!(100), &json!(5), &json!(0.05)));
    assert_eq!(rate["series"][0]["rate"], Value::Null);
    assert_eq!(rate["series"][10]["rate"], json!(0.25));
    // Down from 10:20 to 10:30; the probe of 10:55 holds until 11:05, so 65 minutes are known.
    let uptime = &answer["metrics"]["uptime"];
    assert_eq!((&uptime["ratio"], &uptime["basis"]), (&json!(55.0 / 65.0), &json!("probe")));
    assert_near(&uptime["percent"], 5_500.0 / 65.0);
    assert_near(&uptime["coverage"], 65.0 / (31.0 * 1_440.0));
    assert_eq!(uptime["down_s"], 600);
    let incident = json!({"start": "2024-01-10T10:20:00Z", "end": "2024-01-10T10:30:00Z", "duration_s": 600});
    assert_eq!(uptime["incidents"], json!([incident]));
    assert_eq!(uptime["series"].as_array().map(Vec::len), Some(31));
    assert_eq!(
        (&uptime["series"][8]["ratio"], &uptime["series"][9]["ratio"]),
        (&Value::Null, &json!(55.0 / 65.0))
    );
}

fn check_head(answer: &Value) {
    assert_eq!(answer["organization_id"], "uuid");
    assert_eq!((&answer["start_date"], &answer["end_date"]), (&json!("2024-01-01"), &json!("2024-01-31")));
    assert_eq!((&answer["group_by"], &answer["timezone"]), (&json!("day"), &json!("UTC")));
    assert_eq!(answer["window"], json!({"start": "2024-01-01T00:00:00Z", "end": "2024-02-01T00:00:00Z"}));
    assert_eq!(answer["complete_until"], "2024-02-01T00:00:00Z");
    for name in ["generated_at", "cached", "exactness", "cost"] {
        assert!(!answer[name].is_null(), "{name}");
    }
    assert!(answer.get("partial").is_none() && answer.get("damaged").is_none());
}

#[test]
fn the_platforms_own_requests_are_answered_with_the_right_numbers() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = Program::serve(dir.path());
    let server = program.start();
    let key = server.key("uuid");
    for (stream, records) in [("events", events()), ("metrics", points())] {
        let answer = server.post(&format!("/api/insights/import/?stream={stream}"), &key, &records, 202);
        assert_eq!(answer["accepted"], records.as_array().map(Vec::len).unwrap_or_default());
        assert_eq!((&answer["rejected"], &answer["durable"]), (&json!(0), &json!(true)));
    }
    let track = Request::new("POST", "/api/insights/track/", &key)
        .header("content-type", "application/json")
        .body(TRACK);
    let tracked = server.send(&track).expect(202);
    assert_eq!((&tracked["accepted"], &tracked["durable"]), (&json!(1), &json!(true)));
    assert_eq!(tracked["session_id"], "optional_session_id");

    let check = |server: &Running| {
        let analytics = ask(server, "/api/insights/analytics/", &key, ANALYTICS);
        check_head(&analytics);
        check_user_activity(&analytics["metrics"]["user_activity"]);
        check_system_performance(&analytics["metrics"]["system_performance"]);
        check_app_metrics(&analytics["metrics"]["app_metrics"]);
        let performance = ask(server, "/api/insights/performance/", &key, PERFORMANCE);
        check_head(&performance);
        check_performance(&performance);
        let listed = server.get("/api/insights/events/?event_type=button_click&limit=1", &key);
        let event = &listed["results"][0];
        assert_eq!(event["event_data"], json!({"button_name": "submit", "page": "dashboard"}));
        assert_eq!((&event["id"], &event["session_id"]), (&tracked["id"], &json!("optional_session_id")));
    };
    check(&server);
    // A superuser who names the organization reads the same; the key of another one is refused.
    let theirs = ask(&server, "/api/insights/analytics/", ROOT, ANALYTICS);
    check_user_activity(&theirs["metrics"]["user_activity"]);
    let foreign = server.key("other");
    server.post("/api/insights/analytics/", &foreign, &serde_json::from_str(ANALYTICS).expect("JSON"), 403);
    // From segments, after a stop in order, the numbers are the same.
    server.stop();
    check(&program.start());
}
