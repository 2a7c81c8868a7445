//! What the log hands on: rows become readable, records true, callers answered.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::append::{Appended, CatalogPut};
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::Durability;
use crate::core::Counters;
use crate::error::{Error, Result};
use crate::id::Lsn;
use crate::memtable::NewRows;
use crate::tables::{Kept, Tables};
use crate::wal::Sink;

/// What is called once when an append is kept or refused.
pub(crate) type Done = Box<dyn FnOnce(Result<Appended>) + Send>;

/// An append on its way through the log.
pub(crate) struct Job {
    /// Its frame.
    pub lsn: Lsn,
    /// The rows of the frame.
    pub rows: Vec<NewRows>,
    /// The records of the frame.
    pub puts: Vec<CatalogPut>,
    /// The answer, should it be kept.
    pub appended: Appended,
    /// Who hears it.
    pub waiter: Waiter,
}

/// Who hears what became of an append; hears of a failure when nobody else says anything.
pub(crate) struct Waiter(Option<Done>);

impl Waiter {
    /// `done` is to be told.
    pub(crate) fn new(done: Done) -> Self {
        Self(Some(done))
    }

    fn answer(mut self, result: Result<Appended>) {
        if let Some(done) = self.0.take() {
            done(result);
        }
    }

    /// Gives back who waits, untold.
    pub(crate) fn into_done(mut self) -> Done {
        self.0.take().unwrap_or_else(|| Box::new(|_| ()))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(Err(Error::Poisoned));
        }
    }
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Job({})", self.lsn)
    }
}

/// What the log hands on: rows become readable, records true, callers answered.
#[derive(Debug)]
pub(crate) struct Applier {
    tables: Arc<Tables>,
    catalog: Arc<Catalog>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    durable: bool,
}

impl Sink for Applier {
    type Job = Job;

    fn kept(&self, jobs: Vec<Job>) {
        let now = self.clock.monotonic();
        let mut answers = Vec::with_capacity(jobs.len());
        for Job { lsn, rows, puts, mut appended, waiter } in jobs {
            let count: usize = rows.iter().map(NewRows::len).sum();
            self.counters.rows_appended.fetch_add(count as u64, Ordering::Relaxed);
            // Records are checked when the append is planned, so that nothing that is in the log fails here.
            let applied = self.catalog.apply(lsn, &puts);
            assert!(applied.is_ok(), "a planned catalog record fits: {applied:?}");
            let picked = self.tables.following().pick(lsn, &rows, self.catalog.as_ref());
            self.tables.keep(Kept { lsn, rows }, now);
            self.tables.following().tell(&picked);
            appended.durable = self.durable;
            answers.push((waiter, appended));
        }
        for (waiter, appended) in answers {
            waiter.answer(Ok(appended));
        }
    }

    fn lost(&self, jobs: Vec<Job>, error: &Error) {
        for job in jobs {
            job.waiter.answer(Err(refusal(error)));
        }
    }
}

impl Applier {
    /// Hands frames on to these.
    pub(crate) fn new(
        tables: &Arc<Tables>,
        catalog: &Arc<Catalog>,
        clock: &Arc<dyn Clock>,
        counters: &Arc<Counters>,
        durability: Durability,
    ) -> Self {
        Self {
            tables: Arc::clone(tables),
            catalog: Arc::clone(catalog),
            clock: Arc::clone(clock),
            counters: Arc::clone(counters),
            durable: durability == Durability::Synced,
        }
    }
}

/// What a waiting caller is told when the log fails: the first error was logged where it happened.
fn refusal(error: &Error) -> Error {
    match error {
        Error::Overloaded { what, limit } => Error::Overloaded { what, limit: *limit },
        Error::DiskFull { free, reserve } => Error::DiskFull { free: *free, reserve: *reserve },
        Error::Closed => Error::Closed,
        _ => Error::Poisoned,
    }
}
