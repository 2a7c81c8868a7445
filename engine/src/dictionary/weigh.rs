//! How the bytes of a dictionary file are shared among the kinds of identities.

use std::collections::BTreeMap;

use super::format::{IDENTITIES, TYPE, kind_tag, rank_of_key};
use crate::disk::Disk;
use crate::error::Result;
use crate::manifest::FileMeta;
use crate::sorted_file::{Cursor, SortedReader, share};

/// What an identity weighs besides its text, about, in bytes: the lengths.
const IDENTITY_BYTES: u64 = 1;
/// What a code weighs, about, in bytes: rank, code and day.
const CODE_BYTES: u64 = 3;
/// Parts of a byte, so that an identity can be shared by several kinds.
const PARTS: u64 = 1 << 10;

/// The bytes of a file by the tag of the kind. An identity is shared by all codes that lead to it.
///
/// Reads and verifies every block of entries.
///
/// # Errors
///
/// Damage and I/O.
pub(crate) fn bytes_by_kind(disk: &dyn Disk, meta: &FileMeta) -> Result<BTreeMap<u8, u64>> {
    let reader = SortedReader::open(disk, meta, TYPE)?;
    let mut identities: Vec<Vec<u8>> = Vec::new();
    let mut weights: Vec<u64> = Vec::new();
    let mut cursor = Cursor::new(&reader)?;
    while let Some(entry) = cursor.entry() {
        if (entry.tenant, entry.tag) == IDENTITIES {
            identities.push(Vec::new());
            weights.push((entry.key.len() as u64 + IDENTITY_BYTES) * PARTS);
        } else if let (Some(tag), Some(rank)) = (kind_tag(entry.tag), rank_of_key(entry.key))
            && let Some(kinds) = identities.get_mut(rank as usize)
        {
            kinds.push(tag);
        }
        cursor.advance()?;
    }
    let mut by_kind: BTreeMap<u8, u64> = BTreeMap::new();
    for (kinds, weight) in identities.into_iter().zip(weights) {
        for tag in &kinds {
            *by_kind.entry(*tag).or_default() += weight / kinds.len() as u64 + CODE_BYTES * PARTS;
        }
    }
    let all: u64 = by_kind.values().sum();
    Ok(by_kind.into_iter().map(|(tag, weight)| (tag, share(meta.bytes, weight, all))).collect())
}
