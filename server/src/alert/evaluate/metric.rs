//! Numbers of a metric, by the code of `POST metrics/query/`.

use insights_engine::id::Stream;
use insights_engine::query::{Filter, KeyValue};
use insights_engine::schema::stream;
use insights_engine::time::TimestampUs;

use super::Place;
use super::windows::{Question, questions};
use crate::alert::board::Readings;
use crate::alert::condition::MetricCondition;
use crate::alert::label::Labels;
use crate::alert::state::Observation;
use crate::http::error::ApiError;
use crate::report::fields::{both, is, key_text};
use crate::report::filters;
use crate::report::metric_query::{By, MetricQuestion, Wanted, find, number, stats};
use crate::report::window::Window;

/// What is found at each instant.
pub(super) fn look(
    place: &Place<'_>,
    condition: &MetricCondition,
    instants: &[TimestampUs],
) -> Result<Vec<Readings>, ApiError> {
    let question = asked(place, condition)?;
    let mut found = vec![Readings::default(); instants.len()];
    if condition.by.is_empty() {
        // The one series is always there: its sums and counts of nothing are 0, all else is nothing.
        let empty = empty(&question);
        for readings in &mut found {
            readings.series.insert(Labels::new(), empty);
        }
    }
    for windows in questions(instants, condition.window) {
        ask(place, &question, &windows, &mut found)?;
    }
    Ok(found)
}

/// The question of a condition.
fn asked(place: &Place<'_>, condition: &MetricCondition) -> Result<MetricQuestion, ApiError> {
    let filter = condition.filters.as_ref().map(|value| filters::parse(value, "/filters", Stream::Metrics));
    let mut filter = filter.transpose().map_err(ApiError::invalid)?.unwrap_or_else(Filter::all);
    for (column, value) in [(stream::APP_ID, &condition.app_id), (stream::HOST, &condition.host)] {
        if let Some(value) = value {
            filter = both(is(&column, value), filter);
        }
    }
    Ok(MetricQuestion {
        names: vec![condition.metric.clone()],
        wanted: Wanted::parse(&condition.aggregate).into_iter().collect(),
        by: condition.by.iter().filter_map(|name| By::parse(name)).collect(),
        filter,
        exact: false,
        page_view_types: place.config.page_view_event_types.clone(),
    })
}

/// What a window without points says of a series that is always there.
fn empty(question: &MetricQuestion) -> Observation {
    let is_zero = question.wanted.iter().any(|wanted| matches!(wanted.name.as_str(), "sum" | "count"));
    if is_zero { Observation::Value(0.0) } else { Observation::Nothing }
}

/// Asks about windows that do not overlap.
fn ask(
    place: &Place<'_>,
    question: &MetricQuestion,
    windows: &Question,
    found: &mut [Readings],
) -> Result<(), ApiError> {
    let Some(wanted) = question.wanted.first() else { return Ok(()) };
    let now = windows.buckets.iter().last().map_or(TimestampUs(0), |last| last.end);
    let Some(window) = Window::of_buckets(windows.buckets.clone(), now) else { return Ok(()) };
    let (reader, stats) = (place.reader(), stats(question));
    for (key, buckets) in find(&reader, &window, question)? {
        let labels = labels(question, &key);
        for (bucket, numbers) in buckets {
            let Some(place) = windows.windows.get(bucket).copied().flatten() else { continue };
            let value = number(wanted, &window, bucket, &stats, &numbers).filter(|value| value.is_finite());
            if let Some(readings) = found.get_mut(place) {
                let observation = value.map_or(Observation::Nothing, Observation::Value);
                readings.series.insert(labels.clone(), observation);
            }
        }
    }
    Ok(())
}

/// The labels of a series, without the name of the metric that its key begins with.
fn labels(question: &MetricQuestion, key: &[KeyValue]) -> Labels {
    let texts = key.iter().skip(1).map(key_text);
    let label = |(by, text): (&By, Option<String>)| {
        Some((by.name.strip_prefix("labels.").unwrap_or(&by.name).to_owned(), text?))
    };
    question.by.iter().zip(texts).filter_map(label).collect()
}
