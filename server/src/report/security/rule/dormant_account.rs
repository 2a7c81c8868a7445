//! `dormant_account_active`: a user comes back after a long silence.

use std::collections::HashMap;
use std::sync::Arc;

use insights_engine::time::{DAY_US, TimestampUs};

use super::{Past, Watch};
use crate::config::security::{Rule, Thresholds};
use crate::domain::audit::Severity;
use crate::http::error::ApiError;
use crate::report::security::finding::{Draft, Findings, SUBJECTS_MAX, Subject};
use crate::report::security::row::{Kinds, Row};

/// The rule at work. What failed is no sign of life: somebody else may have tried.
///
/// When a user of the window was last active in the look-back is known beforehand; of users that were not, the
/// log is asked at the end, and only of those.
#[derive(Debug)]
pub(crate) struct DormantAccount {
    days: u64,
    last: HashMap<Arc<str>, TimestampUs>,
    /// The first record of users without one in the look-back.
    unknown: HashMap<Arc<str>, Draft>,
}

impl DormantAccount {
    /// Over the last activity of each user in the look-back.
    pub(crate) fn new(thresholds: &Thresholds, last: HashMap<Arc<str>, TimestampUs>) -> Self {
        Self { days: thresholds.dormant_days, last, unknown: HashMap::new() }
    }

    /// The whole days of a silence that is long enough.
    fn silence(&self, from: TimestampUs, to: TimestampUs) -> Option<u64> {
        let days = u64::try_from(to.0.saturating_sub(from.0) / DAY_US).ok()?;
        (days >= self.days).then_some(days)
    }
}

/// A finding without its text, which needs the length of the silence.
fn draft(row: &Row<'_>, user: &str) -> Draft {
    Draft::of(Rule::DormantAccountActive, Severity::Warning, row, Subject::user(user), String::new())
}

fn told(draft: Draft, days: u64) -> Draft {
    Draft { text: format!("{} is active after {days} days of silence", draft.subject.value), ..draft }
}

impl Watch for DormantAccount {
    fn take(&mut self, row: &Row<'_>, out: &mut Findings) {
        let Some(user) = row.user else { return };
        if row.failed || row.kinds.has(Kinds::OWN) || row.kinds.has(Kinds::LOGIN_FAILED) {
            return;
        }
        if let Some(last) = self.last.get_mut(user) {
            let before = std::mem::replace(last, row.at);
            if let Some(days) = self.silence(before, row.at) {
                out.push(told(draft(row, user), days));
            }
        } else if self.unknown.len() < SUBJECTS_MAX {
            let user: Arc<str> = user.into();
            self.unknown.insert(Arc::clone(&user), draft(row, &user));
            self.last.insert(user, row.at);
        } else {
            out.untracked += 1;
        }
    }

    fn finish(self: Box<Self>, past: &dyn Past, out: &mut Findings) -> Result<(), ApiError> {
        let users: Vec<&str> = self.unknown.keys().map(|user| &**user).collect();
        if users.is_empty() {
            return Ok(());
        }
        let last = past.last_active(&users)?;
        for (user, draft) in &self.unknown {
            let days = last.get(&**user).and_then(|last| self.silence(*last, draft.first));
            if let Some(days) = days {
                out.push(told(draft.clone(), days));
            }
        }
        Ok(())
    }
}
