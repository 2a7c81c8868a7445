//! Sessions out of cells: which days of which tenants they answer, and what they add to an answer.
//!
//! The cells of a part answer for a tenant's day when the part is the only one with rows of it: the
//! chains that are folded there are then whole, and what neighbours may join is kept beside them. The
//! intervals of the coarsest tier that no edge of a bucket cuts are folded. A bucket that is shorter
//! than a gap may be passed over by a chain, so that a day that meets one is read from rows.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::expired;
use super::holders::Holders;
use super::request::{Field, Filter, Literal, Op, Scope};
use super::session_request::{SessionAnswer, SessionRequest};
use super::session_rows::SessionRows;
use super::snapshot::Snapshot;
use crate::error::Result;
use crate::id::{Stream, TenantNo};
use crate::part::{Part, Run};
use crate::rollup::{ALL_TENANTS, Tier};
use crate::schema::IdentityKind;
use crate::schema::stream::APP_ID;
use crate::session::cells::{AppSessions, FoldedSessions, day_start, decode_app};
use crate::session::gather::{Gather, Piece};
use crate::session::{Chain, GAP_US};
use crate::time::{Buckets, DAY_US, TimeRange, TimestampUs};

/// The definition of the cells of all events of a tenant, or of all tenants together.
pub const SESSIONS: u8 = 200;

/// The definition of the cells of the events of each application of a tenant.
pub const SESSIONS_OF_APPS: u8 = 201;

/// Which days of which tenants cells answer, decided when they are first met.
#[derive(Debug)]
pub(crate) struct SessionCells {
    /// Which cells may answer: none when the question is exact, or its buckets are narrow.
    of: Of,
    /// By tenant the code of the application that is asked for.
    app_codes: HashMap<TenantNo, Option<u32>>,
    classes: u64,
    /// Whether the question is about all tenants.
    everybody: bool,
    /// The edges of buckets that are cut to the window.
    cut: Buckets,
    holders: Holders,
    /// The days that were decided.
    decided: BTreeSet<i32>,
    /// The days that cells answer, of which tenant.
    pub(crate) closed: BTreeSet<(i32, TenantNo)>,
    /// Parts that answer for a whole day, by cells of all their tenants.
    whole: HashSet<usize>,
    /// The part that answers for a tenant's day.
    single: HashMap<(TenantNo, i32), usize>,
}

/// Which events a question is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Of {
    /// All of them.
    All,
    /// Those of an application.
    App(String),
    /// Others: rows answer.
    Others,
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
        let of = if request.exact || narrow { Of::Others } else { of_filter(&request.filter) };
        let holders = match of {
            Of::Others => Holders::default(),
            Of::All | Of::App(_) => Holders::of(snapshot, &request.scope, Stream::Events),
        };
        Self {
            of,
            app_codes: HashMap::new(),
            classes: request.classes.hash(),
            everybody: request.scope == Scope::All,
            cut: cut.clone(),
            holders,
            decided: BTreeSet::new(),
            closed: BTreeSet::new(),
            whole: HashSet::new(),
            single: HashMap::new(),
        }
    }

    /// Decides the days of a range and adds what their cells have.
    ///
    /// # Errors
    ///
    /// Those of [`super::Stop`], and [`crate::Error::QueryLimit`] over the budget of memory.
    pub(crate) fn add(
        &mut self,
        snapshot: &Snapshot,
        range: TimeRange,
        rows: &mut SessionRows,
        to: &mut Folded,
    ) -> Result<()> {
        if self.of == Of::Others {
            return Ok(());
        }
        for day in self.holders.days(range) {
            if self.decided.insert(day)
                && let Some(tier) = self.tier_of(day)
            {
                self.decide(snapshot, day, tier, rows, to)?;
            }
        }
        Ok(())
    }

    /// Since when rows are kept, when the days that are left to rows need some that have expired, or a
    /// named tenant kept neither rows nor cells of the first days of the window.
    pub(crate) fn expired(&self, snapshot: &Snapshot, request: &SessionRequest) -> Option<TimestampUs> {
        let (scope, window) = (&request.scope, request.window);
        // Every answer out of cells reads those of the day.
        let tiers: &[Tier] = if self.of == Of::Others { &[] } else { &[Tier::Day] };
        let of_age = expired::of_cells(snapshot, scope, Stream::Events, window, tiers);
        let leaves = |part, run: Option<&Run>| self.leaves(part, run);
        of_age.max(expired::of_left(snapshot, scope, Stream::Events, window, leaves))
    }

    /// Whether rows are read: of a part, or of a run.
    pub(crate) fn leaves(&self, part: usize, run: Option<&Run>) -> bool {
        match run {
            None => !self.whole.contains(&part),
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

    fn decide(
        &mut self,
        snapshot: &Snapshot,
        day: i32,
        tier: Tier,
        rows: &mut SessionRows,
        to: &mut Folded,
    ) -> Result<()> {
        for index in self.holders.parts_on(day) {
            let Some(part) = snapshot.parts.get(index).map(AsRef::as_ref) else { continue };
            snapshot.stop.check()?;
            let shared = self.holders.shared(snapshot, index, day);
            // What neighbours may join stands beside the cells of the day, whatever tier is folded.
            let hold = |tenant| {
                let holds = |tier| snapshot.hidden.cells_hold(tenant, Stream::Events, tier, day_start(day));
                holds(tier) && holds(Tier::Day)
            };
            // All together are one blob, when the question is about all and nobody else has a row.
            if self.everybody
                && self.of == Of::All
                && shared.is_empty()
                && self.holders.has_one_day(index)
                && hold(None)
                && self.take(snapshot, part, (day, tier), None, &mut rows.gather, to)
            {
                rows.check()?;
                self.whole.insert(index);
                self.closed.insert((day, ALL_TENANTS));
                continue;
            }
            for tenant in self.holders.tenants_of(snapshot, index, day) {
                let may = !shared.contains(&tenant) && hold(Some(tenant));
                snapshot.stop.check()?;
                if may && self.take(snapshot, part, (day, tier), Some(tenant), &mut rows.gather, to) {
                    rows.check()?;
                    self.single.insert((tenant, day), index);
                    self.closed.insert((day, tenant));
                }
            }
        }
        Ok(())
    }

    /// Adds the cells of a tenant's day, or of a whole part; false when it has none that fit.
    fn take(
        &mut self,
        snapshot: &Snapshot,
        part: &dyn Part,
        (day, tier): (i32, Tier),
        tenant: Option<TenantNo>,
        gather: &mut Gather,
        to: &mut Folded,
    ) -> bool {
        let Some(whole) = self.read(snapshot, part, (day, Tier::Day), tenant) else { return false };
        if tier == Tier::Day {
            to.add(&whole);
        } else {
            let Some(cells) = self.read(snapshot, part, (day, tier), tenant) else { return false };
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
        &mut self,
        snapshot: &Snapshot,
        part: &dyn Part,
        (day, tier): (i32, Tier),
        tenant: Option<TenantNo>,
    ) -> Option<FoldedSessions> {
        let app = match (&self.of, tenant) {
            (Of::All, _) => None,
            (Of::App(app), Some(tenant)) => {
                let code = match self.app_codes.get(&tenant) {
                    Some(code) => *code,
                    None => snapshot.codes.code_of(tenant, IdentityKind::App, app.as_bytes()).ok()?,
                };
                self.app_codes.insert(tenant, code);
                Some(code)
            }
            _ => return None,
        };
        let all = || FoldedSessions::decode(&part.cell_blob(tier, tenant, SESSIONS).ok()??).ok();
        let cells = match app {
            None => all(),
            Some(code) => {
                let bytes = part.cell_blob(tier, tenant, SESSIONS_OF_APPS).ok()??;
                // An application without a code has no events in segments.
                match code.map_or(Ok(AppSessions::None), |code| decode_app(&bytes, code)).ok()? {
                    AppSessions::None => Some(FoldedSessions::new(day, tier, self.classes)),
                    AppSessions::All => all(),
                    AppSessions::Own(cells) => Some(cells),
                }
            }
        };
        cells.filter(|cells| cells.day == day && cells.tier == tier && cells.classes == self.classes)
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

/// Which events a filter lets pass, where cells know them.
fn of_filter(filter: &Filter) -> Of {
    let mut conjuncts = Vec::new();
    flatten(filter, &mut conjuncts);
    match conjuncts.as_slice() {
        [] => Of::All,
        [Filter::Compare(Field::Column(column), Op::Is(Literal::Str(app)))] if *column == APP_ID.id => {
            Of::App(app.clone())
        }
        _ => Of::Others,
    }
}

/// The filters that must all hold.
fn flatten<'a>(filter: &'a Filter, out: &mut Vec<&'a Filter>) {
    match filter {
        Filter::And(list) => list.iter().for_each(|inner| flatten(inner, out)),
        other => out.push(other),
    }
}
