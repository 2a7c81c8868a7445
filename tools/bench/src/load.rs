//! Sends bodies of records over many connections, in a closed or an open loop, and collects what happened.

use std::io;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::task::JoinSet;

use crate::args::Stream;
use crate::bodies::Bodies;
use crate::client::{Client, Request, Server};
use crate::error::BenchError;
use crate::histogram::Histogram;
use crate::pace::{Pace, Span};
use crate::progress::{Done, tell, to_f64};
use crate::records::{Records, Spread};

/// Records of all bodies that are made beforehand.
const RECORDS_MADE: u64 = 200_000;
/// Bodies of one client at most.
const BODIES_MAX: u64 = 64;
/// After an error: a server that refuses connections would be asked without end.
pub(crate) const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// A load of records.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// Of which stream.
    pub(crate) stream: Stream,
    /// Records of a request.
    pub(crate) batch: u32,
    /// Connections, or threads.
    pub(crate) clients: u32,
    /// Records a second, of all clients together; as many as go without it.
    pub(crate) rate: Option<u64>,
    /// The organizations, when records name them.
    pub(crate) organizations: Vec<String>,
    /// How they are spread.
    pub(crate) spread: Spread,
    /// Whether records are made while they are sent.
    pub(crate) fresh: bool,
    /// What all randomness comes from.
    pub(crate) seed: u64,
}

/// What happened.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Records that were accepted.
    pub(crate) rows: u64,
    /// Requests that were not.
    pub(crate) errors: u64,
    /// Bytes of the bodies that were answered well.
    pub(crate) bytes: u64,
    /// Latencies of the requests that were answered well, microseconds; one for each of them.
    pub(crate) latencies: Histogram,
    /// From the start to the last answer.
    pub(crate) elapsed: Duration,
}

impl Outcome {
    /// A request was answered well; its latency counts from `begun`.
    pub(crate) fn answered(&mut self, begun: Instant, rows: u64, bytes: u64) {
        self.latencies.record(micros(begun.elapsed()));
        self.rows += rows;
        self.bytes += bytes;
    }

    /// Adds what another client saw.
    pub(crate) fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.errors += other.errors;
        self.bytes += other.bytes;
        self.latencies.merge(&other.latencies);
    }
}

/// Whole microseconds.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What an ingest answer says.
#[derive(Debug, Deserialize)]
struct Answer {
    accepted: u64,
}

impl Load {
    /// Requests a second.
    pub(crate) fn requests_per_second(&self) -> Option<f64> {
        Some(to_f64(self.rate?) / f64::from(self.batch))
    }

    /// The records of client `index`.
    pub(crate) fn records(&self, index: u32) -> Records {
        let seed = self.seed.wrapping_mul(0x1_0001).wrapping_add(u64::from(index));
        Records::new(self.stream, self.spread, seed)
    }

    /// How many batches a client makes beforehand.
    pub(crate) fn batches_made(&self) -> usize {
        let share = RECORDS_MADE / u64::from(self.clients) / u64::from(self.batch);
        usize::try_from(share.clamp(1, BODIES_MAX)).unwrap_or(1)
    }

    fn bodies(&self, index: u32) -> Bodies {
        let records = self.records(index);
        if self.fresh {
            return Bodies::Fresh { records, batch: self.batch, organizations: self.organizations.clone() };
        }
        let now_ms = jiff::Timestamp::now().as_millisecond();
        Bodies::make(records, &self.organizations, (self.batches_made(), self.batch), now_ms)
    }

    /// Sends a few records of the first organization: whether the server is there, and the key may write.
    ///
    /// # Errors
    ///
    /// Whatever that request fails with; without one good answer nothing is measured.
    pub(crate) async fn send_first(&self, server: &Server, records: u32) -> Result<(), BenchError> {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let first = Self { spread: Spread::ONE, ..self.clone() }.records(self.clients);
        let mut bodies = Bodies::make(first, &self.organizations, (1, records), now_ms);
        let request = Request::post(self.stream.path(), bodies.get(0))?;
        Client::new(server.clone()).send(&request).await.map(drop)
    }
}

/// Runs a load for a while. `duration` starts once the bodies are made.
///
/// # Errors
///
/// When a task of this program dies.
pub(crate) async fn run(
    server: &Server,
    load: &Load,
    duration: Duration,
    rows: &Done,
) -> Result<Outcome, BenchError> {
    let bodies: Vec<Bodies> = (0..load.clients).map(|index| load.bodies(index)).collect();
    let to = Request::post(load.stream.path(), "")?;
    let span = Span::of(duration);
    let mut clients = JoinSet::new();
    for (bodies, index) in bodies.into_iter().zip(0..) {
        let pace = Pace::of(span, load.requests_per_second(), (index, load.clients));
        clients.spawn(send(Client::new(server.clone()), to.clone(), bodies, pace, rows.clone()));
    }
    let mut outcome = Outcome::default();
    while let Some(one) = clients.join_next().await {
        outcome.add(&one.map_err(io::Error::other)?);
    }
    outcome.elapsed = span.started.elapsed();
    Ok(outcome)
}

/// One client, until its pace ends.
async fn send(mut client: Client, to: Request, mut bodies: Bodies, mut pace: Pace, rows: Done) -> Outcome {
    let mut outcome = Outcome::default();
    for n in 0_u64.. {
        let Some(begun) = pace.next().await else { break };
        let request = to.with_body(bodies.get(n));
        let accepted = client.send(&request).await.and_then(|answer| {
            let answer: Result<Answer, _> = serde_json::from_slice(&answer);
            answer.map_err(|error| BenchError::refused(200, error.to_string()))
        });
        match accepted {
            Ok(Answer { accepted }) => {
                outcome.answered(begun, accepted, request.body_bytes());
                rows.add(accepted);
            }
            Err(error) => {
                outcome.errors += 1;
                tell(outcome.errors, &error);
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
    outcome
}
