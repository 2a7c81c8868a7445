//! A point: one value of a metric at one time.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;

/// How the values of a metric are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricType {
    /// A level: the last value counts.
    Gauge,
    /// An increment since the last point: values add up.
    Counter,
    /// One observation of a distribution.
    Histogram,
}

/// A point for `POST /api/insights/metrics/`.
///
/// ```
/// # use insights_client::Point;
/// let points = [Point::gauge("queue.depth", 12.0).app_id("shop"), Point::counter("orders.placed", 1.0).label("region", "eu")];
/// assert_eq!(points[0].value, 12.0);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Point {
    /// The metric's dotted name.
    pub name: String,
    /// The value; one that is not finite is not sent but counted as rejected.
    pub value: f64,
    /// How its values are put together; the metric's known type, when absent, else a gauge.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub metric_type: Option<MetricType>,
    /// The unit of the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The organization; the key's, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    /// The application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    /// The machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Dimensions, at most 32.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When; the time of the call, when absent.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "crate::clock::rfc3339")]
    pub timestamp: Option<SystemTime>,
    /// The point's own id, which the server keeps once in 24 hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl Point {
    /// A point whose type the server knows by the metric's name.
    pub fn new(name: impl Into<String>, value: f64) -> Self {
        Self {
            name: name.into(),
            value,
            metric_type: None,
            unit: None,
            organization_id: None,
            app_id: None,
            host: None,
            user_id: None,
            labels: BTreeMap::new(),
            timestamp: None,
            id: None,
        }
    }

    /// A level.
    pub fn gauge(name: impl Into<String>, value: f64) -> Self {
        Self::new(name, value).metric_type(MetricType::Gauge)
    }

    /// An increment since the last point.
    pub fn counter(name: impl Into<String>, increment: f64) -> Self {
        Self::new(name, increment).metric_type(MetricType::Counter)
    }

    /// One observation of a distribution.
    pub fn histogram(name: impl Into<String>, observation: f64) -> Self {
        Self::new(name, observation).metric_type(MetricType::Histogram)
    }

    /// Adds a dimension.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    setters! {
        /// Sets how values are put together.
        metric_type: MetricType,
        /// Sets the unit.
        unit: String,
        /// Sets the organization, which only a superuser's key may choose.
        organization_id: String,
        /// Sets the application.
        app_id: String,
        /// Sets the machine.
        host: String,
        /// Sets the user.
        user_id: String,
        /// Sets the time.
        timestamp: SystemTime,
        /// Sets the point's own id.
        id: String,
    }
}
