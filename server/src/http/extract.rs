//! Bodies, JSON and queries, read within limits; what is wrong becomes a problem with a pointer.

use axum::body::{Bytes, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_path_to_error::{Path, Segment};
use tokio::sync::OwnedSemaphorePermit;

use super::error::{ApiError, Code, FieldError};
use super::middleware::context::RequestContext;
use crate::app::AppState;
use crate::config::BODY_PROGRESS_TIMEOUT;
use crate::ingest::idempotency;

/// What the bytes of a body are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaType {
    /// One JSON value.
    Json,
    /// A JSON value a line.
    Ndjson,
}

/// The bytes of an ingest body, decompressed. They count against the budget of bodies in flight until
/// this is dropped.
#[derive(Debug)]
pub struct Body {
    /// The bytes.
    pub bytes: Bytes,
    /// What they are.
    pub media: MediaType,
    _budget: Budget,
}

#[cfg(test)]
impl Body {
    /// A body that counts against no budget.
    pub(crate) fn for_test(bytes: impl Into<Bytes>, media: MediaType) -> Self {
        Self { bytes: bytes.into(), media, _budget: Budget::default() }
    }
}

impl FromRequest<AppState> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let media = media_type(request.headers())?;
        let (bytes, budget) = read(request, state, state.config.limits.ingest_body_bytes_max).await?;
        Ok(Self { bytes, media, _budget: budget })
    }
}

/// A body that is one JSON value of type `T`.
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        if media_type(request.headers())? != MediaType::Json {
            return Err(unsupported());
        }
        let (bytes, _budget) = read(request, state, state.config.limits.body_bytes_max).await?;
        parse_object(&bytes).map(Self)
    }
}

/// The query of the URI as a `T`.
#[derive(Debug, Clone)]
pub struct Query<T>(pub T);

/// The query of a route that takes no parameters: any is refused, as an unknown one is elsewhere.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParameters {}

impl<T: DeserializeOwned> FromRequestParts<AppState> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, ApiError> {
        parse_query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

/// What the client named the request, or what is wrong with that name.
///
/// The header alone: a handler that takes all headers gets a copy of each.
#[derive(Debug)]
pub struct IdempotencyHeader(pub Result<Option<String>, ApiError>);

impl FromRequestParts<AppState> for IdempotencyHeader {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, Self::Rejection> {
        Ok(Self(idempotency::key_of(&parts.headers)))
    }
}

impl FromRequestParts<AppState> for RequestContext {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// One JSON object from bytes. Serde alone would take an array for the fields in their order.
///
/// # Errors
///
/// As [`parse_json`], and `invalid` for any other JSON value.
pub fn parse_object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    if bytes.trim_ascii_start().first() == Some(&b'{') {
        return parse_json(bytes);
    }
    parse_json::<serde::de::IgnoredAny>(bytes)?;
    Err(ApiError::invalid_at("", "invalid_type", "the body is a JSON object"))
}

/// One JSON value from bytes.
///
/// # Errors
///
/// `malformed_json` when the bytes are no JSON, `invalid` with a pointer when they are no `T`.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // Tracking the path costs time, so it is done only when the first try has failed.
    serde_json::from_slice::<T>(bytes).map_err(|first| json_error::<T>(bytes, &first))
}

fn json_error<T: DeserializeOwned>(bytes: &[u8], first: &serde_json::Error) -> ApiError {
    if !first.is_data() {
        return ApiError::malformed_json(first.to_string());
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Ok(_) => ApiError::malformed_json(first.to_string()),
        Err(error) => {
            let (pointer, detail) = (pointer(error.path()), strip_position(&error.inner().to_string()));
            ApiError::invalid(vec![field_error(pointer, detail)])
        }
    }
}

/// A `T` from a query string.
///
/// # Errors
///
/// `invalid` with the parameter as pointer.
pub fn parse_query<T: DeserializeOwned>(query: &str) -> Result<T, ApiError> {
    let deserializer = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        ApiError::invalid(vec![field_error(pointer(error.path()), error.inner().to_string())])
    })
}

/// The place and kind of a message of serde; a missing field is named in the message alone.
fn field_error(pointer: String, detail: String) -> FieldError {
    let quoted = |prefix: &str| Some(detail.strip_prefix(prefix)?.split('`').next()?.to_owned());
    if let Some(field) = quoted("missing field `") {
        return FieldError::new(
            format!("{pointer}/{}", escape(&field)),
            "required",
            "this field is required",
        );
    }
    let code = if detail.starts_with("unknown field") {
        "unknown_field"
    } else if detail.starts_with("invalid type") {
        "invalid_type"
    } else {
        "invalid"
    };
    FieldError::new(pointer, code, detail)
}

/// Cuts ` at line 1 column 5` off a message of `serde_json`: the pointer says it better.
fn strip_position(message: &str) -> String {
    message.rsplit_once(" at line ").map_or(message, |(text, _)| text).to_owned()
}

/// An RFC 6901 pointer from a path.
fn pointer(path: &Path) -> String {
    let tokens = path.iter().filter_map(|segment| match segment {
        Segment::Seq { index } => Some(format!("/{index}")),
        Segment::Map { key } => Some(format!("/{}", escape(key))),
        Segment::Enum { .. } | Segment::Unknown => None,
    });
    tokens.collect()
}

/// Text, or a whole number as its decimal text; an empty text is absent. For identifiers in bodies.
///
/// # Errors
///
/// Those of the deserializer, for any other type.
pub fn identifier_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "an identifier: text or a whole number")]
    enum Text {
        Str(String),
        Unsigned(u64),
        Signed(i64),
    }
    Ok(Option::<Text>::deserialize(deserializer)?.and_then(|text| match text {
        Text::Str(text) if text.is_empty() => None,
        Text::Str(text) => Some(text),
        Text::Unsigned(number) => Some(number.to_string()),
        Text::Signed(number) => Some(number.to_string()),
    }))
}

/// A key as one token of an RFC 6901 pointer.
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn unsupported() -> ApiError {
    ApiError::new(
        Code::UnsupportedMediaType,
        "send application/json, gzip, deflate, zstd or br encoded if at all",
    )
}

/// What the body says it is; JSON when it says nothing.
fn media_type(headers: &HeaderMap) -> Result<MediaType, ApiError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(MediaType::Json) };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    match essence.to_ascii_lowercase().as_str() {
        "application/json" => Ok(MediaType::Json),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(MediaType::Ndjson),
        _ => Err(unsupported()),
    }
}

/// Permits of the budget of bodies in flight, given back on drop.
#[derive(Debug, Default)]
struct Budget(Option<OwnedSemaphorePermit>);

impl Budget {
    /// Takes what `bytes` need, without waiting.
    fn grow_to(&mut self, bytes: usize, state: &AppState) -> Result<(), ApiError> {
        let have = self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let need = bytes.div_ceil(1024).saturating_sub(have);
        if need == 0 {
            return Ok(());
        }
        // A little more than needed, so that a body of many frames asks seldom.
        let need = u32::try_from(need).unwrap_or(u32::MAX).max(64);
        let more = std::sync::Arc::clone(&state.bodies)
            .try_acquire_many_owned(need)
            .map_err(|_| ApiError::new(Code::Overloaded, "too many bytes of bodies are in flight"))?;
        match &mut self.0 {
            Some(permit) => permit.merge(more),
            None => self.0 = Some(more),
        }
        Ok(())
    }
}

/// Reads a body of at most `bytes_max` bytes, after decompression.
async fn read(request: Request, state: &AppState, bytes_max: u64) -> Result<(Bytes, Budget), ApiError> {
    let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    let too_large = || {
        ApiError::new(Code::PayloadTooLarge, format!("a body has at most {bytes_max} bytes, decompressed"))
    };
    let mut body = request.into_body();
    // What is announced as too large is refused before a byte of it is asked for.
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large());
    }
    let mut budget = Budget::default();
    // Most bodies are one frame, and are taken as they came.
    let mut first = Bytes::new();
    let mut whole: Vec<u8> = Vec::new();
    loop {
        let frame = tokio::time::timeout(BODY_PROGRESS_TIMEOUT, body.frame())
            .await
            .map_err(|_| ApiError::malformed_json("the body did not arrive in time"))?;
        let Some(frame) = frame else { break };
        let frame = frame
            .map_err(|_| ApiError::malformed_json("the body is cut short, or its encoding is broken"))?;
        let Ok(data) = frame.into_data() else { continue };
        let bytes = first.len() + whole.len() + data.len();
        if bytes > bytes_max {
            return Err(too_large());
        }
        budget.grow_to(bytes, state)?;
        if bytes == data.len() {
            first = data;
        } else {
            whole.extend_from_slice(&std::mem::take(&mut first));
            whole.extend_from_slice(&data);
        }
    }
    Ok((if whole.is_empty() { first } else { whole.into() }, budget))
}

#[cfg(test)]
mod tests;
