//! Keeps the records of one request and answers.

use std::sync::Arc;

use axum::body::Bytes;
use insights_engine::append::{Append, CatalogKind, Idempotency};
use insights_engine::config::Durability;
use insights_engine::id::Stream;
use insights_engine::time::TimestampUs;
use tokio::sync::OnceCell;

use super::answer::{Answer, RecordError, Sent, nothing_kept};
use super::audit::AuditSink;
use super::chains::Chains;
use super::document::Scratch;
use super::event::EventSink;
use super::first_copies::fill_leaves;
use super::grammar::{BodyError, Shape, read_json, read_lines};
use super::idempotency::idempotency;
use super::intake::{Collected, Request};
use super::look_back::{SingleEvent, note_batch};
use super::metric_kinds::{Claims, MetricKinds};
use super::point::PointSink;
use super::record::Sink;
use super::session::SessionNamer;
use crate::app::AppState;
use crate::auth::principal::Principal;
use crate::domain::instant;
use crate::http::error::{ApiError, Code};
use crate::http::extract::{Body, MediaType};
use crate::http::middleware::context::RequestContext;
use crate::store::Store;

/// Bodies above this are parsed on a thread for blocking work: more than a millisecond of it would
/// hold up the other requests of an asynchronous thread.
const PARSED_IN_PLACE_BYTES_MAX: usize = 512 << 10;

/// The name of the secret that session names are made under.
const SESSION_SECRET: &str = "session";

/// What ingest knows across requests.
#[derive(Debug)]
pub struct Ingest {
    kinds: Arc<MetricKinds>,
    chains: Chains,
    namer: OnceCell<Arc<SessionNamer>>,
}

impl Ingest {
    /// Nothing known yet, over a store.
    pub fn new(store: Store) -> Self {
        let kinds = MetricKinds::new(move |key| store.catalog_get(CatalogKind::Metric, key));
        Self { kinds: Arc::new(kinds), chains: Chains::default(), namer: OnceCell::new() }
    }

    async fn namer(&self, store: &Store) -> Result<Arc<SessionNamer>, ApiError> {
        let make =
            async || store.secret(SESSION_SECRET).await.map(|secret| Arc::new(SessionNamer::new(&secret)));
        Ok(Arc::clone(self.namer.get_or_try_init(make).await?))
    }
}

/// How the records of a request are taken.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where they go.
    pub stream: Stream,
    /// Whether they may be of any age.
    pub import: bool,
    /// Whether one bad record spoils the batch.
    pub strict: bool,
    /// What the client named the request.
    pub idempotency_key: Option<String>,
}

/// What is needed to read a body.
#[derive(Debug, Clone)]
struct Reading {
    principal: Principal,
    context: RequestContext,
    bytes: Bytes,
    media: MediaType,
    stream: Stream,
    now: TimestampUs,
    newest: TimestampUs,
    oldest: TimestampUs,
    own_acts: bool,
    records_max: usize,
    namer: Option<Arc<SessionNamer>>,
    kinds: Arc<MetricKinds>,
    /// Where retention is looked up; none for records of any age.
    store: Option<Store>,
}

/// What was read.
#[derive(Debug)]
struct Read {
    shape: Shape,
    collected: Collected,
    claims: Option<Claims>,
}

impl Read {
    /// Whether there is nothing to give to the store: no record, none that is valid, or one that spoils
    /// the batch.
    fn keeps_nothing(&self, strict: bool) -> bool {
        let Collected { batches, rejected, .. } = &self.collected;
        batches.is_empty() || (strict && !rejected.is_empty())
    }
}

impl Reading {
    /// The same body, with records of any time.
    fn of_any_time(&self) -> Self {
        Self { newest: instant::MAX, oldest: instant::MIN, store: None, ..self.clone() }
    }

    /// What names the request, with what is kept to answer it again.
    fn idempotency(&self, key: String, import: bool, collected: &Collected) -> Idempotency {
        idempotency(key, &self.principal, route(self.stream, import), &self.bytes, &collected.faults)
    }

    fn read(&self) -> Result<Read, ApiError> {
        let request = Request {
            principal: &self.principal,
            context: &self.context,
            now: self.now,
            newest: self.newest,
            oldest: self.oldest,
            store: self.store.as_ref(),
            own_acts: self.own_acts,
        };
        let mut scratch = Scratch::default();
        let (shape, collected, claims) = match (self.stream, &self.namer) {
            (Stream::Events, Some(namer)) => {
                let mut sink = EventSink::new(&request, namer);
                (self.body(&mut sink, &mut scratch)?, sink.finish(), None)
            }
            (Stream::Events, None) => return Err(ApiError::internal()),
            (Stream::Audit, _) => {
                let mut sink = AuditSink::new(&request);
                (self.body(&mut sink, &mut scratch)?, sink.finish(), None)
            }
            (Stream::Metrics, _) => {
                let mut sink = PointSink::new(&request, &self.kinds);
                let shape = self.body(&mut sink, &mut scratch)?;
                let (collected, claims) = sink.finish();
                (shape, collected, Some(claims))
            }
        };
        Ok(Read { shape, collected, claims })
    }

    fn body<'de>(&'de self, sink: &mut impl Sink<'de>, scratch: &mut Scratch) -> Result<Shape, ApiError> {
        let shape = match self.media {
            MediaType::Json => read_json(&self.bytes, self.records_max, sink, scratch),
            MediaType::Ndjson => read_lines(&self.bytes, self.records_max, sink, scratch),
        };
        shape.map_err(|error| match error {
            BodyError::Malformed { .. } => ApiError::malformed_json(error.to_string()),
            BodyError::TooMany { .. } => ApiError::new(Code::PayloadTooLarge, error.to_string()),
        })
    }
}

/// Reads the records of a body, keeps them together, and says what became of each.
///
/// # Errors
///
/// `malformed_json` and `payload_too_large` for the body as a whole; `forbidden` when a record names an
/// organization or user that the principal may not write for; `invalid` when nothing was accepted, or
/// `strict` and something was not; the store's own.
pub async fn write(
    state: &AppState,
    principal: Principal,
    context: RequestContext,
    body: Body,
    options: Options,
) -> Result<Answer, ApiError> {
    let mut reading = Arc::new(reading(state, principal, context, &body, &options).await?);
    let mut found = read(&reading).await?;
    if found.collected.forbidden {
        return Err(ApiError::forbidden());
    }
    let mut answered = false;
    if let Some(key) = options.idempotency_key.clone().filter(|_| found.keeps_nothing(options.strict)) {
        let request = reading.idempotency(key, options.import, &found.collected);
        answered = state.store.is_answered(request).await?;
        if answered {
            // What was kept then may be out of its time now; the answer is about the same records.
            drop(found);
            reading = Arc::new(reading.of_any_time());
            found = read(&reading).await?;
        }
    }
    let refused = !answered && found.keeps_nothing(options.strict);
    let Read { shape, collected, claims } = found;
    let durable = state.config.durability == Durability::Synced;
    if refused && collected.records == 0 {
        return Ok(Answer {
            durable,
            records: (options.stream == Stream::Audit).then(Vec::new),
            ..Answer::default()
        });
    }
    let single = shape == Shape::Single;
    let idempotency = options.idempotency_key.map(|key| reading.idempotency(key, options.import, &collected));
    let Collected { batches, faults, homes, ids, .. } = collected;
    let errors: Vec<_> = faults.into_iter().map(RecordError::from).collect();
    if refused {
        return Err(nothing_kept(errors, single, options.strict));
    }
    let session_id = match &reading.namer {
        Some(namer) => session(state, namer, &reading.principal, &batches, single).await,
        None => None,
    };
    let sent = Sent { stream: options.stream, single, homes, ids, errors, session_id };
    let puts = claims.as_ref().map(|claims| claims.puts().to_vec()).unwrap_or_default();
    let append = Append { batches, puts, idempotency };
    let mut appended = state.store.append(append).await?;
    // Until here, so that a metric's kind is not declared twice while this request is on its way.
    drop(claims);
    if options.stream == Stream::Audit {
        fill_leaves(&state.store, &reading.principal, &mut appended).await;
    }
    Ok(sent.answer(&appended, &|tenant, stream, seq, received| {
        state.store.derived_id(tenant, stream, seq, received)
    }))
}

async fn reading(
    state: &AppState,
    principal: Principal,
    context: RequestContext,
    body: &Body,
    options: &Options,
) -> Result<Reading, ApiError> {
    let namer = match options.stream {
        Stream::Events => Some(state.ingest.namer(&state.store).await?),
        Stream::Audit | Stream::Metrics => None,
    };
    let now = state.clock.now();
    let future_us = i64::try_from(state.config.limits.future_max.as_micros()).unwrap_or(i64::MAX);
    let late_us = i64::from(state.config.late_window_days).saturating_mul(insights_engine::time::DAY_US);
    let oldest = if options.import { instant::MIN } else { TimestampUs(now.0.saturating_sub(late_us)) };
    Ok(Reading {
        principal,
        context,
        bytes: body.bytes.clone(),
        media: body.media,
        stream: options.stream,
        now,
        newest: TimestampUs(now.0.saturating_add(future_us)),
        oldest,
        // History from elsewhere is not the act of the person who brings it.
        own_acts: !options.import,
        records_max: state.config.limits.batch_records_max,
        namer,
        kinds: Arc::clone(&state.ingest.kinds),
        store: Some(state.store.clone()),
    })
}

async fn read(reading: &Arc<Reading>) -> Result<Read, ApiError> {
    if reading.bytes.len() <= PARSED_IN_PLACE_BYTES_MAX {
        return reading.read();
    }
    let reading = Arc::clone(reading);
    match tokio::task::spawn_blocking(move || reading.read()).await {
        Ok(read) => read,
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        Err(_) => Err(ApiError::not_ready()),
    }
}

/// Names the session of a single event; of other events only carries the chains on.
async fn session(
    state: &AppState,
    namer: &SessionNamer,
    principal: &Principal,
    batches: &[insights_engine::schema::Batch],
    single: bool,
) -> Option<String> {
    let chains = &state.ingest.chains;
    if !single {
        for batch in batches {
            note_batch(batch, namer, chains);
        }
        return None;
    }
    let event = SingleEvent::of(batches.first()?)?;
    let scope = principal.session_scope(event.organization()).ok()?;
    match event.session(namer, chains, &state.store, &scope).await {
        Ok(name) => Some(name),
        Err(error) => {
            // The event is worth more than the name of its session.
            tracing::warn!(error = &error as &dyn std::error::Error, "a session could not be named");
            None
        }
    }
}

/// What names the route in an idempotency key.
fn route(stream: Stream, import: bool) -> String {
    if import { format!("import/{stream}") } else { stream.name().to_owned() }
}
