//! The columns of one granule, encoded and not yet at a place in a file.

use std::ops::Range;

use super::column_chunk::{self, Around, EncodedChunk};
use super::columns::SegmentColumn;
use super::directory::Chunk;
use super::format::{BlockId, BlockKind};
use super::output::Output;
use super::paths::{KINDS, PathEntry, Paths, ZONES, sub_of};
use super::told::{self, Groups};
use super::{path_column, shred};
use crate::codec::{Density, SECTION_BYTES_MAX};
use crate::error::{Error, Result};
use crate::id::Stream;
use crate::part::ZoneMap;
use crate::schema::stream::{APP_ID, HOST, LABELS, NAME};
use crate::schema::{BytesColumn, ColumnDef, ColumnId, ColumnType, Schema};

/// A column of a granule, encoded.
pub(super) enum EncodedColumn {
    /// One block.
    Plain(EncodedChunk),
    /// A block for each sub-column, one for the residual, and the paths that name them.
    Documents(EncodedDocuments),
}

/// A document column of a granule, encoded.
#[derive(Default)]
pub(super) struct EncodedDocuments {
    nulls: usize,
    paths: Vec<EncodedPath>,
    residual: Option<Vec<u8>>,
}

/// The sub-columns of one path.
struct EncodedPath {
    keys: Vec<String>,
    in_residual: bool,
    payloads: [Option<Vec<u8>>; KINDS],
    zones: [Option<ZoneMap>; ZONES],
}

/// Encodes rows of a stream, one granule of them at most; all columns at once, because one may be told by
/// another. `breaks` are the rows, from the first of `rows` on, where another tenant begins.
///
/// # Errors
///
/// [`Error::Invalid`] when a column has more than 128 MiB.
pub(super) fn encode(
    stream: Stream,
    columns: &[SegmentColumn],
    rows: &Range<usize>,
    density: Density,
    breaks: &[usize],
) -> Result<Vec<EncodedColumn>> {
    let defs = Schema::of(stream).columns;
    let mut around = Around { density, breaks, groups: Vec::new(), series: Vec::new() };
    if density == Density::Dense {
        let tellers = told::tellers_of(stream, NO_COLUMN).iter();
        let groups = |teller: &ColumnId| Groups::written(stream, *teller, columns, rows.clone(), breaks);
        around.groups = tellers.filter_map(groups).collect();
        if stream == Stream::Metrics {
            around.series = series(columns, rows);
        }
    }
    defs.iter()
        .zip(columns)
        .map(|(def, column)| encode_column(&around, stream, def, column, rows.clone()))
        .collect()
}

/// No column: whatever may tell, may tell it.
const NO_COLUMN: ColumnId = ColumnId(u16::MAX);

/// Rows of each series of metrics.
fn series(columns: &[SegmentColumn], rows: &Range<usize>) -> Vec<usize> {
    let codes = |def: &ColumnDef| match columns.get(Schema::of(Stream::Metrics).index_of(def.id)?)? {
        SegmentColumn::Codes(codes) => codes.get(rows.clone()),
        _ => None,
    };
    let keys = [codes(&APP_ID), codes(&HOST), codes(&NAME)].map(Option::unwrap_or_default);
    let labels = match Schema::of(Stream::Metrics).index_of(LABELS.id).and_then(|i| columns.get(i)) {
        Some(SegmentColumn::Bytes(labels)) => Some(labels),
        _ => None,
    };
    let same = |row: usize| {
        keys.iter().all(|k| k.get(row) == k.get(row - 1))
            && labels.is_none_or(|l| l.get(rows.start + row) == l.get(rows.start + row - 1))
    };
    let mut out = Vec::new();
    let mut start = 0;
    for row in 1..rows.len() {
        if !same(row) {
            out.push(row - start);
            start = row;
        }
    }
    if start < rows.len() {
        out.push(rows.len() - start);
    }
    out
}

fn encode_column(
    around: &Around<'_>,
    stream: Stream,
    def: &ColumnDef,
    column: &SegmentColumn,
    rows: Range<usize>,
) -> Result<EncodedColumn> {
    if let SegmentColumn::Bytes(bytes) = column {
        let end = |row: usize| row.checked_sub(1).and_then(|r| bytes.ends().get(r)).copied().unwrap_or(0);
        if (end(rows.end) - end(rows.start)) as usize > SECTION_BYTES_MAX / 2 {
            return Err(Error::invalid(format!("{} has more than 128 MiB in a granule", def.name)));
        }
        if def.ty == ColumnType::Document {
            let documents = column_chunk::slice(bytes, rows);
            return Ok(EncodedColumn::Documents(encode_documents(around, (stream, def.id), &documents)));
        }
    }
    Ok(EncodedColumn::Plain(column_chunk::encode(around, (stream, def.id), column, rows)))
}

fn encode_documents(
    around: &Around<'_>,
    at: (Stream, ColumnId),
    documents: &BytesColumn,
) -> EncodedDocuments {
    let present = documents.present().count_ones();
    let nulls = documents.len() - present;
    if present == 0 {
        return EncodedDocuments { nulls, ..EncodedDocuments::default() };
    }
    let shredded = shred::shred(documents);
    let encoded = shredded.paths.iter().map(|path| EncodedPath {
        keys: path.keys.clone(),
        in_residual: path.in_residual,
        payloads: path_column::encode(path, around, at),
        zones: path_column::zones(path),
    });
    let paths = encoded.collect();
    let residual = shredded.residual.as_ref().map(|residual| {
        let mut payload = Vec::new();
        crate::codec::encode_strings_at(residual, around.density, &mut payload);
        payload
    });
    EncodedDocuments { nulls, paths, residual }
}

impl EncodedColumn {
    /// Bytes of its payloads.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Plain(chunk) => chunk.payload.as_ref().map_or(0, Vec::len),
            Self::Documents(documents) => {
                let payloads = documents.paths.iter().flat_map(|p| &p.payloads).flatten();
                payloads.chain(&documents.residual).map(Vec::len).sum()
            }
        }
    }

    /// Gives it its place in a file.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub(super) fn write(
        self,
        output: &mut Output,
        stream: Stream,
        def: &ColumnDef,
        granule: u32,
    ) -> Result<Chunk> {
        let id = |kind, sub| BlockId::column(kind, stream, def.id, granule, sub);
        match self {
            Self::Plain(EncodedChunk { payload, nulls, zone }) => {
                let place = payload.map(|p| output.block(&id(BlockKind::Column, 0), &p)).transpose()?;
                Ok(Chunk { place, nulls: count(nulls), zone })
            }
            Self::Documents(documents) => documents.write(output, id),
        }
    }
}

impl EncodedDocuments {
    fn write(self, output: &mut Output, id: impl Fn(BlockKind, u32) -> BlockId) -> Result<Chunk> {
        let nulls = count(self.nulls);
        if self.paths.is_empty() && self.residual.is_none() {
            return Ok(Chunk { place: None, nulls, zone: Some(ZoneMap::Null) });
        }
        let mut paths = Paths { residual: None, entries: Vec::with_capacity(self.paths.len()) };
        for (number, path) in self.paths.into_iter().enumerate() {
            let EncodedPath { keys, in_residual, payloads, zones } = path;
            let mut places = [None; KINDS];
            for (kind, (payload, place)) in payloads.into_iter().zip(&mut places).enumerate() {
                if let Some(payload) = payload {
                    *place = Some(output.block(&id(BlockKind::SubColumn, sub_of(number, kind)), &payload)?);
                }
            }
            paths.entries.push(PathEntry { keys, in_residual, places, zones });
        }
        if let Some(residual) = &self.residual {
            paths.residual = Some(output.block(&id(BlockKind::Residual, 0), residual)?);
        }
        let place = output.block(&id(BlockKind::Paths, 0), &paths.encode())?;
        Ok(Chunk { place: Some(place), nulls, zone: None })
    }
}

fn count(rows: usize) -> u32 {
    u32::try_from(rows).unwrap_or(u32::MAX)
}
