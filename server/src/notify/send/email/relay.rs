//! The talk with the relay, step by step: who is refused decides whether another attempt can help.
//!
//! A relay that refuses a recipient for good (5xx to `RCPT`) will do so again, for now (4xx) perhaps not; the others get
//! the mail all the same. Whatever else it refuses is between it and this server - a password that changed, a sender it
//! does not know, a full disk - and passes when an operator mends it.

use std::time::Duration;

use lettre::Message as Mail;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Rcpt};
use lettre::transport::smtp::extension::{ClientId, MailBodyParameter, MailParameter};

use crate::config::notify::{Authorities, SmtpProtection, SmtpUrl};

/// How long it may take to connect, and to say good-bye.
const STEP_TIMEOUT: Duration = Duration::from_secs(15);

/// The status of a relay that says nothing more on this connection.
const CLOSING: u16 = 421;

/// What became of a mail that was not refused as a whole.
#[derive(Debug)]
pub(super) struct HandedOver {
    /// The status of the answer to the mail; none when nobody was there to get it.
    pub(super) status: Option<u16>,
    /// Those that do not get it.
    pub(super) refused: Vec<Refused>,
}

/// A recipient that the relay refused.
#[derive(Debug)]
pub(super) struct Refused {
    /// Who.
    pub(super) address: String,
    /// What it said.
    pub(super) error: Error,
}

/// The relay, and what gets in.
pub(super) struct Relay {
    host: String,
    port: u16,
    /// TLS from the first byte.
    wrapper: Option<TlsParameters>,
    /// TLS after `STARTTLS`, without which nothing is sent.
    start_tls: Option<TlsParameters>,
    hello: ClientId,
    credentials: Option<Credentials>,
}

impl Relay {
    /// A relay, greeted in the name of `domain`.
    pub(super) fn new(url: &SmtpUrl, domain: String, authorities: &Authorities) -> Result<Self, Error> {
        let tls = || {
            let mut parameters = TlsParameters::builder(url.host.clone());
            for certificate in authorities.certificates() {
                parameters = parameters.add_root_certificate(Certificate::from_der(certificate.to_vec())?);
            }
            parameters.build().map(Some)
        };
        let (wrapper, start_tls) = match url.protection {
            SmtpProtection::Tls => (tls()?, None),
            SmtpProtection::StartTls => (None, tls()?),
            SmtpProtection::Plain => (None, None),
        };
        let credentials = url.credentials.as_ref();
        let credentials =
            credentials.map(|(user, password)| Credentials::new(user.clone(), password.expose().to_owned()));
        let hello = ClientId::Domain(domain);
        Ok(Self { host: url.host.clone(), port: url.port, wrapper, start_tls, hello, credentials })
    }

    /// Hands a mail over; a connection for each.
    pub(super) async fn hand_over(&self, mail: &Mail) -> Result<HandedOver, Error> {
        let mut connection = self.connect().await?;
        let taken = talk(&mut connection, mail).await;
        // What was taken is taken, however the good-bye goes.
        drop(tokio::time::timeout(STEP_TIMEOUT, connection.abort()).await);
        taken
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Error> {
        let (server, wrapper) = ((self.host.as_str(), self.port), self.wrapper.clone());
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, Some(STEP_TIMEOUT), &self.hello, wrapper, None)
                .await?;
        if let Some(tls) = &self.start_tls {
            connection.starttls(tls.clone(), &self.hello).await?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
        Ok(connection)
    }
}

/// The mail itself: whom it is from, whom it is to, and its text.
async fn talk(connection: &mut AsyncSmtpConnection, mail: &Mail) -> Result<HandedOver, Error> {
    let (envelope, text) = (mail.envelope(), mail.formatted());
    let mut parameters = Vec::new();
    if envelope.to().iter().chain(envelope.from()).any(|address| !address.to_string().is_ascii()) {
        parameters.push(MailParameter::SmtpUtfEight);
    }
    if !text.is_ascii() {
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    connection.command(MailFrom::new(envelope.from().cloned(), parameters)).await?;
    let mut refused = Vec::new();
    for recipient in envelope.to() {
        match connection.command(Rcpt::new(recipient.clone(), Vec::new())).await {
            Ok(_) => {}
            Err(error) if error.status().is_none_or(|status| u16::from(status) == CLOSING) => {
                return Err(error);
            }
            Err(error) => refused.push(Refused { address: recipient.to_string(), error }),
        }
    }
    if refused.len() == envelope.to().len() {
        return Ok(HandedOver { status: None, refused });
    }
    connection.command(Data).await?;
    let status = Some(connection.message(&text).await?.code().into());
    Ok(HandedOver { status, refused })
}
