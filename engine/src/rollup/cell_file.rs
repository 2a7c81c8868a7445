//! Files of cells: all cells of one segment's stream and day at one tier.
//!
//! A cell file is a sorted file (`sorted_file`): an entry for each tenant and definition says
//! where its blob is (`cells_format`); the entry's value is the blob's offset, its extra the
//! length, its tag the definition's number, its key empty. The number `ALL_TENANTS` stands for the
//! cells of every tenant of the segment together.
//!
//! The bytes are described in `docs/format/cells.md`.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

use super::cells::Cells;
use super::cells_decode::decode;
use super::cells_format::{Layout, encode};
use super::definition::{DEFINITIONS_MAX, ID_MAX, Rollups};
use super::forget::Forgotten;
use super::tier::Tier;
use crate::codec::{Cursor, Decoded, Malformed, put_varint, unzigzag, zigzag};
use crate::disk::{Disk, meter};
use crate::error::{Error, Result};
use crate::file_header::FileType;
use crate::id::{FileId, Stream, TenantNo};
use crate::manifest::{CellsOf, FileKind, FileMeta};
use crate::probes::encode_mark;
use crate::query::{PROBES, SESSIONS, SESSIONS_OF_APPS};
use crate::session::cells::FoldedSessions;
use crate::sorted_file::{
    BlockCache, BlockPlace, Cursor as SortedCursor, Entry, SortedBlock, SortedReader, SortedWriter,
};
use crate::time::DAY_US;

/// The version of cell files that is written.
pub(crate) const CELLS_VERSION: u32 = 1;

pub(crate) const TYPE: FileType =
    FileType { magic: *b"INSCELL\0", version: CELLS_VERSION, what: "cell file" };

/// Stands for the cells of all tenants of a segment together; no tenant has this number.
pub(crate) const ALL_TENANTS: TenantNo = TenantNo(u32::MAX);

/// The last day that has cells, either side of 1970: its microseconds fit an `i64` with room to spare.
pub(crate) const DAY_MAX: i32 = 100_000_000;
const _: () = assert!(i64::MAX / DAY_US > 100_000_000);

/// Blobs of one file that are remembered as damaged.
const DAMAGED_MAX: usize = 1_000;

/// Decoded cells and entries of cell files, bounded in bytes. One for an engine.
#[derive(Debug)]
pub struct CellCache {
    entries: BlockCache<SortedBlock>,
    cells: BlockCache<Cells>,
}

impl CellCache {
    /// An empty cache of at most `bytes_max` bytes.
    pub fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { entries: BlockCache::new(bytes_max / 8), cells: BlockCache::new(bytes_max / 8 * 7) })
    }
}

/// What the cells of a file are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CellScope {
    /// Of which stream.
    pub(crate) stream: Stream,
    /// On which UTC day.
    pub(crate) day: i32,
    /// At which tier.
    pub(crate) tier: Tier,
}

/// A file of cells that is being written.
#[derive(Debug)]
pub(crate) struct CellWriter {
    writer: SortedWriter,
    scope: CellScope,
    segment: FileId,
    rollups: Arc<Rollups>,
}

impl CellWriter {
    /// Starts the file `id` of the cells of a segment.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], here and in the other methods; the file is then left for the sweep.
    pub(crate) fn create(
        disk: &dyn Disk,
        id: FileId,
        segment: FileId,
        scope: CellScope,
        rollups: &Arc<Rollups>,
    ) -> Result<Self> {
        let writer = SortedWriter::create(disk, FileKind::Cells, id, TYPE, None)?;
        Ok(Self { writer, scope, segment, rollups: Arc::clone(rollups) })
    }

    /// Adds the cells of a tenant and a definition; in the order of both.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] out of order or too long.
    pub(crate) fn push(&mut self, tenant: TenantNo, definition: u8, blob: &[u8]) -> Result<()> {
        let place = self.writer.push_blob(blob)?;
        let entry =
            Entry { tenant, tag: definition, key: &[], value: place.offset, extra: i64::from(place.len) };
        self.writer.push(entry)?;
        Ok(())
    }

    /// Ends and syncs the file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub(crate) fn finish(self, disk: &dyn Disk) -> Result<FileMeta> {
        let CellScope { stream, day, tier } = self.scope;
        let mut owner = vec![stream.tag(), tier as u8];
        put_varint(zigzag(i64::from(day)), &mut owner);
        let definitions: Vec<_> = self.rollups.of(stream).collect();
        put_varint(definitions.len() as u64, &mut owner);
        for (definition, hash) in definitions {
            owner.push(definition.id);
            owner.extend_from_slice(&hash.to_le_bytes());
        }
        let mut meta = self.writer.finish(disk, &owner)?;
        meta.day = Some(day);
        meta.of = Some(CellsOf { segment: self.segment, tier, definitions: self.rollups.hash() });
        Ok(meta)
    }
}

/// What becomes of a blob when its file is written anew.
#[derive(Debug)]
pub(crate) enum BlobFate {
    /// It stays as it is.
    Keep,
    /// It goes.
    Drop,
    /// Others take its place.
    Change(Vec<u8>),
}

/// What became of a file.
#[derive(Debug)]
pub(crate) enum Rewritten {
    /// Nothing was to be changed, and nothing was written.
    Same,
    /// Nobody has cells in it any more, and nothing was written.
    Nothing,
    /// A new file, as the manifest is to describe it.
    File(Box<FileMeta>),
}

/// The cells of one segment at one tier, open.
///
/// What cannot be read of it is as if it were not there: rows answer instead, and
/// [`Self::findings`] names it.
#[derive(Debug)]
pub struct CellFile {
    meta: Arc<FileMeta>,
    reader: SortedReader,
    scope: CellScope,
    /// The number of each definition in this file, by its hash.
    known: Vec<(u64, u8)>,
    rollups: Arc<Rollups>,
    cache: Arc<CellCache>,
    /// The first bytes of what could not be read, and what was wrong.
    damaged: Mutex<(BTreeSet<u64>, Vec<String>)>,
}

impl CellFile {
    /// Opens the file that the manifest describes.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`], [`Error::NewerFormat`], [`Error::Io`].
    pub fn open(
        disk: &dyn Disk,
        meta: &Arc<FileMeta>,
        rollups: &Arc<Rollups>,
        cache: &Arc<CellCache>,
    ) -> Result<Arc<Self>> {
        let reader = SortedReader::open(disk, meta, TYPE)?;
        let (scope, known) = decode_owner(reader.owner()).map_err(|e| reader.corrupt(0, e.0))?;
        if meta.of.is_some_and(|of| of.tier != scope.tier) || meta.day.is_some_and(|day| day != scope.day) {
            return Err(reader.corrupt(0, "cells of another day or tier than the manifest says"));
        }
        Ok(Arc::new(Self {
            meta: Arc::clone(meta),
            reader,
            scope,
            known,
            rollups: Arc::clone(rollups),
            cache: Arc::clone(cache),
            damaged: Mutex::default(),
        }))
    }

    /// What the manifest says of it.
    pub fn meta(&self) -> &Arc<FileMeta> {
        &self.meta
    }

    /// The definitions of the engine.
    pub(crate) fn rollups(&self) -> &Arc<Rollups> {
        &self.rollups
    }

    /// Of which stream its cells are.
    pub(crate) fn stream(&self) -> Stream {
        self.scope.stream
    }

    /// At which tier its cells are.
    pub fn tier(&self) -> Tier {
        self.scope.tier
    }

    /// The UTC day of its cells, in days since 1970.
    pub(crate) fn day(&self) -> i32 {
        self.scope.day
    }

    /// Whose cells it has, [`ALL_TENANTS`] among them.
    ///
    /// # Errors
    ///
    /// Damage and I/O of the entries.
    pub(crate) fn tenants(&self) -> Result<BTreeSet<TenantNo>> {
        let mut tenants = BTreeSet::new();
        let mut entries = SortedCursor::new(&self.reader)?;
        while let Some(entry) = entries.entry() {
            tenants.insert(entry.tenant);
            entries.advance()?;
        }
        Ok(tenants)
    }

    /// Writes and syncs the file anew as `id`, each blob as `fate` says; `described` is what the manifest says of
    /// it by now, which is more than at its opening when its segment has gone since.
    ///
    /// # Errors
    ///
    /// Those of `fate`, damage of what is copied, and I/O; the file may then be left for whoever allocated its
    /// number.
    pub(crate) fn rewrite(
        &self,
        disk: &dyn Disk,
        id: impl FnOnce() -> FileId,
        described: &FileMeta,
        fate: &dyn Fn(TenantNo, u8) -> Result<BlobFate>,
    ) -> Result<Rewritten> {
        // Most files have nothing to change, and none is written when nobody's cells are left.
        let (mut stay, mut changed) = (false, false);
        let mut entries = SortedCursor::new(&self.reader)?;
        while let Some(entry) = entries.entry() {
            match fate(entry.tenant, entry.tag)? {
                BlobFate::Keep => stay = true,
                BlobFate::Change(_) => (stay, changed) = (true, true),
                BlobFate::Drop => changed = true,
            }
            entries.advance()?;
        }
        if !stay || !changed {
            return Ok(if stay { Rewritten::Same } else { Rewritten::Nothing });
        }
        let mut writer = SortedWriter::create(disk, FileKind::Cells, id(), TYPE, None)?;
        let mut entries = SortedCursor::new(&self.reader)?;
        while let Some(entry) = entries.entry() {
            let blob = match fate(entry.tenant, entry.tag)? {
                BlobFate::Drop => None,
                BlobFate::Change(blob) => Some(blob),
                BlobFate::Keep => Some(self.blob_at(entry.value, entry.extra)?),
            };
            if let Some(blob) = blob {
                let place = writer.push_blob(&blob)?;
                writer.push(Entry { value: place.offset, extra: i64::from(place.len), ..entry })?;
            }
            entries.advance()?;
        }
        let written = writer.finish(disk, self.reader.owner())?;
        let FileMeta { id, bytes, hash, .. } = written;
        Ok(Rewritten::File(Box::new(FileMeta { id, bytes, hash, ..described.clone() })))
    }

    /// The mark of all tenants' probes without tenants that are gone: what it says of the others stays true, and
    /// is all that there is of a tenant that made no probe.
    ///
    /// # Errors
    ///
    /// Damage and I/O of the entries.
    pub(crate) fn mark_without(&self, gone: &BTreeSet<TenantNo>) -> Result<BlobFate> {
        let has_probes = self
            .places()?
            .iter()
            .any(|(tenant, id, ..)| *id == PROBES && *tenant != ALL_TENANTS && !gone.contains(tenant));
        Ok(BlobFate::Change(encode_mark(self.scope.day, has_probes)))
    }

    /// A blob without users who are forgotten. What nobody can read is not kept: cells of a definition that is
    /// not declared any more, and damaged ones, which are named in [`Self::findings`].
    ///
    /// # Errors
    ///
    /// I/O.
    pub(crate) fn without_users(&self, tenant: TenantNo, id: u8, users: &[Forgotten]) -> Result<BlobFate> {
        let of = (tenant != ALL_TENANTS).then_some(tenant);
        if id == PROBES || of.is_some_and(|of| users.iter().all(|user| user.tenant != of)) {
            return Ok(BlobFate::Keep);
        }
        let read = || -> Result<BlobFate> {
            let Some(blob) = self.read_entry(tenant, id)? else { return Ok(BlobFate::Keep) };
            self.forget(&blob, of, id, users).map_err(|e| self.reader.corrupt(0, e.0))
        };
        match read() {
            Err(error @ Error::Corrupt { .. }) => {
                self.note::<()>(u64::from(tenant.0) << 8 | u64::from(id), &error);
                Ok(BlobFate::Drop)
            }
            fate => fate,
        }
    }

    fn forget(&self, blob: &[u8], of: Option<TenantNo>, id: u8, users: &[Forgotten]) -> Decoded<BlobFate> {
        let fate = |blob: Option<Vec<u8>>| blob.map_or(BlobFate::Keep, BlobFate::Change);
        if id == SESSIONS {
            let mut cells = FoldedSessions::decode(blob)?;
            // Each of them is asked: `any` would leave out those after the first.
            let changed = users.iter().filter(|user| user.leave_sessions(&mut cells)).count() > 0;
            return Ok(fate(changed.then(|| cells.encode())));
        }
        if id == SESSIONS_OF_APPS {
            let mut changed: Option<Vec<u8>> = None;
            for user in users {
                changed = user.leave_apps(changed.as_deref().unwrap_or(blob))?.or(changed);
            }
            return Ok(fate(changed));
        }
        let Some(layout) = self.layout_of(id) else { return Ok(BlobFate::Drop) };
        let mut cells = decode(blob, layout)?;
        let leave = |user: &&Forgotten| user.leave_cells(&mut cells, of, layout.definition);
        let changed = users.iter().filter(leave).count() > 0;
        Ok(fate(changed.then(|| encode(&cells, layout))))
    }

    /// What the cells with a number are, when a definition of the engine says so.
    pub(crate) fn layout_of(&self, id: u8) -> Option<Layout<'_>> {
        let (hash, _) = self.known.iter().find(|(_, known)| *known == id)?;
        let (definition, _) = self.rollups.of(self.scope.stream).find(|(_, of)| of == hash)?;
        Some(Layout { definition, tier: self.scope.tier, day: self.scope.day })
    }

    /// Tenant and number of every blob that a question may be answered from: those of a definition as it is
    /// declared now, and those that need none.
    ///
    /// # Errors
    ///
    /// Damage and I/O of the entries.
    pub(crate) fn made(&self) -> Result<Vec<(TenantNo, u8)>> {
        let places = self.places()?.into_iter();
        Ok(places
            .filter(|(_, id, ..)| *id > ID_MAX || self.layout_of(*id).is_some())
            .map(|(tenant, id, ..)| (tenant, id))
            .collect())
    }

    /// Tenant, number, offset and length of every blob. Reads and verifies every block of entries.
    pub(super) fn places(&self) -> Result<Vec<(TenantNo, u8, u64, i64)>> {
        let mut out: Vec<(TenantNo, u8, u64, i64)> = Vec::new();
        let mut entries = SortedCursor::new(&self.reader)?;
        while let Some(entry) = entries.entry() {
            let last = out.last().map(|(tenant, id, ..)| (*tenant, *id));
            if last.is_some_and(|last| last >= (entry.tenant, entry.tag)) || !entry.key.is_empty() {
                return Err(self.reader.corrupt(0, "entries out of order"));
            }
            out.push((entry.tenant, entry.tag, entry.value, entry.extra));
            entries.advance()?;
        }
        Ok(out)
    }

    /// Damage at an offset of the file.
    pub(super) fn corrupt(&self, offset: u64, reason: String) -> Error {
        self.reader.corrupt(offset, reason)
    }

    /// Verifies the checksums of entries and blobs, and says how many blocks that were.
    pub(crate) fn verify_blocks(&self) -> Result<u64> {
        let blocks = self.reader.verify()?;
        let places = self.places()?;
        for (_, _, offset, len) in &places {
            self.blob_at(*offset, *len)?;
        }
        Ok(blocks + places.len() as u64)
    }

    pub(super) fn blob_at(&self, offset: u64, len: i64) -> Result<Vec<u8>> {
        let len = u32::try_from(len).map_err(|_| self.reader.corrupt(offset, "a blob that is too long"))?;
        meter::count(u64::from(len));
        self.reader.read_blob(BlockPlace { offset, len })
    }

    fn read_entry(&self, tenant: TenantNo, id: u8) -> Result<Option<Vec<u8>>> {
        let place = self.reader.get(&self.cache.entries, tenant, id, &[])?;
        place.map(|(offset, len)| self.blob_at(offset, len)).transpose()
    }

    /// Whether its cells are of this stream, day and tier.
    pub(crate) fn is_of(&self, stream: Stream, day: i32, tier: Tier) -> bool {
        self.scope == CellScope { stream, day, tier }
    }

    /// What could not be read of it, in words.
    pub fn findings(&self) -> Vec<String> {
        self.damaged.lock().1.clone()
    }

    /// The cells of a tenant for the definition of a hash, when it has some and they can be read.
    pub(crate) fn cells(&self, tenant: TenantNo, hash: u64) -> Option<Arc<Cells>> {
        let (_, id) = self.known.iter().find(|(known, _)| *known == hash)?;
        let (definition, _) = self.rollups.of(self.scope.stream).find(|(_, of)| *of == hash)?;
        let layout = Layout { definition, tier: self.scope.tier, day: self.scope.day };
        let place = match self.reader.get(&self.cache.entries, tenant, *id, &[]) {
            Ok(place) => place?,
            Err(error) => return self.note(u64::from(tenant.0) << 8 | u64::from(*id), &error),
        };
        let (offset, Ok(len)) = (place.0, u32::try_from(place.1)) else { return None };
        if self.damaged.lock().0.contains(&offset) {
            return None;
        }
        let read = || {
            meter::count(u64::from(len));
            let blob = self.reader.read_blob(BlockPlace { offset, len })?;
            decode(&blob, layout).map_err(|e| self.reader.corrupt(offset, e.0))
        };
        self.cache
            .cells
            .get(self.reader.id(), offset, read)
            .or_else(|error| self.note(offset, &error).ok_or(()))
            .ok()
    }

    /// The bytes of a tenant's cells of a definition that is no rollup, as they were written.
    ///
    /// # Errors
    ///
    /// Damage and I/O; [`Self::findings`] names them too.
    pub(crate) fn blob(&self, tenant: TenantNo, definition: u8) -> Result<Option<Arc<[u8]>>> {
        let read = || Ok(self.read_entry(tenant, definition)?.map(Into::into));
        read().inspect_err(|error| {
            self.note::<()>(u64::from(tenant.0) << 8 | u64::from(definition), error);
        })
    }

    /// Remembers damage, once for each place.
    fn note<T>(&self, place: u64, error: &Error) -> Option<T> {
        let mut damaged = self.damaged.lock();
        if damaged.0.len() < DAMAGED_MAX && damaged.0.insert(place) {
            damaged.1.push(error.to_string());
        }
        None
    }
}

fn decode_owner(owner: &[u8]) -> Decoded<(CellScope, Vec<(u64, u8)>)> {
    let mut reader = Cursor::new(owner);
    let stream = Stream::from_tag(reader.u8()?).ok_or(Malformed("an unknown stream"))?;
    let number = reader.u8()?;
    let tier = Tier::ALL.into_iter().find(|t| *t as u8 == number).ok_or(Malformed("an unknown tier"))?;
    let day = i32::try_from(unzigzag(reader.varint()?)).map_err(|_| Malformed("a day out of range"))?;
    if !(-DAY_MAX..=DAY_MAX).contains(&day) {
        return Err(Malformed("a day out of range"));
    }
    let mut known = Vec::new();
    for _ in 0..reader.len(DEFINITIONS_MAX)? {
        let id = reader.u8()?;
        known.push((reader.u64()?, id));
    }
    reader.end()?;
    Ok((CellScope { stream, day, tier }, known))
}
