//! Which parts hold rows of which tenants on which days: what one part alone holds, its cells answer for.

use std::collections::{BTreeMap, BTreeSet};

use super::plan;
use super::request::Scope;
use super::snapshot::Snapshot;
use crate::id::{Stream, TenantNo};
use crate::part::{Part, Run};
use crate::time::{TimeRange, TimestampUs};

/// A run of more days than this blocks them without a list of each.
const RUN_DAYS_MAX: i32 = 64;

/// Who holds rows of a stream, of the tenants that a question is about.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    stream: Option<Stream>,
    by_day: BTreeMap<i32, Vec<Holding>>,
    /// Runs of many days: tenant, first and last day, part.
    wide: Vec<(TenantNo, i32, i32, usize)>,
    /// Parts with rows of one day alone, all of whose tenants are asked about.
    one_day: BTreeSet<usize>,
}

/// Rows of one day in one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holding {
    /// Of one tenant.
    Tenant(TenantNo, usize),
    /// Of all tenants of a part that has no other day.
    Part(usize),
}

impl Holding {
    fn part(self) -> usize {
        match self {
            Self::Tenant(_, part) | Self::Part(part) => part,
        }
    }
}

impl Holders {
    /// The holders of the rows of a scope.
    pub(crate) fn of(snapshot: &Snapshot, scope: &Scope, stream: Stream) -> Self {
        let mut holders = Self { stream: Some(stream), ..Self::default() };
        let tenants = plan::tenants(snapshot, scope);
        for (index, part) in snapshot.parts.iter().enumerate() {
            match &tenants {
                Some(numbers) => {
                    for number in numbers {
                        part.runs_of(stream, *number).iter().for_each(|run| holders.add(index, run));
                    }
                }
                None => match part.bounds(stream) {
                    Some((min, max)) if min.day() == max.day() => {
                        holders.by_day.entry(min.day()).or_default().push(Holding::Part(index));
                        holders.one_day.insert(index);
                    }
                    _ => part.runs(stream).iter().for_each(|run| holders.add(index, run)),
                },
            }
        }
        holders
    }

    fn add(&mut self, part: usize, run: &Run) {
        let (first, last) = (run.min_time.day(), run.max_time.day());
        if last.saturating_sub(first) > RUN_DAYS_MAX {
            self.wide.push((run.tenant, first, last, part));
            return;
        }
        for day in first..=last {
            self.by_day.entry(day).or_default().push(Holding::Tenant(run.tenant, part));
        }
    }

    /// The days of a range that somebody holds rows of, ascending.
    pub(crate) fn days(&self, range: TimeRange) -> Vec<i32> {
        let (first, last) = (range.start.day(), TimestampUs(range.end.0.saturating_sub(1)).day());
        if first > last { Vec::new() } else { self.by_day.range(first..=last).map(|(day, _)| *day).collect() }
    }

    /// The parts that hold rows of a day, ascending.
    pub(crate) fn parts_on(&self, day: i32) -> BTreeSet<usize> {
        self.by_day.get(&day).into_iter().flatten().map(|holding| holding.part()).collect()
    }

    /// Whether a part has rows of one day alone, and all of its tenants are asked about.
    pub(crate) fn has_one_day(&self, part: usize) -> bool {
        self.one_day.contains(&part)
    }

    /// The tenants that are asked about and that a part has rows of on a day, ascending.
    pub(crate) fn tenants_of(&self, snapshot: &Snapshot, part: usize, day: i32) -> BTreeSet<TenantNo> {
        let mut out = BTreeSet::new();
        for holding in self.by_day.get(&day).into_iter().flatten().filter(|h| h.part() == part) {
            match holding {
                Holding::Tenant(tenant, _) => out.extend([*tenant]),
                Holding::Part(part) => out.extend(self.runs(snapshot, *part).iter().map(|run| run.tenant)),
            }
        }
        out
    }

    /// The tenants of a part's day that other parts hold rows of too.
    pub(crate) fn shared(&self, snapshot: &Snapshot, part: usize, day: i32) -> BTreeSet<TenantNo> {
        let Some((stream, own)) = self.stream.zip(snapshot.parts.get(part)) else { return BTreeSet::new() };
        let here = |tenant: &TenantNo| {
            own.runs_of(stream, *tenant).iter().any(|r| r.min_time.day() <= day && day <= r.max_time.day())
        };
        let mut out = BTreeSet::new();
        for other in self.by_day.get(&day).into_iter().flatten().filter(|h| h.part() != part) {
            match other {
                Holding::Tenant(tenant, _) => out.extend(Some(*tenant).filter(here)),
                Holding::Part(other) => {
                    out.extend(self.runs(snapshot, *other).iter().map(|run| run.tenant).filter(here));
                }
            }
        }
        let wide = self.wide.iter().filter(|w| w.3 != part && w.1 <= day && day <= w.2);
        out.extend(wide.map(|w| w.0).filter(here));
        out
    }

    fn runs<'a>(&self, snapshot: &'a Snapshot, part: usize) -> &'a [Run] {
        let part: Option<&dyn Part> = snapshot.parts.get(part).map(AsRef::as_ref);
        self.stream.zip(part).map_or(&[], |(stream, part)| part.runs(stream))
    }
}
