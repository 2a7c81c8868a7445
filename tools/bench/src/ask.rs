//! Asks questions over many connections, in a closed or an open loop, and collects what the answers took.

use std::io;
use std::time::Duration;

use tokio::runtime;
use tokio::task::JoinSet;

use crate::client::{Client, Request, Server};
use crate::error::BenchError;
use crate::histogram::Histogram;
use crate::load::{PAUSE_AFTER_ERROR, micros};
use crate::pace::{Pace, Span};
use crate::progress::{Done, tell};
use crate::question::Question;

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
        let asking = ask(client, questions.to_vec(), pace, index, done.clone());
        // A thread of its own: it sleeps as long as it means to, where a timer wakes at the next millisecond, and no
        // other client keeps it from seeing its answer.
        clients.spawn_blocking(move || {
            Ok::<_, io::Error>(runtime::Builder::new_current_thread().enable_all().build()?.block_on(asking))
        });
    }
    let mut all: Vec<Asked> = questions.iter().map(|(question, _)| Asked::new(*question)).collect();
    while let Some(one) = clients.join_next().await {
        for (all, one) in all.iter_mut().zip(one.map_err(io::Error::other)??) {
            all.add(&one);
        }
    }
    Ok(all)
}

/// One client, alone on its thread, until its pace ends. Clients begin with different questions and windows.
async fn ask(
    mut client: Client,
    questions: Vec<(Question, Vec<Request>)>,
    mut pace: Pace,
    first: u32,
    done: Done,
) -> Vec<Asked> {
    let mut asked: Vec<Asked> = questions.iter().map(|(question, _)| Asked::new(*question)).collect();
    for n in first as usize.. {
        let count = questions.len().max(1);
        let next = asked.get_mut(n % count).zip(questions.get(n % count));
        let Some((asked, (_, windows))) = next else { break };
        let Some(request) = windows.get((n / count) % windows.len().max(1)) else { break };
        let Some(begun) = pace.next_blocking() else { break };
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
                std::thread::sleep(PAUSE_AFTER_ERROR);
            }
        }
    }
    asked
}
