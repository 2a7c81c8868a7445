//! The accept loop: connections, their limits, and a graceful end.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower::ServiceExt;

use super::connection::{Activity, OpenBody, Patience, WatchedStream};
use super::middleware::context::Peer;

/// Limits of the accept loop.
#[derive(Debug, Clone, Copy)]
pub struct ServeLimits {
    /// Connections that are open at once; further ones wait in the kernel.
    pub connections_max: usize,
    /// How long connections may keep the server waiting.
    pub patience: Patience,
    /// How long open requests may take once the server stops.
    pub shutdown_timeout: Duration,
}

/// Streams one HTTP/2 connection may have open.
const STREAMS_PER_CONNECTION_MAX: u32 = 256;

/// Bytes of the head of one HTTP/2 request.
const HEADER_LIST_BYTES_MAX: u32 = 64 << 10;

/// Time between pings on a silent HTTP/2 connection, and for their answers.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// Serves `app` on `listener` until `shutdown` is ready, then lets open requests end.
///
/// Returns `true` when all of them ended before the deadline.
///
/// # Errors
///
/// Only when the listener itself is broken; a connection that fails is a matter of its own.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    limits: ServeLimits,
    shutdown: impl Future<Output = ()>,
) -> io::Result<bool> {
    let connections = Arc::new(Semaphore::new(limits.connections_max.min(Semaphore::MAX_PERMITS)));
    let graceful = GracefulShutdown::new();
    let builder = Arc::new(builder());
    tokio::pin!(shutdown);
    loop {
        let accepted = async {
            let permit = Arc::clone(&connections).acquire_owned().await.map_err(io::Error::other)?;
            listener.accept().await.map(|(stream, peer)| (stream, peer, permit))
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            () = &mut shutdown => break,
        };
        let (stream, peer, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                // Out of file descriptors, most likely: others will close theirs.
                tracing::warn!(%error, "no connection could be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // An answer is one small write; waiting for more would only delay it.
        let _ = stream.set_nodelay(true);
        let (builder, app, watcher) = (Arc::clone(&builder), app.clone(), graceful.watcher());
        tokio::spawn(async move {
            serve_connection(&builder, stream, peer, app, limits.patience, watcher).await;
            drop(permit);
        });
    }
    drop(listener);
    Ok(tokio::time::timeout(limits.shutdown_timeout, graceful.shutdown()).await.is_ok())
}

/// Whether an error of `accept` is about the one connection that it would have been.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Deadlines of heads are kept by `Activity`: hyper's own would also end idle connections.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL);
    builder
}

/// Serves one connection until either side ends it or it keeps the server waiting for too long.
async fn serve_connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    builder: &auto::Builder<TokioExecutor>,
    stream: S,
    peer: SocketAddr,
    app: Router,
    patience: Patience,
    watcher: Watcher,
) {
    let activity = Activity::new();
    let io = TokioIo::new(WatchedStream::new(stream, Arc::clone(&activity)));
    let service = ConnectionService { app, peer: Peer(peer), activity: Arc::clone(&activity) };
    let connection = watcher.watch(builder.serve_connection(io, service).into_owned());
    tokio::select! {
        result = connection => {
            if let Err(error) = result {
                tracing::debug!(%peer, error = &*error, "connection ended");
            }
        }
        reason = activity.expired(patience) => tracing::debug!(%peer, ?reason, "connection closed"),
    }
}

/// The application as one connection sees it.
#[derive(Debug, Clone)]
struct ConnectionService {
    app: Router,
    peer: Peer,
    activity: Arc<Activity>,
}

impl hyper::service::Service<Request<Incoming>> for ConnectionService {
    type Response = Response<OpenBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let open = self.activity.begin_request(request.version() == Version::HTTP_2);
        request.extensions_mut().insert(self.peer);
        let answer = self.app.clone().oneshot(request.map(Body::new));
        Box::pin(async move { Ok(answer.await?.map(|body| OpenBody::new(body, open))) })
    }
}

#[cfg(test)]
mod tests;
