//! The client: takes records without blocking, and answers what became of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::builder::ClientBuilder;
use crate::clock::Clock;
use crate::lane::Phase;
use crate::queue::Queue;
use crate::record::{AuditRecord, Event, Point};
use crate::sink::Sink;
use crate::stats::Stats;

/// Sends events, audit records and points to Insights, in batches, from a background task for each stream.
///
/// Cheap to clone. None of [`track`](Self::track), [`audit`](Self::audit) and [`metric`](Self::metric) waits for
/// the network: a record is queued, or dropped and counted when the queue is full. When the last clone is dropped
/// the tasks try once more to send what is queued, and end; call [`shutdown`](Self::shutdown) to wait for it.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

/// What the clones of a client share; the tasks do not hold it.
pub(crate) struct Shared {
    pub(crate) events: Arc<Queue>,
    pub(crate) audit: Arc<Queue>,
    pub(crate) metrics: Arc<Queue>,
    pub(crate) phase: Arc<watch::Sender<Phase>>,
    pub(crate) clock: Clock,
    pub(crate) organization: Option<String>,
    pub(crate) app: Option<String>,
    /// Scheme, host, port and path; never with credentials.
    pub(crate) base: String,
}

/// Records were not settled in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{records} records were not settled within {} ms", timeout.as_millis())]
pub struct Unsettled {
    /// How many.
    pub records: usize,
    /// How long was waited.
    pub timeout: Duration,
}

impl Client {
    /// Begins to build a client of the server at `url`, such as `http://127.0.0.1:8686`, with an API key.
    pub fn builder(url: impl Into<String>, api_key: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(url.into(), api_key.into())
    }

    pub(crate) fn of(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// Queues an event; says whether there was room.
    pub fn track(&self, mut event: Event) -> bool {
        let shared = &*self.shared;
        event.timestamp.get_or_insert_with(|| shared.clock.now());
        default_to(&mut event.organization_id, shared.organization.as_ref());
        default_to(&mut event.app_id, shared.app.as_ref());
        push(&shared.events, &event)
    }

    /// Queues an audit record; says whether there was room.
    pub fn audit(&self, mut record: AuditRecord) -> bool {
        let shared = &*self.shared;
        record.timestamp.get_or_insert_with(|| shared.clock.now());
        default_to(&mut record.organization_id, shared.organization.as_ref());
        default_to(&mut record.app_id, shared.app.as_ref());
        push(&shared.audit, &record)
    }

    /// Queues a point; says whether there was room.
    pub fn metric(&self, mut point: Point) -> bool {
        let shared = &*self.shared;
        if !point.value.is_finite() {
            shared.metrics.reject(format!("the value of {} is not a finite number", point.name));
            return false;
        }
        point.timestamp.get_or_insert_with(|| shared.clock.now());
        default_to(&mut point.organization_id, shared.organization.as_ref());
        default_to(&mut point.app_id, shared.app.as_ref());
        push(&shared.metrics, &point)
    }

    /// What became of the records so far.
    pub fn stats(&self) -> Stats {
        let Shared { events, audit, metrics, .. } = &*self.shared;
        Stats { events: events.stats(), audit: audit.stats(), metrics: metrics.stats() }
    }

    /// Sends what was queued before the call, and waits until each record is sent, rejected or given up.
    ///
    /// # Errors
    ///
    /// [`Unsettled`] when that takes longer than `limit`; the records stay queued.
    pub async fn flush(&self, limit: Duration) -> Result<(), Unsettled> {
        let waited = timeout(limit, self.flushed()).await;
        waited.map_err(|_| Unsettled { records: self.unsettled(), timeout: limit })
    }

    /// Takes no more records, sends those there are, and ends the background tasks.
    ///
    /// Records that come later, from any clone, are dropped and counted.
    ///
    /// # Errors
    ///
    /// [`Unsettled`] when that takes longer than `limit`; what was left is dropped and counted.
    pub async fn shutdown(&self, limit: Duration) -> Result<(), Unsettled> {
        self.close(Phase::Draining);
        if timeout(limit, self.flushed()).await.is_ok() {
            return Ok(());
        }
        let unsettled = Unsettled { records: self.unsettled(), timeout: limit };
        self.close(Phase::Stopped);
        self.flushed().await;
        Err(unsettled)
    }

    async fn flushed(&self) {
        let Shared { events, audit, metrics, .. } = &*self.shared;
        tokio::join!(events.flushed(), audit.flushed(), metrics.flushed());
    }

    fn unsettled(&self) -> usize {
        self.shared.queues().map(Queue::unsettled).iter().sum()
    }

    fn close(&self, phase: Phase) {
        self.shared.close(phase);
    }
}

impl Shared {
    fn queues(&self) -> [&Queue; 3] {
        [&self.events, &self.audit, &self.metrics]
    }

    /// Closes the queues, then tells the tasks, so that a task that sees the phase sees every record.
    fn close(&self, phase: Phase) {
        for queue in self.queues() {
            queue.close();
        }
        self.phase.send_if_modified(|now| {
            let is_later = *now < phase;
            *now = phase.max(*now);
            is_later
        });
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close(Phase::Last);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.shared.base).finish_non_exhaustive()
    }
}

impl Sink for Client {
    fn track(&self, event: Event) -> bool {
        Client::track(self, event)
    }

    fn audit(&self, record: AuditRecord) -> bool {
        Client::audit(self, record)
    }

    fn metric(&self, point: Point) -> bool {
        Client::metric(self, point)
    }
}

fn default_to(field: &mut Option<String>, default: Option<&String>) {
    if field.is_none() {
        *field = default.cloned();
    }
}

/// Queues a record as JSON: its size is known from here on, and its memory is one allocation.
fn push<T: Serialize>(queue: &Queue, record: &T) -> bool {
    match serde_json::to_vec(record) {
        Ok(json) => queue.push(json),
        Err(error) => {
            queue.reject(error.to_string());
            false
        }
    }
}
