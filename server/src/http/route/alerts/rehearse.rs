//! Rehearsing a rule on stored history, before it is kept.

use axum::extract::State;
use axum::routing::post;
use axum::{Json as JsonAnswer, Router};
use insights_engine::time::{DAY_US, TimeRange, TimestampUs};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::Value;
use utoipa::{OpenApi, ToSchema};

use super::rules::{RuleBody, known};
use super::{organization_of, writable};
use crate::alert::board::Transition;
use crate::alert::driver;
use crate::alert::label::{Labels, fingerprint};
use crate::alert::rehearse::{Rehearsal, longest_us, rehearse};
use crate::alert::rule::{Rule, RuleDocument};
use crate::alert::state::Change;
use crate::app::AppState;
use crate::auth::{Principal, Scopes};
use crate::domain::instant::Rfc3339;
use crate::http::error::{ApiError, FieldError};
use crate::http::extract::{Json, NoParameters, Query};
use crate::report::body::{Fields, step};

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(paths(run), components(schemas(RehearsalBody, RehearsalView, ChangeView, DayView)))]
pub(super) struct Api;

/// How much history is rehearsed when nothing is said.
const DAYS_DEFAULT: i64 = 7;
/// Bytes of a date.
const DATE_BYTES: usize = 10;

/// The routes.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/api/insights/alerts/rules/rehearse/", post(run))
}

/// What is rehearsed.
#[derive(Debug, Serialize, ToSchema)]
struct RehearsalBody {
    /// Whose; a superuser must name it
    organization_id: Option<String>,
    /// A rule that is not kept, or is to be changed
    rule: Option<RuleBody>,
    /// A rule that is kept; with `rule` too, that is what it is to become
    rule_id: Option<String>,
    /// From when on: an instant, or a UTC day; a week before the end when absent, or as much of it as may be rehearsed
    start: Option<String>,
    /// Until when: an instant, not included, or a UTC day, all of it; now when absent
    end: Option<String>,
}

/// A change of a state that there would have been.
#[derive(Debug, Serialize, ToSchema)]
struct ChangeView {
    /// When
    #[schema(format = DateTime)]
    at: String,
    /// What
    change: Change,
    /// What tells the alert from every other of the rule
    fingerprint: String,
    /// The labels of its series
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    labels: Labels,
    /// The number that was found
    value: Option<f64>,
}

/// The noise of a day.
#[derive(Debug, Serialize, ToSchema)]
struct DayView {
    /// The UTC day
    #[schema(format = Date)]
    day: String,
    /// How often an alert would have begun to fire
    firings: u64,
    /// How long those would have fired, together
    firing_s: f64,
}

/// What a rule would have done.
#[derive(Debug, Serialize, ToSchema)]
struct RehearsalView {
    /// The first instant inside
    #[schema(format = DateTime)]
    start: String,
    /// The first instant after
    #[schema(format = DateTime)]
    end: String,
    /// How often it would have been evaluated
    evaluations: usize,
    /// Series that it would have watched
    series: usize,
    /// How often an alert would have fired
    firings: u64,
    /// How long alerts would have fired, together
    firing_s: f64,
    /// Firings for each day of the window
    firings_per_day: f64,
    /// The days on which something fired
    days: Vec<DayView>,
    /// The changes, in the order of time; at most 1,000
    changes: Vec<ChangeView>,
    /// Changes that are not told one by one
    changes_omitted: u64,
}

impl RehearsalView {
    fn of(rule: &Rule, window: TimeRange, rehearsal: Rehearsal) -> Self {
        let text = |at: TimestampUs| Rfc3339(at).to_string();
        let day = |day: i32| text(TimestampUs(i64::from(day) * DAY_US)).chars().take(10).collect();
        let change = |change: Transition| ChangeView {
            at: text(change.at),
            change: change.change,
            fingerprint: fingerprint(&rule.id, &change.series),
            value: change.value,
            labels: change.series,
        };
        let days = crate::report::answer::seconds(window.end.0 - window.start.0) / 86_400.0;
        #[expect(clippy::cast_precision_loss, reason = "there are far fewer than 2^53")]
        let firings = rehearsal.firings as f64;
        Self {
            start: text(window.start),
            end: text(window.end),
            evaluations: rehearsal.evaluations,
            series: rehearsal.series,
            firings: rehearsal.firings,
            firing_s: rehearsal.firing_s,
            firings_per_day: firings / days,
            days: rehearsal
                .days
                .into_iter()
                .map(|(at, noise)| DayView { day: day(at), firings: noise.firings, firing_s: noise.firing_s })
                .collect(),
            changes_omitted: rehearsal.changes_all - rehearsal.changes.len() as u64,
            changes: rehearsal.changes.into_iter().map(change).collect(),
        }
    }
}

/// What a body asks for, with every problem.
#[derive(Debug)]
struct Asked {
    organization: Option<String>,
    rule_id: Option<String>,
    rule: Option<RuleDocument>,
    start: Option<TimestampUs>,
    end: TimestampUs,
    problems: Vec<FieldError>,
}

impl Asked {
    /// The time on which `rule` is rehearsed.
    fn window(&self, rule: &Rule) -> Result<TimeRange, ApiError> {
        let usual = || TimestampUs(self.end.0.saturating_sub(longest_us(rule).min(DAYS_DEFAULT * DAY_US)));
        let (start, end) = (self.start.unwrap_or_else(usual), self.end);
        if start < end {
            return Ok(TimeRange { start, end });
        }
        Err(ApiError::invalid_at("/end", "invalid", "the end is not after the start"))
    }
}

/// An instant; of a UTC day its start, or for an end that of the day after.
fn edge(fields: &mut Fields<'_>, name: &'static str, days_after: i64) -> Option<TimestampUs> {
    let date = fields.get(name).and_then(Value::as_str).filter(|text| text.len() == DATE_BYTES);
    let date = date.and_then(|text| text.parse::<Date>().ok());
    let Some(midnight) = date.and_then(|date| date.to_zoned_datetime(TimeZone::UTC).ok()) else {
        return crate::alert::silence::instant(fields, name);
    };
    Some(TimestampUs(midnight.timestamp().as_microsecond() + days_after * DAY_US))
}

fn read(body: &Value, now: TimestampUs) -> Result<Asked, ApiError> {
    let mut fields = Fields::of(body).map_err(|problem| ApiError::invalid(vec![problem]))?;
    let organization = organization_of(&mut fields);
    let rule_id = fields.identifier("rule_id");
    let rule = fields.get("rule").map(RuleDocument::read);
    let rule = rule.and_then(|rule| match rule {
        Ok(rule) => Some(rule),
        Err(problems) => {
            let below = |problem: FieldError| FieldError {
                pointer: format!("{}{}", step("rule"), problem.pointer),
                ..problem
            };
            fields.problems.extend(problems.into_iter().map(below));
            None
        }
    });
    if rule.is_none() && rule_id.is_none() && fields.problems.is_empty() {
        fields.problem("rule", "required", "name a rule in rule_id, or say one in rule");
    }
    let (start, end) = (edge(&mut fields, "start", 0), edge(&mut fields, "end", 1).unwrap_or(now));
    Ok(Asked { organization, rule_id, rule, start, end, problems: fields.finish() })
}

/// Rehearses an alert rule
///
/// What a rule would have done on stored history: every change of a state, how often and how long alerts would have
/// fired. Evaluated at the same instants and by the same machine as a rule that is kept; rows that came late are there
/// from the start. Nothing is kept, nobody is told. At most 50,000 evaluations, 1,500 of a rule that looks at a report,
/// else 422 `too_many_cells`. Needs `admin`.
#[utoipa::path(post, path = "/api/insights/alerts/rules/rehearse/", tag = "alerts", request_body = RehearsalBody,
    responses(
        (status = 200, description = "What it would have done", body = RehearsalView),
        (status = 422, description = "The rule is invalid, or there would be too many evaluations"),
    ))]
async fn run(
    State(state): State<AppState>,
    principal: Principal,
    Query(NoParameters {}): Query<NoParameters>,
    Json(body): Json<Value>,
) -> Result<JsonAnswer<RehearsalView>, ApiError> {
    principal.require(Scopes::ADMIN)?;
    let now = state.clock.now();
    let asked = read(&body, now)?;
    let named = asked.organization.as_deref();
    if let Some(named) = named {
        principal.write_organization(Some(named), Scopes::ADMIN)?;
    }
    let kept = asked.rule_id.as_ref().map(|id| known(&state, &principal, id, Scopes::ADMIN)).transpose()?;
    let organization = match &kept {
        Some(kept) => kept.rule.organization.clone(),
        None => writable(&state, &principal, named)?,
    };
    if !asked.problems.is_empty() {
        return Err(ApiError::invalid(asked.problems));
    }
    let rule = match (kept, asked.rule.clone()) {
        (Some(kept), None) => Rule::clone(&kept.rule),
        (Some(kept), Some(document)) => Rule { document, ..Rule::clone(&kept.rule) },
        (None, Some(document)) => {
            Rule { id: String::new(), organization, created: now, updated: now, document }
        }
        (None, None) => return Err(ApiError::not_found()),
    };
    let window = asked.window(&rule)?;
    driver::check(&state, &rule).await.map_err(below_rule)?;
    let rehearsed = rule.clone();
    let rehearsal =
        driver::within(&state, &rule.organization, move |place| rehearse(place, &rehearsed, window)).await?;
    Ok(JsonAnswer(RehearsalView::of(&rule, window, rehearsal)))
}

/// What is wrong with a rule, pointed to below it.
fn below_rule(error: ApiError) -> ApiError {
    if error.errors().is_empty() {
        return error;
    }
    let below =
        |problem: &FieldError| FieldError { pointer: format!("/rule{}", problem.pointer), ..problem.clone() };
    ApiError::invalid(error.errors().iter().map(below).collect())
}
