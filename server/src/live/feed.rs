//! What viewers of one scope share: its ring, and the last update as bytes that are sent to all of them.

use std::sync::Arc;

use bytes::Bytes;
use insights_engine::follow::Fresh;
use insights_engine::id::{Lsn, Stream, TenantId};
use insights_engine::schema::{BytesColumn, Column};
use insights_engine::time::TimestampUs;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{OnceCell, watch};
use utoipa::ToSchema;

use super::ring::{MINUTE_S, Ring, Room, Totals, WINDOW_S};
use crate::domain::instant::Rfc3339;
use crate::report::app_metrics::{ERRORS, REQUESTS};

/// The last minutes of one organization, or of all.
#[derive(Debug)]
pub struct Feed {
    /// Whose; `None` is all organizations.
    pub organization: Option<TenantId>,
    /// Tells this feed from another of the same scope: what a viewer has seen of that one says nothing about this.
    pub epoch: u64,
    /// What has happened.
    pub state: Mutex<State>,
    /// Set once the store was asked for what happened before.
    pub ready: OnceCell<()>,
    /// The last update; who watches it is a viewer.
    pub news: watch::Sender<Arc<News>>,
}

/// A ring, and what of the rows it has from the store.
#[derive(Debug)]
pub struct State {
    /// The ring.
    pub ring: Ring,
    /// Of events and of metrics the frame up to which rows come from the store; later ones are told by the engine.
    pub seeded: [Lsn; 2],
    /// How often the ring was begun anew: what was read for an earlier one is not for this.
    pub fillings: u64,
    /// Since when nobody watches.
    pub idle_since: Option<TimestampUs>,
}

/// An update.
#[derive(Debug, Default)]
pub struct News {
    /// The version before.
    pub from: u64,
    /// The version it makes.
    pub version: u64,
    /// As it is sent.
    pub bytes: Bytes,
}

/// What happened in the last minutes: the data of a `snapshot`, or of an `update` with the seconds alone that have changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct LiveView<'a> {
    /// Whose; null is all organizations
    organization_id: Option<&'a str>,
    /// The present second
    #[schema(value_type = String, format = DateTime)]
    at: Rfc3339,
    /// Seconds that are kept
    window_s: i64,
    /// The last 60 seconds, the present one among them
    last_minute: LiveNumbers,
    /// The last 300 seconds
    last_5_minutes: LiveNumbers,
    /// Whether `active_users` counts everybody: it does up to two million users of all views together
    exact: bool,
    /// The seconds in which something happened, as they are now
    seconds: Vec<LiveSecond>,
}

/// Sums over a span that ends now.
#[derive(Debug, Serialize, ToSchema)]
pub struct LiveNumbers {
    /// Events
    events: u64,
    /// Requests of applications, from `requests.count`
    #[schema(value_type = f64)]
    requests: Number,
    /// Errors of applications, from `errors.count`
    #[schema(value_type = f64)]
    errors: Number,
    /// Distinct users with an event; who has no `user_id` counts by `anonymous_id`, else by session
    active_users: u64,
}

/// A second.
#[derive(Debug, Serialize, ToSchema)]
pub struct LiveSecond {
    /// Its beginning
    #[schema(value_type = String, format = DateTime)]
    at: Rfc3339,
    /// Events
    events: u64,
    /// Requests
    #[schema(value_type = f64)]
    requests: Number,
    /// Errors
    #[schema(value_type = f64)]
    errors: Number,
}

/// A sum of counters: whole numbers without a point.
#[derive(Debug, Clone, Copy)]
struct Number(f64);

impl Serialize for Number {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// Above it doubles skip whole numbers.
        const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
        #[expect(clippy::cast_possible_truncation, reason = "a whole number within 53 bits")]
        if self.0.fract() == 0.0 && self.0.abs() <= WHOLE_MAX {
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

impl From<Totals> for LiveNumbers {
    fn from(totals: Totals) -> Self {
        Self {
            events: totals.events,
            requests: Number(totals.requests),
            errors: Number(totals.errors),
            active_users: totals.active_users,
        }
    }
}

impl Feed {
    /// A feed that takes nothing until it is seeded.
    pub fn new(organization: Option<TenantId>, epoch: u64, now_s: i64, room: Room) -> Self {
        let state =
            State { ring: Ring::new(now_s, room), seeded: [Lsn(u64::MAX); 2], fillings: 0, idle_since: None };
        Self {
            organization,
            epoch,
            state: Mutex::new(state),
            ready: OnceCell::new(),
            news: watch::Sender::new(Arc::default()),
        }
    }

    /// Takes rows that have become readable, unless the store has shown them already.
    pub fn take(&self, fresh: &Fresh, hash: &dyn Fn(&[u8]) -> u64) {
        let mut state = self.state.lock();
        let [events, metrics] = state.seeded;
        match (fresh.stream, fresh.columns.as_slice()) {
            (Stream::Events, [time, user, anonymous, session]) if fresh.lsn > events => {
                take_events(&mut state.ring, time, &[user, anonymous, session], hash);
            }
            (Stream::Metrics, [time, name, value]) if fresh.lsn > metrics => {
                take_points(&mut state.ring, time, name, value);
            }
            _ => {}
        }
    }

    /// What a viewer that has seen `since` is sent to see the present: the kind of message and its bytes.
    pub fn message(&self, ring: &Ring, since: u64) -> Bytes {
        let kind = if since == 0 { "snapshot" } else { "update" };
        let shown = serde_json::to_string(&self.shown(ring, since)).unwrap_or_default();
        let version = ring.version();
        format!("event: {kind}\nid: {:x}-{version}\ndata: {shown}\n\n", self.epoch).into()
    }

    /// What has changed since a version, and the sums.
    pub fn shown<'a>(&'a self, ring: &Ring, since: u64) -> LiveView<'a> {
        let second = |at_s: i64| Rfc3339(TimestampUs(at_s.saturating_mul(1_000_000)));
        let seconds = ring.changed(since).map(|(at_s, shown)| LiveSecond {
            at: second(at_s),
            events: shown.events,
            requests: Number(shown.requests),
            errors: Number(shown.errors),
        });
        LiveView {
            organization_id: self.organization.as_ref().map(TenantId::as_str),
            at: second(ring.now_s()),
            window_s: WINDOW_S,
            last_minute: ring.totals(MINUTE_S).into(),
            last_5_minutes: ring.totals(WINDOW_S).into(),
            exact: ring.counts_everybody(),
            seconds: seconds.collect(),
        }
    }

    /// Sends what has changed to everybody who watches.
    pub fn publish(&self, ring: &mut Ring) {
        let from = ring.version();
        let Some(version) = ring.publish() else { return };
        if self.news.receiver_count() > 0 {
            let bytes = self.message(ring, from);
            self.news.send_replace(Arc::new(News { from, version, bytes }));
        }
    }
}

/// The second an instant lies in.
pub fn second_of(at: i64) -> i64 {
    at.div_euclid(1_000_000)
}

fn take_events(ring: &mut Ring, time: &Column, identity: &[&Column; 3], hash: &dyn Fn(&[u8]) -> u64) {
    let who: Vec<&BytesColumn> = identity.iter().filter_map(|column| column.as_bytes()).collect();
    for (row, at) in time.as_i64().unwrap_or_default().iter().enumerate() {
        let at_s = second_of(*at);
        ring.add_events(at_s, 1);
        if let Some(identity) = who.iter().find_map(|column| column.get(row)) {
            ring.see(hash(identity), at_s);
        }
    }
}

fn take_points(ring: &mut Ring, time: &Column, name: &Column, value: &Column) {
    let (Some(times), Some(names), Some(values)) = (time.as_i64(), name.as_bytes(), value.as_f64()) else {
        return;
    };
    for (row, (at, value)) in times.iter().zip(values).enumerate() {
        match names.get(row) {
            Some(name) if name == REQUESTS.as_bytes() => ring.add_requests(second_of(*at), *value),
            Some(name) if name == ERRORS.as_bytes() => ring.add_errors(second_of(*at), *value),
            _ => {}
        }
    }
}
