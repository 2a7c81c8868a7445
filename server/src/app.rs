//! The state of the application and its router, so that a test needs no socket.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use insights_engine::clock::Clock;
use insights_engine::entropy::Entropy;
use tokio::sync::Semaphore;

use crate::alert::Alerts;
use crate::auth::Authenticator;
use crate::collect::own::{self, OwnRecords, OwnSink};
use crate::config::Config;
use crate::http::middleware::edge::Edge;
use crate::http::middleware::measure::HttpMetrics;
use crate::http::own_acts::OwnActs;
use crate::http::router;
use crate::ingest::Ingest;
use crate::job::Jobs;
use crate::live::Live;
use crate::notify::Notify;
use crate::report::stored::shelf::Making;
use crate::store::Store;

/// Exports at once.
const EXPORTS_MAX: usize = 16;

/// What every handler may use. Cheap to clone: every request does so several times.
#[derive(Debug, Clone)]
pub struct AppState(Arc<Shared>);

/// What an [`AppState`] has.
pub struct Shared {
    /// The engine, behind scopes.
    pub store: Store,
    /// The settings.
    pub config: Arc<Config>,
    /// All time.
    pub clock: Arc<dyn Clock>,
    /// Who is who.
    pub auth: Arc<Authenticator>,
    /// Randomness for keys and ids.
    pub entropy: Arc<Entropy>,
    /// Records of the server's own acts.
    pub own_acts: OwnActs,
    /// What stands in front of every route.
    pub edge: Edge,
    /// Counts and latencies of requests.
    pub http_metrics: HttpMetrics,
    /// What ingest knows across requests.
    pub ingest: Arc<Ingest>,
    /// The periodic tasks.
    pub jobs: Jobs,
    /// Where the server's own layers write to.
    pub own_sink: OwnSink,
    /// What they have written.
    pub own_records: OwnRecords,
    /// Channels, and what is on its way to them.
    pub notify: Notify,
    /// The reports that are being made.
    pub making: Making,
    /// Who looks at what happens now.
    pub live: Live,
    /// The rules and their alerts.
    pub alerts: Alerts,
    /// Exports that may run at once: each holds the files that it reads.
    pub exports: Arc<Semaphore>,
    /// Bytes of request bodies that may be in memory at once; one permit is one KiB.
    pub bodies: Arc<Semaphore>,
}

impl AppState {
    /// The state over an open store; `entropy` must be seeded by the operating system, keys come from it.
    pub fn new(
        store: Store,
        config: Config,
        clock: Arc<dyn Clock>,
        auth: Authenticator,
        entropy: Entropy,
    ) -> Self {
        let bodies_kib = usize::try_from(config.limits.bodies_in_flight_bytes_max / 1024)
            .unwrap_or(Semaphore::MAX_PERMITS)
            .min(Semaphore::MAX_PERMITS);
        let http_metrics = HttpMetrics::default();
        let seed = entropy.next().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let entropy = Arc::new(entropy);
        let edge = Edge::new(&config.trusted_proxies, Arc::clone(&clock), seed, http_metrics.clone());
        let (own_sink, own_records) = own::sink();
        let live = Live::default();
        if let Err(error) = store.follow(live.follower()) {
            // A second application over one store: it shows what there was when somebody came, and no more.
            tracing::warn!(%error, "what happens now is not followed");
        }
        Self(Arc::new(Shared {
            live,
            own_sink,
            own_records,
            ingest: Arc::new(Ingest::new(store.clone())),
            jobs: Jobs::new(&store, &config.jobs, clock.now()),
            notify: Notify::new(store.clone(), &config.notify, Arc::clone(&clock), Arc::clone(&entropy)),
            making: Making::default(),
            alerts: Alerts::new(&store, clock.now()),
            own_acts: OwnActs::new(store.clone(), Arc::clone(&clock)),
            store,
            edge,
            http_metrics,
            config: Arc::new(config),
            clock,
            auth: Arc::new(auth),
            entropy,
            exports: Arc::new(Semaphore::new(EXPORTS_MAX)),
            bodies: Arc::new(Semaphore::new(bodies_kib)),
        }))
    }
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("store", &self.store).finish_non_exhaustive()
    }
}

/// The whole application as one service.
pub fn app(state: AppState) -> Router {
    router::router(state)
}
