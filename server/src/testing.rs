//! The whole application over a store of its own, for tests: no socket, a clock that stands still.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use insights_engine::Engine;
use insights_engine::clock::ManualClock;
use insights_engine::disk::OsDisk;
use insights_engine::entropy::Entropy;
use insights_engine::time::TimestampUs;
use serde_json::Value;
use tower::ServiceExt;

use crate::auth::Authenticator;
use crate::auth::jwt::TokenVerifier;
use crate::auth::keyring::Keyring;
use crate::config::{Config, Secret};
use crate::{AppState, Store, app};

/// The superuser's key of every test.
pub(crate) const ROOT: &str = "the-superuser-key-of-every-single-test";

/// When every test begins: 2023-11-14T22:13:20Z.
pub(crate) const NOW: TimestampUs = TimestampUs(1_700_000_000_000_000);

/// An application and what it stands on.
pub(crate) struct TestApp {
    pub(crate) app: Router,
    pub(crate) state: AppState,
    pub(crate) clock: Arc<ManualClock>,
    engine: Arc<Engine>,
    dir: tempfile::TempDir,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }
}

impl TestApp {
    /// An application with the default settings.
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    /// An application with these settings, over an empty store.
    pub(crate) fn with(config: Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(NOW);
        let disk = Arc::new(OsDisk::open(dir.path()).unwrap());
        let engine = Engine::open(config.engine.clone(), disk, clock.clone(), [7; 32]).unwrap();
        let keyring = Keyring::load(|kind, prefix| engine.catalog_scan(kind, prefix));
        let tokens = config.jwt.as_ref().map(|jwt| TokenVerifier::new(jwt).unwrap());
        let auth = Authenticator::new(&Secret::new(ROOT), keyring, tokens);
        let store = Store::new(Arc::clone(&engine), config.limits.queries);
        let state = AppState::new(store, config, clock.clone(), auth, Entropy::from_seed([9; 32]));
        Self { app: app(state.clone()), state, clock, engine, dir }
    }

    /// What the next start over the same store reads: nothing that was only in memory is there any more. Credentials are
    /// the same.
    pub(crate) fn restart(&mut self) {
        let keyring = Keyring::load(|kind, prefix| self.engine.catalog_scan(kind, prefix));
        let auth = Authenticator::new(&Secret::new(ROOT), keyring, None);
        let store = Store::new(Arc::clone(&self.engine), self.state.config.limits.queries);
        let config = Config::clone(&self.state.config);
        self.state = AppState::new(store, config, self.clock.clone(), auth, Entropy::from_seed([10; 32]));
        self.app = app(self.state.clone());
    }

    /// Moves everything that is in memory into segments.
    pub(crate) fn flush(&self) {
        self.engine.flush().unwrap();
    }

    /// The engine below.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Where the store is.
    pub(crate) fn data_dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Sends a request as it is.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.app.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    /// Sends a request with a credential and a JSON body, unless that is null.
    pub(crate) async fn call(&self, method: Method, path: &str, key: &str, body: &Value) -> Answer {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {key}"))
            .header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(body).unwrap()).await
    }

    /// Makes a key of an organization, over HTTP.
    pub(crate) async fn key(&self, organization: &str, scopes: &[&str]) -> String {
        let body = serde_json::json!({ "name": "test", "organization_id": organization, "scopes": scopes });
        let answer = self.call(Method::POST, "/api/insights/keys/", ROOT, &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.json()["key"].as_str().unwrap().to_owned()
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        let _ = self.engine.close();
    }
}
