//! What requests add up to between two reports: exact counts, and a sample of durations.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Method;
use parking_lot::Mutex;

use super::route::OTHER_ROUTE;
use crate::record::{MetricType, Point};
use crate::retry::Jitter;
use crate::sink::Sink;

/// How much is kept and sent.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_field_names, reason = "limits end in max everywhere")]
pub(crate) struct Bounds {
    /// Most series between two reports; requests of further ones count as route `other`.
    pub(crate) series_max: usize,
    /// Most durations of a series that are kept between two reports.
    pub(crate) sample_max: usize,
    /// Most durations of all series that a report sends.
    pub(crate) observations_max: usize,
}

/// What requests are told apart by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) route: Arc<str>,
    pub(crate) app: Option<Arc<str>>,
    /// The name of a standard method, else `other`.
    pub(crate) method: &'static str,
}

impl Key {
    fn overflow() -> Self {
        Self { route: OTHER_ROUTE.into(), app: None, method: OTHER_ROUTE }
    }

    fn point(&self, point: Point) -> Point {
        let mut point = point.label("route", &*self.route).label("method", self.method);
        point.app_id = self.app.as_deref().map(str::to_owned);
        point
    }
}

/// The name of a method; of those that are not standard there may be any number, so they share one.
pub(crate) fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => OTHER_ROUTE,
    }
}

#[derive(Debug, Default)]
struct Series {
    requests: u64,
    errors: u64,
    /// Durations seen.
    observed: u64,
    /// A uniform sample of them in milliseconds (reservoir sampling, Vitter 1985, algorithm R).
    sample_ms: Vec<f64>,
}

/// Sums between two reports.
#[derive(Debug)]
pub(crate) struct Aggregate {
    bounds: Bounds,
    state: Mutex<State>,
    in_flight: AtomicU64,
}

#[derive(Debug)]
struct State {
    series: HashMap<Key, Series>,
    random: Jitter,
}

impl State {
    fn series(&mut self, bounds: Bounds, key: &Key) -> &mut Series {
        let has_room = self.series.len() < bounds.series_max || self.series.contains_key(key);
        let key = if has_room { key.clone() } else { Key::overflow() };
        self.series.entry(key).or_default()
    }
}

impl Aggregate {
    pub(crate) fn new(bounds: Bounds, seed: u64) -> Self {
        let state = Mutex::new(State { series: HashMap::new(), random: Jitter::new(seed) });
        Self { bounds, state, in_flight: AtomicU64::new(0) }
    }

    /// Counts a request that has come, until [`ended`](Self::ended).
    pub(crate) fn began(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that is over.
    pub(crate) fn ended(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts requests and errors.
    pub(crate) fn count(&self, key: &Key, requests: u64, errors: u64) {
        let mut state = self.state.lock();
        let series = state.series(self.bounds, key);
        series.requests += requests;
        series.errors += errors;
    }

    /// Counts the duration of a request, and perhaps keeps it.
    pub(crate) fn observe(&self, key: &Key, duration: Duration) {
        let mut state = self.state.lock();
        let random = state.random.next();
        let series = state.series(self.bounds, key);
        series.observed += 1;
        let duration_ms = duration.as_secs_f64() * 1_000.0;
        if series.sample_ms.len() < self.bounds.sample_max {
            series.sample_ms.push(duration_ms);
        } else if let Some(place) =
            usize::try_from(random % series.observed).ok().and_then(|place| series.sample_ms.get_mut(place))
        {
            *place = duration_ms;
        }
    }

    /// Gives everything since the last report to the sink. Counts that it does not take are kept for the next report.
    pub(crate) fn report(&self, sink: &dyn Sink) {
        let taken = std::mem::take(&mut self.state.lock().series);
        if !taken.is_empty() {
            self.report_in_flight(sink);
        }
        // Counts before durations: they must be exact, and a sink may be nearly full.
        for (key, series) in &taken {
            let requests = Self::refused(sink, key, "requests.count", series.requests);
            let errors = Self::refused(sink, key, "errors.count", series.errors);
            if requests > 0 || errors > 0 {
                self.count(key, requests, errors);
            }
        }
        let kept: usize = taken.values().map(|series| series.sample_ms.len()).sum();
        // Every nth duration, evenly over the samples, so that no series is favoured.
        let stride = kept.div_ceil(self.bounds.observations_max.max(1)).max(1);
        let durations =
            taken.iter().flat_map(|(key, series)| series.sample_ms.iter().map(move |ms| (key, *ms)));
        for (key, ms) in durations.step_by(stride) {
            let point = Point::histogram("response.time", ms).unit("ms");
            if !sink.metric(key.point(point)) {
                break;
            }
        }
    }

    fn report_in_flight(&self, sink: &dyn Sink) {
        #[expect(clippy::cast_precision_loss, reason = "requests in flight are far fewer than 2^53")]
        let in_flight = self.in_flight.load(Ordering::Relaxed) as f64;
        sink.metric(Point::gauge("requests.in_flight", in_flight));
    }

    /// Gives a count to the sink and returns what it did not take.
    fn refused(sink: &dyn Sink, key: &Key, name: &str, count: u64) -> u64 {
        #[expect(clippy::cast_precision_loss, reason = "a report has far fewer than 2^53 requests")]
        let increment = count as f64;
        let point = Point::new(name, increment).metric_type(MetricType::Counter);
        if count == 0 || sink.metric(key.point(point)) { 0 } else { count }
    }

    /// Requests in flight.
    #[cfg(test)]
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }
}
