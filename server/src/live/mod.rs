//! What happens now: the last minutes of an organization or of all, kept while somebody looks.
//!
//! [`ring`] holds the seconds, `seed` fills it from the store, the engine tells it what comes ([`Follower`]), [`feed`]
//! makes updates of it, and this file knows which feeds there are and who views them.

pub mod feed;
pub mod ring;
mod seed;

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use insights_engine::Error;
use insights_engine::follow::{Follower, Fresh};
use insights_engine::id::{Stream, TenantId};
use insights_engine::schema::{ColumnDef, stream};
use insights_engine::time::TimestampUs;
use parking_lot::RwLock;
use tokio::sync::{Notify, watch};

use crate::app::AppState;
use crate::auth::ReadScope;
use feed::{Feed, LiveView, News, second_of};
use ring::Room;

/// Time between two updates.
pub const TICK: Duration = Duration::from_millis(250);
/// Most viewers at once.
pub const VIEWERS_MAX: usize = 5_000;
/// Most scopes that are looked at at once.
const FEEDS_MAX: usize = 2_000;
/// Identities of the last five minutes that all feeds together remember: 24 bytes each.
const IDENTITIES_MAX: usize = 2_000_000;
/// How long a feed that nobody views is kept, for those who come back.
const IDLE_US: i64 = 60_000_000;

/// The columns of events that are looked at.
static EVENT_COLUMNS: [&ColumnDef; 4] =
    [&stream::TIME, &stream::USER_ID, &stream::ANONYMOUS_ID, &stream::SESSION_ID];
/// The columns of metrics that are looked at.
static METRIC_COLUMNS: [&ColumnDef; 3] = [&stream::TIME, &stream::NAME, &stream::VALUE];

/// The feeds by whose they are.
type Feeds = HashMap<Option<TenantId>, Arc<Feed>>;

/// Who looks at what happens now. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Live(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    feeds: RwLock<Feeds>,
    is_any: AtomicBool,
    hasher: Hasher,
    /// A feed has come where there was none.
    first: Notify,
    /// No viewer is served any more.
    closed: watch::Sender<bool>,
}

/// Names identities by hashes that nobody outside can foresee.
#[derive(Clone)]
pub struct Hasher {
    keys: RandomState,
    room: Room,
}

impl Hasher {
    /// The hash of an identity of an organization.
    pub fn identity(&self, organization: &str, who: &[u8]) -> u64 {
        self.keys.hash_one((organization.as_bytes(), who))
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").field("room", &self.room).finish_non_exhaustive()
    }
}

impl Default for Live {
    fn default() -> Self {
        Self(Arc::new(Shared {
            feeds: RwLock::default(),
            is_any: AtomicBool::new(false),
            hasher: Hasher { keys: RandomState::new(), room: Room::new(IDENTITIES_MAX) },
            first: Notify::new(),
            closed: watch::Sender::new(false),
        }))
    }
}

impl Follower for Shared {
    fn is_following(&self) -> bool {
        self.is_any.load(Ordering::Acquire)
    }

    fn wants(&self, tenant: &TenantId, stream: Stream) -> Option<&'static [&'static ColumnDef]> {
        let columns: &'static [&'static ColumnDef] = match stream {
            Stream::Events => &EVENT_COLUMNS,
            Stream::Metrics => &METRIC_COLUMNS,
            Stream::Audit => return None,
        };
        let feeds = self.feeds.read();
        (feeds.contains_key(&None) || feeds.contains_key(&Some(tenant.clone()))).then_some(columns)
    }

    fn take(&self, fresh: &Fresh) {
        let hash = |who: &[u8]| self.hasher.identity(fresh.tenant.as_str(), who);
        let feeds = self.feeds.read();
        for feed in [feeds.get(&None), feeds.get(&Some(fresh.tenant.clone()))].into_iter().flatten() {
            feed.take(fresh, &hash);
        }
    }
}

impl Live {
    /// What the engine tells.
    pub fn follower(&self) -> Arc<dyn Follower> {
        Arc::<Shared>::clone(&self.0)
    }

    /// Begins to view a scope; `seen` is the id of the last message that the viewer had before.
    ///
    /// # Errors
    ///
    /// [`Error::Overloaded`] with too many viewers, [`Error::Closed`] while the server stops, and what the store says
    /// when it is asked for the minutes before.
    pub async fn view(
        &self,
        state: &AppState,
        scope: &ReadScope,
        seen: Option<&str>,
    ) -> insights_engine::Result<Viewer> {
        let closed = self.0.closed.subscribe();
        if *closed.borrow() {
            return Err(Error::Closed);
        }
        let (feed, news) = self.feed(scope.organization().cloned(), state.clock.now())?;
        let hasher = self.0.hasher.clone();
        let seeding = || async {
            let (scope, feed, now_s) = (scope.clone(), Arc::clone(&feed), second_of(state.clock.now().0));
            state.store.ask(move |asking| seed::seed(asking, &scope, &feed, now_s, &hasher)).await?
        };
        feed.ready.get_or_try_init(seeding).await?;
        let seen = seen.and_then(|id| version_in(id, &feed)).unwrap_or(0);
        Ok(Viewer { feed, news, closed, seen, is_new: true })
    }

    /// The feed of a scope, made when there is none, and a place among its viewers.
    fn feed(
        &self,
        organization: Option<TenantId>,
        now: TimestampUs,
    ) -> insights_engine::Result<(Arc<Feed>, watch::Receiver<Arc<News>>)> {
        let mut feeds = self.0.feeds.write();
        let viewers: usize = feeds.values().map(|feed| feed.news.receiver_count()).sum();
        if viewers >= VIEWERS_MAX {
            return Err(Error::Overloaded { what: "live viewers", limit: VIEWERS_MAX as u64 });
        }
        if let Some(feed) = feeds.get(&organization) {
            return Ok((Arc::clone(feed), feed.news.subscribe()));
        }
        if feeds.len() >= FEEDS_MAX {
            return Err(Error::Overloaded { what: "live scopes", limit: FEEDS_MAX as u64 });
        }
        // Two feeds of one scope never begin at one microsecond of a clock that goes on; if it does not, a viewer that
        // comes back gets an update where a snapshot was due, of the same seconds.
        let epoch = u64::try_from(now.0).unwrap_or(0);
        let room = self.0.hasher.room.clone();
        let feed = Arc::new(Feed::new(organization.clone(), epoch, second_of(now.0), room));
        let news = feed.news.subscribe();
        feeds.insert(organization, Arc::clone(&feed));
        self.0.is_any.store(true, Ordering::Release);
        self.0.first.notify_one();
        Ok((feed, news))
    }

    /// Sends what has changed up to `now` to every viewer, and drops feeds that nobody views.
    pub fn tick(&self, now: TimestampUs) {
        let feeds: Vec<Arc<Feed>> = self.0.feeds.read().values().cloned().collect();
        let mut gone = Vec::new();
        for feed in feeds {
            let mut state = feed.state.lock();
            // Set back by more than clocks differ: viewers come again, to a feed of the new time. One that is being filled
            // stands still until it is.
            let is_of_this_time = !feed.ready.initialized() || state.ring.advance(second_of(now.0));
            if feed.ready.initialized() {
                feed.publish(&mut state.ring);
            }
            let is_viewed = feed.news.receiver_count() > 0;
            let since = *state.idle_since.get_or_insert(now);
            if is_viewed {
                state.idle_since = None;
            }
            if !is_of_this_time || (!is_viewed && now.0 - since.0 >= IDLE_US) {
                gone.push((feed.organization.clone(), is_of_this_time));
            }
        }
        if !gone.is_empty() {
            self.drop_feeds(&gone);
        }
    }

    fn drop_feeds(&self, gone: &[(Option<TenantId>, bool)]) {
        let mut feeds = self.0.feeds.write();
        for (organization, is_of_this_time) in gone {
            // Somebody may have come meanwhile.
            let is_viewed = feeds.get(organization).is_some_and(|feed| feed.news.receiver_count() > 0);
            if !is_viewed {
                feeds.remove(organization);
            } else if !is_of_this_time && let Some(feed) = feeds.remove(organization) {
                feed.news.send_replace(Arc::new(News {
                    from: u64::MAX,
                    version: u64::MAX,
                    bytes: Bytes::new(),
                }));
            }
        }
        self.0.is_any.store(!feeds.is_empty(), Ordering::Release);
    }

    /// Ends every stream: the server stops.
    pub fn close(&self) {
        self.0.closed.send_replace(true);
    }

    /// Forgets every feed, as if nobody had looked; who views one now is sent nothing any more.
    #[cfg(test)]
    pub(crate) fn forget_all(&self) {
        self.0.feeds.write().clear();
    }

    /// Feeds at this moment.
    #[cfg(test)]
    pub(crate) fn feeds(&self) -> usize {
        self.0.feeds.read().len()
    }

    /// Viewers at this moment.
    pub fn viewers(&self) -> usize {
        self.0.feeds.read().values().map(|feed| feed.news.receiver_count()).sum()
    }
}

/// The version in the id of a message, when it is of this feed.
fn version_in(id: &str, feed: &Feed) -> Option<u64> {
    let (epoch, version) = id.trim().split_once('-')?;
    let is_ours = u64::from_str_radix(epoch, 16).ok()? == feed.epoch;
    let version: u64 = version.parse().ok()?;
    (is_ours && version <= feed.state.lock().ring.version()).then_some(version)
}

/// One who looks. It is sent the newest there is: what it was too slow for comes together.
#[derive(Debug)]
pub struct Viewer {
    feed: Arc<Feed>,
    news: watch::Receiver<Arc<News>>,
    closed: watch::Receiver<bool>,
    seen: u64,
    is_new: bool,
}

impl Viewer {
    /// The next message; `None` when there will be none any more.
    pub async fn next(&mut self) -> Option<Bytes> {
        if std::mem::take(&mut self.is_new) {
            return Some(self.catch_up());
        }
        loop {
            let is_open = tokio::select! {
                biased;
                closed = self.closed.wait_for(|closed| *closed) => closed.is_err(),
                changed = self.news.changed() => changed.is_ok(),
            };
            if !is_open {
                return None;
            }
            let news = Arc::clone(&self.news.borrow_and_update());
            if news.version == u64::MAX {
                return None;
            }
            if news.version <= self.seen {
                continue;
            }
            if news.from == self.seen {
                self.seen = news.version;
                return Some(news.bytes.clone());
            }
            return Some(self.catch_up());
        }
    }

    /// Everything since what it has seen last.
    fn catch_up(&mut self) -> Bytes {
        // What has come since the last update is in it, and in the next one again: the tick alone makes updates, so that
        // nobody who looks makes more of them for all the others.
        let state = self.feed.state.lock();
        let message = self.feed.message(&state.ring, self.seen);
        self.seen = state.ring.version();
        message
    }

    /// What there is now, once, as a document.
    pub fn document(&self, write: impl FnOnce(&LiveView<'_>) -> Bytes) -> Bytes {
        let state = self.feed.state.lock();
        write(&self.feed.shown(&state.ring, 0))
    }
}

/// Sends updates to viewers, for as long as it is polled.
pub async fn drive(state: AppState) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        if !state.live.0.is_following() {
            state.live.0.first.notified().await;
        }
        tick.tick().await;
        state.live.tick(state.clock.now());
    }
}
