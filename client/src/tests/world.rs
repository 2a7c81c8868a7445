//! A server in the same process, reached through pipes, that answers as it is told and remembers every request.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::io::DuplexStream;
use tokio::sync::Notify;

use crate::builder::ClientBuilder;
use crate::client::Client;

/// The key of every client here.
pub(crate) const KEY: &str = "ins_7_secret-of-the-tests";
/// Long enough for everything that ends at all.
pub(crate) const LONG: Duration = Duration::from_hours(1);

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: serde_json::Value,
    pub(crate) at: tokio::time::Instant,
}

impl Seen {
    pub(crate) fn key(&self) -> &str {
        self.headers["idempotency-key"].to_str().unwrap()
    }

    /// The `n` of the `event_data` of each record.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.body
            .as_array()
            .unwrap()
            .iter()
            .map(|record| record["event_data"]["n"].as_u64().unwrap())
            .collect()
    }
}

/// What the server does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Reaction {
    Answer(u16, &'static str),
    RetryAfter(u16, &'static str),
    /// The request is not answered until the test ends.
    Silence,
}

#[derive(Debug, Default)]
pub(crate) struct Script {
    next: Mutex<VecDeque<Reaction>>,
    pub(crate) seen: Mutex<Vec<Seen>>,
    down: Mutex<bool>,
    pub(crate) attempts: Mutex<u32>,
    arrived: Notify,
}

impl Script {
    pub(crate) fn of(reactions: impl IntoIterator<Item = Reaction>) -> Arc<Self> {
        Arc::new(Self { next: Mutex::new(reactions.into_iter().collect()), ..Self::default() })
    }

    /// Whether connections are refused.
    pub(crate) fn set_down(&self, down: bool) {
        *self.down.lock() = down;
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// Waits for the next request.
    pub(crate) async fn arrival(&self) {
        self.arrived.notified().await;
    }

    pub(crate) fn router(self: &Arc<Self>) -> Router {
        Router::new().fallback(answer).with_state(Arc::clone(self))
    }
}

async fn answer(State(script): State<Arc<Script>>, uri: Uri, headers: HeaderMap, body: Body) -> Response {
    let body = to_bytes(body, 1 << 24).await.unwrap();
    let body = serde_json::from_slice(&body).unwrap();
    let at = tokio::time::Instant::now();
    script.seen.lock().push(Seen { path: uri.path().to_owned(), headers, body, at });
    script.arrived.notify_one();
    let reaction = script.next.lock().pop_front().unwrap_or(Reaction::Answer(202, "{}"));
    let (status, retry_after, text) = match reaction {
        Reaction::Answer(status, text) => (status, None, text),
        Reaction::RetryAfter(status, seconds) => (status, Some(seconds), "{}"),
        Reaction::Silence => std::future::pending().await,
    };
    let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
    if let Some(seconds) = retry_after {
        response = response.header("retry-after", seconds);
    }
    response.body(Body::from(text)).unwrap()
}

/// Connects to the script's server without a socket, so that nothing but the test moves the clock.
#[derive(Debug, Clone)]
pub(crate) struct Pipes(pub(crate) Arc<Script>);

/// One end of a pipe.
pub(crate) struct Pipe(TokioIo<DuplexStream>);

impl tower_service::Service<Uri> for Pipes {
    type Response = Pipe;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Pipe>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        *self.0.attempts.lock() += 1;
        let refused = *self.0.down.lock();
        let router = self.0.router();
        Box::pin(async move {
            if refused {
                return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "the server is down"));
            }
            let (near, far) = tokio::io::duplex(1 << 16);
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(far), TowerToHyperService::new(router)).await;
            });
            Ok(Pipe(TokioIo::new(near)))
        })
    }
}

impl Connection for Pipe {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl hyper::rt::Write for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// A client of the script's server with one setting changed.
pub(crate) fn client(script: &Arc<Script>, set: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Client {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let builder = Client::builder("http://insights.test/", KEY).clock(move || at);
    set(builder).build_with(Pipes(Arc::clone(script))).unwrap()
}
