//! The layer that counts and times requests.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response, request, response};
use pin_project_lite::pin_project;
use tokio::time::{Instant, sleep};
use tower_layer::Layer;
use tower_service::Service;

use super::aggregate::{Aggregate, Bounds, Key, method_name};
use super::identity::{Identify, Known, Told};
use super::panicking;
use super::route::{NameRoute, Names, path_template};
use super::timed_body::TimedBody;
use crate::sink::Sink;

/// Counts and times requests by route, application and method, and sends points at every interval.
///
/// | point | type | is |
/// |---|---|---|
/// | `requests.count` | counter | requests answered, failed or abandoned by their client, since the last report |
/// | `errors.count` | counter | those answered with 5xx, failed without an answer, ended by a panic, or whose body broke off |
/// | `response.time` | histogram, ms | from the request to the end of the response's body, or to where it was dropped |
/// | `requests.in_flight` | gauge | requests that have come and whose body has not ended, at the time of the report |
///
/// All but the last have the labels `route` and `method` and the application as `app_id`. Counts are exact: what the sink does not take
/// is part of the next report. Of the durations of a series a report has a uniform random sample of at most
/// [`sample_max`](MetricsLayerBuilder::sample_max) (reservoir sampling), so that quantiles of an interval are unbiased; the
/// number of `response.time` points is therefore not the number of requests. A request that its client abandons before
/// the answer has no duration.
///
/// Reports are made by a task that the first request starts on its runtime, and when the last clone of the layer and its
/// services is dropped; [`report`](Self::report) makes one at once, before a shutdown of the client say.
///
/// ```
/// use axum::{Router, routing::get};
/// use insights_client::{Client, Identity, MetricsLayer};
/// use std::time::Duration;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::builder("http://127.0.0.1:8686", "ins_1_secret").build()?;
/// let metrics = MetricsLayer::builder(client.clone())
///     .interval(Duration::from_secs(15))
///     .identify(|_: &axum::http::request::Parts| Identity::default().app_id("shop"))
///     .build();
/// let app: Router = Router::new().route("/", get(|| async { "hello" })).layer(metrics.clone());
/// # drop(app);
/// // At the end: what is counted goes to the client, and what the client has goes to the server.
/// metrics.report();
/// client.shutdown(Duration::from_secs(5)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MetricsLayer {
    meter: Arc<Meter>,
}

/// Builds a [`MetricsLayer`].
#[must_use]
pub struct MetricsLayerBuilder {
    sink: Arc<dyn Sink>,
    identify: Arc<dyn Identify>,
    route: NameRoute,
    routes_max: usize,
    apps_max: usize,
    interval: Duration,
    bounds: Bounds,
}

/// What the clones of a layer and its services share.
struct Meter {
    sink: Arc<dyn Sink>,
    identify: Arc<dyn Identify>,
    route: NameRoute,
    routes: Names,
    apps: Names,
    interval: Duration,
    aggregate: Aggregate,
    is_reporting: AtomicBool,
}

impl MetricsLayer {
    /// A layer with the default settings that writes to the sink, which a [`Client`](crate::Client) is.
    pub fn new(sink: impl Sink) -> Self {
        Self::builder(sink).build()
    }

    /// Begins to build a layer that writes to the sink.
    pub fn builder(sink: impl Sink) -> MetricsLayerBuilder {
        MetricsLayerBuilder {
            sink: Arc::new(sink),
            identify: Arc::new(Told),
            route: Arc::new(|parts| path_template(parts.uri.path())),
            routes_max: 200,
            apps_max: 100,
            interval: Duration::from_secs(10),
            bounds: Bounds { series_max: 1_000, sample_max: 100, observations_max: 5_000 },
        }
    }

    /// Gives everything counted since the last report to the sink.
    pub fn report(&self) {
        self.meter.report();
    }

    #[cfg(test)]
    pub(crate) fn in_flight(&self) -> u64 {
        self.meter.aggregate.in_flight()
    }
}

impl MetricsLayerBuilder {
    /// Says how to find out which application a request is for: `app_id` of its [`Identity`](crate::Identity).
    pub fn identify(mut self, identify: impl Identify) -> Self {
        self.identify = Arc::new(identify);
        self
    }

    /// Names the route of a request. [`path_template`] of its path by default.
    pub fn route(mut self, name: impl Fn(&request::Parts) -> String + Send + Sync + 'static) -> Self {
        self.route = Arc::new(name);
        self
    }

    /// Most distinct routes; further ones are called [`OTHER_ROUTE`](crate::OTHER_ROUTE). 200 by default.
    pub fn routes_max(mut self, routes: usize) -> Self {
        self.routes_max = routes;
        self
    }

    /// Most distinct applications; further ones are called `other`. 100 by default.
    pub fn apps_max(mut self, apps: usize) -> Self {
        self.apps_max = apps;
        self
    }

    /// Most series (route, application and method) between two reports; requests of further ones count as route, and
    /// method, `other`. 1,000 by default.
    pub fn series_max(mut self, series: usize) -> Self {
        self.bounds.series_max = series;
        self
    }

    /// Most durations of one series in a report. 100 by default.
    pub fn sample_max(mut self, durations: usize) -> Self {
        self.bounds.sample_max = durations;
        self
    }

    /// Most durations of all series in a report, so that they leave room in the client's queue. 5,000 by default.
    pub fn observations_max(mut self, durations: usize) -> Self {
        self.bounds.observations_max = durations;
        self
    }

    /// Time between two reports, at least 10 ms. 10 s by default.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(10));
        self
    }

    /// Builds the layer.
    pub fn build(self) -> MetricsLayer {
        let Self { sink, identify, route, routes_max, apps_max, interval, bounds } = self;
        let meter = Meter {
            sink,
            identify,
            route,
            routes: Names::new(routes_max),
            apps: Names::new(apps_max),
            interval,
            // Which durations are kept need not differ between processes.
            aggregate: Aggregate::new(bounds, 0),
            is_reporting: AtomicBool::new(false),
        };
        MetricsLayer { meter: Arc::new(meter) }
    }
}

impl Meter {
    fn report(&self) {
        self.aggregate.report(&*self.sink);
    }

    /// Starts the task that reports, unless it runs or there is no runtime to run it.
    fn ensure_reporting(self: &Arc<Self>) {
        if self.is_reporting.load(Ordering::Relaxed) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !self.is_reporting.swap(true, Ordering::Relaxed) {
            runtime.spawn(Reporting { meter: Arc::downgrade(self), interval: self.interval }.run());
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.report();
    }
}

/// The task that reports; it does not keep the layer alive.
struct Reporting {
    meter: Weak<Meter>,
    interval: Duration,
}

impl Reporting {
    async fn run(self) {
        loop {
            sleep(self.interval).await;
            let Some(meter) = self.meter.upgrade() else { return };
            meter.report();
        }
    }
}

impl Drop for Reporting {
    /// When a runtime ends before the layer does, the next request starts a task on its own.
    fn drop(&mut self) {
        if let Some(meter) = self.meter.upgrade() {
            meter.is_reporting.store(false, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for MetricsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsLayer").field("interval", &self.meter.interval).finish_non_exhaustive()
    }
}

impl fmt::Debug for MetricsLayerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsLayerBuilder").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for MetricsLayer {
    type Service = MetricsService<S>;

    fn layer(&self, inner: S) -> MetricsService<S> {
        MetricsService { inner, meter: Arc::clone(&self.meter) }
    }
}

/// The service of a [`MetricsLayer`].
#[derive(Clone)]
pub struct MetricsService<S> {
    inner: S,
    meter: Arc<Meter>,
}

impl<S: fmt::Debug> fmt::Debug for MetricsService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, RequestBody, ResponseBody> Service<Request<RequestBody>> for MetricsService<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>>,
{
    type Response = Response<TimedBody<ResponseBody>>;
    type Error = S::Error;
    type Future = MetricsFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        self.meter.ensure_reporting();
        let (mut parts, body) = request.into_parts();
        let flight = Flight::begin(&self.meter, &mut parts);
        let future = self.inner.call(Request::from_parts(parts, body));
        MetricsFuture { future, flight: Some(flight) }
    }
}

/// A request from its arrival to the end of its response's body; counted whatever happens to it.
pub(crate) struct Flight {
    meter: Arc<Meter>,
    start: Instant,
    stage: Stage,
}

enum Stage {
    /// The inner service has it.
    Asked { route: Arc<str>, method: &'static str, known: Known },
    /// It is counted; the body goes on.
    Answered { key: Key, is_error: bool },
    /// Nothing of it is left to count.
    Over,
}

impl Flight {
    fn begin(meter: &Arc<Meter>, parts: &mut request::Parts) -> Self {
        let known = Known::before(&*meter.identify, parts);
        let route = meter.routes.bounded(&(meter.route)(parts));
        // The last step, so that a panic in a function of the caller's leaves nothing in flight.
        meter.aggregate.began();
        let stage = Stage::Asked { route, method: method_name(&parts.method), known };
        Self { meter: Arc::clone(meter), start: Instant::now(), stage }
    }

    /// Counts the request; `answer` is none when there is none.
    fn count(&mut self, answer: Option<&response::Parts>, is_error: bool) {
        let Stage::Asked { route, method, known } = std::mem::replace(&mut self.stage, Stage::Over) else {
            return;
        };
        let meter = &self.meter;
        let app = known.after(&*meter.identify, answer).app_id.map(|app| meter.apps.bounded(&app));
        let key = Key { route, app, method };
        meter.aggregate.count(&key, 1, u64::from(is_error));
        self.stage = Stage::Answered { key, is_error };
    }

    /// Ends the request with an error of its body.
    pub(crate) fn broke_off(self) {
        if let Stage::Answered { key, is_error: false } = &self.stage {
            self.meter.aggregate.count(key, 0, 1);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        match &self.stage {
            Stage::Answered { key, .. } => self.meter.aggregate.observe(key, self.start.elapsed()),
            // The future was dropped because its client went away, or never made because the inner service panicked.
            Stage::Asked { .. } => self.count(None, std::thread::panicking()),
            Stage::Over => {}
        }
        self.meter.aggregate.ended();
    }
}

pin_project! {
    /// The future of a [`MetricsService`].
    pub struct MetricsFuture<F> {
        #[pin]
        future: F,
        flight: Option<Flight>,
    }
}

impl<F> fmt::Debug for MetricsFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsFuture").finish_non_exhaustive()
    }
}

impl<F, ResponseBody, E> Future for MetricsFuture<F>
where
    F: Future<Output = Result<Response<ResponseBody>, E>>,
{
    type Output = Result<Response<TimedBody<ResponseBody>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let flight = this.flight;
        let result = ready!(panicking::poll(this.future, context, || {
            if let Some(mut flight) = flight.take() {
                flight.count(None, true);
            }
        }));
        #[expect(clippy::expect_used, reason = "a future is not polled again after it was ready")]
        let mut flight = flight.take().expect("polled after it was ready");
        Poll::Ready(match result {
            Ok(response) => {
                let (parts, body) = response.into_parts();
                flight.count(Some(&parts), parts.status.is_server_error());
                Ok(Response::from_parts(parts, TimedBody::new(body, flight)))
            }
            Err(error) => {
                flight.count(None, true);
                Err(error)
            }
        })
    }
}
