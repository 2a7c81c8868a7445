//! What one connection may take its time for: activity, deadlines, and the stream that keeps them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// How long a connection may keep the server waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// From the first byte of a request (or from the start of the connection) to the end of its head.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// For the client to take the next bytes of an answer.
    pub write: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { head: Duration::from_secs(10), idle: Duration::from_mins(1), write: Duration::from_mins(1) }
    }
}

/// Why a connection is closed on a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    /// The head of a request did not arrive in time.
    Head,
    /// No request came for too long.
    Idle,
    /// The client does not take the answer.
    Write,
}

/// What a connection did last. Times are milliseconds since it began, plus 1; 0 is "not now".
#[derive(Debug)]
pub struct Activity {
    began: Instant,
    requests: AtomicU32,
    idle_since_ms: AtomicU64,
    head_since_ms: AtomicU64,
    blocked_since_ms: AtomicU64,
    multiplexed: AtomicBool,
}

impl Activity {
    /// A connection that begins now, and owes the head of its first request.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            requests: AtomicU32::new(0),
            idle_since_ms: AtomicU64::new(1),
            head_since_ms: AtomicU64::new(1),
            blocked_since_ms: AtomicU64::new(0),
            multiplexed: AtomicBool::new(false),
        })
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Bytes arrived. Between two requests of HTTP/1 they begin the next head; HTTP/2 also sends
    /// frames that are no request.
    fn received(&self, now_ms: u64) {
        let between = self.requests.load(Ordering::Relaxed) == 0 && !self.multiplexed.load(Ordering::Relaxed);
        if between && self.head_since_ms.load(Ordering::Relaxed) == 0 {
            self.head_since_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    /// A request's head is complete; the request ends when the guard is dropped.
    pub fn begin_request(self: &Arc<Self>, multiplexed: bool) -> OpenRequest {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.head_since_ms.store(0, Ordering::Relaxed);
        self.multiplexed.store(multiplexed, Ordering::Relaxed);
        OpenRequest(Arc::clone(self))
    }

    fn end_request(&self, now_ms: u64) {
        self.idle_since_ms.store(now_ms, Ordering::Relaxed);
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the connection has kept the server waiting for too long.
    fn judge(&self, now_ms: u64, patience: Patience) -> Option<Expired> {
        let longer = |since_ms: u64, limit: Duration| {
            since_ms != 0 && u128::from(now_ms.saturating_sub(since_ms)) > limit.as_millis()
        };
        if longer(self.blocked_since_ms.load(Ordering::Relaxed), patience.write) {
            return Some(Expired::Write);
        }
        if self.requests.load(Ordering::Relaxed) > 0 {
            return None;
        }
        match self.head_since_ms.load(Ordering::Relaxed) {
            0 => longer(self.idle_since_ms.load(Ordering::Relaxed), patience.idle).then_some(Expired::Idle),
            since_ms => longer(since_ms, patience.head).then_some(Expired::Head),
        }
    }

    /// Returns when the connection has kept the server waiting for too long.
    pub async fn expired(&self, patience: Patience) -> Expired {
        let shortest = patience.head.min(patience.idle).min(patience.write);
        let mut tick =
            tokio::time::interval((shortest / 8).clamp(Duration::from_millis(10), Duration::from_secs(1)));
        loop {
            tick.tick().await;
            if let Some(reason) = self.judge(self.now_ms(), patience) {
                return reason;
            }
        }
    }
}

/// One request that is being answered on a connection.
#[derive(Debug)]
pub struct OpenRequest(Arc<Activity>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.end_request(self.0.now_ms());
    }
}

/// The body of an answer; its request is open until the last byte is taken.
#[derive(Debug)]
pub struct OpenBody {
    body: Body,
    _request: OpenRequest,
}

impl OpenBody {
    /// Keeps `request` open as long as `body` lives.
    pub fn new(body: Body, request: OpenRequest) -> Self {
        Self { body, _request: request }
    }
}

impl HttpBody for OpenBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that notes when bytes arrive and when none are taken.
#[derive(Debug)]
pub struct WatchedStream<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> WatchedStream<S> {
    /// Notes what happens on `stream`.
    pub fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }

    fn note_write<T>(&self, result: Poll<T>) -> Poll<T> {
        let blocked = &self.activity.blocked_since_ms;
        if result.is_ready() {
            if blocked.load(Ordering::Relaxed) != 0 {
                blocked.store(0, Ordering::Relaxed);
            }
        } else if blocked.load(Ordering::Relaxed) == 0 {
            blocked.store(self.activity.now_ms(), Ordering::Relaxed);
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.received(self.activity.now_ms());
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note_write(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note_write(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        head: Duration::from_millis(10),
        idle: Duration::from_millis(60),
        write: Duration::from_millis(60),
    };

    #[test]
    fn a_connection_without_a_request_owes_a_head() {
        let activity = Activity::new();
        assert_eq!(activity.judge(11, PATIENCE), None);
        assert_eq!(activity.judge(12, PATIENCE), Some(Expired::Head));
    }

    #[test]
    fn a_request_that_is_answered_may_take_any_time() {
        let activity = Activity::new();
        let open = activity.begin_request(false);
        assert_eq!(activity.judge(1_000_000, PATIENCE), None);
        drop(open);
        let ended = activity.idle_since_ms.load(Ordering::Relaxed);
        assert_eq!(activity.judge(ended + 60, PATIENCE), None);
        assert_eq!(activity.judge(ended + 61, PATIENCE), Some(Expired::Idle));
    }

    #[test]
    fn the_first_byte_of_the_next_head_starts_its_clock() {
        let activity = Activity::new();
        drop(activity.begin_request(false));
        activity.received(40);
        activity.received(48);
        assert_eq!(activity.judge(50, PATIENCE), None);
        assert_eq!(activity.judge(51, PATIENCE), Some(Expired::Head));
    }

    #[test]
    fn frames_between_requests_of_http2_are_no_head() {
        let activity = Activity::new();
        drop(activity.begin_request(true));
        activity.received(40);
        assert_eq!(activity.judge(55, PATIENCE), None);
    }

    #[test]
    fn a_client_that_takes_no_bytes_is_cut_off() {
        let activity = Activity::new();
        let _open = activity.begin_request(false);
        let stream = WatchedStream::new((), Arc::clone(&activity));
        let _ = stream.note_write(Poll::<()>::Pending);
        let since = activity.blocked_since_ms.load(Ordering::Relaxed);
        assert_eq!(activity.judge(since + 61, PATIENCE), Some(Expired::Write));
        let _ = stream.note_write(Poll::Ready(()));
        assert_eq!(activity.judge(since + 61, PATIENCE), None);
    }
}
