//! Errors on the wire: RFC 9457 problem details, codes that stay, no cause in a 5xx.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use insights_engine::Error as EngineError;
use insights_engine::id::Stream;
use insights_engine::query::Damage;
use insights_engine::time::TimeRange;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::instant::{self, Rfc3339};

/// The media type of an error.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Where the codes are described; a code is appended to it.
pub const TYPE_BASE: &str = "/api/insights/docs/errors/";

/// What went wrong, for programs; the names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The body is no JSON.
    MalformedJson,
    /// No credential, or a wrong one.
    Unauthenticated,
    /// The credential does not allow it.
    Forbidden,
    /// There is nothing here that the credential may see.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// It contradicts what is stored.
    Conflict,
    /// The body is over a limit.
    PayloadTooLarge,
    /// The body's type or encoding is unknown.
    UnsupportedMediaType,
    /// The request is understood and wrong; `errors` says where.
    Invalid,
    /// The cursor is broken, or of another question.
    InvalidCursor,
    /// The idempotency key was used with another body.
    IdempotencyMismatch,
    /// The answer would have too many cells.
    TooManyCells,
    /// The rows that the question needs have expired.
    RowsExpired,
    /// Too many requests.
    RateLimited,
    /// The organization's share is used up.
    QuotaExceeded,
    /// A bug of ours.
    Internal,
    /// Stored bytes are damaged.
    Damaged,
    /// A budget of the server is used up; try again.
    Overloaded,
    /// Writes are refused; reads go on.
    ReadOnly,
    /// The server is starting or stopping.
    NotReady,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 20] = [
        Self::MalformedJson,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::Invalid,
        Self::InvalidCursor,
        Self::IdempotencyMismatch,
        Self::TooManyCells,
        Self::RowsExpired,
        Self::RateLimited,
        Self::QuotaExceeded,
        Self::Internal,
        Self::Damaged,
        Self::Overloaded,
        Self::ReadOnly,
        Self::NotReady,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MalformedJson => "malformed_json",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Conflict => "conflict",
            Self::PayloadTooLarge => "payload_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Invalid => "invalid",
            Self::InvalidCursor => "invalid_cursor",
            Self::IdempotencyMismatch => "idempotency_mismatch",
            Self::TooManyCells => "too_many_cells",
            Self::RowsExpired => "rows_expired",
            Self::RateLimited => "rate_limited",
            Self::QuotaExceeded => "quota_exceeded",
            Self::Internal => "internal",
            Self::Damaged => "damaged",
            Self::Overloaded => "overloaded",
            Self::ReadOnly => "read_only",
            Self::NotReady => "not_ready",
        }
    }

    /// The HTTP status.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::MalformedJson => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict => StatusCode::CONFLICT,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid
            | Self::InvalidCursor
            | Self::IdempotencyMismatch
            | Self::TooManyCells
            | Self::RowsExpired => StatusCode::UNPROCESSABLE_ENTITY,
            Self::RateLimited | Self::QuotaExceeded => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal | Self::Damaged => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Overloaded | Self::ReadOnly | Self::NotReady => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// A short summary for people, the same for every occurrence.
    pub const fn title(self) -> &'static str {
        match self {
            Self::MalformedJson => "The body is not valid JSON",
            Self::Unauthenticated => "Authentication is required",
            Self::Forbidden => "Not allowed with this credential",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::Conflict => "Conflict with stored data",
            Self::PayloadTooLarge => "The body is too large",
            Self::UnsupportedMediaType => "Unsupported media type or encoding",
            Self::Invalid => "The request is invalid",
            Self::InvalidCursor => "The cursor is invalid",
            Self::IdempotencyMismatch => "The idempotency key was used with another body",
            Self::TooManyCells => "The answer would be too large",
            Self::RowsExpired => "The rows have expired",
            Self::RateLimited => "Too many requests",
            Self::QuotaExceeded => "Quota exceeded",
            Self::Internal => "Internal error",
            Self::Damaged => "Stored data is damaged",
            Self::Overloaded => "The server is overloaded",
            Self::ReadOnly => "The server takes no writes at present",
            Self::NotReady => "The server is not ready",
        }
    }

    /// What a client does about it.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::MalformedJson => {
                "Send one JSON value, or one a line as NDJSON; detail says where it breaks off."
            }
            Self::Unauthenticated => {
                "Send a valid API key or token as Authorization: Bearer, or a key as X-Api-Key."
            }
            Self::Forbidden => {
                "Use a credential with the scope, or of the organization, that the request needs."
            }
            Self::NotFound => {
                "Check the path and the id. What belongs to others is answered as if it did not exist."
            }
            Self::MethodNotAllowed => "Use one of the methods that the Allow header names.",
            Self::Conflict => "Read what is stored, and send what agrees with it.",
            Self::PayloadTooLarge => "Send fewer or smaller records; the limit counts decompressed bytes.",
            Self::UnsupportedMediaType => {
                "Send JSON or NDJSON, plain or encoded as gzip, deflate, zstd or br."
            }
            Self::Invalid => {
                "Correct the places that errors points at; each has a pointer, a code and a detail."
            }
            Self::InvalidCursor => "Start again from the first page, with the same filters for all pages.",
            Self::IdempotencyMismatch => "Use a new Idempotency-Key for a new body.",
            Self::TooManyCells => "Ask for a shorter window, wider buckets or a smaller breakdown.",
            Self::RowsExpired => "Ask without filters and exactness that need rows, or for a later window.",
            Self::RateLimited => "Wait as long as Retry-After says.",
            Self::QuotaExceeded => "Wait as long as Retry-After says, or have the quota raised.",
            Self::Internal => {
                "Try again; if it stays, report the request_id, which finds the cause in the log."
            }
            Self::Damaged => "Ask with allow_partial: true for what is whole, and have the store repaired.",
            Self::Overloaded => {
                "Try again as Retry-After says, with fewer requests at once or larger batches."
            }
            Self::ReadOnly => "Try again later: the disk is full or failed. Reads go on.",
            Self::NotReady => "Try again in a moment: the server is starting or stopping.",
        }
    }

    /// Seconds after which a client may try again, for the codes that are about time.
    const fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::RateLimited | Self::Overloaded | Self::NotReady => Some(1),
            Self::QuotaExceeded => Some(60),
            Self::ReadOnly => Some(5),
            Self::MalformedJson
            | Self::Unauthenticated
            | Self::Forbidden
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::Conflict
            | Self::PayloadTooLarge
            | Self::UnsupportedMediaType
            | Self::Invalid
            | Self::InvalidCursor
            | Self::IdempotencyMismatch
            | Self::TooManyCells
            | Self::RowsExpired
            | Self::Internal
            | Self::Damaged => None,
        }
    }
}

/// One thing that is wrong with the input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Of which record of a list, from 0; the pointer then starts at the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// Where: an RFC 6901 pointer into the body; a query parameter is `/name`.
    pub pointer: String,
    /// What, for programs: `required`, `invalid_type`, `unknown_field`, `invalid`, ...
    pub code: Cow<'static, str>,
    /// What, in words.
    pub detail: String,
}

impl FieldError {
    /// Something wrong at `pointer`.
    pub fn new(
        pointer: impl Into<String>,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Self {
        Self { index: None, pointer: pointer.into(), code: code.into(), detail: detail.into() }
    }

    /// The same, of one record of a list.
    #[must_use]
    pub fn of_record(self, index: u32) -> Self {
        Self { index: Some(index), ..self }
    }
}

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    code: Code,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    retry_after_s: Option<u32>,
}

impl ApiError {
    /// An error of a code; `detail` says what to do about it and is shown to the client.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), retry_after_s: code.retry_after_s() }
    }

    /// The input is wrong in these places.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] if one.pointer.is_empty() => Cow::Owned(one.detail.clone()),
            [one] => Cow::Owned(format!("{}: {}", one.pointer, one.detail)),
            _ => Cow::Owned(format!("{} places are invalid; see errors", errors.len())),
        };
        Self { errors, ..Self::new(Code::Invalid, detail) }
    }

    /// The input is wrong in one place.
    pub fn invalid_at(
        pointer: impl Into<String>,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Self {
        Self::invalid(vec![FieldError::new(pointer, code, detail)])
    }

    /// No credential, or a wrong one: the same answer for each.
    pub fn unauthenticated() -> Self {
        Self::new(Code::Unauthenticated, "send a valid API key or token in the Authorization header")
    }

    /// The credential does not allow it: the same answer whether or not the thing exists.
    pub fn forbidden() -> Self {
        Self::new(Code::Forbidden, "this credential does not allow it")
    }

    /// There is nothing here that the credential may see.
    pub fn not_found() -> Self {
        Self::new(Code::NotFound, "there is nothing here")
    }

    /// The body is no JSON.
    pub fn malformed_json(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::MalformedJson, detail)
    }

    /// A bug of ours; the cause goes to the log, never to the client.
    pub fn internal() -> Self {
        Self::new(Code::Internal, "the server failed; the request id finds the cause in its log")
    }

    /// The server is starting or stopping.
    pub fn not_ready() -> Self {
        Self::new(Code::NotReady, "the server is starting or stopping")
    }

    /// The error of a read of `stream` over `window`. Damage names both, the window cut to what is
    /// `known` to be damaged; everything else is judged as it is.
    pub fn of_read(error: EngineError, stream: Stream, window: TimeRange, known: &[Damage]) -> Self {
        let is_damage = error.is_damage();
        let judged = Self::from(error);
        if !is_damage {
            return judged;
        }
        let hit = known.iter().filter(|damage| damage.stream == stream).map(|damage| damage.range);
        let hit = hit.filter(|range| range.start < window.end && window.start < range.end);
        let around = hit.reduce(|a, b| TimeRange { start: a.start.min(b.start), end: a.end.max(b.end) });
        let around = around.unwrap_or(window);
        let start = Rfc3339(around.start.max(window.start).clamp(instant::MIN, instant::MAX));
        let end = Rfc3339(around.end.min(window.end).clamp(instant::MIN, instant::MAX));
        Self::new(
            Code::Damaged,
            format!(
                "stored {stream} between {start} and {end} are damaged; allow_partial answers without them"
            ),
        )
    }

    /// The same error with places in the input.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// The same error with a time after which to try again.
    #[must_use]
    pub fn with_retry_after_s(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Its code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What it says to the client.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The places in the input.
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }
}

impl From<EngineError> for ApiError {
    /// Judges each error of the engine; causes, paths and offsets go to the log alone.
    fn from(error: EngineError) -> Self {
        match &error {
            EngineError::Poisoned => {
                Self::new(Code::ReadOnly, "writes are refused after a failed sync, until the server restarts")
            }
            EngineError::DiskFull { .. } => {
                Self::new(Code::ReadOnly, "the disk is full; writes resume when there is space")
            }
            EngineError::Overloaded { .. } => {
                Self::new(Code::Overloaded, "too much is waiting to become durable")
            }
            EngineError::RowsExpired { since } => {
                let since = Rfc3339((*since).clamp(instant::MIN, instant::MAX));
                let detail = format!("rows of before {since} are not kept, and rollups do not answer this");
                Self::new(Code::RowsExpired, detail)
            }
            EngineError::Closed => Self::not_ready(),
            EngineError::IdempotencyMismatch => {
                Self::new(Code::IdempotencyMismatch, "the idempotency key was used with another body")
            }
            EngineError::QueryLimit { what, limit } => Self::new(
                Code::TooManyCells,
                format!("the question needs too much: {what} is limited to {limit}"),
            ),
            EngineError::QueryDeadline { limit } => Self::new(
                Code::Overloaded,
                format!(
                    "the question took longer than {limit:?}; a shorter window or fewer groups take less"
                ),
            ),
            // Nobody reads this: the client has left.
            EngineError::Cancelled => Self::new(Code::Overloaded, "the question was stopped"),
            EngineError::Invalid { reason } => Self::invalid_at("", "invalid", reason.clone()),
            EngineError::Corrupt { .. } => {
                tracing::error!(error = &error as &dyn std::error::Error, "damaged data was met");
                Self::new(Code::Damaged, "stored data is damaged")
            }
            _ => {
                tracing::error!(error = &error as &dyn std::error::Error, "the engine failed");
                Self::internal()
            }
        }
    }
}

/// The body of an error, RFC 9457.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem<'a> {
    /// A stable URI reference that ends in the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// A summary, the same for every occurrence of the code.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time.
    pub detail: &'a str,
    /// The path of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<&'a str>,
    /// For programs.
    pub code: Code,
    /// Finds the request in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<&'a str>,
    /// The places in the input.
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    pub errors: &'a [FieldError],
}

impl ApiError {
    /// The JSON of this error.
    pub fn to_json(&self, request_id: Option<&str>, instance: Option<&str>) -> Vec<u8> {
        let problem = Problem {
            kind: format!("{TYPE_BASE}{}", self.code.name()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: &self.detail,
            instance,
            code: self.code,
            request_id,
            errors: &self.errors,
        };
        serde_json::to_vec(&problem).unwrap_or_default()
    }

    /// The whole answer; [`crate::http::middleware::problem`] adds the request's id and path.
    pub fn to_response(&self, request_id: Option<&str>, instance: Option<&str>) -> Response {
        let mut response = Response::new(Body::from(self.to_json(request_id, instance)));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code == Code::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.to_response(None, None);
        response.extensions_mut().insert(self);
        response
    }
}
