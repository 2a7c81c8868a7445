//! Probes of applications out of cells where they answer for a tenant's day, and out of rows elsewhere.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::expired;
use super::field::{Fields, Source};
use super::filter::{self, Predicate};
use super::granule::Granule;
use super::holders::Holders;
use super::ids::{self, ABSENT, KeyIds};
use super::plan::{self, Slice};
use super::probe_request::{AppProbes, ProbeAnswer, ProbeRequest};
use super::request::{Field, Filter, KeyValue, Literal, Op};
use super::snapshot::Snapshot;
use super::walk::{self, Tally};
use crate::error::{Error, Result};
use crate::id::{Stream, TenantNo};
use crate::part::{Part, Run};
use crate::probes::{Probe, decode_day, decode_mark, encode_day};
use crate::rollup::Tier;
use crate::schema::stream::{APP_ID, LABELS, NAME, TIME, VALUE};
use crate::schema::{ColumnVector, IdentityKind, NULL_CODE};
use crate::time::{DAY_US, TimeRange, TimestampUs};

/// The definition of the cells of a tenant's probes, at the day tier.
pub const PROBES: u8 = 210;

/// The metric of probes.
const UPTIME: &str = "uptime";
/// The label of a probe that was made during maintenance.
const MAINTENANCE: &str = "maintenance";
/// Values from here on are up.
const UP_MIN: f64 = 0.5;

/// Probes by tenant and application.
type Found = BTreeMap<(TenantNo, Option<Arc<str>>), Vec<Probe>>;

/// Answers a question for probes.
///
/// # Errors
///
/// [`Error::QueryLimit`] over the budget of memory, and what the parts answer where they are damaged
/// (unless `allow_partial`).
pub fn probes(snapshot: &Snapshot, request: &ProbeRequest) -> Result<ProbeAnswer> {
    let mut found = Found::new();
    let mut tally = Tally::new(snapshot, Stream::Metrics, request.window, request.allow_partial);
    let taken = from_cells(snapshot, request, &mut found)?;
    let mut rows = ProbeRows::new(request.app.as_deref())?;
    let leaves = |part: usize, run: Option<&Run>| {
        let answered = |run: &Run| taken.single.get(&(run.tenant, run.min_time.day())) == Some(&part);
        !taken.without.contains(&part) && !run.is_some_and(answered)
    };
    let tasks = plan::plan_where(snapshot, &request.scope, Stream::Metrics, request.window, leaves);
    let fields = Arc::clone(&rows.fields);
    let mut count: usize = found.values().map(Vec::len).sum();
    for (task, token) in tasks.iter().zip(1..) {
        let Some(mut granule) = Granule::new(snapshot, &fields, task, token) else { continue };
        for slice in &task.slices {
            tally.look_at(slice)?;
            let read = rows.read(&mut granule, slice, request.window);
            for (app, probe) in tally.or_skip(read, slice)?.unwrap_or_default() {
                count += 1;
                found.entry((slice.tenant, rows.app(app))).or_default().push(probe);
            }
        }
        check(count, request)?;
    }
    // Every answer out of cells reads those of the day.
    let (scope, window) = (&request.scope, request.window);
    let of_age = expired::of_cells(snapshot, scope, Stream::Metrics, window, &[Tier::Day]);
    let expired = of_age.max(expired::of_left(snapshot, scope, Stream::Metrics, window, leaves));
    let (mut cost, damaged) = tally.finish();
    cost.cells_read += taken.probes;
    let apps = found.into_iter().map(|((tenant, app), mut probes)| {
        probes.sort_unstable();
        AppProbes { tenant, app, probes }
    });
    Ok(ProbeAnswer { apps: apps.collect(), cost, damaged, expired })
}

/// Whether as many probes are within the budget of memory.
fn check(probes: usize, request: &ProbeRequest) -> Result<()> {
    let limit = request.budget.memory_bytes_max;
    if (probes * size_of::<Probe>()) as u64 > limit {
        return Err(Error::QueryLimit { what: "bytes of memory", limit });
    }
    Ok(())
}

/// What cells have answered.
#[derive(Debug, Default)]
struct Taken {
    /// The part that answers for a tenant's day.
    single: HashMap<(TenantNo, i32), usize>,
    /// Parts without a probe.
    without: HashSet<usize>,
    /// Probes that were read.
    probes: u64,
}

fn from_cells(snapshot: &Snapshot, request: &ProbeRequest, found: &mut Found) -> Result<Taken> {
    let mut taken = Taken::default();
    let mut kept = 0;
    let holders = Holders::of(snapshot, &request.scope, Stream::Metrics);
    let mut names: HashMap<(TenantNo, u32), Option<Arc<str>>> = HashMap::new();
    for day in holders.days(request.window) {
        for index in holders.parts_on(day) {
            let Some(part) = snapshot.parts.get(index).map(AsRef::as_ref) else { continue };
            snapshot.stop.check()?;
            let known = whole(part, day);
            if known == Some(false) && holders.has_one_day(index) {
                taken.without.insert(index);
                continue;
            }
            let shared = holders.shared(snapshot, index, day);
            let start = TimestampUs(i64::from(day).saturating_mul(DAY_US));
            for tenant in holders.tenants_of(snapshot, index, day).difference(&shared) {
                if !snapshot.hidden.cells_hold(Some(*tenant), Stream::Metrics, Tier::Day, start) {
                    continue;
                }
                snapshot.stop.check()?;
                let Some(apps) = read(part, day, *tenant, known) else { continue };
                for (app, probes) in apps {
                    taken.probes += probes.len() as u64;
                    let name = if let Some(name) = names.get(&(*tenant, app)) {
                        name.clone()
                    } else {
                        let name = name_of(snapshot, *tenant, app)?;
                        names.insert((*tenant, app), name.clone());
                        name
                    };
                    if request.app.is_some() && request.app.as_deref() != name.as_deref() {
                        continue;
                    }
                    let inside: Vec<Probe> =
                        probes.into_iter().filter(|p| request.window.contains(p.at)).collect();
                    kept += inside.len();
                    found.entry((*tenant, name)).or_default().extend(inside);
                    check(kept, request)?;
                }
                taken.single.insert((*tenant, day), index);
            }
        }
    }
    found.retain(|_, probes| !probes.is_empty());
    Ok(taken)
}

/// A tenant's day of probes, when the cells of a part answer for it; what is `known` of all tenants answers for
/// those that have none. A cell that cannot be read answers nothing, and that is no reason to fail: the rows are
/// there, or it is said that they are not.
fn read(
    part: &dyn Part,
    day: i32,
    tenant: TenantNo,
    known: Option<bool>,
) -> Option<Vec<crate::probes::AppProbes>> {
    let Some(bytes) = part.cell_blob(Tier::Day, Some(tenant), PROBES).ok()? else {
        return known.map(|_| Vec::new());
    };
    let (of, apps) = decode_day(&bytes).ok()?;
    (of == day).then_some(apps)
}

/// Whether a part's day has probes, when all of them are in cells: who has none of its own made no probe.
fn whole(part: &dyn Part, day: i32) -> Option<bool> {
    let bytes = part.cell_blob(Tier::Day, None, PROBES).ok()??;
    let (of, has_probes) = decode_mark(&bytes).ok()?;
    (of == day).then_some(has_probes)
}

fn name_of(snapshot: &Snapshot, tenant: TenantNo, app: u32) -> Result<Option<Arc<str>>> {
    if app == NULL_CODE {
        return Ok(None);
    }
    let name = snapshot.codes.identity_of(tenant, IdentityKind::App, app)?;
    let name = name.ok_or_else(|| ids::never_given(IdentityKind::App, app))?;
    Ok(Some(String::from_utf8_lossy(&name).into()))
}

/// Reads probes out of rows.
#[derive(Debug)]
struct ProbeRows {
    fields: Arc<Fields>,
    predicate: Predicate,
    time: usize,
    value: usize,
    app: Source,
    maintenance: Source,
    apps: KeyIds,
    states: KeyIds,
    list: Vec<u32>,
}

impl ProbeRows {
    fn new(app: Option<&str>) -> Result<Self> {
        let mut fields = Fields::new(Stream::Metrics);
        let is = |field, text: &str| Filter::Compare(field, Op::Is(Literal::Str(text.to_owned())));
        let mut filters = vec![is(Field::Column(NAME.id), UPTIME)];
        filters.extend(app.map(|app| is(Field::Column(APP_ID.id), app)));
        Ok(Self {
            predicate: Predicate::compile(&Filter::And(filters), &mut fields)?,
            time: fields.column(&TIME)?,
            value: fields.column(&VALUE)?,
            app: fields.source(&Field::Column(APP_ID.id))?,
            maintenance: fields.source(&Field::Path(LABELS.id, vec![MAINTENANCE.to_owned()]))?,
            fields: Arc::new(fields),
            apps: KeyIds::default(),
            states: KeyIds::default(),
            list: Vec::new(),
        })
    }

    /// The (application, probe) of the rows of a slice, in their order.
    fn read(
        &mut self,
        granule: &mut Granule<'_>,
        slice: &Slice,
        window: TimeRange,
    ) -> Result<Vec<(u32, Probe)>> {
        let mask = filter::select(&mut self.predicate, self.time, window, granule, slice)?;
        if mask.is_empty() {
            return Ok(Vec::new());
        }
        let rows = walk::selected(&mask, slice, &mut self.list);
        let (times, values) = (granule.load(self.time)?, granule.load(self.value)?);
        let (ColumnVector::I64(times, _), ColumnVector::F64(values, _)) = (&*times, &*values) else {
            return Err(Error::invalid("a part whose times are no instants or whose values are no doubles"));
        };
        let (mut apps, mut states) = (Vec::new(), Vec::new());
        ids::key_ids(&mut self.apps, &self.app, granule, slice.tenant, rows, &mut apps)?;
        ids::key_ids(&mut self.states, &self.maintenance, granule, slice.tenant, rows, &mut states)?;
        let is_true = |state: u32| match self.states.values().get(state as usize) {
            Some(KeyValue::Bool(bool)) => *bool,
            Some(KeyValue::Str(text)) => &**text == "true",
            _ => false,
        };
        let mut out = Vec::with_capacity(rows.len());
        rows.each(|at, row| {
            let (Some(time), Some(value)) = (times.get(row), values.get(row)) else { return };
            let (app, state) = (apps.get(at).copied(), states.get(at).copied());
            let maintenance = is_true(state.unwrap_or(ABSENT));
            let probe = Probe { at: TimestampUs(*time), up: *value >= UP_MIN, maintenance };
            out.push((app.unwrap_or(ABSENT), probe));
        });
        Ok(out)
    }

    /// The name of an application.
    fn app(&self, id: u32) -> Option<Arc<str>> {
        match self.apps.values().get(id as usize) {
            Some(KeyValue::Str(text)) => Some(Arc::clone(text)),
            _ => None,
        }
    }
}

/// Makes the cells of the probes of runs of one part, each of which has all rows of its tenant and UTC
/// day.
#[derive(Debug)]
pub(crate) struct ProbeCellBuilder<'a> {
    snapshot: &'a Snapshot,
    rows: ProbeRows,
}

impl<'a> ProbeCellBuilder<'a> {
    /// A builder for the one part of a snapshot.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for another number of parts.
    pub(crate) fn new(snapshot: &'a Snapshot) -> Result<Self> {
        if snapshot.parts.len() != 1 {
            return Err(Error::invalid("cells are made of one part"));
        }
        Ok(Self { snapshot, rows: ProbeRows::new(None)? })
    }

    /// The bytes of a run's probes; `None` when it has none.
    ///
    /// # Errors
    ///
    /// Damage and I/O of the part and of the dictionary.
    pub(crate) fn run(&mut self, run: &Run) -> Result<Option<Vec<u8>>> {
        let fields = Arc::clone(&self.rows.fields);
        let mut apps: BTreeMap<u32, Vec<Probe>> = BTreeMap::new();
        for task in plan::plan_run(self.snapshot, Stream::Metrics, run) {
            let token = task.granule as u64 + 1;
            let Some(mut granule) = Granule::new(self.snapshot, &fields, &task, token) else { continue };
            for slice in &task.slices {
                for (app, probe) in self.rows.read(&mut granule, slice, TimeRange::ALL)? {
                    apps.entry(app).or_default().push(probe);
                }
            }
        }
        if apps.is_empty() {
            return Ok(None);
        }
        let mut coded: Vec<crate::probes::AppProbes> = Vec::with_capacity(apps.len());
        for (app, mut probes) in apps {
            let code = match self.rows.app(app) {
                None => NULL_CODE,
                Some(name) => self
                    .snapshot
                    .codes
                    .code_of(run.tenant, IdentityKind::App, name.as_bytes())?
                    .ok_or_else(|| Error::invalid("an application of a segment has no code"))?,
            };
            probes.sort_unstable();
            coded.push((code, probes));
        }
        coded.sort_unstable_by_key(|(code, _)| code.wrapping_add(1));
        Ok(Some(encode_day(run.min_time.day(), &coded)))
    }
}

/// Calls with (tenant, bytes) of each tenant's probes, tenants ascending, of the one part of a snapshot,
/// which has rows of one UTC day: cells of the definition [`PROBES`] at the day tier.
///
/// # Errors
///
/// [`Error::Invalid`] for another number of parts, damage and I/O of the part and of the dictionary, and
/// the first error of `each`.
pub fn probe_blobs(snapshot: &Snapshot, each: &mut dyn FnMut(TenantNo, Vec<u8>) -> Result<()>) -> Result<()> {
    let mut builder = ProbeCellBuilder::new(snapshot)?;
    for run in snapshot.parts.iter().flat_map(|part| part.runs(Stream::Metrics)) {
        if let Some(bytes) = builder.run(run)? {
            each(run.tenant, bytes)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "probes_tests.rs"]
mod tests;
