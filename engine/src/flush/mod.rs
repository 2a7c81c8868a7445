//! Memtable -> segment, dictionary, id and request files -> one manifest edit -> WAL recycling.

mod gather;
mod order;

pub(crate) use order::SERIES_CODES;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gather::{FlushCodes, Gather, Identities};
use order::{Ordered, Pieces};

use crate::append::{CatalogKind, CatalogPut, IdempotencyKey};
use crate::codec::Density;
use crate::codes::{Codes, Tenants};
use crate::core::Core;
use crate::dedup::Prepared;
use crate::dictionary::{DictionarySet, DictionaryWriter};
use crate::disk::Disk;
use crate::erasure::Names;
use crate::error::{Error, Result};
use crate::id::{FileId, Stream, TenantNo};
use crate::manifest::{Edit, FileKind, FileMeta, StreamMeta, Version};
use crate::memtable::{Chunk, Memtable};
use crate::segment::{
    BlockCache, FooterHash, GRANULE_ROWS, SegmentEnd, SegmentReader, SegmentSummary, SegmentWriter,
};
use crate::sequencer::sequence::SequenceRecord;
use crate::tables::{LiveSegment, Publication};

/// What a flush needs from one time to the next.
#[derive(Debug)]
pub(crate) struct Flusher {
    /// The dictionary of the live version.
    pub dictionary: DictionarySet,
}

/// What a flush has written and the manifest does not know yet.
#[derive(Debug, Default)]
struct Written {
    edit: Edit,
    segment: Option<FileMeta>,
}

/// A flush that only has to be committed.
#[derive(Debug)]
struct Ready {
    edit: Edit,
    segment: Option<Arc<LiveSegment>>,
    dictionary: DictionarySet,
    ids: Prepared,
    requests: Prepared,
}

impl Flusher {
    /// Flushes everything that is in memory; true when there was something.
    ///
    /// # Errors
    ///
    /// The error of the disk: nothing was published, the rows stay in memory and in the WAL, and the
    /// next step tries again with new files.
    pub(crate) fn step(&mut self, core: &Core) -> Result<bool> {
        if core.manifest.is_poisoned() {
            // The last edit may have happened: its files stay, and nothing new could be published.
            return Err(Error::Poisoned);
        }
        let before = core.manifest.version();
        let Some(frozen) = core.tables.freeze(before.flushed_lsn()) else {
            // What an earlier flush could not take back of the log would fill it for ever.
            return match core.log.recycle(before.flushed_lsn()) {
                Err(error @ Error::Io { .. }) => Err(error),
                _ => Ok(false),
            };
        };
        core.log.rotate()?;
        let first_file = core.manifest.next_file();
        // Whatever may fail is done before the commit: after it the rows are in the segment, and a
        // second try would write them twice.
        let ready =
            self.ready(core, &before, &frozen).inspect_err(|_| remove_unfinished(core, first_file))?;
        let removed: Vec<FileId> = ready.edit.remove.clone();
        let version = core.manifest.commit(ready.edit).inspect_err(|_| {
            if !core.manifest.is_poisoned() {
                remove_unfinished(core, first_file);
            }
        })?;
        core.tables.publish(Publication {
            added: ready.segment.into_iter().collect(),
            codes: Some(Arc::new(ready.dictionary.clone())),
            flushed: true,
            ..Publication::default()
        });
        self.dictionary = ready.dictionary;
        core.counters.flushes.fetch_add(1, Ordering::Relaxed);
        core.ids.publish(ready.ids, version.flushed_lsn());
        core.requests.publish(ready.requests, version.flushed_lsn());
        for file in removed.iter().filter_map(|id| before.get(*id)) {
            // What cannot be removed now is an orphan, and swept at the next start.
            drop(core.disk.remove(&file.path()));
        }
        core.log.recycle(version.flushed_lsn())?;
        Ok(true)
    }

    /// Writes the files of ids, named requests and the dictionary anew without what is erased.
    ///
    /// # Errors
    ///
    /// I/O, and damage of the dictionary; then nothing has happened, unless the manifest is poisoned.
    pub(crate) fn erase_names(&mut self, core: &Core, names: &Names<'_>) -> Result<()> {
        if core.manifest.is_poisoned() {
            return Err(Error::Poisoned);
        }
        let before = core.manifest.version();
        let first_file = core.manifest.next_file();
        let allocate = || core.manifest.allocate();
        let write = || -> Result<(Edit, DictionarySet, Prepared, Prepared)> {
            let mut edit = Edit::default();
            edit.absorb(core.ids.without(&|tenant, of, id| names.has_id(tenant, of, id), &allocate)?);
            let has = |key: &IdempotencyKey, lsn| names.has_request(&key.tenant, &key.principal, lsn);
            edit.absorb(core.requests.without(&has, &allocate)?);
            if let Some(gone) = names.identities() {
                edit.absorb(self.dictionary.without(&gone, allocate)?);
            }
            for kind in [FileKind::Dictionary, FileKind::Ids, FileKind::Idempotency] {
                if edit.add.iter().any(|f| f.kind == kind) {
                    core.disk.sync_dir(Path::new(kind.dir()))?;
                }
            }
            let candidate = before.apply(&Edit { next_file: FileId(u64::MAX), ..edit.clone() })?;
            let (ids, requests) = (core.ids.prepare(&candidate)?, core.requests.prepare(&candidate)?);
            Ok((edit, self.dictionary.at(&candidate)?, ids, requests))
        };
        let (edit, dictionary, ids, requests) =
            write().inspect_err(|_| remove_unfinished(core, first_file))?;
        if edit == Edit::default() {
            return Ok(());
        }
        let removed: Vec<FileId> = edit.remove.clone();
        core.manifest.commit(edit).inspect_err(|_| {
            if !core.manifest.is_poisoned() {
                remove_unfinished(core, first_file);
            }
        })?;
        let codes: Option<Arc<dyn Codes>> = Some(Arc::new(dictionary.clone()));
        core.tables.publish(Publication { codes, ..Publication::default() });
        self.dictionary = dictionary;
        core.ids.publish(ids, before.flushed_lsn());
        core.requests.publish(requests, before.flushed_lsn());
        for file in removed.iter().filter_map(|id| before.get(*id)) {
            // What cannot be removed now is an orphan, and swept at the next start.
            drop(core.disk.remove(&file.path()));
        }
        Ok(())
    }

    /// Writes a flush and opens what it wrote.
    fn ready(&self, core: &Core, before: &Version, frozen: &Memtable) -> Result<Ready> {
        let Written { edit, segment } = self.write(core, frozen)?;
        let candidate = before.apply(&Edit { next_file: FileId(u64::MAX), ..edit.clone() })?;
        Ok(Ready {
            dictionary: self.dictionary.at(&candidate)?,
            segment: segment
                .map(|meta| open_segment(core.disk.as_ref(), &core.cache, &Arc::new(meta)).map(Arc::new))
                .transpose()?,
            ids: core.ids.prepare(&candidate)?,
            requests: core.requests.prepare(&candidate)?,
            edit,
        })
    }

    fn write(&self, core: &Core, frozen: &Memtable) -> Result<Written> {
        let mut out = Written::default();
        let lsn = frozen.lsn_max();
        let by_stream: Vec<(Stream, Vec<Arc<Chunk>>)> = split(frozen.chunks());
        let codes = self.write_dictionary(core, &by_stream, &mut out.edit)?;
        if !by_stream.is_empty() {
            let meta = write_rows(core, &by_stream, &codes, lsn)?;
            out.edit.add.push(meta.clone());
            out.segment = Some(meta);
        }
        let (oldest, allocate) = (core.remembered_since(), || core.manifest.allocate());
        out.edit.absorb(core.ids.write(lsn, oldest, &allocate)?);
        out.edit.absorb(core.requests.write(lsn, oldest, &allocate)?);
        core.catalog.apply_derived(sequences(core, frozen)?)?;
        core.catalog.apply_derived(vec![core.trusted_clock.put(core.clock.as_ref())])?;
        let version = core.manifest.version();
        out.edit.absorb(core.catalog.persist(lsn, &version, || core.manifest.allocate())?);
        out.edit.flushed_lsn = Some(lsn);
        for kind in [FileKind::Segment, FileKind::Dictionary, FileKind::Ids, FileKind::Idempotency] {
            if out.edit.add.iter().any(|f| f.kind == kind) {
                core.disk.sync_dir(Path::new(kind.dir()))?;
            }
        }
        Ok(out)
    }

    fn write_dictionary(
        &self,
        core: &Core,
        by_stream: &[(Stream, Vec<Arc<Chunk>>)],
        edit: &mut Edit,
    ) -> Result<FlushCodes> {
        let mut identities = Identities::new();
        for (_, chunks) in by_stream {
            gather::add_identities(chunks, &mut identities)?;
        }
        let mut writer = DictionaryWriter::new(Arc::clone(&core.disk), core.manifest.allocate());
        let codes = FlushCodes::assign(identities, &self.dictionary, &mut writer)?;
        edit.absorb(self.dictionary.merge(writer.finish()?, || core.manifest.allocate())?);
        Ok(codes)
    }
}

/// Takes away the files of a flush that failed, so that tries on a full disk do not add up; those with
/// a number below `first` are not of this flush. What stays is swept at the next start. The catalog's log
/// is its own affair: it may be in use before it is named.
fn remove_unfinished(core: &Core, first: FileId) {
    core.compactor.while_writing(|of_a_merge| {
        for path in core.manifest.orphans().unwrap_or_default() {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let mut kinds = FileKind::ALL.into_iter().filter(|k| *k != FileKind::Catalog);
            let own = |kind: FileKind| {
                let id = kind.id_of(name).filter(|id| path.starts_with(kind.dir()) && *id >= first);
                id.is_some_and(|id| !of_a_merge.contains(&(kind, id)))
            };
            if kinds.any(own) {
                drop(core.disk.remove(&path));
            }
        }
    });
}

/// Opens a segment that the manifest names, without its cells.
///
/// # Errors
///
/// Damage and I/O.
pub(crate) fn open_segment(
    disk: &dyn Disk,
    cache: &Arc<BlockCache>,
    meta: &Arc<FileMeta>,
) -> Result<LiveSegment> {
    let hash = Some(FooterHash(meta.hash));
    let reader = SegmentReader::open(disk, &meta.path(), meta.id, hash, Arc::clone(cache))?;
    Ok(LiveSegment { meta: Arc::clone(meta), reader, cells: Vec::new() })
}

/// Chunks, sorted by stream and tenant, as one list a stream.
fn split(chunks: Vec<Arc<Chunk>>) -> Vec<(Stream, Vec<Arc<Chunk>>)> {
    let mut out: Vec<(Stream, Vec<Arc<Chunk>>)> = Vec::new();
    for chunk in chunks {
        match out.last_mut() {
            Some((stream, list)) if *stream == chunk.stream() => list.push(chunk),
            _ => out.push((chunk.stream(), vec![chunk])),
        }
    }
    out
}

fn write_rows(
    core: &Core,
    by_stream: &[(Stream, Vec<Arc<Chunk>>)],
    codes: &FlushCodes,
    lsn: crate::id::Lsn,
) -> Result<FileMeta> {
    let id = core.manifest.allocate();
    let path = FileKind::Segment.path(id);
    let mut writer = SegmentWriter::create(core.disk.as_ref(), &path, id, Density::Fast)?;
    for (stream, chunks) in by_stream {
        writer.begin(*stream)?;
        let Ordered { rows, runs } = order::order(*stream, chunks, codes)?;
        let gather = Gather::new(*stream, chunks, codes)?;
        let mut pieces = Pieces::new(&runs);
        for granule in rows.chunks(GRANULE_ROWS) {
            writer.push_pieces(&pieces.take(granule.len()), &gather.columns(granule)?)?;
        }
    }
    let name = |number: TenantNo| {
        let name = core.catalog.name_of(number);
        Ok((number, name.ok_or_else(|| Error::invalid("rows of a tenant without a name"))?))
    };
    let tenant_names = writer.tenants().into_iter().map(name).collect::<Result<_>>()?;
    let summary = writer.finish(SegmentEnd { flushed_lsn: lsn, replaces: Vec::new(), tenant_names })?;
    Ok(meta_of(id, &summary))
}

/// What the manifest keeps of a segment that was written.
pub(crate) fn meta_of(id: FileId, summary: &SegmentSummary) -> FileMeta {
    let mut meta = FileMeta::new(id, FileKind::Segment, summary.bytes, summary.footer_hash.0);
    meta.lsn_max = summary.lsn_max;
    let streams = summary.streams.iter();
    meta.streams = streams
        .map(|s| StreamMeta { stream: s.stream, rows: s.rows, min_time: s.min_time, max_time: s.max_time })
        .collect();
    meta
}

/// The catalog records of next seqs, tree frontiers and roots, after the rows of this flush.
fn sequences(core: &Core, frozen: &Memtable) -> Result<Vec<CatalogPut>> {
    let mut puts = Vec::new();
    let next: BTreeMap<(TenantNo, Stream), u64> =
        frozen.next_seqs().map(|(tenant, stream, next)| ((tenant, stream), next)).collect();
    for ((tenant, stream), next_seq) in next {
        let key = SequenceRecord::key(tenant, stream);
        let stored = core.catalog.get(CatalogKind::Sequence, &key);
        let mut record = stored.map(|v| SequenceRecord::decode(&v)).transpose()?.unwrap_or_default();
        if stream == Stream::Audit {
            puts.extend(record.grow(tenant, next_seq, frozen.leaves(tenant)));
        }
        record.next_seq = record.next_seq.max(next_seq);
        puts.push(CatalogPut { kind: CatalogKind::Sequence, key, value: Some(record.encode()) });
    }
    Ok(puts)
}

#[cfg(test)]
mod tests;
