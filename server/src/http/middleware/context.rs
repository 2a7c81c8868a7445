//! Who asks from where: the request's id, its trace, its address; kept for logs and records.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::{HeaderMap, header};

use crate::config::Network;

/// Header that carries a request's id.
pub const REQUEST_ID: &str = "x-request-id";

/// Most bytes of a `User-Agent` that are kept.
const USER_AGENT_BYTES_MAX: usize = 1024;

/// The other end of the connection; the accept loop puts it into the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// What is known of a request before it is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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

impl RequestContext {
    /// The context of a request; `make_id` is asked when the client names none.
    pub fn new(
        headers: &HeaderMap,
        peer: Option<Peer>,
        trusted_proxies: &[Network],
        make_id: impl FnOnce() -> Arc<str>,
    ) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            request_id: text(REQUEST_ID).filter(|id| is_request_id(id)).map_or_else(make_id, Arc::from),
            trace_id: text("traceparent").and_then(trace_id).map(Arc::from),
            ip_address: peer.map(|Peer(peer)| client_address(headers, peer.ip(), trusted_proxies)),
            user_agent: headers.get(header::USER_AGENT).and_then(|value| user_agent(value.as_bytes())),
        }
    }
}

/// Whether an id of a client is taken as it is: 1 to 128 characters of `[A-Za-z0-9._:@-]`.
fn is_request_id(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'@' | b'-'))
}

/// The trace id of a W3C Trace Context header (`version-trace_id-parent_id-flags`), when it is valid.
fn trace_id(traceparent: &str) -> Option<&str> {
    let mut fields = traceparent.trim().split('-');
    let (version, trace, parent, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let hex = |text: &str, len| {
        text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let well_formed = hex(version, 2) && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    // Version 00 has four fields, later ones may have more; version ff is forbidden, zeros are no id.
    let known = version != "ff" && (version != "00" || fields.next().is_none());
    let non_zero = |text: &str| text.bytes().any(|b| b != b'0');
    (well_formed && known && non_zero(trace) && non_zero(parent)).then_some(trace)
}

/// The address of the client: the peer, or when that is a trusted proxy, the rightmost address of
/// `X-Forwarded-For` that is none. What stands further left, the client may have made up.
fn client_address(headers: &HeaderMap, peer: IpAddr, trusted_proxies: &[Network]) -> IpAddr {
    let trusted = |address: IpAddr| trusted_proxies.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    if !trusted(client) {
        return client;
    }
    let values: Vec<_> = headers.get_all("x-forwarded-for").iter().filter_map(|v| v.to_str().ok()).collect();
    for hop in values.iter().rev().flat_map(|value| value.rsplit(',')) {
        let Some(address) = parse_hop(hop.trim()) else { break };
        client = address.to_canonical();
        if !trusted(client) {
            break;
        }
    }
    client
}

/// An address of `X-Forwarded-For`: bare, or with a port.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    hop.parse()
        .ok()
        .or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

fn user_agent(bytes: &[u8]) -> Option<Arc<str>> {
    let cut = bytes.get(..USER_AGENT_BYTES_MAX).unwrap_or(bytes);
    let text = String::from_utf8_lossy(cut);
    let text = text.trim_end_matches('\u{fffd}').trim();
    (!text.is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn headers(list: &[(&str, &str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| {
                (HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    fn context(list: &[(&str, &str)]) -> RequestContext {
        let proxies = [Network::parse("10.0.0.0/8").unwrap(), Network::parse("::1").unwrap()];
        let peer = Peer("10.0.0.1:5000".parse().unwrap());
        RequestContext::new(&headers(list), Some(peer), &proxies, || "made".into())
    }

    #[test]
    fn a_sane_request_id_is_taken_and_any_other_made() {
        for (given, expected) in [
            ("abc-1.2:3@x_", "abc-1.2:3@x_"),
            ("", "made"),
            ("a b", "made"),
            ("<script>", "made"),
            (&"x".repeat(129), "made"),
        ] {
            assert_eq!(&*context(&[(REQUEST_ID, given)]).request_id, expected);
        }
    }

    #[test]
    fn a_trace_id_comes_from_a_valid_traceparent_alone() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        for (given, valid) in [
            (format!("00-{id}-b7ad6b7169203331-01"), true),
            (format!("cc-{id}-b7ad6b7169203331-01-more"), true),
            (format!("00-{id}-b7ad6b7169203331-01-more"), false),
            (format!("ff-{id}-b7ad6b7169203331-01"), false),
            (format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)), false),
            (format!("00-{}-b7ad6b7169203331-01", id.to_uppercase()), false),
            ("00-1-2-3".to_owned(), false),
            (String::new(), false),
        ] {
            let found = context(&[("traceparent", &given)]).trace_id;
            assert_eq!(found.as_deref(), valid.then_some(id), "{given}");
        }
    }

    #[test]
    fn a_forwarded_address_counts_only_behind_trusted_proxies() {
        let check = |peer: &str, forwarded: &str, expected: &str| {
            let proxies = [Network::parse("10.0.0.0/8").unwrap()];
            let list = [("x-forwarded-for", forwarded)];
            let context =
                RequestContext::new(&headers(&list), Some(Peer(peer.parse().unwrap())), &proxies, || {
                    "".into()
                });
            assert_eq!(context.ip_address, Some(expected.parse().unwrap()), "{peer} {forwarded}");
        };
        check("10.0.0.1:1", "6.6.6.6, 1.2.3.4", "1.2.3.4");
        check("10.0.0.1:1", "6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4");
        check("10.0.0.1:1", "1.2.3.4:9999", "1.2.3.4");
        check("10.0.0.1:1", "[2001:db8::1]:80", "2001:db8::1");
        check("10.0.0.1:1", "[2001:db8::1]", "2001:db8::1");
        check("10.0.0.1:1", "1.2.3.4, garbage, 10.0.0.2", "10.0.0.2");
        check("10.0.0.1:1", "", "10.0.0.1");
        check("9.9.9.9:1", "1.2.3.4", "9.9.9.9");
        check("[::ffff:10.0.0.1]:1", "1.2.3.4", "1.2.3.4");
    }

    #[test]
    fn a_long_user_agent_is_cut_at_a_character() {
        let long = format!("{}\u{e9}", "a".repeat(1023));
        let mut map = HeaderMap::new();
        map.insert(header::USER_AGENT, HeaderValue::from_bytes(long.as_bytes()).unwrap());
        let context = RequestContext::new(&map, None, &[], || "".into());
        assert_eq!(context.user_agent.unwrap().len(), 1023);
    }

    proptest! {
        #[test]
        fn no_header_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let names = ["x-forwarded-for", "traceparent", REQUEST_ID, "user-agent"];
                let map = names.into_iter().map(|n| (HeaderName::from_static(n), value.clone())).collect();
                let peer = Peer("10.0.0.1:1".parse().unwrap());
                let _ = RequestContext::new(&map, Some(peer), &[Network::parse("::/0").unwrap()], || "".into());
            }
        }
    }
}
