//! The numbers of stored reports: what the other routes answer to the same question, and what was worked out by hand.

use serde_json::{Value, json};

use super::{asked, made, send};
use crate::testing::TestApp;

const DAY: &str = "2023-11-13";

/// Two days of an organization: users on pages, an application with routes and an outage, a host, an audit log.
async fn platform(app: &TestApp) -> String {
    let key = app.key("acme", &["admin"]).await;
    let event = |user: &str, kind: &str, at: &str| {
        json!({"event_type": kind, "user_id": user, "timestamp": at, "app_id": "shop",
               "event_data": {"page": "/cart"}})
    };
    let events = [
        event("ann", "page_view", "2023-11-12T09:00:00Z"),
        event("ann", "page_view", "2023-11-13T09:00:00Z"),
        event("ann", "checkout", "2023-11-13T09:10:00Z"),
        event("bob", "page_view", "2023-11-13T09:20:00Z"),
        event("bob", "page_view", "2023-11-13T23:59:59Z"),
    ];
    send(app, &key, "track", &events).await;
    let point = |name: &str, route: &str, value: f64, at: &str| json!({"name": name, "value": value, "timestamp": at, "app_id": "shop", "labels": {"route": route}});
    let points = [
        point("requests.count", "/cart", 90.0, "2023-11-13T09:00:00Z"),
        point("requests.count", "/pay", 10.0, "2023-11-13T10:00:00Z"),
        point("errors.count", "/pay", 4.0, "2023-11-13T10:00:00Z"),
        point("response.time", "/cart", 20.0, "2023-11-13T09:00:00Z"),
        point("response.time", "/cart", 40.0, "2023-11-13T09:00:00Z"),
        point("response.time", "/pay", 900.0, "2023-11-13T10:00:00Z"),
        point("requests.count", "/cart", 50.0, "2023-11-12T09:00:00Z"),
    ];
    send(app, &key, "metrics", &points).await;
    let probe = |up: u8, at: &str| json!({"name": "uptime", "value": up, "timestamp": at, "app_id": "shop"});
    let probes = [
        probe(1, "2023-11-13T12:00:00Z"),
        probe(0, "2023-11-13T12:05:00Z"),
        probe(0, "2023-11-13T12:10:00Z"),
        probe(1, "2023-11-13T12:15:00Z"),
    ];
    send(app, &key, "metrics", &probes).await;
    let host =
        |value: f64, at: &str| json!({"name": "cpu.usage", "value": value, "timestamp": at, "host": "h"});
    send(app, &key, "metrics", &[host(20.0, "2023-11-13T00:00:00Z"), host(60.0, "2023-11-13T23:00:00Z")])
        .await;
    let act = |action: &str, outcome: &str, at: &str| json!({"action_type": action, "user_id": "ann", "outcome": outcome, "timestamp": at, "severity": "warning"});
    let acts = [
        act("project.created", "success", "2023-11-13T08:00:00Z"),
        act("project.created", "failure", "2023-11-13T08:01:00Z"),
        act("user.login", "success", "2023-11-13T08:02:00Z"),
        act("user.login", "success", "2023-11-12T08:02:00Z"),
    ];
    send(app, &key, "audit", &acts).await;
    key
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_has_the_numbers_that_were_worked_out_by_hand() {
    let app = TestApp::new();
    let key = platform(&app).await;
    let report = made(&app, &key, json!({"type": "daily", "date": DAY})).await["report"].take();
    let activity = &report["metrics"]["user_activity"]["summary"];
    for (name, expected) in [
        ("events", json!(4)),
        ("active_users", json!(2)),
        ("sessions", json!(3)),
        ("pages_visited", json!(3)),
        ("actions_performed", json!(1)),
        ("features_used", json!(1)),
        ("time_on_platform_s", json!(600)),
    ] {
        assert_eq!(activity[name], expected, "{name}: {activity}");
    }
    // 600, 0 and 0 seconds.
    assert_eq!(activity["session_duration"]["avg_s"], 200.0);
    let change = &report["comparison"]["metrics"]["user_activity"]["change"];
    assert_eq!(change["events"], json!({"absolute": 3, "relative": 3.0}));
    let apps = &report["metrics"]["app_metrics"];
    assert_eq!((&apps["summary"]["requests"], &apps["summary"]["errors"]), (&json!(100), &json!(4)));
    assert_eq!(apps["summary"]["error_rate"], 0.04);
    assert_eq!(apps["apps"][0]["app_id"], "shop");
    let cpu = &report["metrics"]["system_performance"]["summary"]["cpu.usage"];
    assert_eq!((&cpu["avg"], &cpu["max"], &cpu["last"]), (&json!(40.0), &json!(60.0), &json!(60.0)));
    assert_eq!(report["metrics"]["user_activity"]["series"][9]["events"], 3);
    assert_eq!(report["metrics"]["user_activity"]["series"][23]["events"], 1);
    let audit = json!({
        "records": 3, "failures": 1, "actions_omitted": 0,
        "by_severity": {"info": 0, "notice": 0, "warning": 3, "error": 0, "critical": 0},
        "actions": [{"action_type": "project.created", "count": 2, "failures": 1},
                    {"action_type": "user.login", "count": 1, "failures": 0}],
    });
    assert_eq!(report["audit"], audit);
    assert_eq!(report["definition_versions"]["active_users"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_has_the_numbers_that_were_worked_out_by_hand() {
    let app = TestApp::new();
    let key = platform(&app).await;
    let wanted = json!({"type": "application", "app_id": "shop", "date": DAY});
    let report = made(&app, &key, wanted).await["report"].take();
    let metrics = &report["metrics"];
    assert_eq!(
        (&metrics["error_rate"]["requests"], &metrics["error_rate"]["rate"]),
        (&json!(100), &json!(0.04))
    );
    assert_eq!(
        (&metrics["response_time"]["count"], &metrics["response_time"]["avg"]),
        (&json!(3), &json!(320.0))
    );
    // Two satisfied of three, one tolerating: (2 + 0.5) / 3.
    assert_eq!(metrics["response_time"]["apdex"]["score"], 0.83);
    // Up 5 minutes, down 10, up the 10 minutes that a state holds.
    let uptime = &metrics["uptime"];
    assert_eq!((&uptime["ratio"], &uptime["down_s"]), (&json!(0.6), &json!(600)));
    assert_eq!(
        uptime["incidents"],
        json!([{"start": "2023-11-13T12:05:00Z", "end": "2023-11-13T12:15:00Z", "duration_s": 600}])
    );
    assert_eq!(metrics["error_rate"]["series"].as_array().unwrap().len(), 24);
    let change = &report["comparison"]["metrics"]["error_rate"]["change"]["requests"];
    assert_eq!(change, &json!({"absolute": 50, "relative": 1.0}));
    let routes = &report["routes"];
    let names = |list: &str| {
        routes[list].as_array().unwrap().iter().map(|row| row["route"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(routes["count"], 2);
    assert_eq!(names("by_requests"), ["/cart", "/pay"]);
    assert_eq!(names("slowest"), ["/pay", "/cart"]);
    assert_eq!(names("by_errors"), ["/pay"]);
    let pay = &routes["by_errors"][0];
    assert_eq!((&pay["requests"], &pay["errors"], &pay["error_rate"]), (&json!(10), &json!(4), &json!(0.4)));
    assert_eq!((&pay["avg_ms"], &routes["by_requests"][0]["avg_ms"]), (&json!(900.0), &json!(30.0)));
}

/// Takes a member out, as an answer has it that a report has elsewhere or not at all.
fn without(mut value: Value, names: &[&str]) -> Value {
    for name in names {
        value.as_object_mut().unwrap().remove(*name);
    }
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_numbers_are_those_of_the_other_routes() {
    let app = TestApp::new();
    let key = platform(&app).await;
    for flushed in [false, true] {
        if flushed {
            app.flush();
        }
        // Another zone a round, so that the second report is computed from segments.
        let zone = if flushed { "Asia/Kathmandu" } else { "America/New_York" };
        let window = json!({"start_date": "2023-11-12", "end_date": DAY, "timezone": zone});
        let with = |more: Value| {
            let mut body = window.clone();
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        let report = made(&app, &key, with(json!({"type": "organization"}))).await["report"].take();
        let question = with(json!({"group_by": "day", "compare": "previous_period"}));
        let live = asked(&app, &key, "/api/insights/analytics/", &question).await;
        for part in ["metrics", "comparison", "exactness", "window"] {
            assert_eq!(report[part], live[part], "{part} in {zone}");
        }
        let report =
            made(&app, &key, with(json!({"type": "application", "app_id": "shop"}))).await["report"].take();
        // Two days are told by hours.
        let question = with(json!({"app_id": "shop", "group_by": "hour"}));
        let live = asked(&app, &key, "/api/insights/performance/", &question).await;
        assert_eq!(report["metrics"], live["metrics"], "{zone}");
        let question =
            with(json!({"name": "requests.count", "aggregates": ["sum"], "by": ["route"], "step": "1d"}));
        let series = asked(&app, &key, "/api/insights/metrics/query/", &question).await["series"].take();
        for one in series.as_array().unwrap() {
            let total: f64 =
                one["points"].as_array().unwrap().iter().map(|p| p["sum"].as_f64().unwrap()).sum();
            let rows = report["routes"]["by_requests"].as_array().unwrap();
            let row = rows.iter().find(|row| row["route"] == one["labels"]["route"]).unwrap();
            assert_eq!(row["requests"].as_f64(), Some(total), "{one}");
        }
        let day = with(json!({"type": "daily", "start_date": DAY}));
        let report = made(&app, &key, day).await["report"].take();
        let question = with(json!({"start_date": DAY, "group_by": "hour", "compare": "previous_period"}));
        let live = asked(&app, &key, "/api/insights/analytics/", &question).await;
        assert_eq!(report["metrics"], live["metrics"], "{zone}");
        assert_eq!(report["comparison"], live["comparison"], "{zone}");
        let head = without(live, &["metrics", "comparison"]);
        assert_eq!((&report["window"], &report["timezone"]), (&head["window"], &head["timezone"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_say_what_their_numbers_mean_in_the_language_that_is_wanted() {
    let app = TestApp::new();
    let key = platform(&app).await;
    let body = json!({"start_date": DAY, "end_date": DAY, "metrics": ["user_activity"]});
    let english = asked(&app, &key, "/api/insights/analytics/", &body).await;
    let french = asked(&app, &key, "/api/insights/analytics/?lang=fr", &body).await;
    let text = |answer: &Value| answer["definitions"]["bounce_rate"]["text"].as_str().unwrap().to_owned();
    assert!(text(&english).starts_with("Sessions with") && text(&french).starts_with("Part des"));
    assert_eq!(english["definitions"]["requests"], Value::Null, "no such number is in the answer");
    let path = format!("/api/insights/performance/?app_id=shop&start_date={DAY}&end_date={DAY}&lang=fr");
    let performance = super::get(&app, &key, &path).await.json();
    assert_eq!(performance["definitions"]["apdex"]["version"], 1, "{performance}");
    assert!(performance["definitions"]["apdex"]["text"].as_str().unwrap().contains("satisfaits"));
    let report = made(&app, &key, json!({"type": "daily", "date": DAY})).await;
    assert_eq!(report["definitions"]["audit"]["version"], 1);
}
