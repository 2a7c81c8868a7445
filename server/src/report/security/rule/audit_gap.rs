//! `audit_gap` and `clock_step`: places of the log that no record has, and clocks that are off.
//!
//! Records come in the order of their time; their places in the log are put together from pieces that grow
//! until they touch. Where two touch, the times of receipt on both sides are compared, once.

use std::collections::BTreeMap;
use std::ops::Bound;

use insights_engine::time::TimestampUs;

use super::{Past, Watch};
use crate::config::security::{Rule, SecuritySettings};
use crate::domain::audit::Severity;
use crate::http::error::ApiError;
use crate::report::security::finding::{Draft, EVIDENCE_MAX, Findings, SUBJECTS_MAX, Subject};
use crate::report::security::row::{Mark, Row};

/// Most holes between pieces that the log is asked about.
const HOLES_MAX: usize = 100;
/// Microseconds of a second.
const SECOND_US: u64 = 1_000_000;

/// The record at one end of a piece.
#[derive(Debug, Clone)]
struct End {
    at: TimestampUs,
    mark: Mark,
}

/// Consecutive places, all of them seen.
#[derive(Debug)]
struct Piece {
    first: End,
    last: End,
}

/// The two rules at work.
#[derive(Debug)]
pub(crate) struct AuditGap {
    gaps: bool,
    steps: bool,
    limit_us: i64,
    /// By the first place.
    pieces: BTreeMap<u64, Piece>,
    set_back: Option<Draft>,
    ahead: Option<Draft>,
}

impl AuditGap {
    /// Nothing yet.
    pub(crate) fn new(settings: &SecuritySettings) -> Self {
        let limit_us = settings.thresholds.clock_step_s.saturating_mul(SECOND_US);
        Self {
            gaps: settings.is_on(Rule::AuditGap),
            steps: settings.is_on(Rule::ClockStep),
            limit_us: i64::try_from(limit_us).unwrap_or(i64::MAX),
            pieces: BTreeMap::new(),
            set_back: None,
            ahead: None,
        }
    }

    /// Whether `later` lies more than the limit after `earlier`.
    fn exceeds(&self, earlier: TimestampUs, later: TimestampUs) -> bool {
        later.0.saturating_sub(earlier.0) > self.limit_us
    }

    /// Two records that are neighbours in the log.
    fn compare(&mut self, before: &End, after: &End) {
        if !self.steps || !self.exceeds(after.mark.received, before.mark.received) {
            return;
        }
        let draft = self.set_back.get_or_insert_with(|| clock("set_back", after));
        draft.first = draft.first.min(after.at);
        draft.last = draft.last.max(after.at);
        draft.count += 1;
        if draft.evidence.len() < EVIDENCE_MAX {
            draft.evidence.push(after.mark.clone());
        }
    }

    /// The piece that ends right before a place.
    fn before(&self, seq: u64) -> Option<u64> {
        let below = self.pieces.range((Bound::Unbounded, Bound::Excluded(seq)));
        let (first, piece) = below.last()?;
        (piece.last.mark.seq.checked_add(1) == Some(seq)).then_some(*first)
    }

    /// Whether a piece has this place.
    fn has(&self, seq: u64) -> bool {
        let piece = self.pieces.range(..=seq).next_back();
        piece.is_some_and(|(_, piece)| piece.last.mark.seq >= seq)
    }

    /// Puts a record at its place.
    fn place(&mut self, row: &Row<'_>, out: &mut Findings) {
        if self.has(row.seq) {
            return;
        }
        let end = End { at: row.at, mark: row.mark() };
        let before = self.before(row.seq).and_then(|first| self.pieces.remove(&first));
        let after = row.seq.checked_add(1).and_then(|next| self.pieces.remove(&next));
        if before.is_none() && after.is_none() && self.pieces.len() >= SUBJECTS_MAX {
            out.untracked += 1;
            return;
        }
        if let Some(piece) = &before {
            self.compare(&piece.last, &end);
        }
        if let Some(piece) = &after {
            self.compare(&end, &piece.first);
        }
        let first = before.map_or_else(|| end.clone(), |piece| piece.first);
        let last = after.map_or(end, |piece| piece.last);
        self.pieces.insert(first.mark.seq, Piece { first, last });
    }
}

/// A finding about a clock, of no record yet.
fn clock(value: &str, end: &End) -> Draft {
    Draft {
        rule: Rule::ClockStep,
        severity: Severity::Warning,
        first: end.at,
        last: end.at,
        subject: Subject::organization(),
        value: Some(value.to_owned()),
        count: 0,
        evidence: Vec::new(),
        text: String::new(),
    }
}

impl Watch for AuditGap {
    fn take(&mut self, row: &Row<'_>, out: &mut Findings) {
        if self.steps && self.exceeds(row.received, row.at) {
            if let Some(draft) = &mut self.ahead {
                draft.add(row);
            } else {
                let (rule, severity) = (Rule::ClockStep, Severity::Warning);
                let draft = Draft::of(rule, severity, row, Subject::organization(), String::new());
                self.ahead = Some(Draft { value: Some("ahead".to_owned()), ..draft });
            }
        }
        self.place(row, out);
    }

    fn finish(self: Box<Self>, past: &dyn Past, out: &mut Findings) -> Result<(), ApiError> {
        if let Some(draft) = self.set_back {
            let text = format!("{} records were received long before the one in front of them", draft.count);
            out.push(Draft { text, ..draft });
        }
        if let Some(draft) = self.ahead {
            let text = format!("{} records are of a time long after they were received", draft.count);
            out.push(Draft { text, ..draft });
        }
        if !self.gaps {
            return Ok(());
        }
        let pieces: Vec<&Piece> = self.pieces.values().collect();
        let holes = pieces.iter().zip(pieces.iter().skip(1));
        let mut holes: Vec<_> = holes.collect();
        out.untracked += holes.len().saturating_sub(HOLES_MAX) as u64;
        holes.truncate(HOLES_MAX);
        for (before, after) in holes {
            let (low, high) = (before.last.mark.seq + 1, after.first.mark.seq - 1);
            // Records of other times than the window's lie there, or nothing does.
            let Some(present) = past.present(low..=high)? else { return Ok(()) };
            let missing = (high - low + 1).saturating_sub(present);
            if missing == 0 {
                continue;
            }
            out.push(Draft {
                rule: Rule::AuditGap,
                severity: Severity::Critical,
                first: before.last.at.min(after.first.at),
                last: before.last.at.max(after.first.at),
                subject: Subject::organization(),
                value: None,
                count: missing,
                evidence: vec![before.last.mark.clone(), after.first.mark.clone()],
                text: format!("{missing} records are missing in the log between the places {low} and {high}"),
            });
        }
        Ok(())
    }
}
