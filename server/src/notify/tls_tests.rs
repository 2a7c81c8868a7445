//! TLS with an authority of the operator's own: real handshakes on real sockets.

#![cfg(all(feature = "mail", feature = "tls"))]

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use super::channel::tests::webhook;
use super::channel::{Channel, Target};
use super::message::tests::message;
use super::testing::{Receiver, config, pem, talk};
use crate::config::notify::{Authorities, SmtpConfig, SmtpProtection, SmtpUrl};
use crate::notify::outbox::Outcome;
use crate::testing::TestApp;

/// An authority of the operator's own.
struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = pem(&parameters.self_signed(&key).unwrap());
        Self(Issuer::new(parameters, key), pem)
    }

    fn authorities(&self) -> Authorities {
        Authorities::parse(self.1.as_bytes()).unwrap()
    }

    /// The other side of handshakes, with a certificate for a name.
    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// What becomes of a message to a channel of a server that trusts these authorities.
async fn send(authorities: Authorities, smtp: Option<SmtpUrl>, target: Target) -> (bool, String) {
    let mut config = config();
    config.notify.authorities = authorities;
    config.notify.smtp = smtp.map(|url| {
        let from = "insights@corp.example".to_owned();
        SmtpConfig { url, from, unsubscribe: None }
    });
    let app = TestApp::with(config);
    let channel = Channel { target, ..webhook("ch_1", "https://x.example/") };
    let now = app.state.clock.now();
    let id = crate::notify::delivery::DeliveryId::parse("msg_1").unwrap();
    let sender = &app.state.notify.0.sender;
    match sender.send(&channel, &id, &message("shop", now), &[], now).await {
        Outcome::Delivered { .. } => (true, String::new()),
        Outcome::Failed { error, is_final, .. } => {
            assert!(!is_final, "an operator may mend it: {error}");
            (false, error)
        }
        Outcome::Mailed { .. } => panic!("everybody is taken"),
    }
}

#[tokio::test]
async fn a_receiver_is_trusted_with_the_authority_and_refused_without() {
    let (authority, other) = (Authority::new(), Authority::new());
    let mut receiver = Receiver::tls(authority.acceptor("127.0.0.1")).await;
    let url = format!("https://127.0.0.1:{}/", receiver.port());
    let target = || webhook("ch_1", &url).target;
    assert_eq!(send(authority.authorities(), None, target()).await, (true, String::new()));
    assert_eq!(receiver.next().await.headers["webhook-id"], "msg_1");
    for wrong in [Authorities::default(), other.authorities()] {
        let (is_delivered, error) = send(wrong, None, target()).await;
        assert!(!is_delivered && error.contains("certificate"), "{error}");
    }
    // Several authorities in one file are all trusted.
    let both = Authorities::parse(format!("{}\n# the other\n{}", other.1, authority.1).as_bytes()).unwrap();
    assert!(send(both, None, target()).await.0);
    assert!(receiver.next().await.line.starts_with("POST / "));
    assert!(receiver.arrived().is_none(), "nothing is said to whom is not trusted");
}

#[tokio::test]
async fn an_authority_vouches_for_names_and_not_for_whoever_answers() {
    let authority = Authority::new();
    let receiver = Receiver::tls(authority.acceptor("hooks.corp.example")).await;
    let target = webhook("ch_1", &format!("https://127.0.0.1:{}/", receiver.port())).target;
    let (is_delivered, error) = send(authority.authorities(), None, target).await;
    assert!(!is_delivered && error.contains("certificate"), "{error}");
}

/// A relay behind TLS, from the first byte or after `STARTTLS`, and the commands that it was given in it.
async fn relay(acceptor: TlsAcceptor, starts: bool) -> (u16, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        if starts {
            let mut plain = BufReader::new(&mut stream);
            plain.write_all(b"220 relay.example ESMTP\r\n").await.unwrap();
            let mut line = String::new();
            for answer in ["250-relay.example\r\n250 STARTTLS\r\n", "220 go on\r\n"] {
                plain.read_line(&mut line).await.unwrap();
                plain.write_all(answer.as_bytes()).await.unwrap();
            }
            assert!(line.ends_with("STARTTLS\r\n"), "{line}");
        }
        let Ok(stream) = acceptor.accept(stream).await else { return Vec::new() };
        let mut stream = BufReader::new(stream);
        if !starts {
            stream.write_all(b"220 relay.example ESMTP\r\n").await.unwrap();
        }
        talk(stream, |_, _| None).await.0
    });
    (port, serving)
}

#[tokio::test]
async fn a_relay_is_trusted_with_the_authority_and_refused_without() {
    let authority = Authority::new();
    for protection in [SmtpProtection::Tls, SmtpProtection::StartTls] {
        for is_trusted in [true, false] {
            let starts = protection == SmtpProtection::StartTls;
            let (port, serving) = relay(authority.acceptor("127.0.0.1"), starts).await;
            let mut url = SmtpUrl::parse(&format!("smtps://ann:hush@127.0.0.1:{port}")).unwrap();
            url.protection = protection;
            let authorities = if is_trusted { authority.authorities() } else { Authorities::default() };
            let target = Target::Email { to: vec!["ann@example.com".to_owned()] };
            let (is_delivered, error) = send(authorities, Some(url), target).await;
            assert_eq!(is_delivered, is_trusted, "{protection:?}: {error}");
            let commands = serving.await.unwrap();
            assert_eq!(commands.iter().any(|command| command == "DATA"), is_trusted, "{commands:?}");
            assert_eq!(
                commands.iter().any(|command| command.starts_with("AUTH")),
                is_trusted,
                "{commands:?}"
            );
        }
    }
}
