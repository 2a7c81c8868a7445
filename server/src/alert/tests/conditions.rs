//! What rules look at: absence, heartbeats, reports; and what the server must not take for silence.

use serde_json::json;

use super::*;
use crate::testing::NOW;

/// The changes that history has, as `change value`.
async fn changes(app: &TestApp, key: &str) -> Vec<String> {
    let change = |record: &Value| {
        let action = record["action_type"].as_str().unwrap().trim_start_matches("insights.alert.");
        format!("{action} {}", record["metadata"]["value"])
    };
    results(app, key, HISTORY).await.iter().map(change).collect()
}

#[tokio::test]
async fn what_is_expected_and_does_not_come_is_an_alert_until_it_does() {
    let app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    let order = json!({"event_type": "order.placed", "user_id": "ann"});
    rule(&app, &key, &json!({"name": "Orders", "condition": {"type": "absence", "event_type": "order.placed", "window": "5m"}}))
        .await;
    for _ in 0..8 {
        send(&app, &key, "track", &order).await;
        pass(&app, MINUTE).await;
    }
    assert!(changes(&app, &key).await.is_empty());
    for minute in 0..6 {
        pass(&app, MINUTE).await;
        assert_eq!(told(&app, &key).await.is_empty(), minute < 4, "{minute}");
    }
    send(&app, &key, "track", &order).await;
    pass(&app, MINUTE).await;
    assert_eq!(changes(&app, &key).await, ["firing 0.0", "resolved 1.0"]);
}

#[tokio::test]
async fn a_heartbeat_that_stops_is_an_alert_of_its_source_and_stays_one() {
    let app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    let body = json!({"name": "Backup", "condition": {"type": "heartbeat", "metric": "backup.done", "by": ["host"],
        "every": "10m", "grace": "1m"}});
    rule(&app, &key, &body).await;
    let beat = |host: &str| json!({"name": "backup.done", "value": 1, "host": host});
    pass(&app, MINUTE * 30).await;
    assert!(changes(&app, &key).await.is_empty(), "what was never heard is not missed");
    for minute in 0..40 {
        if minute % 10 == 0 {
            send(&app, &key, "metrics", &beat("db-1")).await;
            if minute < 20 {
                send(&app, &key, "metrics", &beat("db-2")).await;
            }
        }
        pass(&app, MINUTE).await;
    }
    assert_eq!(told(&app, &key).await, ["firing Backup db-2"]);
    // Also when nobody remembers it any more.
    for _ in 0..50 {
        send(&app, &key, "metrics", &beat("db-1")).await;
        pass(&app, MINUTE * 60).await;
    }
    assert!(told(&app, &key).await.contains(&"firing Backup db-2".to_owned()));
    send(&app, &key, "metrics", &beat("db-2")).await;
    pass(&app, MINUTE).await;
    assert!(!told(&app, &key).await.contains(&"firing Backup db-2".to_owned()));
}

#[tokio::test]
async fn numbers_of_reports_are_looked_at_and_their_change() {
    let app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    let rate = json!({"name": "Error rate", "condition": {"type": "report", "report": "performance",
        "number": "error_rate.rate", "app_id": "shop", "window": "5m", "op": "gt", "threshold": 0.05}});
    rule(&app, &key, &rate).await;
    let fewer = json!({"name": "Fewer", "condition": {"type": "report", "report": "analytics", "compare": "relative",
        "number": "user_activity.summary.events", "window": "5m", "op": "lt", "threshold": -0.5}});
    rule(&app, &key, &fewer).await;
    for (requests, errors, events) in
        [(100, 5, 8), (100, 5, 8), (100, 5, 8), (100, 5, 8), (100, 5, 8), (100, 40, 1)]
    {
        let points = json!([{"name": "requests.count", "value": requests, "app_id": "shop"},
            {"name": "errors.count", "value": errors, "app_id": "shop"}]);
        send(&app, &key, "metrics", &points).await;
        let event = json!({"event_type": "click", "user_id": "ann"});
        send(&app, &key, "track", &json!(vec![event; events])).await;
        pass(&app, MINUTE).await;
    }
    assert_eq!(told(&app, &key).await, ["firing Error rate"]);
    for _ in 0..6 {
        pass(&app, MINUTE).await;
    }
    // Without requests there is no rate, and that is well. Of 8, 8, 8, 8, 8 and 1 events three minutes of nothing leave 9
    // in the window, after 32 in the one before.
    assert_eq!(told(&app, &key).await, ["firing Fewer"]);
    assert_eq!(changes(&app, &key).await, ["firing 0.12", "firing -0.71875", "resolved null"]);
}

#[tokio::test]
async fn a_server_that_was_away_does_not_take_its_own_silence_for_the_worlds() {
    let mut app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    let order = json!({"event_type": "order.placed", "user_id": "ann"});
    let rules = [
        json!({"name": "Orders", "condition": {"type": "absence", "event_type": "order.placed", "window": "5m"}}),
        json!({"name": "Load", "no_data": "alerting", "for": "3m", "condition": {"type": "metric", "metric": "cpu.usage",
            "window": "5m", "op": "gt", "threshold": 90}}),
    ];
    for body in &rules {
        rule(&app, &key, body).await;
    }
    for _ in 0..10 {
        send(&app, &key, "track", &order).await;
        point(&app, &key, "web-1", 10.0).await;
        pass(&app, MINUTE).await;
    }
    app.clock.advance(MINUTE * 60);
    app.restart();
    for _ in 0..4 {
        pass(&app, MINUTE).await;
        assert!(told(&app, &key).await.is_empty());
    }
    // It has been back for as long as it looks: now it is silence.
    pass(&app, MINUTE * 2).await;
    assert_eq!(told(&app, &key).await, ["firing Orders", "pending Load"]);
    assert!(app.state.clock.now() > NOW);
}
