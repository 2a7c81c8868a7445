//! The daily and the organization report: the three families by hour or day, the previous period beside them, and of
//! a day what the audit log saw.

use serde_json::{Map, Value, json};

use super::ask::StoredRequest;
use super::body::{self, to_value};
use super::compute::{Computed, Source, cut};
use super::{LIST_MAX, ReportType, audit_counts};
use crate::http::error::{ApiError, Code};
use crate::report::analytics::{AnalyticsAnswer, Families, analytics};
use crate::report::reader::Reader;
use crate::report::request::{AnalyticsRequest, Common, Family};
use crate::report::user_activity::Selection;
use crate::report::window::WEEK_START;

/// Lists of the families, and how each is called in `omitted`.
const LISTS: [(&str, &str); 4] = [
    ("user_activity", "event_types"),
    ("user_activity", "pages"),
    ("user_activity", "features"),
    ("app_metrics", "apps"),
];

/// Computes a daily or an organization report.
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) fn activity(source: &Source<'_>, request: &StoredRequest) -> Result<Computed, ApiError> {
    let group_by = if request.kind == ReportType::Daily { "hour" } else { "day" };
    let answer = compared(source, question(source, request, group_by))?;
    let Families { user_activity, system_performance, app_metrics } = answer.metrics;
    let mut metrics = Map::new();
    metrics.insert("user_activity".to_owned(), to_value(&user_activity)?);
    metrics.insert("system_performance".to_owned(), to_value(&system_performance)?);
    metrics.insert("app_metrics".to_owned(), to_value(&app_metrics)?);
    let mut omitted = Map::new();
    for (family, list) in LISTS {
        let rows = metrics.get_mut(family).and_then(|family| family.get_mut(list));
        if let Some(left_out) = rows.and_then(|rows| cut(rows, LIST_MAX)) {
            omitted.insert(list.to_owned(), left_out.into());
        }
    }
    let mut body = body::head(request, source.organization)?;
    body.insert("group_by".to_owned(), group_by.into());
    body.insert("metrics".to_owned(), metrics.into());
    body.insert("exactness".to_owned(), to_value(&answer.exactness)?);
    body.insert("comparison".to_owned(), to_value(&answer.comparison)?);
    body.insert("omitted".to_owned(), omitted.into());
    let mut computed = Computed { body: Value::Null, damaged: answer.envelope.damaged, cost: answer.cost };
    if request.kind == ReportType::Daily {
        body.insert("audit".to_owned(), audit(source, request, &mut computed)?);
    }
    computed.body = body.into();
    Ok(computed)
}

/// The families beside those of the previous period; alone when that is not kept any more.
fn compared(source: &Source<'_>, question: AnalyticsRequest) -> Result<AnalyticsAnswer, ApiError> {
    match analytics(source.sources(), &question) {
        // What has expired may be of the period itself: then it is refused again.
        Err(error) if error.code() == Code::RowsExpired => {
            analytics(source.sources(), &AnalyticsRequest { compare: false, ..question })
        }
        answer => answer,
    }
}

/// What the audit log saw; null when it is not kept that long.
fn audit(source: &Source<'_>, request: &StoredRequest, computed: &mut Computed) -> Result<Value, ApiError> {
    let reader = Reader::new(source.asking, source.scope, request.allow_partial);
    let counts = audit_counts::audit_counts(&reader, &request.window);
    computed.add(&reader.finish(), &request.window);
    match counts {
        Ok(counts) => to_value(&counts),
        Err(error) if error.code() == Code::RowsExpired => Ok(Value::Null),
        Err(error) => Err(error),
    }
}

fn question(source: &Source<'_>, request: &StoredRequest, group_by: &str) -> AnalyticsRequest {
    let (start, end) = body::dates(&request.window);
    AnalyticsRequest {
        common: Common {
            organization_id: Some(source.organization.to_string()),
            window: request.window.clone(),
            start: json!(start),
            end: json!(end),
            group_by: group_by.to_owned(),
            week_start: WEEK_START,
            exact: false,
            allow_partial: request.allow_partial,
        },
        families: vec![Family::UserActivity, Family::SystemPerformance, Family::AppMetrics],
        app_id: None,
        selection: Selection {
            filter: insights_engine::query::Filter::all(),
            page_view_types: source.config.page_view_event_types.clone(),
            exact: false,
        },
        breakdown: None,
        compare: true,
    }
}
