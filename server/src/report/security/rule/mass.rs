//! `mass_delete` and `mass_export`: much at once, or much more than on the user's usual day.

use std::collections::{HashMap, HashSet};

use insights_engine::time::Buckets;

use super::{Past, Watch};
use crate::config::security::{Rule, Thresholds};
use crate::domain::audit::Severity;
use crate::http::error::ApiError;
use crate::report::security::baseline::Usual;
use crate::report::security::burst::{Burst, Bursts};
use crate::report::security::finding::{Draft, Findings, SUBJECTS_MAX, Subject};
use crate::report::security::row::{Kinds, Row};

/// One of the two rules at work. A day on which a burst began or ended is no finding of its own.
#[derive(Debug)]
pub(crate) struct Mass {
    rule: Rule,
    bursts: Bursts,
    /// Twice the median of each user's days.
    usual: Usual,
    factor: u64,
    days: Buckets,
    /// What users with a usual day did on a day of the window.
    by_day: HashMap<(Box<str>, usize), Draft>,
    /// Days of bursts.
    told: HashSet<(Box<str>, usize)>,
}

impl Mass {
    /// Over the usual days of users.
    pub(crate) fn new(rule: Rule, thresholds: &Thresholds, usual: Usual, days: Buckets) -> Self {
        let limit = if rule == Rule::MassDelete { thresholds.mass_delete } else { thresholds.mass_export };
        Self {
            rule,
            bursts: Bursts::new(limit),
            usual,
            factor: thresholds.mass_factor,
            days,
            by_day: HashMap::new(),
            told: HashSet::new(),
        }
    }

    fn what(&self) -> &'static str {
        if self.rule == Rule::MassDelete { "deletions" } else { "exports" }
    }

    fn tell(&mut self, burst: Burst, out: &mut Findings) {
        // Only users with a usual day are looked at by day, and those are bounded.
        if self.usual.contains_key(&*burst.subject) && self.told.len() < SUBJECTS_MAX {
            let days = [burst.first, burst.last].map(|at| self.days.index_of(at));
            self.told.extend(days.into_iter().flatten().map(|day| (burst.subject.clone(), day)));
        }
        let subject = Subject::user(&burst.subject);
        let text = format!(
            "{} {} by {}, up to {} within the time",
            burst.count,
            self.what(),
            subject.value,
            burst.peak
        );
        out.push(Draft {
            rule: self.rule,
            severity: Severity::Error,
            first: burst.first,
            last: burst.last,
            subject,
            value: None,
            count: burst.count,
            evidence: burst.evidence,
            text,
        });
    }

    fn count_day(&mut self, user: &str, row: &Row<'_>, out: &mut Findings) {
        if !self.usual.contains_key(user) {
            return;
        }
        let Some(day) = self.days.index_of(row.at) else { return };
        let key = (user.into(), day);
        if let Some(draft) = self.by_day.get_mut(&key) {
            draft.add(row);
        } else if self.by_day.len() < SUBJECTS_MAX {
            let draft = Draft::of(self.rule, Severity::Error, row, Subject::user(user), String::new());
            self.by_day.insert(key, draft);
        } else {
            out.untracked += 1;
        }
    }
}

impl Watch for Mass {
    fn take(&mut self, row: &Row<'_>, out: &mut Findings) {
        let kind = if self.rule == Rule::MassDelete { Kinds::DELETED } else { Kinds::EXPORTED };
        let Some(user) = row.user.filter(|_| row.kinds.has(kind)) else { return };
        let mut closed = Vec::new();
        out.untracked += u64::from(!self.bursts.push(user, None, row, &mut closed));
        for burst in closed {
            self.tell(burst, out);
        }
        self.count_day(user, row, out);
    }

    fn finish(mut self: Box<Self>, _: &dyn Past, out: &mut Findings) -> Result<(), ApiError> {
        for burst in self.bursts.finish() {
            self.tell(burst, out);
        }
        let what = self.what();
        for (key, draft) in std::mem::take(&mut self.by_day) {
            let Some(twice) = self.usual.get(&*key.0) else { continue };
            if draft.count * 2 < self.factor.saturating_mul(*twice) || self.told.contains(&key) {
                continue;
            }
            let half = if twice % 2 == 1 { ".5" } else { "" };
            let text = format!(
                "{} {what} by {} on one day, {}{half} on a usual one",
                draft.count,
                draft.subject.value,
                twice / 2
            );
            out.push(Draft { text, ..draft });
        }
        Ok(())
    }
}
