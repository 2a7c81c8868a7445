//! The whole application over a data directory of its own, and a clock that stands still; without a socket but
//! where a test wants one.

#![expect(clippy::expect_used, reason = "a builder of tests fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body_util::BodyExt;
use insights_engine::Engine;
use insights_engine::clock::ManualClock;
use insights_engine::compaction::Effort;
use insights_engine::disk::OsDisk;
use insights_engine::entropy::Entropy;
use insights_engine::time::TimestampUs;
use insights_server::auth::Authenticator;
use insights_server::auth::keyring::Keyring;
use insights_server::config::{Config, Secret};
use insights_server::http::connection::Patience;
use insights_server::http::serve::{ServeLimits, serve};
use insights_server::{AppState, Store, app};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tower::ServiceExt;

/// The superuser's key of every test.
pub const ROOT: &str = "the-superuser-key-of-every-single-test";

/// When every test begins: 2024-02-10T00:00:00Z.
pub const NOW: TimestampUs = TimestampUs(1_707_523_200_000_000);

/// An application and what it stands on.
#[derive(Debug)]
pub struct World {
    router: Router,
    engine: Arc<Engine>,
    clock: Arc<ManualClock>,
    config: Config,
    dir: TempDir,
    runtime: Runtime,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The text of a header; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Its JSON, after a check of the status.
    ///
    /// # Panics
    ///
    /// When the status is another one.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }
}

/// A request that is being put together.
#[derive(Debug, Clone)]
pub struct Call {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    /// A request without credential and body.
    ///
    /// # Panics
    ///
    /// When the method is none.
    pub fn new(method: &str, path: impl Into<String>) -> Self {
        let method = method.parse().expect("a method");
        Self { method, path: path.into(), headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// The same with an API key.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    /// The same with a header.
    ///
    /// # Panics
    ///
    /// When the name or value is none.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a name");
        self.headers.insert(name, HeaderValue::from_str(value).expect("a value"));
        self
    }

    /// The same with a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    /// The same with a body of these bytes.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

impl Call {
    /// The bytes of a client that asks once.
    fn on_the_wire(&self) -> Vec<u8> {
        let (method, path) = (&self.method, &self.path);
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}\r\n", value.to_str().expect("text"))
        };
        let headers: Vec<String> = self.headers.iter().map(line).collect();
        let (headers, len) = (headers.concat(), self.body.len());
        let always = "host: test\r\nconnection: close";
        let head = format!("{method} {path} HTTP/1.1\r\n{always}\r\n{headers}content-length: {len}\r\n\r\n");
        [head.as_bytes(), &self.body].concat()
    }
}

impl World {
    /// An application with the default settings over an empty directory.
    pub fn new() -> Self {
        Self::with(Config::default())
    }

    /// An application with these settings over an empty directory.
    ///
    /// # Panics
    ///
    /// When it cannot be opened.
    pub fn with(config: Config) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let dir = tempfile::tempdir().expect("a directory");
        let clock = ManualClock::new(NOW);
        let (engine, router) = open(&config, &dir, &clock);
        Self { router, engine, clock, config, dir, runtime }
    }

    /// Closes the store under the application.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub fn close(&self) {
        self.engine.close().expect("closed");
    }

    /// Closes the store and opens it again, as a restart does.
    ///
    /// # Panics
    ///
    /// When either fails.
    pub fn restart(&mut self) {
        self.close();
        // Nothing of before may answer: a closed store is not the new one.
        self.router = Router::new();
        let (engine, router) = open(&self.config, &self.dir, &self.clock);
        self.engine = engine;
        self.router = router;
    }

    /// The clock of everything.
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// Moves everything that is in memory into segments.
    ///
    /// # Panics
    ///
    /// When it fails.
    pub fn flush(&self) {
        self.engine.flush().expect("flushed");
    }

    /// Merges everything that can be merged.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub fn compact(&self) {
        self.engine.compact(Effort::Full).expect("a merge");
    }

    /// Removes the rows that nobody keeps any more.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub fn expire(&self) {
        self.engine.enforce_retention(false).expect("retention");
    }

    /// Sends a request through a socket, to a server that is started for it.
    ///
    /// # Panics
    ///
    /// When there is no answer, or none of HTTP with a length.
    pub fn send_over_socket(&self, call: &Call) -> Answer {
        let bytes = self.runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            let (stop, stopped) = oneshot::channel::<()>();
            let (patience, shutdown_timeout) = (Patience::default(), Duration::from_secs(5));
            let limits = ServeLimits { connections_max: 1, patience, shutdown_timeout };
            let stopped = async move { drop(stopped.await) };
            let served = tokio::spawn(serve(listener, self.router.clone(), limits, stopped));
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            stream.write_all(&call.on_the_wire()).await.expect("a request");
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.expect("an answer");
            drop(stop);
            served.await.expect("a server").expect("its end");
            bytes
        });
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Answer { status, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    /// Does the work beside a server that is reached at the URL that the work is given.
    ///
    /// # Panics
    ///
    /// When the server cannot be started or stopped.
    pub fn serve_while<W: Future>(&self, work: impl FnOnce(String) -> W) -> W::Output {
        self.runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let url = format!("http://{}", listener.local_addr().expect("an address"));
            let (stop, stopped) = oneshot::channel::<()>();
            let (patience, shutdown_timeout) = (Patience::default(), Duration::from_secs(5));
            let limits = ServeLimits { connections_max: 16, patience, shutdown_timeout };
            let stopped = async move { drop(stopped.await) };
            let served = tokio::spawn(serve(listener, self.router.clone(), limits, stopped));
            let output = work(url).await;
            drop(stop);
            served.await.expect("a server").expect("its end");
            output
        })
    }

    /// Segments that are live.
    pub fn segments(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("segments")).map_or(0, Iterator::count)
    }

    /// Sends a request.
    ///
    /// # Panics
    ///
    /// When the application gives no answer at all.
    pub fn send(&self, call: Call) -> Answer {
        let mut request = Request::builder().method(call.method).uri(call.path);
        if let Some(headers) = request.headers_mut() {
            *headers = call.headers;
            headers.insert(header::CONTENT_LENGTH, call.body.len().into());
        }
        let request = request.body(Body::from(call.body)).expect("a request");
        self.runtime.block_on(async {
            let answer = self.router.clone().oneshot(request).await.expect("an answer");
            let (parts, body) = answer.into_parts();
            let body = body.collect().await.expect("a whole body").to_bytes();
            Answer { status: parts.status.as_u16(), headers: parts.headers, body }
        })
    }

    /// A GET.
    pub fn get(&self, path: &str, key: &str) -> Answer {
        self.send(Call::new("GET", path).key(key))
    }

    /// A POST of JSON.
    pub fn post(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.send(Call::new("POST", path).key(key).json(body))
    }

    /// Makes a key of an organization.
    ///
    /// # Panics
    ///
    /// When it is refused.
    pub fn key(&self, organization: &str, scopes: &[&str]) -> String {
        let body = json!({"name": "test", "organization_id": organization, "scopes": scopes});
        let answer = self.post("/api/insights/keys/", ROOT, &body).expect(201);
        answer.get("key").and_then(Value::as_str).expect("a key").to_owned()
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

fn open(config: &Config, dir: &TempDir, clock: &Arc<ManualClock>) -> (Arc<Engine>, Router) {
    let disk = Arc::new(OsDisk::open(dir.path()).expect("a disk"));
    let clock: Arc<dyn insights_engine::clock::Clock> = Arc::<ManualClock>::clone(clock);
    let opened = Engine::open(config.engine.clone(), disk, Arc::clone(&clock), [7; 32]);
    let engine = opened.expect("an engine");
    let keyring = Keyring::load(|kind, prefix| engine.catalog_scan(kind, prefix));
    let auth = Authenticator::new(&Secret::new(ROOT), keyring, None);
    let store = Store::new(Arc::clone(&engine), config.limits.queries);
    let state = AppState::new(store, config.clone(), clock, auth, Entropy::from_seed([9; 32]));
    (engine, app(state))
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.engine.close();
    }
}
