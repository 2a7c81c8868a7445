//! Every error leaves as a problem with the request's id and path, whoever made it.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::Response;

use super::context::RequestContext;
use crate::http::error::{ApiError, Code};

/// Rewrites an answer that is an error; any other is left alone.
///
/// Our own errors get the id and the path. What a layer below refused (an unknown encoding, a
/// broken path) gets the code of its status; its headers, such as `Allow`, stay.
pub fn finish(response: Response, context: &RequestContext, path: &str) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let error = match parts.extensions.remove::<ApiError>() {
        Some(error) => error,
        None if is_problem(&parts.headers) => return Response::from_parts(parts, body),
        None => of_status(status),
    };
    let (made, body) = error.to_response(Some(&context.request_id), Some(path)).into_parts();
    parts.status = made.status;
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.extend(made.headers);
    Response::from_parts(parts, body)
}

fn is_problem(headers: &axum::http::HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value == crate::http::error::PROBLEM_JSON)
}

/// The error that a bare status stands for.
fn of_status(status: StatusCode) -> ApiError {
    match status {
        StatusCode::NOT_FOUND => ApiError::not_found(),
        StatusCode::METHOD_NOT_ALLOWED => {
            ApiError::new(Code::MethodNotAllowed, "the Allow header names the methods of this path")
        }
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(Code::PayloadTooLarge, "the body is too large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ApiError::new(
            Code::UnsupportedMediaType,
            "Content-Encoding may be gzip, deflate, zstd or br; one at a time",
        ),
        StatusCode::UNAUTHORIZED => ApiError::unauthenticated(),
        StatusCode::FORBIDDEN => ApiError::forbidden(),
        StatusCode::SERVICE_UNAVAILABLE => ApiError::not_ready(),
        status if status.is_server_error() => ApiError::internal(),
        _ => ApiError::invalid_at("", "invalid", "the request is not well formed"),
    }
}

/// The answer to a request whose handler panicked; the message goes to the log.
#[expect(clippy::needless_pass_by_value, reason = "the layer gives the payload away")]
pub fn after_panic(payload: Box<dyn std::any::Any + Send + 'static>) -> Response<Body> {
    let message = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    tracing::error!(panic = message, "a handler panicked");
    axum::response::IntoResponse::into_response(ApiError::internal())
}
