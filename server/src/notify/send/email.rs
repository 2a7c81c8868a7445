//! E-mail: a message as text and as HTML for the same readers, and the way to the relay.
//!
//! All mails of a group are one thread: each names the same root, which is a hash of the organization and the group and
//! was never sent (RFC 5322 section 3.6.4 lets it be missing). The id of a mail is that of its delivery, so that one
//! that is sent twice is seen to be the same.

mod relay;

use std::fmt::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use insights_engine::time::TimestampUs;
use lettre::Message as Mail;
use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use sha2::{Digest, Sha256};

use self::relay::{Failure, Relay};
use super::texts::{self, Text, text};
use crate::config::notify::SmtpConfig;
use crate::notify::channel::Channel;
use crate::notify::delivery::DeliveryId;
use crate::notify::message::{AlertNotice, AlertStatus, Message};
use crate::notify::outbox::Outcome;

/// Bytes of a hash that tell one thread from another.
const THREAD_BYTES: usize = 16;

/// A mail that was not handed over.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// It could not be written: an address is none.
    #[error("the e-mail could not be written: {0}")]
    Written(String),
    /// The relay did not take it.
    #[error(transparent)]
    Relay(#[from] lettre::transport::smtp::Error),
}

/// Hands mails to a relay; a connection for each.
pub struct Mailer {
    relay: Relay,
    from: Mailbox,
    /// The right side of ids: the domain of the sender.
    domain: String,
}

impl Mailer {
    /// A mailer for a relay.
    ///
    /// # Errors
    ///
    /// [`MailError`] when the sender's address or the relay's name is none.
    pub fn new(config: &SmtpConfig) -> Result<Self, MailError> {
        let from: Mailbox = config.from.parse().map_err(written)?;
        let domain = from.email.domain().to_owned();
        Ok(Self { relay: Relay::new(&config.url, domain.clone())?, from, domain })
    }

    /// Hands a message for a channel's people to the relay.
    pub async fn send(
        &self,
        channel: &Channel,
        to: &[String],
        id: &DeliveryId,
        message: &Message,
        now: TimestampUs,
    ) -> Outcome {
        let mail = match self.write(channel, to, id, message, now) {
            Ok(mail) => mail,
            Err(error) => return super::refused(error.to_string()),
        };
        match self.relay.hand_over(&mail).await {
            Ok(response) => Outcome::Delivered { status: Some(response.code().into()), again: false },
            Err(Failure { error, is_final }) => Outcome::Failed {
                status: error.status().map(Into::into),
                error: said(&error),
                retry_after: None,
                is_final,
            },
        }
    }

    fn write(
        &self,
        channel: &Channel,
        to: &[String],
        id: &DeliveryId,
        message: &Message,
        now: TimestampUs,
    ) -> Result<Mail, MailError> {
        let thread = self.thread(message);
        let sent = UNIX_EPOCH + Duration::from_micros(u64::try_from(now.0).unwrap_or(0));
        let mut builder = Mail::builder()
            .from(self.from.clone())
            .date(sent)
            .message_id(Some(format!("<{id}@{}>", self.domain)))
            .in_reply_to(thread.clone())
            .references(thread)
            .subject(one_line(&texts::headline(channel.lang, message)))
            .header(AutoSubmitted);
        for address in to {
            builder = builder.to(address.parse().map_err(written)?);
        }
        let parts = MultiPart::alternative_plain_html(plain(channel, message), html(channel, message));
        builder.multipart(parts).map_err(written)
    }

    /// The root of a group's thread.
    fn thread(&self, message: &Message) -> String {
        let hash = Sha256::new()
            .chain_update(message.organization.as_str())
            .chain_update([0])
            .chain_update(&message.group_key)
            .finalize();
        let hex = hash.iter().take(THREAD_BYTES).fold(String::new(), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        format!("<thread.{hex}@{}>", self.domain)
    }
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer").field("domain", &self.domain).finish_non_exhaustive()
    }
}

fn written(error: impl fmt::Display) -> MailError {
    MailError::Written(error.to_string())
}

/// What the relay said, or how far it came; not its name or address, which are the operator's.
fn said(error: &lettre::transport::smtp::Error) -> String {
    let kind = if error.is_permanent() {
        "the relay refused it"
    } else if error.is_transient() {
        "the relay refused it for now"
    } else if error.is_timeout() {
        "the relay did not answer in time"
    } else if error.is_tls() {
        "the connection to the relay could not be protected"
    } else {
        "the relay cannot be talked to"
    };
    kind.to_owned()
}

/// `Auto-Submitted: auto-generated` (RFC 3834): no out-of-office reply, please.
#[derive(Debug, Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// A text on one line: a line break in a subject would be another header.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The message as text.
fn plain(channel: &Channel, message: &Message) -> String {
    let lang = channel.lang;
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{}\n", texts::headline(lang, message));
    for alert in &message.alerts {
        let _ = writeln!(out, "- [{}] {}", texts::status(lang, alert.status), alert.name);
        for words in texts::words(alert) {
            let _ = writeln!(out, "  {words}");
        }
        if !alert.labels.is_empty() {
            let _ = writeln!(out, "  {}", texts::labels(alert));
        }
        for (name, value) in texts::facts(lang, alert) {
            let _ = writeln!(out, "  {name}: {value}");
        }
        out.push('\n');
    }
    if let Some(more) = texts::more(lang, message.truncated_alerts) {
        let _ = writeln!(out, "{more}\n");
    }
    // "-- " on its own line begins a signature.
    let _ = write!(out, "-- \n{}, {}", text(lang, Text::Footer), message.organization);
    out
}

/// The message as one HTML page without anything that is loaded.
fn html(channel: &Channel, message: &Message) -> String {
    let lang = channel.lang;
    let title = escape(&texts::headline(lang, message));
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"{}\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
         <body style=\"font-family: sans-serif; max-width: 42em\"><h1 style=\"font-size: 1.2em\">{title}</h1>\n",
        lang.name(),
    );
    for alert in &message.alerts {
        section(&mut out, channel, alert);
    }
    if let Some(more) = texts::more(lang, message.truncated_alerts) {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "<p>{}</p>", escape(&more));
    }
    let footer = escape(&format!("{}, {}", text(lang, Text::Footer), message.organization));
    let _ = write!(out, "<p style=\"color: #666; font-size: 0.9em\">{footer}</p></body></html>");
    out
}

fn section(out: &mut String, channel: &Channel, alert: &AlertNotice) {
    let lang = channel.lang;
    let colour = match alert.status {
        AlertStatus::Firing => "#c62828",
        AlertStatus::Resolved => "#2e7d32",
    };
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "<div style=\"border-left: 4px solid {colour}; padding: 0 0 0 1em; margin: 1em 0\">\n<p><b>{}</b> {}</p>",
        texts::status(lang, alert.status),
        escape(&alert.name),
    );
    for words in texts::words(alert) {
        let _ = writeln!(out, "<p>{}</p>", escape(words));
    }
    let _ = writeln!(out, "<table>");
    let labels = alert.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
    for (name, value) in texts::facts(lang, alert).into_iter().chain(labels) {
        let _ = writeln!(
            out,
            "<tr><td style=\"color: #666; padding-right: 1em\">{}</td><td>{}</td></tr>",
            escape(&name),
            escape(&value),
        );
    }
    let _ = writeln!(out, "</table></div>");
}

fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests;
