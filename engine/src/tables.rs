//! What can be read now: memtables and segments, swapped together so that every row is seen once.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};

use crate::codes::{Codes, Tenants};
use crate::error::Result;
use crate::follow::Following;
use crate::id::{FileId, Lsn, Stream, TenantNo};
use crate::manifest::FileMeta;
use crate::memtable::{Memtable, NewRows};
use crate::part::{Part, Run, ZoneMap};
use crate::query::{Hidden, PartId, Snapshot, Stop};
use crate::rollup::{CellFile, Remains, Tier, blob_of};
use crate::schema::{ColumnId, ColumnVector};
use crate::segment::SegmentReader;
use crate::time::TimestampUs;

/// A live segment: what the manifest says of it, its rows, and the cells that sum them up.
///
/// A query that has one keeps it readable, also after the manifest has let it go.
#[derive(Debug)]
pub(crate) struct LiveSegment {
    /// What the manifest says.
    pub meta: Arc<FileMeta>,
    /// Its rows.
    pub reader: Arc<SegmentReader>,
    /// Its cells, one file a tier, the finest first.
    pub cells: Vec<Arc<CellFile>>,
}

impl Part for LiveSegment {
    fn id(&self) -> PartId {
        PartId::File(self.meta.id)
    }

    fn runs(&self, stream: Stream) -> &[Run] {
        self.reader.runs(stream)
    }

    fn rows(&self, stream: Stream) -> u64 {
        self.reader.rows(stream)
    }

    fn granule_rows(&self) -> usize {
        self.reader.granule_rows()
    }

    fn zone_map(&self, stream: Stream, column: ColumnId, granule: usize) -> Option<ZoneMap> {
        self.reader.zone_map(stream, column, granule)
    }

    fn column(&self, stream: Stream, column: ColumnId, granule: usize) -> Result<Arc<ColumnVector>> {
        self.reader.column(stream, column, granule)
    }

    fn path(
        &self,
        stream: Stream,
        column: ColumnId,
        path: &[String],
        granule: usize,
    ) -> Result<Arc<ColumnVector>> {
        self.reader.path(stream, column, path, granule)
    }

    fn path_zones(
        &self,
        stream: Stream,
        column: ColumnId,
        path: &[String],
        granule: usize,
    ) -> Result<Option<Vec<ZoneMap>>> {
        self.reader.path_zones(stream, column, path, granule)
    }

    fn lsn_max(&self) -> Option<Lsn> {
        Some(self.meta.lsn_max)
    }

    fn bytes_of(&self, stream: Stream) -> u64 {
        self.reader.bytes_of(stream)
    }

    fn bounds(&self, stream: Stream) -> Option<(TimestampUs, TimestampUs)> {
        self.meta.stream(stream).map(|s| (s.min_time, s.max_time))
    }

    fn cells(&self) -> &[Arc<CellFile>] {
        &self.cells
    }

    fn cell_blob(&self, tier: Tier, tenant: Option<TenantNo>, definition: u8) -> Result<Option<Arc<[u8]>>> {
        let Some(file) = self.cells.first() else { return Ok(None) };
        blob_of(&self.cells, self.reader.runs(file.stream()), (tier, tenant), definition)
    }
}

/// What takes the place of what, at once.
#[derive(Debug, Default)]
pub(crate) struct Publication {
    /// Segments that are live no longer. One that is in `added` too is replaced.
    pub removed: Vec<FileId>,
    /// Segments that are live from now on.
    pub added: Vec<Arc<LiveSegment>>,
    /// What is left of segments among `removed`; what was left of them before is replaced.
    pub remains: Vec<Arc<Remains>>,
    /// The dictionary of the new version, when it is another one.
    pub codes: Option<Arc<dyn Codes>>,
    /// Whether the added segments hold the rows of the frozen memtable.
    pub flushed: bool,
}

/// The memtables, the segments and the dictionary of one moment.
#[derive(Debug)]
pub(crate) struct Tables {
    inner: RwLock<Inner>,
    /// Signalled when a flush has taken rows out of memory.
    relieved: (Mutex<()>, Condvar),
    following: Following,
}

#[derive(Debug)]
struct Inner {
    active: Memtable,
    frozen: Option<Arc<Memtable>>,
    segments: Vec<Arc<LiveSegment>>,
    /// Cells of segments that are no more.
    remains: Vec<Arc<Remains>>,
    codes: Arc<dyn Codes>,
}

/// A frame that became durable.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Its number.
    pub lsn: Lsn,
    /// Its rows.
    pub rows: Vec<NewRows>,
}

impl Tables {
    /// Segments, what is left of others, and nothing in memory; frames up to `flushed` are in them.
    pub(crate) fn new(
        segments: Vec<Arc<LiveSegment>>,
        remains: Vec<Arc<Remains>>,
        codes: Arc<dyn Codes>,
        flushed: Lsn,
    ) -> Self {
        let inner = Inner { active: Memtable::new(flushed), frozen: None, segments, remains, codes };
        Self {
            inner: RwLock::new(inner),
            relieved: (Mutex::new(()), Condvar::new()),
            following: Following::default(),
        }
    }

    /// Who sees rows as they become readable.
    pub(crate) fn following(&self) -> &Following {
        &self.following
    }

    /// Takes the rows of a durable frame; `now` is the monotonic time.
    pub(crate) fn keep(&self, kept: Kept, now: Duration) {
        let mut inner = self.inner.write();
        for rows in kept.rows {
            inner.active.push(rows, now);
        }
        inner.active.advance(kept.lsn);
    }

    /// Freezes the active memtable for a flush. The one that is frozen already comes first; `None` when
    /// no frame came since the last flush.
    pub(crate) fn freeze(&self, flushed: Lsn) -> Option<Arc<Memtable>> {
        let mut inner = self.inner.write();
        if let Some(frozen) = &inner.frozen {
            return Some(Arc::clone(frozen));
        }
        let lsn = inner.active.lsn_max();
        if lsn <= flushed {
            return None;
        }
        let memtable = std::mem::replace(&mut inner.active, Memtable::new(lsn));
        let frozen = Arc::new(memtable);
        inner.frozen = Some(Arc::clone(&frozen));
        Some(frozen)
    }

    /// Lets readers see a new version: whoever asks sees all of it or nothing.
    pub(crate) fn publish(&self, publication: Publication) {
        let Publication { removed, added, remains, codes, flushed } = publication;
        {
            let mut inner = self.inner.write();
            if flushed {
                inner.frozen = None;
            }
            inner.segments.retain(|s| !removed.contains(&s.meta.id));
            inner.segments.extend(added);
            inner.remains.retain(|r| !removed.contains(&r.segment));
            inner.remains.extend(remains);
            if let Some(codes) = codes {
                inner.codes = codes;
            }
        }
        if flushed {
            let _guard = self.relieved.0.lock();
            self.relieved.1.notify_all();
        }
    }

    /// The live segments of this moment.
    pub(crate) fn segments(&self) -> Vec<Arc<LiveSegment>> {
        self.inner.read().segments.clone()
    }

    /// What is left of segments at this moment.
    pub(crate) fn remains(&self) -> Vec<Arc<Remains>> {
        self.inner.read().remains.clone()
    }

    /// Waits until a flush has taken rows out of memory, or `timeout` has passed.
    pub(crate) fn wait_for_relief(&self, timeout: Duration) {
        let mut guard = self.relieved.0.lock();
        self.relieved.1.wait_for(&mut guard, timeout);
    }

    /// The parts that may hold rows of `stream`, of one tenant or of all.
    pub(crate) fn snapshot(
        &self,
        stream: Stream,
        tenant: Option<TenantNo>,
        tenants: Arc<dyn Tenants>,
        hidden: Arc<Hidden>,
    ) -> Snapshot {
        let inner = self.inner.read();
        let mut parts: Vec<Arc<dyn Part>> = Vec::with_capacity(inner.segments.len() + 8);
        let segments = inner.segments.iter().filter(|s| s.meta.stream(stream).is_some());
        parts.extend(segments.map(|s| Arc::clone(s) as Arc<dyn Part>));
        let remains = inner.remains.iter().filter(|r| r.stream() == stream);
        parts.extend(remains.map(|r| Arc::clone(r) as Arc<dyn Part>));
        let memtables = inner.frozen.iter().map(AsRef::as_ref).chain([&inner.active]);
        for memtable in memtables {
            let chunks = match tenant {
                Some(tenant) => memtable.chunks_of(stream, tenant),
                None => memtable.chunks(),
            };
            parts.extend(chunks.into_iter().filter(|c| c.stream() == stream).map(|c| c as Arc<dyn Part>));
        }
        Snapshot {
            parts,
            codes: Arc::clone(&inner.codes),
            tenants,
            hidden,
            lsn: inner.active.lsn_max(),
            stop: Stop::never(),
        }
    }

    /// What of the cells could not be read, in words.
    pub(crate) fn cell_findings(&self) -> Vec<String> {
        let (segments, remains) = (self.segments(), self.remains());
        let of_segments = segments.iter().flat_map(|segment| &segment.cells);
        of_segments.chain(remains.iter().flat_map(|r| r.cells())).flat_map(|file| file.findings()).collect()
    }

    /// The newest frame whose rows can be read.
    pub(crate) fn lsn_max(&self) -> Lsn {
        self.inner.read().active.lsn_max()
    }

    /// The dictionary of the present version.
    pub(crate) fn codes(&self) -> Arc<dyn Codes> {
        Arc::clone(&self.inner.read().codes)
    }

    /// Bytes and rows in memory, frozen ones included.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let inner = self.inner.read();
        let frozen = inner.frozen.as_ref().map_or((0, 0), |f| (f.bytes(), f.row_count()));
        (inner.active.bytes() + frozen.0, inner.active.row_count() + frozen.1)
    }

    /// Bytes in the active memtable, and the monotonic time of its first row.
    pub(crate) fn active(&self) -> (u64, Option<Duration>) {
        let inner = self.inner.read();
        (inner.active.bytes(), inner.active.oldest())
    }
}
