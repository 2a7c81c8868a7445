//! How a client is built: where it sends to, and its limits.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Uri;
use http::header::HeaderValue;
use http::uri::Scheme;
use http_body_util::Full;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::watch;

use crate::client::{Client, Shared};
use crate::clock::Clock;
use crate::exchange::Exchange;
use crate::lane::{Lane, Phase, Sending};
use crate::queue::{Limits, Queue};
use crate::retry::{Jitter, RetryPolicy};

/// Idle connections are closed by us, before a server or a proxy does it under a request: servers wait 60 s.
const POOL_IDLE: Duration = Duration::from_secs(30);
/// Most records that the server takes in one request.
const SERVER_RECORDS_MAX: usize = 10_000;

/// Why a client could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The URL is not one of a server. It is not repeated, since it may hold a password.
    #[error("the url of a server is http://HOST[:PORT][/PATH], or https with the feature `tls`: {0}")]
    Url(&'static str),
    /// The API key cannot be a header. It is not repeated.
    #[error("an api key is visible ASCII")]
    ApiKey,
    /// A limit is zero, or over what the server takes.
    #[error("{name} is {value}; it is from 1 to {max}")]
    Limit {
        /// The limit's name.
        name: &'static str,
        /// What it was set to.
        value: usize,
        /// The most it can be.
        max: usize,
    },
    /// The client needs a tokio runtime for its background tasks.
    #[error("a client is built inside a tokio runtime")]
    NoRuntime,
    /// The operating system gave no random numbers, which idempotency keys need.
    #[error("random numbers of the operating system")]
    Random(#[source] getrandom::Error),
}

/// Builds a [`Client`].
#[must_use]
pub struct ClientBuilder {
    url: String,
    api_key: String,
    organization: Option<String>,
    app: Option<String>,
    limits: Limits,
    request_timeout: Duration,
    retry: RetryPolicy,
    clock: Clock,
}

impl ClientBuilder {
    pub(crate) fn new(url: String, api_key: String) -> Self {
        let limits = Limits {
            queue_records_max: 10_000,
            queue_bytes_max: 32 << 20,
            batch_records_max: 1_000,
            batch_bytes_max: 1_000_000,
            flush_interval: Duration::from_secs(1),
        };
        let (request_timeout, retry) = (Duration::from_secs(10), RetryPolicy::default());
        Self {
            url,
            api_key,
            organization: None,
            app: None,
            limits,
            request_timeout,
            retry,
            clock: Clock::system(),
        }
    }

    /// Organization of records that name none. Only a superuser's key needs it: another key has its own.
    pub fn organization(mut self, organization: impl Into<String>) -> Self {
        self.organization = Some(organization.into());
        self
    }

    /// Application of records that name none.
    pub fn app(mut self, app: impl Into<String>) -> Self {
        self.app = Some(app.into());
        self
    }

    /// Most records of a stream that wait or are being sent; more are dropped and counted. 10,000 by default.
    pub fn queue_records_max(mut self, records: usize) -> Self {
        self.limits.queue_records_max = records;
        self
    }

    /// Most bytes of those, as JSON. 32 MiB by default.
    pub fn queue_bytes_max(mut self, bytes: usize) -> Self {
        self.limits.queue_bytes_max = bytes;
        self
    }

    /// Most records of a request, at most 10,000. 1,000 by default.
    pub fn batch_records_max(mut self, records: usize) -> Self {
        self.limits.batch_records_max = records;
        self
    }

    /// Most bytes of a request's body, at most 16 MiB; a longer record is rejected. 1,000,000 by default, which
    /// passes through proxies with their usual limit of 1 MiB.
    pub fn batch_bytes_max(mut self, bytes: usize) -> Self {
        self.limits.batch_bytes_max = bytes;
        self
    }

    /// Longest that a record waits for others to share a request. 1 s by default.
    pub fn flush_interval(mut self, interval: Duration) -> Self {
        self.limits.flush_interval = interval;
        self
    }

    /// Longest that a request and its answer take. 10 s by default.
    pub fn request_timeout(mut self, limit: Duration) -> Self {
        self.request_timeout = limit;
        self
    }

    /// How often and after how long a batch is sent again.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// The time of records without a timestamp. The system's clock by default.
    pub fn clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Clock::of(now);
        self
    }

    /// Builds the client and starts its background tasks on the current tokio runtime.
    ///
    /// No connection is made yet: a server that is down is no error.
    ///
    /// # Errors
    ///
    /// [`BuildError`] for a wrong URL, key or limit, and outside a tokio runtime.
    pub fn build(self) -> Result<Client, BuildError> {
        #[cfg(feature = "tls")]
        let connector = {
            let mut http = HttpConnector::new();
            http.enforce_http(false);
            let tls = hyper_rustls::HttpsConnectorBuilder::new().with_webpki_roots();
            tls.https_or_http().enable_http1().wrap_connector(http)
        };
        #[cfg(not(feature = "tls"))]
        let connector = HttpConnector::new();
        self.build_with(connector)
    }

    /// Builds a client whose connections come from `connector`.
    pub(crate) fn build_with<C>(self, connector: C) -> Result<Client, BuildError>
    where
        C: Connect + Clone + Send + Sync + 'static,
    {
        let base = self.base()?;
        self.check_limits()?;
        let mut authorization =
            HeaderValue::try_from(format!("Bearer {}", self.api_key)).map_err(|_| BuildError::ApiKey)?;
        if self.api_key.is_empty() || !self.api_key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BuildError::ApiKey);
        }
        authorization.set_sensitive(true);
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let (mut id, mut seed) = ([0; 16], [0; 8]);
        getrandom::fill(&mut id).map_err(BuildError::Random)?;
        getrandom::fill(&mut seed).map_err(BuildError::Random)?;
        let mut seeds = Jitter::new(u64::from_le_bytes(seed));

        let Self { organization, app, mut limits, request_timeout, retry, clock, .. } = self;
        // A queue that is full is sent at once, also one that is smaller than a batch.
        limits.batch_records_max = limits.batch_records_max.min(limits.queue_records_max);
        limits.batch_bytes_max = limits.batch_bytes_max.min(limits.queue_bytes_max);
        let exchange: Arc<dyn Exchange> = Arc::new(
            legacy::Client::builder(TokioExecutor::new())
                .pool_idle_timeout(POOL_IDLE)
                .pool_timer(TokioTimer::new())
                .build::<C, Full<Bytes>>(connector),
        );
        let sending = Sending { authorization, request_timeout, retry, clock: clock.clone() };
        let phase = Arc::new(watch::Sender::new(Phase::Open));
        let mut start = |stream: &str| -> Result<Arc<Queue>, BuildError> {
            let queue = Arc::new(Queue::new(limits));
            let uri = format!("{base}/api/insights/{stream}/");
            let lane = Lane {
                queue: Arc::clone(&queue),
                exchange: Arc::clone(&exchange),
                sending: sending.clone(),
                uri: uri.parse().map_err(|_| BuildError::Url("its path is not one"))?,
                phase: Arc::clone(&phase),
                jitter: Jitter::new(seeds.next()),
                key_prefix: format!("{:032x}-{stream}", u128::from_le_bytes(id)),
                batches: 0,
            };
            runtime.spawn(lane.run());
            Ok(queue)
        };
        let (events, audit, metrics) = (start("track")?, start("audit")?, start("metrics")?);
        Ok(Client::of(Shared { events, audit, metrics, phase, clock, organization, app, base }))
    }

    /// Scheme, host, port and path of the server, without a slash at the end.
    fn base(&self) -> Result<String, BuildError> {
        let uri: Uri = self.url.parse().map_err(|_| BuildError::Url("it cannot be read"))?;
        let scheme = uri.scheme().ok_or(BuildError::Url("it has no scheme"))?;
        let authority = uri.authority().ok_or(BuildError::Url("it has no host"))?;
        if *scheme == Scheme::HTTPS && !cfg!(feature = "tls") {
            return Err(BuildError::Url(
                "this build has no https; the feature `tls` of insights-client adds it",
            ));
        }
        if *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS {
            return Err(BuildError::Url("its scheme is neither http nor https"));
        }
        if authority.as_str().contains('@') {
            return Err(BuildError::Url("it has a user; the api key is given apart"));
        }
        if uri.query().is_some() {
            return Err(BuildError::Url("it has a query"));
        }
        Ok(format!("{scheme}://{authority}{}", uri.path().trim_end_matches('/')))
    }

    fn check_limits(&self) -> Result<(), BuildError> {
        let Limits { queue_records_max, queue_bytes_max, batch_records_max, batch_bytes_max, .. } =
            self.limits;
        let limits = [
            ("queue_records_max", queue_records_max, usize::MAX),
            ("queue_bytes_max", queue_bytes_max, usize::MAX),
            ("batch_records_max", batch_records_max, SERVER_RECORDS_MAX),
            ("batch_bytes_max", batch_bytes_max, 16 << 20),
            ("attempts_max", self.retry.attempts_max.try_into().unwrap_or(usize::MAX), usize::MAX),
        ];
        match limits.into_iter().find(|(_, value, max)| *value == 0 || value > max) {
            Some((name, value, max)) => Err(BuildError::Limit { name, value, max }),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for ClientBuilder {
    /// Without the API key, and without the URL, which may hold a password until it is checked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { organization, app, limits, request_timeout, retry, .. } = self;
        f.debug_struct("ClientBuilder")
            .field("organization", organization)
            .field("app", app)
            .field("limits", limits)
            .field("request_timeout", request_timeout)
            .field("retry", retry)
            .finish_non_exhaustive()
    }
}
