//! A receiver for tests: a real socket on this machine, answers as they are wanted, and what was received.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
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
    mut stream: TcpStream,
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

/// The default settings, and channels may lead to this machine.
pub(crate) fn config() -> Config {
    let mut config = Config::default();
    config.notify.allowed_networks = vec![Network::parse("127.0.0.1").unwrap()];
    config
}
