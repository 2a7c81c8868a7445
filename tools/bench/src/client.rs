//! One keep-alive connection to the server, with one request in flight.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Uri};
use hyper_util::rt::TokioIo;
use insights_server::http::timing::SERVER_TIMING;
use tokio::net::TcpStream;

use crate::error::BenchError;
use crate::load::micros;

/// Bytes of an error's body that are told.
const TOLD_CHARS: usize = 300;

/// Where and as whom requests are sent.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    host: String,
    port: u16,
    authorization: HeaderValue,
}

impl Server {
    /// The server at `url`, with an API key.
    ///
    /// # Errors
    ///
    /// [`BenchError::Url`] when the URL is not `http://host[:port]`; a key that no header can carry.
    pub(crate) fn new(url: &str, key: &str) -> Result<Self, BenchError> {
        let wrong = || BenchError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        if uri.scheme_str() != Some("http") || !matches!(uri.path(), "" | "/") {
            return Err(wrong());
        }
        let host = uri.host().ok_or_else(wrong)?;
        // A socket address has no brackets around IPv6.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let authorization = HeaderValue::from_str(&format!("Bearer {key}"));
        let authorization = authorization.map_err(|_| BenchError::refused(401, "the key is no header"))?;
        Ok(Self { host, port: uri.port_u16().unwrap_or(80), authorization })
    }
}

/// What is asked of a server. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    method: Method,
    uri: Uri,
    body: Bytes,
}

impl Request {
    /// JSON that is sent to a path.
    ///
    /// # Errors
    ///
    /// When the path is none.
    pub(crate) fn post(path: &str, body: impl Into<Bytes>) -> Result<Self, BenchError> {
        Ok(Self { method: Method::POST, uri: uri(path)?, body: body.into() })
    }

    /// A path, with its query, that is read.
    ///
    /// # Errors
    ///
    /// When the path is none.
    pub(crate) fn get(path: &str) -> Result<Self, BenchError> {
        Ok(Self { method: Method::GET, uri: uri(path)?, body: Bytes::new() })
    }

    /// The same with another body.
    pub(crate) fn with_body(&self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self.clone() }
    }

    /// Bytes of its body.
    pub(crate) fn body_bytes(&self) -> u64 {
        self.body.len() as u64
    }
}

fn uri(path: &str) -> Result<Uri, BenchError> {
    path.parse().map_err(|_| BenchError::refused(0, format!("{path} is no path of a server")))
}

/// A connection that is made when it is needed, and again after it broke.
#[derive(Debug)]
pub(crate) struct Client {
    server: Server,
    connection: Option<SendRequest<Full<Bytes>>>,
    server_us: Option<u64>,
}

impl Client {
    /// Not yet connected.
    pub(crate) fn new(server: Server) -> Self {
        Self { server, connection: None, server_us: None }
    }

    /// Microseconds that the last answer took in the server, as its `Server-Timing` says.
    pub(crate) fn server_us(&self) -> Option<u64> {
        self.server_us
    }

    /// Sends a request and reads the answer, whole.
    ///
    /// # Errors
    ///
    /// [`BenchError::Refused`] for any other answer than a 2xx, [`BenchError::Http`], [`BenchError::NoServer`],
    /// [`BenchError::Io`]; after any of the last three the next call connects anew.
    pub(crate) async fn send(&mut self, request: &Request) -> Result<Bytes, BenchError> {
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => self.connect().await?,
        };
        connection.ready().await?;
        let response = connection.send_request(self.build(request)?).await?;
        let status = response.status();
        let timing = response.headers().get(&SERVER_TIMING).and_then(|value| value.to_str().ok());
        self.server_us = timing.and_then(engine_us);
        let answer = response.into_body().collect().await?.to_bytes();
        self.connection = Some(connection);
        if !status.is_success() {
            let text: String = String::from_utf8_lossy(&answer).chars().take(TOLD_CHARS).collect();
            return Err(BenchError::refused(status.as_u16(), text));
        }
        Ok(answer)
    }

    /// Sends a request and gives the body of the answer as it comes; the connection is the body's alone.
    ///
    /// # Errors
    ///
    /// As [`Self::send`].
    pub(crate) async fn stream(self, request: &Request) -> Result<Incoming, BenchError> {
        let mut connection = self.connect().await?;
        connection.ready().await?;
        let response = connection.send_request(self.build(request)?).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(BenchError::refused(status.as_u16(), "the stream was refused"));
        }
        // The connection lives as long as its body is read.
        Ok(response.into_body())
    }

    fn build(&self, request: &Request) -> Result<hyper::Request<Full<Bytes>>, BenchError> {
        hyper::Request::builder()
            .method(&request.method)
            .uri(&request.uri)
            .header(HOST, &self.server.host)
            .header(AUTHORIZATION, &self.server.authorization)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(Full::new(request.body.clone()))
            .map_err(|error| BenchError::refused(0, error.to_string()))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, BenchError> {
        let (host, port) = (self.server.host.as_str(), self.server.port);
        let stream = TcpStream::connect((host, port))
            .await
            .map_err(|source| BenchError::NoServer { address: format!("{host}:{port}"), source })?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the sender; its error comes out of the request that was in flight.
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// The duration of the metric `engine` in a `Server-Timing` header, microseconds.
fn engine_us(timing: &str) -> Option<u64> {
    let metric = timing.split(',').find(|metric| metric.trim().split(';').next() == Some("engine"))?;
    let ms = metric.split(';').find_map(|parameter| parameter.trim().strip_prefix("dur="))?;
    let seconds: f64 = ms.parse::<f64>().ok()? / 1e3;
    Duration::try_from_secs_f64(seconds).ok().map(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_in_the_server_is_that_of_the_metric_engine() {
        for (timing, expected) in [
            ("engine;dur=0.042", Some(42)),
            ("cache;desc=hit;dur=1, engine;desc=x;dur=2.5", Some(2_500)),
            ("engine", None),
            ("engines;dur=1", None),
            ("engine;dur=-1", None),
            ("engine;dur=x", None),
        ] {
            assert_eq!(engine_us(timing), expected, "{timing}");
        }
    }

    #[test]
    fn a_server_is_a_plain_address() {
        let server = Server::new("http://[::1]:8686/", "k").unwrap();
        assert_eq!((server.host.as_str(), server.port), ("::1", 8686));
        for bad in ["https://host", "host:1", "http://host/path", ""] {
            assert!(Server::new(bad, "k").is_err(), "{bad}");
        }
    }
}
