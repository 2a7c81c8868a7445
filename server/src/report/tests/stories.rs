//! Small platforms whose every number was computed by hand.

#![expect(clippy::needless_pass_by_value, reason = "bodies are written where they are sent")]

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::testing::{Answer, ROOT, TestApp};

const ALL: [&str; 4] = ["track", "metrics:write", "read", "admin"];

async fn post(app: &TestApp, path: &str, key: &str, body: Value) -> Answer {
    app.call(Method::POST, path, key, &body).await
}

async fn track(app: &TestApp, key: &str, events: Value) {
    let answer = post(app, "/api/insights/track/", key, events).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.json());
    assert_eq!(answer.json()["rejected"], 0, "{}", answer.json());
}

async fn measure(app: &TestApp, key: &str, points: Value) {
    let answer = post(app, "/api/insights/metrics/", key, points).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.json());
    assert_eq!(answer.json()["rejected"], 0, "{}", answer.json());
}

async fn analytics(app: &TestApp, key: &str, body: Value) -> Value {
    let answer = post(app, "/api/insights/analytics/", key, body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
    answer.json()
}

/// Two days of three people: s1 of u1 (10 minutes), u2 over midnight (20 minutes), v1 (1 minute, a bounce).
async fn three_people(app: &TestApp, key: &str) {
    let events = json!([
        {"event_type": "page_view", "user_id": "u1", "session_id": "s1", "timestamp": "2023-11-13T10:00:00Z", "app_id": "a", "event_data": {"page": "/home"}},
        {"event_type": "button_click", "user_id": "u1", "session_id": "s1", "timestamp": "2023-11-13T10:05:00Z", "app_id": "a", "event_data": {"feature": "export"}},
        {"event_type": "page_view", "user_id": "u1", "session_id": "s1", "timestamp": "2023-11-13T10:10:00Z", "app_id": "b", "event_data": {"path": "/pricing", "plan": "pro"}},
        {"event_type": "page.viewed", "user_id": "u2", "timestamp": "2023-11-14T00:10:00Z", "event_data": {"url": "/home", "plan": "pro"}},
        {"event_type": "login", "user_id": "u2", "timestamp": "2023-11-13T23:50:00Z"},
        {"event_type": "heartbeat", "anonymous_id": "v1", "timestamp": "2023-11-14T12:00:00Z", "event_data": {"interactive": false}},
        {"event_type": "signup", "anonymous_id": "v1", "timestamp": "2023-11-14T12:01:00Z", "event_data": {"plan": 7}},
    ]);
    track(app, key, events).await;
}

fn window(extra: Value) -> Value {
    let mut body = json!({"start_date": "2023-11-13", "end_date": "2023-11-14"});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn the_activity_of_three_people_is_counted_as_by_hand() {
    let app = TestApp::new();
    let key = app.key("acme", &ALL).await;
    three_people(&app, &key).await;
    let expected = json!({
        "summary": {
            "events": 7, "active_users": 3, "sessions": 3, "session_duration": {"avg_s": 620.0, "median_s": 600.0},
            "bounce_rate": 1.0 / 3.0, "pages_visited": 3, "actions_performed": 3, "features_used": 3,
            "time_on_platform_s": 1860,
        },
        "event_types": [
            {"event_type": "page_view", "count": 2, "users": 1}, {"event_type": "button_click", "count": 1, "users": 1},
            {"event_type": "heartbeat", "count": 1, "users": 1}, {"event_type": "login", "count": 1, "users": 1},
            {"event_type": "page.viewed", "count": 1, "users": 1}, {"event_type": "signup", "count": 1, "users": 1},
        ],
        "pages": [{"page": "/home", "count": 2, "users": 2}, {"page": "/pricing", "count": 1, "users": 1}],
        "features": [
            {"feature": "export", "count": 1, "users": 1}, {"feature": "login", "count": 1, "users": 1},
            {"feature": "signup", "count": 1, "users": 1},
        ],
        "series": [
            {"bucket": "2023-11-13T00:00:00Z", "partial": false, "events": 4, "active_users": 2, "sessions": 2,
             "active_sessions": 2, "avg_session_duration_s": 900.0, "pages_visited": 2, "actions_performed": 2,
             "time_on_platform_s": 1200},
            {"bucket": "2023-11-14T00:00:00Z", "partial": false, "events": 3, "active_users": 2, "sessions": 1,
             "active_sessions": 2, "avg_session_duration_s": 60.0, "pages_visited": 1, "actions_performed": 1,
             "time_on_platform_s": 660},
        ],
    });
    for flushed in [false, true] {
        if flushed {
            app.flush();
        }
        let exactly = json!({"metrics": ["user_activity"], "exact": true});
        let answer = analytics(&app, &key, window(exactly)).await;
        assert_eq!(answer["metrics"]["user_activity"], expected, "flushed: {flushed}");
        // Without rows the median alone is of a histogram.
        let mut nearly = analytics(&app, &key, window(json!({"metrics": ["user_activity"]}))).await;
        let median = nearly["metrics"]["user_activity"]["summary"]["session_duration"]["median_s"].take();
        assert!((median.as_f64().unwrap() / 600.0 - 1.0).abs() < 0.0055, "{median}");
        nearly["metrics"]["user_activity"]["summary"]["session_duration"]["median_s"] = json!(600.0);
        assert_eq!(nearly["metrics"]["user_activity"], expected, "flushed: {flushed}");
        assert_eq!(answer["organization_id"], "acme");
        assert_eq!(answer["window"], json!({"start": "2023-11-13T00:00:00Z", "end": "2023-11-15T00:00:00Z"}));
        // Now is 22:13:20 of the second day.
        assert_eq!(answer["complete_until"], "2023-11-14T22:13:20Z");
        assert_eq!(answer["exactness"]["sessions"], json!({"exact": true, "relative_error": 0.0}));
        assert_eq!(answer["comparison"], json!({}));
    }
    // The whole window is a bucket of a week that it cuts.
    let answer =
        analytics(&app, &key, window(json!({"metrics": ["user_activity"], "group_by": "week"}))).await;
    let row = &answer["metrics"]["user_activity"]["series"][0];
    assert_eq!((&row["bucket"], &row["partial"]), (&json!("2023-11-13T00:00:00Z"), &json!(true)));
    assert_eq!((&row["active_sessions"], &row["sessions"]), (&json!(3), &json!(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_and_applications_select_events_before_sessions_are_cut() {
    let app = TestApp::new();
    let key = app.key("acme", &ALL).await;
    three_people(&app, &key).await;
    let summary = async |extra: Value| {
        let mut body = window(extra);
        body["metrics"] = json!(["user_activity"]);
        analytics(&app, &key, body).await["metrics"]["user_activity"]["summary"].clone()
    };
    // In application a, s1 has two events that are five minutes apart.
    let in_a = summary(json!({"app_id": "a"})).await;
    assert_eq!((&in_a["events"], &in_a["session_duration"]["avg_s"]), (&json!(2), &json!(300.0)));
    let pro = summary(json!({"filters": [["event_data.plan", "is", "pro"]]})).await;
    assert_eq!(
        (&pro["events"], &pro["active_users"], &pro["bounce_rate"]),
        (&json!(2), &json!(2), &json!(1.0))
    );
    // A missing field makes every op false but is_not and not.
    for (filters, events) in [
        (json!(["event_data.plan", "is_not", "pro"]), 5),
        (json!({"not": ["event_data.plan", "is", "pro"]}), 5),
        (json!(["event_data.plan", "gte", 7]), 1),
        (json!(["event_data.plan", "exists"]), 3),
        (json!({"or": [["user_id", "starts_with", "u2"], ["event_type", "contains", "up"]]}), 3),
        (json!([["user_id", "in", ["u1", "u2"]], ["timestamp", "lt", "2023-11-13T10:05:00Z"]]), 1),
    ] {
        assert_eq!(summary(json!({"filters": filters})).await["events"], events, "{filters}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breakdown_names_the_same_keys_in_every_bucket() {
    let app = TestApp::new();
    let key = app.key("acme", &ALL).await;
    three_people(&app, &key).await;
    let breakdown = async |by: &str| {
        let body = window(json!({"metrics": ["user_activity"], "breakdown": by}));
        let answer = analytics(&app, &key, body).await;
        let series = answer["metrics"]["user_activity"]["series"].as_array().unwrap().clone();
        Value::Array(series.into_iter().map(|row| row["breakdown"].clone()).collect())
    };
    let count = |key: &str, count: u64| json!({"key": key, "count": count});
    let pages = json!([[count("/home", 1), count("/pricing", 1)], [count("/home", 1), count("/pricing", 0)]]);
    assert_eq!(breakdown("page").await, pages);
    let apps = json!([[count("a", 2), count("b", 1)], [count("a", 0), count("b", 0)]]);
    assert_eq!(breakdown("app_id").await, apps);
    let plans = json!([[count("pro", 1), count("7", 0)], [count("pro", 1), count("7", 1)]]);
    assert_eq!(breakdown("event_data.plan").await, plans);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_previous_period_stands_beside_this_one() {
    let app = TestApp::new();
    let key = app.key("acme", &ALL).await;
    three_people(&app, &key).await;
    let body = json!({"start_date": "2023-11-14", "end_date": "2023-11-14", "compare": "previous_period", "metrics": ["user_activity"]});
    let answer = analytics(&app, &key, body).await;
    let comparison = &answer["comparison"];
    // Of today 22 h 13 min 20 s have passed, so yesterday is compared up to then: without the login at 23:50.
    assert_eq!(comparison["window"], json!({"start": "2023-11-13T00:00:00Z", "end": "2023-11-13T22:13:20Z"}));
    let family = &comparison["metrics"]["user_activity"];
    assert_eq!(family["summary"]["events"], 3);
    assert_eq!(family["change"]["active_users"], json!({"absolute": 1, "relative": 1.0}));
    assert_eq!(family["change"]["events"], json!({"absolute": 0, "relative": 0.0}));
    assert_eq!(family["change"]["session_duration.avg_s"], json!({"absolute": -540, "relative": -0.9}));
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_the_organizations_own_or_those_of_the_platform() {
    let app = TestApp::new();
    let (acme, other) = (app.key("acme", &ALL).await, app.key("other", &ALL).await);
    let at = "2023-11-14T10:00:00Z";
    measure(
        &app,
        &acme,
        json!([
            {"name": "cpu.usage", "value": 20, "host": "h1", "timestamp": "2023-11-13T10:00:00Z"},
            {"name": "cpu_usage", "value": 40, "host": "h2", "timestamp": at},
            {"name": "cpu.usage", "value": 90, "app_id": "a", "timestamp": at},
            {"name": "network.in", "value": 100, "host": "h1", "timestamp": at},
            {"name": "network.in", "value": 50, "host": "h1", "timestamp": at},
        ]),
    )
    .await;
    measure(&app, ROOT, json!([{"name": "cpu.usage", "value": 5, "host": "p", "timestamp": at, "organization_id": "_platform"}])).await;
    let system = async |key: &str, extra: Value| {
        let mut body = window(extra);
        body["metrics"] = json!(["system_performance"]);
        analytics(&app, key, body).await["metrics"]["system_performance"].clone()
    };
    let own = system(&acme, json!({"exact": true})).await;
    assert_eq!(own["scope"], "organization");
    let cpu = json!({"count": 2, "avg": 30.0, "min": 20.0, "max": 40.0, "p50": 30.0, "p95": 39.0, "p99": 39.8, "last": 40.0});
    assert_eq!(own["summary"]["cpu.usage"], cpu);
    assert_eq!(
        (&own["summary"]["network.in"]["sum"], &own["summary"]["network.in"]["avg"]),
        (&json!(150), &json!(75.0))
    );
    let nothing = json!({"count": 0, "avg": null, "min": null, "max": null, "p50": null, "p95": null, "p99": null, "last": null});
    assert_eq!(own["summary"]["memory.usage"], nothing);
    assert_eq!(own["series"][0]["cpu.usage"], json!({"avg": 20.0, "max": 20.0, "p95": 20.0}));
    assert_eq!(own["series"][0]["network.in"], json!({"sum": 0, "avg": null, "max": null, "p95": null}));
    assert_eq!(own["series"].as_array().unwrap().len(), 2);
    let shared = system(&other, json!({})).await;
    assert_eq!(
        (&shared["scope"], &shared["summary"]["cpu.usage"]["last"]),
        (&json!("platform"), &json!(5.0))
    );
    // Hosts that are silent in the window are hosts all the same.
    let silent = system(&acme, json!({"start_date": "2023-11-01", "end_date": "2023-11-02"})).await;
    assert_eq!(
        (&silent["scope"], &silent["summary"]["cpu.usage"]["count"]),
        (&json!("organization"), &json!(0))
    );
    assert_eq!(system(ROOT, json!({})).await["summary"]["cpu.usage"]["count"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_performance_of_an_application_is_counted_as_by_hand() {
    let app = TestApp::new();
    let key = app.key("acme", &ALL).await;
    let mut points: Vec<Value> = Vec::new();
    let mut point = |name: &str, value: f64, at: String| {
        points.push(json!({"name": name, "value": value, "app_id": "shop", "timestamp": at}));
    };
    for (value, minute) in [(100.0, 0), (200.0, 1), (600.0, 2), (3_000.0, 3)] {
        point("response_time", value, format!("2023-11-14T10:0{minute}:00Z"));
    }
    point("requests.count", 80.0, "2023-11-14T10:00:00Z".into());
    point("requests.count", 20.0, "2023-11-14T11:00:00Z".into());
    point("errors.count", 5.0, "2023-11-14T11:00:00Z".into());
    // Probes every five minutes from ten to eleven; 10:20 and 10:25 fail, 10:40 fails alone.
    for i in 0..12 {
        let up = if [4, 5, 8].contains(&i) { 0.0 } else { 1.0 };
        point("uptime", up, format!("2023-11-14T10:{:02}:00Z", i * 5));
    }
    measure(&app, &key, Value::Array(points)).await;
    let body = json!({"app_id": "shop", "start_date": "2023-11-14T10:00:00Z", "end_date": "2023-11-14T12:00:00Z", "group_by": "hour", "exact": true});
    for flushed in [false, true] {
        if flushed {
            app.flush();
        }
        let answer = post(&app, "/api/insights/performance/", &key, body.clone()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
        let metrics = &answer.json()["metrics"];
        let times = &metrics["response_time"];
        // Sorted 100, 200, 600, 3000: the median is between the middle two; two are satisfied, one tolerates.
        assert_eq!(
            (&times["count"], &times["avg"], &times["p50"]),
            (&json!(4), &json!(975.0), &json!(400.0))
        );
        assert_eq!(times["apdex"], json!({"t_ms": 500, "score": 0.63}));
        let rate = &metrics["error_rate"];
        assert_eq!(
            (&rate["requests"], &rate["errors"], &rate["rate"]),
            (&json!(100), &json!(5), &json!(0.05))
        );
        assert_eq!((&rate["series"][0]["rate"], &rate["series"][1]["rate"]), (&json!(0.0), &json!(0.25)));
        // Down from 10:20 to 10:30; the probe of 10:55 holds until 11:05: 65 of 120 minutes are known.
        let uptime = &metrics["uptime"];
        assert_eq!((&uptime["ratio"], &uptime["basis"]), (&json!(55.0 / 65.0), &json!("probe")));
        assert_eq!((&uptime["coverage"], &uptime["down_s"]), (&json!(65.0 / 120.0), &json!(600)));
        let incident =
            json!({"start": "2023-11-14T10:20:00Z", "end": "2023-11-14T10:30:00Z", "duration_s": 600});
        assert_eq!(uptime["incidents"], json!([incident]));
        assert_eq!(
            uptime["series"][1],
            json!({"bucket": "2023-11-14T11:00:00Z", "partial": false, "ratio": 1.0})
        );
    }
    let answer = analytics(&app, &key, window(json!({"metrics": ["app_metrics"], "exact": true}))).await;
    let metrics = &answer["metrics"]["app_metrics"];
    let numbers = json!({
        "requests": 100, "errors": 5, "error_rate": 0.05, "uptime": 55.0 / 65.0,
        "response_time": {"count": 4, "avg": 975.0, "min": 100.0, "max": 3000.0, "p50": 400.0,
                          "p90": 2280.0, "p95": 2640.0, "p99": 2928.0},
    });
    assert_eq!(metrics["summary"]["requests"], numbers["requests"]);
    let row = metrics["apps"][0].as_object().unwrap();
    assert_eq!(row["app_id"], "shop");
    for (name, value) in numbers.as_object().unwrap() {
        if name != "response_time" {
            assert_eq!(&row[name], value, "{name}");
        }
    }
    for (name, value) in numbers["response_time"].as_object().unwrap() {
        let found = row["response_time"][name].as_f64().unwrap();
        assert!((found - value.as_f64().unwrap()).abs() < 1e-9, "{name}: {found}");
    }
    assert_eq!(metrics["series"][0]["requests"], 0);
    assert_eq!(metrics["series"][1]["error_rate"], 0.05);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_about_metrics_is_dense_and_told_apart_by_labels() {
    let app = TestApp::new();
    let key = app.key("acme", &ALL).await;
    measure(&app, &key, json!([
        {"name": "queue.depth", "value": 3, "timestamp": "2023-11-14T10:00:10Z", "labels": {"queue": "mail"}},
        {"name": "queue.depth", "value": 5, "timestamp": "2023-11-14T10:00:20Z", "labels": {"queue": "mail"}},
        {"name": "queue.depth", "value": 7, "timestamp": "2023-11-14T10:02:00Z", "labels": {"queue": "jobs"}},
    ])).await;
    let query = async |body: Value| {
        let answer = post(&app, "/api/insights/metrics/query/", &key, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
        answer.json()["series"].clone()
    };
    let mut body = json!({"name": "queue.depth", "start": "2023-11-14T10:00:00Z", "end": "2023-11-14T10:03:00Z", "step": "1m",
        "aggregates": ["avg", "sum", "count", "last", "rate"]});
    let point = |minute: u8, sum: u8, count: u8, rest: Value| {
        let mut point = json!({"bucket": format!("2023-11-14T10:0{minute}:00Z"), "partial": false, "sum": sum, "count": count});
        point.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        point
    };
    let nothing = json!({"avg": null, "last": null, "rate": null});
    let first = point(0, 8, 2, json!({"avg": 4, "last": 5, "rate": 8.0 / 60.0}));
    let expected = json!([{"name": "queue.depth", "labels": {}, "points": [
        first, point(1, 0, 0, nothing.clone()), point(2, 7, 1, json!({"avg": 7, "last": 7, "rate": 7.0 / 60.0})),
    ]}]);
    assert_eq!(query(body.clone()).await, expected);
    body["by"] = json!(["queue"]);
    let told_apart = query(body.clone()).await;
    assert_eq!(
        (&told_apart[0]["labels"], &told_apart[1]["labels"]),
        (&json!({"queue": "jobs"}), &json!({"queue": "mail"}))
    );
    assert_eq!(told_apart[1]["points"][0], first);
    body["filters"] = json!(["labels.queue", "is", "jobs"]);
    assert_eq!(query(body).await.as_array().unwrap().len(), 1);
    let unknown = json!({"name": "nothing", "start": "2023-11-14T10:00:00Z", "end": "2023-11-14T10:01:00Z", "step": "1m"});
    assert_eq!(
        query(unknown).await[0]["points"],
        json!([{"bucket": "2023-11-14T10:00:00Z", "partial": false, "avg": null}])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn series_are_given_as_csv_and_ndjson() {
    let app = TestApp::new();
    let key = app.key("acme", &ALL).await;
    three_people(&app, &key).await;
    let body = window(json!({"metrics": ["user_activity"]}));
    let csv = post(&app, "/api/insights/analytics/?format=csv", &key, body.clone()).await;
    assert!(csv.headers["content-type"].to_str().unwrap().starts_with("text/csv"));
    let text = String::from_utf8(csv.bytes).unwrap();
    assert!(text.starts_with("bucket,partial,user_activity.actions_performed,"), "{text}");
    assert_eq!(text.lines().count(), 3);
    let ndjson = post(&app, "/api/insights/analytics/?format=ndjson", &key, body).await;
    let lines = String::from_utf8(ndjson.bytes).unwrap();
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["bucket"], &first["user_activity.events"]),
        (&json!("2023-11-13T00:00:00Z"), &json!(4))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reads_what_is_not_theirs() {
    let app = TestApp::new();
    let (acme, other) = (app.key("acme", &ALL).await, app.key("other", &["read"]).await);
    three_people(&app, &acme).await;
    let writer = app.key("acme", &["track"]).await;
    let routes = ["/api/insights/analytics/", "/api/insights/performance", "/api/insights/metrics/query/"];
    for path in routes {
        let body = json!({"start_date": "2023-11-13", "end_date": "2023-11-14", "organization_id": "acme"});
        let mut body = body;
        if path.contains("performance") {
            body["app_id"] = json!("a");
        } else if path.contains("query") {
            body["name"] = json!("cpu.usage");
        }
        assert_eq!(post(&app, path, &other, body.clone()).await.status, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(post(&app, path, &writer, body.clone()).await.status, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(
            post(&app, path, "ins_wrong", body.clone()).await.status,
            StatusCode::UNAUTHORIZED,
            "{path}"
        );
        assert_eq!(post(&app, path, ROOT, body.clone()).await.status, StatusCode::OK, "{path}");
        body["start_date"] = json!("2023-11-15");
        let late = post(&app, path, &acme, body).await;
        assert_eq!(
            (late.status, late.json()["code"].clone()),
            (StatusCode::UNPROCESSABLE_ENTITY, json!("invalid"))
        );
    }
    let mine = analytics(&app, &other, window(json!({}))).await;
    assert_eq!(mine["metrics"]["user_activity"]["summary"]["events"], 0);
    let all = analytics(&app, ROOT, window(json!({"metrics": ["user_activity"]}))).await;
    assert_eq!(
        (&all["organization_id"], &all["metrics"]["user_activity"]["summary"]["events"]),
        (&Value::Null, &json!(7))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_of_users_are_derived_from_their_events() {
    let app = TestApp::new();
    let key = app.key("acme", &ALL).await;
    three_people(&app, &key).await;
    let query = async |extra: Value| {
        let answer = post(&app, "/api/insights/metrics/query/", &key, window(extra)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
        answer.json()["series"].clone()
    };
    let names = json!(["session.duration", "pages_visited", "actions.performed"]);
    let got = query(json!({"names": names, "aggregates": ["count", "sum", "avg"]})).await;
    let numbers = |series: usize| {
        let point = |p: &Value| json!([p["count"], p["sum"], p["avg"]]);
        Value::Array(got[series]["points"].as_array().unwrap().iter().map(point).collect())
    };
    assert_eq!(got[2]["name"], "session.duration");
    assert_eq!([numbers(0), numbers(1)], [json!([[2, 2, 1], [1, 1, 1]]), json!([[2, 2, 1], [1, 1, 1]])]);
    assert_eq!(numbers(2), json!([[2, 1800, 900], [1, 60, 60]]));
    let by_app =
        query(json!({"name": "pages.visited", "by": ["app_id"], "aggregates": ["sum"], "user_id": "u1"}))
            .await;
    assert_eq!(by_app[0]["labels"], json!({"app_id": "a"}));
    assert_eq!((&by_app[1]["points"][0]["sum"], by_app.as_array().unwrap().len()), (&json!(1), 2));
    // Events have no hosts, and a client's own points stand for themselves.
    assert_eq!(query(json!({"name": "pages.visited", "by": ["host"]})).await, json!([]));
    let own = json!([{"name": "pages.visited", "value": 40, "timestamp": "2023-11-14T10:00:00Z"}]);
    measure(&app, &key, own).await;
    let own = query(json!({"name": "pages.visited", "aggregates": ["sum"]})).await;
    assert_eq!((&own[0]["points"][0]["sum"], &own[0]["points"][1]["sum"]), (&json!(0), &json!(40)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_window_has_no_buckets_and_no_numbers() {
    let app = TestApp::new();
    let key = app.key("acme", &ALL).await;
    three_people(&app, &key).await;
    let at = "2023-11-14T00:10:00Z";
    let answer = analytics(&app, &key, json!({"start_date": at, "end_date": at, "breakdown": "page"})).await;
    let activity = &answer["metrics"]["user_activity"];
    assert_eq!((&activity["summary"]["events"], &activity["series"]), (&json!(0), &json!([])));
    let body = json!({"app_id": "a", "start_date": at, "end_date": at});
    let answer = post(&app, "/api/insights/performance/", &key, body).await.json();
    assert_eq!(answer["metrics"]["uptime"]["series"], json!([]));
}
