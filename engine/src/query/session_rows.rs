//! The events of rows as sessions take them: keyed, classed and added to their chains.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashMap;

use super::field::{Fields, Leaf};
use super::filter::{self, Predicate};
use super::granule::Granule;
use super::ids::never_given;
use super::mask::Mask;
use super::newer::Newer;
use super::plan::{self, Slice, Task};
use super::request::{Cost, Damage};
use super::session_request::SessionRequest;
use super::snapshot::Snapshot;
use super::standing::GoOn;
use super::walk::Tally;
use crate::error::{Error, Result};
use crate::id::{Stream, TenantNo};
use crate::part::Run;
use crate::rollup::ALL_TENANTS;
use crate::schema::stream::{ANONYMOUS_ID, APP_ID, SESSION_ID, TIME, USER_ID};
use crate::schema::{ColumnVector, IdentityKind, NULL_CODE};
use crate::session::cells::day_start;
use crate::session::gather::{Class, Gather, KEYS_MAX};
use crate::session::key::{KeyKind, session_key};
use crate::session::{NO_USER, SessionEvent};
use crate::time::{TimeRange, TimestampUs};

/// Most applications of a tenant's day that have sessions of their own in cells.
pub(crate) const APPS_MAX: usize = 64;

/// A row of no session, and a place of a table that nothing asked for yet.
const NO_KEY: u32 = u32::MAX;

/// Reads rows into chains, range by range.
#[derive(Debug)]
pub(crate) struct SessionRows {
    request: SessionRequest,
    fields: Arc<Fields>,
    columns: Columns,
    predicate: Predicate,
    classes: Classes,
    keys: Keys,
    /// The chains.
    pub(crate) gather: Gather,
    /// Every event inside the window, when buckets are so narrow that chains do not tell their activity.
    pub(crate) events: Vec<SessionEvent>,
    narrow: bool,
    /// Events that are read already are left out.
    newer: Option<Newer>,
    users: bool,
    /// The chains of each application's events alone, by its code, when they are kept. Keys are numbers of
    /// `gather`.
    pub(crate) apps: Option<BTreeMap<u32, Gather>>,
    /// Events of no application.
    pub(crate) without_app: u64,
    cost: Cost,
    damaged: Vec<Damage>,
    /// The next granule's number: what the tables of their dictionaries go by.
    granules: u64,
}

/// The leaves that are read of every event.
#[derive(Debug, Clone, Copy)]
struct Columns {
    time: usize,
    session: usize,
    /// The user, then the visitor.
    person: [usize; 2],
    app: usize,
}

#[derive(Debug)]
struct Classes {
    page: Predicate,
    action: Predicate,
    interactive: Predicate,
}

/// What one slice adds, read before anything is added.
#[derive(Debug)]
struct Selected {
    mask: Mask,
    times: Arc<ColumnVector>,
    /// The users' codes, when they are kept.
    users: Option<Arc<ColumnVector>>,
    /// The applications' codes, when they are kept.
    apps: Option<Arc<ColumnVector>>,
    page: Mask,
    action: Mask,
    interactive: Mask,
    /// The number of the key of each row of the slice, or [`NO_KEY`].
    keys: Vec<u32>,
}

/// What is known of sessions: the events of a range of times, and sums of some days of some tenants.
#[derive(Debug)]
pub(crate) struct Known {
    /// Events of these times were read.
    pub(crate) read: TimeRange,
    /// Days of a tenant ([`ALL_TENANTS`] is all of them) of which cells gave sums: an event there may change them.
    pub(crate) closed: BTreeSet<(i32, TenantNo)>,
}

impl Known {
    /// The times whose events the numbers depend on: cells give whole days, also where less was asked for.
    pub(crate) fn depends_on(&self) -> TimeRange {
        let days = self.closed.iter().map(|(day, _)| *day);
        let (first, last) = (days.clone().min(), days.max());
        let start = first.map_or(self.read.start, |day| day_start(day).min(self.read.start));
        let end = last.map_or(self.read.end, |day| day_start(day.saturating_add(1)).max(self.read.end));
        TimeRange { start, end }
    }

    /// Whether the events of a slice can be added: none lies where only sums are known, or nothing at all.
    fn takes(&self, slice: &Slice, selected: &Selected) -> bool {
        let is_read = |at: TimestampUs| self.read.contains(at);
        let is_closed =
            |day: i32| [slice.tenant, ALL_TENANTS].iter().any(|tenant| self.closed.contains(&(day, *tenant)));
        let days = slice.first().day()..=slice.last().day();
        let is_open = is_read(slice.first()) && is_read(slice.last()) && !days.into_iter().any(is_closed);
        is_open || selected.times(slice).all(|at| is_read(at) && !is_closed(at.day()))
    }
}

impl Selected {
    /// When its events happened.
    fn times<'s>(&'s self, slice: &Slice) -> impl Iterator<Item = TimestampUs> + 's {
        let times = match &*self.times {
            ColumnVector::I64(times, _) => times.get(slice.rows.clone()).unwrap_or(&[]),
            _ => &[],
        };
        times.iter().enumerate().filter(|(row, _)| self.mask.get(*row)).map(|(_, at)| TimestampUs(*at))
    }
}

impl SessionRows {
    /// Nothing read yet.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a field that events do not have.
    pub(crate) fn new(request: &SessionRequest, narrow: bool) -> Result<Self> {
        let mut fields = Fields::new(Stream::Events);
        let columns = Columns {
            time: fields.column(&TIME)?,
            session: fields.column(&SESSION_ID)?,
            person: [fields.column(&USER_ID)?, fields.column(&ANONYMOUS_ID)?],
            app: fields.column(&APP_ID)?,
        };
        Ok(Self {
            request: request.clone(),
            columns,
            predicate: Predicate::compile(&request.filter, &mut fields)?,
            classes: Classes {
                page: Predicate::compile(&request.classes.page, &mut fields)?,
                action: Predicate::compile(&request.classes.action, &mut fields)?,
                interactive: Predicate::compile(&request.classes.interactive, &mut fields)?,
            },
            fields: Arc::new(fields),
            keys: Keys::default(),
            gather: Gather::new(request.window),
            events: Vec::new(),
            narrow,
            newer: None,
            users: false,
            apps: None,
            without_app: 0,
            cost: Cost::default(),
            damaged: Vec::new(),
            granules: 1,
        })
    }

    /// Adds the events of a range of times, which was not read before, of the parts and runs that `keep`
    /// is true for (see [`plan::plan_where`]).
    ///
    /// # Errors
    ///
    /// Those of [`super::sessions`].
    pub(crate) fn read(
        &mut self,
        snapshot: &Snapshot,
        range: TimeRange,
        keep: impl Fn(usize, Option<&Run>) -> bool,
    ) -> Result<()> {
        let tasks = plan::plan_where(snapshot, &self.request.scope, Stream::Events, range, keep);
        self.read_tasks(snapshot, range, &tasks, None).map(drop)
    }

    /// Adds the events of times that are known, of frames after one. False, and good for nothing any more, when one of
    /// them changes what cannot be changed ([`Known`]).
    ///
    /// # Errors
    ///
    /// Those of [`super::sessions`].
    pub(crate) fn read_newer(
        &mut self,
        snapshot: &Snapshot,
        known: &Known,
        GoOn { after, new_codes }: GoOn,
    ) -> Result<bool> {
        if new_codes {
            let Classes { page, action, interactive } = &mut self.classes;
            [&mut self.predicate, page, action, interactive].into_iter().for_each(Predicate::forget_codes);
        }
        let fields = Arc::make_mut(&mut self.fields);
        self.newer = Some(Newer::than(after, fields)?);
        let range = known.depends_on();
        let tasks = plan::plan_newer(snapshot, &self.request.scope, Stream::Events, range, after);
        self.read_tasks(snapshot, range, &tasks, Some(known))
    }

    /// Forgets what it has cost so far.
    pub(crate) fn start_counting(&mut self) {
        self.cost = Cost::default();
    }

    fn read_tasks(
        &mut self,
        snapshot: &Snapshot,
        range: TimeRange,
        tasks: &[Task],
        known: Option<&Known>,
    ) -> Result<bool> {
        let mut tally = Tally::new(snapshot, Stream::Events, range, self.request.allow_partial);
        let fields = Arc::clone(&self.fields);
        for (task, token) in tasks.iter().zip(self.granules..) {
            self.granules = token + 1;
            let Some(mut granule) = Granule::new(snapshot, &fields, task, token) else { continue };
            for slice in &task.slices {
                tally.look_at(slice)?;
                let selected = self.select(&mut granule, slice, range);
                if let Some(Some(selected)) = tally.or_skip(selected, slice)? {
                    if known.is_some_and(|known| !known.takes(slice, &selected)) {
                        return Ok(false);
                    }
                    self.add(slice, &selected);
                }
            }
            self.check()?;
        }
        let (cost, damaged) = tally.finish();
        self.cost += cost;
        self.damaged.extend(damaged);
        Ok(true)
    }

    /// The fields that a granule of these rows is made for.
    pub(crate) fn fields(&self) -> Arc<Fields> {
        Arc::clone(&self.fields)
    }

    /// Adds the events of one slice of a granule, whatever their times.
    ///
    /// # Errors
    ///
    /// Those of the part and of the dictionary.
    pub(crate) fn read_slice(&mut self, granule: &mut Granule<'_>, slice: &Slice) -> Result<()> {
        if let Some(selected) = self.select(granule, slice, TimeRange::ALL)? {
            self.add(slice, &selected);
        }
        Ok(())
    }

    /// Users are kept by their codes, where they have codes, and the chains of each application too.
    pub(crate) fn for_cells(mut self) -> Self {
        self.users = true;
        self.apps = Some(BTreeMap::new());
        self
    }

    /// Forgets all chains and their keys.
    pub(crate) fn start_over(&mut self) {
        self.gather = Gather::new(self.request.window);
        self.apps = self.apps.take().map(|_| BTreeMap::new());
        self.without_app = 0;
        self.keys.start_over();
    }

    /// Reads everything that a slice adds, and changes no chain; `None` when it adds nothing.
    fn select(
        &mut self,
        granule: &mut Granule<'_>,
        slice: &Slice,
        range: TimeRange,
    ) -> Result<Option<Selected>> {
        let at = (self.columns.time, self.newer);
        let mask = filter::select_newer(&mut self.predicate, at, range, granule, slice)?;
        if mask.is_empty() {
            return Ok(None);
        }
        let times = granule.load(self.columns.time)?;
        let users = if self.users { Some(granule.load(self.columns.person[0])?) } else { None };
        let apps = if self.apps.is_some() { Some(granule.load(self.columns.app)?) } else { None };
        let mut class = |predicate: &mut Predicate| -> Result<Mask> {
            let mut some = mask.clone();
            predicate.narrow(granule, slice, &mut some)?;
            Ok(some)
        };
        let page = class(&mut self.classes.page)?;
        let action = class(&mut self.classes.action)?;
        let interactive = class(&mut self.classes.interactive)?;
        let keys = self.keys.of_rows(&mut self.gather, self.columns, granule, slice, &mask)?;
        Ok(Some(Selected { mask, times, users, apps, page, action, interactive, keys }))
    }

    fn add(&mut self, slice: &Slice, selected: &Selected) {
        let ColumnVector::I64(times, _) = &*selected.times else { return };
        let times = times.get(slice.rows.clone()).unwrap_or(&[]);
        let codes = |vector: &'_ Option<Arc<ColumnVector>>| match vector.as_deref() {
            Some(ColumnVector::Codes(codes)) => codes.get(slice.rows.clone()).unwrap_or(&[]).to_vec(),
            _ => Vec::new(),
        };
        let (users, apps) = (codes(&selected.users), codes(&selected.apps));
        let class_words =
            selected.page.words().iter().zip(selected.action.words()).zip(selected.interactive.words());
        let rows = times.chunks(64).zip(selected.keys.chunks(64));
        for (index, ((word, ((page, action), interactive)), (times, keys))) in
            selected.mask.words().iter().zip(class_words).zip(rows).enumerate()
        {
            let mut left = *word;
            while left != 0 {
                let bit = left.trailing_zeros();
                left &= left - 1;
                let (Some(at), Some(key)) = (times.get(bit as usize), keys.get(bit as usize)) else { break };
                if *key == NO_KEY {
                    continue;
                }
                let is = |words: u64| words >> bit & 1 == 1;
                let class = Class { page: is(*page), action: is(*action), interactive: is(*interactive) };
                // An absent code is no user.
                let user = users.get(index * 64 + bit as usize).copied().unwrap_or(NO_USER);
                self.gather.event(*key, TimestampUs(*at), user, class);
                if self.apps.is_some() {
                    let app = apps.get(index * 64 + bit as usize).copied().unwrap_or(NULL_CODE);
                    self.add_of_app(app, *key, TimestampUs(*at), user, class);
                }
                if self.narrow {
                    self.remember(*key, TimestampUs(*at));
                }
            }
        }
    }

    /// Adds an event of an application to the chains of that one.
    fn add_of_app(&mut self, app: u32, key: u32, at: TimestampUs, user: u32, class: Class) {
        let Some(apps) = self.apps.as_mut().filter(|_| app != NULL_CODE) else {
            self.without_app += 1;
            return;
        };
        if apps.len() <= APPS_MAX {
            let gather = apps.entry(app).or_insert_with(|| Gather::new(TimeRange::ALL));
            let number = gather.number(TenantNo(0), u128::from(key));
            gather.event(number, at, user, class);
        }
    }

    fn remember(&mut self, key: u32, time: TimestampUs) {
        if self.request.window.contains(time) {
            let (page, action, interactive) = (false, false, false);
            let key = u64::from(key);
            self.events.push(SessionEvent { key, time, user: NO_USER, page, action, interactive });
        }
    }

    /// Whether what is kept is within the budget.
    ///
    /// # Errors
    ///
    /// [`Error::QueryLimit`].
    pub(crate) fn check(&self) -> Result<()> {
        let budget = self.request.budget;
        if self.memory_bytes() as u64 > budget.memory_bytes_max {
            return Err(Error::QueryLimit { what: "bytes of memory", limit: budget.memory_bytes_max });
        }
        Ok(())
    }

    /// What was read, and what could not be.
    pub(crate) fn read_so_far(&self) -> (Cost, Vec<Damage>) {
        (self.cost, self.damaged.clone())
    }

    /// Bytes of memory this takes, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        let events = self.events.capacity() * size_of::<SessionEvent>();
        self.gather.memory_bytes() + self.keys.memory_bytes() + events
    }
}

/// Whose number it is: a tenant, and since when.
type Owner = (TenantNo, u32);

/// Numbers of keys by code and by value of a granule's dictionary, filled as they are seen.
#[derive(Debug, Default)]
struct Keys {
    codes: HashMap<(TenantNo, IdentityKind), Vec<u32>>,
    code_places: usize,
    /// By leaf: the granule, and the number of each value with the owner that it is a number of.
    dictionaries: HashMap<usize, (u64, Vec<(Owner, u32)>)>,
    /// How often everything was forgotten.
    round: u32,
}

impl Keys {
    fn memory_bytes(&self) -> usize {
        self.code_places * size_of::<u32>() + self.codes.len() * 64
    }

    fn start_over(&mut self) {
        self.codes.clear();
        self.code_places = 0;
        self.round = self.round.wrapping_add(1);
    }

    /// The numbers of the keys of the rows of a slice that are in `mask`.
    fn of_rows(
        &mut self,
        gather: &mut Gather,
        columns: Columns,
        granule: &mut Granule<'_>,
        slice: &Slice,
        mask: &Mask,
    ) -> Result<Vec<u32>> {
        let mut out = vec![NO_KEY; mask.len()];
        self.fill(gather, columns.session, KeyKind::Session, granule, slice, mask, &mut out)?;
        for leaf in columns.person {
            let mut missing = mask.clone();
            missing.retain_values(&out, |key| key == NO_KEY);
            if missing.is_empty() {
                break;
            }
            self.fill(gather, leaf, KeyKind::Person, granule, slice, &missing, &mut out)?;
        }
        Ok(out)
    }

    /// Puts the numbers of the values of a leaf where `mask` says.
    #[expect(clippy::too_many_arguments, reason = "one place of a slice, and what is known of it")]
    fn fill(
        &mut self,
        gather: &mut Gather,
        leaf: usize,
        kind: KeyKind,
        granule: &mut Granule<'_>,
        slice: &Slice,
        mask: &Mask,
        out: &mut [u32],
    ) -> Result<()> {
        let vector = granule.load(leaf)?;
        let tenant = slice.tenant;
        let owner = (tenant, self.round);
        let rows = slice.rows.clone();
        match &*vector {
            ColumnVector::Codes(codes) => {
                let identity = granule.fields.leaves().get(leaf).and_then(Leaf::kind);
                let Some(identity) = identity else {
                    return Err(Error::invalid("codes in a column that has none"));
                };
                let codes = codes.get(rows).unwrap_or(&[]);
                self.of_codes(gather, granule.snapshot, (tenant, identity), codes, mask, out)
            }
            ColumnVector::Dict { codes, values } => {
                let table = self.dictionaries.entry(leaf).or_default();
                if table.0 != granule.token || table.1.len() != values.len() {
                    table.0 = granule.token;
                    table.1.clear();
                    table.1.resize(values.len(), (owner, NO_KEY));
                }
                let codes = codes.get(rows).unwrap_or(&[]);
                each_in(mask, codes, out, |code, slot| {
                    let Some(known) = table.1.get_mut(*code as usize) else { return Ok(()) };
                    if known.1 == NO_KEY || known.0 != owner {
                        let Some(text) = values.get(*code as usize) else { return Ok(()) };
                        *known = (owner, number(gather, tenant, kind, text)?);
                    }
                    *slot = known.1;
                    Ok(())
                })
            }
            ColumnVector::Bytes(bytes) => {
                let from = rows.start;
                let rows: Vec<usize> = (from..from + mask.len()).collect();
                each_in(mask, &rows, out, |row, slot| {
                    if let Some(text) = bytes.get(*row) {
                        *slot = number(gather, tenant, kind, text)?;
                    }
                    Ok(())
                })
            }
            _ => Err(Error::invalid("a name that is no text")),
        }
    }

    fn of_codes(
        &mut self,
        gather: &mut Gather,
        snapshot: &Snapshot,
        (tenant, identity): (TenantNo, IdentityKind),
        codes: &[u32],
        mask: &Mask,
        out: &mut [u32],
    ) -> Result<()> {
        let table = self.codes.entry((tenant, identity)).or_default();
        let before = table.len();
        let done = each_in(mask, codes, out, |code, slot| {
            if *code == NULL_CODE {
                return Ok(());
            }
            let place = *code as usize;
            if let Some(known) = table.get(place).filter(|known| **known != NO_KEY) {
                *slot = *known;
                return Ok(());
            }
            // Asked first: a code that was never given must not make the table grow to its size.
            let Some(name) = snapshot.codes.identity_of(tenant, identity, *code)? else {
                return Err(never_given(identity, *code));
            };
            *slot = number(gather, tenant, KeyKind::Person, &name)?;
            if table.len() <= place {
                table.resize(place + 1, NO_KEY);
            }
            if let Some(known) = table.get_mut(place) {
                *known = *slot;
            }
            Ok(())
        });
        self.code_places += table.len() - before;
        done
    }
}

/// The number of a name's key.
fn number(gather: &mut Gather, tenant: TenantNo, kind: KeyKind, name: &[u8]) -> Result<u32> {
    let number = gather.number(tenant, session_key(kind, name));
    if number as usize >= KEYS_MAX {
        return Err(Error::QueryLimit { what: "sessions", limit: KEYS_MAX as u64 });
    }
    Ok(number)
}

/// Calls with (value, place of the result) of each row of the mask.
fn each_in<T>(
    mask: &Mask,
    values: &[T],
    out: &mut [u32],
    mut each: impl FnMut(&T, &mut u32) -> Result<()>,
) -> Result<()> {
    for ((word, values), out) in mask.words().iter().zip(values.chunks(64)).zip(out.chunks_mut(64)) {
        let mut left = *word;
        while left != 0 {
            let bit = left.trailing_zeros() as usize;
            left &= left - 1;
            if let (Some(value), Some(slot)) = (values.get(bit), out.get_mut(bit)) {
                each(value, slot)?;
            }
        }
    }
    Ok(())
}
