//! Organizations take turns: what one has too much of is its own delay.

use serde_json::json;

use super::*;
use crate::alert::agenda::{QUESTIONS_MAX, QUESTIONS_OF_ORGANIZATION_MAX};
use crate::notify::testing::{Receiver, config};

/// A rule without channels.
fn quiet(n: usize) -> Value {
    json!({"name": format!("Load {n}"), "condition": {"type": "metric", "metric": "cpu.usage", "aggregate": "max",
        "window": "1m", "op": "gt", "threshold": 90}})
}

#[tokio::test]
async fn every_rule_that_is_due_is_evaluated_in_the_end() {
    let app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    for n in 0..3 * QUESTIONS_MAX {
        rule(&app, &key, &quiet(n)).await;
    }
    pass(&app, MINUTE).await;
    let rules = results(&app, &key, RULES).await;
    assert!(rules.iter().all(|rule| rule["last_evaluated_at"].is_string()), "{rules:?}");
    assert_eq!(app.state.alerts.book().standing(app.state.clock.now()).lag.us(), 0);
}

#[tokio::test]
async fn an_organization_whose_evaluations_do_not_end_holds_up_no_other() {
    let app = TestApp::with(config());
    let mut receiver = Receiver::start().await;
    let (acme, beta) = (app.key("acme", &["admin"]).await, app.key("beta", &["admin"]).await);
    for n in 0..3 * QUESTIONS_MAX {
        rule(&app, &acme, &quiet(n)).await;
    }
    let mut told = quiet(0);
    told["channels"] = json!([webhook(&app, "beta", &receiver.url("/")).await]);
    told["severity"] = json!("critical");
    rule(&app, &beta, &told).await;
    point(&app, &beta, "web-1", 97.0).await;
    let tenant = TenantId::new("acme").unwrap();
    let turn = app.state.alerts.turn(&tenant).await;
    app.clock.advance(MINUTE);
    let drivers = [
        tokio::spawn(crate::alert::drive(app.state.clone())),
        tokio::spawn(crate::notify::drive(app.state.notify.clone())),
    ];
    let message = receiver.next().await.json();
    assert_eq!(message["data"]["title"], "Load 0");
    let evaluated = || {
        let book = app.state.alerts.book();
        book.entries(Some(&tenant)).filter(|entry| entry.evaluated.is_some()).count()
    };
    let standing = app.state.alerts.book().standing(app.state.clock.now());
    assert!(standing.evaluating <= QUESTIONS_OF_ORGANIZATION_MAX as u64, "{standing:?}");
    // Those that wait are overdue.
    assert!(evaluated() == 0 && (1..=60_000_000).contains(&standing.lag.us()), "{standing:?}");
    drop(turn);
    while evaluated() < 3 * QUESTIONS_MAX {
        tokio::task::yield_now().await;
    }
    for driver in drivers {
        driver.abort();
    }
}

#[tokio::test]
async fn an_evaluation_that_nobody_waits_for_has_failed_and_is_made_again() {
    let app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    let id = rule(&app, &key, &quiet(0)).await;
    app.clock.advance(MINUTE);
    let evaluation = app.state.alerts.due(app.state.clock.now()).remove(0);
    let turn = app.state.alerts.turn(&TenantId::new("acme").unwrap()).await;
    let state = app.state.clone();
    let execution = tokio::spawn(async move { crate::alert::driver::execute(&state, evaluation).await });
    // It waits for the turn, if it has come as far as that.
    tokio::task::yield_now().await;
    execution.abort();
    assert!(execution.await.is_err());
    drop(turn);
    let show = async || app.call(Method::GET, &format!("{RULES}{id}/"), &key, &Value::Null).await.json();
    assert!(show().await["error"].is_string());
    pass(&app, MINUTE).await;
    assert!(show().await["error"].is_null());
}

#[tokio::test]
async fn the_metrics_of_the_server_say_how_rules_stand() {
    let app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    let mut waiting = quiet(1);
    waiting["for"] = json!("1h");
    for body in [quiet(0), waiting] {
        rule(&app, &key, &body).await;
    }
    point(&app, &key, "web-1", 97.0).await;
    pass(&app, MINUTE).await;
    app.clock.advance(MINUTE * 3);
    let answer = app.call(Method::GET, "/metrics", crate::testing::ROOT, &Value::Null).await;
    let text = String::from_utf8(answer.bytes).unwrap();
    let number = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("insights_alerts_{name} ")));
        line.unwrap_or_else(|| panic!("{name} in {text}")).parse().unwrap()
    };
    let counts = ["rules", "firing", "pending", "evaluations_total", "evaluations_failed_total"].map(number);
    assert_eq!(counts, [2, 1, 1, 2, 0]);
    assert!((120..180).contains(&number("evaluation_lag_seconds")), "{text}");
    assert!(!text.contains("acme"), "nothing by organization");
}
