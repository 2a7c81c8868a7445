//! How a report reads: within one scope and one moment, several questions at once, costs and damage added up.

use insights_engine::id::{Stream, TenantId};
use insights_engine::query::{
    Answer, Cost, Damage, Order, ProbeAnswer, Query, RowPage, RowRequest, SessionAnswer, SessionClasses,
    SessionRequest,
};
use insights_engine::time::{Buckets, TimeRange, TimestampUs};
use parking_lot::Mutex;

use crate::answers::Given;
use crate::auth::ReadScope;
use crate::http::error::ApiError;
use crate::store::Asking;

/// What the questions of one report cost, and what they could not read.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// What they cost.
    pub(crate) cost: Cost,
    /// What they could not read.
    pub(crate) damaged: Vec<Damage>,
    /// Whether any of them had to be computed: every answer was there already when not.
    pub(crate) computed: bool,
}

/// A moment, whose rows are read, and what that has cost.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    asking: &'a Asking,
    scope: &'a ReadScope,
    allow_partial: bool,
    totals: Mutex<Totals>,
}

impl<'a> Reader<'a> {
    /// A reader that has read nothing.
    pub(crate) fn new(asking: &'a Asking, scope: &'a ReadScope, allow_partial: bool) -> Self {
        Self { asking, scope, allow_partial, totals: Mutex::default() }
    }

    /// A question of this reader's scope.
    pub(crate) fn query(&self, stream: Stream, window: TimeRange) -> Query {
        Query { allow_partial: self.allow_partial, ..self.scope.query(stream, window) }
    }

    /// A question for sessions of this reader's scope.
    pub(crate) fn session_request(
        &self,
        window: TimeRange,
        buckets: Buckets,
        classes: SessionClasses,
    ) -> SessionRequest {
        SessionRequest {
            allow_partial: self.allow_partial,
            ..self.scope.session_request(window, buckets, classes)
        }
    }

    /// Answers a question for numbers.
    ///
    /// # Errors
    ///
    /// Those of the engine on the wire; damage names the stream and the window.
    pub(crate) fn aggregate(&self, query: Query) -> Result<Answer, ApiError> {
        let (stream, window) = (query.stream, query.window);
        let answer = self.asking.numbers(self.scope, query);
        let answer = answer.map_err(|e| self.refused(e, stream, window))?;
        Ok(self.take(answer, |answer| (answer.cost, &answer.damaged)))
    }

    /// Answers several questions for numbers of one stream in one pass over the rows, in their order.
    ///
    /// # Errors
    ///
    /// As [`Self::aggregate`].
    pub(crate) fn aggregate_all<const N: usize>(&self, queries: [Query; N]) -> Result<[Answer; N], ApiError> {
        let of = queries.first().map(|query| (query.stream, query.window));
        let (stream, window) = of.unwrap_or((Stream::Events, TimeRange::ALL));
        let answers = self.asking.numbers_all(self.scope, queries.into());
        let answers = answers.and_then(|answers| {
            let answers: std::result::Result<[Given<Answer>; N], _> = answers.try_into();
            answers.map_err(|_| insights_engine::Error::invalid("not an answer for each question"))
        });
        let answers = answers.map_err(|e| self.refused(e, stream, window))?;
        Ok(answers.map(|given| self.take(given, |answer| (answer.cost, &answer.damaged))))
    }

    /// Whether one organization is read: then what is asked at once takes turns.
    pub(crate) fn is_of_one_organization(&self) -> bool {
        self.scope.organization().is_some()
    }

    /// Answers from what can be read, and keeps silent about the rest: for what only decides how to ask.
    ///
    /// # Errors
    ///
    /// Those of the engine on the wire, but none of damage.
    pub(crate) fn glance(&self, query: Query) -> Result<Answer, ApiError> {
        let (stream, window) = (query.stream, query.window);
        let query = Query { allow_partial: true, ..query };
        let answer = self.asking.numbers(self.scope, query);
        let answer = answer.map_err(|e| self.refused(e, stream, window))?;
        Ok(self.take(answer, |answer| (answer.cost, &[])))
    }

    /// Answers a question for sessions.
    ///
    /// # Errors
    ///
    /// As [`Self::aggregate`].
    pub(crate) fn sessions(&self, request: SessionRequest) -> Result<SessionAnswer, ApiError> {
        let window = request.window;
        let answer = self.asking.sessions(self.scope, request);
        let answer = answer.map_err(|e| self.refused(e, Stream::Events, window))?;
        Ok(self.take(answer, |answer| (answer.cost, &answer.damaged)))
    }

    /// The probes of an application, or of all.
    ///
    /// # Errors
    ///
    /// As [`Self::aggregate`].
    pub(crate) fn probes(&self, window: TimeRange, app: Option<&str>) -> Result<ProbeAnswer, ApiError> {
        let mut request = self.scope.probe_request(window, app);
        request.allow_partial = self.allow_partial;
        let answer = self.asking.probes(self.scope, request);
        let answer = answer.map_err(|e| self.refused(e, Stream::Metrics, window))?;
        self.count(answer.cost, &answer.damaged, false);
        Ok(answer)
    }

    /// The first page of rows that a request of this reader's scope asks for, or the one after its cursor.
    ///
    /// # Errors
    ///
    /// As [`Self::aggregate`].
    pub(crate) fn rows(&self, request: &RowRequest) -> Result<RowPage, ApiError> {
        let (stream, window) = (request.stream, request.window);
        let page = self.asking.rows(self.scope, request.clone());
        let page = page.map_err(|e| self.refused(e, stream, window))?;
        self.count(page.cost, &page.damaged, false);
        Ok(page)
    }

    /// A question for rows of this reader's scope, oldest first.
    pub(crate) fn row_request(&self, stream: Stream, window: TimeRange, limit: usize) -> RowRequest {
        RowRequest {
            order: Order::Asc,
            allow_partial: self.allow_partial,
            ..self.scope.row_request(stream, window, limit)
        }
    }

    /// The organization, when it is one.
    pub(crate) fn organization(&self) -> Option<&TenantId> {
        self.scope.organization()
    }

    /// Since when rows of the organization's stream are kept.
    pub(crate) fn kept_since(&self, organization: &TenantId, stream: Stream) -> TimestampUs {
        self.asking.kept_since(organization, stream)
    }

    /// The id of a row whose client gave none.
    pub(crate) fn derived_id(
        &self,
        organization: &TenantId,
        stream: Stream,
        seq: u64,
        received: TimestampUs,
    ) -> String {
        self.asking.derived_id(organization, stream, seq, received)
    }

    /// Adds what another reader's questions cost.
    pub(crate) fn absorb(&self, other: Reader<'_>) {
        let totals = other.totals.into_inner();
        self.count(totals.cost, &totals.damaged, !totals.computed);
    }

    /// Does two things: at once when all organizations are read, whose questions are the long ones, else
    /// one after the other. The error is that of the first where both have one. Two at once have one budget.
    pub(crate) fn both<A, B: Send>(
        &self,
        one: impl FnOnce() -> Result<A, ApiError>,
        other: impl FnOnce() -> Result<B, ApiError> + Send,
    ) -> Result<(A, B), ApiError> {
        self.asking.both(!self.is_of_one_organization(), one, other)
    }

    /// What everything cost.
    pub(crate) fn finish(self) -> Totals {
        self.totals.into_inner()
    }

    fn refused(&self, error: insights_engine::Error, stream: Stream, window: TimeRange) -> ApiError {
        ApiError::of_read(error, stream, window, &self.asking.health().damaged)
    }

    /// Counts an answer and takes it.
    fn take<T>(&self, given: Given<T>, counts: impl FnOnce(&T) -> (Cost, &[Damage])) -> T {
        let (cost, damaged) = counts(&given.answer);
        self.count(cost, damaged, given.cached);
        given.answer
    }

    fn count(&self, cost: Cost, damaged: &[Damage], cached: bool) {
        let mut totals = self.totals.lock();
        totals.computed |= !cached;
        totals.cost += cost;
        totals.damaged.extend_from_slice(damaged);
    }
}
