//! The periodic task that makes reports, by a clock that is moved.

use axum::http::Method;
use insights_engine::append::{CatalogKind, CatalogPut};
use insights_engine::time::TimestampUs;
use serde_json::{Value, json};

use super::expiry::keep_one_day;
use super::{REPORTS, get, send};
use crate::config::Config;
use crate::job::execute;
use crate::job::record::RunRecord;
use crate::job::task::REPORTS as TASK;
use crate::report::stored::ReportType;
use crate::testing::{ROOT, TestApp};

fn set(app: &TestApp, text: &str) {
    let time: jiff::Timestamp = text.parse().unwrap();
    app.clock.set(TimestampUs(time.as_microsecond()));
}

/// Moves the clock and runs the task if it is due then.
pub(super) async fn at(app: &TestApp, text: &str) -> Option<RunRecord> {
    set(app, text);
    let mut record = None;
    for run in app.state.jobs.due(&app.state) {
        if run.task == TASK {
            record = execute(&app.state, run).await;
        }
    }
    record
}

/// What a run has told.
pub(super) fn told(record: &RunRecord) -> [u64; 4] {
    let result = record.result.as_ref().unwrap();
    ["made", "existing", "expired", "failed"].map(|name| result[name].as_u64().unwrap())
}

async fn zone(app: &TestApp, organization: &str, zone: &str) {
    let value = json!({"version": 1, "timezone": zone}).to_string().into_bytes();
    let key = format!("organization/{organization}").into_bytes();
    app.state
        .store
        .put(vec![CatalogPut { kind: CatalogKind::Setting, key, value: Some(value) }])
        .await
        .unwrap();
}

/// (type, first day, application) of the reports of an organization, the oldest first.
pub(super) async fn reports(app: &TestApp, organization: &str) -> Vec<[String; 3]> {
    let list = get(app, ROOT, &format!("{REPORTS}?organization_id={organization}&limit=1000")).await.json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let row = |row: &Value| [&row["type"], &row["start_date"], &row["app_id"]].map(text);
    let mut rows: Vec<_> = list["results"].as_array().unwrap().iter().map(row).collect();
    rows.sort();
    rows
}

/// An organization with an event and a request of an application on the 14th of November, and one that only exists.
async fn platform(app: &TestApp) {
    let key = app.key("acme", &["admin"]).await;
    app.key("idle", &["admin"]).await;
    let event = json!({"event_type": "click", "user_id": "ann", "timestamp": "2023-11-14T12:00:00Z"});
    send(app, &key, "track", &[event]).await;
    let point =
        json!({"name": "requests.count", "value": 5, "app_id": "shop", "timestamp": "2023-11-14T12:00:00Z"});
    send(app, &key, "metrics", &[point]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_night_the_day_that_is_over_is_reported_once() {
    let app = TestApp::new();
    platform(&app).await;
    assert!(at(&app, "2023-11-15T00:29:59Z").await.is_none());
    let ran = at(&app, "2023-11-15T00:30:00Z").await.unwrap();
    assert_eq!(told(&ran), [4, 0, 0, 0], "{ran:?}");
    let days = json!([{"timezone": "UTC", "day": "2023-11-14", "organizations": 1}]);
    assert_eq!(ran.result.as_ref().unwrap()["days"], days);
    let row = |kind: &str, day: &str, app: &str| [kind, day, app].map(str::to_owned);
    let expected = [
        row("application", "2023-11-14", "shop"),
        row("daily", "2023-11-14", ""),
        row("organization", "2023-10-16", ""),
        row("security", "2023-11-14", ""),
    ];
    assert_eq!(reports(&app, "acme").await, expected);
    assert_eq!(reports(&app, "idle").await, [[""; 3]; 0]);
    // A day of which there is nothing but these reports themselves has no report.
    let ran = at(&app, "2023-11-16T00:30:00Z").await.unwrap();
    assert_eq!(told(&ran), [0, 0, 0, 0], "{ran:?}");
    assert_eq!(reports(&app, "acme").await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_again_finds_what_is_there_and_makes_the_rest() {
    let app = TestApp::new();
    platform(&app).await;
    let wanted = json!({"type": "daily", "date": "2023-11-14", "organization_id": "acme"});
    set(&app, "2023-11-15T00:10:00Z");
    let made = app.call(Method::POST, REPORTS, ROOT, &wanted).await;
    assert_eq!(made.status.as_u16(), 201);
    let ran = at(&app, "2023-11-15T00:30:00Z").await.unwrap();
    assert_eq!(told(&ran), [3, 1, 0, 0], "{ran:?}");
    let again = app.state.jobs.begin(TASK, app.state.clock.now()).unwrap();
    let again = execute(&app.state, again).await.unwrap();
    assert_eq!(told(&again), [0, 4, 0, 0], "{again:?}");
    let fetched = app.call(Method::POST, REPORTS, ROOT, &wanted).await.json();
    assert_eq!(fetched["report"], made.json()["report"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_zone_has_its_own_night_and_days_that_were_missed_are_made_up_for() {
    let app = TestApp::new();
    platform(&app).await;
    zone(&app, "acme", "Asia/Tokyo").await;
    let key = app.key("acme", &["admin"]).await;
    let event = |day: u32| json!({"event_type": "click", "timestamp": format!("2023-11-{day}T03:00:00Z")});
    // Half past midnight in Tokyo.
    set(&app, "2023-11-15T12:00:00Z");
    send(&app, &key, "track", &[event(15)]).await;
    assert_eq!(told(&at(&app, "2023-11-15T15:30:00Z").await.unwrap()), [3, 0, 0, 0]);
    for day in [16, 18] {
        set(&app, &format!("2023-11-{day}T12:00:00Z"));
        send(&app, &key, "track", &[event(day)]).await;
    }
    // The tasks did not run in the nights after the 16th, the 17th and the 18th.
    let ran = at(&app, "2023-11-19T03:00:00Z").await.unwrap();
    assert_eq!(told(&ran), [6, 0, 0, 0], "{ran:?}");
    let daily: Vec<_> = reports(&app, "acme").await.into_iter().filter(|row| row[0] == "daily").collect();
    let days: Vec<_> = daily.iter().map(|row| row[1].as_str()).collect();
    assert_eq!(days, ["2023-11-15", "2023-11-16", "2023-11-18"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_types_of_the_settings_are_made() {
    let mut config = Config::default();
    config.jobs.report_types = vec![ReportType::Security];
    let app = TestApp::with(config);
    platform(&app).await;
    assert_eq!(told(&at(&app, "2023-11-15T00:30:00Z").await.unwrap()), [1, 0, 0, 0]);
    assert_eq!(reports(&app, "acme").await[0][0], "security");
}

/// The days of which an organization has a daily report.
async fn days(app: &TestApp, organization: &str) -> Vec<String> {
    let rows = reports(app, organization).await.into_iter();
    rows.filter(|row| row[0] == "daily").map(|row| row[1].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_organization_does_not_keep_takes_no_report_from_the_others() {
    let app = TestApp::new();
    platform(&app).await;
    let (acme, short) = (app.key("acme", &["admin"]).await, app.key("short", &["admin"]).await);
    for key in [&acme, &short] {
        send(&app, key, "track", &[json!({"event_type": "click", "timestamp": "2023-11-12T11:00:00Z"})])
            .await;
    }
    keep_one_day(&app, &short, "short").await;
    // The task did not run in the nights before: the 12th is not kept any more by one of them.
    let covered = br#"{"version":1,"zones":{"UTC":"2023-11-11"}}"#.to_vec();
    let key = format!("job/{TASK}/covered").into_bytes();
    let put = CatalogPut { kind: CatalogKind::Setting, key, value: Some(covered) };
    app.state.store.put(vec![put]).await.unwrap();
    let ran = at(&app, "2023-11-15T00:30:00Z").await.unwrap();
    let [_, _, expired, failed] = told(&ran);
    assert!(expired >= 1 && failed == 0, "{ran:?}");
    assert_eq!(days(&app, "acme").await, ["2023-11-12", "2023-11-14"]);
    assert_eq!(days(&app, "short").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_ran_ahead_stops_no_reports_once_it_is_right() {
    let app = TestApp::new();
    platform(&app).await;
    let wanted = json!({"type": "daily", "date": "2023-11-14", "organization_id": "acme"});
    assert!(at(&app, "2024-06-01T00:30:00Z").await.is_some());
    let early = app.call(Method::POST, REPORTS, ROOT, &wanted).await.json();
    assert_eq!(early["generated_at"], "2024-06-01T00:30:00Z");
    assert!(at(&app, "2023-11-14T23:00:00Z").await.is_none());
    // What was made in the time that is to come does not stand in the place of what is made now.
    let ran = at(&app, "2023-11-15T00:30:00Z").await.unwrap();
    assert_eq!(told(&ran), [4, 0, 0, 0], "{ran:?}");
    let kept = app.call(Method::POST, REPORTS, ROOT, &wanted).await.json();
    assert_eq!((&kept["id"], &kept["generated_at"]), (&early["id"], &json!("2023-11-15T00:30:00Z")));
    set(&app, "2024-07-01T00:00:00Z");
    assert_eq!(app.call(Method::POST, REPORTS, ROOT, &wanted).await.json(), kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_that_moves_into_a_zone_loses_no_day() {
    let app = TestApp::new();
    platform(&app).await;
    app.key("kiku", &["admin"]).await;
    zone(&app, "kiku", "Asia/Tokyo").await;
    let key = app.key("acme", &["admin"]).await;
    set(&app, "2023-11-15T12:00:00Z");
    send(&app, &key, "track", &[json!({"event_type": "click", "timestamp": "2023-11-15T02:00:00Z"})]).await;
    // The 15th is over in Tokyo, not where the organization still is.
    at(&app, "2023-11-15T15:30:00Z").await.unwrap();
    assert_eq!(days(&app, "acme").await, ["2023-11-14"]);
    let path = "/api/insights/organizations/acme/settings/";
    set(&app, "2023-11-15T16:00:00Z");
    for _ in 0..3 {
        let moved = app.call(Method::PUT, path, ROOT, &json!({"timezone": "Asia/Tokyo"})).await;
        assert_eq!(moved.status.as_u16(), 200);
    }
    at(&app, "2023-11-16T15:30:00Z").await.unwrap();
    assert_eq!(days(&app, "acme").await, ["2023-11-14", "2023-11-15"]);
}
