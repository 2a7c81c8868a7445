//! The outermost middleware, one for all: context, canonical path, errors, headers, counts, log.
//!
//! One function instead of a layer each, because it stands in front of every ingest request.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use insights_engine::clock::Clock;

use super::context::{Peer, REQUEST_ID, RequestContext};
use super::measure::HttpMetrics;
use super::{path, problem};
use crate::config::Network;

/// What the outermost middleware needs. Cheap to clone.
#[derive(Clone)]
pub struct Edge(Arc<Shared>);

/// What an [`Edge`] has.
struct Shared {
    trusted_proxies: Vec<Network>,
    clock: Arc<dyn Clock>,
    ids: RequestIds,
    metrics: HttpMetrics,
}

impl Edge {
    /// An edge that believes `trusted_proxies` and makes request ids that start with `seed`.
    pub fn new(trusted_proxies: &[Network], clock: Arc<dyn Clock>, seed: u64, metrics: HttpMetrics) -> Self {
        let ids = RequestIds { seed, next: AtomicU64::new(0) };
        Self(Arc::new(Shared { trusted_proxies: trusted_proxies.to_vec(), clock, ids, metrics }))
    }
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edge").field("trusted_proxies", &self.0.trusted_proxies).finish_non_exhaustive()
    }
}

/// Makes ids that no other run of the server makes: a random half and a counter.
#[derive(Debug)]
struct RequestIds {
    seed: u64,
    next: AtomicU64,
}

impl RequestIds {
    fn make(&self) -> Arc<str> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}{number:016x}", self.seed).into()
    }
}

/// Takes a request in and its answer out.
pub async fn edge(State(Edge(edge)): State<Edge>, mut request: Request, next: Next) -> Response {
    let _in_flight = edge.metrics.begin();
    let started = edge.clock.monotonic();
    let peer = request.extensions().get::<Peer>().copied();
    let context = RequestContext::new(request.headers(), peer, &edge.trusted_proxies, || edge.ids.make());
    path::canonical(request.uri_mut());
    canonical_encoding(request.headers_mut());
    let (uri, method) = (request.uri().clone(), method_name(request.method()));
    request.extensions_mut().insert(context.clone());

    let response = next.run(request).await;

    let mut response = problem::finish(response, &context, uri.path());
    let label = path::label(uri.path());
    headers(&mut response, &context, uri.path());
    let (status, took) = (response.status().as_u16(), edge.clock.monotonic().saturating_sub(started));
    edge.metrics.observe(label, method, status, took);
    log(label, method, uri.path(), status, took, &context);
    response
}

/// Writes the coding of the body as the layer that undoes it knows it: names of codings are the same in
/// any case, and `x-gzip` is `gzip` (RFC 9110, section 8.4.1).
fn canonical_encoding(headers: &mut HeaderMap) {
    let Some(value) = headers.get_mut(header::CONTENT_ENCODING) else { return };
    let known = [
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("deflate", "deflate"),
        ("zstd", "zstd"),
        ("br", "br"),
        ("identity", "identity"),
    ];
    let same = |(name, _): &&(&str, &str)| value.as_bytes().eq_ignore_ascii_case(name.as_bytes());
    if let Some((_, canonical)) = known.iter().find(same) {
        *value = HeaderValue::from_static(canonical);
    }
}

/// Headers of every answer.
fn headers(response: &mut Response, context: &RequestContext, path: &str) {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&context.request_id) {
        headers.insert(HeaderName::from_static(REQUEST_ID), id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Whatever lies below the API may be a tenant's data; what is not says so itself.
    if path.starts_with("/api/") && !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// One line a request, without its query and headers, which may hold what nobody should read.
fn log(
    label: &str,
    method: &str,
    path: &str,
    status: u16,
    took: std::time::Duration,
    context: &RequestContext,
) {
    let elapsed_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let request_id = &*context.request_id;
    if status >= 500 {
        tracing::warn!(target: "insights_server::access", method, path, status, elapsed_us, request_id);
    } else if matches!(label, "track" | "metrics" | "healthz" | "readyz" | "own_metrics") {
        // Too many to be worth a line each.
        tracing::debug!(target: "insights_server::access", method, path, status, elapsed_us, request_id);
    } else {
        tracing::info!(target: "insights_server::access", method, path, status, elapsed_us, request_id);
    }
}

/// The method as a label: a name of few, whatever a client sends.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_codings_are_the_same_in_any_case() {
        for (given, canonical) in
            [("GZip", "gzip"), ("x-gzip", "gzip"), ("BR", "br"), ("lzma", "lzma"), ("gzip, br", "gzip, br")]
        {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(given));
            canonical_encoding(&mut headers);
            assert_eq!(headers[header::CONTENT_ENCODING], canonical, "{given}");
        }
    }
}
