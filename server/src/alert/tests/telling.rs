//! From what comes in over HTTP to a message at a real socket.

use std::collections::BTreeSet;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::notify::testing::{Receiver, config};

/// A rule for the load of each host that tells a channel.
fn load(channel: &str) -> Value {
    json!({
        "name": "Load", "severity": "critical", "channels": [channel],
        "annotations": {"summary": "{{labels.host}} is at {{value}} %"},
        "condition": {"type": "metric", "metric": "cpu.usage", "aggregate": "max", "by": ["host"], "window": "1m",
            "op": "gt", "threshold": 90},
    })
}

/// The next message, when one is on its way.
async fn message(app: &TestApp, receiver: &mut Receiver) -> Option<Value> {
    app.state.notify.step().await;
    receiver.arrived().map(|received| received.json()["data"].clone())
}

/// Status, and the hosts of its alerts with theirs.
fn short(message: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let alerts = message["alerts"].as_array().unwrap().iter();
    let alerts: Vec<String> = alerts
        .map(|alert| format!("{} {}", text(&alert["labels"]["host"]), text(&alert["status"])))
        .collect();
    format!("{}: {}", text(&message["status"]), alerts.join(", "))
}

#[tokio::test]
async fn an_alert_and_its_end_reach_a_webhook_once_each_over_a_restart() {
    let mut app = TestApp::with(config());
    let mut receiver = Receiver::start().await;
    let key = app.key("acme", &["admin"]).await;
    let channel = webhook(&app, "acme", &receiver.url("/")).await;
    rule(&app, &key, &load(&channel)).await;
    for host in ["web-1", "web-2"] {
        point(&app, &key, host, 97.0).await;
    }
    pass(&app, MINUTE).await;
    let first = message(&app, &mut receiver).await.unwrap();
    assert_eq!(short(&first), "firing: web-1 firing, web-2 firing");
    assert_eq!((&first["title"], &first["severity"]), (&json!("Load"), &json!("critical")));
    assert_eq!(first["alerts"][0]["annotations"]["summary"], "web-1 is at 97 %");
    assert_eq!(first["common_labels"], json!({"alertname": "Load", "severity": "critical"}));
    // The server ends and begins again: nobody is told twice, nothing is forgotten.
    app.restart();
    for (one, other) in [(97.0, 97.0), (97.0, 20.0), (97.0, 20.0)] {
        point(&app, &key, "web-1", one).await;
        point(&app, &key, "web-2", other).await;
        pass(&app, MINUTE).await;
        assert_eq!(message(&app, &mut receiver).await, None);
    }
    // Its end waits for the interval of the group.
    assert_eq!(told(&app, &key).await, ["firing Load web-1", "resolved Load web-2"]);
    app.restart();
    for _ in 0..2 {
        point(&app, &key, "web-1", 97.0).await;
        pass(&app, MINUTE).await;
    }
    let second = message(&app, &mut receiver).await.unwrap();
    assert_eq!(short(&second), "firing: web-1 firing, web-2 resolved");
    assert_eq!(told(&app, &key).await, ["firing Load web-1"]);
    pass(&app, MINUTE * 6).await;
    let third = message(&app, &mut receiver).await.unwrap();
    assert_eq!(short(&third), "resolved: web-1 resolved");
    assert!(told(&app, &key).await.is_empty());
    pass(&app, MINUTE * 60).await;
    assert_eq!(message(&app, &mut receiver).await, None);
    let kept =
        |prefix: &[u8]| app.state.store.catalog_scan(insights_engine::append::CatalogKind::Setting, prefix);
    assert!(kept(b"alert/group/").is_empty() && kept(b"alert/state/").is_empty());
}

#[tokio::test]
async fn what_goes_on_is_told_again_and_what_is_no_emergency_waits_for_others() {
    let app = TestApp::with(config());
    let mut receiver = Receiver::start().await;
    let key = app.key("acme", &["admin"]).await;
    let channel = webhook(&app, "acme", &receiver.url("/")).await;
    let mut body = load(&channel);
    body["severity"] = json!("warning");
    body["group_wait"] = json!("90s");
    body["repeat_interval"] = json!("10m");
    rule(&app, &key, &body).await;
    let mut minutes = Vec::new();
    for minute in 0..26 {
        point(&app, &key, "web-1", 97.0).await;
        pass(&app, MINUTE).await;
        if message(&app, &mut receiver).await.is_some() {
            minutes.push(minute);
        }
    }
    assert_eq!(minutes, [2, 12, 22]);
}

#[tokio::test]
async fn nobody_is_told_in_a_silence_and_then_they_are() {
    let app = TestApp::with(config());
    let mut receiver = Receiver::start().await;
    let (key, reader) = (app.key("acme", &["admin"]).await, app.key("acme", &["read"]).await);
    let channel = webhook(&app, "acme", &receiver.url("/")).await;
    rule(&app, &key, &load(&channel)).await;
    let silence = json!({"comment": "a new disk", "ends_at": "2023-11-14T22:18:20Z",
        "matchers": [{"label": "host", "op": "=~", "value": "web-.*"}]});
    let path = "/api/insights/alerts/silences/";
    let made = app.call(Method::POST, path, &key, &silence).await;
    assert_eq!((made.status, &made.json()["active"]), (StatusCode::CREATED, &json!(true)));
    assert_eq!(app.call(Method::POST, path, &reader, &silence).await.status, StatusCode::FORBIDDEN);
    assert_eq!(results(&app, &reader, path).await, [made.json()]);
    for _ in 0..4 {
        point(&app, &key, "web-1", 97.0).await;
        pass(&app, MINUTE).await;
        assert_eq!(message(&app, &mut receiver).await, None);
    }
    let alert = results(&app, &key, ALERTS).await.remove(0);
    assert_eq!((&alert["state"], &alert["silenced_by"]), (&json!("firing"), &json!([made.json()["id"]])));
    point(&app, &key, "web-1", 97.0).await;
    pass(&app, MINUTE).await;
    assert_eq!(short(&message(&app, &mut receiver).await.unwrap()), "firing: web-1 firing");
    // A window for everything: what ends in it ends silently.
    let window =
        json!({"name": "Move", "starts_at": "2023-11-14T22:18:20Z", "ends_at": "2023-11-14T23:00:00Z"});
    let made = app.call(Method::POST, "/api/insights/alerts/maintenance/", &key, &window).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    pass(&app, MINUTE * 10).await;
    assert_eq!(message(&app, &mut receiver).await, None);
    assert!(told(&app, &key).await.is_empty());
    let other = app.key("beta", &["admin"]).await;
    for path in [path, "/api/insights/alerts/maintenance/", ALERTS, HISTORY, RULES] {
        assert!(results(&app, &other, path).await.is_empty(), "{path}");
    }
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/api/insights/alerts/maintenance/{id}/");
    assert_eq!(app.call(Method::DELETE, &path, &other, &Value::Null).await.status, StatusCode::NOT_FOUND);
    assert_eq!(app.call(Method::DELETE, &path, &key, &Value::Null).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn an_alertmanager_hears_no_more_of_what_ended_untold() {
    let app = TestApp::with(config());
    let mut receiver = Receiver::start().await;
    let key = app.key("acme", &["admin"]).await;
    let id = ChannelId::parse(&webhook(&app, "acme", &receiver.url("/")).await).unwrap();
    let mut channel = Channel::clone(&app.state.notify.channels().find(&id).unwrap());
    channel.target =
        Target::Alertmanager { url: TargetUrl::parse(&receiver.url("/")).unwrap(), secret: None };
    app.state.notify.set_channel(channel);
    rule(&app, &key, &load(id.as_str())).await;
    point(&app, &key, "web-1", 97.0).await;
    for _ in 0..2 {
        pass(&app, MINUTE).await;
        assert_eq!(app.state.notify.step().await, 1, "told, then said again");
        assert!(receiver.arrived().is_some());
    }
    let window =
        json!({"name": "Move", "starts_at": "2023-11-14T22:15:20Z", "ends_at": "2023-11-14T23:00:00Z"});
    let made = app.call(Method::POST, "/api/insights/alerts/maintenance/", &key, &window).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    pass(&app, MINUTE * 10).await;
    pass(&app, MINUTE).await;
    assert!(told(&app, &key).await.is_empty());
    assert_eq!((app.state.notify.step().await, receiver.arrived().is_none()), (0, true));
}

#[tokio::test]
async fn a_rule_that_is_deleted_tells_of_the_end_of_its_alerts() {
    let app = TestApp::with(config());
    let mut receiver = Receiver::start().await;
    let key = app.key("acme", &["admin"]).await;
    let channel = webhook(&app, "acme", &receiver.url("/")).await;
    let id = rule(&app, &key, &load(&channel)).await;
    point(&app, &key, "web-1", 97.0).await;
    pass(&app, MINUTE).await;
    assert!(message(&app, &mut receiver).await.is_some());
    let deleted = app.call(Method::DELETE, &format!("{RULES}{id}/"), &key, &Value::Null).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    assert!(told(&app, &key).await.is_empty());
    pass(&app, MINUTE * 5).await;
    assert_eq!(short(&message(&app, &mut receiver).await.unwrap()), "resolved: web-1 resolved");
    let changes = results(&app, &key, HISTORY).await;
    assert_eq!(changes.last().unwrap()["action_type"], "insights.alert.resolved");
    assert!(app.state.alerts.book().entries(None).next().is_none());
}

#[tokio::test]
async fn of_more_alerts_than_a_message_holds_every_beginning_and_every_end_is_told() {
    let app = TestApp::with(config());
    let mut receiver = Receiver::start().await;
    let key = app.key("acme", &["admin"]).await;
    let channel = webhook(&app, "acme", &receiver.url("/")).await;
    rule(&app, &key, &load(&channel)).await;
    let points: Vec<Value> =
        (0..120).map(|n| json!({"name": "cpu.usage", "value": 97.0, "host": format!("web-{n}")})).collect();
    send(&app, &key, "metrics", &json!(points)).await;
    let mut told: BTreeSet<(String, String)> = BTreeSet::new();
    for time in [MINUTE, SECOND, SECOND].into_iter().chain([MINUTE * 6; 5]) {
        pass(&app, time).await;
        if let Some(message) = message(&app, &mut receiver).await {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let alerts = message["alerts"].as_array().unwrap().iter();
            told.extend(alerts.map(|alert| (text(&alert["status"]), text(&alert["fingerprint"]))));
        }
    }
    assert_eq!(told.len(), 240);
    assert!(super::told(&app, &key).await.is_empty());
    let kept = app.state.store.catalog_scan(insights_engine::append::CatalogKind::Setting, b"alert/state/");
    assert!(kept.is_empty());
}

#[tokio::test]
async fn the_groups_of_an_organization_are_told_with_one_append() {
    let app = TestApp::with(config());
    let mut receiver = Receiver::start().await;
    let key = app.key("acme", &["admin"]).await;
    let channel = webhook(&app, "acme", &receiver.url("/")).await;
    let mut body = load(&channel);
    body["group_by"] = json!(["host"]);
    rule(&app, &key, &body).await;
    for n in 0..12 {
        point(&app, &key, &format!("web-{n}"), 97.0).await;
    }
    app.clock.advance(MINUTE);
    for evaluation in app.state.alerts.due(app.state.clock.now()) {
        crate::alert::driver::execute(&app.state, evaluation).await;
    }
    // Frames are numbered one by one as they are submitted: between one before it and one after it there is one of the
    // dispatch. Records of own acts, the only ones beside answers, were submitted while the points were waited for; the
    // counter of frames is no judge of that, it moves after the answers.
    let frame = async || app.state.store.put(vec![]).await.unwrap().lsn.0;
    let before = frame().await;
    crate::alert::dispatch::dispatch(&app.state, &TenantId::new("acme").unwrap()).await;
    assert_eq!(frame().await, before + 2);
    let mut messages = 0;
    while message(&app, &mut receiver).await.is_some() {
        messages += 1;
    }
    assert_eq!(messages, 12);
}

#[tokio::test]
async fn an_organization_that_waits_to_be_told_holds_up_no_other() {
    let app = TestApp::with(config());
    let mut receiver = Receiver::start().await;
    let key = app.key("beta", &["admin"]).await;
    let channel = webhook(&app, "beta", &receiver.url("/")).await;
    rule(&app, &key, &load(&channel)).await;
    point(&app, &key, "web-1", 97.0).await;
    let acme = TenantId::new("acme").unwrap();
    let _turn = app.state.alerts.turn(&acme).await;
    app.state.alerts.book().tell(acme.clone(), app.state.clock.now());
    let drivers = [
        tokio::spawn(crate::alert::drive(app.state.clone())),
        tokio::spawn(crate::notify::drive(app.state.notify.clone())),
    ];
    // The first look is over, and acme is being told, before the rule of beta is due.
    while app.state.alerts.book().next_telling().is_some() {
        tokio::task::yield_now().await;
    }
    app.clock.advance(MINUTE);
    app.state.alerts.wake();
    let message = receiver.next().await.json();
    assert_eq!(short(&message["data"]), "firing: web-1 firing");
    for driver in drivers {
        driver.abort();
    }
}

/// Critical audit records of one kind for each name, which are told apart by numbers alone.
fn failures(kinds: &[&str], each: usize) -> Value {
    let of = |kind: &&str| {
        let kind = (*kind).to_owned();
        (0..each).map(move |n| {
            json!({"action_type": "job.failed", "severity": "critical", "user_id": format!("user-{n}"),
                "description": format!("{kind} of user-{n} failed after {n} s"),
                "content_object": {"type": "job", "id": format!("job-{n}")}})
        })
    };
    json!(kinds.iter().flat_map(of).collect::<Vec<_>>())
}

#[tokio::test]
async fn a_new_critical_error_is_told_within_ten_seconds_and_a_storm_is_one_message() {
    let app = TestApp::with(config());
    let mut receiver = Receiver::start().await;
    let key = app.key("acme", &["admin"]).await;
    let channel = webhook(&app, "acme", &receiver.url("/")).await;
    let id =
        rule(&app, &key, &json!({"name": "Errors", "channels": [channel], "condition": {"type": "errors"}}))
            .await;
    pass(&app, SECOND * 5).await;
    send(&app, &key, "audit", &failures(&["copy"], 300)).await;
    pass(&app, SECOND * 5).await;
    let first = message(&app, &mut receiver).await.unwrap();
    assert_eq!(first["alerts"].as_array().unwrap().len(), 1, "{first}");
    let alert = &first["alerts"][0];
    let expected = json!({"alertname": "Errors", "severity": "critical", "action_type": "job.failed",
        "object_type": "job", "error": "copy of * failed after * s"});
    assert_eq!((&alert["labels"], &alert["value"]), (&expected, &json!(300.0)));
    // More of it is no news; a storm of other kinds is one message.
    let names: Vec<String> = ('a'..='z').flat_map(|a| ['x', 'y', 'z'].map(|b| format!("{a}{b}"))).collect();
    let kinds: Vec<&str> = names.iter().map(String::as_str).collect();
    send(&app, &key, "audit", &failures(&["copy"], 50)).await;
    pass(&app, SECOND * 5).await;
    assert_eq!(message(&app, &mut receiver).await, None);
    send(&app, &key, "audit", &failures(&kinds, 10)).await;
    pass(&app, SECOND * 5).await;
    let storm = message(&app, &mut receiver).await.unwrap();
    let told = storm["alerts"].as_array().unwrap().len() as u64;
    assert_eq!(told + storm["truncated_alerts"].as_u64().unwrap(), 79, "{storm}");
    // What found no room in it is in the next one.
    pass(&app, SECOND * 5).await;
    let rest = message(&app, &mut receiver).await.unwrap();
    let alerts = [&storm, &rest].into_iter().flat_map(|message| message["alerts"].as_array().unwrap());
    let told: BTreeSet<&str> = alerts.map(|alert| alert["fingerprint"].as_str().unwrap()).collect();
    assert_eq!(told.len(), 79);
    for _ in 0..20 {
        send(&app, &key, "audit", &failures(&kinds, 2)).await;
        pass(&app, SECOND * 5).await;
        assert_eq!(message(&app, &mut receiver).await, None);
    }
    // Alerts are records themselves, and no errors.
    let shown = app.call(Method::GET, &format!("{RULES}{id}/"), &key, &Value::Null).await.json();
    assert_eq!((&shown["firing"], &shown["error"]), (&json!(79), &Value::Null));
    let all = results(&app, &key, "/api/insights/alerts/?limit=1000").await;
    let copy =
        all.iter().find(|alert| alert["labels"]["error"].as_str().unwrap().starts_with("copy")).unwrap();
    assert_eq!(copy["value"], 350.0);
    assert!(!format!("{all:?}").contains("user-"), "nobody is named");
}

#[tokio::test]
async fn an_error_that_was_received_before_a_kill_is_told_after_it() {
    let mut app = TestApp::with(config());
    let mut receiver = Receiver::start().await;
    let key = app.key("acme", &["admin"]).await;
    let channel = webhook(&app, "acme", &receiver.url("/")).await;
    rule(&app, &key, &json!({"name": "Errors", "channels": [channel], "condition": {"type": "errors"}}))
        .await;
    pass(&app, SECOND * 5).await;
    app.clock.advance(SECOND);
    send(
        &app,
        &key,
        "track",
        &json!({"event_type": "app.error", "app_id": "shop", "user_id": "ann",
        "event_data": {"message": "cart of ann is gone (code 17)"}}),
    )
    .await;
    app.restart();
    pass(&app, SECOND * 5).await;
    let told = message(&app, &mut receiver).await.unwrap();
    assert_eq!(told["alerts"][0]["labels"]["error"], "cart of * is gone (code *)");
    // Looked at again, it is the same error.
    app.restart();
    pass(&app, SECOND * 5).await;
    assert_eq!(message(&app, &mut receiver).await, None);
}

#[tokio::test]
async fn an_error_that_was_not_looked_at_before_the_last_sign_of_life_is_told_after_a_kill() {
    let mut app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    rule(&app, &key, &json!({"name": "Errors", "condition": {"type": "errors"}})).await;
    pass(&app, SECOND * 5).await;
    app.clock.advance(SECOND);
    send(&app, &key, "audit", &failures(&["copy"], 1)).await;
    app.clock.advance(SECOND);
    let now = app.state.clock.now();
    let mark = crate::alert::watch::Watch::new(None, now).mark(now).unwrap();
    app.state.store.put(vec![mark]).await.unwrap();
    app.restart();
    pass(&app, SECOND * 5).await;
    assert_eq!(told(&app, &key).await, ["firing Errors"]);
}

#[tokio::test]
async fn what_came_while_a_rule_was_disabled_is_no_news() {
    let app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    let body = |enabled: bool| json!({"name": "Errors", "enabled": enabled, "condition": {"type": "errors"}});
    let id = rule(&app, &key, &body(true)).await;
    let set = async |enabled| {
        let answer = app.call(Method::PUT, &format!("{RULES}{id}/"), &key, &body(enabled)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    };
    pass(&app, SECOND * 5).await;
    set(false).await;
    app.clock.advance(SECOND * 5);
    send(&app, &key, "audit", &failures(&["copy"], 1)).await;
    app.clock.advance(SECOND * 5);
    set(true).await;
    pass(&app, SECOND * 5).await;
    assert!(told(&app, &key).await.is_empty());
    send(&app, &key, "audit", &failures(&["move"], 1)).await;
    pass(&app, SECOND * 5).await;
    assert_eq!(told(&app, &key).await, ["firing Errors"]);
}

#[tokio::test]
async fn tables_of_alerts_have_a_name_for_every_cell() {
    let app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    let mut body = load("none");
    body["channels"] = json!([]);
    rule(&app, &key, &body).await;
    point(&app, &key, "web-1", 97.0).await;
    pass(&app, MINUTE).await;
    for path in [ALERTS, RULES] {
        let answer = app.call(Method::GET, &format!("{path}?format=csv"), &key, &Value::Null).await;
        let text = String::from_utf8(answer.bytes).unwrap();
        let cells: Vec<usize> = text.lines().map(|line| line.split(',').count()).collect();
        assert!(cells.len() == 2 && cells[0] == cells[1], "{text}");
    }
}

#[tokio::test]
async fn the_driver_evaluates_what_is_due_and_tells() {
    let app = TestApp::with(config());
    let mut receiver = Receiver::start().await;
    let key = app.key("acme", &["admin"]).await;
    let channel = webhook(&app, "acme", &receiver.url("/")).await;
    rule(&app, &key, &load(&channel)).await;
    point(&app, &key, "web-1", 97.0).await;
    let drivers = [
        tokio::spawn(crate::alert::drive(app.state.clone())),
        tokio::spawn(crate::notify::drive(app.state.notify.clone())),
    ];
    app.clock.advance(MINUTE);
    // As if something had changed: the clock of the test is not the one that the driver sleeps by.
    app.state.alerts.wake();
    let message = receiver.next().await.json();
    assert_eq!(short(&message["data"]), "firing: web-1 firing");
    for driver in drivers {
        driver.abort();
    }
}

#[tokio::test]
async fn a_rule_that_cannot_be_evaluated_says_why_and_holds_up_no_other() {
    let app = TestApp::with(config());
    let key = app.key("acme", &["admin"]).await;
    let mut body = load("none");
    body["channels"] = json!([]);
    let good = rule(&app, &key, &body).await;
    let broken = json!({"name": "Too many", "condition": {"type": "report", "report": "performance", "app_id": "shop",
        "number": "error_rate.rate", "window": "5m", "op": "gt", "threshold": 0}});
    let broken = rule(&app, &key, &broken).await;
    // What was there when it was kept is there no more.
    {
        let mut book = app.state.alerts.book();
        let mut entry = book.find(&broken).unwrap().clone();
        let mut changed = crate::alert::rule::Rule::clone(&entry.rule);
        if let crate::alert::condition::Condition::Report(condition) = &mut changed.document.condition {
            condition.number = "error_rate.gone".to_owned();
        }
        entry = entry.with_rule(std::sync::Arc::new(changed));
        book.put(entry, app.state.clock.now());
    }
    point(&app, &key, "web-1", 97.0).await;
    pass(&app, MINUTE).await;
    let show =
        async |id: &str| app.call(Method::GET, &format!("{RULES}{id}/"), &key, &Value::Null).await.json();
    assert!(show(&broken).await["error"].as_str().unwrap().contains("there is no number"));
    assert_eq!((&show(&good).await["state"], &show(&good).await["error"]), (&json!("firing"), &Value::Null));
}
