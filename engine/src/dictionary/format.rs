//! What a dictionary file adds to a sorted file: where the codes of each run lead.
//!
//! # Layout
//!
//! A sorted file (`crate::sorted_file`) of magic `INSDICT\0`. An entry's tag is the kind of the identity,
//! its key the identity, its value the code, its extra the last day (since 1970) that the identity was
//! known to be used when the entry was written.
//!
//! The owner's part of the index, in varints: how many runs; for each run: tenant, tag byte, lowest
//! code, span (highest - lowest + 1), entries, and the places (offset, length) of its rank blobs,
//! as many as `rank_blobs` says.
//!
//! A rank blob has [`RANKS_PER_BLOB`] little-endian u32, the last one of a run fewer: for each code from
//! the lowest on the rank of its identity, or `u32::MAX` when the file does not have it. A run whose
//! entries are in one block has none: there the codes are looked through.
//!
//! # Invariants
//!
//! * A code belongs to one identity for ever; an identity is in one live file.

use std::collections::BTreeMap;

use crate::codec::{Cursor, Decoded, Malformed, put_varint};
use crate::file_header::FileType;
use crate::id::TenantNo;
use crate::sorted_file::{BlockPlace, KEY_BYTES_MAX, varint_u32};

/// The newest format of a dictionary file that is read, and the one that is written.
pub const DICTIONARY_VERSION: u32 = 0;
/// Most bytes of an identity; the door refuses longer ones, or a flush could never write them.
pub const IDENTITY_BYTES_MAX: usize = KEY_BYTES_MAX;
/// Codes that one rank blob covers.
pub const RANKS_PER_BLOB: u32 = 16_384;

pub(crate) const TYPE: FileType =
    FileType { magic: *b"INSDICT\0", version: DICTIONARY_VERSION, what: "dictionary" };

/// What a file has of one (tenant, kind).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunInfo {
    /// The lowest code.
    pub(super) first_code: u32,
    /// Highest code - lowest code + 1.
    pub(super) span: u32,
    /// How many identities.
    pub(super) entries: u32,
    /// Where the ranks by code are; empty for a run within one block.
    pub(super) ranks: Box<[BlockPlace]>,
}

impl RunInfo {
    /// One past the highest code.
    pub(super) fn end_code(&self) -> u32 {
        self.first_code.saturating_add(self.span)
    }
}

/// Runs by tenant and tag of the kind.
pub(super) type Runs = BTreeMap<(TenantNo, u8), RunInfo>;

/// How many rank blobs a run of this span has when it has any.
pub(super) fn rank_blobs(span: u32) -> usize {
    span.div_ceil(RANKS_PER_BLOB) as usize
}

pub(super) fn encode_runs(runs: &Runs) -> Vec<u8> {
    let mut out = Vec::with_capacity(runs.len() * 12);
    put_varint(runs.len() as u64, &mut out);
    for ((tenant, tag), run) in runs {
        put_varint(u64::from(tenant.0), &mut out);
        out.push(*tag);
        put_varint(u64::from(run.first_code), &mut out);
        put_varint(u64::from(run.span), &mut out);
        put_varint(u64::from(run.entries), &mut out);
        out.push(u8::from(!run.ranks.is_empty()));
        for place in &run.ranks {
            place.encode(&mut out);
        }
    }
    out
}

/// The runs from the owner's part of an index.
///
/// # Errors
///
/// [`Malformed`] when the bytes are not runs.
pub(super) fn decode_runs(bytes: &[u8]) -> Decoded<Runs> {
    let mut reader = Cursor::new(bytes);
    let mut runs = Runs::new();
    for _ in 0..reader.len(bytes.len())? {
        let key = (TenantNo(varint_u32(&mut reader)?), reader.u8()?);
        let (first_code, span) = (varint_u32(&mut reader)?, varint_u32(&mut reader)?);
        let entries = varint_u32(&mut reader)?;
        let blobs = if reader.u8()? == 0 { 0 } else { rank_blobs(span) };
        if entries == 0 || entries > span || first_code.checked_add(span).is_none() || blobs > bytes.len() {
            return Err(Malformed("a run of a dictionary that cannot be"));
        }
        let ranks =
            (0..blobs).map(|_| BlockPlace::decode(&mut reader)).collect::<Decoded<Box<[BlockPlace]>>>()?;
        if runs.insert(key, RunInfo { first_code, span, entries, ranks }).is_some() {
            return Err(Malformed("a run of a dictionary that is there twice"));
        }
    }
    reader.end()?;
    Ok(runs)
}
