//! The history of alerts: every change of a state, as the audit record that it is.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::get;
use insights_engine::id::Stream;
use insights_engine::query::{Filter, Literal, Op};
use insights_engine::schema::stream;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};

use crate::alert::history::{ACTION_PREFIX, OBJECT_TYPE};
use crate::alert::state::Change;
use crate::app::AppState;
use crate::auth::{Principal, Scopes};
use crate::export::Format;
use crate::http::error::ApiError;
use crate::http::extract::Query;
use crate::http::list::filter::{self, identifier};
use crate::http::list::{Limit, List, ListOrder, Paging, answer, parameters, window};
use crate::http::route::audit_records::AuditPage;

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(paths(list), components(schemas(Change)))]
pub(super) struct Api;

/// The routes.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/api/insights/alerts/history/", get(list))
}

/// Which changes are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct HistoryQuery {
    /// Whose; a superuser who names none gets all
    organization_id: Option<String>,
    /// Of one rule
    rule_id: Option<String>,
    /// `pending`, `firing`, `no_data`, `resolved` or `cleared`; all without it
    change: Option<Change>,
    /// From when on: a date or an instant
    start: Option<String>,
    /// Until when: a date (all of it) or an instant (not included)
    end: Option<String>,
    /// Newest or oldest first
    order: Option<ListOrder>,
    /// Records of a page, 1 to 1000; `all` streams every record in NDJSON or CSV
    #[serde(default)]
    #[param(value_type = Option<String>, default = "50")]
    limit: Limit,
    /// `next_cursor` of the page before
    cursor: Option<String>,
    /// The format; without it `Accept` decides
    format: Option<Format>,
    /// The fields that are wanted, with commas between
    fields: Option<String>,
    /// Answer without what is damaged
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    allow_partial: bool,
}

/// History of alerts
///
/// Every change of a state, newest first, as an audit record: `action_type` is `insights.alert.` and the change,
/// `content_object.id` the rule, `metadata` has labels, fingerprint, value, threshold, and since when it had been as it
/// was before. Needs `read`.
#[utoipa::path(get, path = "/api/insights/alerts/history/", tag = "alerts", params(HistoryQuery),
    responses((status = 200, description = "A page of records", body = AuditPage)))]
async fn list(
    State(state): State<AppState>,
    principal: Principal,
    headers: HeaderMap,
    uri: Uri,
    Query(query): Query<HistoryQuery>,
) -> Result<Response, ApiError> {
    let scope = principal.read_scope(query.organization_id.as_deref(), Scopes::READ)?;
    let changes = query.change.map_or_else(|| Change::ALL.to_vec(), |change| vec![change]);
    let types = changes.into_iter().map(|change| Literal::Str(format!("{ACTION_PREFIX}{}", change.name())));
    // The type of the object apart: nothing else that a client writes may pass for one.
    let mut all = vec![
        filter::compare(&stream::ACTION_TYPE, Op::In(types.collect())),
        filter::compare(&stream::OBJECT_TYPE, Op::Is(Literal::Str(OBJECT_TYPE.to_owned()))),
    ];
    all.extend(identifier(&stream::OBJECT_ID, query.rule_id.as_deref(), "/rule_id")?);
    let list = List {
        stream: Stream::Audit,
        window: window(query.start.as_deref(), query.end.as_deref())?,
        filter: Filter::And(all),
        order: query.order.unwrap_or_default().into(),
        paging: Paging {
            limit: query.limit,
            cursor: query.cursor,
            format: Format::wanted(query.format, filter::accept(&headers)),
            fields: parameters::names(query.fields.as_deref()),
            allow_partial: query.allow_partial,
        },
        scope,
    };
    answer::respond(&state, list, &uri).await
}
