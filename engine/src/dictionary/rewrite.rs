//! Writes dictionary files anew: several as one, or one without what is erased.
//!
//! An identity's rank is another one in the new file, so 4 bytes for each identity that is read are in
//! memory meanwhile; [`super::plan::MERGED_BYTES_MAX`] bounds them.

use std::sync::Arc;

use super::file_writer::FileWriter;
use super::format::{IDENTITIES, kind_tag, rank_of_key};
use crate::error::Result;
use crate::id::TenantNo;
use crate::sorted_file::{Cursor, Entry, SortedReader};

/// A code of an open file.
#[derive(Debug, Clone, Copy)]
struct CodeEntry {
    tenant: TenantNo,
    tag: u8,
    rank: u32,
    code: u32,
    day: i64,
}

impl CodeEntry {
    fn order(&self) -> (TenantNo, u8, u32) {
        (self.tenant, self.tag, self.rank)
    }
}

/// The codes of one file, as the new file will have them.
struct Codes<'r> {
    reader: &'r SortedReader,
    cursor: Cursor<'r>,
    /// The new rank of each identity.
    ranks: Vec<u32>,
}

impl Codes<'_> {
    fn peek(&self) -> Result<Option<CodeEntry>> {
        let Some(entry) = self.cursor.entry() else {
            return Ok(None);
        };
        let read = || {
            let tag = kind_tag(entry.tag)?;
            let rank = *self.ranks.get(rank_of_key(entry.key)? as usize)?;
            let code = u32::try_from(entry.value).ok()?;
            Some(CodeEntry { tenant: entry.tenant, tag, rank, code, day: entry.extra })
        };
        let read = read();
        read.map(Some).ok_or_else(|| self.reader.corrupt(0, "a code of an identity that is not there"))
    }
}

fn is_identity(entry: &Entry<'_>) -> bool {
    (entry.tenant, entry.tag) == IDENTITIES
}

/// Writes what several files have; equal identities become one.
///
/// # Errors
///
/// Damage and I/O.
pub(super) fn merge(readers: &[&SortedReader], out: &mut FileWriter) -> Result<()> {
    let mut files = Vec::with_capacity(readers.len());
    for &reader in readers {
        files.push(Codes { reader, cursor: Cursor::new(reader)?, ranks: Vec::new() });
    }
    loop {
        let identities = files.iter().enumerate().filter_map(|(n, f)| Some((n, f.cursor.entry()?)));
        let identities = identities.filter(|(_, entry)| is_identity(entry));
        let Some((number, entry)) = identities.min_by(|(_, a), (_, b)| a.key.cmp(b.key)) else {
            break;
        };
        let rank = out.push_identity(entry.key)?;
        if let Some(file) = files.get_mut(number) {
            file.ranks.push(rank);
            file.cursor.advance()?;
        }
    }
    loop {
        let mut first: Option<(usize, CodeEntry)> = None;
        for (number, file) in files.iter().enumerate() {
            if let Some(entry) = file.peek()?
                && first.is_none_or(|(_, least)| entry.order() < least.order())
            {
                first = Some((number, entry));
            }
        }
        let Some((number, entry)) = first else {
            return Ok(());
        };
        out.push_code(entry.tenant, entry.tag, entry.rank, entry.code, entry.day)?;
        if let Some(file) = files.get_mut(number) {
            file.cursor.advance()?;
        }
    }
}

/// What of a file stays, when something of it goes.
pub(super) struct Kept {
    /// By rank: whether the identity stays.
    identities: Vec<bool>,
    /// By place among the codes: whether the code stays.
    codes: Vec<bool>,
}

impl Kept {
    /// Whether anything stays.
    pub(super) fn has_codes(&self) -> bool {
        self.codes.contains(&true)
    }
}

/// Decides for each code of a file whether it stays; an identity stays with any of its codes. `None` when
/// everything stays.
///
/// # Errors
///
/// Damage and I/O.
pub(super) fn kept(
    reader: &SortedReader,
    identity_at: impl Fn(u32) -> Result<Arc<[u8]>>,
    is_erased: &dyn Fn(TenantNo, u8, &[u8]) -> bool,
) -> Result<Option<Kept>> {
    let mut kept = Kept { identities: Vec::new(), codes: Vec::new() };
    let mut cursor = Cursor::new(reader)?;
    while let Some(entry) = cursor.entry() {
        if is_identity(&entry) {
            kept.identities.push(false);
        } else {
            let rank = rank_of_key(entry.key);
            let (Some(tag), Some(rank)) = (kind_tag(entry.tag), rank) else {
                return Err(reader.corrupt(0, "a code of an identity that is not there"));
            };
            let stays = !is_erased(entry.tenant, tag, &identity_at(rank)?);
            kept.codes.push(stays);
            if let Some(slot) = kept.identities.get_mut(rank as usize) {
                *slot |= stays;
            }
        }
        cursor.advance()?;
    }
    Ok(if kept.codes.iter().all(|stays| *stays) { None } else { Some(kept) })
}

/// Writes what of a file stays.
///
/// # Errors
///
/// Damage and I/O.
pub(super) fn write_kept(reader: &SortedReader, kept: &Kept, out: &mut FileWriter) -> Result<()> {
    let mut codes = Codes { reader, cursor: Cursor::new(reader)?, ranks: Vec::new() };
    let mut identities = kept.identities.iter();
    while let Some(entry) = codes.cursor.entry().filter(is_identity) {
        let stays = identities.next().is_some_and(|stays| *stays);
        let rank = if stays { out.push_identity(entry.key)? } else { u32::MAX };
        codes.ranks.push(rank);
        codes.cursor.advance()?;
    }
    for stays in &kept.codes {
        if let (Some(entry), true) = (codes.peek()?, *stays) {
            out.push_code(entry.tenant, entry.tag, entry.rank, entry.code, entry.day)?;
        }
        codes.cursor.advance()?;
    }
    Ok(())
}
