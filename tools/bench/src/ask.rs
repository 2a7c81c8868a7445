//! Asks questions over many connections, in a closed or an open loop, and collects what the answers took.

use std::time::Duration;
use std::{io, thread};

use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::client::{Client, Request, Server};
use crate::error::BenchError;
use crate::histogram::Histogram;
use crate::load::{PAUSE_AFTER_ERROR, micros};
use crate::pace::{Pace, Span};
use crate::progress::{Done, tell};
use crate::question::Question;

/// Most clients that have a thread each: it sleeps as long as it means to, where a timer wakes at the next millisecond,
/// and no other client keeps it from seeing its answer. More than these share a few threads.
pub(crate) const THREADS_MAX: u32 = 256;

/// What the answers to one question took.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The question.
    pub(crate) question: Question,
    /// Requests that failed.
    pub(crate) errors: u64,
    /// Latencies of the others, microseconds.
    pub(crate) latencies: Histogram,
    /// Of those the time in the server, where the answer says it.
    pub(crate) server: Histogram,
    /// Bytes of the answers.
    pub(crate) bytes: Histogram,
}

impl Asked {
    /// Nothing yet.
    pub(crate) fn new(question: Question) -> Self {
        let none = Histogram::default;
        Self { question, errors: 0, latencies: none(), server: none(), bytes: none() }
    }

    /// Adds what another client saw.
    pub(crate) fn add(&mut self, other: &Self) {
        self.errors += other.errors;
        self.latencies.merge(&other.latencies);
        self.server.merge(&other.server);
        self.bytes.merge(&other.bytes);
    }
}

/// How questions are asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking {
    /// Connections, or threads.
    pub(crate) clients: u32,
    /// Questions a second, of all clients together; as many as go without it.
    pub(crate) rate: Option<u32>,
}

/// Asks `questions` in turn for a while; one result for each of them, in their order.
///
/// # Errors
///
/// When a task of this program dies.
pub(crate) async fn run(
    server: &Server,
    questions: &[(Question, Vec<Request>)],
    asking: Asking,
    duration: Duration,
    done: &Done,
) -> Result<Vec<Asked>, BenchError> {
    let span = Span::of(duration);
    let mut clients = JoinSet::new();
    for index in 0..asking.clients {
        let pace = Pace::of(span, asking.rate.map(f64::from), (index, asking.clients));
        let client = Client::new(server.clone());
        let is_alone = asking.clients <= THREADS_MAX;
        let asking = ask(client, questions.to_vec(), (pace, is_alone), index, done.clone());
        if is_alone {
            let asked = on_thread(asking)?;
            clients.spawn(async move { asked.await.map_err(io::Error::other)? });
        } else {
            clients.spawn(async move { io::Result::Ok(asking.await) });
        }
    }
    let mut all: Vec<Asked> = questions.iter().map(|(question, _)| Asked::new(*question)).collect();
    while let Some(one) = clients.join_next().await {
        for (all, one) in all.iter_mut().zip(one.map_err(io::Error::other)??) {
            all.add(&one);
        }
    }
    Ok(all)
}

/// Asks on a thread of its own.
fn on_thread(
    asking: impl Future<Output = Vec<Asked>> + Send + 'static,
) -> io::Result<oneshot::Receiver<io::Result<Vec<Asked>>>> {
    let (sender, receiver) = oneshot::channel();
    let ask = move || Ok(runtime::Builder::new_current_thread().enable_all().build()?.block_on(asking));
    thread::Builder::new().spawn(move || drop(sender.send(ask())))?;
    Ok(receiver)
}

/// One client, until its pace ends; `is_alone` when nobody else needs its thread. Clients begin with different
/// questions and windows.
async fn ask(
    mut client: Client,
    questions: Vec<(Question, Vec<Request>)>,
    (mut pace, is_alone): (Pace, bool),
    first: u32,
    done: Done,
) -> Vec<Asked> {
    let mut asked: Vec<Asked> = questions.iter().map(|(question, _)| Asked::new(*question)).collect();
    for n in first as usize.. {
        let count = questions.len().max(1);
        let next = asked.get_mut(n % count).zip(questions.get(n % count));
        let Some((asked, (_, windows))) = next else { break };
        let Some(request) = windows.get((n / count) % windows.len().max(1)) else { break };
        let begun = if is_alone { pace.next_alone().await } else { pace.next().await };
        let Some(begun) = begun else { break };
        match client.send(request).await {
            Ok(answer) => {
                asked.latencies.record(micros(begun.elapsed()));
                asked.bytes.record(answer.len() as u64);
                if let Some(us) = client.server_us() {
                    asked.server.record(us);
                }
                done.add(1);
            }
            Err(error) => {
                asked.errors += 1;
                tell(asked.errors, &error);
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
    asked
}
