//! Raw events out, page by page.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::get;
use insights_engine::id::Stream;
use insights_engine::query::{Field, Filter, Literal, Op};
use insights_engine::schema::stream;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use crate::app::AppState;
use crate::auth::{Principal, Scopes};
use crate::export::{Format, rows};
use crate::http::damage::DamagedRange;
use crate::http::error::ApiError;
use crate::http::extract::parse_query;
use crate::http::list::filter::{self, identifier};
use crate::http::list::{Limit, List, ListOrder, Paging, answer, parameters, window};
use crate::http::middleware::context::RequestContext;

/// What the parameters that look into `event_data` start with.
const PATH_PREFIX: &str = "event_data.";

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(paths(list), components(schemas(rows::EventRecord)))]
pub struct Api;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/api/insights/events/", get(list))
}

/// Which events are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Whose; a superuser who names none gets all
    organization_id: Option<String>,
    /// What happened
    event_type: Option<String>,
    /// To which user
    user_id: Option<String>,
    /// To which visitor
    anonymous_id: Option<String>,
    /// In which session
    session_id: Option<String>,
    /// In which application
    app_id: Option<String>,
    /// From where
    ip_address: Option<String>,
    /// From when on: a date or an instant
    start: Option<String>,
    /// Until when: a date (all of it) or an instant (not included)
    end: Option<String>,
    /// Text that type, user, visitor, session or application contain
    q: Option<String>,
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

/// A page of events.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventPage {
    /// The events
    results: Vec<rows::EventRecord>,
    /// The cursor of the next page, null at the end
    next_cursor: Option<String>,
    /// Whether something is missing because stored bytes are damaged
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
    /// What is missing
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damaged: Vec<DamagedRange>,
}

impl EventsQuery {
    /// The rows it means, apart from what is asked of `event_data`.
    fn filters(&self) -> Result<Vec<Filter>, ApiError> {
        let all = [
            identifier(&stream::USER_ID, self.user_id.as_deref(), "/user_id")?,
            identifier(&stream::ANONYMOUS_ID, self.anonymous_id.as_deref(), "/anonymous_id")?,
            identifier(&stream::SESSION_ID, self.session_id.as_deref(), "/session_id")?,
            identifier(&stream::APP_ID, self.app_id.as_deref(), "/app_id")?,
            filter::is(&stream::EVENT_TYPE, self.event_type.as_deref()),
            filter::is(&stream::IP_ADDRESS, self.ip_address.as_deref()),
            filter::contains(
                &[
                    stream::EVENT_TYPE,
                    stream::USER_ID,
                    stream::ANONYMOUS_ID,
                    stream::SESSION_ID,
                    stream::APP_ID,
                ],
                self.q.as_deref(),
            ),
        ];
        Ok(all.into_iter().flatten().collect())
    }
}

/// A question split into what has a name of its own and what looks into `event_data`.
fn parse(query: &str) -> Result<(EventsQuery, Vec<Filter>), ApiError> {
    let mut named = form_urlencoded::Serializer::new(String::new());
    let mut filters = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.strip_prefix(PATH_PREFIX) {
            Some(path) => filters.push(path_is(path, &value)?),
            None => {
                named.append_pair(&name, &value);
            }
        }
    }
    let query: EventsQuery = parse_query(&named.finish())?;
    filters.extend(query.filters()?);
    Ok((query, filters))
}

/// A path of `event_data` equals a value, whether that was sent as text, as a number or as a truth value.
fn path_is(path: &str, value: &str) -> Result<Filter, ApiError> {
    let keys: Vec<String> = path.split('.').map(str::to_owned).collect();
    if keys.iter().any(String::is_empty) {
        let pointer = format!("/{PATH_PREFIX}{path}");
        return Err(ApiError::invalid_at(pointer, "invalid", "a path is keys with dots between"));
    }
    let mut literals = vec![Literal::Str(value.to_owned())];
    let meant = value.parse().map(Literal::I64).ok();
    let meant = meant.or_else(|| value.parse().map(Literal::U64).ok());
    let meant = meant.or_else(|| value.parse().ok().filter(|n: &f64| n.is_finite()).map(Literal::F64));
    literals.extend(meant.or_else(|| value.parse().map(Literal::Bool).ok()));
    Ok(Filter::Compare(Field::Path(stream::EVENT_DATA.id, keys), Op::In(literals)))
}

/// Events
///
/// Newest first. Every page is stable while events are written. `event_data.<path>=value` selects by what is in
/// `event_data`.
#[utoipa::path(get, path = "/api/insights/events/", tag = "events", params(EventsQuery), responses(
    (status = 200, description = "A page of events", body = EventPage),
))]
async fn list(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let (query, filters) = parse(uri.query().unwrap_or_default())?;
    let scope = principal.read_scope(query.organization_id.as_deref(), Scopes::READ)?;
    let list = List {
        stream: Stream::Events,
        window: window(query.start.as_deref(), query.end.as_deref())?,
        filter: Filter::And(filters),
        order: query.order.unwrap_or_default().into(),
        paging: Paging {
            limit: query.limit,
            cursor: query.cursor,
            format: Format::wanted(query.format, filter::accept(&headers)),
            fields: parameters::names(query.fields.as_deref()),
            allow_partial: query.allow_partial,
        },
        scope: scope.clone(),
    };
    let response = answer::respond(&state, list, &uri).await?;
    state.own_acts.read(&principal, &context, &scope, "events");
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_event_data_compares_with_text_and_with_what_it_may_mean() {
        let literals = |value: &str| match path_is("form.fields", value) {
            Ok(Filter::Compare(Field::Path(_, keys), Op::In(literals))) => {
                assert_eq!(keys, ["form", "fields"]);
                literals.into_iter().skip(1).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(literals("7"), [Literal::I64(7)]);
        assert_eq!(literals("18446744073709551615"), [Literal::U64(u64::MAX)]);
        assert_eq!(literals("1.5"), [Literal::F64(1.5)]);
        assert_eq!(literals("true"), [Literal::Bool(true)]);
        assert_eq!(literals("inf"), []);
        assert_eq!(literals("dashboard"), []);
    }

    #[test]
    fn paths_and_names_are_told_apart() {
        let (query, filters) = parse("event_data.page=%2Fhome&user_id=u&q=x").unwrap();
        assert_eq!((query.user_id.as_deref(), filters.len()), (Some("u"), 3));
        for bad in ["event_data.=1", "event_data.a..b=1", "event_dat=1", "user_id=a%20b"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
