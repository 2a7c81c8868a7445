//! Sessions out of cells: which days of which tenants they answer, and what they add to an answer.
//!
//! The cells of a part answer for a tenant's day when the part is the only one with rows of it: the
//! chains that are folded there are then whole, and what neighbours may join is kept beside them. The
//! intervals of the coarsest tier that no edge of a bucket cuts are folded. A bucket that is shorter
//! than a gap may be passed over by a chain, so that a day that meets one is read from rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::plan;
use super::request::Filter;
use super::session_request::{SessionAnswer, SessionRequest};
use super::snapshot::Snapshot;
use crate::id::{Stream, TenantNo};
use crate::part::{Part, Run};
use crate::rollup::Tier;
use crate::session::cells::{FoldedSessions, day_start};
use crate::session::gather::{Gather, Piece};
use crate::session::{Chain, GAP_US};
use crate::time::{Buckets, DAY_US, TimeRange, TimestampUs};

/// The definition of the cells of all events of a tenant, or of all tenants together.
pub const SESSIONS: u8 = 200;

/// A run of more days than this blocks them without a list of each.
const RUN_DAYS_MAX: i32 = 64;

/// Which days of which tenants cells answer, decided when they are first met.
#[derive(Debug)]
pub(crate) struct SessionCells {
    /// Whether there may be any: the question is about all events, not exact, its buckets not narrow.
    may: bool,
    classes: u64,
    /// The tenants that are asked about; `None` is all.
    tenants: Option<Vec<TenantNo>>,
    /// The edges of buckets that are cut to the window.
    cut: Buckets,
    held: Held,
    /// The days that were decided.
    decided: BTreeSet<i32>,
    /// Parts that answer for a whole day, by cells of all their tenants.
    whole: HashMap<usize, i32>,
    /// The part that answers for a tenant's day.
    single: HashMap<(TenantNo, i32), usize>,
}

/// Who holds rows of a day.
#[derive(Debug, Default)]
struct Held {
    by_day: BTreeMap<i32, Vec<Holding>>,
    /// Runs of many days: tenant, first and last day, part.
    wide: Vec<(TenantNo, i32, i32, usize)>,
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

/// What cells add to an answer.
#[derive(Debug)]
pub(crate) struct Folded {
    cut: Buckets,
    /// The sums of closed chains.
    pub(crate) answer: SessionAnswer,
}

impl SessionCells {
    /// Looks at who holds which rows; nothing is decided yet.
    pub(crate) fn new(snapshot: &Snapshot, request: &SessionRequest, cut: &Buckets, narrow: bool) -> Self {
        let tenants = plan::tenants(snapshot, &request.scope);
        let may = !request.exact && !narrow && is_all(&request.filter);
        let held = if may { Held::of(snapshot, tenants.as_deref()) } else { Held::default() };
        Self {
            may,
            classes: request.classes.hash(),
            tenants,
            cut: cut.clone(),
            held,
            decided: BTreeSet::new(),
            whole: HashMap::new(),
            single: HashMap::new(),
        }
    }

    /// Decides the days of a range and adds what their cells have.
    pub(crate) fn add(
        &mut self,
        snapshot: &Snapshot,
        range: TimeRange,
        gather: &mut Gather,
        to: &mut Folded,
    ) {
        if !self.may {
            return;
        }
        let days = range.start.day()..=TimestampUs(range.end.0.saturating_sub(1)).day();
        let days: Vec<i32> = self.held.by_day.range(days).map(|(day, _)| *day).collect();
        for day in days {
            if self.decided.insert(day)
                && let Some(tier) = self.tier_of(day)
            {
                self.decide(snapshot, day, tier, gather, to);
            }
        }
    }

    /// Whether rows are read: of a part, or of a run.
    pub(crate) fn leaves(&self, part: usize, run: Option<&Run>) -> bool {
        match run {
            None => !self.whole.contains_key(&part),
            Some(run) => self.single.get(&(run.tenant, run.min_time.day())) != Some(&part),
        }
    }

    /// The coarsest tier whose intervals no edge cuts on a day; `None` when its rows must be read.
    fn tier_of(&self, day: i32) -> Option<Tier> {
        let start = day_start(day);
        let end = TimestampUs(start.0.saturating_add(DAY_US));
        let mut tier = Tier::Day;
        let from = self.cut.index_of(start).unwrap_or(0);
        for bucket in self.cut.iter().skip(from).take_while(|b| b.start < end) {
            if bucket.end > start && bucket.end.0.saturating_sub(bucket.start.0) < GAP_US {
                return None;
            }
            for edge in [bucket.start, bucket.end].into_iter().filter(|edge| start < *edge && *edge < end) {
                let cut_by = |tier: &Tier| (edge.0 - start.0) % tier.width_us() == 0;
                tier = Tier::ALL.into_iter().rev().filter(|t| *t <= tier).find(cut_by)?;
            }
        }
        Some(tier)
    }

    fn decide(&mut self, snapshot: &Snapshot, day: i32, tier: Tier, gather: &mut Gather, to: &mut Folded) {
        let holdings = self.held.by_day.get(&day).cloned().unwrap_or_default();
        let candidates: BTreeSet<usize> = holdings.iter().map(|h| h.part()).collect();
        for index in candidates {
            let Some(part) = snapshot.parts.get(index).map(AsRef::as_ref) else { continue };
            let others = |holding: &&Holding| holding.part() != index;
            let shared = self.held.shared(snapshot, part, index, day, holdings.iter().filter(others));
            if self.tenants.is_none() && shared.is_empty() && holdings.contains(&Holding::Part(index)) {
                if self.take(part, day, tier, None, gather, to) {
                    self.whole.insert(index, day);
                    continue;
                }
            }
            for tenant in self.tenants_of(part, index, &holdings) {
                if !shared.contains(&tenant) && self.take(part, day, tier, Some(tenant), gather, to) {
                    self.single.insert((tenant, day), index);
                }
            }
        }
    }

    /// The tenants that a part has rows of, each once.
    fn tenants_of(&self, part: &dyn Part, index: usize, holdings: &[Holding]) -> Vec<TenantNo> {
        let mut out: Vec<TenantNo> = Vec::new();
        for holding in holdings.iter().filter(|h| h.part() == index) {
            match holding {
                Holding::Tenant(tenant, _) => out.push(*tenant),
                Holding::Part(_) => out.extend(part.runs(Stream::Events).iter().map(|run| run.tenant)),
            }
        }
        out.sort_unstable();
        out.dedup();
        out
    }

    /// Adds the cells of a tenant's day, or of a whole part; false when it has none that fit.
    fn take(
        &self,
        part: &dyn Part,
        day: i32,
        tier: Tier,
        tenant: Option<TenantNo>,
        gather: &mut Gather,
        to: &mut Folded,
    ) -> bool {
        let Some(whole) = self.read(part, day, Tier::Day, tenant) else { return false };
        if tier == Tier::Day {
            to.add(&whole);
        } else {
            let Some(cells) = self.read(part, day, tier, tenant) else { return false };
            to.add(&cells);
        }
        let window = gather.window();
        for open in &whole.open {
            let number = gather.number(tenant.unwrap_or(open.tenant), open.key);
            let chain = Chain { key: u64::from(number), ..open.chain };
            gather.piece(Piece::of(chain, window));
        }
        to.answer.cost.cells_read += whole.open.len() as u64;
        true
    }

    /// The cells of a day, when they are there, whole, and tell events apart as the question does.
    /// Damage is no reason to fail: the rows are there.
    fn read(
        &self,
        part: &dyn Part,
        day: i32,
        tier: Tier,
        tenant: Option<TenantNo>,
    ) -> Option<FoldedSessions> {
        let bytes = part.cell_blob(tier, tenant, SESSIONS).ok()??;
        let cells = FoldedSessions::decode(&bytes).ok()?;
        (cells.day == day && cells.tier == tier && cells.classes == self.classes).then_some(cells)
    }
}

impl Held {
    fn of(snapshot: &Snapshot, tenants: Option<&[TenantNo]>) -> Self {
        let mut held = Self::default();
        for (index, part) in snapshot.parts.iter().enumerate() {
            match tenants {
                Some(numbers) => {
                    for number in numbers {
                        part.runs_of(Stream::Events, *number).iter().for_each(|run| held.add(index, run));
                    }
                }
                None => match part.bounds(Stream::Events) {
                    Some((min, max)) if min.day() == max.day() => {
                        held.by_day.entry(min.day()).or_default().push(Holding::Part(index));
                    }
                    _ => part.runs(Stream::Events).iter().for_each(|run| held.add(index, run)),
                },
            }
        }
        held
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

    /// The tenants of a part's day that others hold rows of too.
    fn shared<'a>(
        &self,
        snapshot: &Snapshot,
        part: &dyn Part,
        index: usize,
        day: i32,
        others: impl Iterator<Item = &'a Holding>,
    ) -> BTreeSet<TenantNo> {
        let here = |tenant: &TenantNo| {
            part.runs_of(Stream::Events, *tenant)
                .iter()
                .any(|r| r.min_time.day() <= day && day <= r.max_time.day())
        };
        let mut out = BTreeSet::new();
        for other in others {
            match other {
                Holding::Tenant(tenant, _) => out.extend(Some(*tenant).filter(here)),
                Holding::Part(other) => {
                    let runs = snapshot.parts.get(*other).map_or(&[][..], |part| part.runs(Stream::Events));
                    out.extend(runs.iter().map(|run| run.tenant).filter(here));
                }
            }
        }
        let wide = self.wide.iter().filter(|w| w.3 != index && w.1 <= day && day <= w.2);
        out.extend(wide.map(|w| w.0).filter(here));
        out
    }
}

impl Folded {
    /// Nothing yet.
    pub(crate) fn new(cut: &Buckets) -> Self {
        let answer = SessionAnswer {
            series: vec![crate::session::SessionTotals::default(); cut.len()],
            active: vec![0; cut.len()],
            ..SessionAnswer::default()
        };
        Self { cut: cut.clone(), answer }
    }

    /// Adds closed chains; no edge of a bucket cuts an interval of theirs.
    fn add(&mut self, cells: &FoldedSessions) {
        let start = day_start(cells.day);
        let width = cells.tier.width_us();
        self.answer.cost.cells_read += cells.slots.len() as u64;
        let mut at: Option<(usize, TimeRange)> = None;
        for slot in &cells.slots {
            let from = TimestampUs(start.0.saturating_add(i64::try_from(slot.index).unwrap_or(0) * width));
            let before = at.filter(|(_, range)| range.contains(from));
            let bucket = before.or_else(|| {
                let index = self.cut.index_of(from)?;
                Some((index, self.cut.get(index)?))
            });
            let Some((index, range)) = bucket else { continue };
            at = bucket;
            if let (Some(totals), Some(active)) =
                (self.answer.series.get_mut(index), self.answer.active.get_mut(index))
            {
                *totals += slot.totals;
                // Those that are open when the bucket begins have an event in it: it is not narrow.
                *active += slot.totals.started + if range.start == from { slot.crossing } else { 0 };
            }
            self.answer.durations.merge(&slot.durations);
        }
    }
}

/// Whether a filter lets every event pass, whatever it is.
fn is_all(filter: &Filter) -> bool {
    matches!(filter, Filter::And(list) if list.iter().all(is_all))
}
