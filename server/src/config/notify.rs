//! The settings of notifications.

use std::fmt;
use std::sync::Arc;

use url::{Host, Url};

use super::Secret;
use super::units::Network;

/// The settings of notifications.
#[derive(Debug, Clone, Default)]
pub struct NotifyConfig {
    /// Networks that channels may lead to besides the public Internet.
    pub allowed_networks: Vec<Network>,
    /// How e-mail leaves; without it there is none.
    pub smtp: Option<SmtpConfig>,
    /// Who may vouch for receivers and the relay besides the authorities of Mozilla's list.
    pub authorities: Authorities,
}

/// Most bytes of a file of certificates: all of Mozilla's list are a quarter of that.
#[cfg(any(feature = "mail", feature = "tls"))]
const AUTHORITIES_BYTES_MAX: usize = 1 << 20;

/// Certificates of authorities. Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Authorities(Arc<[Vec<u8>]>);

impl Authorities {
    /// Reads certificates in PEM.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    #[cfg(any(feature = "mail", feature = "tls"))]
    pub fn parse(pem: &[u8]) -> Result<Self, String> {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject;

        if pem.len() > AUTHORITIES_BYTES_MAX {
            return Err(format!("has more than {AUTHORITIES_BYTES_MAX} bytes"));
        }
        let mut certificates = Vec::new();
        for (n, certificate) in (1..).zip(CertificateDer::pem_slice_iter(pem)) {
            let certificate =
                certificate.map_err(|error| format!("is no PEM at certificate {n}: {error}"))?;
            // Whether it can be trusted at all is said now and not at the first message.
            rustls::RootCertStore::empty()
                .add(certificate.clone())
                .map_err(|error| format!("has a certificate that cannot be read, number {n}: {error}"))?;
            certificates.push(certificate.to_vec());
        }
        if certificates.is_empty() {
            return Err("holds no certificate in PEM (-----BEGIN CERTIFICATE-----)".to_owned());
        }
        Ok(Self(certificates.into()))
    }

    /// Certificates are of no use without anything that looks at them.
    ///
    /// # Errors
    ///
    /// Always.
    #[cfg(not(any(feature = "mail", feature = "tls")))]
    pub fn parse(_: &[u8]) -> Result<Self, String> {
        Err("is of no use: this server was built without e-mail and https".to_owned())
    }

    /// The certificates, as DER.
    pub fn certificates(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({})", self.0.len())
    }
}

/// How e-mail leaves.
#[derive(Debug, Clone)]
pub struct SmtpConfig {
    /// The relay.
    pub url: SmtpUrl,
    /// Who it comes from.
    pub from: String,
    /// Where somebody asks for no more of it: an `https` or a `mailto` URL.
    pub unsubscribe: Option<String>,
}

/// How a connection to a relay is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpProtection {
    /// TLS from the first byte.
    Tls,
    /// TLS after `STARTTLS`; without it nothing is sent.
    StartTls,
    /// None: on this machine alone.
    Plain,
}

/// A relay for e-mail, with what gets in.
#[derive(Clone)]
pub struct SmtpUrl {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub protection: SmtpProtection,
    /// User and password.
    pub credentials: Option<(String, Secret)>,
}

impl SmtpUrl {
    /// Reads `smtps://user:password@host:port` or `smtp://...`; special characters of user and password are
    /// percent-encoded.
    ///
    /// # Errors
    ///
    /// What is wrong, without the text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "is no URL such as smtp://user:password@host:587")?;
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(Host::Domain(_)) | None => return Err("names no host"),
        };
        let is_local = host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        let (protection, port) = match (url.scheme(), is_local) {
            ("smtps", _) => (SmtpProtection::Tls, 465),
            ("smtp", false) => (SmtpProtection::StartTls, 587),
            ("smtp", true) => (SmtpProtection::Plain, 25),
            _ => return Err("starts with smtps:// or smtp://"),
        };
        let decoded = |text: &str| percent_decode(text).ok_or("has a user or password that is no text");
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => Some((decoded(user)?, Secret::new(decoded(password.unwrap_or_default())?))),
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err("has nothing after its host and port");
        }
        Ok(Self { host, port: url.port().unwrap_or(port), protection, credentials })
    }
}

impl fmt::Debug for SmtpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SmtpUrl({}:{}, {:?})", self.host, self.port, self.protection)
    }
}

fn percent_decode(text: &str) -> Option<String> {
    percent_encoding::percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// Checks the form of an address: `name@host`, with a name for people in front where that is wanted.
///
/// # Errors
///
/// What is wrong.
pub fn check_address(text: &str) -> Result<(), &'static str> {
    let wrong = "is no address such as ann@example.com";
    #[cfg(feature = "mail")]
    let is_right = text.parse::<lettre::message::Mailbox>().is_ok();
    #[cfg(not(feature = "mail"))]
    let is_right = text.contains('@');
    if is_right && !text.contains(['\r', '\n']) { Ok(()) } else { Err(wrong) }
}

/// Reads where somebody asks for no more e-mails: a page, or an address.
///
/// # Errors
///
/// What is wrong.
pub fn parse_unsubscribe(text: &str) -> Result<String, &'static str> {
    let wrong = "is neither an https URL nor an address such as ann@example.com";
    // What it becomes a part of is a header in angle brackets.
    if !text.is_ascii() || text.contains(|c: char| c.is_control() || matches!(c, ' ' | '<' | '>' | ',')) {
        return Err(wrong);
    }
    let address = text.strip_prefix("mailto:").unwrap_or(text);
    match Url::parse(text) {
        Ok(url) if url.scheme() == "https" && url.has_host() => Ok(url.into()),
        _ if check_address(address.split('?').next().unwrap_or_default()).is_ok() => {
            Ok(format!("mailto:{address}"))
        }
        _ => Err(wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_protected_unless_it_is_on_this_machine() {
        let read = |text: &str| {
            let url = SmtpUrl::parse(text).unwrap();
            (url.host, url.port, url.protection)
        };
        assert_eq!(read("smtps://mail.example"), ("mail.example".into(), 465, SmtpProtection::Tls));
        assert_eq!(read("smtp://mail.example"), ("mail.example".into(), 587, SmtpProtection::StartTls));
        assert_eq!(read("smtp://mail.example:25"), ("mail.example".into(), 25, SmtpProtection::StartTls));
        assert_eq!(read("smtp://127.0.0.1:1025"), ("127.0.0.1".into(), 1025, SmtpProtection::Plain));
        assert_eq!(read("smtp://[::1]"), ("::1".into(), 25, SmtpProtection::Plain));
        assert_eq!(read("smtps://localhost"), ("localhost".into(), 465, SmtpProtection::Tls));
    }

    #[test]
    fn user_and_password_are_decoded_and_not_shown() {
        let url = SmtpUrl::parse("smtp://a%40b:p+%25%2F%C3%A9&=@mail.example").unwrap();
        let (user, password) = url.credentials.clone().unwrap();
        assert_eq!((user.as_str(), password.expose()), ("a@b", "p+%/\u{e9}&="));
        assert!(!format!("{url:?}").contains('%') && !format!("{url:?}").contains("a@b"));
        assert!(SmtpUrl::parse("smtp://mail.example").unwrap().credentials.is_none());
    }

    #[test]
    fn what_is_no_relay_is_refused() {
        for text in
            ["", "mail.example", "http://mail.example", "smtp://", "smtp://host/x", "smtp://host?x", "smtp:x"]
        {
            assert!(SmtpUrl::parse(text).is_err(), "{text}");
        }
        for text in ["", "ann", "ann@", "ann@example.com\r\nBcc: x@example.com"] {
            assert!(check_address(text).is_err(), "{text}");
        }
        assert!(check_address("Insights <insights@example.com>").is_ok());
    }

    #[test]
    fn the_way_out_is_a_page_or_an_address() {
        let read = |text: &str| parse_unsubscribe(text).unwrap();
        assert_eq!(read("https://corp.example/alerts?x=1"), "https://corp.example/alerts?x=1");
        assert_eq!(read("ops@corp.example"), "mailto:ops@corp.example");
        assert_eq!(read("mailto:ops@corp.example?subject=stop"), "mailto:ops@corp.example?subject=stop");
        for wrong in [
            "",
            "http://corp.example/",
            "https://",
            "ops",
            "a@b.example, c@d.example",
            "<ops@corp.example>",
            "mailto:",
            "https://corp.example/\r\nBcc: x@example.com",
        ] {
            assert!(parse_unsubscribe(wrong).is_err(), "{wrong}");
        }
    }
}
