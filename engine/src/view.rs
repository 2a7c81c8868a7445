//! One moment of the store for several questions, so that their answers agree while rows come in.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::codes::Tenants;
use crate::core::Core;
use crate::disk::meter;
use crate::error::Result;
use crate::id::{Lsn, Stream};
use crate::part::Part;
use crate::query::{
    self, Advance, Answer, DataVersion, Filter, Hidden, PartId, ProbeAnswer, ProbeRequest, Query, RowPage,
    RowRequest, Samples, ScanEnd, ScanRequest, ScanVector, Scope, Series, SeriesList, SessionAnswer,
    SessionRequest, Snapshot, StandingQueries, StandingSessions, Stop,
};
use crate::time::TimeRange;

/// A moment of the store. Each stream stands still from the first question about it on.
///
/// Holds the segments and memtable chunks that it has seen; drop it when the questions are answered. Its
/// time runs from the moment it was made: all its questions share one deadline.
#[derive(Debug)]
pub struct View {
    core: Arc<Core>,
    stop: Stop,
    /// By stream: the scopes that were asked about, a few, and the snapshot of each.
    moments: [Mutex<Vec<(Scope, Snapshot)>>; Stream::ALL.len()],
}

impl View {
    pub(crate) fn new(core: Arc<Core>, stop: Stop) -> Self {
        Self { core, stop, moments: [const { Mutex::new(Vec::new()) }; Stream::ALL.len()] }
    }

    /// The bytes of segments and cells that this thread has read so far, for whatever question: what
    /// a question that failed has read lies between two calls.
    pub fn bytes_read(&self) -> u64 {
        meter::bytes_read()
    }

    /// The newest frame whose rows of a stream and scope this moment has: those after it come later.
    pub fn lsn(&self, scope: &Scope, stream: Stream) -> Lsn {
        self.snapshot(scope, stream).lsn
    }

    /// Whether what is hidden from this moment is what is hidden now: nobody was erased, no limit was changed since. A
    /// moment that is read for long goes on showing what it showed first.
    pub fn hides_what_is_hidden_now(&self, scope: &Scope, stream: Stream) -> bool {
        self.snapshot(scope, stream).hidden.revision() == self.core.hidden().revision()
    }

    /// Whether a question about a scope and stream was asked already: what follows is of that moment.
    pub fn has_asked(&self, scope: &Scope, stream: Stream) -> bool {
        let moments = self.moments.get(usize::from(stream.tag()));
        moments.is_some_and(|moments| moments.lock().iter().any(|(known, _)| known == scope))
    }

    /// Whether rows of a scope and stream with event times in a window came so short a time ago that they are in memory
    /// alone: more of them are likely to come.
    pub fn has_new_rows(&self, scope: &Scope, stream: Stream, window: TimeRange) -> bool {
        let snapshot = self.snapshot(scope, stream);
        let in_memory = snapshot.parts.iter().filter(|part| part.id() == PartId::Memory);
        let mut bounds = in_memory.filter_map(|part| part.bounds(stream));
        bounds.any(|(min, max)| window.overlaps(min, max))
    }

    /// Answers a question for numbers.
    ///
    /// # Errors
    ///
    /// As [`crate::Engine::aggregate`].
    pub fn aggregate(&self, question: &Query) -> Result<Answer> {
        let missing = self.core.missing_from(question.stream, question.window, question.allow_partial)?;
        let mut answer = query::aggregate(&self.snapshot(&question.scope, question.stream), question)?;
        answer.damaged.extend(missing);
        self.core.note_damage(&answer.damaged);
        Ok(answer)
    }

    /// Answers several questions for numbers, all of one scope and stream, in one pass over the rows; each as
    /// [`Self::aggregate`] would.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] for questions of several scopes or streams; of each question those of
    /// [`Self::aggregate`].
    pub fn aggregate_all(&self, questions: &[Query]) -> Result<Vec<Result<Answer>>> {
        let Some(first) = same_scope(questions)? else { return Ok(Vec::new()) };
        let answers = query::aggregate_all(&self.snapshot(&first.scope, first.stream), questions);
        Ok(self.with_missing(questions, answers))
    }

    /// As [`Self::aggregate_all`], and keeps the questions, when all have whole answers: asked again of a later
    /// moment they read the rows that have come since, and no other ones.
    ///
    /// # Errors
    ///
    /// As [`Self::aggregate_all`].
    pub fn aggregate_standing(
        &self,
        questions: &[Query],
    ) -> Result<(Vec<Result<Answer>>, Option<StandingQueries>)> {
        let Some(first) = same_scope(questions)? else { return Ok((Vec::new(), None)) };
        let snapshot = self.snapshot(&first.scope, first.stream);
        let (answers, standing) = StandingQueries::start(&snapshot, questions);
        let answers = self.with_missing(questions, answers);
        let is_whole = |answer: &Result<Answer>| answer.as_ref().is_ok_and(|a| a.damaged.is_empty());
        let standing = standing.filter(|_| answers.iter().all(is_whole));
        Ok((answers, standing))
    }

    /// Brings questions that were kept to this moment.
    ///
    /// # Errors
    ///
    /// As [`Self::aggregate`]; questions that failed are of no use any more.
    pub fn advance(&self, standing: &mut StandingQueries) -> Result<Advance> {
        let Some(first) = standing.queries().first() else { return Ok(Advance::Done) };
        let snapshot = self.snapshot(&first.scope, first.stream);
        standing.advance(&snapshot)
    }

    fn with_missing(&self, questions: &[Query], answers: Vec<Result<Answer>>) -> Vec<Result<Answer>> {
        let whole = |(question, answer): (&Query, Result<Answer>)| {
            let mut answer = answer?;
            let missing = self.core.missing_from(question.stream, question.window, question.allow_partial)?;
            answer.damaged.extend(missing);
            self.core.note_damage(&answer.damaged);
            Ok(answer)
        };
        questions.iter().zip(answers).map(whole).collect()
    }

    /// Gives the fields of all matching rows to `each`, vector by vector, in no order.
    ///
    /// # Errors
    ///
    /// As [`crate::Engine::scan`].
    pub fn scan(
        &self,
        request: &ScanRequest,
        each: &mut dyn FnMut(&ScanVector) -> Result<()>,
    ) -> Result<ScanEnd> {
        let missing = self.core.missing_from(request.stream, request.window, request.allow_partial)?;
        let mut end = query::scan(&self.snapshot(&request.scope, request.stream), request, each)?;
        end.damaged.extend(missing);
        self.core.note_damage(&end.damaged);
        Ok(end)
    }

    /// Answers a question for rows.
    ///
    /// # Errors
    ///
    /// As [`crate::Engine::aggregate`].
    pub fn rows(&self, request: &RowRequest) -> Result<RowPage> {
        let missing = self.core.missing_from(request.stream, request.window, request.allow_partial)?;
        let mut page = query::rows(&self.snapshot(&request.scope, request.stream), request)?;
        page.damaged.extend(missing);
        self.core.note_damage(&page.damaged);
        Ok(page)
    }

    /// The series of a scope that have a point in a window and match `matchers`, sorted; an error when
    /// there are more than `series_max`.
    ///
    /// # Errors
    ///
    /// As [`crate::Engine::aggregate`].
    pub fn series(
        &self,
        scope: &Scope,
        matchers: &Filter,
        window: TimeRange,
        series_max: usize,
    ) -> Result<SeriesList> {
        self.core.missing_from(Stream::Metrics, window, false)?;
        query::series(&self.snapshot(scope, Stream::Metrics), scope, matchers, window, series_max, false)
    }

    /// The samples of one series in a range, by time; an error when there are more than `samples_max`.
    ///
    /// # Errors
    ///
    /// As [`crate::Engine::aggregate`].
    pub fn samples(&self, series: &Series, range: TimeRange, samples_max: usize) -> Result<Samples> {
        self.core.missing_from(Stream::Metrics, range, false)?;
        let scope = Scope::One(series.tenant.clone());
        query::samples(&self.snapshot(&scope, Stream::Metrics), series, range, samples_max, false)
    }

    /// Answers a question for sessions.
    ///
    /// # Errors
    ///
    /// As [`crate::Engine::aggregate`].
    pub fn sessions(&self, request: &SessionRequest) -> Result<SessionAnswer> {
        Ok(self.sessions_standing(request)?.0)
    }

    /// As [`Self::sessions`], and keeps the question, when its answer is whole: asked again of a later moment it
    /// reads the events that have come since, and no other ones.
    ///
    /// # Errors
    ///
    /// As [`Self::sessions`].
    pub fn sessions_standing(
        &self,
        request: &SessionRequest,
    ) -> Result<(SessionAnswer, Option<StandingSessions>)> {
        let snapshot = self.snapshot(&request.scope, Stream::Events);
        let (mut answer, standing) = StandingSessions::start(&snapshot, request)?;
        let read = answer.read.unwrap_or(request.window);
        let missing = self.core.missing_from(Stream::Events, read, request.allow_partial)?;
        answer.exact &= missing.is_empty();
        answer.damaged.extend(missing);
        self.core.note_damage(&answer.damaged);
        let standing = standing.filter(|_| answer.exact);
        Ok((answer, standing))
    }

    /// Brings a question that was kept to this moment. It is lost also when an event is of a day of which it has sums
    /// alone.
    ///
    /// # Errors
    ///
    /// As [`Self::sessions`]; a question that failed is of no use any more.
    pub fn advance_sessions(&self, standing: &mut StandingSessions) -> Result<Advance> {
        let snapshot = self.snapshot(&standing.request().scope, Stream::Events);
        standing.advance(&snapshot)
    }

    /// The state of what a question of `scope` over `window` may read. An answer that was given at this
    /// version holds for as long as the version does.
    ///
    /// # Errors
    ///
    /// None that rows in memory give.
    pub fn version(&self, scope: &Scope, stream: Stream, window: TimeRange) -> Result<DataVersion> {
        query::version(&self.snapshot(scope, stream), scope, stream, window)
    }

    /// Answers a question for the probes of applications.
    ///
    /// # Errors
    ///
    /// As [`crate::Engine::aggregate`].
    pub fn probes(&self, request: &ProbeRequest) -> Result<ProbeAnswer> {
        let missing = self.core.missing_from(Stream::Metrics, request.window, request.allow_partial)?;
        let mut answer = query::probes(&self.snapshot(&request.scope, Stream::Metrics), request)?;
        answer.damaged.extend(missing);
        self.core.note_damage(&answer.damaged);
        Ok(answer)
    }

    /// The snapshot of a stream for a scope, the same at every call: it has the memtable chunks of its scope
    /// alone, so each scope has its own.
    fn snapshot(&self, scope: &Scope, stream: Stream) -> Snapshot {
        let read = || Snapshot { stop: self.stop.clone(), ..self.core.snapshot(scope, stream) };
        let Some(moments) = self.moments.get(usize::from(stream.tag())) else { return read() };
        let mut moments = moments.lock();
        if let Some((_, snapshot)) = moments.iter().find(|(known, _)| known == scope) {
            return snapshot.clone();
        }
        let snapshot = read();
        moments.push((scope.clone(), snapshot.clone()));
        snapshot
    }
}

/// The first of questions that are all of one scope and stream.
fn same_scope(questions: &[Query]) -> Result<Option<&Query>> {
    let Some(first) = questions.first() else { return Ok(None) };
    if questions.iter().any(|q| q.scope != first.scope || q.stream != first.stream) {
        return Err(crate::Error::invalid("questions of several scopes or streams in one pass"));
    }
    Ok(Some(first))
}

/// All rows of parts, hidden or not: what the engine asks about its own files, of which no answer leaves it.
pub(crate) fn everything(core: &Core, parts: Vec<Arc<dyn Part>>) -> Snapshot {
    Snapshot {
        parts,
        codes: core.tables.codes(),
        tenants: Arc::clone(&core.catalog) as Arc<dyn Tenants>,
        hidden: Arc::new(Hidden::default()),
        lsn: core.tables.lsn_max(),
        stop: Stop::never(),
    }
}
