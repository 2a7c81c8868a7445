//! Valid bodies, changed at random: no answer is a 5xx, and every record is accounted for.

use insights_tests::{Answer, Call, World};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

const INGEST: [&str; 6] = [
    "/api/insights/track/",
    "/api/insights/audit/",
    "/api/insights/metrics/",
    "/api/insights/import/?stream=events",
    "/api/insights/import/?stream=audit",
    "/api/insights/import/?stream=metrics",
];

const REPORTS: [&str; 3] =
    ["/api/insights/analytics/", "/api/insights/performance/", "/api/insights/metrics/query/"];

/// Small steps of a 64-bit generator (Steele et al., `SplitMix64`), so that a seed is a body.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }

    fn choose<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Records with every field.
fn records(route: &str) -> Value {
    let shared = json!({"id": "r-1", "user_id": "u1", "app_id": "shop", "timestamp": "2024-02-09T10:00:00Z"});
    let own = if route.contains("track") || route.contains("events") {
        json!({"event_type": "page_view", "event_data": {"page": "/a", "n": [1, {"deep": 2.5}]}, "session_id": "s1",
            "anonymous_id": "v1", "ip_address": "192.0.2.1", "user_agent": "curl/8"})
    } else if route.contains("audit") {
        json!({"action_type": "project.created", "description": "d", "user_name": "U", "severity": "notice", "outcome": "failure",
            "content_object": {"type": "project", "id": "p1", "repr": "P", "url": "https://example.org"}, "targets": [{"id": "t"}],
            "metadata": {"a": {"b": 1}}, "changes": {"name": ["a", "b"], "password": ["x", "y"]}, "request_id": "q", "trace_id": "t"})
    } else {
        json!({"name": "jobs.depth", "value": 1.5, "type": "gauge", "unit": "jobs", "host": "h1", "labels": {"queue": "mail"}})
    };
    let mut record = shared;
    record.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    let mut bare = record.clone();
    for name in ["id", "user_id", "timestamp"] {
        bare.as_object_mut().unwrap().remove(name);
    }
    json!([record, bare, record])
}

/// A question with every field.
fn question(route: &str) -> Value {
    let mut body = json!({"start_date": "2024-02-08", "end_date": "2024-02-09", "group_by": "hour", "timezone": "Asia/Kathmandu",
        "exact": true, "allow_partial": false});
    let more = if route.contains("analytics") {
        json!({"metrics": ["user_activity", "app_metrics"], "week_start": "sunday", "app_id": "shop", "compare": "previous_period",
            "breakdown": "event_data.page", "filters": [["event_data.n", "gte", 1], {"or": [["user_id", "in", ["u1"]], {"not": ["event_type", "contains", "x"]}]}]})
    } else if route.contains("performance") {
        json!({"app_id": "shop", "metrics": ["uptime", "error_rate"], "apdex_t_ms": 300})
    } else {
        json!({"names": ["jobs.depth", "cpu.usage"], "aggregates": ["avg", "p95", "rate"], "by": ["host", "queue"], "filters": [["labels.queue", "is", "mail"]]})
    };
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// What nobody expects in a field.
fn strange(random: &mut Random) -> Value {
    let deep =
        (0..12).fold(json!(1), |inner, n| if n % 2 == 0 { json!([inner]) } else { json!({"k": inner}) });
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e308),
        json!(5e-324),
        json!(""),
        json!("\u{0}"),
        json!(".."),
        json!("a b"),
        json!("\u{202e}\u{1f600}"),
        json!("x".repeat(2_000)),
        json!("%s%n"),
        json!("=1+1"),
        json!("9999-12-31T23:59:59.999999Z"),
        json!("0000-01-01T00:00:00Z"),
        json!("1900-01-01"),
        json!("-0"),
        json!("1e5"),
        json!("null"),
        json!([]),
        json!({}),
        json!([null]),
        json!([[], [[]]]),
        json!({"": ""}),
        json!(["a", "a", "b"]),
        json!({"and": []}),
        json!(["user_id", "exists"]),
        deep,
    ];
    random.choose(&values).clone()
}

/// Changes one member somewhere inside of `value`, or takes it away, or adds one.
fn change(value: &mut Value, random: &mut Random) {
    let inside = random.below(3) > 0;
    match value {
        Value::Object(members) if !members.is_empty() => {
            let names: Vec<String> = members.keys().cloned().collect();
            let name = random.choose(&names).clone();
            match random.below(8) {
                0 => drop(members.remove(&name)),
                1 => drop(members.insert(format!("{name}x"), strange(random))),
                _ if inside && (members[&name].is_object() || members[&name].is_array()) => {
                    change(&mut members[&name], random);
                }
                _ => drop(members.insert(name, strange(random))),
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let index = random.below(items.len());
            match random.below(6) {
                0 => drop(items.remove(index)),
                1 => items.push(strange(random)),
                _ if inside => change(&mut items[index], random),
                _ => items[index] = strange(random),
            }
        }
        other => *other = strange(random),
    }
}

/// Changes bytes of a text: some are replaced, taken out, doubled.
fn garble(text: &str, random: &mut Random) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(4) {
            0 => bytes[at] = *random.choose(b"\0\"\\{}[],:0e-+.\xff\xc3\n "),
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..(at + random.below(9)).min(bytes.len()))),
            _ => {
                let some = bytes[at..(at + random.below(40)).min(bytes.len())].to_vec();
                bytes.splice(at..at, some);
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

fn check_counts(answer: &Answer, records: usize, what: &str) {
    let json = answer.json();
    let count = |name: &str| json[name].as_u64().unwrap_or_else(|| panic!("{what}: {json}"));
    assert_eq!(count("accepted") + count("duplicates") + count("rejected"), records as u64, "{what}: {json}");
    let told: std::collections::BTreeSet<_> =
        json["errors"].as_array().unwrap().iter().map(|e| e["index"].as_u64()).collect();
    assert_eq!(told.len() as u64, count("rejected"), "{what}: {json}");
}

fn ingest(world: &World, key: &str, random: &mut Random) {
    let route = *random.choose(&INGEST);
    let mut body = records(route);
    for _ in 0..=random.below(3) {
        let index = random.below(3);
        match &mut body {
            Value::Array(items) if random.below(4) > 0 && index < items.len() => {
                change(&mut items[index], random);
            }
            body => {
                // Still a list.
                if let Value::Array(items) = body {
                    items.push(strange(random));
                }
            }
        }
    }
    let count = body.as_array().unwrap().len();
    let what = format!("{route} {body}");
    let answer = world.post(route, key, &body);
    assert!(answer.status < 500, "{what}: {}", answer.text());
    if answer.status < 300 {
        check_counts(&answer, count, &what);
    }
    // One record a line is the same batch.
    let lines: Vec<String> = body.as_array().unwrap().iter().map(ToString::to_string).collect();
    let lines = Call::new("POST", route)
        .key(key)
        .header("content-type", "application/x-ndjson")
        .body(lines.join("\n"));
    let by_line = world.send(lines);
    assert_eq!(by_line.status, answer.status, "{what}");
    if by_line.status < 300 {
        check_counts(&by_line, count, &what);
    }
    let bytes = garble(&body.to_string(), random);
    let shown = String::from_utf8_lossy(&bytes).into_owned();
    let answer = world.send(Call::new("POST", route).key(key).body(bytes));
    assert!(answer.status < 500, "{route} {shown}: {}", answer.text());
}

fn ask(world: &World, key: &str, random: &mut Random) {
    let route = *random.choose(&REPORTS);
    let mut body = question(route);
    for _ in 0..=random.below(3) {
        change(&mut body, random);
    }
    let what = format!("{route} {body}");
    let answer = world.post(route, key, &body);
    assert!([200, 403, 422].contains(&answer.status), "{what}: {}", answer.text());
    let bytes = garble(&body.to_string(), random);
    let shown = String::from_utf8_lossy(&bytes).into_owned();
    let answer = world.send(Call::new("POST", route).key(key).body(bytes));
    assert!([200, 400, 403, 422].contains(&answer.status), "{route} {shown}: {}", answer.text());
}

#[test]
fn no_body_is_a_5xx_and_every_record_is_accounted_for() {
    let world = World::new();
    let key = world.key("acme", &["admin"]);
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&any::<u64>(), |seed| {
        let mut random = Random(seed);
        ingest(&world, &key, &mut random);
        ask(&world, &key, &mut random);
        if random.below(100) == 0 {
            world.flush();
        }
        Ok(())
    });
    outcome.unwrap();
}
