//! Whether something comes at all: absence and heartbeats.

use std::collections::BTreeMap;

use insights_engine::id::Stream;
use insights_engine::query::{Aggregate, Filter, GroupBy, KeyValue, Query};
use insights_engine::schema::{ColumnDef, stream};
use insights_engine::time::{Buckets, TimeRange, TimestampUs};

use super::Place;
use super::windows::questions;
use crate::alert::board::{Readings, SERIES_MAX};
use crate::alert::condition::{AbsenceCondition, Expected, HeartbeatCondition};
use crate::alert::label::Labels;
use crate::alert::length::Length;
use crate::alert::state::Observation;
use crate::http::error::ApiError;
use crate::http::list::table::instant;
use crate::report::answer::seconds;
use crate::report::fields::{both, column, is, key_bucket, key_text};
use crate::report::metric_query::By;
use crate::report::reader::Reader;

/// How long a source of heartbeats is remembered at the least.
const REMEMBERED: Length = Length::days(1);

/// What is expected as a question for rows of `range`.
fn query(reader: &Reader<'_>, expected: &Expected, range: TimeRange) -> Query {
    let (stream, name): (Stream, (&ColumnDef, &str)) = match (&expected.event_type, &expected.metric) {
        (Some(event_type), _) => (Stream::Events, (&stream::EVENT_TYPE, event_type)),
        (None, metric) => (Stream::Metrics, (&stream::NAME, metric.as_deref().unwrap_or_default())),
    };
    let filter = is(name.0, name.1);
    let filter: Filter = match &expected.app_id {
        Some(app) => both(is(&stream::APP_ID, app), filter),
        None => filter,
    };
    Query { filter, ..reader.query(stream, range) }
}

/// How many came in the window before each instant.
pub(super) fn absence(
    place: &Place<'_>,
    condition: &AbsenceCondition,
    instants: &[TimestampUs],
) -> Result<Vec<Readings>, ApiError> {
    let mut counts = vec![0.0; instants.len()];
    for windows in questions(instants, condition.window) {
        let Some(range) = whole(&windows.buckets) else { continue };
        let reader = place.reader();
        let mut query = query(&reader, &condition.expected, range);
        query.group_by = vec![GroupBy::Bucket(windows.buckets.clone())];
        query.aggregates = vec![Aggregate::Count];
        for group in reader.aggregate(query)?.groups {
            let bucket = group.key.first().and_then(key_bucket);
            let window = bucket.and_then(|bucket| windows.windows.get(bucket).copied().flatten());
            let count = group.values.first().and_then(|number| number.as_f64());
            if let Some((slot, count)) = window.and_then(|place| counts.get_mut(place)).zip(count) {
                *slot = count;
            }
        }
    }
    let readings = |count| Readings {
        series: BTreeMap::from([(Labels::new(), Observation::Value(count))]),
        ..Readings::default()
    };
    Ok(counts.into_iter().map(readings).collect())
}

/// How many seconds before each instant every source was heard last. One that was never heard, or not for longer than
/// is remembered, is not there.
pub(super) fn heartbeat(
    place: &Place<'_>,
    condition: &HeartbeatCondition,
    instants: &[TimestampUs],
) -> Result<Vec<Readings>, ApiError> {
    let remembered = REMEMBERED.us().max(condition.silence().us().saturating_mul(2));
    let mut found = vec![Readings::default(); instants.len()];
    for (chunk, found) in
        instants.chunks(super::windows::WINDOWS_MAX).zip(found.chunks_mut(super::windows::WINDOWS_MAX))
    {
        let heard = heard(place, condition, chunk, remembered)?;
        for (labels, by_bucket) in heard {
            let mut last: Option<TimestampUs> = None;
            for (bucket, (at, readings)) in chunk.iter().zip(found.iter_mut()).enumerate() {
                last = last.max(by_bucket.get(&bucket).copied());
                let Some(silent) =
                    last.map(|last| at.0.saturating_sub(last.0)).filter(|us| *us <= remembered)
                else {
                    continue;
                };
                if readings.series.len() < SERIES_MAX {
                    readings.series.insert(labels.clone(), Observation::Value(seconds(silent)));
                } else {
                    readings.omitted += 1;
                }
            }
        }
    }
    Ok(found)
}

/// When every source was heard last before each instant and after the one before it.
fn heard(
    place: &Place<'_>,
    condition: &HeartbeatCondition,
    instants: &[TimestampUs],
    remembered: i64,
) -> Result<BTreeMap<Labels, BTreeMap<usize, TimestampUs>>, ApiError> {
    let Some(first) = instants.first() else { return Ok(BTreeMap::new()) };
    let mut edges = vec![TimestampUs(first.0.saturating_sub(remembered))];
    edges.extend_from_slice(instants);
    let buckets = Buckets::between(edges)?;
    let Some(range) = whole(&buckets) else { return Ok(BTreeMap::new()) };
    let reader = place.reader();
    let by: Vec<By> = condition.by.iter().filter_map(|name| By::parse(name)).collect();
    let mut query = query(&reader, &condition.expected, range);
    query.group_by = vec![GroupBy::Bucket(buckets)];
    query.group_by.extend(by.iter().map(|by| GroupBy::Field(by.field.clone())));
    query.aggregates = vec![Aggregate::Max(column(&stream::TIME))];
    let mut heard: BTreeMap<Labels, BTreeMap<usize, TimestampUs>> = BTreeMap::new();
    for group in reader.aggregate(query)?.groups {
        let Some((bucket, key)) = group.key.split_first() else { continue };
        let time = group.values.first().copied().and_then(instant);
        if let Some((bucket, time)) = key_bucket(bucket).zip(time) {
            heard.entry(labels(&by, key)).or_default().insert(bucket, time);
        }
    }
    Ok(heard)
}

fn labels(by: &[By], key: &[KeyValue]) -> Labels {
    let label = |(by, key): (&By, &KeyValue)| {
        Some((by.name.strip_prefix("labels.").unwrap_or(&by.name).to_owned(), key_text(key)?))
    };
    by.iter().zip(key).filter_map(label).collect()
}

/// From the first edge to the last.
fn whole(buckets: &Buckets) -> Option<TimeRange> {
    Some(TimeRange { start: buckets.get(0)?.start, end: buckets.iter().last()?.end })
}
