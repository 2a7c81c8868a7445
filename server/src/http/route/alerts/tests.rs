//! Alerts over the router: rules are kept and evaluated, alerts come and go, nobody sees another's.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::alert::step;
use crate::testing::{Answer, ROOT, TestApp};

const RULES: &str = "/api/insights/alerts/rules/";
const ALERTS: &str = "/api/insights/alerts/";

/// A rule for the load of each host: above 90 for two minutes.
fn cpu() -> Value {
    json!({
        "name": "Load", "severity": "critical", "for": "2m", "labels": {"team": "ops"},
        "annotations": {"summary": "{{labels.host}} at {{value}} %, above {{threshold}}"},
        "condition": {"type": "metric", "metric": "cpu.usage", "aggregate": "max", "by": ["host"], "window": "1m",
            "op": "gt", "threshold": 90, "resolve_threshold": 80},
    })
}

async fn make(app: &TestApp, key: &str, rule: &Value) -> Value {
    let answer = app.call(Method::POST, RULES, key, rule).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.json()
}

async fn get(app: &TestApp, key: &str, path: &str) -> Answer {
    app.call(Method::GET, path, key, &Value::Null).await
}

async fn results(app: &TestApp, key: &str, path: &str) -> Vec<Value> {
    let answer = get(app, key, path).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()["results"].as_array().unwrap().clone()
}

async fn point(app: &TestApp, key: &str, host: &str, value: f64) {
    let point = json!({"name": "cpu.usage", "value": value, "host": host});
    assert_eq!(
        app.call(Method::POST, "/api/insights/metrics/", key, &point).await.status,
        StatusCode::ACCEPTED
    );
}

/// Lets a minute pass and evaluates what is due.
async fn minute(app: &TestApp) {
    app.clock.advance(Duration::from_mins(1));
    step(&app.state).await;
}

#[tokio::test]
async fn an_alert_is_pending_then_fires_and_resolves_and_history_has_it_all() {
    let app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    let rule = make(&app, &key, &cpu()).await;
    minute(&app).await;
    assert!(results(&app, &key, ALERTS).await.is_empty());
    let mut told = Vec::new();
    for (one, other) in [(95.0, 10.0), (99.5, 10.0), (85.0, 10.0), (85.0, 10.0), (70.0, 10.0)] {
        point(&app, &key, "web-1", one).await;
        point(&app, &key, "web-2", other).await;
        minute(&app).await;
        let alerts = results(&app, &key, ALERTS).await;
        told.push(alerts.first().map_or_else(String::new, |a| format!("{} {}", a["state"], a["value"])));
    }
    // 85 holds only once it fires: before, it is below the threshold.
    assert_eq!(told, ["\"pending\" 95.0", "\"pending\" 99.5", "", "", ""]);
    for value in [95.0, 96.0, 97.0, 85.0] {
        point(&app, &key, "web-1", value).await;
        minute(&app).await;
    }
    let alerts = results(&app, &key, ALERTS).await;
    assert_eq!(alerts.len(), 1);
    let alert = &alerts[0];
    assert_eq!((&alert["state"], &alert["severity"]), (&json!("firing"), &json!("critical")));
    assert_eq!(alert["annotations"]["summary"], "web-1 at 85 %, above 90");
    let labels = json!({"alertname": "Load", "host": "web-1", "severity": "critical", "team": "ops"});
    assert_eq!((&alert["labels"], &alert["rule_id"]), (&labels, &rule["id"]));
    point(&app, &key, "web-1", 80.0).await;
    minute(&app).await;
    assert!(results(&app, &key, ALERTS).await.is_empty());
    let history =
        results(&app, &key, "/api/insights/audit/?include=insights&object_type=alert&order=asc").await;
    let told: Vec<&str> = history.iter().map(|r| r["action_type"].as_str().unwrap()).collect();
    let expected =
        ["pending", "cleared", "pending", "firing", "resolved"].map(|c| format!("insights.alert.{c}"));
    assert_eq!(told, expected);
    let firing = &history[3];
    assert_eq!((&firing["severity"], &firing["content_object"]["id"]), (&json!("critical"), &rule["id"]));
    assert_eq!((&firing["metadata"]["value"], &firing["metadata"]["labels"]), (&json!(97.0), &labels));
    let shown = get(&app, &key, &format!("{RULES}{}/", rule["id"].as_str().unwrap())).await.json();
    assert_eq!((&shown["state"], &shown["error"]), (&json!("ok"), &Value::Null));
    assert!(shown["last_evaluated_at"].is_string());
}

#[tokio::test]
async fn rules_are_kept_changed_and_deleted_and_foreign_ones_are_unknown() {
    let app = TestApp::new();
    let (admin, reader) = (app.key("acme", &["admin"]).await, app.key("acme", &["read"]).await);
    let other = app.key("beta", &["admin"]).await;
    let made = make(&app, &admin, &cpu()).await;
    let path = format!("{RULES}{}/", made["id"].as_str().unwrap());
    assert_eq!(get(&app, &reader, &path).await.json(), made);
    assert_eq!(results(&app, &reader, RULES).await, std::slice::from_ref(&made));
    assert_eq!(results(&app, ROOT, RULES).await, std::slice::from_ref(&made));
    assert!(results(&app, &other, RULES).await.is_empty());
    // A reader may look and no more; for others there is nothing.
    for (key, method, body, status) in [
        (&reader, Method::POST, cpu(), StatusCode::FORBIDDEN),
        (&reader, Method::PUT, cpu(), StatusCode::FORBIDDEN),
        (&reader, Method::DELETE, Value::Null, StatusCode::FORBIDDEN),
        (&other, Method::GET, Value::Null, StatusCode::NOT_FOUND),
        (&other, Method::PUT, cpu(), StatusCode::NOT_FOUND),
        (&other, Method::DELETE, Value::Null, StatusCode::NOT_FOUND),
    ] {
        let to = if method == Method::POST { RULES } else { &path };
        assert_eq!(app.call(method.clone(), to, key, &body).await.status, status, "{method}");
    }
    let mut changed = cpu();
    changed["name"] = json!("Load of hosts");
    changed["enabled"] = json!(false);
    let answer = app.call(Method::PUT, &path, &admin, &changed).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let answer = answer.json();
    assert_eq!((&answer["name"], &answer["enabled"]), (&json!("Load of hosts"), &json!(false)));
    assert_eq!((&answer["created_at"], &answer["id"]), (&made["created_at"], &made["id"]));
    minute(&app).await;
    assert_eq!(get(&app, &reader, &path).await.json()["last_evaluated_at"], Value::Null);
    assert_eq!(app.call(Method::DELETE, &path, &admin, &Value::Null).await.status, StatusCode::NO_CONTENT);
    assert_eq!(get(&app, &admin, &path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        app.state.store.catalog_scan(insights_engine::append::CatalogKind::Setting, b"alert/rule/"),
        []
    );
}

#[tokio::test]
async fn a_rule_that_is_wrong_is_refused_with_every_place() {
    let app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    let mut rule = cpu();
    rule["condition"]["op"] = json!("above");
    rule["interval"] = json!("1s");
    rule["channels"] = json!(["nowhere"]);
    let answer = app.call(Method::POST, RULES, &key, &rule).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let pointers = |answer: &Answer| -> Vec<String> {
        let json = answer.json();
        json["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(pointers(&answer), ["/condition/op", "/interval"]);
    let mut rule = cpu();
    rule["channels"] = json!(["nowhere"]);
    assert_eq!(pointers(&app.call(Method::POST, RULES, &key, &rule).await), ["/channels/0"]);
    let mut of_report = json!({"name": "Errors", "condition": {"type": "report", "report": "performance",
        "number": "error_rate.ratio", "app_id": "shop", "window": "5m", "op": "gt", "threshold": 0.05}});
    let answer = app.call(Method::POST, RULES, &key, &of_report).await;
    assert_eq!(pointers(&answer), ["/condition/number"]);
    assert!(answer.json()["detail"].as_str().unwrap().contains("error_rate.rate"), "{answer:?}");
    of_report["condition"]["number"] = json!("errors");
    assert_eq!(pointers(&app.call(Method::POST, RULES, &key, &of_report).await), ["/condition/number"]);
    of_report["condition"]["number"] = json!("error_rate.rate");
    make(&app, &key, &of_report).await;
}

#[tokio::test]
async fn lists_come_as_tables_too_and_page_by_page() {
    let app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    for name in ["one", "two", "three"] {
        app.clock.advance(Duration::from_secs(1));
        let mut rule = cpu();
        (rule["name"], rule["for"]) = (json!(name), json!("0s"));
        make(&app, &key, &rule).await;
    }
    point(&app, &key, "=web", 95.0).await;
    minute(&app).await;
    let silence = json!({"comment": "known", "ends_at": "2030-01-01T00:00:00Z", "starts_at": "2029-12-01T00:00:00Z",
        "matchers": [{"label": "host", "op": "=", "value": "x"}]});
    app.call(Method::POST, "/api/insights/alerts/silences/", &key, &silence).await;
    let window = json!({"name": "Backup", "schedule": "0 3 * * 0", "duration": "2h"});
    app.call(Method::POST, "/api/insights/alerts/maintenance/", &key, &window).await;
    for (list, count) in [("", 3), ("rules/", 3), ("history/", 3), ("silences/", 1), ("maintenance/", 1)] {
        let path = format!("{ALERTS}{list}");
        let csv = get(&app, &key, &format!("{path}?format=csv&limit=all")).await;
        let text = String::from_utf8(csv.bytes).unwrap();
        let columns = text.lines().next().unwrap().split(',').count();
        assert_eq!((csv.status, text.lines().count()), (StatusCode::OK, count + 1), "{list}: {text}");
        assert!(columns > 6, "{text}");
        let first = get(&app, &key, &format!("{path}?limit=2")).await.json();
        let cursor = first["next_cursor"].as_str();
        assert_eq!(cursor.is_some(), count > 2, "{list}");
        if let Some(cursor) = cursor {
            let second = results(&app, &key, &format!("{path}?limit=2&cursor={cursor}")).await;
            assert!(
                second.len() == 1 && !first["results"].as_array().unwrap().contains(&second[0]),
                "{list}"
            );
        }
    }
    let firing = results(&app, &key, &format!("{ALERTS}?state=firing")).await;
    assert_eq!((firing.len(), results(&app, &key, &format!("{ALERTS}?state=ok")).await.len()), (3, 0));
    assert_eq!(
        get(&app, &key, &format!("{ALERTS}?state=bad")).await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
}

#[tokio::test]
async fn an_erased_organization_leaves_no_rules_and_an_erased_user_no_name() {
    let app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    make(&app, &key, &cpu()).await;
    for value in [95.0, 96.0, 97.0] {
        point(&app, &key, "web-1", value).await;
        minute(&app).await;
    }
    let silence = json!({"comment": "known", "ends_at": "2023-12-01T00:00:00Z",
        "matchers": [{"label": "host", "op": "=", "value": "x"}]});
    let path = "/api/insights/alerts/silences/";
    assert_eq!(app.call(Method::POST, path, &key, &silence).await.status, StatusCode::CREATED);
    let acme = insights_engine::id::TenantId::new("acme").unwrap();
    let maker = results(&app, &key, path).await[0]["created_by"].as_str().unwrap().to_owned();
    let puts = app.state.alerts.forget_maker(&acme, &maker);
    assert_eq!((puts.len(), &results(&app, &key, path).await[0]["created_by"]), (1, &json!("erased")));
    let kept =
        || app.state.store.catalog_scan(insights_engine::append::CatalogKind::Setting, b"alert/").len();
    assert_eq!(kept(), 4, "a rule, its state, a silence, and that the server looks");
    let erased = app.call(Method::DELETE, "/api/insights/organizations/acme/", ROOT, &Value::Null).await;
    assert_eq!(erased.status, StatusCode::ACCEPTED, "{erased:?}");
    assert_eq!(kept(), 1);
    assert!(results(&app, ROOT, RULES).await.is_empty() && results(&app, ROOT, path).await.is_empty());
    minute(&app).await;
    assert_eq!(kept(), 1);
}

#[tokio::test]
async fn a_restart_neither_fires_again_nor_forgets() {
    let mut app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    make(&app, &key, &cpu()).await;
    for value in [95.0, 96.0, 97.0] {
        point(&app, &key, "web-1", value).await;
        minute(&app).await;
    }
    let before = results(&app, &key, ALERTS).await;
    assert_eq!(before[0]["state"], "firing");
    // What the next start reads.
    app.restart();
    assert_eq!(results(&app, &key, ALERTS).await, before);
    point(&app, &key, "web-1", 98.0).await;
    minute(&app).await;
    let history = results(&app, &key, "/api/insights/audit/?include=insights&object_type=alert").await;
    assert_eq!(history.len(), 2, "{history:?}");
}
