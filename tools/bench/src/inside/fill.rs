//! Fills a directory with so many records over so many days, with the same identities however many there are.

use std::time::{Duration, Instant};

use insights_engine::Result;
use insights_engine::append::Append;
use insights_engine::compaction::Effort;
use insights_engine::id::TenantId;
use insights_engine::schema::{Batch, BatchBuilder};
use insights_engine::time::DAY_US;

use super::load::{engine_stream, push};
use super::open::Inside;
use crate::args::Stream;
use crate::error::BenchError;
use crate::progress::Done;
use crate::random::Random;
use crate::records::{self, APPS, Record, What};

/// Records of an append.
const APPEND_RECORDS: u64 = 10_000;
/// Organizations of an append, where each has few records.
const APPEND_ORGANIZATIONS: u64 = 1_000;
/// Records of each stream of an organization that is only there beside the one that is asked about.
pub(crate) const ROWS_OF_OTHERS: u64 = 5;
const DAY_MS: u64 = DAY_US.unsigned_abs() / 1000;
/// How long a session is: under 30 minutes, so that none falls apart.
const SESSION_MS: u64 = 25 * 60_000;

/// What a directory is filled with. All records are of the `days` whole UTC days before today.
#[derive(Debug, Clone)]
pub(crate) struct Filling {
    /// The organization.
    pub(crate) organization: String,
    /// Its streams, of which each gets an equal share of the records.
    pub(crate) streams: Vec<Stream>,
    /// All of its records.
    pub(crate) rows: u64,
    /// Days.
    pub(crate) days: u64,
    /// Its users; each has one session a day, however many records that has.
    pub(crate) users: u64,
    /// Organizations beside it.
    pub(crate) others: u64,
    /// Records of each stream of each of those.
    pub(crate) rows_of_others: u64,
    /// What all randomness comes from.
    pub(crate) seed: u64,
}

/// What it took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Filled {
    /// Records.
    pub(crate) rows: u64,
    /// In appends, and the flush after them; making the records is not in it.
    pub(crate) appending: Duration,
    /// Until nothing was left to merge.
    pub(crate) merging: Duration,
}

impl Filling {
    /// All records.
    pub(crate) fn rows(&self) -> u64 {
        self.rows + self.others * self.rows_of_others * self.streams.len() as u64
    }

    /// Record `n`: the sessions one after the other, day by day.
    fn record(&self, n: u64, first_ms: i64, random: &mut Random) -> (Stream, Record) {
        let streams = self.streams.len().max(1) as u64;
        let stream = usize::try_from(n % streams).ok().and_then(|index| self.streams.get(index));
        let stream = stream.copied().unwrap_or(Stream::Events);
        let sessions = self.days * self.users;
        let session =
            u64::try_from(u128::from(n) * u128::from(sessions) / u128::from(self.rows.max(1))).unwrap_or(0);
        let user = session % self.users;
        // Where in its day a session lies is the session's own, whoever draws it.
        let start = Random::new(self.seed ^ session.wrapping_mul(0x9e37_79b9)).below(DAY_MS - SESSION_MS);
        let at = session / self.users * DAY_MS + start + random.below(SESSION_MS);
        (stream, record(stream, first_ms.saturating_add_unsigned(at), user, Some(session), random))
    }
}

fn record(stream: Stream, at_ms: i64, user: u64, of: Option<u64>, random: &mut Random) -> Record {
    let mut what = records::what(stream, random, user);
    if let (What::Event { session, .. }, Some(own)) = (&mut what, of) {
        *session = own;
    }
    Record { organization: 0, at_ms, app: user % APPS, user, what }
}

/// Fills an open engine, and merges until nothing is left to merge.
///
/// # Errors
///
/// Those of the engine.
pub(crate) fn fill(
    inside: &Inside<'_>,
    filling: &Filling,
    done: &Done,
) -> std::result::Result<Filled, BenchError> {
    let ours = |error| inside.error(error);
    let now = jiff::Timestamp::now().as_millisecond();
    let day_ms = i64::try_from(DAY_MS).unwrap_or(i64::MAX);
    let first_ms = (now.div_euclid(day_ms) - i64::try_from(filling.days).unwrap_or(0)) * day_ms;
    let mut filled = Filled { rows: filling.rows(), ..Filled::default() };
    let mut keep = |batches: Vec<Batch>| -> Result<()> {
        let rows: usize = batches.iter().map(Batch::rows).sum();
        let began = Instant::now();
        inside.engine.append(Append { batches, ..Append::default() })?;
        filled.appending += began.elapsed();
        done.add(rows as u64);
        Ok(())
    };
    own(filling, first_ms, &mut keep).map_err(ours)?;
    others(filling, first_ms, &mut keep).map_err(ours)?;
    let began = Instant::now();
    inside.engine.flush().map_err(ours)?;
    filled.appending += began.elapsed();
    let began = Instant::now();
    inside.engine.compact(Effort::Full).map_err(ours)?;
    filled.merging = began.elapsed();
    Ok(filled)
}

/// The records of the organization.
fn own(filling: &Filling, first_ms: i64, keep: &mut dyn FnMut(Vec<Batch>) -> Result<()>) -> Result<()> {
    let tenant = TenantId::new(&filling.organization)?;
    let mut random = Random::new(filling.seed);
    for from in (0..filling.rows).step_by(usize::try_from(APPEND_RECORDS).unwrap_or(1)) {
        let mut builders: Vec<(Stream, BatchBuilder)> = filling
            .streams
            .iter()
            .map(|stream| (*stream, BatchBuilder::new(tenant.clone(), engine_stream(*stream))))
            .collect();
        for n in from..(from + APPEND_RECORDS).min(filling.rows) {
            let (stream, record) = filling.record(n, first_ms, &mut random);
            if let Some((_, builder)) = builders.iter_mut().find(|(of, _)| *of == stream) {
                push(builder, &record);
            }
        }
        keep(built(builders))?;
    }
    Ok(())
}

/// The few records of each of the others.
fn others(filling: &Filling, first_ms: i64, keep: &mut dyn FnMut(Vec<Batch>) -> Result<()>) -> Result<()> {
    let mut random = Random::new(filling.seed.wrapping_add(1));
    for from in (0..filling.others).step_by(usize::try_from(APPEND_ORGANIZATIONS).unwrap_or(1)) {
        let mut batches = Vec::new();
        for n in from..(from + APPEND_ORGANIZATIONS).min(filling.others) {
            let tenant = TenantId::new(&format!("other-{n}"))?;
            for stream in &filling.streams {
                let mut builder = BatchBuilder::new(tenant.clone(), engine_stream(*stream));
                for _ in 0..filling.rows_of_others {
                    let at_ms = first_ms.saturating_add_unsigned(random.below(filling.days * DAY_MS));
                    let user = random.below(filling.users);
                    push(&mut builder, &record(*stream, at_ms, user, None, &mut random));
                }
                batches.push((*stream, builder));
            }
        }
        keep(built(batches))?;
    }
    Ok(())
}

fn built(builders: Vec<(Stream, BatchBuilder)>) -> Vec<Batch> {
    builders.into_iter().map(|(_, builder)| builder.build()).filter(|batch| batch.rows() > 0).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn more_records_are_of_the_same_users_sessions_and_days() {
        let seen = |rows: u64| {
            let filling = Filling {
                organization: "bench".to_owned(),
                streams: vec![Stream::Events, Stream::Metrics],
                rows,
                days: 3,
                users: 10,
                others: 7,
                rows_of_others: 2,
                seed: 1,
            };
            assert_eq!(filling.rows(), rows + 28);
            let mut random = Random::new(1);
            let records: Vec<_> = (0..rows).map(|n| filling.record(n, 0, &mut random)).collect();
            assert!(records.iter().all(|(_, record)| (0..3 * 86_400_000).contains(&record.at_ms)));
            let sessions: BTreeSet<u64> = records
                .iter()
                .filter_map(|(_, record)| match record.what {
                    What::Event { session, .. } => Some(session),
                    _ => None,
                })
                .collect();
            let days: BTreeSet<i64> = records.iter().map(|(_, record)| record.at_ms / 86_400_000).collect();
            (sessions, days)
        };
        assert_eq!(seen(300), seen(3_000));
        assert_eq!((seen(300).0.len(), seen(300).1.len()), (30, 3));
    }
}
