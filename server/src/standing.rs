//! Questions that are asked again and again while rows come in: kept up to date, so that each ask reads a few rows.
//!
//! An answer that is kept ([`crate::answers`]) is of no use once a row of its own has come, and a window with today in
//! it has new rows all the time. A question that read many rows, new ones among them, therefore stays for a while, with
//! what it has counted: it goes on with the rows that have come since (`insights_engine::query::StandingQueries`), between asks by itself,
//! and what an ask has left to read is what came in the last moment. Answers are those of asking anew.
//!
//! A question that has gone on to a moment has no answer for an earlier one. So whoever asks takes all questions of
//! the scope, stream and window out before the moment of the ask is fixed, and puts them back at the end: nobody else
//! takes them to a later moment meanwhile. An ask whose moment was fixed before is answered anew.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use insights_engine::Result;
use insights_engine::id::{Lsn, Stream};
use insights_engine::query::{
    Advance, Answer, Query, Scope, SessionAnswer, SessionRequest, StandingQueries, StandingSessions,
};
use insights_engine::time::TimeRange;
use insights_engine::view::View;
use parking_lot::{Condvar, Mutex};

use crate::answers::{Key, key_of};

/// How often questions that stay are brought up to date.
pub(crate) const EVERY: Duration = Duration::from_millis(10);

/// How often a question is brought up to date without being asked before it goes: after ten minutes, or somewhat later
/// where rounds take long.
const IDLE_ROUNDS_MAX: u64 = 60_000;

/// Rows that a question reads for it to stay: one of fewer is asked anew as fast, and few become many while rows come in.
const ROWS_MIN: u64 = 1_024;

/// How often a question may find that rows came and none was its own, before it goes: its answer is kept for as long
/// as that is so.
const QUIET_ROUNDS_MAX: u32 = 500;

/// Most scopes, streams and windows with questions that stay.
const GROUPS_MAX: usize = 256;

/// Most questions of one of them.
const QUESTIONS_MAX: usize = 16;

/// Bytes that a question takes beside its groups, sets and chains, about.
const QUESTION_BYTES: u64 = 8 << 10;

/// How long an ask waits for questions that somebody has taken, before it is asked anew beside them.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// The questions that stay. One for a store.
#[derive(Debug)]
pub(crate) struct Standing {
    bytes_max: u64,
    rows_min: u64,
    groups: Mutex<HashMap<Key, Arc<Group>>>,
}

/// The questions of one scope, stream and window.
#[derive(Debug, Default)]
struct Group {
    /// `None` while somebody has them.
    questions: Mutex<Option<Questions>>,
    returned: Condvar,
    /// Which ones there are, also while somebody has them: others wait for nobody.
    keys: Mutex<HashSet<Key>>,
    /// Bytes of memory that they take, about.
    bytes: AtomicU64,
    /// How often they were brought up to date since the last one of them was asked.
    idle: AtomicU64,
}

/// By key what stays.
type Questions = HashMap<Key, Question>;

/// A question that stays, or several that are asked together.
#[derive(Debug)]
struct Question {
    state: State,
    /// How often it was brought up to date since it was asked.
    idle: u64,
    /// How often rows came of which none was its own, since one was.
    quiet: u32,
}

#[derive(Debug)]
enum State {
    Numbers(Box<StandingQueries>),
    Sessions(Box<StandingSessions>),
}

impl Question {
    fn advance(&mut self, view: &View) -> Result<Advance> {
        let (before, _) = self.read();
        let advanced = match &mut self.state {
            State::Numbers(queries) => view.advance(queries),
            State::Sessions(sessions) => view.advance_sessions(sessions),
        };
        let (after, rows) = self.read();
        self.quiet = match rows {
            0 if after > before => self.quiet.saturating_add(1),
            0 => self.quiet,
            _ => 0,
        };
        advanced
    }

    /// The frame up to which it has read, and how many rows it looked at to come there.
    fn read(&self) -> (Lsn, u64) {
        match &self.state {
            State::Numbers(queries) => queries.read(),
            State::Sessions(sessions) => sessions.read(),
        }
    }

    fn memory_bytes(&self) -> u64 {
        let bytes = match &self.state {
            State::Numbers(queries) => queries.memory_bytes(),
            State::Sessions(sessions) => sessions.memory_bytes(),
        };
        bytes as u64 + QUESTION_BYTES
    }
}

impl Group {
    fn empty() -> Arc<Self> {
        Arc::new(Self { questions: Mutex::new(Some(Questions::new())), ..Self::default() })
    }

    fn take(&self, wait_max: Duration) -> Option<Questions> {
        let mut questions = self.questions.lock();
        if !wait_max.is_zero() {
            self.returned.wait_while_for(&mut questions, |questions| questions.is_none(), wait_max);
        }
        questions.take()
    }

    fn put_back(&self, questions: Questions) {
        self.bytes.store(questions.values().map(Question::memory_bytes).sum(), Ordering::Relaxed);
        let idle = questions.values().map(|question| question.idle).min();
        self.idle.store(idle.unwrap_or(u64::MAX), Ordering::Relaxed);
        *self.keys.lock() = questions.keys().copied().collect();
        *self.questions.lock() = Some(questions);
        self.returned.notify_one();
    }
}

/// Questions that one ask has taken, by scope, stream and window; dropped they go back.
#[derive(Debug, Default)]
pub(crate) struct Taken(Mutex<HashMap<Key, TakenGroup>>);

#[derive(Debug)]
struct TakenGroup {
    group: Arc<Group>,
    questions: Questions,
}

impl Drop for TakenGroup {
    fn drop(&mut self) {
        self.group.put_back(std::mem::take(&mut self.questions));
    }
}

/// One ask for an answer: at which moment, with which questions that stay.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) view: &'a View,
    pub(crate) taken: &'a Taken,
}

impl Standing {
    /// Keeps questions that take at most about `bytes_max` bytes together; 0 keeps none.
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, rows_min: ROWS_MIN, groups: Mutex::default() }
    }

    /// Takes the questions of a scope, stream and window for an ask, when the one of `key` is among them; at its first
    /// question about scope and stream, which fixes the moment.
    pub(crate) fn take(&self, ask: Ask<'_>, key: &Key, (scope, stream, window): (&Scope, Stream, TimeRange)) {
        let of = group_key(scope, stream, window);
        let Some(group) = self.groups.lock().get(&of).cloned() else { return };
        if !group.keys.lock().contains(key) {
            return;
        }
        let mut taken = ask.taken.0.lock();
        if taken.contains_key(&of) || ask.view.has_asked(scope, stream) {
            return;
        }
        // Whoever has some waits for no others: somebody may have those and wait for these.
        let wait_max = if taken.is_empty() { WAIT_MAX } else { Duration::ZERO };
        let Some(questions) = group.take(wait_max) else { return };
        let mine = TakenGroup { group, questions };
        // The moment may have been fixed beside while this one waited.
        if !ask.view.has_asked(scope, stream) {
            taken.insert(of, mine);
        }
    }

    /// Answers questions for numbers of one scope and stream, from one that stays where there is one.
    ///
    /// # Errors
    ///
    /// As [`View::aggregate_all`].
    pub(crate) fn numbers(&self, ask: Ask<'_>, key: Key, queries: &[Query]) -> Result<Vec<Result<Answer>>> {
        let Some(first) = queries.first() else { return Ok(Vec::new()) };
        let of = group_key(&first.scope, first.stream, first.window);
        let gone_on = go_on(ask, (&of, &key), |state| match state {
            State::Numbers(queries) => queries.answers(),
            State::Sessions(_) => None,
        });
        match gone_on {
            GoneOn::Answer(answers) => return Ok(answers.into_iter().map(Ok).collect()),
            GoneOn::Earlier => return ask.view.aggregate_all(queries),
            GoneOn::Nothing => {}
        }
        let (answers, standing) = ask.view.aggregate_standing(queries)?;
        let rows = answers.iter().flatten().map(|answer| answer.cost.rows_scanned).max().unwrap_or(0);
        let grows = || ask.view.has_new_rows(&first.scope, first.stream, first.window);
        if let Some(standing) = standing.filter(|_| rows >= self.rows_min && grows()) {
            self.keep(ask, (of, key), State::Numbers(Box::new(standing)));
        }
        Ok(answers)
    }

    /// Answers a question for sessions, from one that stays where there is one.
    ///
    /// # Errors
    ///
    /// As [`View::sessions`].
    pub(crate) fn sessions(&self, ask: Ask<'_>, key: Key, request: &SessionRequest) -> Result<SessionAnswer> {
        let of = group_key(&request.scope, Stream::Events, request.window);
        let gone_on = go_on(ask, (&of, &key), |state| match state {
            State::Sessions(sessions) => sessions.answer(),
            State::Numbers(_) => None,
        });
        match gone_on {
            GoneOn::Answer(answer) => return Ok(answer),
            GoneOn::Earlier => return ask.view.sessions(request),
            GoneOn::Nothing => {}
        }
        let (answer, standing) = ask.view.sessions_standing(request)?;
        let window = answer.read.unwrap_or(request.window);
        let grows = || ask.view.has_new_rows(&request.scope, Stream::Events, window);
        let rows = answer.cost.rows_scanned;
        if let Some(standing) = standing.filter(|_| rows >= self.rows_min && grows()) {
            self.keep(ask, (of, key), State::Sessions(Box::new(standing)));
        }
        Ok(answer)
    }

    fn keep(&self, ask: Ask<'_>, (of, key): (Key, Key), state: State) {
        let question = Question { state, idle: 0, quiet: 0 };
        let bytes = question.memory_bytes();
        if bytes > self.question_bytes_max() {
            return;
        }
        if let Some(taken) = ask.taken.0.lock().get_mut(&of) {
            taken.questions.insert(key, question);
            return;
        }
        let mut groups = self.groups.lock();
        let group = Arc::clone(groups.entry(of).or_insert_with(Group::empty));
        // While somebody has the others, this one is asked anew once more.
        if let Some(questions) = group.questions.lock().as_mut() {
            questions.insert(key, question);
            group.keys.lock().insert(key);
            group.bytes.fetch_add(bytes, Ordering::Relaxed);
            group.idle.store(0, Ordering::Relaxed);
        }
        self.make_room(&mut groups);
    }

    /// One alone does not drive out all the others.
    fn question_bytes_max(&self) -> u64 {
        self.bytes_max / 4
    }

    /// Lets go of those that were asked longest ago, until the others have room.
    fn make_room(&self, groups: &mut HashMap<Key, Arc<Group>>) {
        let bytes_of = |group: &Arc<Group>| group.bytes.load(Ordering::Relaxed);
        let mut bytes: u64 = groups.values().map(bytes_of).sum();
        while groups.len() > GROUPS_MAX || bytes > self.bytes_max {
            let idle = |group: &Arc<Group>| group.idle.load(Ordering::Relaxed);
            let oldest = groups.iter().max_by_key(|(_, group)| idle(group)).map(|(key, _)| *key);
            let Some(removed) = oldest.and_then(|key| groups.remove(&key)) else { return };
            bytes = bytes.saturating_sub(bytes_of(&removed));
        }
    }

    /// Brings every question to the moment of a view that `view` makes, and lets go of those that nobody asks any
    /// more, or that cannot go on.
    pub(crate) fn advance(&self, view: &dyn Fn() -> View) {
        let groups: Vec<Arc<Group>> = self.groups.lock().values().cloned().collect();
        for group in groups {
            // Those that are being asked are brought up to date by that.
            let Some(questions) = group.take(Duration::ZERO) else { continue };
            let mut mine = TakenGroup { group, questions };
            let view = view();
            // Out of the group while it reads: half read it must not come back, whatever happens.
            for (key, mut question) in std::mem::take(&mut mine.questions) {
                question.idle += 1;
                let advanced = question.advance(&view);
                let goes_on = matches!(advanced, Ok(Advance::Done | Advance::Earlier));
                let is_wanted = question.idle <= IDLE_ROUNDS_MAX && question.quiet <= QUIET_ROUNDS_MAX;
                if goes_on && is_wanted && question.memory_bytes() <= self.question_bytes_max() {
                    mine.questions.insert(key, question);
                }
            }
            while mine.questions.len() > QUESTIONS_MAX {
                let oldest = mine.questions.iter().max_by_key(|(_, question)| question.idle);
                let Some(key) = oldest.map(|(key, _)| *key) else { break };
                mine.questions.remove(&key);
            }
        }
        let mut groups = self.groups.lock();
        groups
            .retain(|_, group| group.questions.lock().as_ref().is_none_or(|questions| !questions.is_empty()));
        self.make_room(&mut groups);
    }

    /// Whether no question stays.
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.lock().is_empty()
    }

    /// Bytes of memory that the questions take, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.groups.lock().values().map(|group| group.bytes.load(Ordering::Relaxed)).sum()
    }
}

fn group_key(scope: &Scope, stream: Stream, window: TimeRange) -> Key {
    key_of("standing", &(scope, stream, window))
}

/// What came of asking a question that was taken.
enum GoneOn<T> {
    Answer(T),
    /// It has gone on further than the moment of the ask.
    Earlier,
    /// There is none, or it could not go on.
    Nothing,
}

/// The answer of a question that was taken, at the moment of the ask.
fn go_on<T>(
    ask: Ask<'_>,
    (of, key): (&Key, &Key),
    answer: impl FnOnce(&mut State) -> Option<T>,
) -> GoneOn<T> {
    let mut taken = ask.taken.0.lock();
    let Some(TakenGroup { questions, .. }) = taken.get_mut(of) else { return GoneOn::Nothing };
    // Out of the group while it reads: half read it must not come back, whatever happens.
    let Some(mut question) = questions.remove(key) else { return GoneOn::Nothing };
    question.idle = 0;
    // What fails is asked anew, and fails there in its own words.
    match question.advance(ask.view) {
        Ok(Advance::Done) => {
            let Some(answer) = answer(&mut question.state) else { return GoneOn::Nothing };
            questions.insert(*key, question);
            GoneOn::Answer(answer)
        }
        Ok(Advance::Earlier) => {
            questions.insert(*key, question);
            GoneOn::Earlier
        }
        Ok(Advance::Lost) | Err(_) => GoneOn::Nothing,
    }
}

#[cfg(test)]
#[path = "standing_tests.rs"]
mod tests;
