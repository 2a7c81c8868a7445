//! Many within a short time: a sliding window for each subject, and the stretches of time in which it is too full.
//!
//! At each record the window is what the subject did in the time before it. A window with enough (members, or
//! records) is a hit, and all its records belong to it; hits that share a record are one burst.

use std::collections::{HashMap, VecDeque};

use insights_engine::time::TimestampUs;

use super::finding::{EVIDENCE_MAX, SUBJECTS_MAX};
use super::row::{Mark, Row};
use crate::config::security::Within;

/// Most records in the windows of all subjects of a rule.
const HELD_MAX: usize = 100_000;
/// Microseconds of a second.
const SECOND_US: i64 = 1_000_000;

/// A stretch of time in which a subject did too much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Burst {
    /// Who.
    pub(crate) subject: Box<str>,
    /// The time of the first record.
    pub(crate) first: TimestampUs,
    /// The time of the last record.
    pub(crate) last: TimestampUs,
    /// Records.
    pub(crate) count: u64,
    /// The greatest number of members (or records) in one window.
    pub(crate) peak: u64,
    /// The first records.
    pub(crate) evidence: Vec<Mark>,
}

/// One record in a window.
#[derive(Debug)]
struct Held {
    at: TimestampUs,
    member: Option<Box<str>>,
    mark: Mark,
}

/// The window of one subject.
#[derive(Debug, Default)]
struct Track {
    window: VecDeque<Held>,
    /// How many records of the window each member has.
    members: HashMap<Box<str>, u64>,
    /// The number of the first record of the window, from the subject's first on.
    base: u64,
    /// The burst that may go on, and the number after its last record.
    open: Option<(Burst, u64)>,
}

impl Track {
    /// Lets go of what is too old at `at`; says how many records that were.
    fn advance(&mut self, at: TimestampUs, window_us: i64) -> usize {
        let mut gone = 0;
        while self.window.front().is_some_and(|held| at.0.saturating_sub(held.at.0) > window_us) {
            let Some(held) = self.window.pop_front() else { break };
            if let Some(member) = held.member
                && let Some(count) = self.members.get_mut(&member)
            {
                *count -= 1;
                if *count == 0 {
                    self.members.remove(&member);
                }
            }
            self.base += 1;
            gone += 1;
        }
        gone
    }

    /// Whether the burst is over: none of its records is in the window any more.
    fn closed(&mut self) -> Option<Burst> {
        let base = self.base;
        self.open.take_if(|(_, end)| *end <= base).map(|(burst, _)| burst)
    }

    /// The whole window belongs to a burst.
    fn hit(&mut self, subject: &str, size: u64) {
        let Some(first) = self.window.front() else { return };
        let (base, end) = (self.base, self.base + self.window.len() as u64);
        let (burst, done) = self.open.get_or_insert_with(|| {
            let (first, subject) = (first.at, subject.into());
            (Burst { subject, first, last: first, count: 0, peak: 0, evidence: Vec::new() }, base)
        });
        let skip = usize::try_from(done.saturating_sub(base)).unwrap_or(usize::MAX);
        for held in self.window.iter().skip(skip) {
            burst.last = held.at;
            burst.count += 1;
            if burst.evidence.len() < EVIDENCE_MAX {
                burst.evidence.push(held.mark.clone());
            }
        }
        burst.peak = burst.peak.max(size);
        *done = end;
    }
}

/// The windows of all subjects of one rule.
#[derive(Debug)]
pub(crate) struct Bursts {
    limit: Within,
    window_us: i64,
    tracks: HashMap<Box<str>, Track>,
    /// Records in all windows.
    held: usize,
    /// No look for subjects to forget before this time.
    next_sweep: TimestampUs,
}

impl Bursts {
    /// Nothing yet.
    pub(crate) fn new(limit: Within) -> Self {
        let window_us = i64::try_from(limit.window_s).unwrap_or(i64::MAX / SECOND_US) * SECOND_US;
        Self { limit, window_us, tracks: HashMap::new(), held: 0, next_sweep: TimestampUs(i64::MIN) }
    }

    /// Takes the next record of `subject`, in the order of time. With a `member` distinct members count, else records.
    ///
    /// What is over by now goes to `closed`; `false` when there is no room for the record.
    pub(crate) fn push(
        &mut self,
        subject: &str,
        member: Option<&str>,
        row: &Row<'_>,
        closed: &mut Vec<Burst>,
    ) -> bool {
        if self.tracks.len() >= SUBJECTS_MAX || self.held >= HELD_MAX {
            self.sweep(row.at, closed);
        }
        if self.held >= HELD_MAX || (self.tracks.len() >= SUBJECTS_MAX && !self.tracks.contains_key(subject))
        {
            return false;
        }
        let track = match self.tracks.get_mut(subject) {
            Some(track) => track,
            None => self.tracks.entry(subject.into()).or_default(),
        };
        self.held -= track.advance(row.at, self.window_us);
        closed.extend(track.closed());
        if let Some(member) = member {
            match track.members.get_mut(member) {
                Some(count) => *count += 1,
                None => drop(track.members.insert(member.into(), 1)),
            }
        }
        track.window.push_back(Held { at: row.at, member: member.map(Into::into), mark: row.mark() });
        self.held += 1;
        let size = if member.is_some() { track.members.len() } else { track.window.len() } as u64;
        if size >= self.limit.count {
            track.hit(subject, size);
        }
        true
    }

    /// Forgets subjects whose windows are empty at `at`; not again before a quarter of a window is over.
    fn sweep(&mut self, at: TimestampUs, closed: &mut Vec<Burst>) {
        if at < self.next_sweep {
            return;
        }
        self.next_sweep = TimestampUs(at.0.saturating_add(self.window_us / 4));
        let (held, window_us) = (&mut self.held, self.window_us);
        self.tracks.retain(|_, track| {
            *held -= track.advance(at, window_us);
            closed.extend(track.closed());
            !track.window.is_empty()
        });
    }

    /// The bursts that nothing has closed; nothing is held any more.
    pub(crate) fn finish(&mut self) -> Vec<Burst> {
        self.held = 0;
        let tracks = std::mem::take(&mut self.tracks);
        tracks.into_values().filter_map(|track| track.open.map(|(burst, _)| burst)).collect()
    }
}
