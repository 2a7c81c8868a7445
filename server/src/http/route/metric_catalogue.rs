//! Which metrics an organization has: type, unit, description, last value.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::get;
use insights_engine::append::CatalogKind;
use insights_engine::id::Stream;
use insights_engine::query::{Aggregate, Answer, Field, GroupBy, KeyValue};
use insights_engine::schema::stream::{self, ColumnDef, MetricKind};
use insights_engine::time::TimeRange;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use crate::app::AppState;
use crate::auth::{Principal, Scopes};
use crate::domain::instant::Rfc3339;
use crate::domain::metric::{KNOWN, MetricRecord, kind_name, known_metric};
use crate::export::{Csv, Format};
use crate::http::damage::DamagedRange;
use crate::http::error::ApiError;
use crate::http::extract::Query;
use crate::http::list::{Limit, Pages, filter, table};
use crate::http::middleware::context::RequestContext;

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(paths(list))]
pub struct Api;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/api/insights/metrics/", get(list))
}

/// Whose metrics are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CatalogueQuery {
    /// Whose; a superuser who names none gets all
    organization_id: Option<String>,
    /// Answer without what is damaged
    #[serde(default)]
    allow_partial: bool,
    /// Rows of a page, 1 to 1000; `all` gives every row in NDJSON or CSV
    #[serde(default)]
    #[param(value_type = Option<String>, default = "50")]
    limit: Limit,
    /// `next_cursor` of the page before
    cursor: Option<String>,
    /// The format; without it `Accept` decides
    format: Option<Format>,
}

/// A metric.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct Metric {
    /// Its name
    name: String,
    /// `gauge`, `counter`, `cumulative_counter` or `histogram`
    #[serde(rename = "type")]
    kind: &'static str,
    /// The unit of its values
    unit: Option<String>,
    /// What it measures, for metrics that are known beforehand
    description: Option<&'static str>,
    /// Points that are stored
    points: u64,
    /// The value of the latest point
    last_value: Option<f64>,
    /// The time of the latest point
    last_timestamp: Option<String>,
}

/// Metrics.
#[derive(Debug, Serialize, ToSchema)]
struct Catalogue {
    /// Sorted by name; metrics that are known beforehand are there before their first point
    results: Vec<Metric>,
    /// The cursor of the next page, null at the end
    next_cursor: Option<String>,
    /// Whether something is missing because stored bytes are damaged
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
    /// What is missing
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damaged: Vec<DamagedRange>,
}

/// Metrics
///
/// The catalogue of metrics with type, unit, description and last value, by name. A metric whose first point comes
/// while pages are read is on a later page or on none.
#[utoipa::path(get, path = "/api/insights/metrics/", tag = "metrics", params(CatalogueQuery), responses(
    (status = 200, description = "The metrics", body = Catalogue),
))]
async fn list(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    headers: HeaderMap,
    uri: Uri,
    Query(query): Query<CatalogueQuery>,
) -> Result<Response, ApiError> {
    let scope = principal.read_scope(query.organization_id.as_deref(), Scopes::READ)?;
    let format = Format::wanted(query.format, filter::accept(&headers));
    let page = (query.limit, query.cursor.as_deref(), format);
    let pages = Pages::wanted(&state, &uri, ("metrics", scope.organization()), page).await?;
    let declared = scope.organization().map_or_else(Vec::new, |organization| {
        state.store.catalog_scan(CatalogKind::Metric, &MetricRecord::key_prefix(organization.as_str()))
    });
    let mut question = scope.query(Stream::Metrics, TimeRange::ALL);
    question.allow_partial = query.allow_partial;
    let field = |column: &ColumnDef| Field::Column(column.id);
    question.group_by = vec![GroupBy::Field(field(&stream::NAME))];
    question.aggregates = vec![
        Aggregate::Count,
        Aggregate::Last(field(&stream::VALUE)),
        Aggregate::Max(field(&stream::TIME)),
        Aggregate::Last(field(&stream::KIND)),
    ];
    let range = question.window;
    let answer = state.store.aggregate(&scope, question).await;
    let refused = |error| ApiError::of_read(error, Stream::Metrics, range, &state.store.health().damaged);
    let answer = answer.map_err(refused)?;
    let mut metrics = known();
    for (key, value) in &declared {
        if let (Some(name), Some(record)) = (MetricRecord::name_of_key(key), MetricRecord::decode(value)) {
            let metric = metrics.entry(name.to_owned()).or_insert_with(|| unknown(name));
            metric.kind = kind_name(record.kind);
            metric.unit = record.unit.or(metric.unit.take());
        }
    }
    add_points(&mut metrics, &answer);
    state.own_acts.read(&principal, &context, &scope, "metrics");
    let damaged: Vec<DamagedRange> = answer.damaged.iter().map(DamagedRange::from).collect();
    let metrics: Vec<Metric> = metrics.into_values().collect();
    let (results, next_cursor) = pages.cut(metrics, |metric| (0, &metric.name)).await?;
    let catalogue = Catalogue { results, next_cursor, partial: !damaged.is_empty(), damaged };
    pages.respond(&catalogue, catalogue.next_cursor.as_deref())
}

/// The metrics that are known beforehand, by name, without points.
fn known() -> BTreeMap<String, Metric> {
    KNOWN.iter().map(|metric| (metric.name.to_owned(), unknown(metric.name))).collect()
}

/// A metric without points: what is known of its name.
fn unknown(name: &str) -> Metric {
    let known = known_metric(name);
    Metric {
        name: name.to_owned(),
        kind: kind_name(known.map_or(MetricKind::Gauge, |metric| metric.kind)),
        unit: known.and_then(|metric| metric.unit).map(str::to_owned),
        description: known.map(|metric| metric.description),
        points: 0,
        last_value: None,
        last_timestamp: None,
    }
}

/// Puts what the store knows of each name into the catalogue.
fn add_points(metrics: &mut BTreeMap<String, Metric>, answer: &Answer) {
    for group in &answer.groups {
        let ([KeyValue::Str(name)], [count, value, time, kind]) =
            (group.key.as_slice(), group.values.as_slice())
        else {
            continue;
        };
        let metric = metrics.entry(name.to_string()).or_insert_with(|| {
            let stored = (0..=u8::MAX).find(|tag| Some(f64::from(*tag)) == kind.as_f64());
            let kind = stored.and_then(|tag| MetricKind::from_tag(tag.into())).unwrap_or(MetricKind::Gauge);
            Metric { kind: kind_name(kind), ..unknown(name) }
        });
        metric.points = count.as_u64();
        metric.last_value = value.as_f64().filter(|value| value.is_finite());
        metric.last_timestamp = table::instant(*time).map(|at| Rfc3339(at).to_string());
    }
}

impl table::Table for Catalogue {
    const COLUMNS: &'static [&'static str] =
        &["name", "type", "unit", "description", "points", "last_value", "last_timestamp"];
    type Row = Metric;

    fn rows(&self) -> &[Metric] {
        &self.results
    }

    fn write_csv(row: &Metric, csv: &mut Csv) {
        csv.text(&row.name);
        csv.text(row.kind);
        csv.text(row.unit.as_deref().unwrap_or_default());
        csv.text(row.description.unwrap_or_default());
        csv.plain(row.points);
        match row.last_value {
            Some(value) => csv.plain(value),
            None => csv.empty(),
        }
        csv.text(row.last_timestamp.as_deref().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use insights_engine::query::{Group, Number};

    use super::*;

    #[test]
    fn stored_metrics_join_those_that_are_known_beforehand() {
        let group = |name: &str, kind: f64| Group {
            key: vec![KeyValue::Str(name.into())],
            values: vec![Number::U64(3), Number::F64(0.5), Number::F64(1e6), Number::F64(kind)],
        };
        let answer =
            Answer { groups: vec![group("cpu.usage", 0.0), group("jobs", 1.0)], ..Answer::default() };
        let mut metrics = known();
        add_points(&mut metrics, &answer);
        assert_eq!(metrics.len(), KNOWN.len() + 1);
        let cpu = &metrics["cpu.usage"];
        assert_eq!((cpu.kind, cpu.unit.as_deref(), cpu.points), ("gauge", Some("percent"), 3));
        assert_eq!(cpu.last_timestamp.as_deref(), Some("1970-01-01T00:00:01Z"));
        assert_eq!((metrics["jobs"].kind, metrics["jobs"].last_value), ("counter", Some(0.5)));
        assert_eq!(metrics["uptime"].points, 0);
    }
}
