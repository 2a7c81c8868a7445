//! What people do: sessions of users and visitors, each with its events.

use insights_engine::schema::Value;
use insights_engine::time::{TimeRange, TimestampUs};

use super::plan::{App, User};
use super::prng::Prng;
use super::rhythm::{HOUR_US, demand};
use super::rows::{EventRow, member, text};
use super::step::Step;
use super::story::{DEPLOY_ORGANIZATION, STORY_APP};

/// Visits of people who are not logged in, an hour at demand 1, in each organization.
const VISITS: f64 = 5.0;
/// Microseconds of a second.
const SECOND_US: f64 = 1_000_000.0;

/// One visit and its events, oldest first.
#[derive(Debug, Clone)]
pub(crate) struct Session<'a> {
    /// The user; a visitor has none.
    pub(crate) user: Option<&'a User>,
    /// The app it was in.
    pub(crate) app: &'a App,
    /// What happened, at least one event.
    pub(crate) events: Vec<EventRow>,
}

/// Pages of the platform itself; the first ones are opened more often.
const PAGES: [&str; 9] = [
    "/dashboard",
    "/projects",
    "/apps",
    "/workflows",
    "/data",
    "/team",
    "/settings/profile",
    "/settings/security",
    "/billing",
];
/// Pages of an app, behind its address.
const APP_PAGES: [&str; 7] = ["records", "", "records/new", "search", "reports", "calendar", "help"];
/// Where visitors come from.
const REFERRERS: [&str; 5] = ["search", "direct", "newsletter", "partner", "social"];

/// An action: event type, feature, button.
type Action = (&'static str, &'static str, &'static str);

/// What users do in an app, by weight.
const ACTIONS: [(u32, Action); 12] = [
    (24, ("button_click", "records", "save")),
    (14, ("record_updated", "records", "save")),
    (12, ("search", "search", "search")),
    (10, ("form_submit", "forms", "submit")),
    (9, ("record_created", "records", "create")),
    (8, ("filter_applied", "search", "apply_filter")),
    (7, ("button_click", "dashboard", "refresh")),
    (6, ("report_opened", "reports", "open_report")),
    (4, ("file_uploaded", "files", "upload")),
    (3, ("export_requested", "export", "export_csv")),
    (2, ("comment_added", "comments", "send")),
    (1, ("button_click", "help", "open_help")),
];
/// What builders do besides.
const BUILDER_ACTIONS: [(u32, Action); 6] = [
    (10, ("component_added", "editor", "add_component")),
    (8, ("component_moved", "editor", "drag")),
    (6, ("app_previewed", "preview", "preview")),
    (5, ("workflow_run", "workflows", "run")),
    (3, ("datasource_connected", "datasources", "connect")),
    (2, ("theme_changed", "themes", "apply_theme")),
];

/// The sessions that begin in a step, in no order.
pub(crate) fn sessions<'a>(step: &Step<'a>, prng: &mut Prng) -> Vec<Session<'a>> {
    let organization = step.organization;
    let mut out = Vec::new();
    for hour in hours(step.window) {
        let busy = demand(TimestampUs(hour.0 + HOUR_US / 2), organization.offset_h);
        for user in &organization.users {
            for _ in 0..prng.poisson(user.sessions / 24.0 * busy) {
                let at = TimestampUs(hour.0 + prng.between(0, HOUR_US));
                out.extend(user_session(step, user, at, prng));
            }
        }
        for _ in 0..prng.poisson(VISITS * busy) {
            let at = TimestampUs(hour.0 + prng.between(0, HOUR_US));
            out.extend(visit(step, at, prng));
        }
    }
    out
}

/// The starts of the hours of a window.
pub(crate) fn hours(window: TimeRange) -> impl Iterator<Item = TimestampUs> {
    (0..).map(move |n| TimestampUs(window.start.0 + n * HOUR_US)).take_while(move |at| *at < window.end)
}

fn user_session<'a>(
    step: &Step<'a>,
    user: &'a User,
    at: TimestampUs,
    prng: &mut Prng,
) -> Option<Session<'a>> {
    let apps = &step.organization.apps;
    let home = apps.get(user.app)?;
    let app = if prng.chance(0.8) { home } else { prng.pick(apps)? };
    let base = EventRow {
        at,
        id: String::new(),
        event_type: "page_view",
        user_id: Some(user.id.clone()),
        anonymous_id: None,
        session_id: session_id(prng),
        app_id: app.id.clone(),
        ip: user.ip.clone(),
        user_agent: user.client,
        data: Vec::new(),
    };
    let length = count(prng.lognormal(11.0, 0.6), 70);
    let mut events = Vec::with_capacity(length);
    let (mut at, mut page) = (at, "/dashboard".to_owned());
    for index in 0..length {
        let broken = is_broken(step, app, at);
        let (event_type, data) = if index == 0 || prng.chance(0.38) {
            page = a_page(app, prng);
            ("page_view", page_view(&page, user.browser))
        } else if broken && prng.chance(0.6) {
            ("error_shown", error_shown(&page, prng))
        } else if prng.chance(0.06) {
            ("autosave", vec![member("page", text(page.as_str())), member("interactive", Value::Bool(false))])
        } else {
            action(&page, user, prng)
        };
        events.push(EventRow { at, id: prng.uuid7(at.0), event_type, data, ..base.clone() });
        if broken && prng.chance(0.25) {
            break;
        }
        at = later(at, prng.lognormal(28.0, 1.0), prng);
    }
    Some(Session { user: Some(user), app, events })
}

fn visit<'a>(step: &Step<'a>, at: TimestampUs, prng: &mut Prng) -> Option<Session<'a>> {
    let app = prng.favourite(&step.organization.apps)?;
    let (ip, browser) =
        (format!("2001:db8:ffff::{:x}", 1 + prng.below(0xffff)), prng.pick(&step.organization.users)?);
    let base = EventRow {
        at,
        id: String::new(),
        event_type: "page_view",
        user_id: None,
        anonymous_id: Some(format!("visitor-{:08x}", prng.bits() >> 32)),
        session_id: session_id(prng),
        app_id: app.id.clone(),
        ip,
        user_agent: browser.client,
        data: Vec::new(),
    };
    let mut events = Vec::new();
    let mut at = at;
    for index in 0..=prng.poisson(1.4) {
        let page = a_page(app, prng);
        let mut data = page_view(&page, browser.browser);
        if index == 0 {
            data.push(member("referrer", text(prng.pick(&REFERRERS).copied().unwrap_or_default())));
        }
        events.push(EventRow { at, id: prng.uuid7(at.0), data, ..base.clone() });
        at = later(at, prng.lognormal(40.0, 0.8), prng);
    }
    Some(Session { user: None, app, events })
}

fn session_id(prng: &mut Prng) -> String {
    format!("s-{:016x}", prng.bits())
}

/// Whether a bad deploy breaks the app at that moment.
pub(crate) fn is_broken(step: &Step<'_>, app: &App, at: TimestampUs) -> bool {
    let deploy = step.plan.story.deploy;
    let is_story_app = step.organization.apps.get(STORY_APP).is_some_and(|broken| broken.id == app.id);
    step.number == DEPLOY_ORGANIZATION && is_story_app && deploy.degraded.contains(at)
}

fn a_page(app: &App, prng: &mut Prng) -> String {
    if prng.chance(0.35) {
        return prng.favourite(&PAGES).copied().unwrap_or_default().to_owned();
    }
    format!("/{}/{}", app.id, prng.favourite(&APP_PAGES).copied().unwrap_or_default())
}

fn page_view(page: &str, browser: &str) -> Vec<(String, Value)> {
    vec![member("page", text(page)), member("browser", text(browser))]
}

fn error_shown(page: &str, prng: &mut Prng) -> Vec<(String, Value)> {
    let code = if prng.chance(0.7) { 502 } else { 504 };
    vec![
        member("page", text(page)),
        member("code", Value::I64(code)),
        member("feature", text("records")),
        member("interactive", Value::Bool(false)),
    ]
}

fn action(page: &str, user: &User, prng: &mut Prng) -> (&'static str, Vec<(String, Value)>) {
    let builds = user.builder && prng.chance(0.5);
    let drawn = if builds { prng.weighted(&BUILDER_ACTIONS) } else { prng.weighted(&ACTIONS) };
    let (event_type, feature, button) = drawn.copied().unwrap_or_default();
    let mut data = vec![
        member("page", text(page)),
        member("feature", text(feature)),
        member("button_name", text(button)),
    ];
    if prng.chance(0.5) {
        data.push(member("duration_ms", Value::I64(whole(prng.lognormal(240.0, 0.9)))));
    }
    if event_type == "form_submit" {
        let fields = prng.between(2, 24);
        data.push(member(
            "form",
            Value::Object(vec![
                member("fields", Value::I64(fields)),
                member("valid", Value::Bool(prng.chance(0.93))),
            ]),
        ));
    }
    (event_type, data)
}

/// `seconds` after `at`, never twice the same microsecond in a session.
fn later(at: TimestampUs, seconds: f64, prng: &mut Prng) -> TimestampUs {
    TimestampUs(at.0 + 1 + whole(seconds.clamp(0.2, 1500.0) * SECOND_US) + prng.between(0, 1000))
}

fn count(value: f64, max: i64) -> usize {
    usize::try_from(whole(value).clamp(1, max)).unwrap_or(1)
}

/// The whole part of a number that is known to be small.
#[expect(clippy::cast_possible_truncation, reason = "values of the demo stay far below 2^53")]
pub(crate) fn whole(value: f64) -> i64 {
    value as i64
}
