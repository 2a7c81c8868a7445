//! One request to a running server, over plain HTTP.

use axum::body::Bytes;
use axum::http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::ProgramError;

/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A running server and the credential for it.
#[derive(Debug)]
pub(super) struct Server {
    base: Uri,
    key: String,
}

impl Server {
    /// A server at `http://host:port`.
    ///
    /// # Errors
    ///
    /// When the URL is none of this form.
    pub(super) fn new(url: &str, key: &str) -> Result<Self, ProgramError> {
        let wrong = || ProgramError::Refused(format!("{url}: a server's URL is http://HOST:PORT"));
        let base: Uri = url.parse().map_err(|_| wrong())?;
        if base.scheme_str() != Some("http") || base.host().is_none() {
            return Err(wrong());
        }
        Ok(Self { base, key: key.to_owned() })
    }

    /// Sends one request and returns the body of the answer.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached, or refuses: then with the detail of its problem.
    pub(super) fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Bytes, ProgramError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.exchange(method, path, body))
    }

    async fn exchange(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Bytes, ProgramError> {
        let other = |error: hyper::Error| ProgramError::Io(std::io::Error::other(error));
        let (host, port) = (self.base.host().unwrap_or_default(), self.base.port_u16().unwrap_or(80));
        let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(other)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, format!("{host}:{port}"))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| ProgramError::Refused(error.to_string()))?;
        let answer = sender.send_request(request).await.map_err(other)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let bytes = body.map_err(|error| ProgramError::Io(std::io::Error::other(error)))?.to_bytes();
        if status.is_success() { Ok(bytes) } else { Err(refusal(status, &bytes)) }
    }
}

/// What a server says when it refuses.
fn refusal(status: StatusCode, body: &[u8]) -> ProgramError {
    let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let said = |name: &str| problem.get(name).and_then(serde_json::Value::as_str).unwrap_or("no details");
    ProgramError::Refused(format!("the server refused ({status}): {}: {}", said("title"), said("detail")))
}
