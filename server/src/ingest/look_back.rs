//! The session of a single event: who it is of, and what the store knows of its chain.

use insights_engine::id::{Stream, TenantId};
use insights_engine::query::{Field, Filter, Literal, Op, Order, RowRequest};
use insights_engine::schema::stream::{
    ANONYMOUS_ID, ColumnDef, IP_ADDRESS, SESSION_ID, TIME, USER_AGENT, USER_ID,
};
use insights_engine::schema::{Batch, Column};
use insights_engine::time::{TimeRange, TimestampUs};

use super::chains::{Chains, Place};
use super::session::{IdentityHash, SessionNamer};
use crate::auth::ReadScope;
use crate::domain::event::SESSION_GAP_US;
use crate::store::Store;

/// Most steps of up to 30 minutes that are looked back: a chain of two days without a pause.
const STEPS_MAX: usize = 96;

/// Who an event is of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Identity {
    User(String),
    Visitor(String),
    /// Nobody is named; the connection stands for one.
    Connection(String, String),
}

/// A single event whose session the answer names.
#[derive(Debug, Clone)]
pub struct SingleEvent {
    organization: TenantId,
    time: TimestampUs,
    identity: Identity,
    session_id: Option<String>,
}

fn text<'b>(batch: &'b Batch, column: &ColumnDef, row: usize) -> Option<&'b str> {
    batch.column(column)?.as_bytes()?.get_str(row)
}

impl SingleEvent {
    /// The event of a batch of one row.
    pub fn of(batch: &Batch) -> Option<Self> {
        let owned = |column| text(batch, column, 0).map(str::to_owned);
        let connection = || {
            Identity::Connection(
                owned(&IP_ADDRESS).unwrap_or_default(),
                owned(&USER_AGENT).unwrap_or_default(),
            )
        };
        let visitor = || owned(&ANONYMOUS_ID).map(Identity::Visitor);
        Some(Self {
            organization: batch.tenant().clone(),
            time: TimestampUs(*batch.column(&TIME)?.as_i64()?.first()?),
            identity: owned(&USER_ID).map(Identity::User).or_else(visitor).unwrap_or_else(connection),
            session_id: owned(&SESSION_ID),
        })
    }

    /// The organization it goes to.
    pub fn organization(&self) -> &TenantId {
        &self.organization
    }

    fn hash(&self, namer: &SessionNamer) -> IdentityHash {
        match &self.identity {
            Identity::User(id) => namer.identity(&self.organization, 0, &[id]),
            Identity::Visitor(id) => namer.identity(&self.organization, 1, &[id]),
            Identity::Connection(ip, agent) => namer.identity(&self.organization, 2, &[ip, agent]),
        }
    }

    /// The rows of its identity that belong to no session of a client.
    fn filter(&self) -> Filter {
        let is = |column: &ColumnDef, id: &str| {
            Filter::Compare(Field::Column(column.id), Op::Is(Literal::Str(id.to_owned())))
        };
        let absent =
            |column: &ColumnDef| Filter::Not(Box::new(Filter::Compare(Field::Column(column.id), Op::Exists)));
        match &self.identity {
            Identity::User(id) => Filter::And(vec![is(&USER_ID, id), absent(&SESSION_ID)]),
            Identity::Visitor(id) => {
                Filter::And(vec![is(&ANONYMOUS_ID, id), absent(&USER_ID), absent(&SESSION_ID)])
            }
            Identity::Connection(..) => Filter::Or(Vec::new()),
        }
    }

    /// The name of its session.
    ///
    /// # Errors
    ///
    /// Those of the store, when it must be asked.
    pub async fn session(
        self,
        namer: &SessionNamer,
        chains: &Chains,
        store: &Store,
        scope: &ReadScope,
    ) -> insights_engine::Result<String> {
        if let Some(given) = self.session_id {
            return Ok(given);
        }
        let identity = self.hash(namer);
        let start = if let Identity::Connection(..) = self.identity {
            chains.note_connection(identity, self.time)
        } else {
            if chains.must_begin(&self.organization) {
                let latest = edge(store, scope, TimeRange::ALL, Filter::all(), Order::Desc).await?;
                chains.begin(&self.organization, latest);
            }
            match chains.note(&self.organization, identity, self.time) {
                Place::Known(start) => start,
                Place::Unknown => {
                    let (first, last) = self.chain(store, scope).await?;
                    chains.settle(identity, self.time, first, last)
                }
            }
        };
        Ok(namer.name(&self.organization, identity, start))
    }

    /// The first and last event of its chain in the store.
    async fn chain(
        &self,
        store: &Store,
        scope: &ReadScope,
    ) -> insights_engine::Result<(TimestampUs, TimestampUs)> {
        let (mut first, mut last) = (self.time, self.time);
        // Every event less than 30 minutes before the first one is of the chain, so the earliest of
        // them is the next step back.
        for _ in 0..STEPS_MAX {
            let window = TimeRange { start: TimestampUs(first.0 - SESSION_GAP_US + 1), end: first };
            match edge(store, scope, window, self.filter(), Order::Asc).await? {
                Some(earlier) => first = earlier,
                None => break,
            }
        }
        for _ in 0..STEPS_MAX {
            let window =
                TimeRange { start: TimestampUs(last.0 + 1), end: TimestampUs(last.0 + SESSION_GAP_US) };
            match edge(store, scope, window, self.filter(), Order::Desc).await? {
                Some(later) => last = later,
                None => break,
            }
        }
        Ok((first, last))
    }
}

/// The event time of the first row in an order.
async fn edge(
    store: &Store,
    scope: &ReadScope,
    window: TimeRange,
    filter: Filter,
    order: Order,
) -> insights_engine::Result<Option<TimestampUs>> {
    let request =
        RowRequest { filter, order, allow_partial: true, ..scope.row_request(Stream::Events, window, 1) };
    let page = store.rows(scope, request).await?;
    let times = page.batches.first().and_then(|batch| batch.column(&TIME)).and_then(Column::as_i64);
    Ok(times.and_then(|times| times.first()).copied().map(TimestampUs))
}

/// Takes the rows of a batch into the chains that are known.
pub fn note_batch(batch: &Batch, namer: &SessionNamer, chains: &Chains) {
    let Some(times) = batch.column(&TIME).and_then(Column::as_i64) else { return };
    chains.note_rows(batch.tenant(), times, |row| {
        if text(batch, &SESSION_ID, row).is_some() {
            return None;
        }
        let user = text(batch, &USER_ID, row).map(|id| (0, id));
        let (kind, id) = user.or_else(|| text(batch, &ANONYMOUS_ID, row).map(|id| (1, id)))?;
        Some(namer.identity(batch.tenant(), kind, &[id]))
    });
}
