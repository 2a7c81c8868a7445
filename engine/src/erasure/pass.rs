//! The pass that takes the bytes of pending erasures out of every file, and writes the receipts.
//!
//! In this order, each step done again after a crash: rows in memory go to segments; ids and answers that
//! name the subject go; segments are written anew; the dictionary; then one frame has the receipts, and
//! with the next flush the catalog's log is written anew and the files of the WAL are wiped. Until that is
//! done a mark says so, and a receipt is not shown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashSet;

use super::cells::erase_cells;
use super::rows::{Carried, EraseRows};
use crate::append::{CatalogKind, CatalogPut};
use crate::catalog::erasure::{Counted, Erased, ErasureOutcome, ErasureRecord};
use crate::compaction::compactor::{is_about, of_rows};
use crate::compaction::pace::Pace;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::id::{FileId, Lsn, Stream, TenantNo};
use crate::manifest::FileMeta;
use crate::part::Part;
use crate::query::{
    self, Aggregate, Budget, Field, Filter, Literal, Op, Query, ScanColumn, ScanRequest, Scope, Snapshot,
};
use crate::schema::{IdentityKind, Schema, stream};
use crate::sequencer::plan::Prepared;
use crate::sequencer::tenant_prefix;
use crate::tables::LiveSegment;
use crate::time::TimeRange;
use crate::view;

/// The mark that files of the WAL and the catalog's log may still have what was erased.
const UNWIPED: &[u8] = b"unwiped";
/// How long an erasure may wait for others: with the hour between two looks the bytes are gone in a day.
const WAIT: Duration = Duration::from_hours(20);
/// Records of an erased tenant that one frame removes.
const PURGED_MAX: usize = 10_000;

/// An id that a client gave a record: whose, of which stream.
type GivenId = (TenantNo, Stream, Box<[u8]>);

/// What a pass did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ErasurePass {
    /// Erasures that are done.
    pub completed: u64,
    /// Segments that were written anew.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Whether an erasure has waited so long that its bytes must go, or files wait to be wiped.
///
/// A wall clock that was set back makes nobody wait longer: an erasure is due, too, when this process has known
/// it for so long, and when it was asked for in what is the future now.
pub(crate) fn is_due(core: &Core) -> bool {
    let wait = i64::try_from(WAIT.as_micros()).unwrap_or(i64::MAX);
    let (now, monotonic) = (core.clock.now().0, core.clock.monotonic());
    let policies = core.catalog.policies();
    let mut known = core.erasures_known.lock();
    known.retain(|id, _| policies.pending().contains_key(id));
    let mut is_due = is_unwiped(core);
    for (id, record) in policies.pending() {
        let since = *known.entry(*id).or_insert(monotonic);
        let requested = record.requested.0;
        is_due |= requested <= now.saturating_sub(wait) || requested > now;
        is_due |= monotonic.saturating_sub(since) >= WAIT;
    }
    is_due
}

/// Segments that a pass could not read, and why.
type Unread = BTreeMap<FileId, Error>;

/// Carries out every erasure that is pending.
///
/// # Errors
///
/// Damage of a file that may hold what is erased: the others are done all the same, and whoever has no rows in
/// it gets a receipt. I/O. What was done stands, what is left stays pending and hidden, and the next pass goes on.
pub(crate) fn run(core: &Core) -> Result<ErasurePass> {
    let _one_at_a_time = core.erasure_pass.lock();
    if core.catalog.get(CatalogKind::RetentionMark, UNWIPED).is_some() {
        wipe(core)?;
    }
    let policies = core.catalog.policies();
    let pending = policies.pending().iter();
    let carried: Vec<Carried> =
        pending.map(|(id, record)| Carried { id: *id, record: Arc::clone(record) }).collect();
    if carried.is_empty() {
        core.unerased.lock().clear();
        return Ok(ErasurePass::default());
    }
    // From here on no frame up to a bound is in memory alone.
    let bound = carried.iter().map(|c| c.record.bound).max().unwrap_or_default();
    core.flush_upto(bound)?;
    let mut unread = Unread::new();
    let found = carried.iter().map(|c| count(core, c, &mut unread)).collect::<Result<Vec<_>>>()?;
    let ids = ids_of(core, &carried, &mut unread)?;
    core.flusher.lock().erase_names(core, &Names { carried: &carried, ids, dictionary: None })?;
    let rows = EraseRows::new(core, &carried)?;
    let mut clean = BTreeSet::new();
    let rewrites = core.compactor.rewrite_all(core, &rows, &Pace::free(), &mut |version, failed| {
        let is_left = |id| version.get(id).is_some() && !failed.contains_key(&id);
        first_with_rows(core, &is_left, &carried, &mut clean, &mut unread)
    })?;
    unread.extend(rewrites.failed);
    let cells = erase_cells(core, &carried)?;
    let (carried, found): (Vec<Carried>, Vec<_>) = readable(core, carried, found, &unread);
    erase_identities(core, &carried)?;
    let work = ErasureOutcome {
        files: rewrites.report.jobs + cells.files,
        bytes: rewrites.report.bytes_read + cells.bytes,
        cells: cells.files,
        ..ErasureOutcome::default()
    };
    let completed = if carried.is_empty() { 0 } else { receipts(core, &carried, &found, work)? };
    if completed > 0 {
        wipe(core)?;
    }
    complain(core, unread)?;
    Ok(ErasurePass { completed, segments: rewrites.report.jobs, bytes: rewrites.report.bytes_read })
}

/// The erasures, and what was counted of them, that no unreadable segment may hold rows of.
fn readable<T>(core: &Core, carried: Vec<Carried>, found: Vec<T>, unread: &Unread) -> (Vec<Carried>, Vec<T>) {
    let segments = core.tables.segments();
    let holds = |segment: &LiveSegment, tenant| {
        unread.contains_key(&segment.meta.id)
            && Stream::ALL.into_iter().any(|of| !segment.runs_of(of, tenant).is_empty())
    };
    let is_done = |c: &Carried| {
        // Whose rows a segment has that could not even be opened, nobody knows.
        core.missing.is_empty() && !segments.iter().any(|segment| holds(segment, c.record.tenant))
    };
    carried.into_iter().zip(found).filter(|(c, _)| is_done(c)).unzip()
}

/// Names the segments that could not be read; the error is that of the first.
fn complain(core: &Core, unread: Unread) -> Result<()> {
    let says = "what it holds cannot be erased";
    let missing = core.missing.iter().map(|m| Error::corrupt("segment", &m.path, 0, says));
    let errors: Vec<Error> = missing.chain(unread.into_values()).collect();
    *core.unerased.lock() = errors.iter().map(|error| format!("erasure: {error}: {says}")).collect();
    errors.into_iter().next().map_or(Ok(()), Err)
}

/// Calls `look` with every live segment that can be read, and notes those that cannot.
fn each_segment(
    core: &Core,
    unread: &mut Unread,
    look: &mut dyn FnMut(&Arc<LiveSegment>, &Snapshot) -> Result<()>,
) -> Result<()> {
    for segment in core.tables.segments() {
        if unread.contains_key(&segment.meta.id) {
            continue;
        }
        let looked = look(&segment, &view::everything(core, parts(std::slice::from_ref(&segment))));
        match looked.map_err(|error| of_rows(error, &segment.meta)) {
            Err(error) if is_about(&error, &segment.meta) => drop(unread.insert(segment.meta.id, error)),
            result => result?,
        }
    }
    Ok(())
}

/// How often rows are looked through again because a flush has added some meanwhile; then flushes wait.
const LOOKS_MAX: usize = 3;

/// Takes identities that no row has any more out of the dictionary. A user who is back may be in rows that a
/// flush has just written, with the same code: what was looked through must be all that there is.
fn erase_identities(core: &Core, carried: &[Carried]) -> Result<()> {
    let live = || core.tables.segments().iter().map(|segment| segment.meta.id).collect::<BTreeSet<_>>();
    for _ in 0..LOOKS_MAX {
        let before = live();
        let gone = identities(core, carried)?;
        let mut flusher = core.flusher.lock();
        if live() == before {
            let names = Names { carried, ids: HashSet::new(), dictionary: Some(gone) };
            return flusher.erase_names(core, &names);
        }
    }
    let mut flusher = core.flusher.lock();
    let names = Names { carried, ids: HashSet::new(), dictionary: Some(identities(core, carried)?) };
    flusher.erase_names(core, &names)
}

/// Names that go from the files of ids, named requests and the dictionary.
pub(crate) struct Names<'a> {
    carried: &'a [Carried],
    /// Ids of rows that go.
    ids: HashSet<(TenantNo, Stream, Box<[u8]>)>,
    /// Identities that no row has any more; `None` leaves the dictionary as it is.
    dictionary: Option<BTreeSet<(TenantNo, u8, Vec<u8>)>>,
}

impl Names<'_> {
    fn is_retired(&self, tenant: TenantNo) -> bool {
        self.carried.iter().any(|c| c.record.erased == Erased::Tenant && c.record.tenant == tenant)
    }

    /// Whether an id of a record goes.
    pub(crate) fn has_id(&self, tenant: TenantNo, of: Option<Stream>, id: &[u8]) -> bool {
        self.is_retired(tenant) || of.is_some_and(|of| self.ids.contains(&(tenant, of, id.into())))
    }

    /// Whether the answer to a named request of a frame goes: those after the erasure are of somebody who has
    /// come back, or of a later tenant of the same name.
    pub(crate) fn has_request(&self, tenant: &str, principal: &str, lsn: Lsn) -> bool {
        self.carried.iter().any(|c| {
            let credential = c.record.pending_user().map(|user| user.credential.as_str());
            c.record.name == tenant
                && lsn <= c.record.bound
                && credential.is_none_or(|credential| credential == principal)
        })
    }

    /// Whether an identity goes, when the dictionary is written anew.
    pub(crate) fn identities(&self) -> Option<impl Fn(TenantNo, u8, &[u8]) -> bool + '_> {
        let gone = self.dictionary.as_ref()?;
        Some(move |tenant: TenantNo, tag: u8, identity: &[u8]| {
            self.is_retired(tenant) || gone.contains(&(tenant, tag, identity.to_vec()))
        })
    }
}

fn parts(segments: &[Arc<LiveSegment>]) -> Vec<Arc<dyn Part>> {
    segments.iter().map(|segment| Arc::clone(segment) as Arc<dyn Part>).collect()
}

/// What the rows of an erased user have in common: the user, and a frame after `after` and up to the bound.
fn rows_of(record: &ErasureRecord, after: Lsn) -> Option<[Filter; 2]> {
    let user = String::from_utf8_lossy(&record.pending_user()?.user).into_owned();
    let whose = Filter::Compare(Field::Column(stream::USER_ID.id), Op::Is(Literal::Str(user)));
    let lsn = |op| Filter::Compare(Field::Column(stream::LSN.id), op);
    let upto = lsn(Op::Lte(Literal::U64(record.bound.0)));
    let bound = match after {
        Lsn(0) => upto,
        Lsn(after) => Filter::And(vec![lsn(Op::Gt(Literal::U64(after))), upto]),
    };
    Some([whose, bound])
}

/// How many rows a filter finds.
fn count_where(snapshot: &Snapshot, record: &ErasureRecord, of: Stream, filter: Filter) -> Result<u64> {
    let answer = query::aggregate(
        snapshot,
        &Query {
            scope: Scope::One(record.tenant_id()?),
            stream: of,
            window: TimeRange::ALL,
            filter,
            group_by: Vec::new(),
            aggregates: vec![Aggregate::Count],
            budget: Budget::default(),
            rows_only: true,
            allow_partial: false,
        },
    )?;
    Ok(answer.groups.first().and_then(|group| group.values.first()).map_or(0, |count| count.as_u64()))
}

/// How many rows of a stream, of frames after `after`, an erasure takes of the parts of a snapshot.
fn erased_rows(snapshot: &Snapshot, record: &ErasureRecord, of: Stream, after: Lsn) -> Result<u64> {
    let Some([whose, bound]) = rows_of(record, after) else {
        let runs = snapshot.parts.iter().flat_map(|part| part.runs_of(of, record.tenant));
        return Ok(runs.map(|run| run.rows.end - run.rows.start).sum());
    };
    let own = count_where(snapshot, record, of, Filter::And(vec![whose.clone(), bound.clone()]))?;
    if of != Stream::Audit {
        return Ok(own);
    }
    let user = record.pending_user().map(|user| String::from_utf8_lossy(&user.user).into_owned());
    let about = Op::Is(Literal::Str(user.unwrap_or_default()));
    let about = Filter::Compare(Field::Column(stream::OBJECT_ID.id), about);
    let request = ScanRequest {
        scope: Scope::One(record.tenant_id()?),
        stream: of,
        window: TimeRange::ALL,
        filter: Filter::And(vec![about, bound, Filter::Not(Box::new(whose))]),
        fields: vec![Field::Column(stream::OBJECT_TYPE.id)],
        allow_partial: false,
    };
    let mut types: BTreeMap<u32, u64> = BTreeMap::new();
    let end = query::scan(snapshot, &request, &mut |vector| {
        if let Some(ScanColumn::Codes(codes)) = vector.columns.first() {
            for code in codes {
                *types.entry(*code).or_default() += 1;
            }
        }
        Ok(())
    })?;
    let names = end.names.first();
    let is_user = |code: u32| {
        names.and_then(|names| names.get(code as usize)).is_some_and(|t| query::is_user_type(t.as_bytes()))
    };
    Ok(own + types.into_iter().filter(|(code, _)| is_user(*code)).map(|(_, rows)| rows).sum::<u64>())
}

/// How many rows of each stream an erasure takes, those of passes before included: a pass that fails has taken
/// some already, so what is found first is kept in the record, with the segments that could not be read then.
fn count(core: &Core, carried: &Carried, unread: &mut Unread) -> Result<[u64; Stream::ALL.len()]> {
    let Carried { id, record } = carried;
    let before = record.counted.clone().unwrap_or_default();
    let mut counted = Counted { bound: record.bound, unread: Vec::new(), ..before.clone() };
    each_segment(core, unread, &mut |segment, snapshot| {
        let is_new = before.bound == Lsn(0) || before.unread.contains(&segment.meta.id);
        let after = if is_new { Lsn(0) } else { before.bound };
        let is_counted = !is_new && (after == record.bound || record.erased == Erased::Tenant);
        let mut rows = [0; Stream::ALL.len()];
        for (slot, of) in rows.iter_mut().zip(Stream::ALL).filter(|_| !is_counted) {
            *slot = erased_rows(snapshot, record, of, after)?;
        }
        // All of a segment, or nothing of it.
        counted.rows.iter_mut().zip(rows).for_each(|(sum, rows)| *sum += rows);
        Ok(())
    })?;
    counted.unread = unread.keys().copied().chain(core.missing.iter().map(|m| m.id)).collect();
    if record.counted.as_ref() != Some(&counted) {
        let _guard = core.erasing.lock();
        // Who asks again meanwhile takes the bound further: the next pass counts the rest.
        if core.catalog.policies().pending().get(id).is_some_and(|now| now.bound == record.bound) {
            let noted = ErasureRecord { counted: Some(counted.clone()), ..ErasureRecord::clone(record) };
            core.append_own(Prepared::own(vec![noted.put(*id)?])?)?;
        }
    }
    Ok(counted.rows)
}

/// The ids that clients gave the rows of erased users.
fn ids_of(core: &Core, carried: &[Carried], unread: &mut Unread) -> Result<HashSet<GivenId>> {
    let mut out = HashSet::new();
    each_segment(core, unread, &mut |_, snapshot| {
        for Carried { record, .. } in carried {
            for of in Stream::ALL {
                out.extend(ids_in(core, snapshot, record, of)?);
            }
        }
        Ok(())
    })?;
    Ok(out)
}

/// The ids of a stream's rows of an erased user that are still remembered.
fn ids_in(core: &Core, snapshot: &Snapshot, record: &ErasureRecord, of: Stream) -> Result<Vec<GivenId>> {
    let Some([whose, bound]) = rows_of(record, Lsn(0)) else { return Ok(Vec::new()) };
    let given = Filter::Compare(Field::Column(stream::ID.id), Op::Exists);
    let since = Literal::I64(core.remembered_since().0);
    let recent = Filter::Compare(Field::Column(stream::RECEIVED.id), Op::Gte(since));
    let request = ScanRequest {
        scope: Scope::One(record.tenant_id()?),
        stream: of,
        window: TimeRange::ALL,
        filter: Filter::And(vec![whose, bound, given, recent]),
        fields: vec![Field::Column(stream::ID.id)],
        allow_partial: false,
    };
    let mut codes: BTreeSet<u32> = BTreeSet::new();
    let end = query::scan(snapshot, &request, &mut |vector| {
        if let Some(ScanColumn::Codes(ids)) = vector.columns.first() {
            codes.extend(ids);
        }
        Ok(())
    })?;
    let names = end.names.first();
    let ids = codes.iter().filter_map(|code| names?.get(*code as usize));
    Ok(ids.map(|id| (record.tenant, of, id.as_bytes().into())).collect())
}

/// The first segment that is left and has rows of an erasure; `clean` are those that have none.
fn first_with_rows(
    core: &Core,
    is_left: &dyn Fn(FileId) -> bool,
    carried: &[Carried],
    clean: &mut BTreeSet<FileId>,
    unread: &mut Unread,
) -> Result<Option<Arc<FileMeta>>> {
    for segment in core.tables.segments() {
        let id = segment.meta.id;
        // One that could not be counted is tried: what is damaged may be of others.
        if clean.contains(&id) || !is_left(id) {
            continue;
        }
        match has_rows(core, &segment, carried).map_err(|error| of_rows(error, &segment.meta)) {
            Ok(true) => return Ok(Some(Arc::clone(&segment.meta))),
            Ok(false) => drop(clean.insert(id)),
            Err(error) if is_about(&error, &segment.meta) => {
                clean.insert(id);
                unread.insert(id, error);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn has_rows(core: &Core, segment: &Arc<LiveSegment>, carried: &[Carried]) -> Result<bool> {
    for Carried { record, .. } in carried {
        for of in Stream::ALL.into_iter().filter(|of| !segment.runs_of(*of, record.tenant).is_empty()) {
            if erased_rows(&view::everything(core, parts(std::slice::from_ref(segment))), record, of, Lsn(0))?
                > 0
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The identities of erased users that no row refers to any more. Those of erased tenants go by their
/// number.
fn identities(core: &Core, carried: &[Carried]) -> Result<BTreeSet<(TenantNo, u8, Vec<u8>)>> {
    let snapshot = view::everything(core, parts(&core.tables.segments()));
    let mut out = BTreeSet::new();
    for Carried { record, .. } in carried {
        let Some(user) = record.pending_user() else { continue };
        let text = String::from_utf8_lossy(&user.user).into_owned();
        for (kind, def) in
            [(IdentityKind::User, &stream::USER_ID), (IdentityKind::Object, &stream::OBJECT_ID)]
        {
            let streams = Stream::ALL.into_iter().filter(|of| Schema::of(*of).index_of(def.id).is_some());
            let mut rows = 0;
            for of in streams {
                let is = Filter::Compare(Field::Column(def.id), Op::Is(Literal::Str(text.clone())));
                rows += count_where(&snapshot, record, of, is)?;
            }
            if rows == 0 {
                out.insert((record.tenant, kind.tag(), user.user.clone()));
            }
        }
    }
    Ok(out)
}

/// Puts receipts in the place of the records, and removes what the catalog had of erased tenants.
fn receipts(
    core: &Core,
    carried: &[Carried],
    found: &[[u64; Stream::ALL.len()]],
    work: ErasureOutcome,
) -> Result<u64> {
    // Who asks for an erasure again waits, and then begins a new one.
    let _guard = core.erasing.lock();
    let policies = core.catalog.policies();
    let mut puts = vec![mark(true)];
    let mut completed = 0;
    for (Carried { id, record }, [events, audit, metrics]) in carried.iter().zip(found) {
        // What was taken further meanwhile is not done yet.
        if policies.pending().get(id).is_none_or(|now| now.bound != record.bound) {
            continue;
        }
        if record.erased == Erased::Tenant {
            purge(core, record.tenant)?;
        }
        let completed_at = core.clock.now();
        let outcome = ErasureOutcome {
            completed: completed_at,
            events: *events,
            audit: *audit,
            metrics: *metrics,
            ..work
        };
        let erased = match record.erased {
            Erased::Tenant => Erased::Tenant,
            Erased::User(_) => Erased::User(None),
        };
        let receipt =
            ErasureRecord { erased, outcome: Some(outcome), counted: None, ..ErasureRecord::clone(record) };
        puts.push(receipt.put(*id)?);
        completed += 1;
    }
    core.append_own(Prepared::own(puts)?)?;
    Ok(completed)
}

/// Removes the keys, seqs and roots of an erased tenant, a bounded number a frame.
fn purge(core: &Core, tenant: TenantNo) -> Result<()> {
    let kinds =
        [CatalogKind::SubjectKey, CatalogKind::Sequence, CatalogKind::AuditRoot, CatalogKind::AuditCover];
    for kind in kinds {
        let records = core.catalog.scan(kind, &tenant_prefix(tenant));
        for some in records.chunks(PURGED_MAX) {
            let gone = |key: &Vec<u8>| CatalogPut { kind, key: key.clone(), value: None };
            let puts: Vec<CatalogPut> = some.iter().map(|(key, _)| gone(key)).collect();
            core.sequencer.lock().forget(&puts)?;
            core.append_own(Prepared::own(puts)?)?;
        }
    }
    Ok(())
}

fn mark(is_set: bool) -> CatalogPut {
    let value = is_set.then(|| vec![1]);
    CatalogPut { kind: CatalogKind::RetentionMark, key: UNWIPED.to_vec(), value }
}

/// Whether receipts wait for files to be wiped.
pub(super) fn is_unwiped(core: &Core) -> bool {
    core.catalog.get(CatalogKind::RetentionMark, UNWIPED).is_some()
}

/// Leaves nothing of earlier frames and records on the disk: a new log of the catalog, and WAL files whose
/// earlier bytes are overwritten.
fn wipe(core: &Core) -> Result<()> {
    // The file that the log goes on in must not have earlier bytes either.
    core.log.spares().wipe()?;
    core.catalog.write_anew();
    // There is a frame that is not flushed: the one that set the mark, or a mark that is set again.
    core.append_own(Prepared::own(vec![mark(true)])?)?;
    core.flush_upto(core.tables.lsn_max())?;
    core.log.spares().wipe()?;
    core.append_own(Prepared::own(vec![mark(false)])?)?;
    Ok(())
}
