//! Makes alerts happen: evaluates what is due, writes what changes, and lets no rule hold up another.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use insights_engine::append::{Append, CatalogKind};
use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;
use parking_lot::{Mutex, MutexGuard};
use tokio::task::JoinSet;

use super::board::{Board, Readings};
use super::book::{Book, Entry, Evaluation};
use super::condition::Condition;
use super::dispatch::Groups;
use super::evaluate::{OVERLAP, Place, Since, look};
use super::mute::Mutes;
use super::overview::{self, Alert};
use super::rule::Rule;
use super::state::Series;
use super::watch::Watch;
use super::{dispatch, history, record};
use crate::app::AppState;
use crate::auth::{Principal, Scopes};
use crate::http::error::{ApiError, FieldError};
use crate::store::Store;

/// Organizations that are told at once.
const TELLINGS_MAX: usize = 8;
/// Locks of organizations; those that share one take turns.
const TURNS: usize = 16;
/// Longest wait before the clock is looked at again: it may have been set.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Shortest wait, so that a clock that stands still does not keep a core busy.
const REST: Duration = Duration::from_millis(100);

/// The alerts of a server.
pub struct Alerts {
    book: Mutex<Book>,
    watch: Mutex<Watch>,
    mutes: Mutex<Mutes>,
    groups: Mutex<Groups>,
    /// Held while what is kept of an organization's alerts is changed.
    turns: [tokio::sync::Mutex<()>; TURNS],
    /// A rule is to be looked at before its time.
    woken: tokio::sync::Notify,
    /// Something may be to be told before its time.
    told: tokio::sync::Notify,
}

impl fmt::Debug for Alerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alerts").field("watch", &self.watch).finish_non_exhaustive()
    }
}

impl Alerts {
    /// The alerts as the store has left them.
    pub fn new(store: &Store, now: TimestampUs) -> Self {
        let watch = Watch::new(store.catalog_get(CatalogKind::Setting, Watch::key()).as_deref(), now);
        let mut book = Book::default();
        for (key, value) in store.catalog_scan(CatalogKind::Setting, Rule::PREFIX.as_bytes()) {
            match Rule::of_record(&key, &value) {
                Some(rule) => {
                    let began = news_since(&rule, watch.looked_until());
                    book.put(Entry::new(rule, began), now);
                }
                None => {
                    tracing::warn!(key = %String::from_utf8_lossy(&key), "an alert rule is not understood");
                }
            }
        }
        for (key, value) in store.catalog_scan(CatalogKind::Setting, record::PREFIX.as_bytes()) {
            if let Some(key) = record::rule_of(&key) {
                book.restore(&key, &value, now);
            }
        }
        book.pass_over(watch.gap().unwrap_or_default());
        let groups = dispatch::load(store);
        let told = groups.keys().map(|(organization, _)| organization.clone());
        for organization in book.organizations_with_alerts().into_iter().chain(told) {
            book.tell(organization, now);
        }
        Self {
            book: Mutex::new(book),
            watch: Mutex::new(watch),
            mutes: Mutex::new(Mutes::load(store)),
            groups: Mutex::new(groups),
            turns: std::array::from_fn(|_| tokio::sync::Mutex::new(())),
            woken: tokio::sync::Notify::new(),
            told: tokio::sync::Notify::new(),
        }
    }

    /// Every rule with its alerts. Never held across a wait.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock()
    }

    /// What keeps alerts silent. Never held across a wait.
    pub fn mutes(&self) -> MutexGuard<'_, Mutes> {
        self.mutes.lock()
    }

    /// The alerts of an organization that `wanted` chooses by state, at `now`. Both locks are held only to copy.
    pub fn overview(
        &self,
        organization: &TenantId,
        now: TimestampUs,
        wanted: impl Fn(&Series) -> bool,
    ) -> Vec<Alert> {
        let picked = overview::pick(&self.book(), organization, &wanted);
        let active = self.mutes().active(organization, now);
        overview::alerts(picked, &active, wanted)
    }

    /// What groups have said. Never held across a wait.
    pub fn groups(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock()
    }

    /// Whoever changes what is kept of an organization's alerts holds its turn while it is written.
    pub async fn turn(&self, organization: &TenantId) -> tokio::sync::MutexGuard<'_, ()> {
        let sum = organization
            .as_str()
            .bytes()
            .fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let [first, ..] = &self.turns;
        self.turns.get(sum % TURNS).unwrap_or(first).lock().await
    }

    /// Has the driver look again: something new may be due.
    pub fn wake(&self) {
        self.woken.notify_one();
        self.told.notify_one();
    }

    /// The evaluations that are due and may begin; each is to be given to [`execute`], after which others may.
    pub fn due(&self, now: TimestampUs) -> Vec<Evaluation> {
        self.book.lock().due(now)
    }

    /// How long to wait at `now` for what is due at `next`.
    fn wait(now: TimestampUs, next: Option<TimestampUs>) -> Duration {
        let us = next.map_or(u64::MAX, |next| u64::try_from(next.0.saturating_sub(now.0)).unwrap_or(0));
        Duration::from_micros(us).clamp(REST, LOOK_AGAIN)
    }
}

/// Since when errors are news to a rule after a start: that the server was there at `looked` does not mean that the rule
/// had been evaluated since the instant before.
fn news_since(rule: &Rule, looked: TimestampUs) -> TimestampUs {
    let before = rule.document.interval.us().saturating_add(OVERLAP.us());
    TimestampUs(looked.0.saturating_sub(before)).max(rule.created.min(looked))
}

/// What an evaluation makes of the alerts of its rule: the board, its records, and up to where it looked.
type Settled = (Board, Vec<Vec<u8>>, Since);

/// An evaluation that has begun. However it ends, its place is another's then.
struct Begun<'a> {
    state: &'a AppState,
    evaluation: Evaluation,
    is_over: bool,
}

impl Begun<'_> {
    /// The store has answered.
    fn answered(&self) {
        self.state.alerts.book().answered(&self.evaluation);
        self.state.alerts.woken.notify_one();
    }

    fn end(&mut self, changed: Result<Settled, String>) {
        self.is_over = true;
        self.state.alerts.book().finish(&self.evaluation, changed, self.state.clock.now());
        self.state.alerts.wake();
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.end(Err(ApiError::internal().detail().to_owned()));
        }
    }
}

/// Evaluates a rule: asks, judges, and writes what changed with its history, all of it or nothing.
pub async fn execute(state: &AppState, evaluation: Evaluation) {
    let mut begun = Begun { state, evaluation, is_over: false };
    let evaluation = &begun.evaluation;
    // As a task of the runtime: a panic is a failure of this rule, which is evaluated again at its next instant.
    let asking = (state.clone(), evaluation.clone());
    let found = tokio::spawn(async move { found(&asking.0, &asking.1).await }).await;
    let found = found.unwrap_or_else(|_| Err(ApiError::internal()));
    begun.answered();
    let _turn = state.alerts.turn(&evaluation.rule.organization).await;
    let changed = match found {
        Ok((readings, since)) => settle(state, evaluation, readings, since)
            .await
            .map_err(|error| ApiError::from(error).detail().to_owned()),
        Err(error) => Err(error.detail().to_owned()),
    };
    if let Err(error) = &changed {
        let rule = evaluation.rule.id.as_str();
        tracing::warn!(rule, organization = %evaluation.rule.organization, error, "a rule was not evaluated");
    }
    begun.end(changed);
}

/// Asks the store within an organization, as evaluations do.
///
/// # Errors
///
/// Those of `work`, and of [`Store::ask`].
pub async fn within<T: Send + 'static>(
    state: &AppState,
    organization: &TenantId,
    work: impl FnOnce(&Place<'_>) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let principal = Principal::local();
    let scope = principal.read_scope(Some(organization.as_str()), Scopes::READ)?;
    let platform =
        state.config.share_system_metrics.then(|| principal.read_platform_metrics()).transpose()?;
    let config = Arc::clone(&state.config);
    let asked = state.store.ask(move |asking| {
        work(&Place { asking, scope: &scope, platform: platform.as_ref(), config: &config })
    });
    asked.await?
}

/// What the condition of a rule finds.
async fn found(state: &AppState, evaluation: &Evaluation) -> Result<(Readings, Since), ApiError> {
    let rule = Arc::clone(&evaluation.rule);
    let (at, mut since) = (evaluation.at, evaluation.since);
    let looked = within(state, &evaluation.rule.organization, move |place| {
        look(place, &rule.document, &[at], &mut since).map(|looks| (looks, since))
    });
    let (looks, since) = looked.await?;
    let mut readings = looks.into_iter().next().map(|look| look.readings).unwrap_or_default();
    let looks_back = evaluation.rule.document.condition.looks_back();
    readings.in_doubt = state.alerts.watch.lock().is_in_doubt(at, looks_back);
    Ok((readings, since))
}

/// Checks of a rule what only the store can tell: whether its channels and the number of its report are there.
///
/// # Errors
///
/// `invalid` with what is not there, and those of the store.
pub async fn check(state: &AppState, rule: &Rule) -> Result<(), ApiError> {
    let channels = state.notify.channels();
    let unknown = rule.document.channels.iter().enumerate();
    let unknown = unknown.filter(|(_, id)| channels.get(&rule.organization, id).is_none());
    let unknown: Vec<FieldError> = unknown
        .map(|(place, id)| {
            FieldError::new(format!("/channels/{place}"), "invalid", format!("there is no channel {id}"))
        })
        .collect();
    if !unknown.is_empty() {
        return Err(ApiError::invalid(unknown));
    }
    if matches!(rule.document.condition, Condition::Report(_)) {
        let at = state.clock.now();
        let evaluation = Evaluation { rule: Arc::new(rule.clone()), at, since: Since::new(at) };
        found(state, &evaluation).await?;
    }
    Ok(())
}

/// Judges what was found, and writes what has changed.
async fn settle(
    state: &AppState,
    evaluation: &Evaluation,
    readings: Readings,
    since: Since,
) -> Result<Settled, insights_engine::Error> {
    let rule = &evaluation.rule;
    let Some((board, mut parts, changes)) = state.alerts.book().judge(evaluation, readings) else {
        return Ok((Board::default(), Vec::new(), since));
    };
    let puts = record::puts(&rule.organization, &rule.id, &board, &mut parts);
    let batches: Vec<_> = history::batch(rule, &changes, state.clock.now()).into_iter().collect();
    if !puts.is_empty() || !batches.is_empty() {
        state.store.append(Append { batches, puts, idempotency: None }).await?;
    }
    Ok((board, parts, since))
}

/// Does what is due at the present moment, and returns when it is done.
pub async fn step(state: &AppState) {
    mark(state).await;
    let mut running = JoinSet::new();
    loop {
        for evaluation in state.alerts.due(state.clock.now()) {
            let state = state.clone();
            running.spawn(async move { execute(&state, evaluation).await });
        }
        if running.join_next().await.is_none() {
            break;
        }
    }
    let due = state.alerts.book().due_to_tell(state.clock.now(), usize::MAX);
    for organization in due {
        tell(state.clone(), organization).await;
    }
}

/// Tells of what is due in an organization.
async fn tell(state: AppState, organization: TenantId) {
    if let Some(again) = dispatch::dispatch(&state, &organization).await {
        state.alerts.book().tell(organization, again);
    }
}

/// Tells of what is due, for as long as it is polled. One organization that has to wait holds up no other.
async fn keep_telling(state: AppState) {
    let mut running = JoinSet::new();
    loop {
        let now = state.clock.now();
        let room = TELLINGS_MAX.saturating_sub(running.len());
        for organization in state.alerts.book().due_to_tell(now, room) {
            running.spawn(tell(state.clone(), organization));
        }
        let next = state.alerts.book().next_telling().filter(|_| running.len() < TELLINGS_MAX);
        let woken = tokio::time::timeout(Alerts::wait(now, next), state.alerts.told.notified());
        tokio::select! {
            Some(ended) = running.join_next() => drop(ended),
            _ = woken => {}
        }
    }
}

/// Writes down once a minute that the server looks.
async fn mark(state: &AppState) {
    // Without rules nobody asks how long the server has been looking.
    if state.alerts.book().is_empty() {
        return;
    }
    let mark = state.alerts.watch.lock().mark(state.clock.now());
    if let Some(mark) = mark
        && let Err(error) = state.store.put(vec![mark]).await
    {
        tracing::warn!(error = &error as &dyn std::error::Error, "that alerts are watched was not written");
    }
}

/// Evaluates rules by their intervals and tells of their alerts, for as long as it is polled. Neither waits for the other.
pub async fn drive(state: AppState) {
    // Ends with this.
    let mut telling = JoinSet::new();
    telling.spawn(keep_telling(state.clone()));
    loop {
        mark(&state).await;
        for evaluation in state.alerts.due(state.clock.now()) {
            let state = state.clone();
            tokio::spawn(async move { execute(&state, evaluation).await });
        }
        let next = state.alerts.book().next_evaluation();
        let wait = Alerts::wait(state.clock.now(), next);
        // Whether it was the time or the end of something: what is due is due.
        drop(tokio::time::timeout(wait, state.alerts.woken.notified()).await);
    }
}
