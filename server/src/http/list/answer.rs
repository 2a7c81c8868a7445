//! From a question for rows to an answer: pages, cursors, formats.

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, Uri, header};
use axum::response::Response;
use insights_engine::id::{Stream, TenantId};
use insights_engine::query::{Filter, Order, RowPage, RowRequest};
use insights_engine::schema::Batch;
use insights_engine::time::{TimeRange, TimestampUs};
use serde::Serialize;

use super::filter::present;
use super::parameters::{LIMIT_MAX, Limit, Paging, UNBOUND};
use super::stream_body::{PieceSender, channel};
use crate::app::AppState;
use crate::auth::ReadScope;
use crate::export::{Csv, Format, Record, rows};
use crate::http::cursor::{self, Question};
use crate::http::damage::DamagedRange;
use crate::http::error::{ApiError, FieldError};
use crate::http::timing;

/// Says in formats that have no room for it that damaged rows are missing.
pub(in crate::http) const PARTIAL: HeaderName = HeaderName::from_static("x-insights-partial");

/// A list that was asked for and allowed.
#[derive(Debug)]
pub struct List {
    /// Whose rows.
    pub scope: ReadScope,
    /// Of which stream: events or audit.
    pub stream: Stream,
    /// Over which event times.
    pub window: TimeRange,
    /// Which of them.
    pub filter: Filter,
    /// In which order.
    pub order: Order,
    /// Pages and format.
    pub paging: Paging,
}

/// The body of a page in JSON.
#[derive(Debug, Serialize)]
struct PageJson<'a> {
    results: Vec<Record<'a>>,
    next_cursor: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
    #[serde(skip_serializing_if = "<[DamagedRange]>::is_empty")]
    damaged: Vec<DamagedRange>,
}

/// Answers a list that was asked for at `uri`.
///
/// # Errors
///
/// `invalid_cursor`, `invalid` for an unknown field or `limit=all` in JSON, and the errors of the store.
pub async fn respond(state: &AppState, list: List, uri: &Uri) -> Result<Response, ApiError> {
    check_fields(list.stream, list.paging.fields.as_deref())?;
    let began = state.clock.monotonic();
    let question = question(list.stream.name(), list.scope.organization(), uri);
    let mut request = list.scope.row_request(list.stream, list.window, 0);
    request.filter = list.filter.clone();
    request.order = list.order;
    request.allow_partial = list.paging.allow_partial;
    request.columns = list.paging.fields.as_deref().and_then(|fields| rows::columns_of(list.stream, fields));
    if let Some(text) = present(list.paging.cursor.as_deref()) {
        request.after = Some(cursor::decode(text, &question, &state.store.secret(cursor::SECRET).await?)?);
    }
    match (list.paging.limit, list.paging.format) {
        (Limit::Page(limit), _) => {
            request.limit = limit;
            let page = read(state, &list, request).await?;
            let next = match page.next {
                Some(next) => {
                    Some(cursor::encode(next, &question, &state.store.secret(cursor::SECRET).await?))
                }
                None => None,
            };
            let mut response = page_response(state, &list, &page, next.as_deref(), uri)?;
            timing::add(&mut response, state.clock.monotonic().saturating_sub(began));
            Ok(response)
        }
        (Limit::All, Format::Json) => {
            Err(ApiError::invalid_at("/limit", "invalid", "`limit=all` needs format=ndjson or csv"))
        }
        (Limit::All, Format::Ndjson | Format::Csv) => {
            let (sender, body) = channel();
            let (state, format) = (state.clone(), list.paging.format);
            tokio::spawn(async move { send_all(&state, &list, request, sender).await });
            Ok(with_type(Body::new(body), format))
        }
    }
}

/// One page; an error of damage names what is damaged.
async fn read(state: &AppState, list: &List, request: RowRequest) -> Result<RowPage, ApiError> {
    let page = state.store.rows(&list.scope, request).await;
    page.map_err(|error| ApiError::of_read(error, list.stream, list.window, &state.store.health().damaged))
}

/// What a cursor of a list is bound to: its name, whose it is, and the parameters that say which rows there are.
pub(in crate::http) fn question(list: &str, organization: Option<&TenantId>, uri: &Uri) -> Question {
    let pairs: Vec<_> = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).collect();
    // What says nothing is not bound: an empty value, the order that is the default. The organization is
    // bound as the scope.
    let says_something = |(name, value): &(&str, &str)| {
        !UNBOUND.contains(name)
            && !value.is_empty()
            && *name != "organization_id"
            && (*name, *value) != ("order", "desc")
    };
    let bound = pairs.iter().map(|(name, value)| (&**name, &**value)).filter(says_something);
    Question::new(list, organization.map(TenantId::as_str), bound)
}

/// Refuses fields that no record of the stream has.
///
/// # Errors
///
/// `invalid` with the fields that are unknown.
pub(in crate::http) fn check_fields(stream: Stream, fields: Option<&[String]>) -> Result<(), ApiError> {
    let Some(fields) = fields else { return Ok(()) };
    let blank = rows::blank(stream)?;
    let known: Vec<_> = rows::record(&blank, 0, [0; 32], &no_id).names().collect();
    let unknown = fields.iter().filter(|field| !known.contains(&field.as_str()));
    let errors: Vec<_> = unknown
        .map(|field| {
            FieldError::new("/fields", "unknown_field", format!("no record has the field `{field}`"))
        })
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(errors)) }
}

/// For the record that stands for its columns alone.
fn no_id(_: &Batch, _: u64, _: TimestampUs) -> String {
    String::new()
}

/// Makes ids of records whose client gave none.
pub fn derive_id(state: &AppState) -> impl Fn(&Batch, u64, TimestampUs) -> String + '_ {
    |batch, seq, received| state.store.derived_id(batch.tenant(), batch.stream(), seq, received)
}

/// The rows of a page as records with the fields that are wanted; all when nothing is said.
///
/// # Errors
///
/// As [`crate::store::Store::leaves`].
pub(in crate::http) fn records<'a>(
    state: &AppState,
    stream: Stream,
    fields: Option<&[String]>,
    page: &'a RowPage,
) -> Result<Vec<Record<'a>>, ApiError> {
    // An id that the client did not give costs a hash: it is made only when it is shown.
    let with_id = fields.is_none_or(|fields| fields.iter().any(|field| field == "id"));
    let derive = |batch: &Batch, seq, received| {
        if with_id { state.store.derived_id(batch.tenant(), stream, seq, received) } else { String::new() }
    };
    let mut out = Vec::new();
    for batch in &page.batches {
        // Leaves cost a hash a row, so they are made only when they are shown.
        let with_leaves = fields.is_none_or(|fields| fields.iter().any(|field| field == "leaf_hash"));
        let leaves = match stream {
            Stream::Audit if with_leaves => state.store.leaves(batch)?,
            _ => Vec::new(),
        };
        for index in 0..batch.rows() {
            let leaf = leaves.get(index).copied().unwrap_or_default();
            let mut record = rows::record(batch, index, leaf, &derive);
            record.select(fields);
            out.push(record);
        }
    }
    Ok(out)
}

fn page_response(
    state: &AppState,
    list: &List,
    page: &RowPage,
    next: Option<&str>,
    uri: &Uri,
) -> Result<Response, ApiError> {
    let records = records(state, list.stream, list.paging.fields.as_deref(), page)?;
    let format = list.paging.format;
    let partial = !page.damaged.is_empty();
    let mut body = Vec::new();
    match format {
        Format::Json => {
            let damaged = page.damaged.iter().map(DamagedRange::from).collect();
            let json = PageJson { results: records, next_cursor: next, partial, damaged };
            serde_json::to_writer(&mut body, &json).map_err(|_| ApiError::internal())?;
        }
        Format::Ndjson => write_ndjson(&records, &mut body)?,
        Format::Csv => body = write_csv(&records, list, true)?,
    }
    let mut response = with_type(Body::from(body), format);
    let headers = response.headers_mut();
    if let Some(link) = next.and_then(|next| next_link(uri, next)) {
        headers.insert(header::LINK, link);
    }
    if partial && format != Format::Json {
        headers.insert(PARTIAL, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Sends every page as it is read; a client that goes away ends it.
async fn send_all(state: &AppState, list: &List, mut request: RowRequest, sender: PieceSender) {
    request.limit = LIMIT_MAX;
    let mut first = true;
    loop {
        let piece = match piece(state, list, &request, first).await {
            Ok(piece) => piece,
            Err(error) => {
                tracing::warn!(code = error.code().name(), "an export broke off");
                drop(sender.send(Err(error.into())).await);
                return;
            }
        };
        let (bytes, next) = piece;
        let gone = sender.send(Ok(bytes)).await.is_err();
        let Some(next) = next.filter(|_| !gone) else { return };
        request.after = Some(next);
        first = false;
    }
}

/// One page of an export, and where the next one starts.
async fn piece(
    state: &AppState,
    list: &List,
    request: &RowRequest,
    first: bool,
) -> Result<(Bytes, Option<insights_engine::query::Cursor>), ApiError> {
    let page = read(state, list, request.clone()).await?;
    let records = records(state, list.stream, list.paging.fields.as_deref(), &page)?;
    let mut body = Vec::new();
    match list.paging.format {
        Format::Csv => body = write_csv(&records, list, first)?,
        Format::Json | Format::Ndjson => write_ndjson(&records, &mut body)?,
    }
    Ok((body.into(), page.next))
}

fn write_ndjson(records: &[Record<'_>], out: &mut Vec<u8>) -> Result<(), ApiError> {
    records.iter().try_for_each(|record| record.write_ndjson(out)).map_err(ApiError::from)
}

fn write_csv(records: &[Record<'_>], list: &List, header: bool) -> Result<Vec<u8>, ApiError> {
    let mut csv = Csv::new();
    if header {
        // From an empty row, so that an empty list has its columns too.
        let blank = rows::blank(list.stream)?;
        let mut columns = rows::record(&blank, 0, [0; 32], &no_id);
        columns.select(list.paging.fields.as_deref());
        columns.write_csv_header(&mut csv);
    }
    records.iter().try_for_each(|record| record.write_csv(&mut csv))?;
    Ok(csv.take())
}

fn with_type(body: Body, format: Format) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    response
}

/// The `Link` to the next page: the same question with another cursor.
pub(in crate::http) fn next_link(uri: &Uri, cursor: &str) -> Option<HeaderValue> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    query.extend_pairs(pairs.filter(|(name, _)| name != "cursor"));
    query.append_pair("cursor", cursor);
    HeaderValue::from_str(&format!("<{}?{}>; rel=\"next\"", uri.path(), query.finish())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_keeps_the_question_and_replaces_the_cursor() {
        let uri: Uri = "/api/insights/audit/?q=a%20b&cursor=old&limit=2".parse().unwrap();
        let link = next_link(&uri, "new").unwrap();
        assert_eq!(link, "</api/insights/audit/?q=a+b&limit=2&cursor=new>; rel=\"next\"");
    }

    #[test]
    fn unknown_fields_are_refused() {
        let fields = ["id".to_owned(), "nope".to_owned()];
        assert!(check_fields(Stream::Audit, Some(&fields)).is_err());
        assert!(check_fields(Stream::Audit, Some(&fields[..1])).is_ok());
        assert!(check_fields(Stream::Events, None).is_ok());
    }
}
