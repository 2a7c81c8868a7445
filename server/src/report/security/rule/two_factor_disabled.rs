//! `two_factor_disabled`: a second factor was turned off.

use std::collections::BTreeMap;

use super::{Past, Watch};
use crate::config::security::Rule;
use crate::domain::audit::Severity;
use crate::http::error::ApiError;
use crate::report::security::finding::{Draft, Findings, SUBJECTS_MAX, Subject};
use crate::report::security::row::{Kinds, Row};

/// The rule at work: one finding a user.
#[derive(Debug, Default)]
pub(crate) struct TwoFactorDisabled(BTreeMap<Subject, Draft>);

impl Watch for TwoFactorDisabled {
    fn take(&mut self, row: &Row<'_>, out: &mut Findings) {
        if !row.kinds.has(Kinds::TWO_FACTOR_DISABLED) {
            return;
        }
        let subject = Subject::of(row);
        if let Some(draft) = self.0.get_mut(&subject) {
            draft.add(row);
        } else if self.0.len() < SUBJECTS_MAX {
            let who = row.user.map_or("somebody", |_| subject.value.as_str());
            let text = format!("{who} turned a second factor off");
            let rule = Rule::TwoFactorDisabled;
            self.0.insert(subject.clone(), Draft::of(rule, Severity::Warning, row, subject, text));
        } else {
            out.untracked += 1;
        }
    }

    fn finish(self: Box<Self>, _: &dyn Past, out: &mut Findings) -> Result<(), ApiError> {
        self.0.into_values().for_each(|draft| out.push(draft));
        Ok(())
    }
}
