//! The background task of one stream: waits for a batch, sends it until it is settled, goes on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::Full;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::clock::Clock;
use crate::exchange::{Exchange, Verdict, judge};
use crate::queue::{Next, Outcome, Queue};
use crate::retry::{Jitter, RetryPolicy};

/// Names a batch to the server, so that sending it again is safe.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How far the client has come on its way out; it goes forward only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Records are taken and sent.
    Open,
    /// Records are not taken any more; those there are sent, with every attempt they have.
    Draining,
    /// Nobody waits for the rest: one attempt each, and the end at the first that fails.
    Last,
    /// The end, at once.
    Stopped,
}

/// How a lane sends.
#[derive(Debug, Clone)]
pub(crate) struct Sending {
    pub(crate) authorization: HeaderValue,
    pub(crate) request_timeout: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) clock: Clock,
}

/// The task of one stream.
pub(crate) struct Lane {
    pub(crate) queue: Arc<Queue>,
    pub(crate) exchange: Arc<dyn Exchange>,
    pub(crate) sending: Sending,
    pub(crate) uri: Uri,
    pub(crate) phase: Arc<watch::Sender<Phase>>,
    pub(crate) jitter: Jitter,
    /// What every idempotency key of this lane begins with: unique to it.
    pub(crate) key_prefix: String,
    /// Batches so far.
    pub(crate) batches: u64,
}

/// A request's worth of records.
struct Batch {
    key: HeaderValue,
    body: Bytes,
    records: usize,
}

impl Drop for Lane {
    /// Whatever ends the task, a panic included, nobody waits for its records for ever.
    fn drop(&mut self) {
        self.queue.abandon("the client was shut down before the record was sent");
    }
}

impl Lane {
    /// Sends until the client is closed and nothing is left, or it is stopped.
    pub(crate) async fn run(mut self) {
        let mut phase = self.phase.subscribe();
        tokio::select! {
            () = self.work() => {}
            // The sender lives in `self`, so that waiting cannot fail.
            _ = phase.wait_for(|phase| *phase == Phase::Stopped) => {}
        }
    }

    async fn work(&mut self) {
        while let Some(batch) = self.next().await {
            let outcome = self.deliver(&batch).await;
            let is_down = outcome.dropped > 0;
            self.queue.settle(outcome);
            if is_down && self.phase() >= Phase::Last {
                return;
            }
        }
    }

    fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits for the next batch; nothing when there will be none.
    async fn next(&mut self) -> Option<Batch> {
        let mut changes = self.phase.subscribe();
        let mut until: Option<Instant> = None;
        loop {
            let closing = *changes.borrow_and_update() != Phase::Open;
            let is_over = until.is_some_and(|until| Instant::now() >= until);
            match self.queue.take(closing || is_over) {
                Next::Batch(body, records) => return Some(self.seal(body, records)),
                Next::Later => {
                    until.get_or_insert_with(|| Instant::now() + self.queue.limits().flush_interval);
                }
                Next::Nothing if closing => return None,
                Next::Nothing => until = None,
            }
            tokio::select! {
                () = self.queue.wake.notified() => {}
                _ = changes.changed() => {}
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
            }
        }
    }

    fn seal(&mut self, body: Vec<u8>, records: usize) -> Batch {
        self.batches += 1;
        let key = format!("{}-{}", self.key_prefix, self.batches);
        #[expect(
            clippy::expect_used,
            reason = "hexadecimal digits, a name of ours and a number are visible ASCII"
        )]
        let key = HeaderValue::try_from(key).expect("a key is visible ASCII");
        Batch { key, body: body.into(), records }
    }

    /// Sends a batch, again if need be, until it is settled or given up.
    async fn deliver(&mut self, batch: &Batch) -> Outcome {
        let mut attempts = 0;
        loop {
            // Judged before the attempt: a client that closes meanwhile still has one attempt.
            let is_last = self.phase() >= Phase::Last;
            attempts += 1;
            let reply = self.attempt(batch).await;
            let (error, retry_after) = match judge(reply, batch.records, self.sending.clock.now()) {
                Verdict::Settled(outcome) => {
                    if let Some(error) = &outcome.error {
                        tracing::warn!(uri = %self.uri, rejected = outcome.rejected, error, "records were rejected");
                    }
                    return outcome;
                }
                Verdict::Again { error, retry_after } => (error, retry_after),
            };
            let delay = self.sending.retry.delay(attempts, retry_after, self.jitter.next());
            let Some(delay) = delay.filter(|_| !is_last) else {
                tracing::warn!(uri = %self.uri, attempts, records = batch.records, error, "records were given up");
                let error = Some(format!("given up after {attempts} attempts: {error}"));
                return Outcome { dropped: batch.records, error, ..Outcome::default() };
            };
            tracing::debug!(uri = %self.uri, attempts, ?delay, error, "a request is to be sent again");
            let mut phase = self.phase.subscribe();
            tokio::select! {
                () = sleep(delay) => {}
                _ = phase.wait_for(|phase| *phase >= Phase::Last) => {}
            }
            self.queue.retried(error);
        }
    }

    /// Sends a batch once.
    async fn attempt(&self, batch: &Batch) -> Result<crate::exchange::Reply, String> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header(header::AUTHORIZATION, self.sending.authorization.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("insights-client/", env!("CARGO_PKG_VERSION")))
            .header(IDEMPOTENCY_KEY, batch.key.clone())
            .body(Full::new(batch.body.clone()))
            .map_err(|error| error.to_string())?;
        let limit = self.sending.request_timeout;
        let reply = timeout(limit, self.exchange.exchange(request)).await;
        reply.unwrap_or_else(|_| Err(format!("no answer within {} ms", limit.as_millis())))
    }
}
