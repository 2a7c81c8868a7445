//! Who asks from where: the request's id, its trace, its address; kept for logs and records.

use std::net::IpAddr;
use std::sync::Arc;

/// What is known of a request before it is read.
#[derive(Debug, Clone, Default)]
pub struct RequestContext {
    /// From `X-Request-Id` when sane, else made.
    pub request_id: Arc<str>,
    /// The trace id of `traceparent`, 32 hexadecimal digits.
    pub trace_id: Option<Arc<str>>,
    /// Where it comes from, looking through trusted proxies.
    pub ip_address: Option<IpAddr>,
    /// The `User-Agent` header, at most 1 KiB of it.
    pub user_agent: Option<Arc<str>>,
}
