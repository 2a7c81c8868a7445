//! Writes a segment: sorted rows in, one synced file out.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::column_chunk::{self, EncodedChunk};
use super::directory::{self, Chunk, StreamDirectory};
use super::footer::{Footer, StreamFooter};
use super::format::{
    BlockId, BlockKind, FooterHash, GRANULE_ROWS, Place, Tail, VERSION, encode_header, put_block,
};
use super::paths::{PathEntry, Paths, sub_of};
use super::{path_column, shred, tenant_index};
use crate::codec::{Malformed, SECTION_BYTES_MAX};
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};
use crate::id::{FileId, Lsn, Stream, TenantId, TenantNo};
use crate::part::{Run, ZoneMap};
use crate::schema::{BytesColumn, ColumnDef, ColumnType, Schema};
use crate::time::TimestampUs;

/// Bytes that are gathered before they are written.
const WRITE_BYTES: usize = 1 << 20;

/// All values of a column, one a row.
#[derive(Debug, Clone, PartialEq)]
pub enum SegmentColumn {
    /// Of [`ColumnType::Time`].
    I64(Vec<i64>),
    /// Of [`ColumnType::U64`].
    U64(Vec<u64>),
    /// Of [`ColumnType::F64`].
    F64(Vec<f64>),
    /// Of [`ColumnType::Code`]; [`crate::schema::NULL_CODE`] is absent.
    Codes(Vec<u32>),
    /// Of [`ColumnType::Str`], and encoded documents of [`ColumnType::Document`].
    Bytes(BytesColumn),
}

impl SegmentColumn {
    fn len(&self) -> usize {
        match self {
            Self::I64(v) => v.len(),
            Self::U64(v) => v.len(),
            Self::F64(v) => v.len(),
            Self::Codes(v) => v.len(),
            Self::Bytes(v) => v.len(),
        }
    }

    fn fits(&self, ty: ColumnType) -> bool {
        match ty {
            ColumnType::Time => matches!(self, Self::I64(_)),
            ColumnType::U64 => matches!(self, Self::U64(_)),
            ColumnType::F64 => matches!(self, Self::F64(_)),
            ColumnType::Code(_) => matches!(self, Self::Codes(_)),
            ColumnType::Str | ColumnType::Document => matches!(self, Self::Bytes(_)),
        }
    }
}

/// Rows of one stream, sorted by (tenant, UTC day, stream key, time, seq).
#[derive(Debug, Clone, PartialEq)]
pub struct StreamRows {
    /// The stream.
    pub stream: Stream,
    /// Whose rows they are: one run for each tenant and UTC day, in order, without a gap.
    pub runs: Vec<Run>,
    /// The columns of the stream's [`Schema`], in its order.
    pub columns: Vec<SegmentColumn>,
}

/// What a segment is made of.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SegmentInput {
    /// The streams that have rows; each once, in any order. One without rows is left out.
    pub streams: Vec<StreamRows>,
    /// Every frame up to it is in segments once this one is published.
    pub flushed_lsn: Lsn,
    /// The segments whose rows this one takes over.
    pub replaces: Vec<FileId>,
    /// The names of all tenants that have rows, for repair.
    pub tenant_names: Vec<(TenantNo, TenantId)>,
}

/// What was written of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamSummary {
    /// The stream.
    pub stream: Stream,
    /// Its rows.
    pub rows: u64,
    /// The earliest event time.
    pub min_time: TimestampUs,
    /// The latest event time.
    pub max_time: TimestampUs,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentSummary {
    /// The file's id.
    pub file: FileId,
    /// Its length.
    pub bytes: u64,
    /// The hash of its footer, for the manifest.
    pub footer_hash: FooterHash,
    /// The streams that have rows.
    pub streams: Vec<StreamSummary>,
}

/// Writes a segment to `path`, which must not exist, and syncs it. The name is durable once the
/// caller has synced the directory.
///
/// # Errors
///
/// [`Error::Invalid`] when columns or runs do not fit together, or a granule of one column has more
/// than 256 MiB; [`Error::Io`]. The file may then be there in part.
pub fn write_segment(
    disk: &dyn Disk,
    path: &Path,
    file: FileId,
    input: &SegmentInput,
) -> Result<SegmentSummary> {
    let mut streams: Vec<&StreamRows> = input.streams.iter().filter(|s| !s.runs.is_empty()).collect();
    streams.sort_by_key(|s| s.stream);
    if streams.windows(2).any(|w| matches!(w, [a, b] if a.stream == b.stream)) {
        return Err(Error::invalid("a segment with a stream twice"));
    }
    streams.iter().try_for_each(|s| check(s))?;
    let mut output = Output::create(disk, path, file)?;
    let mut directories = Vec::with_capacity(streams.len());
    let mut footers = Vec::with_capacity(streams.len());
    for rows in &streams {
        let (directory, footer) = write_stream(&mut output, rows)?;
        directories.push(directory);
        footers.push(footer);
    }
    for (rows, footer) in streams.iter().zip(&mut footers) {
        for (number, runs) in (0..).zip(rows.runs.chunks(tenant_index::RUNS_MAX)) {
            let id = BlockId::index(BlockKind::Runs, Some(rows.stream), number);
            let place = output.block(&id, &tenant_index::encode_runs(runs))?;
            footer.runs.push((runs.first().map_or(TenantNo(0), |r| r.tenant), place));
        }
    }
    let names = BlockId::index(BlockKind::TenantNames, None, 0);
    let names = output.block(&names, &tenant_index::encode_names(&input.tenant_names))?;
    let directory = BlockId::index(BlockKind::Directory, None, 0);
    let directory = output.block(&directory, &directory::encode(&directories))?;
    let footer = Footer {
        file,
        flushed_lsn: input.flushed_lsn,
        blocks: output.blocks,
        replaces: input.replaces.clone(),
        directory,
        names,
        streams: footers,
    };
    let (bytes, footer_hash) = output.finish(&footer)?;
    let streams = footer
        .streams
        .iter()
        .map(|s| StreamSummary { stream: s.stream, rows: s.rows, min_time: s.min_time, max_time: s.max_time })
        .collect();
    Ok(SegmentSummary { file, bytes, footer_hash, streams })
}

fn rows_of(rows: &StreamRows) -> usize {
    rows.columns.first().map_or(0, SegmentColumn::len)
}

/// Checks what the reader relies on: columns of one length, runs that cover it, times within runs.
fn check(rows: &StreamRows) -> Result<()> {
    let schema = Schema::of(rows.stream);
    let count = rows_of(rows);
    let fits = rows.columns.len() == schema.columns.len()
        && rows.columns.iter().zip(schema.columns).all(|(c, def)| c.fits(def.ty) && c.len() == count);
    if !fits {
        return Err(Error::invalid(format!("columns that are not those of the stream {}", rows.stream)));
    }
    tenant_index::check(&rows.runs, count as u64).map_err(invalid)?;
    let Some(SegmentColumn::I64(times)) = rows.columns.first() else {
        return Err(Error::invalid("a stream whose first column is not its time"));
    };
    let mut rest = times.as_slice();
    for run in &rows.runs {
        let len = usize::try_from(run.rows.end - run.rows.start).unwrap_or(usize::MAX);
        let (head, tail) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        rest = tail;
        if head.iter().min() != Some(&run.min_time.0) || head.iter().max() != Some(&run.max_time.0) {
            return Err(Error::invalid("a run whose times are not those of its rows"));
        }
    }
    Ok(())
}

fn invalid(reason: Malformed) -> Error {
    Error::invalid(reason.0)
}

fn write_stream(output: &mut Output, rows: &StreamRows) -> Result<(StreamDirectory, StreamFooter)> {
    let count = rows_of(rows);
    let columns = Schema::of(rows.stream).columns;
    let mut directory = StreamDirectory::with_capacity(columns.len());
    let mut column_bytes = Vec::with_capacity(columns.len());
    for (def, column) in columns.iter().zip(&rows.columns) {
        let start = output.offset;
        let mut chunks = Vec::with_capacity(count.div_ceil(GRANULE_ROWS));
        for (granule, first) in (0..).zip((0..count).step_by(GRANULE_ROWS)) {
            let range = first..count.min(first + GRANULE_ROWS);
            chunks.push(write_chunk(output, rows.stream, def, column, granule, range)?);
        }
        directory.push(chunks);
        column_bytes.push(output.offset - start);
    }
    let footer = StreamFooter {
        stream: rows.stream,
        rows: count as u64,
        min_time: rows.runs.iter().map(|r| r.min_time).min().unwrap_or_default(),
        max_time: rows.runs.iter().map(|r| r.max_time).max().unwrap_or_default(),
        column_bytes,
        runs: Vec::new(),
    };
    Ok((directory, footer))
}

fn write_chunk(
    output: &mut Output,
    stream: Stream,
    def: &ColumnDef,
    column: &SegmentColumn,
    granule: u32,
    rows: Range<usize>,
) -> Result<Chunk> {
    if let SegmentColumn::Bytes(bytes) = column {
        let end = |row: usize| row.checked_sub(1).and_then(|r| bytes.ends().get(r)).copied().unwrap_or(0);
        if (end(rows.end) - end(rows.start)) as usize > SECTION_BYTES_MAX / 2 {
            return Err(Error::invalid(format!("{} has more than 128 MiB in a granule", def.name)));
        }
        if def.ty == ColumnType::Document {
            let documents = column_chunk::slice(bytes, rows);
            return write_documents(
                output,
                |kind, sub| BlockId::column(kind, stream, def.id, granule, sub),
                &documents,
            );
        }
    }
    let EncodedChunk { payload, nulls, zone } = column_chunk::encode(column, rows);
    let id = BlockId::column(BlockKind::Column, stream, def.id, granule, 0);
    let place = payload.map(|p| output.block(&id, &p)).transpose()?;
    Ok(Chunk { place, nulls: u32::try_from(nulls).unwrap_or(u32::MAX), zone })
}

fn write_documents(
    output: &mut Output,
    id: impl Fn(BlockKind, u32) -> BlockId,
    documents: &BytesColumn,
) -> Result<Chunk> {
    let present = documents.present().count_ones();
    let nulls = u32::try_from(documents.len() - present).unwrap_or(u32::MAX);
    if present == 0 {
        return Ok(Chunk { place: None, nulls, zone: Some(ZoneMap::Null) });
    }
    let shredded = shred::shred(documents);
    let mut paths = Paths { residual: None, entries: Vec::with_capacity(shredded.paths.len()) };
    for (number, path) in shredded.paths.iter().enumerate() {
        let mut places = [None; 4];
        for (kind, (payload, place)) in path_column::encode(path).into_iter().zip(&mut places).enumerate() {
            if let Some(payload) = payload {
                *place = Some(output.block(&id(BlockKind::SubColumn, sub_of(number, kind)), &payload)?);
            }
        }
        paths.entries.push(PathEntry { keys: path.keys.clone(), in_residual: path.in_residual, places });
    }
    if let Some(residual) = &shredded.residual {
        let mut payload = Vec::new();
        crate::codec::encode_strings(residual, &mut payload);
        paths.residual = Some(output.block(&id(BlockKind::Residual, 0), &payload)?);
    }
    let place = output.block(&id(BlockKind::Paths, 0), &paths.encode())?;
    Ok(Chunk { place: Some(place), nulls, zone: None })
}

/// A file that is written from front to back.
struct Output {
    disk_file: Arc<dyn DiskFile>,
    file: FileId,
    /// The length of the file, what is pending included.
    offset: u64,
    pending: Vec<u8>,
    blocks: u32,
}

impl Output {
    fn create(disk: &dyn Disk, path: &Path, file: FileId) -> Result<Self> {
        let disk_file = disk.create(path)?;
        let mut out =
            Self { disk_file, file, offset: 0, pending: Vec::with_capacity(2 * WRITE_BYTES), blocks: 0 };
        out.put(&encode_header(file))?;
        Ok(out)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.pending.extend_from_slice(bytes);
        self.offset += bytes.len() as u64;
        if self.pending.len() >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<()> {
        let at = self.offset - self.pending.len() as u64;
        self.disk_file.write_at(at, &self.pending)?;
        self.pending.clear();
        Ok(())
    }

    fn block(&mut self, id: &BlockId, payload: &[u8]) -> Result<Place> {
        let mut block = Vec::with_capacity(payload.len() + 32);
        let place = put_block(self.file, self.offset, id, payload, &mut block).map_err(invalid)?;
        self.put(&block)?;
        let number = self.blocks;
        self.blocks += 1;
        Ok(Place { number, ..place })
    }

    /// Writes footer and tail, syncs, and answers the file's length and the footer's hash.
    fn finish(mut self, footer: &Footer) -> Result<(u64, FooterHash)> {
        let bytes = footer.encode();
        let tail = Tail {
            footer_offset: self.offset,
            footer_len: u32::try_from(bytes.len()).map_err(|_| Error::invalid("a footer above 4 GiB"))?,
            version: VERSION,
            file: self.file,
            footer_crc: crc32fast::hash(&bytes),
        };
        self.put(&bytes)?;
        self.put(&tail.encode())?;
        self.write()?;
        self.disk_file.sync()?;
        Ok((self.offset, FooterHash::of(&bytes)))
    }
}
