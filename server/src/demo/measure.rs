//! What is measured: hosts, apps and sessions, every metric that is known beforehand.

use std::f64::consts::TAU;

use insights_engine::schema::stream::MetricKind;
use insights_engine::time::{DAY_US, TimeRange, TimestampUs};

use super::activity::{Session, is_broken, whole};
use super::plan::App;
use super::prng::Prng;
use super::rhythm::{HOUR_US, MINUTE_US, demand};
use super::rows::PointRow;
use super::step::Step;
use super::story::{DEPLOY_ORGANIZATION, MAINTENANCE_ORGANIZATION, STORY_APP};

/// Hosts and apps are looked at this often.
const TICK_US: i64 = 5 * MINUTE_US;
/// Resources of an app are looked at this often.
const RESOURCES_US: i64 = 15 * MINUTE_US;

/// Labels of one mount.
const ROOT: [(&str, &str); 1] = [("mount", "/")];
/// Labels of the routes whose response time is sampled; the first ones more often.
const ROUTES: [[(&str, &str); 2]; 3] = [
    [("method", "GET"), ("route", "/records")],
    [("method", "POST"), ("route", "/records")],
    [("method", "GET"), ("route", "/reports")],
];
/// Label of a probe that was not answered on purpose.
const MAINTENANCE: [(&str, &str); 1] = [("maintenance", "true")];

/// A point about nothing in particular.
fn point(name: &'static str, kind: MetricKind, at: TimestampUs, value: f64) -> PointRow {
    PointRow { at, name, kind, value, app_id: None, host: None, user_id: None, labels: &[] }
}

/// The engagement of each user's session, written at its end.
pub(crate) fn of_sessions(sessions: &[Session<'_>]) -> Vec<PointRow> {
    let mut out = Vec::new();
    for session in sessions {
        let (Some(user), Some(first), Some(last)) =
            (session.user, session.events.first(), session.events.last())
        else {
            continue;
        };
        let pages = session.events.iter().filter(|e| e.event_type == "page_view").count();
        let background = |t: &str| matches!(t, "page_view" | "autosave" | "error_shown");
        let actions = session.events.iter().filter(|e| !background(e.event_type)).count();
        let values = [
            ("session.duration", MetricKind::Observation, decimals(seconds(last.at.0 - first.at.0), 1)),
            ("pages.visited", MetricKind::Counter, from_count(pages)),
            ("actions.performed", MetricKind::Counter, from_count(actions)),
        ];
        out.extend(values.map(|(name, kind, value)| PointRow {
            user_id: Some(user.id.clone()),
            app_id: Some(session.app.id.clone()),
            ..point(name, kind, last.at, value)
        }));
    }
    out
}

/// The eight system metrics of each host, every five minutes.
pub(crate) fn of_hosts(step: &Step<'_>, prng: &mut Prng) -> Vec<PointRow> {
    let mut out = Vec::new();
    for (host, number) in step.organization.hosts.iter().zip(0_i32..) {
        for at in ticks(step.window, TICK_US) {
            let busy = demand(at, step.organization.offset_h);
            let stressed = step.number == DEPLOY_ORGANIZATION && step.plan.story.deploy.degraded.contains(at);
            let strain = if stressed { 2.2 } else { 1.0 };
            let age_days = seconds(at.0 - step.plan.start.0) / 86_400.0;
            let wave = (TAU * age_days * 1.7 + f64::from(number)).sin();
            let traffic = 40e6 * (0.1 + busy) * strain;
            let values: [(&'static str, MetricKind, f64); 7] = [
                (
                    "cpu.usage",
                    MetricKind::Gauge,
                    (8.0 + 22.0 * busy * strain + 3.0 * prng.normal()).clamp(1.0, 100.0),
                ),
                (
                    "memory.usage",
                    MetricKind::Gauge,
                    (52.0 + 9.0 * wave + 4.0 * busy * strain + prng.normal()).min(98.0),
                ),
                ("network.in", MetricKind::Counter, prng.lognormal(traffic, 0.3).round()),
                ("network.out", MetricKind::Counter, prng.lognormal(traffic * 2.4, 0.3).round()),
                ("request.latency", MetricKind::Observation, prng.lognormal(48.0 * strain * strain, 0.45)),
                (
                    "server.errors",
                    MetricKind::Counter,
                    from_u64(prng.poisson(0.15 * busy * if stressed { 80.0 } else { 1.0 })),
                ),
                (
                    "db.connections",
                    MetricKind::Gauge,
                    (6.0 + 14.0 * busy * strain + 2.0 * prng.normal()).max(1.0).round(),
                ),
            ];
            let jitter = prng.between(0, 2_000_000);
            let seen = TimestampUs(at.0 + jitter);
            out.extend(values.map(|(name, kind, value)| PointRow {
                host: Some(host.clone()),
                ..point(name, kind, seen, decimals(value, 2))
            }));
            let disk = 41.0 + 0.35 * age_days + f64::from(number);
            out.push(PointRow {
                host: Some(host.clone()),
                labels: &ROOT,
                ..point("disk.usage", MetricKind::Gauge, seen, decimals(disk.min(96.0), 1))
            });
        }
    }
    out
}

/// Requests, errors, response times, probes and resources of each app.
pub(crate) fn of_apps(step: &Step<'_>, prng: &mut Prng) -> Vec<PointRow> {
    let mut out = Vec::new();
    for (number, app) in step.organization.apps.iter().enumerate() {
        for at in ticks(step.window, TICK_US) {
            out.extend(traffic(step, app, at, prng));
            out.push(probe(step, number, app, TimestampUs(at.0 + prng.between(0, 1_000_000))));
        }
        for at in ticks(step.window, RESOURCES_US) {
            out.extend(resources(step, app, at, prng));
        }
    }
    out
}

/// Requests and errors of one tick, and the response times that were sampled in it.
fn traffic(step: &Step<'_>, app: &App, at: TimestampUs, prng: &mut Prng) -> Vec<PointRow> {
    let busy = demand(at, step.organization.offset_h);
    let broken = is_broken(step, app, at);
    let of_app = |row: PointRow| PointRow { app_id: Some(app.id.clone()), ..row };
    let end = TimestampUs(at.0 + TICK_US - 1);
    let requests = whole(prng.lognormal(app.requests * (0.04 + busy), 0.15)).max(0);
    let rate = if broken { 0.42 } else { app.error_rate };
    let errors = (0..requests).filter(|_| prng.chance(rate)).count();
    let mut out = vec![
        of_app(point("requests.count", MetricKind::Counter, end, decimals(from_i64(requests), 0))),
        of_app(point("errors.count", MetricKind::Counter, end, from_count(errors))),
    ];
    let slow = if broken { 14.0 } else { 1.0 + 0.25 * busy };
    for _ in 0..prng.poisson(0.3 + 1.6 * busy.min(2.0)) {
        let labels: &[(&str, &str)] = prng.favourite(&ROUTES).map_or(&[], |route| route);
        let value = prng.lognormal(app.latency_ms * slow, 0.5);
        let seen = TimestampUs(at.0 + prng.between(0, TICK_US));
        out.push(of_app(PointRow {
            labels,
            ..point("response.time", MetricKind::Observation, seen, decimals(value, 1))
        }));
    }
    out
}

/// One look at whether the app answers.
fn probe(step: &Step<'_>, number: usize, app: &App, at: TimestampUs) -> PointRow {
    let story = &step.plan.story;
    let down = step.number == DEPLOY_ORGANIZATION && number == STORY_APP && story.deploy.down.contains(at);
    let maintained =
        step.number == MAINTENANCE_ORGANIZATION && number == STORY_APP && story.maintenance.contains(at);
    PointRow {
        app_id: Some(app.id.clone()),
        labels: if maintained { &MAINTENANCE } else { &[] },
        ..point("uptime", MetricKind::Gauge, at, if down || maintained { 0.0 } else { 1.0 })
    }
}

/// What the app takes of its host: percent of a core, MiB of memory, MiB of storage.
fn resources(step: &Step<'_>, app: &App, at: TimestampUs, prng: &mut Prng) -> [PointRow; 3] {
    let busy = demand(at, step.organization.offset_h);
    let age_days = seconds(at.0 - step.plan.start.0) / 86_400.0;
    let load = app.requests / 60.0;
    [
        ("app.cpu", (1.0 + load * busy * (1.0 + 0.1 * prng.normal())).clamp(0.1, 100.0), 2),
        ("app.memory", 180.0 + 12.0 * load + 20.0 * busy + 4.0 * prng.normal(), 0),
        ("app.storage", 600.0 + app.requests * (4.0 + 0.02 * age_days), 0),
    ]
    .map(|(name, value, digits)| PointRow {
        app_id: Some(app.id.clone()),
        ..point(name, MetricKind::Gauge, at, decimals(value, digits))
    })
}

/// The multiples of `step_us` in a window.
fn ticks(window: TimeRange, step_us: i64) -> impl Iterator<Item = TimestampUs> {
    let first = window.start.0.div_euclid(step_us) + i64::from(window.start.0.rem_euclid(step_us) != 0);
    (first..).map(move |n| TimestampUs(n * step_us)).take_while(move |at| *at < window.end)
}

/// A number with `digits` places: what a collector sends.
fn decimals(value: f64, digits: i32) -> f64 {
    let unit = 10_f64.powi(digits);
    (value * unit).round() / unit
}

#[expect(clippy::cast_precision_loss, reason = "the days of a demo in microseconds stay below 2^53")]
fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "counts of one tick or session")]
fn from_count(n: usize) -> f64 {
    n as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts of one tick")]
fn from_u64(n: u64) -> f64 {
    n as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts of one tick")]
fn from_i64(n: i64) -> f64 {
    n as f64
}

const _: () =
    assert!(DAY_US % TICK_US == 0 && HOUR_US % RESOURCES_US == 0, "ticks fall on the same minutes each day");
