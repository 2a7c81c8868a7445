//! What a dictionary file is: a sorted file of identities, each once, and of codes that lead to them.
//!
//! The bytes are described in `docs/format/dictionary.md`.
//!
//! # Invariants
//!
//! * A code belongs to one identity for ever; a code and its identity are in one live file.

use std::collections::BTreeMap;

use crate::codec::{Cursor, Decoded, Malformed, decode_ints, encode_ints, put_block, put_varint, take_block};
use crate::file_header::FileType;
use crate::id::TenantNo;
use crate::sorted_file::{BlockPlace, KEY_BYTES_MAX, MemoryBytes, varint_u32};

/// The newest format of a dictionary file that is read, and the one that is written.
pub const DICTIONARY_VERSION: u32 = 1;
/// Most bytes of an identity; the door refuses longer ones, or a flush could never write them.
pub const IDENTITY_BYTES_MAX: usize = KEY_BYTES_MAX;
/// Codes of one page.
pub const PAGE_ENTRIES: usize = 16_384;
/// Where identities are among the tags of a sorted file.
pub(super) const IDENTITIES: (TenantNo, u8) = (TenantNo(0), 0);

/// The tag of the codes of a kind; see the layout.
pub(super) fn codes_tag(kind_tag: u8) -> u8 {
    kind_tag.wrapping_add(1)
}

/// The tag of the kind whose codes have this tag; `None` for that of identities.
pub(crate) fn kind_tag(codes_tag: u8) -> Option<u8> {
    codes_tag.checked_sub(1)
}

/// The key of the codes of an identity: its rank.
#[expect(clippy::big_endian_bytes, reason = "so that keys are in the order of ranks")]
pub(super) fn key_of_rank(rank: u32) -> [u8; 4] {
    rank.to_be_bytes()
}

/// The rank of an identity out of the key of one of its codes.
pub(crate) fn rank_of_key(key: &[u8]) -> Option<u32> {
    key.try_into().ok().map(u32::from_be_bytes)
}

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
    /// The pages of codes; none for a run of at most [`PAGE_ENTRIES`].
    pub(super) pages: Box<[PageInfo]>,
}

/// A page of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageInfo {
    /// Its first code.
    pub(super) first_code: u32,
    /// Where it is.
    pub(super) place: BlockPlace,
}

impl RunInfo {
    /// One past the highest code.
    pub(super) fn end_code(&self) -> u32 {
        self.first_code.saturating_add(self.span)
    }
}

/// Runs by tenant and tag of the kind.
pub(super) type Runs = BTreeMap<(TenantNo, u8), RunInfo>;

/// How many pages a run of so many entries has.
fn page_count(entries: u32) -> usize {
    let entries = entries as usize;
    if entries <= PAGE_ENTRIES { 0 } else { entries.div_ceil(PAGE_ENTRIES) }
}

/// Codes of a run, ascending, and the ranks of their identities.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Page {
    codes: Vec<u32>,
    ranks: Vec<u32>,
}

impl Page {
    /// A page of pairs of code and rank, in any order.
    pub(super) fn new(mut pairs: Vec<(u32, u32)>) -> Self {
        pairs.sort_unstable();
        let (codes, ranks) = pairs.into_iter().unzip();
        Self { codes, ranks }
    }

    /// The rank of the identity of a code, if it is here.
    pub(super) fn rank_of(&self, code: u32) -> Option<u32> {
        let at = self.codes.binary_search(&code).ok()?;
        self.ranks.get(at).copied()
    }

    /// The lowest code.
    pub(super) fn first_code(&self) -> u32 {
        self.codes.first().copied().unwrap_or(0)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.codes.len() * 3);
        for column in [&self.codes, &self.ranks] {
            let numbers: Vec<u64> = column.iter().map(|n| u64::from(*n)).collect();
            put_block(|block| encode_ints(&numbers, block), &mut out);
        }
        out
    }

    /// A page of so many codes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when the bytes are not one.
    pub(super) fn decode(bytes: &[u8], len: usize) -> Decoded<Self> {
        let mut reader = Cursor::new(bytes);
        let mut column = || -> Decoded<Vec<u32>> {
            let numbers = decode_ints(take_block(&mut reader)?, len)?;
            let narrow = numbers.into_iter().map(u32::try_from).collect::<Result<_, _>>();
            narrow.map_err(|_| Malformed("a code or rank that is too large"))
        };
        let page = Self { codes: column()?, ranks: column()? };
        reader.end()?;
        if !page.codes.is_sorted_by(|a, b| a < b) {
            return Err(Malformed("codes of a page out of order"));
        }
        Ok(page)
    }
}

impl MemoryBytes for Page {
    fn memory_bytes(&self) -> usize {
        (self.codes.len() + self.ranks.len()) * 4
    }
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
        for page in &run.pages {
            put_varint(u64::from(page.first_code), &mut out);
            page.place.encode(&mut out);
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
        let pages = page_count(entries);
        if entries == 0 || entries > span || first_code.checked_add(span).is_none() || pages > bytes.len() {
            return Err(Malformed("a run of a dictionary that cannot be"));
        }
        let page = |_| {
            Ok(PageInfo { first_code: varint_u32(&mut reader)?, place: BlockPlace::decode(&mut reader)? })
        };
        let pages = (0..pages).map(page).collect::<Decoded<Box<[PageInfo]>>>()?;
        if !pages.is_sorted_by(|a, b| a.first_code < b.first_code) {
            return Err(Malformed("pages of a dictionary out of order"));
        }
        if runs.insert(key, RunInfo { first_code, span, entries, pages }).is_some() {
            return Err(Malformed("a run of a dictionary that is there twice"));
        }
    }
    reader.end()?;
    Ok(runs)
}
