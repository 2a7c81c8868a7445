//! What is left of a segment whose rows have expired: its cells, files of their own under the manifest.
//!
//! The cell files say whose cells they have, the manifest of which stream they are and between which
//! times. To a question this is a part whose runs have no rows: cells answer for it or nothing does, and
//! the answer then says that rows have expired.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::cell_file::CellFile;
use super::{ALL_TENANTS, Tier};
use crate::error::{Error, Result};
use crate::id::{FileId, Stream, TenantNo};
use crate::manifest::FileMeta;
use crate::part::{Part, Run, ZoneMap};
use crate::query::PartId;
use crate::schema::{ColumnId, ColumnVector};
use crate::time::{DAY_US, TimestampUs};

/// The cells of a segment that is no more.
#[derive(Debug)]
pub(crate) struct Remains {
    /// The number that the segment had.
    pub(crate) segment: FileId,
    stream: Stream,
    /// A run without rows for each tenant.
    runs: Vec<Run>,
    /// One file a tier, the finest first.
    cells: Vec<Arc<CellFile>>,
}

impl Remains {
    /// What the cell files of a segment are without it, as the manifest describes them; `None` without
    /// files.
    ///
    /// # Errors
    ///
    /// Damage and I/O of the files.
    pub(crate) fn new(cells: Vec<Arc<CellFile>>) -> Result<Option<Self>> {
        let Some(first) = cells.first() else { return Ok(None) };
        let Some(of) = first.meta().of else { return Ok(None) };
        let meta = first.meta().stream(first.stream()).copied();
        Self::between(of.segment, meta.map(|s| (s.min_time, s.max_time)), cells)
    }

    /// What is left of a segment that goes now.
    ///
    /// # Errors
    ///
    /// Damage and I/O of the files.
    pub(crate) fn of_segment(segment: &FileMeta, cells: Vec<Arc<CellFile>>) -> Result<Option<Self>> {
        let meta = cells.first().and_then(|first| segment.stream(first.stream())).copied();
        Self::between(segment.id, meta.map(|s| (s.min_time, s.max_time)), cells)
    }

    /// The same with other files: some of them, or others with fewer tenants.
    ///
    /// # Errors
    ///
    /// Damage and I/O of the files.
    pub(crate) fn with(&self, cells: Vec<Arc<CellFile>>) -> Result<Option<Self>> {
        Self::between(self.segment, self.bounds(self.stream), cells)
    }

    /// `None` without files.
    fn between(
        segment: FileId,
        bounds: Option<(TimestampUs, TimestampUs)>,
        cells: Vec<Arc<CellFile>>,
    ) -> Result<Option<Self>> {
        let Some(first) = cells.first() else { return Ok(None) };
        let (stream, start) = (first.stream(), i64::from(first.day()).saturating_mul(DAY_US));
        let end = start.saturating_add(DAY_US - 1);
        // Never outside of the day that the files are of.
        let min_time = TimestampUs(bounds.map_or(start, |(min, _)| min.0).clamp(start, end));
        let max_time = TimestampUs(bounds.map_or(end, |(_, max)| max.0).clamp(min_time.0, end));
        let mut tenants = BTreeSet::new();
        for file in &cells {
            tenants.extend(file.tenants()?);
        }
        tenants.remove(&ALL_TENANTS);
        let run = |tenant| Run { tenant, rows: 0..0, min_time, max_time };
        let runs = tenants.into_iter().map(run).collect();
        Ok(Some(Self { segment, stream, runs, cells }))
    }

    /// Of which stream its cells are.
    pub(crate) fn stream(&self) -> Stream {
        self.stream
    }
}

fn no_rows<T>() -> Result<T> {
    Err(Error::invalid("rows that have expired"))
}

impl Part for Remains {
    /// The newest of its files: one that is written anew changes it.
    fn id(&self) -> PartId {
        PartId::File(self.cells.iter().map(|file| file.meta().id).max().unwrap_or(self.segment))
    }

    fn runs(&self, stream: Stream) -> &[Run] {
        if stream == self.stream { &self.runs } else { &[] }
    }

    fn rows(&self, _stream: Stream) -> u64 {
        0
    }

    fn granule_rows(&self) -> usize {
        1
    }

    fn zone_map(&self, _stream: Stream, _column: ColumnId, _granule: usize) -> Option<ZoneMap> {
        None
    }

    fn column(&self, _stream: Stream, _column: ColumnId, _granule: usize) -> Result<Arc<ColumnVector>> {
        no_rows()
    }

    fn path(
        &self,
        _stream: Stream,
        _column: ColumnId,
        _path: &[String],
        _granule: usize,
    ) -> Result<Arc<ColumnVector>> {
        no_rows()
    }

    fn bytes_of(&self, _stream: Stream) -> u64 {
        0
    }

    fn bounds(&self, stream: Stream) -> Option<(TimestampUs, TimestampUs)> {
        self.runs(stream).first().map(|run| (run.min_time, run.max_time))
    }

    fn cells(&self) -> &[Arc<CellFile>] {
        &self.cells
    }

    fn cell_blob(&self, tier: Tier, tenant: Option<TenantNo>, definition: u8) -> Result<Option<Arc<[u8]>>> {
        blob_of(&self.cells, &self.runs, (tier, tenant), definition)
    }
}

/// The bytes of a definition's cells at a tier among the files of one segment with these runs.
///
/// # Errors
///
/// Damage and I/O, see [`Part`].
pub(crate) fn blob_of(
    cells: &[Arc<CellFile>],
    runs: &[Run],
    (tier, tenant): (Tier, Option<TenantNo>),
    definition: u8,
) -> Result<Option<Arc<[u8]>>> {
    let Some(file) = cells.iter().find(|file| file.tier() == tier) else { return Ok(None) };
    if let Some(tenant) = tenant {
        return file.blob(tenant, definition);
    }
    let all = file.blob(ALL_TENANTS, definition)?;
    // The cells of all tenants of a segment of one are that one's.
    match runs {
        [run] if all.is_none() => file.blob(run.tenant, definition),
        _ => Ok(all),
    }
}
