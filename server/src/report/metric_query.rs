//! Questions about any metric: by bucket, by application, host, user and labels.

use std::collections::BTreeMap;
use std::time::Duration;

use insights_engine::query::{Answer, Field, Filter, GroupBy, KeyValue};
use insights_engine::schema::stream;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::analytics::Envelope;
use super::answer::{CostBlock, Exactness, Quantity, ReportAnswer, seconds};
use super::derived_metrics;
use super::fields;
use super::metric_numbers::{Points, Stat, by_name, groups, key_str};
use super::reader::Reader;
use super::request::MetricQueryRequest;
use super::window::{CELLS_MAX, Window};
use crate::auth::ReadScope;
use crate::domain::lang::Lang;
use crate::http::error::{ApiError, Code};
use crate::store::Asking;

/// A number that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    /// Its name in the answer.
    pub(crate) name: String,
    /// What it is.
    pub(crate) number: WantedNumber,
}

/// What a wanted number is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum WantedNumber {
    /// A number of the values.
    Stat(Stat),
    /// The sum of the values for each second of the bucket inside the window.
    Rate,
}

impl Wanted {
    /// The number of a name: `avg`, `sum`, `min`, `max`, `count`, `last`, `rate`, `p1` to `p99`, `p99.9`.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let number = match name {
            "avg" => WantedNumber::Stat(Stat::Avg),
            "sum" => WantedNumber::Stat(Stat::Sum),
            "min" => WantedNumber::Stat(Stat::Min),
            "max" => WantedNumber::Stat(Stat::Max),
            "count" => WantedNumber::Stat(Stat::Count),
            "last" => WantedNumber::Stat(Stat::Last),
            "rate" => WantedNumber::Rate,
            _ => WantedNumber::Stat(Stat::Quantile(percentile(name)?)),
        };
        Some(Self { name: name.to_owned(), number })
    }

    fn stat(&self) -> Stat {
        match self.number {
            WantedNumber::Stat(stat) => stat,
            WantedNumber::Rate => Stat::Sum,
        }
    }
}

/// `p50` is 0.5, `p99.9` is 0.999.
fn percentile(name: &str) -> Option<f64> {
    let digits = name.strip_prefix('p')?;
    let plain = digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let percent: f64 = digits.parse().ok().filter(|_| plain)?;
    (percent > 0.0 && percent < 100.0).then_some(percent / 100.0)
}

/// By what series are told apart, beside the metric's name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct By {
    /// Its name in the answer.
    pub(crate) name: String,
    /// What is grouped by.
    pub(crate) field: Field,
}

impl By {
    /// `app_id`, `host`, `user_id`, `organization_id`, or the name of a label.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let field = match name {
            "app_id" => fields::column(&stream::APP_ID),
            "host" => fields::column(&stream::HOST),
            "user_id" => fields::column(&stream::USER_ID),
            "organization_id" => Field::Tenant,
            _ => {
                let label = name.strip_prefix("labels.").unwrap_or(name);
                if label.is_empty() || label.len() > crate::domain::metric::LABEL_NAME_BYTES_MAX {
                    return None;
                }
                Field::Path(stream::LABELS.id, vec![label.to_owned()])
            }
        };
        Some(Self { name: name.to_owned(), field })
    }
}

/// One question.
#[derive(Debug, Clone)]
pub(crate) struct MetricQuestion {
    /// The metrics, in their one spelling, each once.
    pub(crate) names: Vec<String>,
    /// The numbers, at least one.
    pub(crate) wanted: Vec<Wanted>,
    /// By what series are told apart.
    pub(crate) by: Vec<By>,
    /// Which points take part.
    pub(crate) filter: Filter,
    /// Whether quantiles are exact.
    pub(crate) exact: bool,
    /// Event types that are page views, for metrics that are derived from events.
    pub(crate) page_view_types: Vec<String>,
}

/// The points of one metric and one combination of labels, one for every bucket of the window.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Series {
    /// The metric.
    pub(crate) name: String,
    /// What it was asked by; what a point does not have is left out.
    pub(crate) labels: BTreeMap<String, String>,
    /// One for every bucket.
    pub(crate) points: Vec<Point>,
}

/// The numbers of one bucket: counts and sums of an empty bucket are 0, everything else is null.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Point {
    /// Its natural start.
    pub(crate) bucket: String,
    /// Whether the window cuts it.
    pub(crate) partial: bool,
    /// The numbers by their names.
    #[serde(flatten)]
    #[schema(value_type = BTreeMap<String, Option<f64>>)]
    pub(crate) numbers: Map<String, Value>,
}

/// The answer to a question about metrics.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct MetricAnswer {
    #[serde(flatten)]
    pub(crate) envelope: Envelope,
    /// The series, by name and labels.
    pub(crate) series: Vec<Series>,
    /// How near the numbers are to the truth.
    pub(crate) exactness: Exactness,
    /// What it cost.
    pub(crate) cost: CostBlock,
}

impl ReportAnswer for MetricAnswer {
    fn complete(&mut self, elapsed: Duration, _: Lang) {
        self.cost.took(elapsed);
    }
}

/// Answers a question about metrics; the cost has no time yet.
///
/// # Errors
///
/// `too_many_cells` when the series times buckets are too many, and those of the engine on the wire.
pub(crate) fn metric_query(
    asking: &Asking,
    scope: &ReadScope,
    request: &MetricQueryRequest,
) -> Result<MetricAnswer, ApiError> {
    let common = &request.common;
    let reader = Reader::new(asking, scope, common.allow_partial);
    let series = series(&reader, &common.window, &request.question)?;
    let totals = reader.finish();
    Ok(MetricAnswer {
        envelope: Envelope::of(common, scope, &totals),
        series,
        exactness: Exactness::of_metrics(common.exact).of_what_was_read(&totals),
        cost: CostBlock::of(totals.cost, Duration::ZERO),
    })
}

/// What was found: (name, then what was asked by) -> bucket -> a number for each stat.
pub(crate) type Found = BTreeMap<Vec<KeyValue>, BTreeMap<usize, Vec<Option<f64>>>>;

/// Reads and folds the series.
///
/// Without `by` there is one series for each name, also where there are no points; with it one for
/// each combination that has a point in the window. Names that are derived from events are, as long
/// as the window has no points of their own.
///
/// # Errors
///
/// `too_many_cells` when the series times buckets are too many, and those of the engine on the wire.
fn series(reader: &Reader<'_>, window: &Window, question: &MetricQuestion) -> Result<Vec<Series>, ApiError> {
    fold(window, question, &stats(question), find(reader, window, question)?)
}

/// Reads the series: of each the buckets that have a point, and in them a number for each of [`stats`].
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) fn find(
    reader: &Reader<'_>,
    window: &Window,
    question: &MetricQuestion,
) -> Result<Found, ApiError> {
    let names = fields::is_one_of(&stream::NAME, &question.names);
    let points = Points { filter: fields::both(names, question.filter.clone()), exact: question.exact };
    let by = question.by.iter().map(|by| GroupBy::Field(by.field.clone()));
    let stats = stats(question);
    let mut query = points.query(reader, window, true, std::iter::once(by_name()).chain(by), &stats);
    query.budget.groups_max = CELLS_MAX;
    let answer = reader.aggregate(query)?;
    let mut found = stored(&stats, &answer);
    for name in &question.names {
        let own = found.keys().any(|key| key.first().and_then(key_str) == Some(name));
        if !own {
            derived_metrics::add(reader, window, question, name, &stats, &mut found)?;
        }
    }
    Ok(found)
}

/// What is asked of the engine for the numbers of a question, each once.
pub(crate) fn stats(question: &MetricQuestion) -> Vec<Stat> {
    let mut stats: Vec<Stat> = Vec::new();
    for wanted in &question.wanted {
        if !stats.contains(&wanted.stat()) {
            stats.push(wanted.stat());
        }
    }
    stats
}

/// The numbers of stored points.
fn stored(stats: &[Stat], answer: &Answer) -> Found {
    let mut found = Found::new();
    for (key, numbers) in groups(answer, stats) {
        let Some((bucket, key)) = key.split_first() else { continue };
        if let Some(bucket) = fields::key_bucket(bucket) {
            let numbers = stats.iter().map(|stat| numbers.get(*stat)).collect();
            found.entry(key.to_vec()).or_default().insert(bucket, numbers);
        }
    }
    found
}

fn fold(
    window: &Window,
    question: &MetricQuestion,
    stats: &[Stat],
    mut found: Found,
) -> Result<Vec<Series>, ApiError> {
    if question.by.is_empty() {
        for name in &question.names {
            found.entry(vec![KeyValue::Str(name.as_str().into())]).or_default();
        }
    }
    if found.len().saturating_mul(window.buckets.len()) > CELLS_MAX {
        let detail =
            format!("{} series of {} buckets; at most {CELLS_MAX} cells", found.len(), window.buckets.len());
        return Err(ApiError::new(Code::TooManyCells, detail));
    }
    let series = |(key, buckets): (Vec<KeyValue>, BTreeMap<usize, Vec<Option<f64>>>)| {
        let texts = key.iter().skip(1).map(fields::key_text);
        let labels = question.by.iter().zip(texts).filter_map(|(by, text)| Some((by.name.clone(), text?)));
        let numbers = |bucket| buckets.get(&bucket).map_or(&[][..], Vec::as_slice);
        let points = (0..window.buckets.len()).map(|b| point(window, question, stats, b, numbers(b)));
        let name = key.first().and_then(fields::key_text).unwrap_or_default();
        Series { name, labels: labels.collect(), points: points.collect() }
    };
    Ok(found.into_iter().map(series).collect())
}

/// A wanted number of a bucket; `numbers` has one for each of `stats`, or none at all for an empty bucket.
pub(crate) fn number(
    wanted: &Wanted,
    window: &Window,
    bucket: usize,
    stats: &[Stat],
    numbers: &[Option<f64>],
) -> Option<f64> {
    let place = stats.iter().position(|stat| *stat == wanted.stat());
    let found = place.and_then(|place| numbers.get(place).copied().flatten());
    match wanted.number {
        WantedNumber::Stat(Stat::Count | Stat::Sum) => Some(found.unwrap_or(0.0)),
        WantedNumber::Stat(_) => found,
        WantedNumber::Rate => found.and_then(|sum| {
            let inside = window.cut_buckets().get(bucket)?;
            super::answer::ratio(sum, seconds(inside.end.0 - inside.start.0))
        }),
    }
}

/// One point; `numbers` has one for each of `stats`, or none at all for an empty bucket.
fn point(
    window: &Window,
    question: &MetricQuestion,
    stats: &[Stat],
    bucket: usize,
    numbers: &[Option<f64>],
) -> Point {
    let number = |wanted: &Wanted| number(wanted, window, bucket, stats, numbers);
    let value =
        |n: Option<f64>| n.and_then(|n| serde_json::to_value(Quantity(n)).ok()).unwrap_or(Value::Null);
    Point {
        bucket: window.key(bucket),
        partial: window.is_partial(bucket),
        numbers: question.wanted.iter().map(|wanted| (wanted.name.clone(), value(number(wanted)))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use insights_engine::query::{Group, Number};
    use insights_engine::time::TimestampUs;
    use serde_json::json;

    use super::*;
    use crate::report::body::Fields;
    use crate::report::window::Width;

    fn window() -> Window {
        let body = json!({"start": "2024-01-01T00:00:30Z", "end": "2024-01-01T00:03:00Z", "step": "1m"});
        Window::read(&mut Fields::of(&body).unwrap(), Width::GroupByOrStep, TimestampUs(i64::MAX)).unwrap()
    }

    fn question(by: &[&str]) -> MetricQuestion {
        MetricQuestion {
            names: vec!["a".to_owned(), "b".to_owned()],
            wanted: ["sum", "avg", "rate"].into_iter().filter_map(Wanted::parse).collect(),
            by: by.iter().filter_map(|name| By::parse(name)).collect(),
            filter: Filter::all(),
            exact: false,
            page_view_types: Vec::new(),
        }
    }

    fn group(key: &[&str], bucket: usize, sum: f64, avg: f64) -> Group {
        let keys = key.iter().map(|text| KeyValue::Str((*text).into()));
        Group {
            key: std::iter::once(KeyValue::Bucket(bucket)).chain(keys).collect(),
            values: vec![Number::F64(sum), Number::F64(avg)],
        }
    }

    #[test]
    fn every_name_has_a_point_for_every_bucket() {
        let question = question(&[]);
        let answer = Answer {
            groups: vec![group(&["a"], 0, 6.0, 3.0), group(&["a"], 2, 6.0, 1.5)],
            ..Answer::default()
        };
        let got = fold(&window(), &question, &stats(&question), stored(&stats(&question), &answer)).unwrap();
        let point = |bucket: &str, partial, sum: i64, avg: Value, rate: Value| json!({"bucket": bucket, "partial": partial, "sum": sum, "avg": avg, "rate": rate});
        // The first bucket is inside the window for thirty seconds alone.
        let a = json!({"name": "a", "labels": {}, "points": [
            point("2024-01-01T00:00:00Z", true, 6, json!(3), json!(0.2)),
            point("2024-01-01T00:01:00Z", false, 0, json!(null), json!(null)),
            point("2024-01-01T00:02:00Z", false, 6, json!(1.5), json!(0.1)),
        ]});
        assert_eq!(serde_json::to_value(&got[0]).unwrap(), a);
        assert_eq!((got.len(), got[1].name.as_str(), got[1].points.len()), (2, "b", 3));
    }

    #[test]
    fn series_are_told_apart_by_what_was_asked_for() {
        let question = question(&["host", "labels.region"]);
        let mut without = group(&["a", "web-2"], 1, 1.0, 1.0);
        without.key.push(KeyValue::Absent);
        let answer =
            Answer { groups: vec![group(&["a", "web-1", "eu"], 1, 1.0, 1.0), without], ..Answer::default() };
        let got = fold(&window(), &question, &stats(&question), stored(&stats(&question), &answer)).unwrap();
        let labels: Vec<Value> = got.iter().map(|s| serde_json::to_value(&s.labels).unwrap()).collect();
        assert_eq!(labels, [json!({"host": "web-1", "labels.region": "eu"}), json!({"host": "web-2"})]);
    }

    #[test]
    fn percentiles_are_read() {
        for (name, q) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("p1", 0.01)] {
            assert!(percentile(name).is_some_and(|found| (found - q).abs() < 1e-12), "{name}");
        }
        for bad in ["p", "p0", "p100", "pinf", "p-1", "p1e1", "median", "p+5"] {
            assert!(Wanted::parse(bad).is_none(), "{bad}");
        }
    }
}
