//! `new_address` and `new_agent`: a login from where, or with what, the user did not log in before.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::{Past, Watch};
use crate::config::security::Rule;
use crate::domain::audit::Severity;
use crate::http::error::ApiError;
use crate::report::security::baseline::{Known, digest};
use crate::report::security::finding::{Draft, Findings, SUBJECTS_MAX, Subject, shown};
use crate::report::security::row::{Kinds, Row};

/// One of the two rules at work. A user and a value are one finding, with all logins of the window that have both.
#[derive(Debug)]
pub(crate) struct NewLogin {
    rule: Rule,
    known: Known,
    new: HashMap<u64, Draft>,
}

impl NewLogin {
    /// Over the logins of the look-back; of agents for [`Rule::NewAgent`], else of addresses.
    pub(crate) fn new(rule: Rule, known: Known) -> Self {
        Self { rule, known, new: HashMap::new() }
    }
}

impl Watch for NewLogin {
    fn take(&mut self, row: &Row<'_>, out: &mut Findings) {
        let value = if self.rule == Rule::NewAgent { row.agent } else { row.address };
        let (Some(user), Some(value)) = (row.user, value) else { return };
        if !row.kinds.has(Kinds::LOGIN) || !self.known.needs_a_look(user, value) {
            return;
        }
        let room = self.new.len() < SUBJECTS_MAX;
        match self.new.entry(digest(user, value)) {
            Entry::Occupied(mut draft) => draft.get_mut().add(row),
            Entry::Vacant(place) if room => {
                let (subject, value) = (Subject::user(user), shown(value));
                let how = if self.rule == Rule::NewAgent { "with" } else { "from" };
                let text = format!("{} logged in {how} {value} for the first time", subject.value);
                let draft = Draft::of(self.rule, Severity::Notice, row, subject, text);
                place.insert(Draft { value: Some(value), ..draft });
            }
            Entry::Vacant(_) => out.untracked += 1,
        }
    }

    fn finish(self: Box<Self>, _: &dyn Past, out: &mut Findings) -> Result<(), ApiError> {
        self.new.into_values().for_each(|draft| out.push(draft));
        Ok(())
    }
}
