//! Everything there is of a stream, streamed in flat memory, with a trailer that proves it whole.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use insights_engine::id::{Stream, TenantId};
use insights_engine::query::{Cursor, Filter, RowPage, RowRequest};
use insights_engine::schema::{ColumnDef, stream};
use insights_engine::time::TimeRange;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};

use super::import::StreamName;
use crate::app::AppState;
use crate::auth::{Principal, ReadScope, Scopes};
use crate::domain::metric::canonical_name;
use crate::domain::own_act::OwnAct;
use crate::export::{Format, Whole, rows};
use crate::http::damage::DamagedRange;
use crate::http::error::{ApiError, Code, FieldError};
use crate::http::extract::Query;
use crate::http::list::filter::{self, identifier};
use crate::http::list::parameters::LIMIT_MAX;
use crate::http::list::stream_body::{PieceSender, channel};
use crate::http::list::{ListOrder, answer, parameters, window};
use crate::http::middleware::context::RequestContext;

/// Records that are read at a time, as many as a page of a list has: of the usual ones half a MiB, of the largest ones
/// (64 KiB of data each) 64 MiB.
const PAGE_ROWS: usize = LIMIT_MAX;
/// Longest time for the records of one organization.
const EXPORT_MAX: Duration = Duration::from_hours(2);
/// Most damaged ranges that a trailer names.
const DAMAGED_MAX: usize = 100;

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(paths(export), components(schemas(rows::PointRecord)))]
pub struct Api;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/api/insights/export/", get(export))
}

/// What is exported, and how.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportQuery {
    /// What the records are
    #[param(inline)]
    stream: StreamName,
    /// Whose; a superuser who names none gets all organizations, one after the other
    organization_id: Option<String>,
    /// From when on: a date or an instant
    start: Option<String>,
    /// Until when: a date (all of it) or an instant (not included)
    end: Option<String>,
    /// Of which application
    app_id: Option<String>,
    /// Of which user
    user_id: Option<String>,
    /// Events of this type
    event_type: Option<String>,
    /// Audit records of this action
    action_type: Option<String>,
    /// Points of this metric
    name: Option<String>,
    /// Oldest (the default) or newest first
    order: Option<ListOrder>,
    /// The format; without it `Accept` decides, and NDJSON is the default
    format: Option<Format>,
    /// The fields that are wanted, with commas between
    fields: Option<String>,
    /// Whether NDJSON and CSV end with a trailer; JSON always does
    #[param(value_type = Option<bool>, default = true)]
    trailer: Option<bool>,
    /// Go on without what is damaged; the trailer says that something is missing
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    allow_partial: bool,
}

/// An export that was asked for and allowed.
#[derive(Debug)]
struct Export {
    stream: Stream,
    window: TimeRange,
    filter: Filter,
    order: ListOrder,
    format: Format,
    fields: Option<Vec<String>>,
    with_trailer: bool,
    allow_partial: bool,
}

impl ExportQuery {
    /// The rows it means; a filter that the stream does not have is a mistake that is named.
    fn filter(&self, stream: Stream) -> Result<Filter, ApiError> {
        let metric = self.name.as_deref().map(canonical_name);
        let own: [(&'static str, &ColumnDef, Option<&str>, Stream); 3] = [
            ("event_type", &stream::EVENT_TYPE, self.event_type.as_deref(), Stream::Events),
            ("action_type", &stream::ACTION_TYPE, self.action_type.as_deref(), Stream::Audit),
            ("name", &stream::NAME, metric, Stream::Metrics),
        ];
        let strange = own.iter().filter(|(_, _, text, of)| *of != stream && filter::present(*text).is_some());
        let errors: Vec<FieldError> = strange
            .map(|(name, ..)| {
                let detail = format!("records of the stream {stream} have no `{name}`");
                FieldError::new(format!("/{name}"), "invalid", detail)
            })
            .collect();
        if !errors.is_empty() {
            return Err(ApiError::invalid(errors));
        }
        let mut all = vec![
            identifier(&stream::APP_ID, self.app_id.as_deref(), "/app_id")?,
            identifier(&stream::USER_ID, self.user_id.as_deref(), "/user_id")?,
        ];
        all.extend(
            own.into_iter()
                .filter(|(.., of)| *of == stream)
                .map(|(_, column, text, _)| filter::is(column, text)),
        );
        Ok(Filter::And(all.into_iter().flatten().collect()))
    }
}

/// Export
///
/// Every record of a stream, streamed: audit records with those of the server's own acts, so that `seq` has no holes. An
/// organization's records are of one moment. NDJSON ends with a line `{"trailer": {"complete", "records", "sha256"}}`, CSV with
/// a line `# complete=... records=... sha256=...`, JSON with a member `trailer`; the hash is of all bytes before it (of JSON before
/// `,"trailer"`). An answer without its trailer was cut.
#[utoipa::path(get, path = "/api/insights/export/", tag = "export", params(ExportQuery), responses(
    (status = 200, description = "The records and a trailer", content(
        (String = "application/x-ndjson"), (String = "text/csv"), (Object = "application/json")))))]
async fn export(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    headers: HeaderMap,
    Query(query): Query<ExportQuery>,
) -> Result<Response, ApiError> {
    let stream = Stream::from(query.stream);
    let needs = if stream == Stream::Audit { Scopes::AUDIT_READ } else { Scopes::READ };
    let scope = principal.read_scope(query.organization_id.as_deref(), needs)?;
    let fields = parameters::names(query.fields.as_deref());
    answer::check_fields(stream, fields.as_deref())?;
    if query.allow_partial && query.trailer == Some(false) {
        let detail = "what is missing is said in the trailer alone";
        return Err(ApiError::invalid_at("/trailer", "invalid", detail));
    }
    let place = Arc::clone(&state.exports).try_acquire_owned();
    let place =
        place.map_err(|_| ApiError::new(Code::Overloaded, "too many exports at once; try again later"))?;
    let accept = filter::accept(&headers).filter(|accept| !accept.contains("*/*"));
    let export = Arc::new(Export {
        stream,
        window: window(query.start.as_deref(), query.end.as_deref())?,
        filter: query.filter(stream)?,
        order: query.order.unwrap_or(ListOrder::Asc),
        format: query
            .format
            .unwrap_or_else(|| accept.map_or(Format::Ndjson, |accept| Format::wanted(None, Some(accept)))),
        fields,
        with_trailer: query.trailer.unwrap_or(true),
        allow_partial: query.allow_partial,
    });
    // An organization's one scope, or one for each: pages of all together would read every organization's rows at once.
    let scopes = match scope.organization() {
        Some(_) => vec![scope.clone()],
        None => every(&principal, &state.store.tenants(), needs)?,
    };
    match stream {
        Stream::Audit => {
            state.own_acts.record(
                &principal,
                &context,
                OwnAct::AuditExported,
                scope.organization(),
                "export",
            );
        }
        Stream::Events | Stream::Metrics => state.own_acts.read(&principal, &context, &scope, "export"),
    }
    let (sender, body) = channel();
    let content_type = HeaderValue::from_static(export.format.content_type());
    tokio::spawn(async move {
        send(&state, &export, scopes, sender).await;
        drop(place);
    });
    Ok(([(header::CONTENT_TYPE, content_type)], Body::new(body)).into_response())
}

fn every(principal: &Principal, tenants: &[TenantId], needs: Scopes) -> Result<Vec<ReadScope>, ApiError> {
    tenants.iter().map(|tenant| principal.read_scope(Some(tenant.as_str()), needs)).collect()
}

/// Sends everything, or cuts the connection, so that the client sees that it is not whole.
async fn send(state: &AppState, export: &Arc<Export>, scopes: Vec<ReadScope>, sender: PieceSender) {
    match write(state, export, scopes, &sender).await {
        Ok(()) => {}
        Err(error) => {
            tracing::warn!(code = error.code().name(), stream = %export.stream, "an export broke off");
            drop(sender.send(Err(error.into())).await);
        }
    }
}

async fn write(
    state: &AppState,
    export: &Arc<Export>,
    scopes: Vec<ReadScope>,
    sender: &PieceSender,
) -> Result<(), ApiError> {
    let blank = rows::blank(export.stream)?;
    let mut columns = rows::record(&blank, 0, [0; 32], &|_, _, _| String::new());
    columns.select(export.fields.as_deref());
    let mut whole = Whole::new(export.format);
    let mut piece: Bytes = whole.head(&columns).into();
    let mut damaged: Vec<DamagedRange> = Vec::new();
    for scope in scopes {
        let moment = state.store.moment(EXPORT_MAX);
        let mut request = request(export, &scope);
        loop {
            // Bytes that nobody takes any more end it.
            if !piece.is_empty() && sender.send(Ok(piece)).await.is_err() {
                return Ok(());
            }
            let page = Page { state: state.clone(), export: Arc::clone(export), whole };
            let read = moment.rows(&scope, request.clone(), move |rows| page.write(&rows)).await;
            let written = read.map_err(|error| {
                ApiError::of_read(error, export.stream, export.window, &state.store.health().damaged)
            })?;
            let written = written.ok_or_else(overtaken)??;
            let room = DAMAGED_MAX.saturating_sub(damaged.len());
            damaged.extend(written.damaged.into_iter().take(room));
            (whole, piece, request.after) = (written.whole, written.piece, written.next);
            if request.after.is_none() {
                break;
            }
        }
    }
    for piece in [piece, whole.tail(export.with_trailer, &damaged).into()] {
        if !piece.is_empty() && sender.send(Ok(piece)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// What it takes to write a page.
struct Page {
    state: AppState,
    export: Arc<Export>,
    whole: Whole,
}

/// A page as it is sent.
struct Written {
    whole: Whole,
    piece: Bytes,
    next: Option<Cursor>,
    damaged: Vec<DamagedRange>,
}

impl Page {
    /// Writes the rows of a page: milliseconds of work.
    fn write(mut self, page: &RowPage) -> Result<Written, ApiError> {
        let export = &self.export;
        let records = answer::records(&self.state, export.stream, export.fields.as_deref(), page)?;
        let piece = self.whole.records(&records)?.into();
        let damaged = page.damaged.iter().map(DamagedRange::from).collect();
        Ok(Written { whole: self.whole, piece, next: page.next, damaged })
    }
}

/// What was read may have been erased since: better cut than told.
fn overtaken() -> ApiError {
    ApiError::new(Code::Conflict, "an erasure or another retention came meanwhile; ask again")
}

fn request(export: &Export, scope: &ReadScope) -> RowRequest {
    let mut request = scope.row_request(export.stream, export.window, PAGE_ROWS);
    request.filter = export.filter.clone();
    request.order = export.order.into();
    request.allow_partial = export.allow_partial;
    request.columns = export.fields.as_deref().and_then(|fields| rows::columns_of(export.stream, fields));
    request
}

#[cfg(test)]
mod tests;
