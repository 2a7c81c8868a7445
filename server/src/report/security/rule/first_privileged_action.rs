//! `first_privileged_action`: somebody uses rights that they did not use before.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Past, Watch};
use crate::config::security::Rule;
use crate::domain::audit::Severity;
use crate::http::error::ApiError;
use crate::report::security::finding::{Draft, Findings, SUBJECTS_MAX, Subject, shown};
use crate::report::security::row::{Kinds, Row};

/// The rule at work.
#[derive(Debug)]
pub(crate) struct FirstPrivilegedAction {
    /// Users who did something privileged already.
    known: HashSet<Arc<str>>,
    /// How many of them came in the window.
    new: usize,
}

impl FirstPrivilegedAction {
    /// Over who did something privileged in the look-back.
    pub(crate) fn new(known: HashSet<Arc<str>>) -> Self {
        Self { known, new: 0 }
    }
}

impl Watch for FirstPrivilegedAction {
    fn take(&mut self, row: &Row<'_>, out: &mut Findings) {
        let Some(user) = row.user.filter(|_| row.kinds.has(Kinds::PRIVILEGED)) else { return };
        if self.known.contains(user) {
            return;
        }
        if self.new >= SUBJECTS_MAX {
            out.untracked += 1;
            return;
        }
        self.known.insert(user.into());
        self.new += 1;
        let (subject, action) = (Subject::user(user), shown(row.action));
        let text = format!("{} did {action}, the first privileged action of theirs", subject.value);
        let draft = Draft::of(Rule::FirstPrivilegedAction, Severity::Notice, row, subject, text);
        out.push(Draft { value: Some(action), ..draft });
    }

    fn finish(self: Box<Self>, _: &dyn Past, _: &mut Findings) -> Result<(), ApiError> {
        Ok(())
    }
}
