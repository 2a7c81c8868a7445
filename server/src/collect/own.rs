//! The server as one of its own users: what its layers see becomes points and audit records of the platform.
//!
//! The layers are those of `insights-client`. They write to a [`OwnSink`], which never waits; [`drive`] keeps what is in it.

use std::time::Duration;

use insights_client::{AuditRecord, Event, MetricType, Point, Sink};
use insights_engine::append::Append;
use insights_engine::id::{Stream, TenantId};
use insights_engine::schema::stream::MetricKind;
use insights_engine::schema::{Batch, BatchBuilder, Document, Value, stream};
use insights_engine::time::TimestampUs;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::app::AppState;
use crate::auth::PLATFORM;
use crate::domain::audit::{Outcome, Severity};

/// The application that the server is among those it measures.
pub const OWN_APP: &str = "insights-server";
/// The writer of what the server says of itself.
const WRITER: &str = "insights-server";
/// Records that wait to be kept; further ones are given again by the layer (counts), or lost (samples, audit records).
const WAITING_MAX: usize = 4_096;
/// Records that are kept at once.
const BATCH_MAX: usize = 1_024;
/// Audit records of one minute; refusals beyond are counted in the metrics alone, so that a flood of them fills no log.
const AUDIT_A_MINUTE_MAX: u32 = 60;
/// How often it is tried to keep some records before they are given up: an hour.
const TRIES_MAX: u32 = 720;
/// Time between two tries.
const PAUSE: Duration = Duration::from_secs(5);
/// Microseconds of a minute.
const MINUTE_US: i64 = 60_000_000;

/// Something the layers saw.
#[derive(Debug)]
enum Seen {
    Point(Box<Point>),
    Act(Box<AuditRecord>),
}

/// Where the layers write to. Cheap to clone.
#[derive(Debug, Clone)]
pub struct OwnSink(mpsc::Sender<Seen>);

/// The other end of an [`OwnSink`].
#[derive(Debug)]
pub struct OwnRecords(Mutex<Option<mpsc::Receiver<Seen>>>);

/// A sink and its other end.
pub fn sink() -> (OwnSink, OwnRecords) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (OwnSink(sender), OwnRecords(Mutex::new(Some(receiver))))
}

impl Sink for OwnSink {
    /// The server tracks no events of its own.
    fn track(&self, _: Event) -> bool {
        false
    }

    fn audit(&self, record: AuditRecord) -> bool {
        self.0.try_send(Seen::Act(Box::new(record))).is_ok()
    }

    fn metric(&self, point: Point) -> bool {
        self.0.try_send(Seen::Point(Box::new(point))).is_ok()
    }
}

/// How many audit records this minute has had.
#[derive(Debug, Default)]
struct Minute {
    number: i64,
    records: u32,
}

impl Minute {
    fn has_room(&mut self, now: TimestampUs) -> bool {
        let number = now.0.div_euclid(MINUTE_US);
        if self.number != number {
            *self = Self { number, records: 0 };
        }
        self.records += 1;
        self.records <= AUDIT_A_MINUTE_MAX
    }
}

/// Keeps what the server's layers see, for as long as it is polled.
pub async fn drive(state: AppState) {
    let Some(mut records) = state.own_records.0.lock().take() else { return };
    let mut minute = Minute::default();
    let mut seen = Vec::new();
    while records.recv_many(&mut seen, BATCH_MAX).await > 0 {
        keep(&state, &mut minute, std::mem::take(&mut seen)).await;
    }
}

/// Keeps some of it, together.
async fn keep(state: &AppState, minute: &mut Minute, seen: Vec<Seen>) {
    let Ok(platform) = TenantId::new(PLATFORM) else { return };
    let now = state.clock.now();
    let mut points = BatchBuilder::new(platform.clone(), Stream::Metrics);
    let mut acts = BatchBuilder::new(platform, Stream::Audit);
    for seen in seen {
        match seen {
            Seen::Point(point) => push_point(&mut points, &point, now),
            Seen::Act(act) if minute.has_room(now) => push_act(&mut acts, &act, now),
            Seen::Act(_) => {}
        }
    }
    let batches: Vec<Batch> =
        [points, acts].into_iter().filter(|batch| batch.rows() > 0).map(BatchBuilder::build).collect();
    if batches.is_empty() {
        return;
    }
    for tries in 1..=TRIES_MAX {
        let Err(error) = state.store.append(Append { batches: batches.clone(), ..Append::default() }).await
        else {
            return;
        };
        // Meanwhile the sink fills, and the layer keeps its counts.
        if tries == 1 || tries == TRIES_MAX {
            tracing::warn!(%error, tries, "what the server saw of itself is not kept");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A point of the layer; a duration is one of the application that the server is, and the platform's own latency.
fn push_point(batch: &mut BatchBuilder, point: &Point, now: TimestampUs) {
    row(batch, point, &point.name, point.app_id.as_deref(), now);
    if point.name == "response.time" {
        row(batch, point, "request.latency", None, now);
    }
}

fn row(batch: &mut BatchBuilder, point: &Point, name: &str, app: Option<&str>, now: TimestampUs) {
    let labels = point.labels.iter().map(|(name, value)| (name.clone(), Value::Str(value.clone())));
    let labels = Document::encode(&Value::Object(labels.collect()));
    let kind = match point.metric_type {
        Some(MetricType::Counter) => MetricKind::Counter,
        Some(MetricType::Histogram) => MetricKind::Observation,
        Some(MetricType::Gauge) | None => MetricKind::Gauge,
    };
    batch
        .i64(&stream::TIME, now.0)
        .i64(&stream::RECEIVED, now.0)
        .str(&stream::WRITING_KEY, Some(WRITER))
        .str(&stream::NAME, Some(name))
        .str(&stream::APP_ID, app)
        .bytes(&stream::LABELS, (!point.labels.is_empty()).then(|| labels.as_bytes()))
        .u64(&stream::KIND, kind as u64)
        .f64(&stream::VALUE, point.value)
        .finish_row();
}

fn push_act(batch: &mut BatchBuilder, act: &AuditRecord, now: TimestampUs) {
    let metadata = act.metadata.iter().map(|(name, value)| (name.clone(), of_json(value)));
    let metadata = Document::encode(&Value::Object(metadata.collect()));
    let address = act.ip_address.map(|address| address.to_string());
    let severity = match act.severity {
        insights_client::Severity::Error | insights_client::Severity::Critical => Severity::Error,
        _ => Severity::Warning,
    };
    batch
        .i64(&stream::TIME, now.0)
        .i64(&stream::RECEIVED, now.0)
        .str(&stream::WRITING_KEY, Some(WRITER))
        .str(&stream::REQUEST_ID, act.request_id.as_deref())
        .str(&stream::TRACE_ID, act.trace_id.as_deref())
        .str(&stream::IP_ADDRESS, address.as_deref())
        .str(&stream::USER_AGENT, act.user_agent.as_deref())
        .str(&stream::ACTION_TYPE, Some(&act.action_type))
        .str(&stream::DESCRIPTION, act.description.as_deref())
        .bytes(&stream::METADATA, Some(metadata.as_bytes()))
        .u64(&stream::SEVERITY, severity as u64)
        .u64(&stream::OUTCOME, Outcome::Failure as u64)
        .finish_row();
}

/// What the layer puts into `metadata`: text and numbers.
fn of_json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::String(text) => Value::Str(text.clone()),
        serde_json::Value::Number(number) => number.as_i64().map_or(Value::Null, Value::I64),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::{Method, StatusCode};
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::testing::{ROOT, TestApp};

    #[tokio::test]
    async fn the_server_counts_times_and_records_its_own_requests() {
        let mut app = TestApp::new();
        let driven = tokio::spawn(drive(app.state.clone()));
        for _ in 0..3 {
            let event = json!({ "organization_id": "acme", "event_type": "click" });
            let answer = app.call(Method::POST, "/api/insights/track/", ROOT, &event).await;
            assert_eq!(answer.status, StatusCode::ACCEPTED);
        }
        let refused = app.call(Method::GET, "/api/insights/events/", "nobody", &Json::Null).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        let rows = app.engine().stats().rows_appended;
        // The last report is made when the last clone of the layer goes.
        app.app = Router::new();
        // Of two routes: counts and durations, these twice; requests in flight; and the refusal, which came before.
        while app.engine().stats().rows_appended < rows + 5 {
            tokio::task::yield_now().await;
        }
        app.app = crate::app(app.state.clone());
        let body = json!({
            "organization_id": PLATFORM, "start": "2023-11-14", "end": "2023-11-14", "by": ["route", "app_id"],
            "names": ["requests.count", "request.latency", "response.time"], "aggregates": ["count", "sum"],
        });
        let answer = app.call(Method::POST, "/api/insights/metrics/query/", ROOT, &body).await.json();
        let series = |name: &str, route: &str| {
            let all = answer["series"].as_array().unwrap().iter();
            let of = |s: &&Json| s["name"] == name && s["labels"]["route"] == route;
            all.filter(of).map(|s| (s["labels"]["app_id"].clone(), s["points"][0].clone())).next().unwrap()
        };
        let (app_id, requests) = series("requests.count", "track");
        assert_eq!((app_id, requests["sum"].as_f64()), (json!(OWN_APP), Some(3.0)));
        assert_eq!(series("requests.count", "events").1["sum"].as_f64(), Some(1.0));
        assert_eq!(series("response.time", "track").1["count"], 3);
        assert_eq!(series("request.latency", "track").1["count"], 3);

        let path =
            format!("/api/insights/audit/?organization_id={PLATFORM}&action_type=insights.request.refused");
        let found = app.call(Method::GET, &path, ROOT, &Json::Null).await.json();
        let record = &found["results"][0];
        assert_eq!((&record["outcome"], &record["severity"]), (&json!("failure"), &json!("warning")));
        let metadata = &record["metadata"];
        assert_eq!((&metadata["route"], &metadata["status"]), (&json!("events"), &json!(401)));
        driven.abort();
    }

    #[test]
    fn a_flood_of_refusals_fills_no_log() {
        let mut minute = Minute::default();
        let taken =
            |minute: &mut Minute, at: i64| (0..100).filter(|_| minute.has_room(TimestampUs(at))).count();
        assert_eq!(taken(&mut minute, 0), 60);
        assert_eq!(taken(&mut minute, MINUTE_US - 1), 0);
        assert_eq!(taken(&mut minute, MINUTE_US), 60);
    }

    #[test]
    fn what_finds_no_place_is_given_back() {
        let (sink, _records) = sink();
        let taken = (0..WAITING_MAX + 5).filter(|_| sink.metric(Point::gauge("x", 1.0))).count();
        assert_eq!(taken, WAITING_MAX);
        assert!(!sink.audit(AuditRecord::new("a")) && !sink.track(Event::new("e")));
    }
}
