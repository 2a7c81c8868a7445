//! One keep-alive connection to the server, with one request in flight.

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

use crate::load::LoadError;

/// Where and as whom requests are sent.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    host: String,
    port: u16,
    path: &'static str,
    authorization: String,
}

impl Target {
    /// The route `path` of the server at `url`, with an API key.
    ///
    /// # Errors
    ///
    /// [`LoadError::Url`] when the URL is not `http://host[:port]`.
    pub(crate) fn new(url: &str, path: &'static str, key: &str) -> Result<Self, LoadError> {
        let wrong = || LoadError::Url(url.to_owned());
        let uri: hyper::Uri = url.parse().map_err(|_| wrong())?;
        if uri.scheme_str() != Some("http") || !matches!(uri.path(), "" | "/") {
            return Err(wrong());
        }
        let host = uri.host().ok_or_else(wrong)?;
        // A socket address has no brackets around IPv6.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let authorization = format!("Bearer {key}");
        Ok(Self { host, port: uri.port_u16().unwrap_or(80), path, authorization })
    }
}

/// What an ingest answer says.
#[derive(Debug, Deserialize)]
struct Answer {
    accepted: u64,
}

/// A connection that is made when it is needed, and again after it broke.
#[derive(Debug)]
pub(crate) struct Client {
    target: Target,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    /// Not yet connected.
    pub(crate) fn new(target: Target) -> Self {
        Self { target, connection: None }
    }

    /// Sends one body and gives how many of its records were accepted.
    ///
    /// # Errors
    ///
    /// [`LoadError::Refused`] for any other answer than a 2xx, [`LoadError::Http`], [`LoadError::Io`]; after either
    /// of the last two the next call connects anew.
    pub(crate) async fn send(&mut self, body: Bytes) -> Result<u64, LoadError> {
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => self.connect().await?,
        };
        connection.ready().await?;
        let request = Request::post(self.target.path)
            .header("host", &self.target.host)
            .header("authorization", &self.target.authorization)
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| LoadError::Refused(0, error.to_string()))?;
        let response = connection.send_request(request).await?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        self.connection = Some(connection);
        if !status.is_success() {
            let text: String = String::from_utf8_lossy(&answer).chars().take(300).collect();
            return Err(LoadError::Refused(status.as_u16(), text));
        }
        let answer: Answer = serde_json::from_slice(&answer)
            .map_err(|error| LoadError::Refused(status.as_u16(), error.to_string()))?;
        Ok(answer.accepted)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, LoadError> {
        let stream = TcpStream::connect((self.target.host.as_str(), self.target.port)).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the sender; its error comes out of the request that was in flight.
        tokio::spawn(connection);
        Ok(sender)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_plain_address() {
        let target = Target::new("http://[::1]:8686/", "/x", "k").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 8686));
        for bad in ["https://host", "host:1", "http://host/path", ""] {
            assert!(Target::new(bad, "/x", "k").is_err(), "{bad}");
        }
    }
}
