//! Asks questions over many connections, in a closed or an open loop, and collects what the answers took.

use std::io;
use std::time::Duration;

use hyper::body::Bytes;
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
        clients.spawn(ask(client, questions.to_vec(), pace, index, done.clone()));
    }
    let mut all: Vec<Asked> = questions.iter().map(|(question, _)| Asked::new(*question)).collect();
    while let Some(one) = clients.join_next().await {
        for (all, one) in all.iter_mut().zip(one.map_err(io::Error::other)?) {
            all.add(&one);
        }
    }
    Ok(all)
}

/// One client, until its pace ends. Clients begin with different questions and windows.
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
        let Some(begun) = pace.next().await else { break };
        match client.send(request).await {
            Ok(answer) => {
                asked.latencies.record(micros(begun.elapsed()));
                asked.bytes.record(answer.len() as u64);
                if let Some(elapsed_us) = elapsed_us(&answer) {
                    asked.server.record(elapsed_us);
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

/// The time that an answer says it took in the server: its last member of that name. Looked for and not parsed: an
/// answer may be large, and this program shares the machine with the server.
fn elapsed_us(answer: &Bytes) -> Option<u64> {
    const MEMBER: &[u8] = b"\"elapsed_us\":";
    let at = answer.windows(MEMBER.len()).rposition(|bytes| bytes == MEMBER)?;
    let rest = answer.get(at + MEMBER.len()..)?.trim_ascii_start();
    let digits = rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len());
    std::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_in_the_server_is_the_last_that_an_answer_names() {
        for (answer, expected) in [
            (r#"{"a":{"elapsed_us":1},"cost":{"elapsed_us": 42}}"#, Some(42)),
            (r#"{"cost":{"elapsed_us":42"#, Some(42)),
            (r#"{"cost":{"elapsed_us":}}"#, None),
            ("{}", None),
        ] {
            assert_eq!(elapsed_us(&Bytes::from_static(answer.as_bytes())), expected, "{answer}");
        }
    }
}
