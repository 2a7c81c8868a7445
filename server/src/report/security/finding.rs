//! Findings: what they say, their order, and how many are kept.

use std::collections::BTreeMap;

use insights_engine::time::TimestampUs;
use serde::Serialize;
use utoipa::ToSchema;

use super::row::{Mark, Row};
use crate::config::security::Rule;
use crate::domain::audit::Severity;

/// Most findings of a report.
pub(crate) const FINDINGS_MAX: usize = 1_000;
/// Most records that a finding names.
pub(crate) const EVIDENCE_MAX: usize = 20;
/// Most users, addresses or pairs that one rule keeps in mind at a time.
pub(crate) const SUBJECTS_MAX: usize = 10_000;
/// Most characters of a value that a finding shows.
const SHOWN_CHARS_MAX: usize = 256;

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SubjectKind {
    /// A user.
    User,
    /// An address.
    Address,
    /// The organization, where nobody is named.
    Organization,
}

/// Who or what a finding is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
pub(crate) struct Subject {
    /// What it is.
    pub(crate) kind: SubjectKind,
    /// Which one.
    pub(crate) value: String,
}

impl Subject {
    /// The user of a record, else its address, else the organization.
    pub(crate) fn of(row: &Row<'_>) -> Self {
        match (row.user, row.address) {
            (Some(user), _) => Self { kind: SubjectKind::User, value: shown(user) },
            (None, Some(address)) => Self { kind: SubjectKind::Address, value: shown(address) },
            (None, None) => Self::organization(),
        }
    }

    /// A user.
    pub(crate) fn user(user: &str) -> Self {
        Self { kind: SubjectKind::User, value: shown(user) }
    }

    /// The organization; its name is filled in at the end.
    pub(crate) fn organization() -> Self {
        Self { kind: SubjectKind::Organization, value: String::new() }
    }
}

/// A finding before it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    /// The rule that found it.
    pub(crate) rule: Rule,
    /// How grave it is.
    pub(crate) severity: Severity,
    /// The time of the first record.
    pub(crate) first: TimestampUs,
    /// The time of the last record.
    pub(crate) last: TimestampUs,
    /// Who or what it is about.
    pub(crate) subject: Subject,
    /// What was new, where the rule is about something new.
    pub(crate) value: Option<String>,
    /// Records.
    pub(crate) count: u64,
    /// The first of them.
    pub(crate) evidence: Vec<Mark>,
    /// In words.
    pub(crate) text: String,
}

impl Draft {
    /// A finding of one record.
    pub(crate) fn of(rule: Rule, severity: Severity, row: &Row<'_>, subject: Subject, text: String) -> Self {
        Self {
            rule,
            severity,
            first: row.at,
            last: row.at,
            subject,
            value: None,
            count: 1,
            evidence: vec![row.mark()],
            text,
        }
    }

    /// Takes a later record in.
    pub(crate) fn add(&mut self, row: &Row<'_>) {
        self.first = self.first.min(row.at);
        self.last = self.last.max(row.at);
        self.count += 1;
        if self.evidence.len() < EVIDENCE_MAX {
            self.evidence.push(row.mark());
        }
    }

    /// The gravest first, then the earliest; the rest makes the order total.
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        let key = |draft: &Self| (draft.first, draft.rule, draft.last, draft.count);
        (other.severity.cmp(&self.severity))
            .then_with(|| key(self).cmp(&key(other)))
            .then_with(|| self.subject.cmp(&other.subject))
            .then_with(|| self.value.cmp(&other.value))
    }
}

/// Collects findings, counts all and keeps the first [`FINDINGS_MAX`] in their order.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    kept: Vec<Draft>,
    counts: BTreeMap<Rule, u64>,
    severities: BTreeMap<Severity, u64>,
    /// Records that a rule did not look at because it kept [`SUBJECTS_MAX`] subjects in mind already.
    pub(crate) untracked: u64,
}

impl Findings {
    /// Takes one.
    pub(crate) fn push(&mut self, draft: Draft) {
        *self.counts.entry(draft.rule).or_default() += 1;
        *self.severities.entry(draft.severity).or_default() += 1;
        self.kept.push(draft);
        if self.kept.len() >= 2 * FINDINGS_MAX {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.kept.sort_by(Draft::order);
        self.kept.truncate(FINDINGS_MAX);
    }

    /// How many a rule has found.
    pub(crate) fn of_rule(&self, rule: Rule) -> u64 {
        self.counts.get(&rule).copied().unwrap_or(0)
    }

    /// How many are of a severity.
    pub(crate) fn of_severity(&self, severity: Severity) -> u64 {
        self.severities.get(&severity).copied().unwrap_or(0)
    }

    /// How many there are.
    pub(crate) fn all(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Those that are kept, in order.
    pub(crate) fn into_sorted(mut self) -> Vec<Draft> {
        self.cut();
        self.kept
    }
}

/// A value as a finding shows it: cut where it is long.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
