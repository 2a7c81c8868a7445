//! `user_activity`: who did what on the platform, in the window and in each of its buckets.

use insights_engine::id::Stream;
use insights_engine::query::{Aggregate, Answer, Field, Filter, Group, GroupBy, Query};
use insights_engine::schema::stream;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{Quantity, ratio, seconds};
use super::breakdown::{self, Breakdown, KeyCount};
use super::fields;
use super::reader::Reader;
use super::sessions::{Sessions, sessions};
use super::window::Window;
use crate::http::error::ApiError;

/// Most rows of the lists of event types, pages and features.
pub(crate) const LIST_ROWS_MAX: usize = 1_000;

/// Which events are asked for.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    /// The events that take part; sessions are cut from them.
    pub(crate) filter: Filter,
    /// Event types that are page views.
    pub(crate) page_view_types: Vec<String>,
    /// Whether quantiles are interpolated over rows.
    pub(crate) exact: bool,
}

/// The family `user_activity`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct UserActivity {
    /// The whole window.
    pub(crate) summary: ActivitySummary,
    /// Events by type, the most frequent first, at most 1,000.
    pub(crate) event_types: Vec<EventTypeRow>,
    /// Page views by page, the most frequent first, at most 1,000.
    pub(crate) pages: Vec<PageRow>,
    /// Uses by feature, the most frequent first, at most 1,000.
    pub(crate) features: Vec<FeatureRow>,
    /// One row for every bucket.
    pub(crate) series: Vec<ActivityBucket>,
}

/// Users in the whole window.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ActivitySummary {
    /// Events.
    pub(crate) events: u64,
    /// Distinct identities: the user, else the visitor, else the session.
    pub(crate) active_users: u64,
    /// Sessions whose first event is in the window.
    pub(crate) sessions: u64,
    /// How long they lasted.
    pub(crate) session_duration: SessionDuration,
    /// The part of them with exactly one interactive event.
    pub(crate) bounce_rate: Option<f64>,
    /// Page views.
    pub(crate) pages_visited: u64,
    /// Actions.
    pub(crate) actions_performed: u64,
    /// Distinct features.
    pub(crate) features_used: u64,
    /// Time of sessions that falls into the window, in seconds.
    pub(crate) time_on_platform_s: Quantity,
}

/// How long sessions lasted, each capped at a day.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(crate) struct SessionDuration {
    /// The mean, in seconds.
    pub(crate) avg_s: Option<f64>,
    /// The median, in seconds.
    pub(crate) median_s: Option<f64>,
}

/// Events of one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct EventTypeRow {
    /// The type.
    pub(crate) event_type: String,
    /// Events.
    pub(crate) count: u64,
    /// Distinct identities.
    pub(crate) users: u64,
}

/// Views of one page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PageRow {
    /// The page.
    pub(crate) page: String,
    /// Page views.
    pub(crate) count: u64,
    /// Distinct identities.
    pub(crate) users: u64,
}

/// Uses of one feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FeatureRow {
    /// The feature.
    pub(crate) feature: String,
    /// Events.
    pub(crate) count: u64,
    /// Distinct identities.
    pub(crate) users: u64,
}

/// One bucket.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ActivityBucket {
    /// Its natural start.
    pub(crate) bucket: String,
    /// Whether the window cuts it.
    pub(crate) partial: bool,
    /// Events.
    pub(crate) events: u64,
    /// Distinct identities.
    pub(crate) active_users: u64,
    /// Sessions whose first event is in it.
    pub(crate) sessions: u64,
    /// Sessions that have an event in it.
    pub(crate) active_sessions: u64,
    /// Mean duration of the sessions that began in it, in seconds.
    pub(crate) avg_session_duration_s: Option<f64>,
    /// Page views.
    pub(crate) pages_visited: u64,
    /// Actions.
    pub(crate) actions_performed: u64,
    /// Time of sessions that falls into it, in seconds.
    pub(crate) time_on_platform_s: Quantity,
    /// Events by the key that was asked for: the most frequent keys of the window, then `__other__`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) breakdown: Option<Vec<KeyCount>>,
}

/// What the engine answers of events; [`fold`] makes the family of it.
#[derive(Debug)]
struct Parts {
    /// By bucket: events, users, page views, actions.
    buckets: Answer,
    /// The same of the window.
    total: Answer,
    event_types: Answer,
    pages: Answer,
    features: Answer,
    sessions: Sessions,
    breakdown: Option<Vec<Vec<KeyCount>>>,
}

/// Reads and folds the family.
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) fn user_activity(
    reader: &Reader<'_>,
    window: &Window,
    selection: &Selection,
    breakdown: Option<&Breakdown>,
) -> Result<UserActivity, ApiError> {
    let views = fields::page_views(&selection.page_view_types);
    let named = fields::with_feature(&selection.page_view_types);
    let by = |field: Field, filter: Filter| list_query(reader, window, selection, field, filter);
    let numbers = |by_bucket| numbers_query(reader, window, selection, by_bucket);
    let types = by(fields::column(&stream::EVENT_TYPE), Filter::all());
    let (pages, features) = (by(fields::page(), views), by(fields::feature(), named));
    let rest = || {
        let sessions = sessions(reader, window, selection)?;
        let breakdown =
            breakdown.map(|by| breakdown::breakdown(reader, window, selection, by)).transpose()?;
        Ok::<_, ApiError>((sessions, breakdown))
    };
    let (numbers, lists, (sessions, breakdown)) = if reader.is_of_one_organization() {
        let all = [numbers(true), numbers(false), pages, types, features];
        let [buckets, total, pages, types, features] = reader.aggregate_all(all)?;
        ([buckets, total, pages], [types, features], rest()?)
    } else {
        // The lists of types and features take about as long as everything else.
        let numbers = [numbers(true), numbers(false), pages];
        let others = || Ok((reader.aggregate_all(numbers)?, rest()?));
        let ((numbers, rest), lists) = reader.both(others, || reader.aggregate_all([types, features]))?;
        (numbers, lists, rest)
    };
    let ([buckets, total, pages], [event_types, features]) = (numbers, lists);
    let parts = Parts { buckets, total, event_types, pages, features, sessions, breakdown };
    Ok(fold(window, parts))
}

/// Only the numbers of the window.
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) fn summary(
    reader: &Reader<'_>,
    window: &Window,
    selection: &Selection,
) -> Result<ActivitySummary, ApiError> {
    let named = fields::with_feature(&selection.page_view_types);
    let total = reader.aggregate(numbers_query(reader, window, selection, false))?;
    let features = reader.aggregate(list_query(reader, window, selection, fields::feature(), named))?;
    let sessions = sessions(reader, window, selection)?;
    Ok(fold_summary(&total, &features, &sessions))
}

/// Events, users, page views and actions, of the window or of each bucket.
fn numbers_query(reader: &Reader<'_>, window: &Window, selection: &Selection, by_bucket: bool) -> Query {
    let types = &selection.page_view_types;
    Query {
        filter: selection.filter.clone(),
        group_by: by_bucket.then(|| GroupBy::Bucket(window.buckets.clone())).into_iter().collect(),
        aggregates: vec![
            Aggregate::Count,
            Aggregate::Distinct(fields::identity()),
            Aggregate::CountIf(Box::new(fields::page_views(types))),
            Aggregate::CountIf(Box::new(fields::actions(types))),
        ],
        ..reader.query(Stream::Events, window.range)
    }
}

/// Events and users by a field, of the events that `filter` lets pass.
fn list_query(
    reader: &Reader<'_>,
    window: &Window,
    selection: &Selection,
    by: Field,
    filter: Filter,
) -> Query {
    Query {
        filter: fields::both(selection.filter.clone(), filter),
        group_by: vec![GroupBy::Field(by)],
        aggregates: vec![Aggregate::Count, Aggregate::Distinct(fields::identity())],
        ..reader.query(Stream::Events, window.range)
    }
}

fn number(group: &Group, aggregate: usize) -> u64 {
    group.values.get(aggregate).map_or(0, |value| value.as_u64())
}

/// The family from what the engine answered.
fn fold(window: &Window, parts: Parts) -> UserActivity {
    let mut series: Vec<ActivityBucket> =
        (0..window.buckets.len()).map(|bucket| empty(window, bucket)).collect();
    for group in &parts.buckets.groups {
        let Some(row) = group.key.first().and_then(fields::key_bucket).and_then(|b| series.get_mut(b)) else {
            continue;
        };
        row.events = number(group, 0);
        row.active_users = number(group, 1);
        row.pages_visited = number(group, 2);
        row.actions_performed = number(group, 3);
    }
    for (row, totals) in series.iter_mut().zip(&parts.sessions.series) {
        row.sessions = totals.started;
        row.avg_session_duration_s = mean_s(totals.duration_us, totals.started);
        row.time_on_platform_s = Quantity(seconds(totals.allocated_us));
    }
    for (row, active) in series.iter_mut().zip(&parts.sessions.active) {
        row.active_sessions = *active;
    }
    if let Some(breakdown) = parts.breakdown {
        for (row, counts) in series.iter_mut().zip(breakdown) {
            row.breakdown = Some(counts);
        }
    }
    let event_type = |(event_type, count, users)| EventTypeRow { event_type, count, users };
    let page = |(page, count, users)| PageRow { page, count, users };
    let feature = |(feature, count, users)| FeatureRow { feature, count, users };
    UserActivity {
        summary: fold_summary(&parts.total, &parts.features, &parts.sessions),
        event_types: most_frequent(&parts.event_types).into_iter().map(event_type).collect(),
        pages: most_frequent(&parts.pages).into_iter().map(page).collect(),
        features: most_frequent(&parts.features).into_iter().map(feature).collect(),
        series,
    }
}

fn fold_summary(total: &Answer, features: &Answer, sessions: &Sessions) -> ActivitySummary {
    let total = |aggregate| total.groups.first().map_or(0, |group| number(group, aggregate));
    let features = features.groups.iter().filter(|group| text(group).is_some());
    ActivitySummary {
        events: total(0),
        active_users: total(1),
        sessions: sessions.totals.started,
        session_duration: SessionDuration {
            avg_s: mean_s(sessions.totals.duration_us, sessions.totals.started),
            median_s: sessions.median_us.map(|us| us / 1e6),
        },
        bounce_rate: ratio(count(sessions.totals.bounces), count(sessions.totals.started)),
        pages_visited: total(2),
        actions_performed: total(3),
        features_used: features.count() as u64,
        time_on_platform_s: Quantity(seconds(sessions.totals.allocated_us)),
    }
}

fn empty(window: &Window, bucket: usize) -> ActivityBucket {
    ActivityBucket {
        bucket: window.key(bucket),
        partial: window.is_partial(bucket),
        events: 0,
        active_users: 0,
        sessions: 0,
        active_sessions: 0,
        avg_session_duration_s: None,
        pages_visited: 0,
        actions_performed: 0,
        time_on_platform_s: Quantity(0.0),
        breakdown: None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts over 2^53 are out of reach")]
fn count(n: u64) -> f64 {
    n as f64
}

fn mean_s(sum_us: i64, of: u64) -> Option<f64> {
    ratio(seconds(sum_us), count(of))
}

fn text(group: &Group) -> Option<String> {
    group.key.first().and_then(fields::key_text)
}

/// (key, events, users), the most frequent first, equal ones by key; rows without a key are left out.
fn most_frequent(answer: &Answer) -> Vec<(String, u64, u64)> {
    let rows = answer.groups.iter().filter_map(|g| Some((text(g)?, number(g, 0), number(g, 1))));
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    rows.truncate(LIST_ROWS_MAX);
    rows
}

#[cfg(test)]
#[path = "user_activity_tests.rs"]
mod tests;
