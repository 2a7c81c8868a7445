//! The catalog's log: frames of records, each with the LSN up to which the log is complete.
//!
//! A `crate::frame_log` whose frames each hold one [`Group`]: a `record` in a `crate::codec` section, so compressed
//! when that pays (subjects are mostly UUIDs as text).
//!
//! The bytes are described in `docs/format/catalog.md`.
//!
//! # Invariants
//!
//! * Records are put in the order of the frames; a later one replaces an earlier one of its kind and key.
//! * `applied` never goes back. A group that is split over frames carries the old LSN in all but the last.

use serde::{Deserialize, Serialize};

use super::state::put_bytes;
use crate::append::CatalogPut;
use crate::codec::{Cursor, Malformed, put_section};
use crate::error::{Error, Result};
use crate::file_header::FileType;
use crate::frame_log::FrameLog;
use crate::id::Lsn;
use crate::record;

/// The newest format of the catalog's log that is read, and the one that is written.
pub const CATALOG_VERSION: u32 = 1;
/// Bytes of records in one frame, about.
const GROUP_BYTES: u64 = 4 << 20;

pub(crate) const LOG: FileType = FileType { magic: *b"INSCATA\0", version: CATALOG_VERSION, what: "catalog" };

/// Records that were written together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The records of all WAL frames up to this one are in the log.
    pub applied: Lsn,
    /// The records.
    pub puts: Vec<CatalogPut>,
}

/// The group in a frame, and its bytes before compression.
///
/// # Errors
///
/// [`Error::Invalid`] when the bytes are not one.
pub(super) fn decode_group(payload: &[u8]) -> Result<(Group, u64)> {
    let invalid = |e: Malformed| Error::invalid(e.0);
    // Before memory is taken for it; a section may be longer than a record.
    Cursor::new(payload).len(record::RECORD_BYTES_MAX).map_err(invalid)?;
    let mut reader = Cursor::new(payload);
    let raw = reader.section().map_err(invalid)?;
    reader.end().map_err(invalid)?;
    Ok((record::decode(&raw)?, raw.len() as u64))
}

/// Writes records in frames of bounded size; `applied` counts once the last one is durable. Tells their
/// bytes before compression.
pub(super) fn append(
    log: &mut FrameLog,
    before: Lsn,
    applied: Lsn,
    mut puts: impl Iterator<Item = CatalogPut>,
) -> Result<u64> {
    let mut raw_bytes = 0;
    loop {
        let mut group = Group { applied: before, puts: Vec::new() };
        let mut bytes = 0;
        let mut last = true;
        for put in puts.by_ref() {
            bytes += put_bytes(put.key.len(), put.value.as_ref().map_or(0, Vec::len));
            group.puts.push(put);
            if bytes >= GROUP_BYTES {
                last = false;
                break;
            }
        }
        if last {
            group.applied = applied;
        }
        let raw = record::encode(&group)?;
        raw_bytes += raw.len() as u64;
        let mut payload = Vec::with_capacity(raw.len() / 2);
        put_section(&raw, &mut payload);
        log.append(&payload)?;
        if last {
            return Ok(raw_bytes);
        }
    }
}
