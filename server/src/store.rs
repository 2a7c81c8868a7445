//! The only bridge to the engine: asynchronous, and never without a scope.

use std::sync::Arc;
use std::time::Duration;

use insights_engine::append::{Append, Appended, CatalogKind, CatalogPut, Idempotency};
use insights_engine::catalog::erasure::EraseTarget;
use insights_engine::catalog::{ErasureId, ErasureRecord, RetentionDocument};
use insights_engine::compaction::{CompactionReport, Effort};
use insights_engine::engine::{Health, Stats, Usage};
use insights_engine::follow::Follower;
use insights_engine::id::{Lsn, Stream, TenantId};
use insights_engine::query::{
    Answer, Cancel, ProbeAnswer, ProbeRequest, Query, RowPage, RowRequest, ScanEnd, ScanRequest, ScanVector,
    SessionAnswer, SessionRequest,
};
use insights_engine::retention::RetentionReport;
use insights_engine::schema::Batch;
use insights_engine::time::TimestampUs;
use insights_engine::view::View;
use insights_engine::{Engine, Error, Result};
use tokio::sync::{Semaphore, oneshot};

use crate::answers::{Answers, Given};
use crate::auth::ReadScope;
use crate::shared_memory::SharedMemory;
use crate::standing::{self, Ask, Taken};

/// An open engine, shared by all handlers. Cheap to clone.
///
/// Reads run on the pool of blocking threads, at most `queries_max` at once; writes wait for the log
/// without a thread of their own.
#[derive(Debug, Clone)]
pub struct Store {
    engine: Arc<Engine>,
    queries: Arc<Semaphore>,
    limits: QueryLimits,
    answers: Arc<Answers>,
}

/// What questions may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryLimits {
    /// Questions that run at once; further ones wait for their turn.
    pub queries_max: usize,
    /// How long one moment's questions may take together, their wait included.
    pub deadline: Duration,
    /// Bytes of memory of one question.
    pub memory_bytes_max: u64,
    /// Bytes of answers that are kept for the same question.
    pub kept_bytes_max: u64,
    /// Bytes of questions that are kept up to date while they are asked again and again.
    pub standing_bytes_max: u64,
}

/// One moment of the store, for questions whose answers must agree: on a thread that may wait.
#[derive(Debug)]
pub struct Asking {
    view: View,
    store: Store,
    memory: SharedMemory,
    /// Questions that stay, for as long as this moment is asked.
    taken: Taken,
}

/// A client that has left takes its work along.
#[derive(Debug)]
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Asking {
    /// Answers a question for numbers within `scope`, which replaces the query's own.
    ///
    /// # Errors
    ///
    /// As [`View::aggregate`], and [`Error::RowsExpired`].
    pub fn numbers(&self, scope: &ReadScope, mut query: Query) -> Result<Given<Answer>> {
        query.scope = scope.of(query.stream)?;
        let (mut given, refused) = self.within_memory(|bytes_max| {
            query.budget.memory_bytes_max = bytes_max;
            self.store.answers.numbers(self.ask(), &query)
        })?;
        given.answer.cost.bytes_read += refused;
        // A number without rows that were asked for would be a wrong one.
        match given.answer.expired {
            Some(since) => Err(Error::RowsExpired { since }),
            None => Ok(given),
        }
    }

    /// Answers several questions for numbers of one stream within `scope`, which replaces their own, in one pass over
    /// the rows. Together they take no more memory than one may; one that needs more is asked again alone.
    ///
    /// # Errors
    ///
    /// Those of the first that has one, as [`Self::numbers`].
    pub fn numbers_all(&self, scope: &ReadScope, mut queries: Vec<Query>) -> Result<Vec<Given<Answer>>> {
        for query in &mut queries {
            query.scope = scope.of(query.stream)?;
        }
        let parts = queries.len().max(1) as u64;
        let mut share = 0;
        let (answers, refused) = self.within_memory(|bytes_max| {
            share = bytes_max / parts;
            for query in &mut queries {
                query.budget.memory_bytes_max = share;
            }
            self.store.answers.numbers_all(self.ask(), &queries)
        })?;
        let mut out = Vec::with_capacity(queries.len());
        for (answer, query) in answers.into_iter().zip(queries) {
            let given = match answer {
                Err(Error::QueryLimit { limit, .. }) if limit == share => self.numbers(scope, query)?,
                given => given?,
            };
            if let Some(since) = given.answer.expired {
                return Err(Error::RowsExpired { since });
            }
            out.push(given);
        }
        if let Some(first) = out.first_mut() {
            first.answer.cost.bytes_read += refused;
        }
        Ok(out)
    }

    /// Answers a question for sessions within `scope`, which replaces the request's own.
    ///
    /// # Errors
    ///
    /// As [`View::sessions`], and [`Error::RowsExpired`].
    pub fn sessions(&self, scope: &ReadScope, mut request: SessionRequest) -> Result<Given<SessionAnswer>> {
        request.scope = scope.of(Stream::Events)?;
        let (mut given, refused) = self.within_memory(|bytes_max| {
            request.budget.memory_bytes_max = bytes_max;
            self.store.answers.sessions(self.ask(), &request)
        })?;
        given.answer.cost.bytes_read += refused;
        match given.answer.expired {
            Some(since) => Err(Error::RowsExpired { since }),
            None => Ok(given),
        }
    }

    /// Answers a question for probes within `scope`, which replaces the request's own.
    ///
    /// # Errors
    ///
    /// As [`View::probes`], and [`Error::RowsExpired`].
    pub fn probes(&self, scope: &ReadScope, mut request: ProbeRequest) -> Result<ProbeAnswer> {
        request.scope = scope.of(Stream::Metrics)?;
        let (mut answer, refused) = self.within_memory(|bytes_max| {
            request.budget.memory_bytes_max = bytes_max;
            self.view.probes(&request)
        })?;
        answer.cost.bytes_read += refused;
        match answer.expired {
            Some(since) => Err(Error::RowsExpired { since }),
            None => Ok(answer),
        }
    }

    /// Does two things, each of which asks questions: at once, or one after the other. At once they share
    /// one budget of memory (and the moment's deadline): they answer and fail as one after the other. The
    /// error is that of the first where both have one.
    pub(crate) fn both<A, B: Send, E: Send>(
        &self,
        at_once: bool,
        one: impl FnOnce() -> std::result::Result<A, E>,
        other: impl FnOnce() -> std::result::Result<B, E> + Send,
    ) -> std::result::Result<(A, B), E> {
        if at_once { self.memory.both(one, other) } else { Ok((one()?, other()?)) }
    }

    fn ask(&self) -> Ask<'_> {
        Ask { view: &self.view, taken: &self.taken }
    }

    /// Asks with what the budget of memory leaves. Gives the bytes, too, that were read before a smaller share
    /// of it turned out not to be enough.
    fn within_memory<T>(&self, mut ask: impl FnMut(u64) -> Result<T>) -> Result<(T, u64)> {
        let (mut refused, mut before) = (0, self.view.bytes_read());
        let answer = self.memory.ask(self.store.limits.memory_bytes_max, |bytes_max| {
            let now = self.view.bytes_read();
            refused += now.saturating_sub(std::mem::replace(&mut before, now));
            ask(bytes_max)
        })?;
        Ok((answer, refused))
    }

    /// Gives all matching rows within `scope` to `each`, vector by vector, in no order.
    ///
    /// # Errors
    ///
    /// As [`View::scan`].
    pub fn scan(
        &self,
        scope: &ReadScope,
        mut request: ScanRequest,
        each: &mut dyn FnMut(&ScanVector) -> Result<()>,
    ) -> Result<ScanEnd> {
        request.scope = scope.of(request.stream)?;
        self.view.scan(&request, each)
    }

    /// Answers a question for rows within `scope`, which replaces the request's own.
    ///
    /// # Errors
    ///
    /// As [`View::rows`].
    pub fn rows(&self, scope: &ReadScope, mut request: RowRequest) -> Result<RowPage> {
        request.scope = scope.of(request.stream)?;
        self.view.rows(&request)
    }

    /// The newest frame whose rows of a stream within `scope` this moment has.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a stream that the scope does not cover.
    pub fn lsn(&self, scope: &ReadScope, stream: Stream) -> Result<Lsn> {
        Ok(self.view.lsn(&scope.of(stream)?, stream))
    }

    /// Since when rows of a tenant's stream are kept.
    pub fn kept_since(&self, tenant: &TenantId, stream: Stream) -> TimestampUs {
        self.store.kept_since(tenant, stream)
    }

    /// The id of a row whose client gave none.
    pub fn derived_id(&self, tenant: &TenantId, stream: Stream, seq: u64, received: TimestampUs) -> String {
        self.store.derived_id(tenant, stream, seq, received)
    }

    /// Whether the engine can do its work.
    pub fn health(&self) -> Health {
        self.store.engine.health()
    }
}

/// One moment of the store that is read page by page, for as long as that takes.
#[derive(Debug)]
pub struct Moment {
    view: Arc<View>,
    store: Store,
    _cancel: CancelOnDrop,
}

impl Moment {
    /// Answers a question for rows within `scope`, which replaces the request's own, and does something with the answer, both
    /// on a thread that may wait. `None` when an erasure or another limit hides something since that this moment still shows.
    ///
    /// # Errors
    ///
    /// As [`View::rows`], and [`Error::Overloaded`] when other questions run for too long.
    pub async fn rows<T: Send + 'static>(
        &self,
        scope: &ReadScope,
        mut request: RowRequest,
        then: impl FnOnce(RowPage) -> T + Send + 'static,
    ) -> Result<Option<T>> {
        request.scope = scope.of(request.stream)?;
        let view = Arc::clone(&self.view);
        let read = move |_: &Engine| {
            if !view.hides_what_is_hidden_now(&request.scope, request.stream) {
                return Ok(None);
            }
            view.rows(&request).map(then).map(Some)
        };
        self.store.run(read).await
    }
}

impl Store {
    /// A moment of the store, to be read within `longest`. It holds the files and rows that it has seen.
    pub fn moment(&self, longest: Duration) -> Moment {
        let cancel = Cancel::new();
        let view = Arc::new(self.engine.view_until(longest, cancel.clone()));
        Moment { view, store: self.clone(), _cancel: CancelOnDrop(cancel) }
    }

    /// A bridge to an open engine that lets questions use this much.
    pub fn new(engine: Arc<Engine>, limits: QueryLimits) -> Self {
        let queries = Semaphore::new(limits.queries_max.clamp(1, Semaphore::MAX_PERMITS));
        let answers = Arc::new(Answers::new(limits.kept_bytes_max, limits.standing_bytes_max));
        Self { engine, queries: Arc::new(queries), limits, answers }
    }

    /// Keeps rows and records; returns when they are durable (or written, with buffered durability).
    ///
    /// # Errors
    ///
    /// As [`Engine::append`].
    pub async fn append(&self, append: Append) -> Result<Appended> {
        let (sender, receiver) = oneshot::channel();
        self.engine.submit(append, Box::new(move |result| drop(sender.send(result))));
        receiver.await.unwrap_or(Err(Error::Closed))
    }

    /// Whether a request of this name was answered already; an append of it gets that answer again.
    ///
    /// # Errors
    ///
    /// As [`Engine::is_answered`].
    pub async fn is_answered(&self, request: Idempotency) -> Result<bool> {
        self.run(move |engine| engine.is_answered(&request)).await
    }

    /// Puts or removes catalog records, together.
    ///
    /// # Errors
    ///
    /// As [`Engine::append`].
    pub async fn put(&self, puts: Vec<CatalogPut>) -> Result<Appended> {
        self.append(Append::puts(puts)).await
    }

    /// Answers a question for numbers within `scope`, which replaces the query's own.
    ///
    /// # Errors
    ///
    /// As [`Engine::aggregate`].
    pub async fn aggregate(&self, scope: &ReadScope, query: Query) -> Result<Answer> {
        let scope = scope.clone();
        self.ask(move |asking| asking.numbers(&scope, query).map(|given| given.answer)).await?
    }

    /// Asks several questions of one moment on a thread that may wait. When the caller goes, they stop.
    ///
    /// # Errors
    ///
    /// [`Error::Overloaded`] when other questions run for too long, [`Error::Closed`].
    pub async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Asking) -> T + Send + 'static,
    ) -> Result<T> {
        let cancel = Cancel::new();
        let _guard = CancelOnDrop(cancel.clone());
        let view = self.engine.view_until(self.limits.deadline, cancel);
        let (store, memory, taken) = (self.clone(), SharedMemory::default(), Taken::default());
        let asking = Asking { view, store, memory, taken };
        self.run(move |_| Ok(work(&asking))).await
    }

    /// Answers a question for rows within `scope`, which replaces the request's own.
    ///
    /// # Errors
    ///
    /// As [`Engine::rows`].
    pub async fn rows(&self, scope: &ReadScope, mut request: RowRequest) -> Result<RowPage> {
        request.scope = scope.of(request.stream)?;
        self.ask(move |asking| asking.view.rows(&request)).await?
    }

    /// One row by its id, with every column; `None` when the scope has none.
    ///
    /// # Errors
    ///
    /// As [`Engine::row_by_id`].
    pub async fn row_by_id(&self, scope: &ReadScope, stream: Stream, id: String) -> Result<Option<Batch>> {
        let scope = scope.of(stream)?;
        self.run(move |engine| engine.row_by_id(&scope, stream, &id)).await
    }

    /// What each tenant of `tenants` keeps in each stream, in the order of [`Stream::ALL`].
    ///
    /// # Errors
    ///
    /// As [`Engine::usage`].
    pub async fn usage(&self, tenant: TenantId) -> Result<[Usage; 3]> {
        self.run(move |engine| {
            let mut usage = [Usage::default(); 3];
            for (stream, slot) in Stream::ALL.into_iter().zip(&mut usage) {
                *slot = engine.usage(&tenant, stream)?;
            }
            Ok(usage)
        })
        .await
    }

    /// The id of a row whose client gave none.
    pub fn derived_id(&self, tenant: &TenantId, stream: Stream, seq: u64, received: TimestampUs) -> String {
        self.engine.derived_id(tenant, stream, seq, received).unwrap_or_default()
    }

    /// The leaf hashes of an audit batch that was read back; one a row.
    ///
    /// # Errors
    ///
    /// As [`Engine::leaves`].
    pub fn leaves(&self, batch: &Batch) -> Result<Vec<[u8; 32]>> {
        self.engine.leaves(batch)
    }

    /// A catalog record. Sees every append that was acknowledged.
    pub fn catalog_get(&self, kind: CatalogKind, key: &[u8]) -> Option<Arc<[u8]>> {
        self.engine.catalog_get(kind, key)
    }

    /// The catalog records of a kind whose keys start with `prefix`, sorted by key.
    pub fn catalog_scan(&self, kind: CatalogKind, prefix: &[u8]) -> Vec<(Vec<u8>, Arc<[u8]>)> {
        self.engine.catalog_scan(kind, prefix)
    }

    /// A secret of this store: made at the first call for a name, then the same for ever.
    ///
    /// # Errors
    ///
    /// As [`Engine::secret`].
    pub async fn secret(&self, name: &'static str) -> Result<[u8; 32]> {
        self.run(move |engine| engine.secret(name)).await
    }

    /// Erases a tenant or a user, and removes catalog records with it; gives the record of the erasure.
    ///
    /// # Errors
    ///
    /// As [`Engine::erase`].
    pub async fn erase(
        &self,
        target: EraseTarget,
        puts: Vec<CatalogPut>,
    ) -> Result<(ErasureId, ErasureRecord)> {
        self.run(move |engine| {
            let (id, _) = engine.erase(target, Append::puts(puts))?;
            let record = engine.erasure(id);
            Ok((id, record.ok_or_else(|| Error::invalid("an erasure without its record"))?))
        })
        .await
    }

    /// An erasure: what is to be erased, or the receipt of it.
    pub fn erasure(&self, id: ErasureId) -> Option<ErasureRecord> {
        self.engine.erasure(id)
    }

    /// How long a tenant's streams are kept.
    pub fn retention(&self, tenant: &TenantId) -> RetentionDocument {
        self.engine.retention(tenant).0
    }

    /// Sets how long a tenant's streams are kept.
    ///
    /// # Errors
    ///
    /// As [`Engine::set_retention`].
    pub async fn set_retention(&self, tenant: TenantId, document: RetentionDocument) -> Result<()> {
        self.run(move |engine| engine.set_retention(&tenant, Some(document))).await
    }

    /// Since when rows of a tenant's stream are kept.
    pub fn kept_since(&self, tenant: &TenantId, stream: Stream) -> TimestampUs {
        self.engine.kept_since(tenant, stream)
    }

    /// Removes the files whose rows have all passed what their tenants keep; with `dry_run` only says which.
    ///
    /// # Errors
    ///
    /// As [`Engine::enforce_retention`].
    pub async fn enforce_retention(&self, dry_run: bool) -> Result<RetentionReport> {
        self.run(move |engine| engine.enforce_retention(dry_run)).await
    }

    /// Writes what is in memory into segments, and merges those that are due. Appends go on meanwhile.
    ///
    /// # Errors
    ///
    /// As [`Engine::flush`] and [`Engine::compact`].
    pub async fn settle(&self) -> Result<CompactionReport> {
        self.run(|engine| {
            engine.flush()?;
            engine.compact(Effort::Due)
        })
        .await
    }

    /// Whether a tenant has written, or was created.
    pub fn tenant_exists(&self, tenant: &TenantId) -> bool {
        self.engine.tenant_exists(tenant)
    }

    /// Makes a tenant exist before its first row; fine when it does.
    ///
    /// # Errors
    ///
    /// As [`Engine::create_tenant`].
    pub async fn create_tenant(&self, tenant: TenantId) -> Result<()> {
        self.run(move |engine| engine.create_tenant(&tenant)).await
    }

    /// The tenants that exist, sorted by name. Only for principals that see them all.
    pub fn tenants(&self) -> Vec<TenantId> {
        self.engine.tenants()
    }

    /// Whether the engine can do its work.
    pub fn health(&self) -> Health {
        self.engine.health()
    }

    /// Lets `follower` see rows as they become readable.
    ///
    /// # Errors
    ///
    /// As [`Engine::follow`].
    pub fn follow(&self, follower: Arc<dyn Follower>) -> Result<()> {
        self.engine.follow(follower)
    }

    /// Counters and sizes of the engine.
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// Bytes of answers that are kept for the same question.
    pub fn kept_bytes(&self) -> u64 {
        self.answers.bytes()
    }

    /// Bytes of questions that are kept up to date.
    pub fn standing_bytes(&self) -> u64 {
        self.answers.standing().bytes()
    }

    /// Brings the questions that stay up to date, again and again.
    pub(crate) async fn keep_up(self) {
        let mut every = tokio::time::interval(standing::EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            if self.answers.standing().is_empty() {
                continue;
            }
            let store = self.clone();
            if tokio::task::spawn_blocking(move || store.advance_standing()).await.is_err() {
                // What was being read has gone; the others go on.
                tracing::error!("a report that is kept up to date was lost");
            }
        }
    }

    /// Brings the questions that stay up to date.
    pub(crate) fn advance_standing(&self) {
        let view = || self.engine.view_until(self.limits.deadline, Cancel::new());
        self.answers.standing().advance(&view);
    }

    /// Runs blocking work of the engine on a thread of the pool, when a permit is free.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Engine) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let permit = Arc::clone(&self.queries).acquire_owned();
        let permit = tokio::time::timeout(self.limits.deadline, permit).await;
        let overloaded =
            Error::Overloaded { what: "questions at once", limit: self.limits.queries_max as u64 };
        let permit = permit.map_err(|_| overloaded)?.map_err(|_| Error::Closed)?;
        let engine = Arc::clone(&self.engine);
        let joined = tokio::task::spawn_blocking(move || {
            let result = work(&engine);
            drop(permit);
            result
        })
        .await;
        match joined {
            Ok(result) => result,
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            Err(_) => Err(Error::Closed),
        }
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
