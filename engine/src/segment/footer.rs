//! The footer: what a segment holds and where its parts are. Found through the tail.
//!
//! The bytes are described in `docs/format/segment.md`.

use super::format::{GRANULE_ROWS, Place, VERSION};
use crate::codec::{Cursor, Decoded, Malformed, put_varint};
use crate::id::{FileId, Lsn, Stream, TenantNo};
use crate::schema::{ColumnId, ColumnType, Schema};
use crate::time::TimestampUs;

/// What a segment says of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StreamFooter {
    pub(super) stream: Stream,
    pub(super) rows: u64,
    pub(super) min_time: TimestampUs,
    pub(super) max_time: TimestampUs,
    /// Bytes of each column of the schema, in its order.
    pub(super) column_bytes: Vec<u64>,
    pub(super) runs: Vec<(TenantNo, Place)>,
}

impl StreamFooter {
    /// How many granules its rows make.
    pub(super) fn granules(&self) -> usize {
        usize::try_from(self.rows.div_ceil(GRANULE_ROWS as u64)).unwrap_or(usize::MAX)
    }
}

/// The footer of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) file: FileId,
    pub(super) flushed_lsn: Lsn,
    pub(super) blocks: u32,
    pub(super) replaces: Vec<FileId>,
    pub(super) directory: Place,
    pub(super) names: Place,
    pub(super) streams: Vec<StreamFooter>,
}

const fn type_tag(ty: ColumnType) -> u8 {
    match ty {
        ColumnType::Time => 0,
        ColumnType::U64 => 1,
        ColumnType::F64 => 2,
        ColumnType::Str => 3,
        ColumnType::Document => 4,
        ColumnType::Code(kind) => 16 + kind.tag(),
    }
}

impl Footer {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.file.0.to_le_bytes());
        out.extend_from_slice(&self.flushed_lsn.0.to_le_bytes());
        out.extend_from_slice(&self.blocks.to_le_bytes());
        put_varint(self.replaces.len() as u64, &mut out);
        for file in &self.replaces {
            out.extend_from_slice(&file.0.to_le_bytes());
        }
        self.directory.encode(&mut out);
        self.names.encode(&mut out);
        out.push(u8::try_from(self.streams.len()).unwrap_or(u8::MAX));
        for stream in &self.streams {
            stream.encode(&mut out);
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut cursor = Cursor::new(bytes);
        if cursor.u32()? != VERSION {
            return Err(Malformed("another version than its header says"));
        }
        let (file, flushed_lsn, blocks) = (FileId(cursor.u64()?), Lsn(cursor.u64()?), cursor.u32()?);
        let mut replaces = Vec::new();
        for _ in 0..cursor.len(bytes.len())? {
            replaces.push(FileId(cursor.u64()?));
        }
        let directory = Place::decode(&mut cursor)?;
        let names = Place::decode(&mut cursor)?;
        let mut streams: Vec<StreamFooter> = Vec::new();
        for _ in 0..cursor.u8()? {
            let stream = StreamFooter::decode(&mut cursor)?;
            if streams.last().is_some_and(|last| last.stream >= stream.stream) {
                return Err(Malformed("streams out of order"));
            }
            streams.push(stream);
        }
        cursor.end()?;
        Ok(Self { file, flushed_lsn, blocks, replaces, directory, names, streams })
    }
}

impl StreamFooter {
    fn encode(&self, out: &mut Vec<u8>) {
        let columns = Schema::of(self.stream).columns;
        out.push(self.stream.tag());
        out.extend_from_slice(&self.rows.to_le_bytes());
        out.extend_from_slice(&self.min_time.0.to_le_bytes());
        out.extend_from_slice(&self.max_time.0.to_le_bytes());
        put_varint(columns.len() as u64, out);
        for (column, bytes) in columns.iter().zip(&self.column_bytes) {
            out.extend_from_slice(&column.id.0.to_le_bytes());
            out.push(type_tag(column.ty));
            put_varint(*bytes, out);
        }
        put_varint(self.runs.len() as u64, out);
        for (tenant, place) in &self.runs {
            put_varint(u64::from(tenant.0), out);
            place.encode(out);
        }
    }

    fn decode(cursor: &mut Cursor<'_>) -> Decoded<Self> {
        let stream = Stream::from_tag(cursor.u8()?).ok_or(Malformed("an unknown stream"))?;
        let rows = cursor.u64()?;
        let min_time = TimestampUs(cursor.u64()?.cast_signed());
        let max_time = TimestampUs(cursor.u64()?.cast_signed());
        let columns = Schema::of(stream).columns;
        if cursor.varint()? != columns.len() as u64 {
            return Err(Malformed("another schema than that of its version"));
        }
        let mut column_bytes = Vec::with_capacity(columns.len());
        for column in columns {
            let (id, ty) = (ColumnId(cursor.u16()?), cursor.u8()?);
            if id != column.id || ty != type_tag(column.ty) {
                return Err(Malformed("another schema than that of its version"));
            }
            column_bytes.push(cursor.varint()?);
        }
        let mut runs = Vec::new();
        for _ in 0..cursor.len(cursor.rest().len())? {
            let tenant =
                u32::try_from(cursor.varint()?).map_err(|_| Malformed("a tenant's number above 32 bits"))?;
            runs.push((TenantNo(tenant), Place::decode(cursor)?));
        }
        Ok(Self { stream, rows, min_time, max_time, column_bytes, runs })
    }
}
