//! What the audit log says: logins, projects, deployments, workflows, security, errors, and the story.

use insights_engine::schema::Value;
use insights_engine::time::TimestampUs;

use super::activity::{Session, hours, is_broken, whole};
use super::plan::User;
use super::prng::Prng;
use super::rhythm::{HOUR_US, MINUTE_US, demand};
use super::rows::{AuditRow, member, text};
use super::step::Step;
use super::story::{ATTACK_IP, ATTACK_ORGANIZATION, ATTACK_USER_AGENT, DEPLOY_ORGANIZATION, STORY_APP};

const INFO: u64 = 0;
const NOTICE: u64 = 1;
const WARNING: u64 = 2;
const ERROR: u64 = 3;
const CRITICAL: u64 = 4;

/// Passwords that the attack tries.
const ATTACK_TRIES: i64 = 260;

/// What someone did: action, type of the object, severity.
type Act = (&'static str, &'static str, u64);

/// What builders do, by weight.
const BUILDER_ACTS: [(u32, Act); 14] = [
    (26, ("project.updated", "project", INFO)),
    (14, ("workflow.executed", "workflow", INFO)),
    (10, ("app.updated", "app", INFO)),
    (8, ("workflow.updated", "workflow", INFO)),
    (7, ("app.deployed", "app", NOTICE)),
    (6, ("project.created", "project", INFO)),
    (5, ("datasource.updated", "datasource", INFO)),
    (4, ("project.shared", "project", INFO)),
    (3, ("workflow.created", "workflow", INFO)),
    (3, ("data.exported", "dataset", NOTICE)),
    (2, ("user.invited", "user", INFO)),
    (2, ("project.deleted", "project", WARNING)),
    (1, ("user.role_changed", "user", NOTICE)),
    (1, ("security.api_key_created", "api_key", NOTICE)),
];
/// What anyone does once in a while, by weight.
const PERSONAL_ACTS: [(u32, Act); 3] = [
    (5, ("user.profile_updated", "user", INFO)),
    (3, ("security.password_changed", "user", NOTICE)),
    (2, ("security.2fa_enabled", "user", NOTICE)),
];
/// Errors of a good day: exception and where.
const ERRORS: [(&str, &str); 4] = [
    ("TimeoutError", "datasource.query"),
    ("IntegrityError", "records.save"),
    ("ConnectionResetError", "webhook.deliver"),
    ("MemoryError", "export.build"),
];

/// The records that sessions of users leave.
pub(crate) fn of_sessions(step: &Step<'_>, sessions: &[Session<'_>], prng: &mut Prng) -> Vec<AuditRow> {
    let mut out = Vec::new();
    for session in sessions {
        let (Some(user), Some(first), Some(last)) =
            (session.user, session.events.first(), session.events.last())
        else {
            continue;
        };
        let login = TimestampUs(first.at.0 - prng.between(400_000, 3_000_000));
        if prng.chance(0.05) {
            let at = TimestampUs(login.0 - prng.between(2_000_000, 20_000_000));
            out.push(login_failed(user, at, prng));
        }
        out.push(AuditRow {
            description: format!("{} logged in", user.name),
            metadata: vec![member("method", text("password")), member("mfa", Value::Bool(user.builder))],
            ..by_user("user.login", user, login, prng)
        });
        if user.builder {
            for event in session.events.iter().filter(|e| e.event_type != "page_view") {
                if prng.chance(0.07) {
                    out.extend(act(step, session, user, event.at, prng));
                }
            }
        }
        if prng.chance(0.03) {
            let drawn = prng.weighted(&PERSONAL_ACTS).copied().unwrap_or_default();
            out.push(personal(drawn, user, TimestampUs(last.at.0 + 1000), prng));
        }
        if prng.chance(0.6) {
            let at = TimestampUs(last.at.0 + prng.between(1_000_000, 60_000_000));
            let description = format!("{} logged out", user.name);
            out.push(AuditRow { description, ..by_user("user.logout", user, at, prng) });
        }
    }
    out
}

/// What the platform does by itself: scheduled workflows, the nightly backup, errors now and then.
pub(crate) fn of_the_system(step: &Step<'_>, prng: &mut Prng) -> Vec<AuditRow> {
    let mut out = Vec::new();
    for hour in hours(step.window) {
        for (number, app) in step.organization.apps.iter().enumerate() {
            let at = TimestampUs(hour.0 + 5 * MINUTE_US + prng.between(0, MINUTE_US));
            out.push(AuditRow {
                app_id: Some(app.id.clone()),
                user: Some(("scheduler".to_owned(), "Scheduler".to_owned())),
                ..workflow_executed(number, prng.chance(0.985), at, prng)
            });
            let busy = demand(hour, step.organization.offset_h);
            if prng.chance(0.02 * busy) {
                let at = TimestampUs(hour.0 + prng.between(0, HOUR_US));
                out.push(system_error(&app.id, *prng.pick(&ERRORS).unwrap_or(&("", "")), ERROR, at, prng));
            }
        }
        if hour.0.rem_euclid(24 * HOUR_US) / HOUR_US == 2 {
            let at = TimestampUs(hour.0 + 30 * MINUTE_US);
            out.push(AuditRow {
                description: "nightly backup completed".to_owned(),
                metadata: vec![member("bytes", Value::I64(prng.between(900_000_000, 2_000_000_000)))],
                ..record("system.backup_completed", at, prng)
            });
        }
    }
    out
}

/// The scripted records that fall into the step.
pub(crate) fn of_the_story(step: &Step<'_>, prng: &mut Prng) -> Vec<AuditRow> {
    let mut out = Vec::new();
    if step.number == DEPLOY_ORGANIZATION {
        out.extend(bad_deploy(step, prng));
    }
    if step.number == ATTACK_ORGANIZATION {
        out.extend(attack(step, prng));
    }
    out.retain(|row| step.window.contains(row.at));
    out
}

/// A record with its id and request, at `at`.
fn record(action: &'static str, at: TimestampUs, prng: &mut Prng) -> AuditRow {
    AuditRow {
        at,
        id: prng.uuid7(at.0),
        action,
        request_id: Some(format!("{:016x}", prng.bits())),
        ..AuditRow::default()
    }
}

/// A record of what a user did, from where they sit.
pub(crate) fn by_user(action: &'static str, user: &User, at: TimestampUs, prng: &mut Prng) -> AuditRow {
    AuditRow {
        user: Some((user.id.clone(), user.name.clone())),
        ip: Some(user.ip.clone()),
        user_agent: Some(user.client),
        object: Some(("user", user.id.clone(), user.name.clone())),
        ..record(action, at, prng)
    }
}

/// A record of a wrong password.
pub(crate) fn login_failed(user: &User, at: TimestampUs, prng: &mut Prng) -> AuditRow {
    AuditRow {
        description: format!("failed login of {}", user.id),
        severity: WARNING,
        failed: true,
        metadata: vec![member("reason", text("wrong_password"))],
        ..by_user("user.login_failed", user, at, prng)
    }
}

fn act(
    step: &Step<'_>,
    session: &Session<'_>,
    user: &User,
    at: TimestampUs,
    prng: &mut Prng,
) -> Option<AuditRow> {
    let (action, object_type, severity) = *prng.weighted(&BUILDER_ACTS)?;
    let number = prng.below(40);
    let (object_id, shown) = match object_type {
        "app" => (session.app.id.clone(), session.app.name.clone()),
        "user" => prng.pick(&step.organization.users).map(|other| (other.id.clone(), other.name.clone()))?,
        _ => (format!("{object_type}-{number}"), format!("{} {object_type} {number}", session.app.name)),
    };
    let version = format!("2.{}.{}", prng.below(8), prng.below(20));
    let metadata = match action {
        "app.deployed" => vec![member("version", text(version)), member("environment", text("production"))],
        "data.exported" => vec![member("rows", Value::I64(whole(prng.lognormal(800.0, 1.2))))],
        "workflow.executed" => run(prng.chance(0.96), prng),
        _ => vec![member("elapsed_ms", Value::I64(whole(prng.lognormal(45.0, 0.7))))],
    };
    let changes = match action {
        "project.updated" => {
            let before = format!("{shown} v{}", prng.below(9));
            vec![("name".to_owned(), before, shown.clone())]
        }
        "user.role_changed" => vec![("role".to_owned(), "member".to_owned(), "admin".to_owned())],
        _ => Vec::new(),
    };
    Some(AuditRow {
        description: format!("{} {}: {shown}", user.name, action.replace(['.', '_'], " ")),
        app_id: Some(session.app.id.clone()),
        object: Some((object_type, object_id, shown)),
        severity,
        metadata,
        changes,
        ..by_user(action, user, at, prng)
    })
}

fn personal((action, _, severity): Act, user: &User, at: TimestampUs, prng: &mut Prng) -> AuditRow {
    let description = format!("{} {}", user.name, action.replace(['.', '_'], " "));
    AuditRow { description, severity, ..by_user(action, user, at, prng) }
}

fn run(succeeded: bool, prng: &mut Prng) -> Vec<(String, Value)> {
    vec![
        member("run_id", text(format!("run-{:08x}", prng.bits() >> 32))),
        member("status", text(if succeeded { "succeeded" } else { "failed" })),
        member("duration_ms", Value::I64(whole(prng.lognormal(1800.0, 0.8)))),
        member("steps", Value::I64(prng.between(2, 14))),
    ]
}

fn workflow_executed(number: usize, succeeded: bool, at: TimestampUs, prng: &mut Prng) -> AuditRow {
    AuditRow {
        description: format!("scheduled workflow {number} executed"),
        object: Some(("workflow", format!("workflow-{number}"), format!("hourly sync {number}"))),
        severity: if succeeded { INFO } else { WARNING },
        failed: !succeeded,
        metadata: run(succeeded, prng),
        ..record("workflow.executed", at, prng)
    }
}

fn system_error(
    app_id: &str,
    (exception, place): (&str, &str),
    severity: u64,
    at: TimestampUs,
    prng: &mut Prng,
) -> AuditRow {
    AuditRow {
        description: format!("{exception} in {place}"),
        app_id: Some(app_id.to_owned()),
        object: Some(("app", app_id.to_owned(), app_id.to_owned())),
        severity,
        failed: true,
        metadata: vec![member("exception", text(exception)), member("place", text(place))],
        ..record("system.error", at, prng)
    }
}

/// A deploy at noon that breaks the app, the errors that follow, and the way back.
fn bad_deploy(step: &Step<'_>, prng: &mut Prng) -> Vec<AuditRow> {
    let deploy = step.plan.story.deploy;
    let organization = step.organization;
    let builder = organization.users.iter().find(|user| user.builder);
    let (Some(app), Some(user)) = (organization.apps.get(STORY_APP), builder) else { return Vec::new() };
    let mut out = Vec::new();
    for (action, at, version, previous) in [
        ("app.deployed", deploy.at, "2.8.0", "2.7.4"),
        ("app.rolled_back", deploy.rolled_back, "2.7.4", "2.8.0"),
    ] {
        out.push(AuditRow {
            description: format!("{} {}: {} {version}", user.name, action.replace(['.', '_'], " "), app.name),
            app_id: Some(app.id.clone()),
            object: Some(("app", app.id.clone(), app.name.clone())),
            severity: NOTICE,
            metadata: vec![member("version", text(version)), member("environment", text("production"))],
            changes: vec![("version".to_owned(), previous.to_owned(), version.to_owned())],
            ..by_user(action, user, at, prng)
        });
    }
    let mut at = deploy.degraded.start;
    while is_broken(step, app, at) {
        out.push(system_error(&app.id, ("OperationalError", "records.list"), CRITICAL, at, prng));
        at = TimestampUs(at.0 + prng.between(5_000_000, 40_000_000));
    }
    out
}

/// Many passwords on many users from one address at night, one that fits, and what is done with it.
fn attack(step: &Step<'_>, prng: &mut Prng) -> Vec<AuditRow> {
    let attack = step.plan.story.attack;
    let (Some(victim), users) = (step.organization.users.first(), &step.organization.users) else {
        return Vec::new();
    };
    let from_outside = |row: AuditRow| AuditRow {
        ip: Some(ATTACK_IP.to_owned()),
        user_agent: Some(ATTACK_USER_AGENT),
        ..row
    };
    let mut out = Vec::new();
    for n in 0..ATTACK_TRIES {
        let width = attack.tries.end.0 - attack.tries.start.0;
        let at = TimestampUs(attack.tries.start.0 + width / ATTACK_TRIES * n);
        if let Some(user) = prng.pick(users) {
            out.push(from_outside(login_failed(user, at, prng)));
        }
    }
    let login = AuditRow {
        description: format!("{} logged in", victim.name),
        severity: NOTICE,
        metadata: vec![member("method", text("password")), member("mfa", Value::Bool(false))],
        ..by_user("user.login", victim, attack.entered, prng)
    };
    out.push(from_outside(login));
    let abuse = [
        ("security.2fa_disabled", "user", WARNING),
        ("security.password_changed", "user", NOTICE),
        ("data.exported", "dataset", NOTICE),
    ];
    let pause = (attack.abuse.end.0 - attack.abuse.start.0) / 4;
    for (drawn, n) in abuse.into_iter().zip(0..) {
        let at = TimestampUs(attack.abuse.start.0 + pause * n);
        out.push(from_outside(personal(drawn, victim, at, prng)));
    }
    out.push(AuditRow {
        description: format!("{ATTACK_IP} blocked after {ATTACK_TRIES} failed logins"),
        severity: CRITICAL,
        object: Some(("ip_address", ATTACK_IP.to_owned(), ATTACK_IP.to_owned())),
        ..record("security.ip_blocked", attack.blocked, prng)
    });
    out
}
