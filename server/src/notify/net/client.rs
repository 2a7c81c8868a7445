//! One POST and its answer over HTTP/1.1: no redirect is followed, no proxy asked, no more read than is needed.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use insights_engine::time::TimestampUs;

use super::connect::{ConnectError, Connector};
use crate::config::notify::Authorities;
use crate::notify::target_url::TargetUrl;

/// How long a request may take, from the look-up of the name to the last byte of the answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Most bytes of an answer that are read.
pub const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Most bytes of the head of an answer.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// What requests say who they are from.
const USER_AGENT: &str = concat!("Insights/", env!("CARGO_PKG_VERSION"));

#[cfg(feature = "tls")]
type Transport = hyper_rustls::HttpsConnector<Connector>;
#[cfg(not(feature = "tls"))]
type Transport = Connector;

/// What a receiver answered.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// How long it asks to wait.
    pub retry_after: Option<Duration>,
    /// The beginning of the body; empty when it broke off or was too long.
    pub body: Bytes,
}

/// No answer. The texts are shown to those whose channel it is.
#[derive(Debug, thiserror::Error)]
pub enum NoReply {
    /// The address may not be connected to.
    #[error("the host leads to an address that is not allowed")]
    Refused,
    /// `https` in a program that was built without it.
    #[error("this server was built without https")]
    NoTls,
    /// The request could not be made: a header that is none.
    #[error("the request could not be made")]
    Malformed,
    /// Nobody answers, or not in HTTP, or not who the name says.
    #[error("{0}")]
    Failed(String),
    /// It took too long.
    #[error("no answer within {} seconds", REQUEST_TIMEOUT.as_secs())]
    TimedOut,
}

/// Sends requests to receivers. Cheap to clone.
#[derive(Clone)]
pub struct HttpClient {
    client: legacy::Client<Transport, Full<Bytes>>,
}

impl HttpClient {
    /// A client over connections of `connector`, which trusts these authorities and those of Mozilla's list.
    pub fn new(connector: Connector, authorities: &Authorities) -> Self {
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        // A connection is used once: its address is judged for each request.
        builder.pool_max_idle_per_host(0).retry_canceled_requests(false).http1_max_buf_size(HEAD_BYTES_MAX);
        Self { client: builder.build(transport(connector, authorities)) }
    }

    /// Posts JSON with further headers and gives the answer, whatever its status.
    ///
    /// # Errors
    ///
    /// [`NoReply`].
    pub async fn post(
        &self,
        url: &TargetUrl,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
        now: TimestampUs,
    ) -> Result<Reply, NoReply> {
        if url.is_https() && !cfg!(feature = "tls") {
            return Err(NoReply::NoTls);
        }
        let uri: Uri = url.expose().parse().map_err(|_| NoReply::Malformed)?;
        let mut request = Request::post(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "*/*")
            .header(header::USER_AGENT, USER_AGENT);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|_| NoReply::Malformed)?;
        let exchange = async {
            let (head, body) =
                self.client.request(request).await.map_err(|error| judge(&error))?.into_parts();
            let retry_after = head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
            let retry_after = retry_after.and_then(|value| parse_retry_after(value, now));
            // The status has decided already; a body that breaks off costs the details alone.
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            Ok(Reply { status: head.status, retry_after, body })
        };
        tokio::time::timeout(REQUEST_TIMEOUT, exchange).await.map_err(|_| NoReply::TimedOut)?
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

#[cfg(feature = "tls")]
fn transport(connector: Connector, authorities: &Authorities) -> Transport {
    let mut roots: rustls::RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    // Each of them was looked at when the settings were.
    roots.add_parsable_certificates(authorities.certificates().map(Into::into));
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let https = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls);
    https.https_or_http().enable_http1().wrap_connector(connector)
}

#[cfg(not(feature = "tls"))]
fn transport(connector: Connector, _: &Authorities) -> Transport {
    connector
}

/// Finds out what a failed request failed of.
fn judge(error: &(dyn StdError + 'static)) -> NoReply {
    let mut cause = Some(error);
    let mut last = String::new();
    while let Some(error) = cause {
        match error.downcast_ref::<ConnectError>() {
            Some(ConnectError::Refused) => return NoReply::Refused,
            Some(ConnectError::TimedOut) => return NoReply::TimedOut,
            Some(other) => return NoReply::Failed(other.to_string()),
            None => {}
        }
        last = error.to_string();
        cause = error.source();
    }
    // The innermost says the most: hyper's own texts are only what it was doing.
    NoReply::Failed(format!("the exchange failed: {last}"))
}

/// Reads `Retry-After`: seconds, or the date of RFC 9110 section 10.2.3.
fn parse_retry_after(value: &str, now: TimestampUs) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u32>() {
        return Some(Duration::from_secs(u64::from(seconds)));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    let us = at.as_microsecond().saturating_sub(now.0);
    Some(Duration::from_micros(u64::try_from(us).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = TimestampUs(1_700_000_000_000_000);
        let read = |value: &str| parse_retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(read(" 120 "), Some(120));
        assert_eq!(read("Tue, 14 Nov 2023 22:14:20 GMT"), Some(60));
        assert_eq!(read("Tue, 14 Nov 2023 22:12:20 GMT"), Some(0), "it is over");
        for wrong in ["", "-1", "soon", "99999999999", "2023-11-14T22:14:20Z"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
