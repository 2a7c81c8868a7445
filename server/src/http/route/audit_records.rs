//! Audit records out: page by page, one by one, and which actions there are.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use insights_engine::id::Stream;
use insights_engine::query::{Aggregate, Field, Filter, GroupBy, KeyValue, Literal, Op};
use insights_engine::schema::stream;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use crate::app::AppState;
use crate::auth::{Principal, Scopes};
use crate::domain::audit::{OWN_ACTION_PREFIX, Outcome, Severity};
use crate::domain::instant::Rfc3339;
use crate::domain::own_act::OwnAct;
use crate::export::{Format, rows};
use crate::http::damage::DamagedRange;
use crate::http::error::ApiError;
use crate::http::extract::Query;
use crate::http::list::filter::{self, identifier, present};
use crate::http::list::{Limit, List, ListOrder, Pages, Paging, answer, parameters, table, window};
use crate::http::middleware::context::RequestContext;

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(paths(list, actions, one), components(schemas(rows::AuditRecord, Include)))]
pub struct Api;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/insights/audit/", get(list))
        .route("/api/insights/audit/actions/", get(actions))
        .route("/api/insights/audit/{id}/", get(one))
}

/// What else than the platform's records is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Include {
    /// Records of the server's own acts.
    Insights,
}

/// Which audit records are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Whose; a superuser who names none gets all
    organization_id: Option<String>,
    /// Who did it
    user_id: Option<String>,
    /// What was done
    action_type: Option<String>,
    /// What was done starts with this
    action_prefix: Option<String>,
    /// In which application
    app_id: Option<String>,
    /// To which type of object
    object_type: Option<String>,
    /// To which object
    object_id: Option<String>,
    /// From where
    ip_address: Option<String>,
    /// How grave
    severity: Option<Severity>,
    /// Whether it succeeded
    outcome: Option<Outcome>,
    /// In which request
    request_id: Option<String>,
    /// From when on: a date or an instant
    start: Option<String>,
    /// Until when: a date (all of it) or an instant (not included)
    end: Option<String>,
    /// Text that action, description, user or object contain
    q: Option<String>,
    /// `insights` lists records of the server's own acts too
    include: Option<Include>,
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

/// A page of audit records.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditPage {
    /// The records
    results: Vec<rows::AuditRecord>,
    /// The cursor of the next page, null at the end
    next_cursor: Option<String>,
    /// Whether something is missing because stored bytes are damaged
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
    /// What is missing
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damaged: Vec<DamagedRange>,
}

impl AuditQuery {
    /// The rows it means.
    fn filter(&self) -> Result<Filter, ApiError> {
        let mut all = vec![
            identifier(&stream::USER_ID, self.user_id.as_deref(), "/user_id")?,
            identifier(&stream::APP_ID, self.app_id.as_deref(), "/app_id")?,
            identifier(&stream::OBJECT_ID, self.object_id.as_deref(), "/object_id")?,
            filter::is(&stream::ACTION_TYPE, self.action_type.as_deref()),
            filter::is(&stream::OBJECT_TYPE, self.object_type.as_deref()),
            filter::is(&stream::IP_ADDRESS, self.ip_address.as_deref()),
            filter::is(&stream::REQUEST_ID, self.request_id.as_deref()),
        ];
        let prefix = present(self.action_prefix.as_deref());
        all.push(
            prefix.map(|prefix| filter::compare(&stream::ACTION_TYPE, Op::StartsWith(prefix.to_owned()))),
        );
        let number = |n: u64| Op::Is(filter::number(n));
        all.push(self.severity.map(|severity| filter::compare(&stream::SEVERITY, number(severity.tag()))));
        all.push(self.outcome.map(|outcome| filter::compare(&stream::OUTCOME, number(outcome.tag()))));
        all.push(filter::contains(
            &[
                stream::ACTION_TYPE,
                stream::DESCRIPTION,
                stream::USER_ID,
                stream::USER_NAME,
                stream::OBJECT_ID,
                stream::OBJECT_REPR,
            ],
            self.q.as_deref(),
        ));
        all.push(self.hides_own_acts().then(no_own_acts));
        Ok(Filter::And(all.into_iter().flatten().collect()))
    }

    fn hides_own_acts(&self) -> bool {
        let asks = |text: Option<&str>| text.is_some_and(|text| text.starts_with(OWN_ACTION_PREFIX));
        self.include.is_none() && !asks(self.action_type.as_deref()) && !asks(self.action_prefix.as_deref())
    }
}

/// Leaves out the records of the server's own acts.
fn no_own_acts() -> Filter {
    let own = filter::compare(&stream::ACTION_TYPE, Op::StartsWith(OWN_ACTION_PREFIX.to_owned()));
    Filter::Not(Box::new(own))
}

/// Audit records
///
/// Newest first. Every page is stable while records are written.
#[utoipa::path(get, path = "/api/insights/audit/", tag = "audit", params(AuditQuery), responses(
    (status = 200, description = "A page of records", body = AuditPage),
))]
async fn list(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    headers: HeaderMap,
    uri: Uri,
    Query(query): Query<AuditQuery>,
) -> Result<Response, ApiError> {
    let scope = principal.read_scope(query.organization_id.as_deref(), Scopes::AUDIT_READ)?;
    let format = Format::wanted(query.format, filter::accept(&headers));
    let list = List {
        stream: Stream::Audit,
        window: window(query.start.as_deref(), query.end.as_deref())?,
        filter: query.filter()?,
        order: query.order.unwrap_or_default().into(),
        paging: Paging {
            limit: query.limit,
            cursor: query.cursor,
            format,
            fields: parameters::names(query.fields.as_deref()),
            allow_partial: query.allow_partial,
        },
        scope,
    };
    let act = if format == Format::Json { OwnAct::AuditRead } else { OwnAct::AuditExported };
    let organization = list.scope.organization().cloned();
    let response = answer::respond(&state, list, &uri).await?;
    let act = if organization.is_none() { OwnAct::ReadAcrossOrganizations } else { act };
    state.own_acts.record(&principal, &context, act, organization.as_ref(), "audit");
    Ok(response)
}

/// Where a record is looked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OneQuery {
    /// Whose; a superuser who names none looks everywhere
    organization_id: Option<String>,
}

/// One audit record
#[utoipa::path(get, path = "/api/insights/audit/{id}/", tag = "audit",
    params(("id" = String, Path, description = "The id of the record"), OneQuery),
    responses(
        (status = 200, description = "The record", body = rows::AuditRecord),
        (status = 404, description = "There is none that the credential may see"),
    ),
)]
async fn one(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    Path(id): Path<String>,
    Query(query): Query<OneQuery>,
) -> Result<Response, ApiError> {
    let scope = principal.read_scope(query.organization_id.as_deref(), Scopes::AUDIT_READ)?;
    let _ = identifier(&stream::ID, Some(&id), "/id")?;
    let batch = state.store.row_by_id(&scope, Stream::Audit, id).await?.ok_or_else(ApiError::not_found)?;
    let leaf = state.store.leaves(&batch)?.first().copied().unwrap_or_default();
    let derive = answer::derive_id(&state);
    let record = rows::record(&batch, 0, leaf, &derive);
    let json = serde_json::to_vec(&record).map_err(|_| ApiError::internal())?;
    state.own_acts.record(&principal, &context, OwnAct::AuditRead, Some(batch.tenant()), "audit");
    Ok(([(header::CONTENT_TYPE, Format::Json.content_type())], json).into_response())
}

/// Which actions are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ActionsQuery {
    /// Whose; a superuser who names none gets all
    organization_id: Option<String>,
    /// From when on: a date or an instant
    start: Option<String>,
    /// Until when: a date (all of it) or an instant (not included)
    end: Option<String>,
    /// `insights` counts records of the server's own acts too
    include: Option<Include>,
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

/// An action type and how often it occurred.
#[derive(Debug, Serialize, ToSchema)]
struct ActionCount {
    /// What was done, dotted
    action_type: String,
    /// Records
    count: u64,
    /// The time of the first record
    first_seen: String,
    /// The time of the last record
    last_seen: String,
}

/// Action types.
#[derive(Debug, Serialize, ToSchema)]
struct Actions {
    /// The most frequent first
    results: Vec<ActionCount>,
    /// The cursor of the next page, null at the end
    next_cursor: Option<String>,
    /// Whether something is missing because stored bytes are damaged
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
    /// What is missing
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damaged: Vec<DamagedRange>,
}

/// Audit actions
///
/// Which action types occur, how often, and from when to when. Later pages count what the first one counted.
#[utoipa::path(get, path = "/api/insights/audit/actions/", tag = "audit", params(ActionsQuery), responses(
    (status = 200, description = "The action types", body = Actions),
))]
async fn actions(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    headers: HeaderMap,
    uri: Uri,
    Query(query): Query<ActionsQuery>,
) -> Result<Response, ApiError> {
    let scope = principal.read_scope(query.organization_id.as_deref(), Scopes::AUDIT_READ)?;
    let format = Format::wanted(query.format, filter::accept(&headers));
    let page = (query.limit, query.cursor.as_deref(), format);
    let pages = Pages::wanted(&state, &uri, ("audit/actions", scope.organization()), page).await?;
    let mut question = scope.query(Stream::Audit, window(query.start.as_deref(), query.end.as_deref())?);
    question.allow_partial = query.allow_partial;
    let mut filter = vec![filter::compare(&stream::RECEIVED, Op::Lte(Literal::I64(pages.as_of().0)))];
    filter.extend(query.include.is_none().then(no_own_acts));
    question.filter = Filter::And(filter);
    let time = Field::Column(stream::TIME.id);
    question.group_by = vec![GroupBy::Field(Field::Column(stream::ACTION_TYPE.id))];
    question.aggregates = vec![Aggregate::Count, Aggregate::Min(time.clone()), Aggregate::Max(time)];
    let range = question.window;
    let answer = state.store.aggregate(&scope, question).await;
    let refused = |error| ApiError::of_read(error, Stream::Audit, range, &state.store.health().damaged);
    let answer = answer.map_err(refused)?;
    let mut results: Vec<ActionCount> = answer
        .groups
        .iter()
        .filter_map(|group| match (group.key.as_slice(), group.values.as_slice()) {
            ([KeyValue::Str(action_type)], [count, first, last]) => Some(ActionCount {
                action_type: action_type.to_string(),
                count: count.as_u64(),
                first_seen: Rfc3339(table::instant(*first)?).to_string(),
                last_seen: Rfc3339(table::instant(*last)?).to_string(),
            }),
            _ => None,
        })
        .collect();
    // Groups come sorted by name, and stay so among equals.
    results.sort_by_key(|action| std::cmp::Reverse(action.count));
    let act =
        if scope.organization().is_none() { OwnAct::ReadAcrossOrganizations } else { OwnAct::AuditRead };
    state.own_acts.record(&principal, &context, act, scope.organization(), "audit");
    let damaged: Vec<DamagedRange> = answer.damaged.iter().map(DamagedRange::from).collect();
    let (results, next_cursor) = pages.cut(results, |action| (action.count, &action.action_type)).await?;
    let actions = Actions { results, next_cursor, partial: !damaged.is_empty(), damaged };
    pages.respond(&actions, actions.next_cursor.as_deref())
}

impl table::Table for Actions {
    const COLUMNS: &'static [&'static str] = &["action_type", "count", "first_seen", "last_seen"];
    type Row = ActionCount;

    fn rows(&self) -> &[ActionCount] {
        &self.results
    }

    fn write_csv(row: &ActionCount, csv: &mut crate::export::Csv) {
        csv.text(&row.action_type);
        csv.plain(row.count);
        csv.plain(&row.first_seen);
        csv.plain(&row.last_seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::extract::parse_query;

    fn query(text: &str) -> Result<AuditQuery, ApiError> {
        parse_query(text)
    }

    #[test]
    fn own_acts_are_hidden_unless_they_are_asked_for() {
        for (text, hidden) in [
            ("", true),
            ("action_prefix=project.", true),
            ("include=insights", false),
            ("action_prefix=insights.", false),
            ("action_type=insights.audit.read", false),
        ] {
            assert_eq!(query(text).unwrap().hides_own_acts(), hidden, "{text}");
        }
    }

    #[test]
    fn every_filter_narrows_the_question() {
        let none = query("include=insights").unwrap().filter().unwrap();
        assert_eq!(none, Filter::all());
        let names = "user_id=u&action_type=a.b&action_prefix=a&app_id=p&object_type=t&object_id=o&ip_address=1.2.3.4\
                     &severity=error&outcome=failure&request_id=r&q=x&include=insights";
        let Filter::And(all) = query(names).unwrap().filter().unwrap() else { panic!("an and") };
        assert_eq!(all.len(), 11);
        let severity = Filter::Compare(Field::Column(stream::SEVERITY.id), Op::Is(Literal::I64(3)));
        assert!(all.contains(&severity));
    }

    #[test]
    fn unknown_parameters_and_values_are_refused() {
        for text in ["nope=1", "severity=fatal", "outcome=maybe", "limit=0", "order=up", "format=xml"] {
            assert!(query(text).is_err(), "{text}");
        }
        assert!(query("user_id=a%20b").unwrap().filter().is_err());
    }
}
