//! Stories of lists over the whole application: pages, cursors, formats, who may see what, and what it leaves behind.

use axum::http::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::testing::{Answer, NOW, ROOT, TestApp};

const AUDIT: &str = "/api/insights/audit/";
const EVENTS: &str = "/api/insights/events/";
/// 2023-11-14T22:00:00Z, a while before the tests begin.
const START: i64 = 1_699_999_200;

async fn get(app: &TestApp, key: &str, path: &str) -> Answer {
    app.call(Method::GET, path, key, &Value::Null).await
}

async fn post(app: &TestApp, key: &str, path: &str, body: Value) {
    let answer = app.call(Method::POST, path, key, &body).await;
    assert!(answer.status.is_success(), "{answer:?}");
}

/// `count` audit records named by their number, one a second; every third one failed.
async fn write_audit(app: &TestApp, key: &str, numbers: std::ops::Range<i64>) {
    let records: Vec<Value> = numbers
        .map(|n| {
            json!({"id": format!("a{n:03}"), "action_type": if n % 2 == 0 { "project.created" } else { "user.login" },
                   "user_id": format!("u{}", n % 5), "description": format!("=number {n}"), "timestamp": START + n,
                   "outcome": if n % 3 == 0 { "failure" } else { "success" }, "severity": "warning",
                   "content_object": {"type": "project", "id": format!("p{n}")}, "metadata": {"n": n}})
        })
        .collect();
    post(app, key, AUDIT, Value::Array(records)).await;
}

fn ids(answer: &Answer) -> Vec<String> {
    let json = answer.json();
    let results = json["results"].as_array().unwrap_or_else(|| panic!("{answer:?}"));
    results.iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect()
}

/// All ids of a list, page by page; `between` runs after every page.
async fn walk(app: &TestApp, key: &str, path: &str, mut between: impl AsyncFnMut()) -> Vec<String> {
    let mut all = Vec::new();
    let mut next = path.to_owned();
    loop {
        let answer = get(app, key, &next).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        all.extend(ids(&answer));
        let link = answer.headers.get(header::LINK).map(|link| link.to_str().unwrap().to_owned());
        assert_eq!(link.is_some(), answer.json()["next_cursor"].is_string());
        let Some(link) = link else { return all };
        next = link.strip_prefix('<').unwrap().split('>').next().unwrap().to_owned();
        between().await;
    }
}

#[tokio::test]
async fn pages_miss_and_repeat_nothing_while_records_are_written() {
    let app = TestApp::new();
    let key = app.key("acme", &["audit:write", "audit:read"]).await;
    write_audit(&app, &key, 0..40).await;
    app.flush();
    write_audit(&app, &key, 40..60).await;
    for order in ["desc", "asc"] {
        let first = get(&app, &key, &format!("{AUDIT}?limit=1000&order={order}")).await;
        let mut new = 100;
        let path = format!("{AUDIT}?limit=7&order={order}");
        let walked = walk(&app, &key, &path, async || {
            write_audit(&app, &key, new..new + 3).await;
            new += 3;
            app.flush();
        });
        assert_eq!(walked.await, ids(&first), "{order}");
    }
}

#[tokio::test]
async fn filters_select_and_are_bound_to_their_cursor() {
    let app = TestApp::new();
    let key = app.key("acme", &["audit:write", "audit:read"]).await;
    let other = app.key("other", &["audit:write", "audit:read"]).await;
    write_audit(&app, &key, 0..30).await;
    write_audit(&app, &other, 0..30).await;
    for (filter, expected) in [
        ("user_id=u1", 6),
        ("action_type=user.login", 15),
        ("action_prefix=project.", 15),
        ("outcome=failure", 10),
        ("severity=error", 0),
        ("object_id=p7&object_type=project", 1),
        ("q=number%2012", 1),
        (&format!("start={}&end={}", START + 5, START + 10), 5),
        ("start=2023-11-14&end=2023-11-14", 30),
        ("start=2023-11-15", 0),
    ] {
        let answer = get(&app, &key, &format!("{AUDIT}?limit=1000&{filter}")).await;
        assert_eq!(ids(&answer).len(), expected, "{filter}");
    }
    let answer = get(&app, &key, &format!("{AUDIT}?limit=2&outcome=failure")).await;
    let cursor = answer.json()["next_cursor"].as_str().unwrap().to_owned();
    let follow =
        async |key: &str, rest: &str| get(&app, key, &format!("{AUDIT}?{rest}&cursor={cursor}")).await;
    assert_eq!(ids(&follow(&key, "outcome=failure&limit=3&fields=id").await).len(), 3);
    for (key, rest) in [(&key, "outcome=success"), (&key, "limit=2"), (&other, "outcome=failure")] {
        let answer = follow(key, rest).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(answer.json()["code"], "invalid_cursor", "{rest}");
    }
}

#[tokio::test]
async fn every_format_has_the_same_records() {
    let app = TestApp::new();
    let key = app.key("acme", &["track", "read"]).await;
    let events: Vec<Value> = (0..1200)
        .map(|n| {
            json!({"id": format!("e{n}"), "event_type": "page_view", "timestamp": START + n, "user_id": "u",
                   "event_data": {"page": format!("/p{}", n % 3), "n": n, "text": "=1+1, \"x\""}})
        })
        .collect();
    post(&app, &key, "/api/insights/track/", Value::Array(events)).await;
    let page = "event_data.page=/p1&limit=5&fields=id,event_data,user_id";
    let json = get(&app, &key, &format!("{EVENTS}?{page}")).await;
    let ndjson = get(&app, &key, &format!("{EVENTS}?{page}&format=ndjson")).await;
    let lines: Vec<Value> =
        ndjson.bytes.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!(json.json()["results"], Value::Array(lines));
    assert_eq!(json.headers.get(header::LINK).is_some(), ndjson.headers.get(header::LINK).is_some());
    let csv = get(&app, &key, &format!("{EVENTS}?{page}&format=csv")).await;
    let text = String::from_utf8(csv.bytes).unwrap();
    assert!(text.starts_with("id,event_data,user_id\r\ne1198,\"{"), "{text}");
    assert_eq!(text.matches("\r\n").count(), 6);

    let all = get(&app, &key, &format!("{EVENTS}?limit=all&format=csv&fields=id")).await;
    let text = String::from_utf8(all.bytes).unwrap();
    let expected: Vec<String> = (0..1200).rev().map(|n| format!("e{n}")).collect();
    assert_eq!(text, format!("id\r\n{}\r\n", expected.join("\r\n")));
    let refused = get(&app, &key, &format!("{EVENTS}?limit=all")).await;
    assert_eq!(refused.json()["errors"][0]["pointer"], "/limit");
    let refused = get(&app, &key, &format!("{EVENTS}?fields=nope")).await;
    assert_eq!(refused.json()["errors"][0]["code"], "unknown_field");
}

#[tokio::test]
async fn a_field_is_the_same_alone_and_beside_the_others() {
    let app = TestApp::new();
    let key = app.key("acme", &["audit:write", "audit:read", "track", "read"]).await;
    write_audit(&app, &key, 0..3).await;
    let event = json!({"event_type": "page_view", "timestamp": START, "session_id": "s", "user_id": "u",
                       "app_id": "shop", "ip_address": "192.0.2.1", "user_agent": "x", "request_id": "r",
                       "trace_id": "t", "event_data": {"page": "/p"}});
    post(&app, &key, "/api/insights/track/", json!([event])).await;
    for list in [AUDIT, EVENTS] {
        let whole = get(&app, &key, list).await.json();
        let records = whole["results"].as_array().unwrap();
        assert!(!records.is_empty());
        for field in records[0].as_object().unwrap().keys() {
            let alone = get(&app, &key, &format!("{list}?fields={field}")).await.json();
            let expected: Vec<Value> = records.iter().map(|r| json!({field: r[field]})).collect();
            assert_eq!(alone["results"], Value::Array(expected), "{field}");
        }
    }
}

#[tokio::test]
async fn one_record_and_the_actions_are_seen_by_their_own_organization_alone() {
    let app = TestApp::new();
    let key = app.key("acme", &["audit:write", "audit:read"]).await;
    let other = app.key("other", &["audit:read", "read"]).await;
    write_audit(&app, &key, 0..3).await;
    let record = get(&app, &key, "/api/insights/audit/a001/").await;
    assert_eq!(record.json()["action_type"], "user.login");
    assert_eq!(record.json()["metadata"], json!({"n": 1}));
    assert_eq!(record.json()["leaf_hash"].as_str().map(str::len), Some(64));
    for (key, path) in [(&other, "a001"), (&key, "a009"), (&other, "nothing")] {
        let answer = get(&app, key, &format!("/api/insights/audit/{path}/")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
    let actions = get(&app, &key, "/api/insights/audit/actions/").await.json();
    let expected = json!({"action_type": "project.created", "count": 2, "first_seen": "2023-11-14T22:00:00Z",
                          "last_seen": "2023-11-14T22:00:02Z"});
    assert_eq!(actions["results"][0], expected);
    assert_eq!(get(&app, &other, "/api/insights/audit/actions/").await.json()["results"], json!([]));
    assert_eq!(
        get(&app, &other, &format!("{AUDIT}?organization_id=acme")).await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(get(&app, &other, EVENTS).await.status, StatusCode::OK);
    let writer = app.key("acme", &["audit:write"]).await;
    assert_eq!(get(&app, &writer, AUDIT).await.status, StatusCode::FORBIDDEN);
}

/// One member of every row of a list, page by page; every page tells its time and leads on by `Link`.
async fn walk_tables(app: &TestApp, key: &str, path: &str, member: &str) -> Vec<String> {
    let (mut all, mut next) = (Vec::new(), path.to_owned());
    loop {
        let answer = get(app, key, &next).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let timing = answer.headers[crate::http::timing::SERVER_TIMING].to_str().unwrap().to_owned();
        assert!(timing.starts_with("engine;dur="), "{timing}");
        let json = answer.json();
        let rows = json["results"].as_array().unwrap();
        all.extend(rows.iter().map(|row| row[member].as_str().unwrap().to_owned()));
        let link = answer.headers.get(header::LINK).map(|link| link.to_str().unwrap().to_owned());
        assert_eq!(link.is_some(), json["next_cursor"].is_string(), "{json}");
        let Some(link) = link else { return all };
        next = link.strip_prefix('<').unwrap().split('>').next().unwrap().to_owned();
    }
}

#[tokio::test]
async fn keys_metrics_and_actions_come_in_pages_too() {
    let app = TestApp::new();
    let key = app.key("acme", &["audit:write", "audit:read", "read", "metrics:write", "admin"]).await;
    for _ in 0..4 {
        app.key("acme", &["read"]).await;
    }
    let other = app.key("other", &["audit:read", "read", "admin"]).await;
    // As many of some actions as of others: those are told apart by name.
    let records: Vec<Value> = (0..30)
        .map(|n| json!({"action_type": format!("act.{:02}", n % 7), "user_id": "u", "timestamp": START + n}))
        .collect();
    post(&app, &key, AUDIT, Value::Array(records)).await;
    for (path, member) in [
        ("/api/insights/keys/", "id"),
        ("/api/insights/metrics/", "name"),
        ("/api/insights/audit/actions/", "action_type"),
    ] {
        let whole = get(&app, &key, &format!("{path}?limit=1000")).await.json();
        assert!(whole["next_cursor"].is_null(), "{path}");
        let rows = whole["results"].as_array().unwrap();
        let expected: Vec<&str> = rows.iter().map(|row| row[member].as_str().unwrap()).collect();
        assert!(expected.len() >= 5, "{path}: {expected:?}");
        assert_eq!(walk_tables(&app, &key, &format!("{path}?limit=2"), member).await, expected, "{path}");
        let csv = get(&app, &key, &format!("{path}?limit=all&format=csv")).await;
        assert_eq!(String::from_utf8(csv.bytes).unwrap().lines().count(), expected.len() + 1, "{path}");
        for bad in ["limit=0", "limit=1001", "limit=all", "limit=x"] {
            let answer = get(&app, &key, &format!("{path}?{bad}")).await;
            assert_eq!(answer.json()["errors"][0]["pointer"], "/limit", "{path}?{bad}");
        }
        let first = get(&app, &key, &format!("{path}?limit=2")).await.json();
        let cursor = first["next_cursor"].as_str().unwrap();
        let foreign = get(&app, &other, &format!("{path}?cursor={cursor}")).await;
        assert_eq!(foreign.json()["code"], "invalid_cursor", "{path}");
        let events = get(&app, &key, &format!("{EVENTS}?cursor={cursor}")).await;
        assert_eq!(events.json()["code"], "invalid_cursor", "{path}");
        let narrower = get(&app, &key, &format!("{path}?allow_partial=true&limit=3&cursor={cursor}")).await;
        assert_eq!(
            narrower.status,
            if member == "id" { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK }
        );
    }
}

#[tokio::test]
async fn later_pages_of_actions_count_what_the_first_page_counted() {
    let app = TestApp::new();
    let key = app.key("acme", &["audit:write", "audit:read"]).await;
    let records = |range: std::ops::Range<i64>, action: &str| {
        Value::Array(
            range.map(|n| json!({"action_type": action, "user_id": "u", "timestamp": START + n})).collect(),
        )
    };
    post(&app, &key, AUDIT, records(0..3, "a.often")).await;
    post(&app, &key, AUDIT, records(0..2, "b.twice")).await;
    post(&app, &key, AUDIT, records(0..1, "c.once")).await;
    let path = "/api/insights/audit/actions/?limit=1";
    let first = get(&app, &key, path).await.json();
    assert_eq!(
        (&first["results"][0]["action_type"], &first["results"][0]["count"]),
        (&json!("a.often"), &json!(3))
    );
    app.clock.advance(std::time::Duration::from_mins(1));
    // Were these counted, `b.twice` would stand before where the page ended, and be missed.
    post(&app, &key, AUDIT, records(10..20, "b.twice")).await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = get(&app, &key, &format!("{path}&cursor={cursor}")).await.json();
    assert_eq!(
        (&second["results"][0]["action_type"], &second["results"][0]["count"]),
        (&json!("b.twice"), &json!(2))
    );
}

/// The actions of the records of our own acts in an organization's log, once there are `count` of them.
async fn own_acts(app: &TestApp, organization: &str, count: usize) -> Vec<String> {
    let path = format!("{AUDIT}?organization_id={organization}&action_prefix=insights.&order=asc");
    loop {
        // They are written beside the answer: asking again is waiting for them.
        let json = get(app, ROOT, &path).await.json();
        let results = json["results"].as_array().unwrap();
        if results.len() >= count {
            return results.iter().map(|r| r["action_type"].as_str().unwrap().to_owned()).collect();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn reads_exports_and_key_changes_leave_one_record_a_minute() {
    let app = TestApp::new();
    let key = app.key("acme", &["audit:write", "audit:read"]).await;
    write_audit(&app, &key, 0..3).await;
    for path in ["", "?limit=2", "?user_id=u1", "?format=csv", "?format=ndjson"] {
        assert_eq!(get(&app, &key, &format!("{AUDIT}{path}")).await.status, StatusCode::OK);
    }
    assert_eq!(ids(&get(&app, &key, AUDIT).await).len(), 3, "our own acts are not listed");
    // The key that was made, the read, the export, and the superuser's own look.
    let mut acts = own_acts(&app, "acme", 4).await;
    acts.sort();
    let expected =
        ["insights.audit.exported", "insights.audit.read", "insights.audit.read", "insights.key.created"];
    assert_eq!(acts, expected);
    let listed = get(&app, &key, &format!("{AUDIT}?include=insights")).await;
    assert_eq!(ids(&listed).len(), 7);

    get(&app, ROOT, EVENTS).await;
    get(&app, ROOT, EVENTS).await;
    let platform = own_acts(&app, "_platform", 2).await;
    assert_eq!(platform.iter().filter(|a| *a == "insights.organizations.read").count(), 1);
}

#[tokio::test]
async fn metrics_and_usage_tell_what_is_kept() {
    let app = TestApp::new();
    let key = app.key("acme", &["metrics:write", "read"]).await;
    let points = json!([
        {"name": "cpu.usage", "value": 1, "host": "a", "timestamp": START},
        {"name": "cpu_usage", "value": 2.5, "host": "b", "timestamp": START + 1},
        {"name": "jobs.done", "value": 7, "type": "counter", "unit": "jobs", "timestamp": START},
    ]);
    post(&app, &key, "/api/insights/metrics/", points).await;
    let answer = get(&app, &key, "/api/insights/metrics/").await.json();
    let metric = |name: &str| {
        answer["results"].as_array().unwrap().iter().find(|m| m["name"] == name).cloned().unwrap()
    };
    assert_eq!(metric("cpu.usage")["last_value"], 2.5);
    assert_eq!(metric("cpu.usage")["points"], 2);
    assert_eq!(metric("uptime")["points"], 0);
    let jobs = metric("jobs.done");
    assert_eq!((jobs["type"].as_str(), jobs["unit"].as_str()), (Some("counter"), Some("jobs")));
    let csv = get(&app, &key, "/api/insights/metrics/?format=csv").await;
    assert!(
        String::from_utf8(csv.bytes).unwrap().contains("jobs.done,counter,jobs,,1,7,2023-11-14T22:00:00Z")
    );

    let usage = get(&app, &key, "/api/insights/organizations/acme/usage/").await.json();
    assert_eq!(usage["streams"]["metrics"]["rows"], 3);
    assert_eq!(usage["streams"]["metrics"]["series"], 3);
    for (who, path, expected) in [
        (&key[..], "other", StatusCode::FORBIDDEN),
        (&key[..], "a%20b", StatusCode::UNPROCESSABLE_ENTITY),
        (ROOT, "nobody", StatusCode::NOT_FOUND),
        (ROOT, "acme", StatusCode::OK),
    ] {
        let answer = get(&app, who, &format!("/api/insights/organizations/{path}/usage/")).await;
        assert_eq!(answer.status, expected, "{path}");
    }
    assert_eq!(NOW.0 / 1_000_000, START + 800);
}
