//! The analytics report: its families, read side by side, and the previous period beside them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::answer::{Bounds, Comparison, CostBlock, DamagedRange, Exactness, FamilyComparison, ReportAnswer};
use super::app_metrics::{self, AppMetrics};
use super::definitions::{self, Definitions, MetricDefinition};
use super::reader::{Reader, Totals};
use super::request::{AnalyticsRequest, Common, Family};
use super::system_performance::{self, HostScope, SystemPerformance};
use super::user_activity::{self, UserActivity};
use super::window::Window;
use crate::auth::ReadScope;
use crate::domain::lang::Lang;
use crate::http::error::ApiError;
use crate::store::Asking;

/// What a report may read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sources<'a> {
    /// The engine.
    pub(crate) asking: &'a Asking,
    /// Whose rows.
    pub(crate) scope: &'a ReadScope,
    /// The platform's own hosts, when organizations without hosts may see them.
    pub(crate) platform: Option<&'a ReadScope>,
}

/// What every report answers.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Envelope {
    /// The organization; null when it is all of them.
    pub(crate) organization_id: Option<String>,
    /// The start as it was asked for.
    #[schema(value_type = String)]
    pub(crate) start_date: Value,
    /// The end as it was asked for.
    #[schema(value_type = String)]
    pub(crate) end_date: Value,
    /// The width of the buckets.
    pub(crate) group_by: String,
    /// The time zone of days, buckets and the answer's instants.
    pub(crate) timezone: String,
    /// The day on which weeks begin.
    #[schema(value_type = String)]
    pub(crate) week_start: &'static str,
    /// The window as instants.
    pub(crate) window: Bounds,
    /// When the question was asked.
    pub(crate) generated_at: String,
    /// Until when the answer is complete: the end of the window, or the moment of the question.
    pub(crate) complete_until: String,
    /// Whether the answer was computed before.
    pub(crate) cached: bool,
    /// Present and true when something could not be read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) partial: bool,
    /// What could not be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) damaged: Vec<DamagedRange>,
}

/// The analytics report.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct AnalyticsAnswer {
    #[serde(flatten)]
    pub(crate) envelope: Envelope,
    /// The families that were asked for.
    pub(crate) metrics: Families,
    /// How near the numbers are to the truth.
    pub(crate) exactness: Exactness,
    /// The previous period, when it was asked for.
    pub(crate) comparison: Comparison,
    /// What the numbers mean, by their names; filled in where the language is known.
    #[schema(value_type = BTreeMap<String, MetricDefinition>)]
    pub(crate) definitions: Definitions,
    /// What it cost.
    pub(crate) cost: CostBlock,
}

/// The families of the analytics report.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Families {
    /// Who did what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_activity: Option<UserActivity>,
    /// How the hosts are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) system_performance: Option<SystemPerformance>,
    /// How the applications are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) app_metrics: Option<AppMetrics>,
}

impl ReportAnswer for AnalyticsAnswer {
    fn complete(&mut self, elapsed: Duration, lang: Lang) {
        let Families { user_activity, system_performance, app_metrics } = &self.metrics;
        let has = |family: &str| match family {
            "user_activity" => user_activity.is_some(),
            "system_performance" => system_performance.is_some(),
            "app_metrics" => app_metrics.is_some(),
            _ => false,
        };
        self.definitions = definitions::of_families(has, lang);
        self.cost.took(elapsed);
    }
}

impl Envelope {
    /// The answer's head, of a question in `scope`.
    pub(crate) fn of(common: &Common, scope: &ReadScope, totals: &Totals) -> Self {
        let window = &common.window;
        let damaged = DamagedRange::of(&totals.damaged, window);
        Self {
            organization_id: scope.organization().map(|o| o.as_str().to_owned()),
            start_date: common.start.clone(),
            end_date: common.end.clone(),
            group_by: common.group_by.clone(),
            timezone: window.zone_name().to_owned(),
            week_start: common.week_start,
            window: Bounds::of(window.range, window),
            generated_at: window.text(window.now()),
            complete_until: window.text(window.complete_until()),
            cached: !totals.computed,
            partial: !damaged.is_empty(),
            damaged,
        }
    }
}

/// Answers the analytics report; the cost has no time yet.
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) fn analytics(
    sources: Sources<'_>,
    request: &AnalyticsRequest,
) -> Result<AnalyticsAnswer, ApiError> {
    let common = &request.common;
    let reader = Reader::new(sources.asking, sources.scope, common.allow_partial);
    let asks = |family| request.families.contains(&family);
    let user_activity = when(asks(Family::UserActivity), || {
        let breakdown = request.breakdown.as_ref();
        user_activity::user_activity(&reader, &common.window, &request.selection, breakdown)
    })?;
    let system = when(asks(Family::SystemPerformance), || system(sources, &reader, common))?;
    let app_metrics = when(asks(Family::AppMetrics), || {
        let app_id = request.app_id.as_deref();
        app_metrics::app_metrics(&reader, &common.window, app_id, common.exact)
    })?;
    let metrics = Families { user_activity, system_performance: system, app_metrics };
    let comparison = match common.window.previous().filter(|_| request.compare) {
        Some(previous) => compare(sources, &reader, request, &metrics, &previous)?,
        None => Comparison::default(),
    };
    let totals = reader.finish();
    Ok(AnalyticsAnswer {
        envelope: Envelope::of(common, sources.scope, &totals),
        metrics,
        exactness: Exactness::of_events(common.exact).of_what_was_read(&totals),
        comparison,
        definitions: Definitions::new(),
        cost: CostBlock::of(totals.cost, Duration::ZERO),
    })
}

fn when<T>(wanted: bool, work: impl FnOnce() -> Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    if wanted { work().map(Some) } else { Ok(None) }
}

/// The organization's hosts; the platform's when it never had one and may see those.
fn system(sources: Sources<'_>, reader: &Reader<'_>, common: &Common) -> Result<SystemPerformance, ApiError> {
    let (window, exact) = (&common.window, common.exact);
    let scope = if sources.scope.organization().is_some() { HostScope::Organization } else { HostScope::All };
    let own = system_performance::system_performance(reader, window, scope, exact)?;
    let some = own.summary.values().any(|metric| metric.count > 0);
    let Some(platform) = sources.platform.filter(|_| scope == HostScope::Organization && !some) else {
        return Ok(own);
    };
    if system_performance::has_hosts(reader)? {
        return Ok(own);
    }
    let hosts = Reader::new(sources.asking, platform, common.allow_partial);
    let shared = system_performance::system_performance(&hosts, window, HostScope::Platform, exact)?;
    reader.absorb(hosts);
    Ok(shared)
}

/// The same families of the previous window.
fn compare(
    sources: Sources<'_>,
    reader: &Reader<'_>,
    request: &AnalyticsRequest,
    now: &Families,
    previous: &Window,
) -> Result<Comparison, ApiError> {
    let (exact, app_id) = (request.common.exact, request.app_id.as_deref());
    let mut metrics = BTreeMap::new();
    if let Some(family) = &now.user_activity {
        let then = user_activity::summary(reader, previous, &request.selection)?;
        metrics
            .insert("user_activity".to_owned(), FamilyComparison::of(&json(&family.summary)?, json(&then)?));
    }
    if let Some(family) = &now.system_performance {
        let then = match sources.platform.filter(|_| family.scope == HostScope::Platform) {
            Some(platform) => {
                let hosts = Reader::new(sources.asking, platform, request.common.allow_partial);
                let then = system_performance::summary(&hosts, previous, exact)?;
                reader.absorb(hosts);
                then
            }
            None => system_performance::summary(reader, previous, exact)?,
        };
        metrics.insert(
            "system_performance".to_owned(),
            FamilyComparison::of(&json(&family.summary)?, json(&then)?),
        );
    }
    if let Some(family) = &now.app_metrics {
        let then = app_metrics::summary(reader, previous, app_id, exact)?;
        metrics.insert("app_metrics".to_owned(), FamilyComparison::of(&json(&family.summary)?, json(&then)?));
    }
    Ok(Comparison { window: Some(Bounds::of(previous.range, previous)), metrics: Some(metrics) })
}

fn json(value: &impl Serialize) -> Result<Value, ApiError> {
    serde_json::to_value(value).map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "an answer could not be written");
        ApiError::internal()
    })
}
