//! Answers that are kept for the next one who asks the same: bounded, and never stale.
//!
//! A question's key is the whole question, its authorized scope included, but not how much memory it may
//! take. An answer is kept with the state
//! of the rows that it was made from ([`DataVersion`]), of the days it touched alone, and is given again only
//! in a moment with the same state: rows of other days, organizations and streams do not disturb it, a new
//! row of its own does.

use std::fmt::{self, Write};

use insights_engine::id::Stream;
use insights_engine::query::{
    Answer, Budget, Cost, DataVersion, KeyValue, Query, Scope, SessionAnswer, SessionRequest, StartedSession,
};
use insights_engine::time::TimeRange;
use insights_engine::view::View;
use insights_engine::{Error, Result, session::SessionTotals};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use crate::standing::{Ask, Standing};

/// Bytes that an answer takes beside its groups, about.
const ENTRY_BYTES: usize = 256;

/// An answer, and whether it was there already.
#[derive(Debug, Clone)]
pub struct Given<T> {
    /// The answer; one that was there already cost nothing.
    pub answer: T,
    /// Whether it was there already.
    pub cached: bool,
}

/// The answers that are kept, and the questions that stay. One for a store.
#[derive(Debug)]
pub(crate) struct Answers {
    kept: Cache<Key, Entry, Bytes>,
    standing: Standing,
}

/// SHA-256 of the question.
pub(crate) type Key = [u8; 32];

/// An answer, and what it depends on.
#[derive(Debug, Clone)]
struct Entry {
    read: TimeRange,
    version: DataVersion,
    kept: Kept,
}

#[derive(Debug, Clone)]
enum Kept {
    Numbers(Answer),
    Sessions(SessionAnswer),
}

#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<Key, Entry> for Bytes {
    fn weight(&self, _: &Key, entry: &Entry) -> u64 {
        let bytes = match &entry.kept {
            Kept::Numbers(answer) => numbers_bytes(answer),
            Kept::Sessions(answer) => {
                answer.series.len() * (size_of::<SessionTotals>() + size_of::<u64>())
                    + answer.started.len() * size_of::<StartedSession>()
                    + answer.durations.memory_bytes()
            }
        };
        (ENTRY_BYTES + bytes) as u64
    }
}

fn numbers_bytes(answer: &Answer) -> usize {
    let text = |key: &KeyValue| if let KeyValue::Str(text) = key { text.len() + 16 } else { 0 };
    let group = |group: &insights_engine::query::Group| {
        let key: usize = group.key.iter().map(|k| size_of::<KeyValue>() + text(k)).sum();
        48 + key + size_of_val(group.values.as_slice())
    };
    answer.groups.iter().map(group).sum()
}

fn key_of_numbers(query: &Query) -> Key {
    key_of("numbers", &Query { budget: of_any_memory(query.budget), ..query.clone() })
}

impl Answers {
    /// Keeps at most about `bytes_max` bytes of answers, and `standing_bytes_max` of questions that stay.
    pub(crate) fn new(bytes_max: u64, standing_bytes_max: u64) -> Self {
        // An answer of a report is a few KiB.
        let items = usize::try_from(bytes_max / 4_096).unwrap_or(usize::MAX).max(16);
        let kept = Cache::with_weighter(items, bytes_max, Bytes);
        Self { kept, standing: Standing::new(standing_bytes_max) }
    }

    /// What is kept, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.kept.weight()
    }

    /// The questions that stay.
    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Answers a question for numbers, from here when nothing has changed.
    ///
    /// # Errors
    ///
    /// As [`View::aggregate`].
    pub(crate) fn numbers(&self, ask: Ask<'_>, query: &Query) -> Result<Given<Answer>> {
        let mut given = self.numbers_all(ask, std::slice::from_ref(query))?;
        given.pop().unwrap_or(Err(Error::Closed))
    }

    /// Answers several questions for numbers, all of one scope and stream: those that are not here in one
    /// pass over the rows.
    ///
    /// # Errors
    ///
    /// As [`View::aggregate_all`].
    pub(crate) fn numbers_all(&self, ask: Ask<'_>, queries: &[Query]) -> Result<Vec<Result<Given<Answer>>>> {
        let Some(first) = queries.first() else { return Ok(Vec::new()) };
        let keys: Vec<Key> = queries.iter().map(key_of_numbers).collect();
        let together = key_of("together", &keys);
        self.standing.take(ask, &together, (&first.scope, first.stream, first.window));
        let mut given = Vec::with_capacity(queries.len());
        for (key, query) in keys.iter().zip(queries) {
            given.push(self.kept_numbers(ask.view, key, query)?);
        }
        let asked = queries.iter().zip(&given).filter(|(_, given)| given.is_none());
        let asked: Vec<Query> = asked.map(|(query, _)| query.clone()).collect();
        let answers = if asked.len() == queries.len() {
            self.standing.numbers(ask, together, &asked)?
        } else {
            ask.view.aggregate_all(&asked)?
        };
        let mut answers = answers.into_iter();
        let whole = |((query, key), given): ((&Query, Key), Option<Given<Answer>>)| {
            if let Some(given) = given {
                return Ok(given);
            }
            let answer = answers.next().ok_or(Error::Closed)??;
            self.keep_numbers(ask.view, key, query, answer)
        };
        Ok(queries.iter().zip(keys).zip(given).map(whole).collect())
    }

    fn kept_numbers(&self, view: &View, key: &Key, query: &Query) -> Result<Option<Given<Answer>>> {
        let Some(Kept::Numbers(answer)) = self.fresh(view, key, &query.scope, query.stream)? else {
            return Ok(None);
        };
        Ok(Some(Given { answer: Answer { cost: Cost::default(), ..answer }, cached: true }))
    }

    fn keep_numbers(&self, view: &View, key: Key, query: &Query, answer: Answer) -> Result<Given<Answer>> {
        if answer.damaged.is_empty() {
            let version = view.version(&query.scope, query.stream, query.window)?;
            self.kept.insert(key, Entry { read: query.window, version, kept: Kept::Numbers(answer.clone()) });
        }
        Ok(Given { answer, cached: false })
    }

    /// Answers a question for sessions, from here when nothing has changed.
    ///
    /// # Errors
    ///
    /// As [`View::sessions`].
    pub(crate) fn sessions(&self, ask: Ask<'_>, request: &SessionRequest) -> Result<Given<SessionAnswer>> {
        let key =
            key_of("sessions", &SessionRequest { budget: of_any_memory(request.budget), ..request.clone() });
        let (view, scope) = (ask.view, &request.scope);
        self.standing.take(ask, &key, (scope, Stream::Events, request.window));
        if let Some(Kept::Sessions(answer)) = self.fresh(view, &key, scope, Stream::Events)? {
            return Ok(Given { answer: SessionAnswer { cost: Cost::default(), ..answer }, cached: true });
        }
        let answer = self.standing.sessions(ask, key, request)?;
        if let (Some(read), true) = (answer.read, answer.damaged.is_empty()) {
            let version = view.version(scope, Stream::Events, read)?;
            self.kept.insert(key, Entry { read, version, kept: Kept::Sessions(answer.clone()) });
        }
        Ok(Given { answer, cached: false })
    }

    /// What is kept of a question, when the rows it depends on are as they were.
    fn fresh(&self, view: &View, key: &Key, scope: &Scope, stream: Stream) -> Result<Option<Kept>> {
        let Some(entry) = self.kept.get(key) else { return Ok(None) };
        Ok((view.version(scope, stream, entry.read)? == entry.version).then_some(entry.kept))
    }
}

/// A budget for keys: how much memory a question may take decides whether there is an answer, not which.
fn of_any_memory(budget: Budget) -> Budget {
    Budget { memory_bytes_max: 0, ..budget }
}

/// The key of a question: of its kind and everything that is asked.
pub(crate) fn key_of(kind: &str, question: &impl fmt::Debug) -> Key {
    struct Hash(Sha256);

    impl Write for Hash {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.update(text);
            Ok(())
        }
    }

    let mut hash = Hash(Sha256::new());
    // Hashing cannot fail.
    write!(hash, "{kind}{question:?}").ok();
    hash.0.finalize().into()
}

#[cfg(test)]
#[path = "answers_tests.rs"]
mod tests;
