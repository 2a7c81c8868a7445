//! The scheduler by a clock that is moved: what runs, how often, and what a crash leaves.

use std::collections::BTreeMap;
use std::time::Duration;

use insights_engine::clock::{Clock, ManualClock};
use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::job::schedule::Schedule;

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

fn at(text: &str) -> TimestampUs {
    TimestampUs(text.parse::<Timestamp>().unwrap().as_microsecond())
}

fn timetable(schedule: &str, zones: &[&str]) -> Timetable {
    let zones = zones.iter().map(|name| ((*name).to_owned(), TimeZone::get(name).unwrap())).collect();
    Timetable::new(Schedule::parse(schedule).unwrap(), zones, Duration::ZERO)
}

/// A scheduler of one task, and its clock.
fn one(schedule: &str, zone: &str, start: &str) -> (Scheduler, std::sync::Arc<ManualClock>) {
    let clock = ManualClock::new(at(start));
    let mut scheduler = Scheduler::default();
    scheduler.add("task", timetable(schedule, &[zone]), None, clock.now());
    (scheduler, clock)
}

/// Runs what is due to its end; gives times and causes.
fn step(scheduler: &mut Scheduler, clock: &ManualClock) -> Vec<(String, RunCause)> {
    let due = scheduler.due(clock.now());
    for run in &due {
        scheduler.finish(run.task, 0, Ok(json!(null))).unwrap();
    }
    let told = |run: &Run| (Timestamp::from_microsecond(run.scheduled.0).unwrap().to_string(), run.cause);
    due.iter().map(told).collect()
}

#[test]
fn two_years_of_four_tasks_run_exactly_as_often_as_the_calendar_says() {
    let start = at("2023-01-01T00:00:00Z");
    let clock = ManualClock::new(start);
    let mut scheduler = Scheduler::default();
    let tasks: [(&'static str, &str, &[&str]); 4] = [
        ("collect", "every 300s", &["UTC"]),
        ("aggregate", "0 0 * * *", &["UTC", "Europe/Berlin", "America/New_York"]),
        ("reports", "30 2 * * *", &["Europe/Berlin"]),
        ("cleanup", "30 3 * * *", &["UTC"]),
    ];
    for (name, schedule, zones) in tasks {
        scheduler.add(name, timetable(schedule, zones), None, clock.now());
    }
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    let mut days: BTreeMap<String, u32> = BTreeMap::new();
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    let end = at("2025-01-01T00:00:00Z");
    while let Some(next) = scheduler.next().filter(|next| *next <= end) {
        clock.set(next);
        for run in scheduler.due(clock.now()) {
            assert_eq!((run.scheduled, run.cause), (next, RunCause::Scheduled));
            *counts.entry(run.task).or_default() += 1;
            if run.task == "reports" {
                let local = berlin.to_datetime(Timestamp::from_microsecond(next.0).unwrap());
                *days.entry(local.date().to_string()).or_default() += 1;
            }
            scheduler.finish(run.task, 0, Ok(json!(null))).unwrap();
        }
        assert!(scheduler.due(clock.now()).is_empty(), "nothing runs twice");
    }
    // 365 + 366 days; three midnights a day but at the ends: New York's of the first day is after the start, Berlin's
    // before it.
    let expected = [("aggregate", 3 * 731), ("cleanup", 731), ("collect", 731 * 288), ("reports", 731)];
    assert_eq!(counts, expected.into());
    assert!(days.values().all(|times| *times == 1), "also on the days of 23 and 25 hours");
}

#[test]
fn what_was_missed_is_made_up_for_once() {
    let (mut scheduler, clock) = one("0 0 * * *", "UTC", "2024-01-01T12:00:00Z");
    assert!(step(&mut scheduler, &clock).is_empty(), "what lies before the first start was not missed");
    clock.advance(DAY * 10);
    assert_eq!(step(&mut scheduler, &clock), [("2024-01-02T00:00:00Z".to_owned(), RunCause::CaughtUp)]);
    assert!(step(&mut scheduler, &clock).is_empty());
    clock.advance(DAY);
    assert_eq!(step(&mut scheduler, &clock), [("2024-01-12T00:00:00Z".to_owned(), RunCause::Scheduled)]);
}

#[test]
fn a_task_that_runs_is_not_started_again() {
    let (mut scheduler, clock) = one("every 60s", "UTC", "2024-01-01T00:00:00Z");
    clock.advance(MINUTE);
    assert_eq!(scheduler.due(clock.now()).len(), 1);
    clock.advance(MINUTE * 3);
    assert!(scheduler.due(clock.now()).is_empty());
    assert_eq!(scheduler.begin("task", clock.now()), Err(NotNow::Running));
    assert_eq!(scheduler.next(), None, "its end is waited for");
    scheduler.finish("task", 180_000, Ok(json!(1))).unwrap();
    assert_eq!(step(&mut scheduler, &clock), [("2024-01-01T00:02:00Z".to_owned(), RunCause::CaughtUp)]);
    assert!(scheduler.finish("task", 0, Ok(json!(1))).is_none(), "nothing runs");
}

#[test]
fn a_clock_that_goes_back_runs_nothing_twice() {
    let (mut scheduler, clock) = one("every 3600s", "UTC", "2024-01-01T00:30:00Z");
    clock.advance(MINUTE * 45);
    assert_eq!(step(&mut scheduler, &clock).len(), 1);
    clock.set(at("2024-01-01T00:30:00Z"));
    assert!(step(&mut scheduler, &clock).is_empty());
    clock.set(at("2024-01-01T01:14:59Z"));
    assert!(step(&mut scheduler, &clock).is_empty());
    clock.set(at("2024-01-01T02:00:00Z"));
    assert_eq!(step(&mut scheduler, &clock), [("2024-01-01T02:00:00Z".to_owned(), RunCause::Scheduled)]);
}

#[test]
fn a_clock_that_jumps_ahead_runs_once_and_is_believed_again_when_it_is_set_right() {
    let (mut scheduler, clock) = one("every 3600s", "UTC", "2024-01-01T00:30:00Z");
    clock.set(at("2034-01-01T00:30:00Z"));
    assert_eq!(step(&mut scheduler, &clock), [("2024-01-01T01:00:00Z".to_owned(), RunCause::CaughtUp)]);
    assert!(step(&mut scheduler, &clock).is_empty());
    clock.set(at("2024-01-01T00:40:00Z"));
    assert!(step(&mut scheduler, &clock).is_empty());
    clock.set(at("2024-01-01T01:00:00Z"));
    assert_eq!(step(&mut scheduler, &clock), [("2024-01-01T01:00:00Z".to_owned(), RunCause::Scheduled)]);
}

/// The scheduler after a restart.
fn restarted(before: &Scheduler, schedule: &str, clock: &ManualClock) -> Scheduler {
    let value = before.state("task").unwrap().put("task").value.unwrap();
    let stored = TaskState::read("task", |_, _| Some(value.into()));
    let mut scheduler = Scheduler::default();
    scheduler.add("task", timetable(schedule, &["UTC"]), stored, clock.now());
    scheduler
}

#[test]
fn an_interrupted_run_is_told_and_repeated_for_the_same_time() {
    let schedule = "0 0 * * *";
    let (mut scheduler, clock) = one(schedule, "UTC", "2024-01-01T12:00:00Z");
    clock.set(at("2024-01-02T00:00:05Z"));
    let first = scheduler.due(clock.now());
    clock.advance(MINUTE);
    let mut scheduler = restarted(&scheduler, schedule, &clock);
    assert_eq!(scheduler.state("task").unwrap().history[0].outcome, RunOutcome::Interrupted);
    assert!(scheduler.next().is_some_and(|next| next <= clock.now()));
    let again = scheduler.due(clock.now());
    assert_eq!((again[0].scheduled, again[0].cause), (first[0].scheduled, RunCause::Repeated));
    scheduler.finish("task", 1, Ok(json!({}))).unwrap();
    assert!(scheduler.due(clock.now()).is_empty());
    let mut scheduler = restarted(&scheduler, schedule, &clock);
    assert!(scheduler.due(clock.now()).is_empty(), "a run that ended is not repeated");
    assert_eq!(scheduler.state("task").unwrap().history.len(), 2);
}

#[test]
fn a_run_that_ends_the_server_again_and_again_is_given_up() {
    let schedule = "0 0 * * *";
    let (mut scheduler, clock) = one(schedule, "UTC", "2024-01-01T12:00:00Z");
    clock.set(at("2024-01-02T00:00:00Z"));
    for times in 0..INTERRUPTED_MAX {
        assert_eq!(scheduler.due(clock.now()).len(), 1, "{times}");
        scheduler = restarted(&scheduler, schedule, &clock);
    }
    assert!(scheduler.due(clock.now()).is_empty());
    clock.advance(DAY);
    assert_eq!(step(&mut scheduler, &clock), [("2024-01-03T00:00:00Z".to_owned(), RunCause::Scheduled)]);
}

#[test]
fn another_schedule_has_missed_nothing() {
    let (scheduler, clock) = one("0 0 * * *", "UTC", "2024-01-01T12:00:00Z");
    clock.advance(DAY * 30);
    let mut scheduler = restarted(&scheduler, "0 1 * * *", &clock);
    assert!(step(&mut scheduler, &clock).is_empty());
    assert_eq!(scheduler.next(), Some(at("2024-02-01T01:00:00Z")));
}

#[test]
fn what_is_asked_for_leaves_what_is_scheduled() {
    let (mut scheduler, clock) = one("0 0 * * *", "UTC", "2024-01-01T12:00:00Z");
    let run = scheduler.begin("task", clock.now()).unwrap();
    assert_eq!((run.cause, run.scheduled), (RunCause::Asked, clock.now()));
    assert_eq!(scheduler.begin("other", clock.now()), Err(NotNow::Unknown));
    let record = scheduler.finish("task", 3, Err("it failed".to_owned())).unwrap();
    assert_eq!((record.outcome, record.error.as_deref()), (RunOutcome::Failed, Some("it failed")));
    assert_eq!(scheduler.next(), Some(at("2024-01-02T00:00:00Z")));
}

#[test]
fn a_zone_more_is_a_midnight_more() {
    let (mut scheduler, clock) = one("0 0 * * *", "UTC", "2024-01-01T12:00:00Z");
    let zones = ["UTC", "Asia/Tokyo"].map(|name| (name.to_owned(), TimeZone::get(name).unwrap()));
    scheduler.set_zones("task", zones.to_vec());
    assert_eq!(scheduler.next(), Some(at("2024-01-01T15:00:00Z")));
    clock.set(at("2024-01-02T00:00:00Z"));
    assert_eq!(step(&mut scheduler, &clock).len(), 1, "the two that passed are one run");
}
