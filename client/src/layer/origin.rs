//! Where a request came from: address, user agent, ids of the request and its trace.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header, request, response};

/// Most characters of a user agent that the server takes.
const USER_AGENT_CHARS_MAX: usize = 1024;
/// Most bytes of an id of a request.
const REQUEST_ID_BYTES_MAX: usize = 128;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address a request came from, put into its extensions by whoever knows it.
///
/// With axum an outer layer copies it from `ConnectInfo<SocketAddr>`, or
/// [`InsightsLayer::client_address`](crate::InsightsLayer::client_address) is given a function that reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// The address in the extensions: a [`ClientAddress`], an [`IpAddr`] or a [`SocketAddr`].
pub(crate) fn address_of(parts: &request::Parts) -> Option<IpAddr> {
    let extensions = &parts.extensions;
    let client = extensions.get::<ClientAddress>().map(|client| client.0);
    client.or_else(|| extensions.get::<IpAddr>().copied()).or_else(|| extensions.get().map(SocketAddr::ip))
}

/// The client's address as `proxies` trusted proxies in front of the service saw it, from `X-Forwarded-For`.
///
/// Each proxy appends the address it was called from, so the one that counts is the `proxies`th from the right; what
/// stands left of it is the client's own word. None when there are fewer, or it is not an address.
pub fn forwarded_for(headers: &HeaderMap, proxies: usize) -> Option<IpAddr> {
    let values = headers.get_all(FORWARDED_FOR).iter();
    let values: Vec<&str> = values.map(|value| value.to_str().unwrap_or_default()).collect();
    let mut from_the_right = values.iter().rev().flat_map(|value| value.rsplit(','));
    from_the_right.nth(proxies.checked_sub(1)?)?.trim().parse().ok()
}

/// The user agent, cut to what the server takes.
pub(crate) fn user_agent_of(headers: &HeaderMap) -> Option<String> {
    let agent = headers.get(header::USER_AGENT)?.to_str().ok()?;
    Some(agent.chars().take(USER_AGENT_CHARS_MAX).collect())
}

/// The id of the request: what the client sent, else what the inner service answered.
pub(crate) fn request_id_of(request: Option<&str>, response: Option<&response::Parts>) -> Option<String> {
    let id = request.map(str::to_owned);
    id.or_else(|| response.and_then(|parts| request_id(&parts.headers)))
}

/// A sane `X-Request-Id`.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let is_sane =
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    is_sane.then(|| id.to_owned())
}

/// The trace id of `traceparent` (W3C Trace Context, section 3.2): 32 lower-case hexadecimal digits, not all zero.
pub(crate) fn trace_id(headers: &HeaderMap) -> Option<String> {
    let mut fields = headers.get(TRACEPARENT)?.to_str().ok()?.split('-');
    let (version, trace) = (fields.next()?, fields.next()?);
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_valid =
        version.len() == 2 && version != "ff" && is_hex(version) && trace.len() == 32 && is_hex(trace);
    (is_valid && trace.bytes().any(|byte| byte != b'0')).then(|| trace.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_address_is_what_the_outermost_trusted_proxy_saw() {
        let of = |values: &[&str], proxies| {
            forwarded_for(&headers(&FORWARDED_FOR, values), proxies).map(|ip| ip.to_string())
        };
        assert_eq!(of(&["6.6.6.6, 10.0.0.1"], 1).as_deref(), Some("10.0.0.1"));
        assert_eq!(of(&["6.6.6.6, 10.0.0.1", "::1"], 2).as_deref(), Some("10.0.0.1"));
        assert_eq!(of(&["6.6.6.6"], 0), None);
        assert_eq!(of(&["6.6.6.6"], 2), None);
        assert_eq!(of(&["6.6.6.6, unknown"], 1), None);
        assert_eq!(of(&[], 1), None);
    }

    #[test]
    fn ids_of_traces_and_requests_are_taken_when_they_are_sane() {
        let trace = |value: &str| trace_id(&headers(&TRACEPARENT, &[value]));
        let id = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(trace(&format!("00-{id}-b7ad6b7169203331-01")).as_deref(), Some(id));
        for wrong in [
            "",
            "00",
            &format!("ff-{id}-1-01"),
            &format!("00-{}-1-01", "0".repeat(32)),
            &format!("00-{}", &id[1..]),
        ] {
            assert_eq!(trace(wrong), None, "{wrong}");
        }
        let request = |value: &str| request_id(&headers(&REQUEST_ID, &[value]));
        assert_eq!(request("r-1").as_deref(), Some("r-1"));
        assert_eq!((request(""), request("a b"), request(&"x".repeat(129))), (None, None, None));
    }
}
