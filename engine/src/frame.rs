//! The payload of a WAL frame: an append after sequencing, as bytes.
//!
//! The bytes are described in `docs/format/wal.md`.

use serde::{Deserialize, Serialize};

use crate::append::{AppendedBatch, CatalogPut, Idempotency, IdempotencyKey};
use crate::dedup::StoredAnswer;
use crate::error::{Error, Result};
use crate::id::{Lsn, Stream, TenantId, TenantNo};
use crate::record;
use crate::schema::{Batch, Bitmap, BytesColumn, Column, ColumnType, Schema, stream};
use crate::time::TimestampUs;

/// Most bytes of a frame's header: 10,000 leaves, rejections and ids of keys fit well.
pub(crate) const HEADER_BYTES_MAX: usize = 16 << 20;

/// What the sequencer decided about an append.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FrameHeader {
    /// When it was received.
    pub received: TimestampUs,
    /// The batches whose columns follow; batches without new rows are left out.
    pub batches: Vec<BatchHeader>,
    /// Catalog records that become true with the frame.
    pub puts: Vec<CatalogPut>,
    /// What is kept to answer the request again.
    pub idempotency: Option<StoredRequest>,
}

/// What the sequencer decided about one batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BatchHeader {
    /// Whose rows.
    pub tenant: String,
    /// The tenant's number.
    pub tenant_no: TenantNo,
    /// Their stream.
    pub stream: Stream,
    /// How many rows.
    pub rows: u32,
    /// The seq of the first one; 0 for metrics.
    pub first_seq: u64,
    /// The key of each row's personal columns (audit alone, else empty).
    pub key_ids: Vec<u64>,
}

/// A request that can be answered again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredRequest {
    /// Its name, the hash of its body, and what was rejected.
    pub request: Idempotency,
    /// What was kept.
    pub batches: Vec<AppendedBatch>,
}

impl StoredRequest {
    /// The request as the index of named requests keeps it.
    pub(crate) fn remembered(&self, lsn: Lsn, received: TimestampUs) -> (IdempotencyKey, StoredAnswer) {
        let answer = StoredAnswer {
            body_hash: self.request.body_hash,
            lsn,
            received,
            batches: self.batches.clone(),
            rejected: self.request.rejected.clone(),
        };
        (self.request.key.clone(), answer)
    }
}

/// A frame that was read back.
#[derive(Debug)]
pub(crate) struct DecodedFrame {
    /// What the sequencer decided.
    pub header: FrameHeader,
    /// The columns of each of its batches, complete.
    pub columns: Vec<Vec<Column>>,
}

/// Columns of a batch as the client gave them, encoded.
pub(crate) fn encode_columns(batch: &Batch) -> Vec<u8> {
    let mut out = Vec::with_capacity(batch.memory_bytes() + 64);
    for (column, def) in batch.columns().iter().zip(Schema::of(batch.stream()).columns) {
        if !is_filled_by_engine(def.id) {
            encode_column(column, &mut out);
        }
    }
    out
}

/// Puts a header in front of encoded columns.
///
/// # Errors
///
/// [`Error::Invalid`] when the header is longer than [`HEADER_BYTES_MAX`].
pub(crate) fn encode(header: &FrameHeader, columns: &[&[u8]]) -> Result<Vec<u8>> {
    let head = record::encode(header)?;
    if head.len() > HEADER_BYTES_MAX {
        return Err(Error::invalid("an append with too many rejected records or catalog records"));
    }
    let len = u32::try_from(head.len()).map_err(|_| Error::invalid("a header over 4 GiB"))?;
    let mut out = Vec::with_capacity(4 + head.len() + columns.iter().map(|c| c.len()).sum::<usize>());
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&head);
    for bytes in columns {
        out.extend_from_slice(bytes);
    }
    Ok(out)
}

/// Reads a payload back; the frame's checksum was checked.
///
/// # Errors
///
/// [`Error::Invalid`] when the bytes are not a payload.
pub(crate) fn decode(payload: &[u8], lsn: Lsn) -> Result<DecodedFrame> {
    let mut reader = Reader { bytes: payload, at: 0 };
    let len = reader.u32()? as usize;
    if len > HEADER_BYTES_MAX {
        return Err(Error::invalid("a frame whose header is too long"));
    }
    let header: FrameHeader = record::decode(reader.take(len)?)?;
    let mut columns = Vec::with_capacity(header.batches.len());
    for batch in &header.batches {
        columns.push(decode_columns(&mut reader, batch, header.received, lsn)?);
    }
    if reader.at != payload.len() {
        return Err(Error::invalid("a frame with bytes after its columns"));
    }
    Ok(DecodedFrame { header, columns })
}

/// The columns of a batch after sequencing, as the memtable takes them.
pub(crate) fn fill(batch: Batch, header: &BatchHeader, received: TimestampUs, lsn: Lsn) -> Vec<Column> {
    let schema = Schema::of(header.stream);
    let mut columns = batch.into_columns();
    for (column, def) in columns.iter_mut().zip(schema.columns) {
        if let Some(filled) = filled(def.id, header, received, lsn) {
            *column = filled;
        }
    }
    columns
}

fn is_filled_by_engine(id: crate::schema::ColumnId) -> bool {
    [stream::RECEIVED.id, stream::LSN.id, stream::SEQ.id, stream::KEY_ID.id, stream::COMMITMENT.id]
        .contains(&id)
}

fn filled(
    id: crate::schema::ColumnId,
    header: &BatchHeader,
    received: TimestampUs,
    lsn: Lsn,
) -> Option<Column> {
    let rows = header.rows as usize;
    if id == stream::RECEIVED.id {
        return Some(Column::I64(vec![received.0; rows]));
    }
    if id == stream::LSN.id {
        return Some(Column::U64(vec![lsn.0; rows]));
    }
    if id == stream::SEQ.id {
        return Some(Column::U64((header.first_seq..).take(rows).collect()));
    }
    if id == stream::KEY_ID.id {
        let mut keys = header.key_ids.clone();
        keys.resize(rows, 0);
        return Some(Column::U64(keys));
    }
    if id == stream::COMMITMENT.id {
        let mut none = BytesColumn::with_capacity(rows, 0);
        (0..rows).for_each(|_| none.push(None));
        return Some(Column::Bytes(none));
    }
    None
}

fn encode_column(column: &Column, out: &mut Vec<u8>) {
    match column {
        Column::I64(v) if v.iter().all(|n| *n == 0) => out.push(0),
        Column::U64(v) if v.iter().all(|n| *n == 0) => out.push(0),
        Column::F64(v) if v.iter().all(|n| n.to_bits() == 0) => out.push(0),
        Column::Bytes(v) if v.present().count_ones() == 0 => out.push(0),
        Column::I64(v) => {
            out.push(1);
            out.extend(v.iter().flat_map(|n| n.to_le_bytes()));
        }
        Column::U64(v) => {
            out.push(1);
            out.extend(v.iter().flat_map(|n| n.to_le_bytes()));
        }
        Column::F64(v) => {
            out.push(1);
            out.extend(v.iter().flat_map(|n| n.to_bits().to_le_bytes()));
        }
        Column::Bytes(v) => encode_bytes(v, out),
    }
}

fn encode_bytes(column: &BytesColumn, out: &mut Vec<u8>) {
    if column.present().count_ones() == column.len() {
        out.push(2);
    } else {
        out.push(3);
        out.extend(column.present().words().iter().flat_map(|w| w.to_le_bytes()));
    }
    out.extend_from_slice(&column.ends().last().copied().unwrap_or(0).to_le_bytes());
    out.extend(column.ends().iter().flat_map(|e| e.to_le_bytes()));
    out.extend_from_slice(column.bytes());
}

fn decode_columns(
    reader: &mut Reader<'_>,
    header: &BatchHeader,
    received: TimestampUs,
    lsn: Lsn,
) -> Result<Vec<Column>> {
    if header.rows as usize > crate::schema::batch::BATCH_ROWS_MAX {
        return Err(Error::invalid("a batch with too many rows"));
    }
    if !header.key_ids.is_empty() && header.key_ids.len() != header.rows as usize {
        return Err(Error::invalid("a batch whose keys are not one a row"));
    }
    let tenant = TenantId::new(&header.tenant)?;
    let mut columns = Vec::new();
    for def in Schema::of(header.stream).columns {
        columns.push(match filled(def.id, header, received, lsn) {
            Some(column) => column,
            None => decode_column(reader, def.ty, header.rows as usize)?,
        });
    }
    Ok(Batch::from_columns(tenant, header.stream, columns)?.into_columns())
}

fn decode_column(reader: &mut Reader<'_>, ty: ColumnType, rows: usize) -> Result<Column> {
    let tag = reader.u8()?;
    match (ty, tag) {
        (ColumnType::Time, 0) => Ok(Column::I64(vec![0; rows])),
        (ColumnType::U64, 0) => Ok(Column::U64(vec![0; rows])),
        (ColumnType::F64, 0) => Ok(Column::F64(vec![0.0; rows])),
        (ColumnType::Time, 1) => Ok(Column::I64(reader.words(rows)?.map(i64::from_le_bytes).collect())),
        (ColumnType::U64, 1) => Ok(Column::U64(reader.words(rows)?.map(u64::from_le_bytes).collect())),
        (ColumnType::F64, 1) => {
            Ok(Column::F64(reader.words(rows)?.map(|w| f64::from_bits(u64::from_le_bytes(w))).collect()))
        }
        (ColumnType::Str | ColumnType::Code(_) | ColumnType::Document, 0) => Ok(Column::Bytes(
            BytesColumn::from_parts(vec![0; rows], Vec::new(), Bitmap::filled(rows, false))?,
        )),
        (ColumnType::Str | ColumnType::Code(_) | ColumnType::Document, 2 | 3) => {
            let present = if tag == 2 {
                Bitmap::filled(rows, true)
            } else {
                let words = reader.words(rows.div_ceil(64))?.map(u64::from_le_bytes).collect();
                Bitmap::from_words(words, rows)?
            };
            let total = reader.u32()? as usize;
            let ends = reader.take(rows * 4)?.chunks_exact(4).map(le_u32).collect();
            let bytes = reader.take(total)?.to_vec();
            Ok(Column::Bytes(BytesColumn::from_parts(ends, bytes, present)?))
        }
        _ => Err(Error::invalid("an unknown tag of a column")),
    }
}

fn le_u32(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_le_bytes)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(len).ok_or_else(short)?;
        let out = self.bytes.get(self.at..end).ok_or_else(short)?;
        self.at = end;
        Ok(out)
    }

    fn u8(&mut self) -> Result<u8> {
        self.take(1)?.first().copied().ok_or_else(short)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(le_u32(self.take(4)?))
    }

    fn words(&mut self, count: usize) -> Result<impl Iterator<Item = [u8; 8]> + 'a> {
        let bytes = self.take(count * 8)?;
        Ok(bytes.chunks_exact(8).map(|c| c.try_into().unwrap_or_default()))
    }
}

fn short() -> Error {
    Error::invalid("a frame that ends too early")
}

#[cfg(test)]
mod tests;
