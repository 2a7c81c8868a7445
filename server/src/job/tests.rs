//! The tasks over a real store, by a clock that is moved.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use insights_engine::append::{CatalogKind, CatalogPut};
use insights_engine::id::Stream;
use insights_engine::query::{Aggregate, Field, GroupBy, KeyValue};
use insights_engine::schema::stream::NAME;
use insights_engine::time::TimeRange;
use serde_json::{Value, json};

use super::record::{RunCause, RunOutcome};
use super::task::{AGGREGATE, COLLECT, by_name};
use super::*;
use crate::auth::{Principal, Scopes};
use crate::collect::host::{Mount, Reading, Space, Traffic};
use crate::collect::proc_stat::CpuTicks;
use crate::config::Config;
use crate::testing::{ROOT, TestApp};

const MINUTE: Duration = Duration::from_mins(1);

/// A host whose counters go on by as much at every reading.
#[derive(Debug, Default)]
struct Steady {
    readings: u64,
}

impl Host for Steady {
    fn read(&mut self) -> Reading {
        self.readings += 1;
        let n = self.readings;
        Reading {
            host: Some("web-1".to_owned()),
            cores: 2,
            cpu: Some(CpuTicks { busy: 25 * n, total: 100 * n }),
            memory: Some(Space { total: 100, available: 40 }),
            mounts: vec![Mount { path: "/".to_owned(), space: Space { total: 10, available: 1 } }],
            network: BTreeMap::from([("eth0".to_owned(), Traffic { received: 1_000 * n, sent: 10 * n })]),
            ..Reading::default()
        }
    }
}

/// Runs what is due, one after the other.
async fn step(app: &TestApp) -> Vec<(&'static str, RunRecord)> {
    let mut out = Vec::new();
    for run in app.state.jobs.due(&app.state) {
        out.push((run.task, execute(&app.state, run).await.unwrap()));
    }
    out
}

/// Points of the platform by metric: how many, and the sum of their values.
async fn points(app: &TestApp) -> BTreeMap<String, (u64, f64)> {
    let scope = Principal::local().read_scope(Some("_platform"), Scopes::READ).unwrap();
    let mut query = scope.query(Stream::Metrics, TimeRange::ALL);
    query.group_by = vec![GroupBy::Field(Field::Column(NAME.id))];
    let value = Field::Column(insights_engine::schema::stream::VALUE.id);
    query.aggregates = vec![Aggregate::Count, Aggregate::Sum(value)];
    let answer = app.state.store.aggregate(&scope, query).await.unwrap();
    let told = answer.groups.into_iter().map(|group| {
        let KeyValue::Str(name) = &group.key[0] else { panic!("{group:?}") };
        (name.to_string(), (group.values[0].as_u64(), group.values[1].as_f64().unwrap()))
    });
    told.collect()
}

#[tokio::test]
async fn the_host_is_sampled_every_five_minutes_and_a_repeated_run_adds_nothing() {
    let app = TestApp::new();
    app.state.jobs.host().set_host(Box::new(Steady::default()));
    assert!(step(&app).await.is_empty(), "it is not the time");
    for _ in 0..3 {
        app.clock.advance(MINUTE * 5);
        let ran = step(&app).await;
        assert_eq!(ran.iter().map(|(task, _)| *task).collect::<Vec<_>>(), [COLLECT]);
        assert_eq!(ran[0].1.outcome, RunOutcome::Done, "{ran:?}");
    }
    let expected = BTreeMap::from([
        ("cpu.usage".to_owned(), (2, 50.0)),
        ("disk.usage".to_owned(), (6, 540.0)),
        ("memory.usage".to_owned(), (3, 180.0)),
        ("network.in".to_owned(), (2, 2_000.0)),
        ("network.out".to_owned(), (2, 20.0)),
        ("server.errors".to_owned(), (2, 0.0)),
    ]);
    assert_eq!(points(&app).await, expected);
    // The server ended after the points were kept and before the run was over.
    let run = app.state.jobs.begin(COLLECT, app.state.clock.now()).unwrap();
    let task = by_name(COLLECT).unwrap();
    (task.work)(app.state.clone(), run).await.unwrap();
    let once = points(&app).await;
    assert_eq!(once["cpu.usage"].0, 3);
    app.clock.advance(MINUTE);
    let repeated = Run { started: app.state.clock.now(), cause: RunCause::Repeated, ..run };
    (task.work)(app.state.clone(), repeated).await.unwrap();
    assert_eq!(points(&app).await, once);
}

#[tokio::test]
async fn the_platforms_hosts_are_in_the_report_of_performance() {
    let app = TestApp::new();
    app.state.jobs.host().set_host(Box::new(Steady::default()));
    for _ in 0..2 {
        app.clock.advance(MINUTE * 5);
        step(&app).await;
    }
    let reader = app.key("acme", &["read"]).await;
    let question =
        json!({"start_date": "2023-11-14", "end_date": "2023-11-14", "metrics": ["system_performance"]});
    let answer = app.call(Method::POST, "/api/insights/analytics/", &reader, &question).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let report = answer.json();
    let system = &report["metrics"]["system_performance"];
    assert_eq!(system["scope"], "platform", "{report}");
    assert_eq!(system["summary"]["cpu.usage"]["last"], 25.0);
    assert_eq!(system["summary"]["network.in"]["sum"], 1_000);
}

/// Keeps a zone of an organization.
async fn set_zone(app: &TestApp, organization: &str, zone: &str) {
    let value = json!({ "version": 1, "timezone": zone }).to_string().into_bytes();
    let key = format!("organization/{organization}").into_bytes();
    let put = CatalogPut { kind: CatalogKind::Setting, key, value: Some(value) };
    app.state.store.put(vec![put]).await.unwrap();
}

#[tokio::test]
async fn a_day_is_made_final_at_the_midnight_of_each_zone_and_once() {
    let mut config = Config::default();
    // Only midnights are of interest.
    config.jobs.schedules.retain(|name, _| *name == AGGREGATE);
    let app = TestApp::with(config);
    for organization in ["acme", "beta"] {
        let key = app.key(organization, &["track"]).await;
        // Before and after midnight in Tokyo, on one day of UTC.
        for time in ["2023-11-14T14:30:00Z", "2023-11-14T15:30:00Z"] {
            let event = json!({"event_type": "click", "user_id": "ann", "timestamp": time});
            app.call(Method::POST, "/api/insights/track/", &key, &event).await;
        }
    }
    set_zone(&app, "acme", "Asia/Tokyo").await;
    let set = |text: &str| app.clock.set(crate::domain::instant::parse(text).unwrap());
    let day = |record: &RunRecord| -> Value {
        let days = record.result.as_ref().unwrap()["days"].as_array().unwrap().clone();
        let told = days.iter().map(|day| json!([day["timezone"], day["day"], day["rows"]["events"]]));
        told.collect()
    };
    // The first run takes up every zone that has not been done.
    set("2023-11-15T00:00:00Z");
    let ran = step(&app).await;
    assert_eq!(ran[0].1.outcome, RunOutcome::Done, "{ran:?}");
    assert_eq!(day(&ran[0].1), json!([["Asia/Tokyo", "2023-11-14", 1], ["UTC", "2023-11-14", 2]]));
    assert_eq!(app.engine().stats().memtable_rows, 0, "what is final is in segments");
    set("2023-11-15T15:00:00Z");
    let ran = step(&app).await;
    assert_eq!(day(&ran[0].1), json!([["Asia/Tokyo", "2023-11-15", 1]]));
    let asked = app.state.jobs.begin(AGGREGATE, app.state.clock.now()).unwrap();
    let again = execute(&app.state, asked).await.unwrap();
    assert_eq!(day(&again), json!([["Asia/Tokyo", "2023-11-15", 1], ["UTC", "2023-11-14", 2]]));
    set("2023-11-16T00:00:00Z");
    let ran = step(&app).await;
    assert_eq!(day(&ran[0].1), json!([["UTC", "2023-11-15", 0]]));
}

#[tokio::test]
async fn a_run_the_server_did_not_outlive_is_seen_and_repeated() {
    let app = TestApp::new();
    app.clock.advance(MINUTE * 5);
    let run = app.state.jobs.due(&app.state)[0];
    keep_state(&app.state, run.task).await.unwrap();
    let (store, config) = (&app.state.store, &app.state.config.jobs);
    let jobs = Jobs::new(store, config, app.state.clock.now());
    let shown = jobs.shown(config).remove(0);
    assert_eq!(shown.state.history[0].outcome, RunOutcome::Interrupted);
    let again = jobs.due(&app.state)[0];
    assert_eq!((again.task, again.scheduled, again.cause), (run.task, run.scheduled, RunCause::Repeated));
}

#[tokio::test]
async fn history_outlives_a_restart_and_has_an_end() {
    let app = TestApp::new();
    app.state.jobs.host().set_host(Box::new(Steady::default()));
    for _ in 0..record::HISTORY_MAX + 3 {
        app.clock.advance(MINUTE * 5);
        step(&app).await;
    }
    let config = &app.state.config.jobs;
    let before = app.state.jobs.shown(config).remove(0).state;
    let after = Jobs::new(&app.state.store, config, app.state.clock.now()).shown(config).remove(0).state;
    assert_eq!(before.history.len(), record::HISTORY_MAX);
    assert_eq!(before, after);
}

#[tokio::test]
async fn a_task_that_fails_says_why_and_runs_the_next_time() {
    #[derive(Debug)]
    struct Broken;
    impl Host for Broken {
        fn read(&mut self) -> Reading {
            panic!("a host that cannot be read")
        }
    }
    let app = TestApp::new();
    app.state.jobs.host().set_host(Box::new(Broken));
    app.clock.advance(MINUTE * 5);
    let ran = step(&app).await;
    assert_eq!((ran[0].1.outcome, ran[0].1.error.as_deref()), (RunOutcome::Failed, Some("it panicked")));
    app.state.jobs.host().set_host(Box::new(Steady::default()));
    app.clock.advance(MINUTE * 5);
    assert_eq!(step(&app).await[0].1.outcome, RunOutcome::Done);
}

#[tokio::test]
async fn nothing_runs_by_itself_when_jobs_are_off() {
    let mut config = Config::default();
    config.jobs.is_enabled = false;
    let app = TestApp::with(config);
    drive(app.state.clone()).await;
    let listed = app.call(Method::GET, "/api/insights/tasks/", ROOT, &Value::Null).await.json();
    assert!(listed["results"].as_array().unwrap().iter().all(|task| task["next_run_at"].is_null()));
}

#[tokio::test]
async fn the_driver_samples_at_its_start_and_runs_what_is_due() {
    let app = TestApp::new();
    app.state.jobs.host().set_host(Box::new(Steady::default()));
    let driver = tokio::spawn(drive(app.state.clone()));
    while app.state.jobs.host().earlier().is_none() {
        tokio::task::yield_now().await;
    }
    app.clock.advance(MINUTE * 5);
    let config = &app.state.config.jobs;
    while app.state.jobs.shown(config)[0].state.history.is_empty() {
        // What the driver waits for, as if a run had ended: the clock of the test is not the one it sleeps by.
        app.state.jobs.ended.notify_one();
        tokio::task::yield_now().await;
    }
    driver.abort();
    assert_eq!(points(&app).await["cpu.usage"], (1, 25.0), "a rate at the first run");
}
