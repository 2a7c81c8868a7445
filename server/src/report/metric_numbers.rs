//! What reports compute of metric points, and how it is read back from an answer.

use insights_engine::id::Stream;
use insights_engine::query::{Aggregate, Answer, Filter, GroupBy, KeyValue, Number, Query};
use insights_engine::schema::stream;

use super::fields;
use super::reader::Reader;
use super::window::Window;

/// A number that a report computes of the values of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Stat {
    /// How many values.
    Count,
    /// Their sum.
    Sum,
    /// Their mean.
    Avg,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// The latest.
    Last,
    /// A quantile, 0 to 1.
    Quantile(f64),
}

impl Stat {
    /// The engine's aggregate; `exact` quantiles interpolate over all values.
    pub(crate) fn aggregate(self, exact: bool) -> Aggregate {
        let value = fields::value();
        match self {
            Self::Count => Aggregate::Count,
            Self::Sum => Aggregate::Sum(value),
            Self::Avg => Aggregate::Avg(value),
            Self::Min => Aggregate::Min(value),
            Self::Max => Aggregate::Max(value),
            Self::Last => Aggregate::Last(value),
            Self::Quantile(q) if exact => Aggregate::QuantileExact(value, q),
            Self::Quantile(q) => Aggregate::Quantile(value, q),
        }
    }
}

/// How points are asked for: which ones, and whether quantiles are exact.
#[derive(Debug, Clone)]
pub(crate) struct Points {
    /// The points that take part.
    pub(crate) filter: Filter,
    /// Whether quantiles interpolate over all values.
    pub(crate) exact: bool,
}

impl Points {
    /// Numbers of points by bucket (when `by_bucket`) and then by the columns of `group_by`.
    pub(crate) fn query(
        &self,
        reader: &Reader<'_>,
        window: &Window,
        by_bucket: bool,
        group_by: impl IntoIterator<Item = GroupBy>,
        stats: &[Stat],
    ) -> Query {
        let buckets = by_bucket.then(|| GroupBy::Bucket(window.buckets.clone()));
        Query {
            filter: self.filter.clone(),
            group_by: buckets.into_iter().chain(group_by).collect(),
            aggregates: stats.iter().map(|stat| stat.aggregate(self.exact)).collect(),
            ..reader.query(Stream::Metrics, window.range)
        }
    }
}

/// Grouping by the metric's name.
pub(crate) fn by_name() -> GroupBy {
    GroupBy::Field(fields::column(&stream::NAME))
}

/// Grouping by the application.
pub(crate) fn by_app() -> GroupBy {
    GroupBy::Field(fields::column(&stream::APP_ID))
}

/// The numbers of one group, under the stats that were asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbers<'a> {
    stats: &'a [Stat],
    values: &'a [Number],
}

impl Numbers<'_> {
    /// The number of a stat; `None` when there were no values, or it was not asked for.
    pub(crate) fn get(&self, stat: Stat) -> Option<f64> {
        let place = self.stats.iter().position(|s| *s == stat)?;
        self.values.get(place)?.as_f64().filter(|n| n.is_finite())
    }

    /// How many values there were.
    pub(crate) fn count(&self) -> u64 {
        let place = self.stats.iter().position(|s| *s == Stat::Count);
        place.and_then(|p| self.values.get(p)).map_or(0, |value| value.as_u64())
    }
}

/// The groups of an answer with their keys and numbers.
pub(crate) fn groups<'a>(
    answer: &'a Answer,
    stats: &'a [Stat],
) -> impl Iterator<Item = (&'a [KeyValue], Numbers<'a>)> {
    answer.groups.iter().map(move |group| (group.key.as_slice(), Numbers { stats, values: &group.values }))
}

/// The text of a key, when it is text.
pub(crate) fn key_str(key: &KeyValue) -> Option<&str> {
    if let KeyValue::Str(text) = key { Some(text) } else { None }
}
