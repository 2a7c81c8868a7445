//! `metrics/query/`: any metric, and those that are derived from events.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::calendar::{Range, Span, in_bucket};
use super::super::data::{Event, Point};
use super::activity::{is_action, is_view, selected, sessions};
use super::metrics::{greatest, least};
use super::{mean, ratio, seconds, shown_quantile};

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) struct MetricQuestion {
    pub(crate) names: Vec<&'static str>,
    pub(crate) aggregates: Vec<&'static str>,
    pub(crate) by: Vec<&'static str>,
    pub(crate) filters: Option<Value>,
    /// `app_id`, `host` or `user_id`, and what it is.
    pub(crate) only: Option<(&'static str, &'static str)>,
    pub(crate) exact: bool,
}

impl MetricQuestion {
    /// The members of a body.
    pub(crate) fn body(&self) -> Value {
        let mut body =
            json!({"names": self.names, "aggregates": self.aggregates, "by": self.by, "exact": self.exact});
        if let Some(filters) = &self.filters {
            body["filters"] = filters.clone();
        }
        if let Some((name, value)) = self.only {
            body[name] = json!(value);
        }
        body
    }

    /// Both conditions as one filter.
    fn filter(&self) -> Value {
        let only = self.only.map(|(name, value)| json!([name, "is", value]));
        Value::Array(self.filters.iter().cloned().chain(only).collect())
    }

    /// Whether events, which have no hosts, values and labels, can answer it.
    fn is_of_events(&self) -> bool {
        let filter = self.filter().to_string();
        let foreign = |name: &str| {
            ["host", "value", "queue", "region", "route"].iter().any(|foreign| name.contains(foreign))
        };
        !foreign(&filter) && !self.by.iter().any(|by| foreign(by))
    }
}

/// Values with their times.
type Values = Vec<(i64, f64)>;

/// The series of an answer.
pub(crate) fn metric_query(points: &[Point], events: &[Event], asked: &MetricQuestion, span: &Span) -> Value {
    let (window, filter) = (span.range(), asked.filter());
    let mut series: BTreeMap<(&str, Vec<Option<String>>), Values> = BTreeMap::new();
    for name in &asked.names {
        let label = |point: &Point, by: &str| point.field(by).map(|value| value.as_str().unwrap().to_owned());
        let of = points.iter().filter(|p| p.metric() == *name && window.has(p.at) && p.passes(&filter));
        for point in of {
            let key = asked.by.iter().map(|by| label(point, by)).collect();
            series.entry((name, key)).or_default().push((point.at, point.value));
        }
        if !series.keys().any(|(of, _)| of == name) {
            derive(events, asked, name, window, &mut series);
        }
        if asked.by.is_empty() {
            series.entry((name, Vec::new())).or_default();
        }
    }
    let one = |((name, key), mut values): ((&str, Vec<Option<String>>), Values)| {
        // Of sessions that begin at one instant the longest is the last.
        values.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let labels: Map<String, Value> = asked
            .by
            .iter()
            .zip(key)
            .filter_map(|(by, value)| Some(((*by).to_owned(), json!(value?))))
            .collect();
        let points = span.buckets().into_iter().map(|b| in_bucket(span, b, numbers(&values, asked, b.cut)));
        json!({"name": name, "labels": labels, "points": points.collect::<Value>()})
    };
    series.into_iter().map(one).collect()
}

/// What events say of a metric that has no points.
fn derive<'a>(
    events: &[Event],
    asked: &MetricQuestion,
    name: &'a str,
    window: Range,
    series: &mut BTreeMap<(&'a str, Vec<Option<String>>), Values>,
) {
    if !asked.is_of_events() {
        return;
    }
    let chosen = selected(events, None, Some(&asked.filter()));
    if name == "session.duration" && asked.by.is_empty() {
        let begun = sessions(&chosen).into_iter().filter(|session| window.has(session.start()));
        let values = begun.map(|session| (session.start(), seconds(session.duration())));
        series.entry((name, Vec::new())).or_default().extend(values);
    }
    for event in chosen.into_iter().filter(|event| window.has(event.at)) {
        let counts = match name {
            "pages.visited" => is_view(event),
            "actions.performed" => is_action(event),
            _ => false,
        };
        if counts {
            let label = |by: &&str| event.field(by).map(|value| value.as_str().unwrap().to_owned());
            let key = asked.by.iter().map(label).collect();
            series.entry((name, key)).or_default().push((event.at, 1.0));
        }
    }
}

fn numbers(values: &[(i64, f64)], asked: &MetricQuestion, range: Range) -> Value {
    let values: Vec<f64> = values.iter().filter(|(at, _)| range.has(*at)).map(|(_, value)| *value).collect();
    let sum: f64 = values.iter().sum();
    let number = |name: &str| match name {
        "avg" => json!(mean(&values)),
        "sum" => json!(sum),
        "min" => json!(least(&values)),
        "max" => json!(greatest(&values)),
        "count" => json!(values.len()),
        "last" => json!(values.last()),
        "rate" => json!((!values.is_empty()).then(|| ratio(sum, seconds(range.len()))).flatten()),
        percentile => {
            let q: f64 = percentile.strip_prefix('p').unwrap().parse().unwrap();
            shown_quantile(&values, q / 100.0, asked.exact)
        }
    };
    asked.aggregates.iter().map(|name| ((*name).to_owned(), number(name))).collect::<Map<_, _>>().into()
}
