//! The files that a merge writes: one for each UTC day and retention class of its stream.

use std::collections::{BTreeMap, BTreeSet};

use super::merge::RowSink;
use super::pace::Pace;
use super::plan::Job;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::flush::meta_of;
use crate::id::{FileId, Lsn, Stream, TenantId, TenantNo};
use crate::manifest::{FileKind, FileMeta};
use crate::retention::class::Classes;
use crate::segment::{SegmentColumn, SegmentEnd, SegmentWriter};

/// Files that are written at the same time: each takes a granule of rows and a row group of blocks.
pub(super) const OPEN_MAX: usize = 4;

/// What a file holds from level 1 on: UTC day and class.
pub(super) type Target = (i32, u8);

/// The files of one pass over the rows of one stream.
pub(super) struct Outputs<'a> {
    pub(super) core: &'a Core,
    pub(super) job: &'a Job,
    pub(super) stream: Stream,
    pub(super) classes: &'a Classes,
    pub(super) targets: BTreeSet<Target>,
    pub(super) pace: &'a Pace,
    /// Bytes of the passes before, read and written.
    pub(super) bytes_before: u64,
    pub(super) bytes_read: u64,
    pub(super) open: BTreeMap<Target, Output>,
}

/// A file that is being written.
pub(super) struct Output {
    id: FileId,
    writer: SegmentWriter,
}

/// Names of tenants by number, as the merged segments have them.
pub(super) type Names = BTreeMap<TenantNo, TenantId>;

impl RowSink for Outputs<'_> {
    fn wants(&self, tenant: TenantNo, day: i32) -> bool {
        self.targets.contains(&(day, self.classes.of(self.stream, tenant)))
    }

    fn rows(&mut self, tenant: TenantNo, day: i32, columns: &[SegmentColumn]) -> Result<()> {
        let target = (day, self.classes.of(self.stream, tenant));
        if !self.open.contains_key(&target) {
            let output = self.create()?;
            self.open.insert(target, output);
        }
        match self.open.get_mut(&target) {
            Some(output) => output.writer.push(tenant, columns),
            None => Err(Error::invalid("rows for a file that is not open")),
        }
    }

    fn progress(&mut self, bytes_read: u64) -> Result<()> {
        self.bytes_read = bytes_read;
        self.pace.keep(self.core, self.bytes())
    }
}

impl Outputs<'_> {
    /// Bytes that were read and written, those before included.
    pub(super) fn bytes(&self) -> u64 {
        let written: u64 = self.open.values().map(|o| o.writer.bytes()).sum();
        self.bytes_before + self.bytes_read + written
    }

    fn create(&self) -> Result<Output> {
        let id = self.core.compactor.allocate(&self.core.manifest);
        let path = FileKind::Segment.path(id);
        let mut writer = SegmentWriter::create(self.core.disk.as_ref(), &path, id, self.job.density())?;
        writer.begin(self.stream)?;
        Ok(Output { id, writer })
    }

    /// Finishes and syncs the files, and says what the manifest must know of them.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub(super) fn finish(self, flushed_lsn: Lsn, names: &Names) -> Result<Vec<FileMeta>> {
        let replaces: Vec<FileId> = self.job.inputs.iter().map(|f| f.id).collect();
        let mut out = Vec::with_capacity(self.open.len());
        for ((day, class), Output { id, writer }) in self.open {
            let tenants = writer.tenants().into_iter();
            let tenant_names = tenants.filter_map(|t| Some((t, names.get(&t)?.clone()))).collect();
            let summary =
                writer.finish(SegmentEnd { flushed_lsn, replaces: replaces.clone(), tenant_names })?;
            let mut meta = meta_of(id, &summary);
            meta.level = self.job.level;
            meta.day = Some(day);
            meta.class = class;
            meta.dense = self.job.is_dense();
            out.push(meta);
        }
        Ok(out)
    }
}
