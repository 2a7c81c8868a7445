//! Sessions and uptime of days whose rows have expired: the answer of before out of cells, or `rows_expired`.

use insights_tests::{Answer, Call, NOW, ROOT, World};
use jiff::Timestamp;
use serde_json::{Value, json};

const MINUTE: i64 = 60_000_000;
const DAY: i64 = 1_440 * MINUTE;
/// Days before the present one that have events and probes: all but the last two of them expire.
const DAYS: i64 = 12;

fn text(at: i64) -> String {
    Timestamp::from_microsecond(at).unwrap().to_string()
}

/// Visits all around the clock, midnights included, and a probe each ten minutes with a few failures.
fn fill(world: &World, key: &str) {
    for back in 1..=DAYS {
        let start = NOW.0 - back * DAY;
        let event = |n: i64| {
            // Pauses of more than half an hour end visits: 40 minutes in, 35 minutes out.
            let at = start + (n / 4 * 75 + n % 4 * 13 + back) * MINUTE;
            let of = if n % 4 == 0 { "page_view" } else { "click" };
            json!({"event_type": of, "user_id": format!("user-{}", n / 4 % 3), "app_id": "shop",
                "timestamp": text(at)})
        };
        let events: Vec<Value> = (0..76).map(event).collect();
        let probe = |n: i64| {
            let up = if (n + back) % 29 < 2 { 0.0 } else { 1.0 };
            json!({"name": "uptime", "value": up, "app_id": "shop", "timestamp": text(start + n * 10 * MINUTE)})
        };
        let probes: Vec<Value> = (0..144).map(probe).collect();
        for (path, records) in [("track", events), ("metrics", probes)] {
            let answer = world.post(&format!("/api/insights/{path}/"), key, &json!(records));
            assert_eq!(answer.expect(202)["accepted"], records.len());
        }
    }
}

/// A question to a route, and whether cells answer it.
struct Question {
    what: &'static str,
    path: &'static str,
    body: Value,
    by_cells: bool,
}

fn questions() -> Vec<Question> {
    let window = |first: i64, last: i64, unit: &str, zone: &str| {
        let date = |back: i64| text(NOW.0 - back * DAY)[..10].to_owned();
        json!({"start_date": date(first), "end_date": date(last), "group_by": unit, "timezone": zone})
    };
    let with = |mut body: Value, more: Value| {
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let mut out = Vec::new();
    for (what, first, last, unit, zone) in [
        ("expired days", 10, 6, "day", "UTC"),
        ("partly expired", 8, 1, "day", "UTC"),
        ("hours", 9, 8, "hour", "UTC"),
        ("half an hour off", 9, 5, "day", "Asia/Kolkata"),
        ("three quarters off", 9, 5, "day", "Asia/Kathmandu"),
        ("hours three quarters off", 8, 8, "hour", "Australia/Eucla"),
        ("partly expired, three quarters off", 6, 1, "day", "Asia/Kathmandu"),
    ] {
        let body = window(first, last, unit, zone);
        let (sessions, uptime) = ("/api/insights/analytics/", "/api/insights/performance/");
        let activity = with(body.clone(), json!({"metrics": ["user_activity"]}));
        let up = with(body, json!({"app_id": "shop", "metrics": ["uptime"]}));
        let exactly = with(activity.clone(), json!({"exact": true}));
        let of_user = with(activity.clone(), json!({"filters": [["user_id", "is", "user-1"]]}));
        out.push(Question { what, path: sessions, body: activity, by_cells: true });
        out.push(Question { what, path: uptime, body: up, by_cells: true });
        out.push(Question { what, path: sessions, body: exactly, by_cells: false });
        out.push(Question { what, path: sessions, body: of_user, by_cells: false });
    }
    out
}

fn ask(world: &World, key: &str, question: &Question) -> Answer {
    world.send_over_socket(&Call::new("POST", question.path).key(key).json(&question.body))
}

/// The numbers of an answer, and nothing of how they came about.
fn numbers(answer: &Answer) -> Value {
    let metrics = answer.expect(200)["metrics"].take();
    assert!(!metrics.is_null());
    metrics
}

#[test]
fn days_without_rows_answer_as_before_or_say_that_their_rows_have_expired() {
    for known in [true, false] {
        expire_and_ask(known);
    }
}

/// Days are merged while rows are kept for 300 days, or for ever as long as nobody has said anything; then a short
/// limit is set, and rows go.
fn expire_and_ask(known: bool) {
    let world = World::new();
    let key = world.key("acme", &["admin"]);
    fill(&world, &key);
    world.flush();
    let keep = json!({"raw_days": 3});
    let path = "/api/insights/organizations/acme/retention/";
    let long = json!({"events": {"raw_days": 300}, "metrics": {"raw_days": 300}});
    if known {
        world.send(Call::new("PUT", path).key(ROOT).json(&long)).expect(200);
    }
    world.clock().advance(std::time::Duration::from_hours(2));
    world.compact();
    let before: Vec<Value> = questions().iter().map(|q| numbers(&ask(&world, &key, q))).collect();
    let segments = world.segments();
    let short = json!({"events": keep, "metrics": keep});
    world.send(Call::new("PUT", path).key(ROOT).json(&short)).expect(200);
    world.expire();
    assert!(world.segments() < segments, "rows have gone");
    for (question, before) in questions().iter().zip(before) {
        let (answer, what) = (ask(&world, &key, question), format!("{}: {}", question.what, question.body));
        if question.by_cells {
            assert_eq!(answer.status, 200, "{what}: {}", answer.text());
            assert_eq!(numbers(&answer), before, "{what}");
            continue;
        }
        let problem = answer.json();
        assert_eq!((answer.status, &problem["code"]), (422, &json!("rows_expired")), "{what}: {problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("2024-02-07T00:00:00Z are not kept"), "it says since when: {detail}");
    }
}
