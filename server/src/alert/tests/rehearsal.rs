//! A rehearsal is what the rule would have done: the same changes, at the same instants, with the same numbers.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::instant::Rfc3339;

/// What happens in a minute.
#[derive(Debug, Clone, Copy)]
struct Minute {
    /// The load of two hosts, where they send some.
    loads: [Option<u8>; 2],
    /// Errors of two kinds.
    errors: [u8; 2],
    /// Whether an order comes.
    order: bool,
}

/// Rules of every kind, with everything that makes their machine do something.
fn rules() -> Vec<Value> {
    let metric = |more: Value| {
        let mut condition =
            json!({"type": "metric", "metric": "cpu.usage", "window": "3m", "op": "gt", "threshold": 90});
        condition.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        condition
    };
    vec![
        json!({"name": "a", "for": "1m", "condition": metric(json!({"by": ["host"], "aggregate": "avg", "resolve_threshold": 60}))}),
        json!({"name": "b", "keep_firing_for": "2m", "condition": metric(json!({"aggregate": "sum", "op": "lt"}))}),
        json!({"name": "c", "no_data": "alerting", "interval": "30s", "condition": metric(json!({"by": ["host"], "aggregate": "p90", "window": "100s"}))}),
        json!({"name": "d", "no_data": "keep", "condition": metric(json!({"aggregate": "last", "window": "1m"}))}),
        json!({"name": "e", "condition": {"type": "absence", "event_type": "order.placed", "window": "2m"}}),
        json!({"name": "f", "condition": {"type": "heartbeat", "metric": "cpu.usage", "by": ["host"], "every": "1m", "grace": "30s"}}),
        json!({"name": "g", "keep_firing_for": "90s", "interval": "20s", "condition": {"type": "errors"}}),
        json!({"name": "h", "condition": {"type": "report", "report": "analytics", "window": "2m",
            "number": "user_activity.summary.events", "op": "gte", "threshold": 1}}),
    ]
}

async fn live(app: &TestApp, key: &str, minutes: &[Minute]) {
    for minute in minutes {
        for (host, load) in ["web-1", "web-2"].into_iter().zip(minute.loads) {
            if let Some(load) = load {
                point(app, key, host, f64::from(load)).await;
            }
        }
        for (kind, count) in ["copy", "move"].into_iter().zip(minute.errors) {
            let error = json!({"action_type": "job.failed", "severity": "critical", "description": format!("{kind} failed")});
            if count > 0 {
                send(app, key, "audit", &json!(vec![error; count.into()])).await;
            }
        }
        if minute.order {
            send(app, key, "track", &json!({"event_type": "order.placed", "user_id": "ann"})).await;
        }
        for _ in 0..6 {
            pass(app, SECOND * 10).await;
        }
    }
}

/// What is the same in history and in a rehearsal.
fn told(at: &Value, change: &str, fingerprint: &Value, value: &Value) -> String {
    format!("{at} {change} {fingerprint} {value}")
}

async fn check(minutes: &[Minute]) -> usize {
    let app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    // The server has been looking for as long as the rules look back.
    pass(&app, MINUTE * 10).await;
    let mut ids = Vec::new();
    for body in rules() {
        ids.push(rule(&app, &key, &body).await);
    }
    let began = app.state.clock.now();
    live(&app, &key, minutes).await;
    let ended = app.state.clock.now();
    let mut all = 0;
    for id in ids {
        let history = results(&app, &key, &format!("{HISTORY}&rule_id={id}")).await;
        let lived: Vec<String> = history
            .iter()
            .map(|record| {
                let change = record["action_type"].as_str().unwrap().trim_start_matches("insights.alert.");
                let metadata = &record["metadata"];
                told(&record["timestamp"], change, &metadata["fingerprint"], &metadata["value"])
            })
            .collect();
        let body =
            json!({"rule_id": id, "start": Rfc3339(began).to_string(), "end": Rfc3339(ended).to_string()});
        let answer = app.call(Method::POST, "/api/insights/alerts/rules/rehearse/", &key, &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let answer = answer.json();
        let changes = answer["changes"].as_array().unwrap();
        let rehearsed: Vec<String> = changes
            .iter()
            .map(|c| told(&c["at"], c["change"].as_str().unwrap(), &c["fingerprint"], &c["value"]))
            .collect();
        assert_eq!(rehearsed, lived, "{answer}");
        let fires = |c: &&Value| ["firing", "no_data"].contains(&c["change"].as_str().unwrap());
        assert_eq!(answer["firings"], changes.iter().filter(fires).count());
        all += lived.len();
    }
    all
}

fn minute() -> impl Strategy<Value = Minute> {
    let load = || prop::option::weighted(0.7, prop::sample::select(vec![10_u8, 55, 70, 91, 100]));
    let errors = || prop::sample::select(vec![0_u8, 0, 0, 1, 3]);
    ([load(), load()], [errors(), errors()], any::<bool>()).prop_map(|(loads, errors, order)| Minute {
        loads,
        errors,
        order,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]
    #[test]
    fn a_rehearsal_is_what_the_rule_does(minutes in prop::collection::vec(minute(), 14)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(&minutes));
    }
}

#[tokio::test]
async fn a_rehearsal_of_a_rule_that_is_not_kept_counts_what_it_would_have_done() {
    let app = TestApp::new();
    let (key, reader) = (app.key("acme", &["admin"]).await, app.key("acme", &["read"]).await);
    for load in [10.0, 95.0, 96.0, 10.0, 97.0, 10.0] {
        point(&app, &key, "web-1", load).await;
        app.clock.advance(MINUTE);
    }
    let path = "/api/insights/alerts/rules/rehearse/";
    let rule = json!({"name": "Load", "condition": {"type": "metric", "metric": "cpu.usage", "aggregate": "max",
        "window": "1m", "op": "gt", "threshold": 90}});
    let mut body = json!({"rule": rule, "start": "2023-11-14T22:00:00Z"});
    let answer = app.call(Method::POST, path, &key, &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let answer = answer.json();
    assert_eq!(
        (&answer["firings"], &answer["firing_s"], &answer["series"]),
        (&json!(2), &json!(180.0), &json!(1))
    );
    assert_eq!(answer["days"], json!([{"day": "2023-11-14", "firings": 2, "firing_s": 180.0}]));
    assert_eq!(answer["changes_omitted"], 0);
    assert!(results(&app, &key, RULES).await.is_empty() && results(&app, &key, HISTORY).await.is_empty());
    assert_eq!(app.call(Method::POST, path, &reader, &body).await.status, StatusCode::FORBIDDEN);
    // Days are instants, too: the first one from its start, the last one to its end.
    let days = json!({"rule": body["rule"], "start": "2023-11-13", "end": "2023-11-14"});
    let answer = app.call(Method::POST, path, &key, &days).await.json();
    assert_eq!(
        (&answer["start"], &answer["end"]),
        (&json!("2023-11-13T00:00:00Z"), &json!("2023-11-15T00:00:00Z"))
    );
    let backwards = json!({"rule": body["rule"], "start": "2023-11-14", "end": "2023-11-13"});
    let answer = app.call(Method::POST, path, &key, &backwards).await.json();
    assert_eq!(answer["errors"][0]["pointer"], "/end", "{answer}");
    // Without a window every rule can be rehearsed: of those that look often on less than a week.
    for (rule, evaluations) in [
        (json!({"name": "e", "condition": {"type": "errors"}}), 50_000),
        (
            json!({"name": "r", "condition": {"type": "report", "report": "analytics", "window": "2m",
            "number": "user_activity.summary.events", "op": "gte", "threshold": 1}}),
            1_500,
        ),
        (body["rule"].clone(), 10_080),
    ] {
        let answer = app.call(Method::POST, path, &key, &json!({"rule": rule})).await;
        assert_eq!(
            (answer.status, &answer.json()["evaluations"]),
            (StatusCode::OK, &json!(evaluations)),
            "{rule}"
        );
    }
    // Too much of it is refused before any work, and what is wrong is below the rule.
    body["start"] = json!("2022-01-01T00:00:00Z");
    let answer = app.call(Method::POST, path, &key, &body).await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("too_many_cells"))
    );
    body["rule"]["condition"]["op"] = json!("above");
    let answer = app.call(Method::POST, path, &key, &body).await.json();
    assert_eq!(answer["errors"][0]["pointer"], "/rule/condition/op", "{answer}");
}
