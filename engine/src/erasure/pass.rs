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

use super::rows::{Carried, EraseRows};
use crate::append::{CatalogKind, CatalogPut};
use crate::catalog::erasure::{Erased, ErasureOutcome, ErasureRecord};
use crate::codes::Tenants;
use crate::compaction::pace::Pace;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::id::{FileId, Stream, TenantNo};
use crate::manifest::{Edit, FileKind, FileMeta, Version};
use crate::part::Part;
use crate::query::{
    self, Aggregate, Budget, Field, Filter, Hidden, Literal, Op, Query, ScanColumn, ScanRequest, Scope,
    Snapshot, Stop,
};
use crate::rollup::Remains;
use crate::schema::{IdentityKind, Schema, stream};
use crate::sequencer::plan::Prepared;
use crate::sequencer::tenant_prefix;
use crate::tables::{LiveSegment, Publication};
use crate::time::TimeRange;

/// The mark that files of the WAL and the catalog's log may still have what was erased.
const UNWIPED: &[u8] = b"unwiped";
/// How long an erasure may wait for others: with the hour between two looks the bytes are gone in a day.
const WAIT: Duration = Duration::from_hours(20);
/// Records of an erased tenant that one frame removes.
const PURGED_MAX: usize = 10_000;

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
pub(crate) fn is_due(core: &Core) -> bool {
    let wait = i64::try_from(WAIT.as_micros()).unwrap_or(i64::MAX);
    let latest = core.clock.now().0.saturating_sub(wait);
    let policies = core.catalog.policies();
    is_unwiped(core) || policies.pending().values().any(|record| record.requested.0 <= latest)
}

/// Carries out every erasure that is pending.
///
/// # Errors
///
/// Damage of a file that may hold what is erased, and I/O: what was done stands, the erasures stay pending
/// and hidden, and the next pass goes on.
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
        return Ok(ErasurePass::default());
    }
    if let Some(missing) = core.missing.first() {
        return Err(Error::corrupt("segment", &missing.path, 0, "what it holds cannot be erased"));
    }
    // From here on no frame up to a bound is in memory alone.
    let bound = carried.iter().map(|c| c.record.bound).max().unwrap_or_default();
    core.flush_upto(bound)?;
    let found = carried.iter().map(|c| count(core, &c.record)).collect::<Result<Vec<_>>>()?;
    let ids = ids_of(core, &carried)?;
    core.flusher.lock().erase_names(core, &Names { carried: &carried, ids, dictionary: None })?;
    let rows = EraseRows::new(core, &carried)?;
    let mut clean = BTreeSet::new();
    let report = core.compactor.rewrite_all(core, &rows, &Pace::free(), &mut |version| {
        first_with_rows(core, version, &carried, &mut clean)
    })?;
    erase_cells(core, &carried)?;
    erase_identities(core, &carried)?;
    let work = ErasureOutcome { files: report.jobs, bytes: report.bytes_read, ..ErasureOutcome::default() };
    let completed = receipts(core, &carried, &found, work)?;
    wipe(core)?;
    debug_assert!(rows.changed() <= found.iter().flatten().sum::<u64>());
    Ok(ErasurePass { completed, segments: report.jobs, bytes: report.bytes_read })
}

/// Takes the cells of erased tenants out of what segments have left behind. The cells of all tenants together
/// go too where such a tenant is among them: those of each of the others answer.
///
/// An erased user is in cells as a code among others, which nothing names once the dictionary is written anew.
fn erase_cells(core: &Core, carried: &[Carried]) -> Result<()> {
    let erased = carried.iter().filter(|c| c.record.erased == Erased::Tenant);
    let gone: BTreeSet<TenantNo> = erased.map(|c| c.record.tenant).collect();
    let has = |remains: &Remains| remains.runs(remains.stream()).iter().any(|r| gone.contains(&r.tenant));
    for remains in core.tables.remains().into_iter().filter(|remains| has(remains)) {
        core.compactor.alone(|| rewrite_cells(core, &remains, &gone))?;
    }
    if gone.is_empty() { Ok(()) } else { core.compactor.alone(|| remove_unread(core)) }
}

/// Removes cells without a segment that could not be opened: nobody can tell whose they are.
fn remove_unread(core: &Core) -> Result<()> {
    let version = core.manifest.version();
    let read: BTreeSet<FileId> =
        core.tables.remains().iter().flat_map(|r| r.cells()).map(|file| file.meta().id).collect();
    let is_unread = |file: &&Arc<FileMeta>| {
        !read.contains(&file.id) && file.of.is_some_and(|of| version.get(of.segment).is_none())
    };
    let files: Vec<&Arc<FileMeta>> = version.files_of(FileKind::Cells).filter(is_unread).collect();
    if files.is_empty() {
        return Ok(());
    }
    core.manifest.commit(Edit { remove: files.iter().map(|f| f.id).collect(), ..Edit::default() })?;
    for file in files {
        drop(core.disk.remove(&file.path()));
    }
    Ok(())
}

fn rewrite_cells(core: &Core, remains: &Remains, gone: &BTreeSet<TenantNo>) -> Result<()> {
    // Retention may have removed some of them meanwhile.
    let version = core.manifest.version();
    let live = || remains.cells().iter().filter(|file| version.get(file.meta().id).is_some());
    let allocate = || core.compactor.allocate_kind(&core.manifest, FileKind::Cells);
    let mut add = Vec::new();
    for file in live() {
        match file.without(core.disk.as_ref(), allocate, gone) {
            Ok(written) => add.extend(written),
            // What cannot be read cannot be told apart: it goes as a whole.
            Err(error @ Error::Corrupt { .. }) => core.cells.note(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    let metas: Vec<Arc<FileMeta>> = add.iter().cloned().map(Arc::new).collect();
    let cells = core.cells.open(core.disk.as_ref(), metas.iter())?;
    let left = remains.with(cells)?.map(Arc::new);
    let remove: Vec<FileId> = live().map(|file| file.meta().id).collect();
    core.manifest.commit(Edit { add, remove, ..Edit::default() })?;
    core.tables.publish(Publication {
        removed: vec![remains.segment],
        remains: left.into_iter().collect(),
        ..Publication::default()
    });
    for file in live() {
        drop(core.disk.remove(&file.meta().path()));
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

    /// Whether the answer to a named request goes.
    pub(crate) fn has_request(&self, tenant: &str, principal: &str) -> bool {
        self.carried.iter().any(|c| {
            let credential = c.record.pending_user().map(|user| user.credential.as_str());
            c.record.name == tenant && credential.is_none_or(|credential| credential == principal)
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

/// Everything that is there of a tenant, hidden or not, in the segments alone.
fn raw(core: &Core, parts: Vec<Arc<dyn Part>>) -> Snapshot {
    Snapshot {
        parts,
        codes: core.tables.codes(),
        tenants: Arc::clone(&core.catalog) as Arc<dyn Tenants>,
        hidden: Arc::new(Hidden::default()),
        lsn: core.manifest.version().flushed_lsn(),
        stop: Stop::never(),
    }
}

fn parts(segments: &[Arc<LiveSegment>]) -> Vec<Arc<dyn Part>> {
    segments.iter().map(|segment| Arc::clone(segment) as Arc<dyn Part>).collect()
}

/// What the rows of an erased user have in common: the user, and a frame up to the bound.
fn rows_of(record: &ErasureRecord) -> Option<[Filter; 2]> {
    let user = String::from_utf8_lossy(&record.pending_user()?.user).into_owned();
    let whose = Filter::Compare(Field::Column(stream::USER_ID.id), Op::Is(Literal::Str(user)));
    let bound = Op::Lte(Literal::U64(record.bound.0));
    Some([whose, Filter::Compare(Field::Column(stream::LSN.id), bound)])
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

/// How many rows of a stream an erasure takes of the parts of a snapshot.
fn erased_rows(snapshot: &Snapshot, record: &ErasureRecord, of: Stream) -> Result<u64> {
    let Some([whose, bound]) = rows_of(record) else {
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

/// How many rows of each stream an erasure takes.
fn count(core: &Core, record: &ErasureRecord) -> Result<[u64; Stream::ALL.len()]> {
    let snapshot = raw(core, parts(&core.tables.segments()));
    let mut out = [0; Stream::ALL.len()];
    for (slot, of) in out.iter_mut().zip(Stream::ALL) {
        *slot = erased_rows(&snapshot, record, of)?;
    }
    Ok(out)
}

/// The ids that clients gave the rows of erased users.
#[expect(clippy::type_complexity, reason = "one set: tenant, stream, id")]
fn ids_of(core: &Core, carried: &[Carried]) -> Result<HashSet<(TenantNo, Stream, Box<[u8]>)>> {
    let snapshot = raw(core, parts(&core.tables.segments()));
    let mut out = HashSet::new();
    for Carried { record, .. } in carried {
        for of in Stream::ALL {
            let Some([whose, bound]) = rows_of(record) else { continue };
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
            let end = query::scan(&snapshot, &request, &mut |vector| {
                if let Some(ScanColumn::Codes(ids)) = vector.columns.first() {
                    codes.extend(ids);
                }
                Ok(())
            })?;
            let names = end.names.first();
            let ids = codes.iter().filter_map(|code| names?.get(*code as usize));
            out.extend(ids.map(|id| (record.tenant, of, id.as_bytes().into())));
        }
    }
    Ok(out)
}

/// The first live segment that has rows of an erasure; `clean` are those that have none.
fn first_with_rows(
    core: &Core,
    version: &Version,
    carried: &[Carried],
    clean: &mut BTreeSet<FileId>,
) -> Result<Option<Arc<FileMeta>>> {
    for segment in core.tables.segments() {
        let id = segment.meta.id;
        if clean.contains(&id) || version.get(id).is_none() {
            continue;
        }
        if has_rows(core, &segment, carried)? {
            return Ok(Some(Arc::clone(&segment.meta)));
        }
        clean.insert(id);
    }
    Ok(None)
}

fn has_rows(core: &Core, segment: &Arc<LiveSegment>, carried: &[Carried]) -> Result<bool> {
    for Carried { record, .. } in carried {
        for of in Stream::ALL.into_iter().filter(|of| !segment.runs_of(*of, record.tenant).is_empty()) {
            if erased_rows(&raw(core, parts(std::slice::from_ref(segment))), record, of)? > 0 {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The identities of erased users that no row refers to any more. Those of erased tenants go by their
/// number.
fn identities(core: &Core, carried: &[Carried]) -> Result<BTreeSet<(TenantNo, u8, Vec<u8>)>> {
    let snapshot = raw(core, parts(&core.tables.segments()));
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
        puts.push(ErasureRecord { erased, outcome: Some(outcome), ..ErasureRecord::clone(record) }.put(*id)?);
        completed += 1;
    }
    core.append_own(Prepared::own(puts)?)?;
    Ok(completed)
}

/// Removes the keys, seqs and roots of an erased tenant, a bounded number a frame.
fn purge(core: &Core, tenant: TenantNo) -> Result<()> {
    for kind in [CatalogKind::SubjectKey, CatalogKind::Sequence, CatalogKind::AuditRoot] {
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
