//! The fixed parts of a segment file: header, block header, tail.
//!
//! The bytes are described in `docs/format/segment.md`.
//!
//! # Invariants
//!
//! * `footer_offset + footer_len + TAIL_BYTES` is the length of the file.
//! * A file is written once, from front to back, and never changed.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::codec::{Cursor, Decoded, Malformed, put_varint};
use crate::error::Result;
use crate::format_version;
use crate::id::{FileId, Stream};
use crate::schema::ColumnId;

/// The version that this program writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// Rows of a granule; the last one of a stream may have fewer.
pub const GRANULE_ROWS: usize = 8192;

/// SHA-256 of a footer, kept in the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FooterHash(pub [u8; 32]);

impl FooterHash {
    pub(super) fn of(footer: &[u8]) -> Self {
        Self(Sha256::digest(footer).into())
    }
}

const MAGIC: [u8; 8] = *b"INSIGSEG";
const TAIL_MAGIC: [u8; 8] = *b"INSIGEND";
pub(super) const HEADER_BYTES: usize = 24;
pub(super) const BLOCK_HEADER_BYTES: usize = 20;
pub(super) const TAIL_BYTES: usize = 40;
const _: () = assert!(HEADER_BYTES == 8 + 4 + 8 + 4);
const _: () = assert!(BLOCK_HEADER_BYTES == 4 + 4 + 1 + 1 + 2 + 4 + 4);
const _: () = assert!(TAIL_BYTES == 8 + 4 + 4 + 8 + 4 + 4 + 8);

pub(super) fn encode_header(file: FileId) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&file.0.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
    out
}

/// The version and the file id of a header.
pub(super) fn decode_header(bytes: &[u8; HEADER_BYTES]) -> Decoded<(u32, FileId)> {
    let mut cursor = Cursor::new(bytes);
    if cursor.array()? != MAGIC {
        return Err(Malformed("it does not start like a segment"));
    }
    let (version, file) = (cursor.u32()?, FileId(cursor.u64()?));
    check_crc(bytes, 20, cursor.u32()?)?;
    Ok((version, file))
}

/// Refuses a file of a version that is not read; a header that is damaged says nothing.
///
/// # Errors
///
/// [`crate::Error::NewerFormat`], [`crate::Error::OlderFormat`].
pub(crate) fn check_version(path: &Path, head: &[u8]) -> Result<()> {
    match head.first_chunk().map(decode_header) {
        Some(Ok((version, _))) => format_version::judge(path, version, VERSION),
        _ => Ok(()),
    }
}

fn check_crc(bytes: &[u8], covered: usize, crc: u32) -> Decoded<()> {
    if bytes.get(..covered).map(crc32fast::hash) == Some(crc) { Ok(()) } else { Err(CHECKSUM) }
}

/// Bytes that are not those that were written.
pub(super) const CHECKSUM: Malformed = Malformed("its checksum does not match");

/// The end of a file: where the footer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) footer_offset: u64,
    pub(super) footer_len: u32,
    pub(super) version: u32,
    pub(super) file: FileId,
    pub(super) footer_crc: u32,
}

impl Tail {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(TAIL_BYTES);
        out.extend_from_slice(&self.footer_offset.to_le_bytes());
        out.extend_from_slice(&self.footer_len.to_le_bytes());
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.file.0.to_le_bytes());
        out.extend_from_slice(&self.footer_crc.to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        out.extend_from_slice(&TAIL_MAGIC);
        out
    }

    pub(super) fn decode(bytes: &[u8; TAIL_BYTES]) -> Decoded<Self> {
        let mut cursor = Cursor::new(bytes);
        let tail = Self {
            footer_offset: cursor.u64()?,
            footer_len: cursor.u32()?,
            version: cursor.u32()?,
            file: FileId(cursor.u64()?),
            footer_crc: cursor.u32()?,
        };
        check_crc(bytes, 28, cursor.u32()?)?;
        if cursor.array()? != TAIL_MAGIC {
            return Err(Malformed("it does not end like a segment"));
        }
        Ok(tail)
    }
}

/// What a block holds; the number is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(super) enum BlockKind {
    /// A column of a granule.
    Column = 0,
    /// A typed sub-column of a document column of a granule.
    SubColumn = 1,
    /// What shredding left of a document column of a granule.
    Residual = 2,
    /// The paths of a document column of a granule.
    Paths = 3,
    /// Runs of a stream.
    Runs = 4,
    /// Names of tenants.
    TenantNames = 5,
    /// The directory of all column blocks.
    Directory = 6,
}

/// The identity of a block in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct BlockId {
    pub(super) kind: BlockKind,
    pub(super) stream: Option<Stream>,
    pub(super) column: Option<ColumnId>,
    pub(super) granule: u32,
    pub(super) sub: u32,
}

impl BlockId {
    pub(super) const fn column(
        kind: BlockKind,
        stream: Stream,
        column: ColumnId,
        granule: u32,
        sub: u32,
    ) -> Self {
        Self { kind, stream: Some(stream), column: Some(column), granule, sub }
    }

    pub(super) const fn index(kind: BlockKind, stream: Option<Stream>, number: u32) -> Self {
        Self { kind, stream, column: None, granule: number, sub: 0 }
    }

    fn encode(&self) -> [u8; 12] {
        let mut out = [0; 12];
        out[0] = self.kind as u8;
        out[1] = self.stream.map_or(0xff, Stream::tag);
        out[2..4].copy_from_slice(&self.column.map_or(0xffff, |c| c.0).to_le_bytes());
        out[4..8].copy_from_slice(&self.granule.to_le_bytes());
        out[8..12].copy_from_slice(&self.sub.to_le_bytes());
        out
    }
}

fn block_crc(file: FileId, offset: u64, len: [u8; 4], id: [u8; 12], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&file.0.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(&len);
    hasher.update(&id);
    hasher.update(payload);
    hasher.finalize()
}

/// Writes a block that starts at `offset` of `file`.
pub(super) fn put_block(
    file: FileId,
    offset: u64,
    id: &BlockId,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> Decoded<Place> {
    let in_u32 = |len: usize| u32::try_from(len).map_err(|_| Malformed("a block above 4 GiB"));
    let len = in_u32(payload.len() + BLOCK_HEADER_BYTES)?;
    let payload_len = in_u32(payload.len())?.to_le_bytes();
    let identity = id.encode();
    out.extend_from_slice(&payload_len);
    out.extend_from_slice(&block_crc(file, offset, payload_len, identity, payload).to_le_bytes());
    out.extend_from_slice(&identity);
    out.extend_from_slice(payload);
    Ok(Place { offset, len, number: 0 })
}

/// Makes the checksum of a block's changed bytes good again.
#[cfg(test)]
pub(super) fn reseal(file: FileId, offset: u64, block: &mut [u8]) {
    let (header, payload) = block.split_at_mut(BLOCK_HEADER_BYTES);
    let (len, id) = (header[..4].try_into().unwrap(), header[8..20].try_into().unwrap());
    header[4..8].copy_from_slice(&block_crc(file, offset, len, id, payload).to_le_bytes());
}

/// The payload of a block that was read at `offset`; only when it is the block that was asked for.
pub(super) fn check_block<'a>(file: FileId, offset: u64, id: &BlockId, block: &'a [u8]) -> Decoded<&'a [u8]> {
    let mut cursor = Cursor::new(block);
    let len = cursor.array::<4>()?;
    let crc = cursor.u32()?;
    let identity = cursor.array::<12>()?;
    let payload = cursor.rest();
    if block_crc(file, offset, len, identity, payload) != crc {
        return Err(CHECKSUM);
    }
    if identity != id.encode() || u32::from_le_bytes(len) as usize != payload.len() {
        return Err(Malformed("it is another block than the one that belongs here"));
    }
    Ok(payload)
}

/// Where a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The first byte of its header.
    pub(super) offset: u64,
    /// Its bytes, header and payload.
    pub(super) len: u32,
    /// Its number among the blocks of the file.
    pub(super) number: u32,
}

impl Place {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(self.offset, out);
        put_varint(u64::from(self.len), out);
        put_varint(u64::from(self.number), out);
    }

    pub(super) fn decode(cursor: &mut Cursor<'_>) -> Decoded<Self> {
        let offset = cursor.varint()?;
        let len = u32::try_from(cursor.varint()?).map_err(|_| Malformed("a block above 4 GiB"))?;
        let number =
            u32::try_from(cursor.varint()?).map_err(|_| Malformed("a block number above 32 bits"))?;
        if (len as usize) < BLOCK_HEADER_BYTES {
            return Err(Malformed("a block without a header"));
        }
        Ok(Self { offset, len, number })
    }

    /// A place or none, behind a byte that says which.
    pub(super) fn encode_option(place: Option<Self>, out: &mut Vec<u8>) {
        out.push(u8::from(place.is_some()));
        if let Some(place) = place {
            place.encode(out);
        }
    }

    pub(super) fn decode_option(cursor: &mut Cursor<'_>) -> Decoded<Option<Self>> {
        match cursor.u8()? {
            0 => Ok(None),
            1 => Self::decode(cursor).map(Some),
            _ => Err(Malformed("a flag that is neither 0 nor 1")),
        }
    }
}
