//! One request and its answer over HTTP/1.1, and what the answer means for the batch.

use std::error::Error;
use std::fmt::Write;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::{self, connect::Connect};
use serde::Deserialize;

use crate::queue::Outcome;
use crate::retry;

/// Most bytes of an answer that are read: 10,000 receipts of audit records and room.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Most characters of an error that are kept.
const ERROR_CHARS_MAX: usize = 500;

/// What a server answered.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    /// The status.
    pub(crate) status: StatusCode,
    /// The header `Retry-After`.
    pub(crate) retry_after: Option<String>,
    /// The body; empty when it was cut or too long.
    pub(crate) body: Bytes,
}

/// The future of an exchange.
pub(crate) type Exchanging<'a> = Pin<Box<dyn Future<Output = Result<Reply, String>> + Send + 'a>>;

/// Sends a request to wherever it goes: the network, or in tests a server in the same process.
pub(crate) trait Exchange: Send + Sync {
    /// Sends a request and reads the answer; an error is the network's.
    fn exchange(&self, request: Request<Full<Bytes>>) -> Exchanging<'_>;
}

impl<C: Connect + Clone + Send + Sync + 'static> Exchange for legacy::Client<C, Full<Bytes>> {
    fn exchange(&self, request: Request<Full<Bytes>>) -> Exchanging<'_> {
        Box::pin(async move {
            let answer = self.request(request).await.map_err(|error| chain(&error))?;
            let (head, body) = answer.into_parts();
            let retry_after =
                head.headers.get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()).map(Into::into);
            // The status has decided already; a body that breaks off costs the details alone.
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            Ok(Reply { status: head.status, retry_after, body })
        })
    }
}

/// An error with its causes, which hyper's own text leaves out.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// What is to be done after an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The batch is done with.
    Settled(Outcome),
    /// The batch is to be sent again.
    Again {
        /// What went wrong.
        error: String,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
}

/// The members of an answer to a batch that matter here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    rejected: usize,
    errors: Vec<RecordError>,
    code: String,
    detail: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RecordError {
    pointer: String,
    code: String,
    detail: String,
}

impl Answer {
    /// What went wrong, as far as the answer says.
    fn error(&self) -> String {
        match self.errors.first() {
            Some(first) => format!("{} at {}: {}", first.code, first.pointer, first.detail),
            None => format!("{}: {}", self.code, self.detail),
        }
    }
}

/// Decides what an answer to a batch of `records` means.
///
/// A success settles it, a 429 and every 5xx asks for another attempt, everything else rejects it whole.
pub(crate) fn judge(reply: Result<Reply, String>, records: usize, now: SystemTime) -> Verdict {
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => return Verdict::Again { error: cut(error), retry_after: None },
    };
    let answer = serde_json::from_slice::<Answer>(&reply.body).unwrap_or_default();
    let status = reply.status;
    if status.is_success() {
        let rejected = answer.rejected.min(records);
        let error = (rejected > 0).then(|| cut(answer.error()));
        return Verdict::Settled(Outcome { sent: records - rejected, rejected, dropped: 0, error });
    }
    let error = cut(format!("status {}: {}", status.as_u16(), answer.error()));
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        let retry_after = reply.retry_after.and_then(|value| retry::retry_after(&value, now));
        return Verdict::Again { error, retry_after };
    }
    Verdict::Settled(Outcome { rejected: records, error: Some(error), ..Outcome::default() })
}

/// The beginning of a text that others wrote.
fn cut(text: String) -> String {
    if text.chars().nth(ERROR_CHARS_MAX).is_none() {
        text
    } else {
        text.chars().take(ERROR_CHARS_MAX).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn of(status: u16, retry_after: Option<&str>, body: &str) -> Verdict {
        let status = StatusCode::from_u16(status).unwrap();
        let retry_after = retry_after.map(Into::into);
        judge(Ok(Reply { status, retry_after, body: Bytes::from(body.to_owned()) }), 3, UNIX_EPOCH)
    }

    #[test]
    fn a_success_counts_what_was_rejected() {
        let settled = |sent, rejected, error: Option<&str>| {
            Verdict::Settled(Outcome { sent, rejected, dropped: 0, error: error.map(Into::into) })
        };
        assert_eq!(of(202, None, r#"{"accepted": 3, "rejected": 0, "errors": []}"#), settled(3, 0, None));
        let one = r#"{"rejected": 1, "errors": [{"index": 1, "pointer": "/value", "code": "invalid", "detail": "no"}]}"#;
        assert_eq!(of(202, None, one), settled(2, 1, Some("invalid at /value: no")));
        assert_eq!(of(201, None, r#"{"rejected": 99}"#), settled(0, 3, Some(": ")));
        assert_eq!(of(202, None, "<html>"), settled(3, 0, None));
    }

    #[test]
    fn a_batch_is_sent_again_after_429_and_every_5xx_alone() {
        for status in [429, 500, 502, 503, 504, 507] {
            let Verdict::Again { retry_after, .. } = of(status, Some("3"), "") else { panic!("{status}") };
            assert_eq!(retry_after, Some(Duration::from_secs(3)));
        }
        for status in [301, 400, 401, 403, 404, 409, 413, 415, 422] {
            let Verdict::Settled(outcome) = of(status, Some("3"), r#"{"code": "invalid", "detail": "no"}"#)
            else {
                panic!("{status}")
            };
            assert_eq!((outcome.sent, outcome.rejected, outcome.dropped), (0, 3, 0));
            assert_eq!(outcome.error, Some(format!("status {status}: invalid: no")));
        }
    }

    #[test]
    fn a_long_error_is_cut() {
        let Verdict::Again { error, .. } = judge(Err("\u{e9}".repeat(2_000)), 1, UNIX_EPOCH) else {
            panic!()
        };
        assert_eq!(error.chars().count(), ERROR_CHARS_MAX);
    }
}
