//! Events of each bucket by a key: the most frequent keys of the window, and all others together.

use std::collections::HashMap;

use insights_engine::id::Stream;
use insights_engine::query::{Aggregate, Answer, Field, Filter, Group, GroupBy, KeyValue, Query};
use serde::Serialize;
use utoipa::ToSchema;

use super::fields;
use super::filters;
use super::reader::Reader;
use super::user_activity::Selection;
use super::window::Window;
use crate::http::error::ApiError;

/// Most keys that are named.
pub(crate) const KEYS_MAX: usize = 50;
/// The key of all others.
const OTHER: &str = "__other__";

/// By what events are broken down.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Breakdown {
    /// The page of page views.
    Page,
    /// The feature of events that have one.
    Feature,
    /// A column, or a path of `event_data`.
    Field(Field),
}

/// Events of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct KeyCount {
    /// The key, or `__other__`.
    pub(crate) key: String,
    /// Events.
    pub(crate) count: u64,
}

impl Breakdown {
    /// The breakdown of a name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "page" => Some(Self::Page),
            "feature" => Some(Self::Feature),
            "event_type" | "app_id" | "user_id" => filters::field(name, Stream::Events).map(Self::Field),
            _ if name.starts_with("event_data.") => filters::field(name, Stream::Events).map(Self::Field),
            _ => None,
        }
    }

    /// What is grouped by, and which events take part; where the field is absent they do not.
    fn field(&self, selection: &Selection) -> (Field, Filter) {
        let types = &selection.page_view_types;
        match self {
            Self::Page => (fields::page(), fields::page_views(types)),
            Self::Feature => (fields::feature(), fields::with_feature(types)),
            Self::Field(field) => (field.clone(), Filter::all()),
        }
    }
}

/// For each bucket the counts of the most frequent keys of the window, the same keys in each, in
/// order; then `__other__` when there are more keys.
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) fn breakdown(
    reader: &Reader<'_>,
    window: &Window,
    selection: &Selection,
    by: &Breakdown,
) -> Result<Vec<Vec<KeyCount>>, ApiError> {
    let (field, filter) = by.field(selection);
    let query = |group_by: Vec<GroupBy>| Query {
        filter: fields::both(selection.filter.clone(), filter.clone()),
        group_by,
        aggregates: vec![Aggregate::Count],
        ..reader.query(Stream::Events, window.range)
    };
    let by_bucket = GroupBy::Bucket(window.buckets.clone());
    let total = reader.aggregate(query(vec![GroupBy::Field(field.clone())]))?;
    let buckets = reader.aggregate(query(vec![by_bucket, GroupBy::Field(field.clone())]))?;
    Ok(fold(window.buckets.len(), &total, &buckets))
}

fn count(group: &Group) -> u64 {
    group.values.first().map_or(0, |value| value.as_u64())
}

/// The rows of every bucket from counts by key, and by bucket and key.
fn fold(bucket_count: usize, total: &Answer, buckets: &Answer) -> Vec<Vec<KeyCount>> {
    let present = |key: &&KeyValue| **key != KeyValue::Absent;
    let totals = total.groups.iter();
    let mut keys: Vec<(&KeyValue, u64)> =
        totals.filter_map(|g| Some((g.key.first().filter(present)?, count(g)))).collect();
    keys.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    let more = keys.len() > KEYS_MAX;
    keys.truncate(KEYS_MAX);

    let place: HashMap<&KeyValue, usize> =
        keys.iter().enumerate().map(|(place, (key, _))| (*key, place)).collect();
    let name = |key: &KeyValue| fields::key_text(key).unwrap_or_default();
    let mut empty: Vec<KeyCount> =
        keys.iter().map(|(key, _)| KeyCount { key: name(key), count: 0 }).collect();
    if more {
        empty.push(KeyCount { key: OTHER.to_owned(), count: 0 });
    }
    let mut rows = vec![empty; bucket_count];
    for group in &buckets.groups {
        let [bucket, key] = group.key.as_slice() else { continue };
        let Some(row) = fields::key_bucket(bucket).and_then(|b| rows.get_mut(b)) else { continue };
        if present(&key)
            && let Some(cell) = row.get_mut(place.get(key).copied().unwrap_or(KEYS_MAX))
        {
            cell.count += count(group);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use insights_engine::query::Number;

    use super::*;

    fn group(key: Vec<KeyValue>, count: u64) -> Group {
        Group { key, values: vec![Number::U64(count)] }
    }

    fn str(text: &str) -> KeyValue {
        KeyValue::Str(text.into())
    }

    #[test]
    fn every_bucket_has_the_keys_of_the_window_in_their_order() {
        let total = Answer {
            groups: vec![
                group(vec![KeyValue::Absent], 9),
                group(vec![str("a")], 1),
                group(vec![str("b")], 3),
            ],
            ..Answer::default()
        };
        let buckets = Answer {
            groups: vec![
                group(vec![KeyValue::Bucket(0), KeyValue::Absent], 9),
                group(vec![KeyValue::Bucket(0), str("b")], 1),
                group(vec![KeyValue::Bucket(2), str("a")], 1),
                group(vec![KeyValue::Bucket(2), str("b")], 2),
            ],
            ..Answer::default()
        };
        let counts: Vec<Vec<(String, u64)>> = fold(3, &total, &buckets)
            .into_iter()
            .map(|row| row.into_iter().map(|cell| (cell.key, cell.count)).collect())
            .collect();
        let row = |b, a| vec![("b".to_owned(), b), ("a".to_owned(), a)];
        assert_eq!(counts, [row(1, 0), row(0, 0), row(2, 1)]);
    }

    #[test]
    fn keys_beyond_the_fiftieth_are_counted_together() {
        // Key k happens 100 - k times; 50 and 51 are the two that are not named.
        let keys = || (0..52_u64).map(|k| (KeyValue::I64(i64::try_from(k).unwrap()), 100 - k));
        let total = Answer { groups: keys().map(|(k, n)| group(vec![k], n)).collect(), ..Answer::default() };
        let by_bucket = keys().map(|(k, n)| group(vec![KeyValue::Bucket(0), k], n)).collect();
        let rows = fold(1, &total, &Answer { groups: by_bucket, ..Answer::default() });
        assert_eq!(rows[0].len(), 51);
        assert_eq!(rows[0][0], KeyCount { key: "0".to_owned(), count: 100 });
        assert_eq!(rows[0][50], KeyCount { key: OTHER.to_owned(), count: 50 + 49 });
    }
}
