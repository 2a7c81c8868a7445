//! Questions that stay: asked again they go on with the rows that have come since, and read no other ones.
//!
//! Rows are appended and never changed, and each has the number of the frame that it came in. So the state of a
//! question that has read every frame up to one is brought up to date by the rows of later frames alone, wherever they
//! lie: in memory, in a segment that a flush has written, in one that a merge has made of others since. What is hidden
//! (an erasure, a limit of retention) would have to be taken out again; a question does not outlive a change of that.

use std::sync::Arc;

use super::aggregate::{Question, questions, read_all};
use super::request::{Answer, Query};
use super::snapshot::Snapshot;
use crate::codes::Codes;
use crate::error::Result;
use crate::id::Lsn;

/// Up to where a standing question has read.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    lsn: Lsn,
    hidden: [u8; 16],
    codes: Arc<dyn Codes>,
}

/// What came of bringing a standing question to another moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advance {
    /// It is there.
    Done,
    /// It was read up to a later moment already, and is as it was.
    Earlier,
    /// It cannot go on to this moment, nor to a later one: it has to be asked anew.
    Lost,
}

/// Where another moment is, seen from a mark.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Moment {
    /// It has the same rows.
    Same,
    /// It may have more, and hides the same.
    Later(GoOn),
    /// It has rows less.
    Earlier,
    /// It hides something else.
    Other,
}

/// How to go on from a mark.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GoOn {
    /// Rows of frames after this one are new.
    pub(crate) after: Lsn,
    /// Identities may have been given codes since.
    pub(crate) new_codes: bool,
}

impl Mark {
    /// Everything that a snapshot has is read.
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let codes = Arc::clone(&snapshot.codes);
        Self { lsn: snapshot.lsn, hidden: snapshot.hidden.version(), codes }
    }

    /// The last frame that was read.
    pub(crate) fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Where the moment of a snapshot is.
    pub(crate) fn moment(&self, snapshot: &Snapshot) -> Moment {
        if snapshot.lsn < self.lsn {
            return Moment::Earlier;
        }
        if snapshot.hidden.version() != self.hidden {
            return Moment::Other;
        }
        // Of two moments with the same rows either may be the one whose dictionary is older.
        if snapshot.lsn == self.lsn {
            return Moment::Same;
        }
        Moment::Later(GoOn { after: self.lsn, new_codes: !Arc::ptr_eq(&self.codes, &snapshot.codes) })
    }
}

/// Questions for numbers about one stream and scope that stay, together.
#[derive(Debug)]
pub struct StandingQueries {
    queries: Vec<Query>,
    questions: Vec<Result<Question>>,
    mark: Mark,
}

impl StandingQueries {
    /// Answers questions, each as [`super::aggregate`] does, and keeps them; those of which one has no whole answer
    /// (it failed, met damage, or needs rows that have expired) are not kept.
    pub(crate) fn start(snapshot: &Snapshot, queries: &[Query]) -> (Vec<Result<Answer>>, Option<Self>) {
        let mut questions = questions(snapshot, queries);
        read_all(snapshot, &mut questions);
        let mut standing = Self { queries: queries.to_vec(), questions, mark: Mark::of(snapshot) };
        match standing.answers() {
            Some(answers) => (answers.into_iter().map(Ok).collect(), Some(standing)),
            None => (standing.questions.into_iter().map(|q| q.map(Question::finish)).collect(), None),
        }
    }

    /// Reads the rows that a later moment has.
    ///
    /// # Errors
    ///
    /// As [`super::aggregate`]; what failed is of no use any more.
    pub(crate) fn advance(&mut self, snapshot: &Snapshot) -> Result<Advance> {
        let GoOn { after, new_codes } = match self.mark.moment(snapshot) {
            Moment::Later(go_on) => go_on,
            Moment::Same => {
                self.questions.iter_mut().flatten().for_each(Question::stand_still);
                return Ok(Advance::Done);
            }
            Moment::Earlier => return Ok(Advance::Earlier),
            Moment::Other => return Ok(Advance::Lost),
        };
        for (question, query) in self.questions.iter_mut().zip(&self.queries) {
            if let Ok(question) = question {
                question.go_on(snapshot, query, (after, new_codes))?;
            }
        }
        read_all(snapshot, &mut self.questions);
        self.mark = Mark::of(snapshot);
        if let Some(at) = self.questions.iter().position(Result::is_err) {
            self.questions.swap_remove(at)?;
        }
        Ok(Advance::Done)
    }

    /// The answers of the moment that was read last; `None` when one of them is not whole.
    pub fn answers(&mut self) -> Option<Vec<Answer>> {
        self.questions.iter_mut().map(|question| question.as_mut().ok()?.answer()).collect()
    }

    /// The questions.
    pub fn queries(&self) -> &[Query] {
        &self.queries
    }

    /// The frame up to which it has read, and how many rows it looked at to come there.
    pub fn read(&self) -> (Lsn, u64) {
        (self.mark.lsn(), self.questions.iter().flatten().map(Question::rows).max().unwrap_or(0))
    }

    /// Bytes of memory this takes, about.
    pub fn memory_bytes(&self) -> usize {
        self.questions.iter().flatten().map(Question::memory_bytes).sum()
    }
}

#[cfg(test)]
#[path = "standing_tests.rs"]
mod tests;
