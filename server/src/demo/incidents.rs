//! What an administrator should notice in one organization's audit log: people who try many doors, people who take or
//! delete much, rights that were never used, an account that was silent.
//!
//! Drawn from a stream of its own, so that everything else on the platform is as it would be without.

use insights_engine::time::{DAY_US, TimeRange, TimestampUs};

use super::audit::{by_user, login_failed};
use super::plan::User;
use super::prng::Prng;
use super::rhythm::{HOUR_US, MINUTE_US};
use super::rows::AuditRow;
use super::step::Step;
use super::story::ATTACK_ORGANIZATION;

/// Apart from the numbers of organizations and the steps.
const STREAM_OF_INCIDENTS: u64 = 0x494e_4349;
/// Addresses that one user's password is tried from.
const STUFFING_ADDRESSES: i64 = 24;
/// Projects that are deleted at once.
const DELETIONS: i64 = 30;
/// Data sets that are taken at once.
const EXPORTS: i64 = 25;
/// Days of silence of the account that comes back.
const SILENT_DAYS: i64 = 43;

/// When it happens. A moment that lies before the start of the plan does not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incidents {
    /// One user's password is tried from many addresses.
    pub(crate) stuffing: TimeRange,
    /// Somebody deletes many projects.
    pub(crate) deletions: TimeRange,
    /// Somebody takes much data out.
    pub(crate) exports: TimeRange,
    /// Somebody grants a role who never did.
    pub(crate) grant: TimestampUs,
    /// A former colleague was last seen, before the plan where that is short.
    pub(crate) left: TimestampUs,
    /// And is back.
    pub(crate) back: TimestampUs,
}

impl Incidents {
    /// The moments of the days before `end`.
    pub(crate) fn before(end: TimestampUs) -> Self {
        let today = i64::from(end.day());
        let at = |days: i64, hour: i64, minute: i64| {
            TimestampUs((today - days) * DAY_US + hour * HOUR_US + minute * MINUTE_US)
        };
        let range = |days, hour, minute, minutes| TimeRange {
            start: at(days, hour, minute),
            end: at(days, hour, minute + minutes),
        };
        let back = at(2, 9, 14);
        Self {
            stuffing: range(8, 4, 10, 6),
            deletions: range(7, 16, 42, 3),
            exports: range(6, 22, 5, 4),
            grant: at(5, 11, 20),
            left: TimestampUs(back.0 - SILENT_DAYS * DAY_US),
            back,
        }
    }
}

/// The records that fall into a step.
pub(crate) fn of_step(step: &Step<'_>) -> Vec<AuditRow> {
    if step.number != ATTACK_ORGANIZATION {
        return Vec::new();
    }
    let prng = &mut Prng::new(&[step.plan.seed, STREAM_OF_INCIDENTS]);
    let incidents = step.plan.incidents;
    let users = &step.organization.users;
    let mut builders = users.iter().filter(|user| user.builder);
    let mut out = Vec::new();
    if let Some(user) = users.get(1) {
        out.extend(spread(incidents.stuffing, STUFFING_ADDRESSES).zip(1..).map(|(at, n)| AuditRow {
            ip: Some(format!("2001:db8:bad::{n:x}")),
            ..login_failed(user, at, prng)
        }));
    }
    if let (Some(one), Some(other), Some(third)) = (builders.next(), builders.next(), builders.next()) {
        let many = |action, object_type: &'static str, within, count, user: &User, prng: &mut Prng| {
            let row = |(at, n): (TimestampUs, i64)| AuditRow {
                description: format!("{} {object_type} {n}", user.name),
                object: Some((object_type, format!("{object_type}-{n}"), format!("{object_type} {n}"))),
                severity: 2,
                ..by_user(action, user, at, prng)
            };
            spread(within, count).zip(0..).map(row).collect::<Vec<_>>()
        };
        out.extend(many("project.deleted", "project", incidents.deletions, DELETIONS, one, prng));
        out.extend(many("data.exported", "dataset", incidents.exports, EXPORTS, other, prng));
        out.extend(many("role.granted", "role", at_once(incidents.grant), 1, third, prng));
    }
    let colleague = former_colleague();
    // What lies before the plan comes with its first step, when the return lies inside.
    let mut left = login(&colleague, incidents.left, prng);
    let too_early = incidents.left < step.plan.start;
    out.push(login(&colleague, incidents.back, prng));
    out.retain(|row| step.window.contains(row.at));
    let comes_back = incidents.left.0 >= 0 && incidents.back >= step.plan.start;
    let is_first = step.window.start == step.plan.start;
    if if too_early { is_first && comes_back } else { step.window.contains(incidents.left) } {
        "last seen on the last day of work".clone_into(&mut left.description);
        out.push(left);
    }
    out
}

/// `count` moments, as far from each other as the range allows.
fn spread(within: TimeRange, count: i64) -> impl Iterator<Item = TimestampUs> {
    (0..count).map(move |n| TimestampUs(within.start.0 + (within.end.0 - within.start.0) / count * n))
}

fn at_once(at: TimestampUs) -> TimeRange {
    TimeRange { start: at, end: TimestampUs(at.0 + 1) }
}

fn login(user: &User, at: TimestampUs, prng: &mut Prng) -> AuditRow {
    AuditRow { description: format!("{} logged in", user.name), ..by_user("user.login", user, at, prng) }
}

/// Somebody who works here no more: not among the organization's people.
fn former_colleague() -> User {
    User {
        id: "ottilie.winter".to_owned(),
        name: "Ottilie Winter".to_owned(),
        ip: "203.0.113.251".to_owned(),
        client: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        browser: "Firefox",
        sessions: 0.0,
        app: 0,
        builder: false,
    }
}
