//! E-mail: a message as text and as HTML for the same readers, and the way to the relay.
//!
//! All mails of a group are one thread: each names the same root, which is a hash of the organization and the group and
//! was never sent (RFC 5322 section 3.6.4 lets it be missing). The id of a mail is that of its delivery, so that one
//! that is sent twice is seen to be the same.

mod relay;

use std::error::Error as StdError;
use std::fmt::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use insights_engine::time::TimestampUs;
use lettre::address::Envelope;
use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::{Address, Message as Mail};
use sha2::{Digest, Sha256};

use self::relay::{HandedOver, Refused, Relay};
use super::texts::{self, Text, text};
use crate::config::notify::{Authorities, SmtpConfig};
use crate::notify::channel::Channel;
use crate::notify::delivery::{DeliveryId, Recipient, RecipientState};
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
    /// Where somebody asks for no more mails.
    unsubscribe: Option<String>,
}

impl Mailer {
    /// A mailer for a relay, for which these authorities may vouch, and those of Mozilla's list.
    ///
    /// # Errors
    ///
    /// [`MailError`] when the sender's address or the relay's name is none.
    pub fn new(config: &SmtpConfig, authorities: &Authorities) -> Result<Self, MailError> {
        let from: Mailbox = config.from.parse().map_err(written)?;
        let domain = from.email.domain().to_owned();
        let relay = Relay::new(&config.url, domain.clone(), authorities)?;
        Ok(Self { relay, from, domain, unsubscribe: config.unsubscribe.clone() })
    }

    /// Hands a message for a channel's people to the relay: for those whom `before` does not settle.
    pub async fn send(
        &self,
        channel: &Channel,
        to: &[String],
        before: &[Recipient],
        id: &DeliveryId,
        message: &Message,
        now: TimestampUs,
    ) -> Outcome {
        let to: Vec<Mailbox> = match to.iter().map(|text| text.parse().map_err(written)).collect() {
            Ok(to) => to,
            Err(error) => return super::refused(error.to_string()),
        };
        let gone = gone(before, &to);
        let Some(envelope) = self.envelope(&to, before) else {
            return Outcome::Mailed { status: None, recipients: gone };
        };
        let pending: Vec<String> = envelope.to().iter().map(ToString::to_string).collect();
        let mail = match self.write(channel, (to, envelope), id, message, now) {
            Ok(mail) => mail,
            Err(error) => return super::refused(error.to_string()),
        };
        match self.relay.hand_over(&mail).await {
            Ok(handed) if handed.refused.is_empty() && before.is_empty() => {
                Outcome::Delivered { status: handed.status, again: false }
            }
            Ok(HandedOver { status, refused }) => {
                let mut recipients: Vec<Recipient> = pending.into_iter().map(Recipient::taken).collect();
                recipients.retain(|taken| refused.iter().all(|refused| refused.address != taken.address));
                recipients.extend(refused.into_iter().map(noted));
                recipients.extend(gone);
                Outcome::Mailed { status, recipients }
            }
            Err(error) => Outcome::Failed {
                status: error.status().map(Into::into),
                error: said(&error),
                retry_after: None,
                is_final: false,
            },
        }
    }

    /// Whom the relay is asked to take a mail for; none when all of them are settled.
    fn envelope(&self, to: &[Mailbox], before: &[Recipient]) -> Option<Envelope> {
        let mut pending: Vec<Address> = Vec::with_capacity(to.len());
        for mailbox in to {
            let known = before.iter().find(|known| known.address == mailbox.email.as_ref());
            if known.is_none_or(|known| known.state == RecipientState::Deferred)
                && !pending.contains(&mailbox.email)
            {
                pending.push(mailbox.email.clone());
            }
        }
        Envelope::new(Some(self.from.email.clone()), pending).ok()
    }

    /// A mail that names all its people, for those of the envelope.
    fn write(
        &self,
        channel: &Channel,
        (to, envelope): (Vec<Mailbox>, Envelope),
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
            .header(AutoSubmitted)
            .envelope(envelope);
        for mailbox in to {
            builder = builder.to(mailbox);
        }
        if let Some(way_out) = &self.unsubscribe {
            builder = builder.header(ListUnsubscribe(way_out.clone()));
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

/// Those who were to be tried again and are none of the channel's people any more.
fn gone(before: &[Recipient], to: &[Mailbox]) -> Vec<Recipient> {
    let is_gone = |known: &&Recipient| {
        known.state == RecipientState::Deferred
            && to.iter().all(|mailbox| mailbox.email.as_ref() != known.address)
    };
    let error = || Some("no recipient of the channel any more".to_owned());
    let of =
        |known: &Recipient| Recipient { state: RecipientState::Refused, error: error(), ..known.clone() };
    before.iter().filter(is_gone).map(of).collect()
}

/// What is kept of a recipient that was refused: the codes and what they mean, not the relay's words, which may name
/// machines of the operator. Those are in the log.
fn noted(Refused { address, error }: Refused) -> Recipient {
    let words = StdError::source(&error).map(ToString::to_string).unwrap_or_default();
    tracing::info!(
        address,
        status = error.status().map(u16::from),
        words,
        "a recipient of an e-mail was refused"
    );
    let state = if error.is_permanent() { RecipientState::Refused } else { RecipientState::Deferred };
    let enhanced = words.split_whitespace().next().filter(|word| is_enhanced_status(word));
    let meaning = enhanced.and_then(|code| Some((code, meaning_of(code.split_once('.')?.1)?)));
    let said = match (meaning, enhanced) {
        (Some((code, meaning)), _) => Some(format!("{code}: {meaning}")),
        (None, Some(code)) => Some(code.to_owned()),
        (None, None) => None,
    };
    let said = said.map_or_else(|| self::said(&error), |said| format!("{} ({said})", self::said(&error)));
    Recipient { address, state, status: error.status().map(Into::into), error: Some(said) }
}

/// Whether a word is a status of RFC 3463, such as `5.1.1`.
fn is_enhanced_status(word: &str) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    let is_number = |part: &&str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    parts.len() == 3 && parts.iter().all(is_number)
}

/// What the subject and the detail of a status of RFC 3463 mean.
fn meaning_of(status: &str) -> Option<&'static str> {
    Some(match status {
        "1.1" => "there is no such mailbox",
        "1.2" => "there is no such host",
        "1.3" => "the address is malformed",
        "1.6" => "the mailbox has moved",
        "1.10" => "its domain takes no mail",
        "2.1" => "the mailbox is disabled",
        "2.2" => "the mailbox is full",
        "7.1" => "it is not allowed",
        _ => return None,
    })
}

/// `List-Unsubscribe` (RFC 2369): where somebody asks for no more of these mails.
#[derive(Debug, Clone)]
struct ListUnsubscribe(String);

impl Header for ListUnsubscribe {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("List-Unsubscribe")
    }

    fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self(text.trim_matches(['<', '>']).to_owned()))
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), format!("<{}>", self.0))
    }
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
