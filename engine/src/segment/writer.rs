//! Writes a segment: sorted rows in, a piece at a time, one synced file out.
//!
//! Rows are encoded granule by granule. The encoded blocks of a row group, 16 granules, are kept until it is
//! full and then written column by column: a question that reads one column reads neighbours, and memory is
//! bounded by one granule of rows and one encoded row group, whatever the segment's size.

use std::ops::Range;
use std::path::Path;

use super::columns::SegmentColumn;
use super::directory::{self, StreamDirectory};
use super::footer::{Footer, StreamFooter};
use super::format::{BlockId, BlockKind, FooterHash, GRANULE_ROWS};
use super::granule::{self, EncodedColumn};
use super::output::Output;
use super::tenant_index;
use crate::codec::Density;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::id::{FileId, Lsn, Stream, TenantId, TenantNo};
use crate::part::Run;
use crate::schema::stream::LSN;
use crate::schema::{ColumnDef, Schema};
use crate::time::TimestampUs;

/// Granules of a row group.
const GROUP_GRANULES: usize = 16;

/// Encoded bytes that end a row group before it has all its granules.
const GROUP_BYTES_MAX: usize = 64 << 20;

/// What a segment says beside its rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SegmentEnd {
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
    /// The newest frame that a row came in.
    pub lsn_max: Lsn,
    /// The streams that have rows.
    pub streams: Vec<StreamSummary>,
}

fn check_columns(stream: Stream, columns: &[SegmentColumn], count: usize) -> Result<()> {
    let schema = Schema::of(stream);
    let fits = columns.len() == schema.columns.len()
        && columns.iter().zip(schema.columns).all(|(c, def)| c.fits(def.ty) && c.len() == count);
    if fits {
        Ok(())
    } else {
        Err(Error::invalid(format!("columns that are not those of the stream {stream}")))
    }
}

fn times_of(columns: &[SegmentColumn]) -> Result<&[i64]> {
    match columns.first() {
        Some(SegmentColumn::I64(times)) => Ok(times),
        _ => Err(Error::invalid("a stream whose first column is not its time")),
    }
}

/// A segment that is being written.
///
/// Streams come in the order of their tags, rows in the order of the segment. A file that was not
/// finished has no footer and is never read.
#[derive(Debug)]
pub struct SegmentWriter {
    output: Output,
    density: Density,
    lsn_max: Lsn,
    done: Vec<DoneStream>,
    open: Option<OpenStream>,
}

#[derive(Debug)]
struct DoneStream {
    directory: StreamDirectory,
    footer: StreamFooter,
    runs: Vec<Run>,
}

/// A stream whose rows still come.
struct OpenStream {
    stream: Stream,
    runs: Vec<Run>,
    directory: StreamDirectory,
    column_bytes: Vec<u64>,
    /// Granules that are encoded and not written.
    group: Vec<Vec<EncodedColumn>>,
    group_bytes: usize,
    /// Granules that are written.
    granules: u32,
    /// Rows that do not fill a granule yet.
    pending: Vec<SegmentColumn>,
}

/// Rows of one tenant and UTC day that follow one another.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    tenant: TenantNo,
    rows: u64,
    min: TimestampUs,
    max: TimestampUs,
}

impl std::fmt::Debug for OpenStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OpenStream({}, {} runs)", self.stream, self.runs.len())
    }
}

impl SegmentWriter {
    /// Starts the segment `file` at `path`, which must not exist.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn create(disk: &dyn Disk, path: &Path, file: FileId, density: Density) -> Result<Self> {
        let output = Output::create(disk, path, file)?;
        Ok(Self { output, density, lsn_max: Lsn(0), done: Vec::new(), open: None })
    }

    /// Ends the stream before, and takes rows of `stream` from here on.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a stream that is not after the one before; [`Error::Io`].
    pub fn begin(&mut self, stream: Stream) -> Result<()> {
        self.end_stream()?;
        if self.done.last().is_some_and(|last| last.footer.stream >= stream) {
            return Err(Error::invalid("the streams of a segment out of order"));
        }
        self.open = Some(OpenStream::new(stream));
        Ok(())
    }

    /// Takes rows of one tenant and one UTC day: the columns of the stream's schema, in its order.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for columns of another stream, for rows of several days or out of the order of
    /// (tenant, day), and when a granule of a column has more than 128 MiB; [`Error::Io`].
    pub fn push(&mut self, tenant: TenantNo, columns: &[SegmentColumn]) -> Result<()> {
        let rows = columns.first().map_or(0, SegmentColumn::len);
        self.push_pieces(&[(tenant, rows)], columns)
    }

    /// Takes rows of several tenants and days: `pieces` says, in the order of the rows, whose they are and
    /// how many; each is of one UTC day. A whole granule that comes when none is pending is not copied.
    ///
    /// # Errors
    ///
    /// Those of [`Self::push`], and [`Error::Invalid`] when pieces and columns are not of one length.
    pub fn push_pieces(&mut self, pieces: &[(TenantNo, usize)], columns: &[SegmentColumn]) -> Result<()> {
        let open = self.open.as_mut().ok_or_else(no_stream)?;
        let times = times_of(columns)?;
        let count = times.len();
        check_columns(open.stream, columns, count)?;
        let stretches = open.stretches(pieces, times)?;
        for stretch in stretches {
            open.add(stretch);
        }
        self.lsn_max = self.lsn_max.max(newest(open.stream, columns));
        let mut from = 0;
        while from < count {
            let waiting = open.pending.first().map_or(0, SegmentColumn::len);
            let to = count.min(from + GRANULE_ROWS - waiting);
            if to - from == GRANULE_ROWS {
                open.encode(columns, &(from..to), self.density, &mut self.output)?;
            } else {
                for (pending, column) in open.pending.iter_mut().zip(columns) {
                    pending.extend(column, from..to)?;
                }
                if waiting + (to - from) == GRANULE_ROWS {
                    open.encode_pending(self.density, &mut self.output)?;
                }
            }
            from = to;
        }
        Ok(())
    }

    /// Bytes that were given to the file so far.
    pub fn bytes(&self) -> u64 {
        self.output.offset
    }

    /// The tenants that have rows so far, by number.
    pub fn tenants(&self) -> Vec<TenantNo> {
        let open = self.open.iter().flat_map(|open| &open.runs);
        let mut out: Vec<TenantNo> = Vec::new();
        for run in self.done.iter().flat_map(|done| &done.runs).chain(open) {
            if out.last() != Some(&run.tenant) {
                out.push(run.tenant);
            }
        }
        out.sort_unstable();
        out.dedup();
        out
    }

    fn end_stream(&mut self) -> Result<()> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        if open.runs.is_empty() {
            return Ok(());
        }
        if open.pending.first().is_some_and(|column| !column.is_empty()) {
            open.encode_pending(self.density, &mut self.output)?;
        }
        open.write_group(&mut self.output)?;
        let footer = StreamFooter {
            stream: open.stream,
            rows: open.runs.last().map_or(0, |run| run.rows.end),
            min_time: open.runs.iter().map(|r| r.min_time).min().unwrap_or_default(),
            max_time: open.runs.iter().map(|r| r.max_time).max().unwrap_or_default(),
            column_bytes: open.column_bytes,
            runs: Vec::new(),
        };
        self.done.push(DoneStream { directory: open.directory, footer, runs: open.runs });
        Ok(())
    }

    /// Writes the index and the footer, and syncs the file. Its name is durable once the caller has synced the
    /// directory.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn finish(mut self, end: SegmentEnd) -> Result<SegmentSummary> {
        self.end_stream()?;
        let Self { mut output, lsn_max, done, .. } = self;
        let mut directories = Vec::with_capacity(done.len());
        let mut footers = Vec::with_capacity(done.len());
        for DoneStream { directory, mut footer, runs } in done {
            for (number, runs) in (0..).zip(runs.chunks(tenant_index::RUNS_MAX)) {
                let id = BlockId::index(BlockKind::Runs, Some(footer.stream), number);
                let place = output.block(&id, &tenant_index::encode_runs(runs))?;
                footer.runs.push((runs.first().map_or(TenantNo(0), |r| r.tenant), place));
            }
            directories.push(directory);
            footers.push(footer);
        }
        let names = BlockId::index(BlockKind::TenantNames, None, 0);
        let names = output.block(&names, &tenant_index::encode_names(&end.tenant_names))?;
        let directory = BlockId::index(BlockKind::Directory, None, 0);
        let directory = output.block(&directory, &directory::encode(&directories))?;
        let SegmentEnd { flushed_lsn, replaces, .. } = end;
        let (file, blocks) = (output.file, output.blocks);
        let footer = Footer { file, flushed_lsn, blocks, replaces, directory, names, streams: footers };
        let (bytes, footer_hash) = output.finish(&footer)?;
        let streams = footer.streams.iter().map(|s| StreamSummary {
            stream: s.stream,
            rows: s.rows,
            min_time: s.min_time,
            max_time: s.max_time,
        });
        Ok(SegmentSummary { file, bytes, footer_hash, lsn_max, streams: streams.collect() })
    }
}

/// The rows of a granule, from its first one on, where another tenant begins.
fn breaks_in(runs: &[Run], rows: &Range<usize>) -> Vec<usize> {
    let first = runs.partition_point(|run| run.rows.end <= rows.start as u64);
    let mut breaks = Vec::new();
    let mut last = None;
    for run in runs.iter().skip(first) {
        let Some(start) = usize::try_from(run.rows.start).ok().filter(|start| *start < rows.end) else {
            break;
        };
        if last.is_some_and(|tenant| tenant != run.tenant) && start > rows.start {
            breaks.push(start - rows.start);
        }
        last = Some(run.tenant);
    }
    breaks
}

fn uneven_pieces() -> Error {
    Error::invalid("rows of a segment that are not as many as their pieces say")
}

fn no_stream() -> Error {
    Error::invalid("rows for a segment before their stream")
}

/// The newest frame that a row came in.
fn newest(stream: Stream, columns: &[SegmentColumn]) -> Lsn {
    let column = Schema::of(stream).index_of(LSN.id).and_then(|index| columns.get(index));
    match column {
        Some(SegmentColumn::U64(lsns)) => Lsn(lsns.iter().copied().max().unwrap_or(0)),
        _ => Lsn(0),
    }
}

impl OpenStream {
    fn new(stream: Stream) -> Self {
        let columns: &[ColumnDef] = Schema::of(stream).columns;
        Self {
            stream,
            runs: Vec::new(),
            directory: vec![Vec::new(); columns.len()],
            column_bytes: vec![0; columns.len()],
            group: Vec::new(),
            group_bytes: 0,
            granules: 0,
            pending: columns.iter().map(|def| SegmentColumn::new(def.ty)).collect(),
        }
    }

    /// What pieces add to the runs, checked before anything is added.
    fn stretches(&self, pieces: &[(TenantNo, usize)], times: &[i64]) -> Result<Vec<Stretch>> {
        let mut last = self.runs.last().map(|run| (run.tenant, run.min_time.day()));
        let mut out = Vec::with_capacity(pieces.len());
        let mut rest = times;
        for (tenant, rows) in pieces {
            let (piece, others) = rest.split_at_checked(*rows).ok_or_else(uneven_pieces)?;
            rest = others;
            let (Some(min), Some(max)) = (piece.iter().min(), piece.iter().max()) else { continue };
            let (min, max) = (TimestampUs(*min), TimestampUs(*max));
            if min.day() != max.day() {
                return Err(Error::invalid("rows of several days in one run"));
            }
            let key = (*tenant, min.day());
            if last.is_some_and(|last| key < last) {
                return Err(Error::invalid("the rows of a segment out of order"));
            }
            last = Some(key);
            out.push(Stretch { tenant: *tenant, rows: piece.len() as u64, min, max });
        }
        if rest.is_empty() { Ok(out) } else { Err(uneven_pieces()) }
    }

    /// Makes the last run longer, or starts the next one.
    fn add(&mut self, stretch: Stretch) {
        let Stretch { tenant, rows, min, max } = stretch;
        let start = self.runs.last().map_or(0, |run| run.rows.end);
        let end = start + rows;
        match self.runs.last_mut() {
            Some(run) if (run.tenant, run.min_time.day()) == (tenant, min.day()) => {
                run.rows.end = end;
                run.min_time = run.min_time.min(min);
                run.max_time = run.max_time.max(max);
            }
            _ => self.runs.push(Run { tenant, rows: start..end, min_time: min, max_time: max }),
        }
    }

    /// Encodes the rows that do not wait for more.
    fn encode_pending(&mut self, density: Density, output: &mut Output) -> Result<()> {
        let mut pending = std::mem::take(&mut self.pending);
        let rows = pending.first().map_or(0, SegmentColumn::len);
        self.encode(&pending, &(0..rows), density, output)?;
        pending.iter_mut().for_each(SegmentColumn::clear);
        self.pending = pending;
        Ok(())
    }

    /// Encodes `rows` of `columns` as the next granule; their runs are known.
    fn encode(
        &mut self,
        columns: &[SegmentColumn],
        rows: &Range<usize>,
        density: Density,
        output: &mut Output,
    ) -> Result<()> {
        let first = (self.granules as usize + self.group.len()) * GRANULE_ROWS;
        let breaks = breaks_in(&self.runs, &(first..first + rows.len()));
        let encoded = granule::encode(self.stream, columns, rows, density, &breaks)?;
        self.add_granule(encoded, output)
    }

    fn add_granule(&mut self, encoded: Vec<EncodedColumn>, output: &mut Output) -> Result<()> {
        self.group_bytes += encoded.iter().map(EncodedColumn::bytes).sum::<usize>();
        self.group.push(encoded);
        if self.group.len() == GROUP_GRANULES || self.group_bytes >= GROUP_BYTES_MAX {
            self.write_group(output)?;
        }
        Ok(())
    }

    /// Writes the encoded granules, column by column.
    fn write_group(&mut self, output: &mut Output) -> Result<()> {
        self.group_bytes = 0;
        let mut granules: Vec<_> = std::mem::take(&mut self.group).into_iter().map(Vec::into_iter).collect();
        let columns = Schema::of(self.stream).columns;
        for ((def, directory), bytes) in columns.iter().zip(&mut self.directory).zip(&mut self.column_bytes) {
            let start = output.offset;
            for (number, granule) in (self.granules..).zip(&mut granules) {
                let column = granule.next().ok_or_else(|| Error::invalid("a granule without a column"))?;
                directory.push(column.write(output, self.stream, def, number)?);
            }
            *bytes += output.offset - start;
        }
        self.granules = self.granules.saturating_add(u32::try_from(granules.len()).unwrap_or(u32::MAX));
        Ok(())
    }
}
