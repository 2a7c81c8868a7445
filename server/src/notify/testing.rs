//! Receivers and mail relays for tests: real sockets on this machine, answers as they are wanted, and what was received.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

#[cfg(any(feature = "mail", feature = "tls"))]
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
#[cfg(feature = "mail")]
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::{Config, Network};

/// A request that arrived.
#[derive(Debug)]
pub(crate) struct Received {
    /// Its first line.
    pub(crate) line: String,
    /// Its headers, the names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// Its body.
    pub(crate) body: Vec<u8>,
}

impl Received {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A receiver that is told what to answer.
pub(crate) struct Receiver {
    address: SocketAddr,
    received: mpsc::UnboundedReceiver<Received>,
    serving: JoinHandle<()>,
}

/// What a receiver answers to its n-th request, from 0; nothing is no answer while the connection stays open.
type Answers = dyn Fn(usize) -> Option<String> + Send + Sync;

/// An answer of a status without a body, and with further headers.
pub(crate) fn answer(status: u16, headers: &str) -> String {
    format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n{headers}\r\n")
}

impl Receiver {
    /// A receiver that answers 200.
    pub(crate) async fn start() -> Self {
        Self::answering(|_| answer(200, "")).await
    }

    /// A receiver with other answers.
    pub(crate) async fn answering(answers: impl Fn(usize) -> String + Send + Sync + 'static) -> Self {
        Self::serving(move |n| Some(answers(n))).await
    }

    /// A receiver that takes everything and answers nothing.
    pub(crate) async fn hanging() -> Self {
        Self::serving(|_| None).await
    }

    /// A receiver behind TLS that answers 200.
    #[cfg(all(feature = "mail", feature = "tls"))]
    pub(crate) async fn tls(acceptor: tokio_rustls::TlsAcceptor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, received) = mpsc::unbounded_channel();
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    // One that does not trust us says so in the handshake.
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, 0, Arc::new(|_| Some(answer(200, ""))), sender).await;
                    }
                });
            }
        });
        Self { address, received, serving }
    }

    async fn serving(answers: impl Fn(usize) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, received) = mpsc::unbounded_channel();
        let answers: Arc<Answers> = Arc::new(answers);
        let serving = tokio::spawn(async move {
            for n in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, n, Arc::clone(&answers), sender.clone()));
            }
        });
        Self { address, received, serving }
    }

    /// Its port.
    #[cfg(all(feature = "mail", feature = "tls"))]
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its URL with a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next request that arrives.
    pub(crate) async fn next(&mut self) -> Received {
        self.received.recv().await.unwrap()
    }

    /// A request that has arrived already.
    pub(crate) fn arrived(&mut self) -> Option<Received> {
        self.received.try_recv().ok()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    n: usize,
    answers: Arc<Answers>,
    sender: mpsc::UnboundedSender<Received>,
) {
    let mut bytes = Vec::new();
    let head_bytes = loop {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
    };
    let head = String::from_utf8(bytes[..head_bytes].to_vec()).unwrap();
    let mut lines = head.lines();
    let line = lines.next().unwrap().to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let body_bytes: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    while bytes.len() < head_bytes + 4 + body_bytes {
        stream.read_buf(&mut bytes).await.unwrap();
    }
    let body = bytes[head_bytes + 4..].to_vec();
    drop(sender.send(Received { line, headers, body }));
    match answers(n) {
        // The other side may have had enough already.
        Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
        None => std::future::pending().await,
    }
}

/// A certificate in PEM.
#[cfg(any(feature = "mail", feature = "tls"))]
pub(crate) fn pem(certificate: &rcgen::Certificate) -> String {
    let text = STANDARD.encode(certificate.der());
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// The default settings, and channels may lead to this machine.
pub(crate) fn config() -> Config {
    let mut config = Config::default();
    config.notify.allowed_networks = vec![Network::parse("127.0.0.1").unwrap()];
    config
}

/// A relay that talks with one client: every command it was given, and the mail as one text. It answers as `replies` say to
/// a verb and the whole command, and else that all is well.
#[cfg(feature = "mail")]
pub(crate) async fn relay(
    replies: impl Fn(&str, &str) -> Option<&'static str> + Send + 'static,
) -> (u16, JoinHandle<(Vec<String>, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let talk = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 relay.example ESMTP\r\n").await.unwrap();
        talk(stream, replies).await
    });
    (port, talk)
}

/// Talks as a relay that has said who it is, until its client says good-bye or is gone.
#[cfg(feature = "mail")]
pub(crate) async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: BufReader<S>,
    replies: impl Fn(&str, &str) -> Option<&'static str>,
) -> (Vec<String>, String) {
    let (mut commands, mut mail, mut in_mail) = (Vec::new(), String::new(), false);
    let mut line = String::new();
    while stream.read_line(&mut line).await.unwrap_or(0) > 0 {
        let said = std::mem::take(&mut line);
        if in_mail && said != ".\r\n" {
            mail.push_str(&said);
            continue;
        }
        let verb = said.split_whitespace().next().unwrap_or_default().to_owned();
        let default = match verb.as_str() {
            "EHLO" => "250-relay.example\r\n250 AUTH PLAIN",
            "AUTH" => "235 welcome",
            "DATA" => "354 go on",
            "QUIT" => "221 bye",
            _ => "250 fine",
        };
        in_mail = verb == "DATA";
        commands.push(said.trim_end().to_owned());
        let reply = replies(&verb, said.trim_end()).unwrap_or(default);
        stream.write_all(format!("{reply}\r\n").as_bytes()).await.unwrap();
        if verb == "QUIT" {
            break;
        }
    }
    (commands, mail)
}
