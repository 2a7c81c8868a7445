//! Tasks over the router: who sees what, who may run, and what a run leaves.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::job::task::{AGGREGATE, CLEANUP, COLLECT, REPORTS};
use crate::testing::{ROOT, TestApp};

const TASKS: &str = "/api/insights/tasks/";

async fn tasks(app: &TestApp, key: &str) -> Vec<Value> {
    let answer = app.call(Method::GET, TASKS, key, &Value::Null).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()["results"].as_array().unwrap().clone()
}

/// Records of own acts, when there are `count` of them: they are written beside answers, so asking again is waiting.
async fn own_acts(app: &TestApp, action: &str, count: usize) -> Vec<Value> {
    let path = format!("/api/insights/audit/?action_type={action}&include=insights");
    loop {
        let found = app.call(Method::GET, &path, ROOT, &Value::Null).await.json();
        if let Some(records) = found["results"].as_array().filter(|records| records.len() == count) {
            return records.clone();
        }
        tokio::task::yield_now().await;
    }
}

async fn run(app: &TestApp, key: &str, name: &str) -> (StatusCode, Value) {
    let answer = app.call(Method::POST, &format!("{TASKS}{name}"), key, &Value::Null).await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn tasks_are_listed_by_their_names_with_schedule_and_next_run() {
    let app = TestApp::new();
    let listed = tasks(&app, ROOT).await;
    let told: Vec<_> = listed
        .iter()
        .map(|task| [&task["name"], &task["schedule"], &task["timezone"], &task["next_run_at"]])
        .collect();
    let expected = [
        [COLLECT, "every 300s", "UTC", "2023-11-14T22:15:00Z"],
        [AGGREGATE, "0 0 * * *", "UTC", "2023-11-15T00:00:00Z"],
        [CLEANUP, "30 3 * * *", "UTC", "2023-11-15T03:30:00Z"],
        [REPORTS, "30 0 * * *", "UTC", "2023-11-15T00:30:00Z"],
    ];
    assert_eq!(json!(told), json!(expected));
    assert!(listed.iter().all(|task| task["last_run"].is_null() && task["history"] == json!([])));
}

#[tokio::test]
async fn a_run_is_a_superusers_and_what_it_did_is_told_to_superusers() {
    let app = TestApp::new();
    let (reader, admin) = (app.key("acme", &["read"]).await, app.key("acme", &["admin"]).await);
    let writer = app.key("acme", &["track"]).await;
    let path = format!("{CLEANUP}/run/");
    assert_eq!(run(&app, &admin, &path).await.0, StatusCode::FORBIDDEN);
    let (status, ran) = run(&app, ROOT, &path).await;
    assert_eq!((status, &ran["outcome"], &ran["cause"]), (StatusCode::OK, &json!("done"), &json!("asked")));
    assert_eq!(ran["result"]["files"], 0);
    let full = tasks(&app, ROOT).await;
    assert_eq!(full[2]["last_run"], ran);
    assert_eq!(full[2]["history"], json!([ran]));
    for key in [&reader, &admin] {
        let seen = &tasks(&app, key).await[2];
        assert_eq!(
            (&seen["last_run"]["outcome"], &seen["last_run"]["result"]),
            (&json!("done"), &Value::Null)
        );
    }
    let refused = app.call(Method::GET, TASKS, &writer, &Value::Null).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn what_cannot_be_run_says_why() {
    let app = TestApp::new();
    assert_eq!(run(&app, ROOT, "no_such_task/run/").await.0, StatusCode::NOT_FOUND);
    let (status, problem) = run(&app, ROOT, &format!("{COLLECT}/run/?dry_run=true")).await;
    assert_eq!((status, &problem["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("invalid")));
    app.state.jobs.begin(CLEANUP, app.state.clock.now()).unwrap();
    let (status, problem) = run(&app, ROOT, &format!("{CLEANUP}/run/")).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("conflict")));
    let running = &tasks(&app, ROOT).await[2]["running"];
    assert_eq!((&running["cause"], &running["outcome"]), (&json!("asked"), &Value::Null));
}

#[tokio::test]
async fn a_dry_run_says_what_a_run_removes_and_leaves_nothing_behind() {
    let app = TestApp::new();
    let admin = app.key("acme", &["admin"]).await;
    let other = app.key("beta", &["admin"]).await;
    // Records of the platform are kept for ever, and with them the segment they are in.
    // They are counted in memory: looking for them over HTTP would leave another one, beside the events.
    while app.engine().stats().memtable_rows < 2 {
        tokio::task::yield_now().await;
    }
    app.flush();
    for (key, days) in [
        (&admin, ["2023-11-05", "2023-11-06", "2023-11-14"]),
        (&other, ["2023-11-05", "2023-11-13", "2023-11-14"]),
    ] {
        for day in days {
            let event =
                json!({"event_type": "click", "user_id": "ann", "timestamp": format!("{day}T10:00:00Z")});
            let answer = app.call(Method::POST, "/api/insights/track/", key, &event).await;
            assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
            app.flush();
        }
    }
    let days = json!({"raw_days": 3, "rollup_15m_days": 3, "rollup_1h_days": 3, "rollup_1d_days": 3});
    for organization in ["acme", "beta"] {
        let path = format!("/api/insights/organizations/{organization}/retention/");
        let answer = app.call(Method::PUT, &path, ROOT, &json!({ "events": days })).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    let (status, dry) = run(&app, ROOT, &format!("{CLEANUP}/run/?dry_run=true")).await;
    assert_eq!(status, StatusCode::OK, "{dry}");
    assert_eq!(dry["result"]["rows"], 3, "{dry}");
    let removed = dry["result"]["removed"].as_array().unwrap();
    let told: Vec<_> = removed.iter().map(|r| [&r["organization_id"], &r["stream"], &r["rows"]]).collect();
    assert_eq!(json!(told), json!([["acme", "events", 2], ["beta", "events", 1]]));
    assert!(tasks(&app, ROOT).await[2]["last_run"].is_null());
    let again = run(&app, ROOT, &format!("{CLEANUP}/run/?dry_run=true")).await.1;
    assert_eq!(again["result"], dry["result"], "nothing was removed");
    let (_, mut real) = run(&app, ROOT, &format!("{CLEANUP}/run/")).await;
    real["result"]["dry_run"] = true.into();
    assert_eq!(real["result"], dry["result"]);
    let after = run(&app, ROOT, &format!("{CLEANUP}/run/?dry_run=true")).await.1;
    assert_eq!((&after["result"]["files"], &after["result"]["rows"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn a_run_that_was_asked_for_is_recorded() {
    let app = TestApp::new();
    assert_eq!(run(&app, ROOT, &format!("{AGGREGATE}/run/")).await.0, StatusCode::OK);
    let records = own_acts(&app, "insights.task.run", 1).await;
    assert_eq!(records[0]["content_object"]["id"], AGGREGATE, "{records:?}");
}
