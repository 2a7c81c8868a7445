//! One attempt: a message in the shape of its channel, on its way out, and what the answer means.

pub mod alertmanager;
#[cfg(feature = "mail")]
pub mod email;
pub mod signature;
pub mod slack;
pub mod texts;
pub mod webhook;

use hyper::StatusCode;
use insights_engine::time::TimestampUs;

use super::channel::{Channel, Target};
use super::delivery::{DeliveryId, Recipient};
use super::message::{AlertStatus, Message};
use super::net::client::{HttpClient, NoReply, Reply};
use super::outbox::Outcome;
use crate::config::notify::{Authorities, SmtpConfig};

/// Most characters of what Slack says of an error.
const SLACK_ERROR_CHARS_MAX: usize = 64;
/// What is said of e-mail without a relay.
const NO_MAIL: &str = "this server sends no e-mail: its operator has not set smtp_url";

/// Sends messages to channels.
#[derive(Debug)]
pub struct Sender {
    http: HttpClient,
    #[cfg(feature = "mail")]
    mailer: Option<email::Mailer>,
}

impl Sender {
    /// A sender over this client, and over a relay where there is one, for which these authorities may vouch.
    #[cfg(feature = "mail")]
    pub fn new(http: HttpClient, smtp: Option<&SmtpConfig>, authorities: &Authorities) -> Self {
        let mailer = smtp.and_then(|config| match email::Mailer::new(config, authorities) {
            Ok(mailer) => Some(mailer),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "there is no e-mail");
                None
            }
        });
        Self { http, mailer }
    }

    /// A sender over this client; the program was built without e-mail.
    #[cfg(not(feature = "mail"))]
    pub fn new(http: HttpClient, _: Option<&SmtpConfig>, _: &Authorities) -> Self {
        Self { http }
    }

    /// Whether there is a relay for e-mail.
    pub fn sends_mail(&self) -> bool {
        #[cfg(feature = "mail")]
        let sends = self.mailer.is_some();
        #[cfg(not(feature = "mail"))]
        let sends = false;
        sends
    }

    /// Sends a message to a channel once. The id is the same at every attempt; those whom `before` settles are not sent
    /// it again.
    pub async fn send(
        &self,
        channel: &Channel,
        id: &DeliveryId,
        message: &Message,
        before: &[Recipient],
        now: TimestampUs,
    ) -> Outcome {
        match &channel.target {
            Target::Webhook { url, secret } => {
                let body = webhook::body(channel, message);
                let seconds = now.0.div_euclid(1_000_000);
                match signature::headers(secret, id.as_str(), seconds, &body) {
                    Ok(headers) => judge(self.http.post(url, &headers, body, now).await, false, false),
                    Err(invalid) => refused(invalid.to_string()),
                }
            }
            Target::Slack { url } => {
                judge(self.http.post(url, &[], slack::body(channel, message), now).await, false, true)
            }
            Target::Alertmanager { url, secret } => {
                let url = url.join(&["api", "v2", "alerts"]);
                let bearer = secret.as_ref().map(|secret| format!("Bearer {}", secret.expose()));
                let headers: Vec<_> = bearer.into_iter().map(|value| ("authorization", value)).collect();
                let reply = self.http.post(&url, &headers, alertmanager::body(message, now), now).await;
                judge(reply, message.status == AlertStatus::Firing, false)
            }
            Target::Email { to } => self.mail(channel, (to, before), id, message, now).await,
        }
    }
}

impl Sender {
    #[cfg(feature = "mail")]
    async fn mail(
        &self,
        channel: &Channel,
        (to, before): (&[String], &[Recipient]),
        id: &DeliveryId,
        message: &Message,
        now: TimestampUs,
    ) -> Outcome {
        match &self.mailer {
            Some(mailer) => mailer.send(channel, to, before, id, message, now).await,
            None => refused(NO_MAIL.to_owned()),
        }
    }

    #[cfg(not(feature = "mail"))]
    #[expect(clippy::unused_async, reason = "as with e-mail")]
    async fn mail(
        &self,
        _: &Channel,
        _: (&[String], &[Recipient]),
        _: &DeliveryId,
        _: &Message,
        _: TimestampUs,
    ) -> Outcome {
        refused(NO_MAIL.to_owned())
    }
}

/// What another attempt would not change.
fn refused(error: String) -> Outcome {
    Outcome::Failed { status: None, error, retry_after: None, is_final: true }
}

/// What an answer means: every 2xx has taken the message, 410 wants no other, all else may pass. `again` says whether
/// what arrived is to be said again, `says_why` whether the body is a word on what is wrong.
fn judge(reply: Result<Reply, NoReply>, again: bool, says_why: bool) -> Outcome {
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => {
            let is_final = matches!(error, NoReply::Refused | NoReply::NoTls | NoReply::Malformed);
            return Outcome::Failed { status: None, error: error.to_string(), retry_after: None, is_final };
        }
    };
    let status = Some(reply.status.as_u16());
    if reply.status.is_success() {
        return Outcome::Delivered { status, again };
    }
    let mut error = format!("the answer is {}", reply.status.as_u16());
    if reply.status.is_redirection() {
        error.push_str(": redirects are not followed");
    }
    if says_why && let Some(word) = word_of(&reply.body) {
        error = format!("{error}: {word}");
    }
    let asks_to_wait =
        matches!(reply.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let retry_after = reply.retry_after.filter(|_| asks_to_wait);
    Outcome::Failed { status, error, retry_after, is_final: reply.status == StatusCode::GONE }
}

/// A body that is one word, such as `channel_is_archived`. Anything else is not repeated: it may be of somebody whom
/// the organization is not to read through us.
fn word_of(body: &[u8]) -> Option<&str> {
    let word = std::str::from_utf8(body).ok()?.trim();
    let is_word = (1..=SLACK_ERROR_CHARS_MAX).contains(&word.len())
        && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    is_word.then_some(word)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn of(status: u16, body: &'static str) -> Outcome {
        let reply = Reply {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: Some(Duration::from_secs(7)),
            body: body.into(),
        };
        judge(Ok(reply), false, true)
    }

    #[test]
    fn every_2xx_has_taken_it_and_only_410_is_the_end() {
        for status in [200, 201, 202, 204] {
            assert_eq!(of(status, ""), Outcome::Delivered { status: Some(status), again: false });
        }
        for status in [301, 302, 400, 401, 403, 404, 408, 410, 422, 429, 500, 502, 503, 504] {
            let Outcome::Failed { is_final, retry_after, .. } = of(status, "") else { panic!("{status}") };
            assert_eq!(is_final, status == 410, "{status}");
            assert_eq!(retry_after.is_some(), status == 429 || status == 503, "{status}");
        }
    }

    #[test]
    fn only_a_word_of_an_answer_is_repeated() {
        let error = |body| match of(404, body) {
            Outcome::Failed { error, .. } => error,
            other => panic!("{other:?}"),
        };
        assert_eq!(error("channel_is_archived\n"), "the answer is 404: channel_is_archived");
        for body in ["", "<html>", "two words", "AKIA0000", "{\"key\": 1}"] {
            assert_eq!(error(body), "the answer is 404", "{body}");
        }
    }
}
