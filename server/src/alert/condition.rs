//! What a rule looks at: a metric, a number of a report, the absence of something, a heartbeat, errors.

use insights_engine::id::Stream;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::length::Length;
use super::read;
use super::threshold::{Comparator, Threshold};
use crate::domain::audit::{ACTION_TYPE_BYTES_MAX, Severity};
use crate::domain::event::EVENT_TYPE_CHARS_MAX;
use crate::domain::metric::{canonical_name, is_metric_name};
use crate::report::body::Fields;
use crate::report::filters;
use crate::report::metric_query::{By, Wanted};

/// Most fields that series are told apart by.
const BY_MAX: usize = 8;
/// Most event types of a condition.
const EVENT_TYPES_MAX: usize = 50;
/// Most bytes of the path of a number.
const NUMBER_BYTES_MAX: usize = 256;
/// The shortest and the longest window.
const WINDOW: (Length, Length) = (Length::seconds(1), Length::days(31));

/// Types of events that are errors when a rule names none.
pub const ERROR_EVENT_TYPES: [&str; 8] =
    ["error", "$exception", "exception", "crash", "fatal", "app.error", "client.error", "server.error"];

/// What a rule looks at.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Condition {
    /// A number of a metric in the time before.
    Metric(MetricCondition),
    /// A number of a report on the time before.
    Report(ReportCondition),
    /// Nothing came in the time before.
    Absence(AbsenceCondition),
    /// Something that came again and again has stopped.
    Heartbeat(HeartbeatCondition),
    /// Errors, each new kind of them.
    Errors(ErrorsCondition),
}

/// A number of a metric.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct MetricCondition {
    /// The metric
    pub metric: String,
    /// `avg`, `sum`, `min`, `max`, `count`, `last`, `rate`, `p50` and other percentiles
    #[schema(example = "avg", required = false)]
    pub aggregate: String,
    /// By what series are told apart, each with an alert of its own: `app_id`, `host`, names of labels
    #[schema(required = false)]
    pub by: Vec<String>,
    /// One application
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    /// One host
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Which points take part, as in `POST metrics/query/`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filters: Option<Value>,
    /// The time before the evaluation
    pub window: Length,
    /// When it is bad
    #[serde(flatten)]
    pub threshold: Threshold,
}

/// A report of which a number is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReportKind {
    /// `POST analytics/`
    Analytics,
    /// `POST performance/`
    Performance,
}

/// How a number is compared with that of the period before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = PeriodChange)]
pub enum Change {
    /// The difference.
    Absolute,
    /// The difference over what was before; nothing when that is zero.
    Relative,
}

/// A number of a report.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ReportCondition {
    /// The report
    pub report: ReportKind,
    /// The number, as a path below `metrics` of the answer: `app_metrics.summary.error_rate`, `error_rate.rate`
    #[schema(example = "error_rate.rate")]
    pub number: String,
    /// The application; the performance report needs it
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    /// The time before the evaluation
    pub window: Length,
    /// Looks at the change against the period before instead; of numbers of a summary of `analytics`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compare: Option<Change>,
    /// When it is bad
    #[serde(flatten)]
    pub threshold: Threshold,
}

/// What is expected to come: events of a type, or points of a metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Expected {
    /// Events of this type; either this or `metric`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Points of this metric
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// Of one application
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
}

/// Nothing came.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct AbsenceCondition {
    /// What is expected
    #[serde(flatten)]
    pub expected: Expected,
    /// The time before the evaluation
    pub window: Length,
}

/// Something that came again and again has stopped.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct HeartbeatCondition {
    /// What is expected
    #[serde(flatten)]
    pub expected: Expected,
    /// By what sources are told apart, each with a heartbeat of its own: `app_id`, or for metrics `host` and labels
    #[schema(required = false)]
    pub by: Vec<String>,
    /// How often it comes
    pub every: Length,
    /// How much later it may come
    #[schema(required = false)]
    pub grace: Length,
}

/// Errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ErrorsCondition {
    /// The least grave audit record that counts
    #[schema(required = false)]
    pub min_severity: Severity,
    /// Only audit records whose action starts with this
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action_prefix: Option<String>,
    /// Types of events that are errors; none when the list is empty
    #[schema(required = false)]
    pub event_types: Vec<String>,
    /// Of one application
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
}

impl Condition {
    /// Reads a condition.
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let kind = fields.choice("type", &["metric", "report", "absence", "heartbeat", "errors"]);
        let kind = read::required(fields, "type", kind)?;
        match kind {
            0 => MetricCondition::read(fields).map(Self::Metric),
            1 => ReportCondition::read(fields).map(Self::Report),
            2 => AbsenceCondition::read(fields).map(Self::Absence),
            3 => HeartbeatCondition::read(fields).map(Self::Heartbeat),
            _ => Some(Self::Errors(ErrorsCondition::read(fields))),
        }
    }

    /// What its numbers are compared with.
    pub fn threshold(&self) -> Threshold {
        match self {
            Self::Metric(condition) => condition.threshold,
            Self::Report(condition) => condition.threshold,
            Self::Absence(_) => Threshold::fixed(Comparator::Lt, 1.0),
            Self::Heartbeat(condition) => Threshold::fixed(Comparator::Gt, condition.silence_s()),
            Self::Errors(_) => Threshold::fixed(Comparator::Gte, 1.0),
        }
    }

    /// How far back it looks for something whose absence it would tell; a server that was away for a part of that
    /// cannot know.
    pub fn looks_back(&self) -> Length {
        match self {
            Self::Metric(condition) => condition.window,
            Self::Report(condition) => condition.window,
            Self::Absence(condition) => condition.window,
            Self::Heartbeat(condition) => condition.silence(),
            Self::Errors(_) => Length::ZERO,
        }
    }

    /// Whether a bad number may mean that nothing came, and not that something bad did.
    pub fn tells_silence(&self) -> bool {
        match self {
            Self::Absence(_) | Self::Heartbeat(_) => true,
            Self::Errors(_) => false,
            Self::Metric(MetricCondition { threshold, .. })
            | Self::Report(ReportCondition { threshold, .. }) => {
                matches!(threshold.op, Comparator::Lt | Comparator::Lte)
            }
        }
    }
}

impl HeartbeatCondition {
    /// The longest silence that is no alert.
    pub fn silence(&self) -> Length {
        Length::of_us(self.every.us().saturating_add(self.grace.us()))
    }

    /// The same in seconds.
    fn silence_s(&self) -> f64 {
        crate::report::answer::seconds(self.silence().us())
    }
}

fn window(fields: &mut Fields<'_>, name: &'static str) -> Option<Length> {
    let window = read::length(fields, name, WINDOW);
    read::required(fields, name, window)
}

fn metric(fields: &mut Fields<'_>) -> Option<String> {
    let name = fields.text("metric")?;
    if !is_metric_name(name) {
        fields.problem(
            "metric",
            "invalid",
            "the name of a metric is expected: a letter, then [A-Za-z0-9._:/-]",
        );
        return None;
    }
    Some(canonical_name(name).to_owned())
}

/// Names by which series are told apart. Alerts name no users: what they are about is kept and sent.
fn by(fields: &mut Fields<'_>, of_events: bool) -> Vec<String> {
    let one = |name: &str| match name {
        "user_id" | "organization_id" => {
            Err("alerts are not told apart by users or organizations".to_owned())
        }
        "app_id" => Ok(name.to_owned()),
        _ if of_events => Err("events are told apart by app_id alone".to_owned()),
        _ if By::parse(name).is_some() => Ok(name.to_owned()),
        _ => Err("a column or the name of a label is expected".to_owned()),
    };
    let mut names: Vec<String> = Vec::new();
    for name in fields.list("by", BY_MAX, one).unwrap_or_default() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

impl MetricCondition {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let metric = metric(fields);
        let metric = read::required(fields, "metric", metric);
        let aggregate = fields.text("aggregate").unwrap_or("avg");
        if Wanted::parse(aggregate).is_none() {
            let known = "one of avg, sum, min, max, count, last, rate, p50 and other percentiles is expected";
            fields.problem("aggregate", "invalid", known);
        }
        let by = by(fields, false);
        let app_id = fields.identifier("app_id");
        let host = fields.text("host").map(str::to_owned).filter(|host| !host.is_empty());
        let filters = fields.get("filters").cloned();
        if let Some(Err(problems)) =
            filters.as_ref().map(|value| filters::parse(value, "/filters", Stream::Metrics))
        {
            fields.problems.extend(problems);
        }
        let window = window(fields, "window");
        let threshold = Threshold::read(fields);
        Some(Self {
            metric: metric?,
            aggregate: aggregate.to_owned(),
            by,
            app_id,
            host,
            filters,
            window: window?,
            threshold: threshold?,
        })
    }
}

impl ReportCondition {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let kind = fields.choice("report", &["analytics", "performance"]);
        let kind = read::required(fields, "report", kind);
        let number = read::short_text(fields, "number", NUMBER_BYTES_MAX);
        let number = read::required(fields, "number", number);
        let app_id = fields.identifier("app_id");
        if kind == Some(1) && app_id.is_none() && !fields.problems.iter().any(|p| p.pointer == "/app_id") {
            fields.problem("app_id", "required", "the performance report is of one application");
        }
        let compare = match fields.choice("compare", &["absolute", "relative"]) {
            Some(_) if kind == Some(1) => {
                fields.problem("compare", "invalid", "only the analytics report has a period before");
                None
            }
            choice => choice.map(|place| if place == 0 { Change::Absolute } else { Change::Relative }),
        };
        let window = window(fields, "window");
        let threshold = Threshold::read(fields);
        let report = if kind? == 0 { ReportKind::Analytics } else { ReportKind::Performance };
        Some(Self { report, number: number?, app_id, window: window?, compare, threshold: threshold? })
    }
}

impl Expected {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let event_type = read::short_text(fields, "event_type", EVENT_TYPE_CHARS_MAX);
        let metric = metric(fields);
        let app_id = fields.identifier("app_id");
        if event_type.is_some() == metric.is_some() && fields.problems.is_empty() {
            fields.problem("event_type", "required", "either event_type or metric says what is expected");
        }
        (event_type.is_some() != metric.is_some()).then_some(Self { event_type, metric, app_id })
    }
}

impl AbsenceCondition {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let (expected, window) = (Expected::read(fields), window(fields, "window"));
        Some(Self { expected: expected?, window: window? })
    }
}

impl HeartbeatCondition {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let expected = Expected::read(fields);
        let by = by(fields, expected.as_ref().is_some_and(|expected| expected.event_type.is_some()));
        let every = window(fields, "every");
        let grace = read::length(fields, "grace", (Length::ZERO, WINDOW.1));
        Some(Self { expected: expected?, by, every: every?, grace: grace.unwrap_or(Length::ZERO) })
    }
}

impl ErrorsCondition {
    fn read(fields: &mut Fields<'_>) -> Self {
        let names = Severity::ALL.map(Severity::name);
        let min_severity = fields.choice("min_severity", &names).and_then(|place| Severity::ALL.get(place));
        let action_prefix = read::short_text(fields, "action_prefix", ACTION_TYPE_BYTES_MAX);
        let one = |text: &str| {
            let fits = !text.is_empty() && text.len() <= EVENT_TYPE_CHARS_MAX;
            fits.then(|| text.to_owned()).ok_or_else(|| "the type of an event is expected".to_owned())
        };
        let event_types = fields.list("event_types", EVENT_TYPES_MAX, one);
        Self {
            min_severity: min_severity.copied().unwrap_or(Severity::Critical),
            action_prefix,
            event_types: event_types.unwrap_or_else(|| ERROR_EVENT_TYPES.map(str::to_owned).to_vec()),
            app_id: fields.identifier("app_id"),
        }
    }
}
