//! Metrics that are derived from events: `session.duration`, `pages.visited`, `actions.performed`.
//!
//! Every page view and every action is an increment of 1 at its time; every session is an observation
//! of its duration, in seconds, at its first event.

use insights_engine::id::Stream;
use insights_engine::query::{Aggregate, Field, Filter, GroupBy, KeyValue, Query};
use insights_engine::schema::Schema;

use super::answer::seconds;
use super::fields;
use super::metric_numbers::Stat;
use super::metric_query::{Found, MetricQuestion};
use super::reader::Reader;
use super::sessions;
use super::user_activity::Selection;
use super::window::{CELLS_MAX, Window};
use crate::http::error::ApiError;

/// Adds the numbers of a metric that is derived; nothing for another metric, and for a question that
/// events cannot answer (hosts, labels, values; sessions by application or user).
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) fn add(
    reader: &Reader<'_>,
    window: &Window,
    question: &MetricQuestion,
    name: &str,
    stats: &[Stat],
    found: &mut Found,
) -> Result<(), ApiError> {
    let types = &question.page_view_types;
    if !is_of_events(&question.filter) || !question.by.iter().all(|by| has_field(&by.field)) {
        return Ok(());
    }
    match name {
        "pages.visited" => count(reader, window, question, (name, fields::page_views(types)), stats, found),
        "actions.performed" => count(reader, window, question, (name, fields::actions(types)), stats, found),
        "session.duration" if question.by.is_empty() => {
            durations(reader, window, question, name, stats, found)
        }
        _ => Ok(()),
    }
}

/// Whether events have a field: a column of theirs, or the organization.
fn has_field(field: &Field) -> bool {
    match field {
        Field::Column(id) => Schema::of(Stream::Events).get(*id).is_some(),
        Field::Tenant => true,
        Field::Path(..) => false,
        Field::FirstOf(fields) => fields.iter().all(has_field),
    }
}

/// Whether a filter of points looks only at what events have too.
fn is_of_events(filter: &Filter) -> bool {
    match filter {
        Filter::And(filters) | Filter::Or(filters) => filters.iter().all(is_of_events),
        Filter::Not(inner) => is_of_events(inner),
        Filter::Compare(field, _) => has_field(field),
    }
}

/// Events that pass `of`, each an increment of 1.
fn count(
    reader: &Reader<'_>,
    window: &Window,
    question: &MetricQuestion,
    of: (&str, Filter),
    stats: &[Stat],
    found: &mut Found,
) -> Result<(), ApiError> {
    let (name, events) = of;
    let by = question.by.iter().map(|by| GroupBy::Field(by.field.clone()));
    let mut query = Query {
        filter: question.filter.clone(),
        group_by: std::iter::once(GroupBy::Bucket(window.buckets.clone())).chain(by).collect(),
        // Asked as the rollups of events keep it.
        aggregates: vec![Aggregate::CountIf(Box::new(events))],
        ..reader.query(Stream::Events, window.range)
    };
    query.budget.groups_max = CELLS_MAX;
    for group in reader.aggregate(query)?.groups {
        let mut key = group.key.into_iter();
        let Some(bucket) = key.next().as_ref().and_then(fields::key_bucket) else { continue };
        let count = group.values.first().and_then(|n| n.as_f64()).filter(|n| *n > 0.0);
        if count.is_none() {
            continue;
        }
        let number = |stat: &Stat| if matches!(stat, Stat::Count | Stat::Sum) { count } else { Some(1.0) };
        let key = std::iter::once(KeyValue::Str(name.into())).chain(key).collect();
        found.entry(key).or_default().insert(bucket, stats.iter().map(number).collect());
    }
    Ok(())
}

/// Durations of sessions, in seconds.
fn durations(
    reader: &Reader<'_>,
    window: &Window,
    question: &MetricQuestion,
    name: &str,
    stats: &[Stat],
    found: &mut Found,
) -> Result<(), ApiError> {
    let selection = Selection {
        filter: question.filter.clone(),
        page_view_types: question.page_view_types.clone(),
        exact: true,
    };
    let mut buckets = vec![Vec::new(); window.buckets.len()];
    for session in sessions::started(reader, window, &selection)? {
        if let Some(sessions) = buckets.get_mut(session.bucket) {
            sessions.push((session.first, seconds(session.duration_us)));
        }
    }
    let series = found.entry(vec![KeyValue::Str(name.into())]).or_default();
    for (bucket, mut sessions) in buckets.into_iter().enumerate() {
        if sessions.is_empty() {
            continue;
        }
        // Of those that begin at one instant the longest is the last, in whatever order they were read.
        sessions.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let values: Vec<f64> = sessions.into_iter().map(|(_, duration)| duration).collect();
        series.insert(bucket, stats.iter().map(|stat| number(*stat, &values)).collect());
    }
    Ok(())
}

/// A number of values that are in the order of their times.
#[expect(clippy::cast_precision_loss, reason = "there are far fewer than 2^53 sessions")]
fn number(stat: Stat, values: &[f64]) -> Option<f64> {
    let sum: f64 = values.iter().sum();
    match stat {
        Stat::Count => Some(values.len() as f64),
        Stat::Sum => Some(sum),
        Stat::Avg => super::answer::ratio(sum, values.len() as f64),
        Stat::Min => values.iter().copied().reduce(f64::min),
        Stat::Max => values.iter().copied().reduce(f64::max),
        Stat::Last => values.last().copied(),
        Stat::Quantile(q) => quantile(values, q),
    }
}

/// The quantile that is interpolated linearly between the two nearest values.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place between 0 and the number of values"
)]
fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = q * (sorted.len().checked_sub(1)? as f64);
    let (low, high) = (sorted.get(place.floor() as usize)?, sorted.get(place.ceil() as usize)?);
    Some(low + (high - low) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_some_durations_are_as_by_hand() {
        let values = [60.0, 0.0, 120.0, 20.0];
        let got = [Stat::Count, Stat::Sum, Stat::Avg, Stat::Min, Stat::Max, Stat::Last, Stat::Quantile(0.5)]
            .map(|stat| number(stat, &values));
        assert_eq!(got, [4.0, 200.0, 50.0, 0.0, 120.0, 20.0, 40.0].map(Some));
        assert_eq!(number(Stat::Quantile(0.5), &[]), None);
    }
}
