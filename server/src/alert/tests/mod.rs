//! Alerts over the whole application, by a clock that is moved.

mod conditions;
mod rehearsal;
mod room;
mod telling;
mod turns;

use std::time::Duration;

use axum::http::{Method, StatusCode};
use insights_engine::id::TenantId;
use serde_json::{Value, json};

use super::step;
use crate::config::Secret;
use crate::notify::channel::{Channel, Target};
use crate::notify::target_url::TargetUrl;
use crate::notify::{ChannelId, Lang};
use crate::testing::TestApp;

const RULES: &str = "/api/insights/alerts/rules/";
const ALERTS: &str = "/api/insights/alerts/";
const HISTORY: &str = "/api/insights/alerts/history/?order=asc&limit=1000";
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

/// Makes a webhook of an organization that leads to a URL.
async fn webhook(app: &TestApp, organization: &str, url: &str) -> String {
    let now = app.state.clock.now();
    let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let channel = Channel {
        id: ChannelId::random(&app.state.entropy),
        organization: TenantId::new(organization).unwrap(),
        name: "Operations".to_owned(),
        target: Target::Webhook { url: TargetUrl::parse(url).unwrap(), secret },
        lang: Lang::En,
        send_resolved: true,
        enabled: true,
        created: now,
        updated: now,
    };
    let id = channel.id.to_string();
    app.state.store.put(vec![channel.put()]).await.unwrap();
    app.state.notify.channels().insert(channel);
    id
}

/// Makes a rule and gives its id.
async fn rule(app: &TestApp, key: &str, rule: &Value) -> String {
    let answer = app.call(Method::POST, RULES, key, rule).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.json()["id"].as_str().unwrap().to_owned()
}

async fn results(app: &TestApp, key: &str, path: &str) -> Vec<Value> {
    let answer = app.call(Method::GET, path, key, &Value::Null).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()["results"].as_array().unwrap().clone()
}

async fn send(app: &TestApp, key: &str, path: &str, body: &Value) {
    let answer = app.call(Method::POST, &format!("/api/insights/{path}/"), key, body).await;
    assert!(answer.status.is_success(), "{answer:?}");
}

async fn point(app: &TestApp, key: &str, host: &str, value: f64) {
    send(app, key, "metrics", &json!({"name": "cpu.usage", "value": value, "host": host})).await;
}

/// Lets time pass and does what is due then.
async fn pass(app: &TestApp, time: Duration) {
    app.clock.advance(time);
    step(&app.state).await;
}

/// The alerts that are not well, as `state name host`.
async fn told(app: &TestApp, key: &str) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let alert = |alert: &Value| {
        let told = [&alert["state"], &alert["name"], &alert["labels"]["host"]].map(text);
        told.join(" ").trim_end().to_owned()
    };
    results(app, key, ALERTS).await.iter().map(alert).collect()
}
