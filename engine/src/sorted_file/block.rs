//! One block of sorted entries: bytes <-> entries.
//!
//! The bytes are described in `docs/format/sorted-file.md`.
//!
//! # Invariants
//!
//! * Groups ascend by (tenant, tag), none is empty; keys ascend within a group, each once.
//! * A rank is the place of an entry among all entries of its (tenant, tag) in the file, from 0.

use super::cache::MemoryBytes;
use super::keys::{self, TEXT_BYTES_MAX};
use crate::codec::{
    Cursor, Decoded, Density, Malformed, decode_ints, encode_ints_at, from_ordered, put_block, put_section,
    put_varint, take_block, to_ordered,
};
use crate::id::TenantNo;

/// Most bytes of a key.
pub(crate) const KEY_BYTES_MAX: usize = 512 << 10;
const _: () = assert!(KEY_BYTES_MAX * 2 <= TEXT_BYTES_MAX);
/// Most entries of a block.
pub(super) const BLOCK_ENTRIES_MAX: usize = 4096;

/// One entry: a key in the space of a tenant and a tag, and two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry<'k> {
    /// Whose space.
    pub(crate) tenant: TenantNo,
    /// Which of the tenant's spaces.
    pub(crate) tag: u8,
    /// The key, unique in its space.
    pub(crate) key: &'k [u8],
    /// The first number.
    pub(crate) value: u64,
    /// The second number.
    pub(crate) extra: i64,
}

impl<'k> Entry<'k> {
    /// What entries are sorted by.
    pub(crate) fn order(&self) -> (TenantNo, u8, &'k [u8]) {
        (self.tenant, self.tag, self.key)
    }
}

/// Entries of one (tenant, tag) within a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) tenant: TenantNo,
    pub(crate) tag: u8,
    /// Rank of its first entry.
    pub(crate) first_rank: u32,
    /// Its first entry in the block.
    pub(crate) start: usize,
    /// One past its last entry in the block.
    pub(crate) end: usize,
}

/// A block in memory, for reading; also what a writer collects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SortedBlock {
    groups: Vec<Group>,
    text: Vec<u8>,
    /// Where each key ends in `text`.
    ends: Vec<u32>,
    values: Numbers,
    extras: Numbers,
}

/// A number for each entry; one that all of them have is kept once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Numbers {
    first: u64,
    /// All of them, unless all are the first.
    all: Vec<u64>,
    len: usize,
}

impl Numbers {
    fn of(mut all: Vec<u64>) -> Self {
        let (first, len) = (all.first().copied().unwrap_or(0), all.len());
        if all.iter().all(|number| *number == first) {
            all = Vec::new();
        }
        Self { first, all, len }
    }

    fn push(&mut self, number: u64) {
        if self.len == 0 {
            self.first = number;
        } else if self.all.is_empty() && number != self.first {
            self.all = vec![self.first; self.len];
        }
        if self.first != number || !self.all.is_empty() {
            self.all.push(number);
        }
        self.len += 1;
    }

    fn get(&self, index: usize) -> Option<u64> {
        if self.all.is_empty() {
            return (index < self.len).then_some(self.first);
        }
        self.all.get(index).copied()
    }

    /// All of them.
    fn to_vec(&self) -> Vec<u64> {
        if self.all.is_empty() { vec![self.first; self.len] } else { self.all.clone() }
    }

    fn memory_bytes(&self) -> usize {
        self.all.len() * size_of::<u64>()
    }
}

impl SortedBlock {
    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all keys.
    pub(super) fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// The groups, in order.
    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups
    }

    fn key(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends.get(index - 1).copied().unwrap_or(0) };
        let end = self.ends.get(index).copied().unwrap_or(start);
        self.text.get(start as usize..end as usize).unwrap_or(&[])
    }

    /// The entry at a place of a group.
    pub(crate) fn entry(&self, group: &Group, index: usize) -> Option<Entry<'_>> {
        let value = self.values.get(index)?;
        let extra = from_ordered(self.extras.get(index)?);
        Some(Entry { tenant: group.tenant, tag: group.tag, key: self.key(index), value, extra })
    }

    /// The group of a (tenant, tag), if it has entries here.
    pub(crate) fn group(&self, tenant: TenantNo, tag: u8) -> Option<&Group> {
        let at = self.groups.binary_search_by_key(&(tenant, tag), |g| (g.tenant, g.tag)).ok()?;
        self.groups.get(at)
    }

    /// The entry of a key, if it is here.
    pub(crate) fn get(&self, tenant: TenantNo, tag: u8, key: &[u8]) -> Option<Entry<'_>> {
        self.find(tenant, tag, key).map(|(_, entry)| entry)
    }

    /// The rank of a key, if it is here, and its entry.
    pub(crate) fn find(&self, tenant: TenantNo, tag: u8, key: &[u8]) -> Option<(u32, Entry<'_>)> {
        let group = self.group(tenant, tag)?;
        let (mut low, mut high) = (group.start, group.end);
        while low < high {
            let middle = low.midpoint(high);
            if self.key(middle) < key { low = middle + 1 } else { high = middle }
        }
        let entry = if low < group.end { self.entry(group, low) } else { None };
        let rank = group.first_rank.checked_add(u32::try_from(low - group.start).ok()?)?;
        entry.filter(|e| e.key == key).map(|e| (rank, e))
    }

    /// Adds the entry of rank `rank`, which comes after all that are here.
    pub(super) fn push(&mut self, entry: Entry<'_>, rank: u32) {
        let index = self.len();
        match self.groups.last_mut() {
            Some(g) if (g.tenant, g.tag) == (entry.tenant, entry.tag) => g.end = index + 1,
            _ => self.groups.push(Group {
                tenant: entry.tenant,
                tag: entry.tag,
                first_rank: rank,
                start: index,
                end: index + 1,
            }),
        }
        self.text.extend_from_slice(entry.key);
        self.ends.push(end_of(&self.text));
        self.values.push(entry.value);
        self.extras.push(to_ordered(entry.extra));
    }

    /// The bytes of the block.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut groups = Vec::with_capacity(self.groups.len() * 8 + 2);
        put_varint(self.groups.len() as u64, &mut groups);
        for group in &self.groups {
            put_varint(u64::from(group.tenant.0), &mut groups);
            groups.push(group.tag);
            put_varint(u64::from(group.first_rank), &mut groups);
            put_varint((group.end - group.start) as u64, &mut groups);
        }
        let mut out = Vec::with_capacity(self.text.len() / 2 + self.len() * 4);
        put_section(&groups, &mut out);
        put_block(|block| encode_ints_at(&self.values.to_vec(), Density::Dense, block), &mut out);
        put_block(|block| encode_ints_at(&self.extras.to_vec(), Density::Dense, block), &mut out);
        let keys: Vec<&[u8]> = (0..self.len()).map(|index| self.key(index)).collect();
        keys::encode(&self.groups, &keys, &mut out);
        out
    }

    /// A block from its bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when the bytes are not a block, or its entries are out of order.
    pub(super) fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut reader = Cursor::new(bytes);
        let section = reader.section()?;
        let mut head = Cursor::new(&section);
        let groups = decode_groups(&mut head)?;
        head.end()?;
        let len = groups.last().map_or(0, |g| g.end);
        let values = Numbers::of(decode_ints(take_block(&mut reader)?, len)?);
        let extras = Numbers::of(decode_ints(take_block(&mut reader)?, len)?);
        let (text, ends) = keys::decode(&mut reader, &groups)?;
        if reader.rest().is_empty() {
            Ok(Self { groups, text, ends, values, extras })
        } else {
            Err(Malformed("a block with bytes after its end"))
        }
    }
}

impl MemoryBytes for SortedBlock {
    fn memory_bytes(&self) -> usize {
        self.text.len()
            + self.ends.len() * size_of::<u32>()
            + self.values.memory_bytes()
            + self.extras.memory_bytes()
            + self.groups.len() * size_of::<Group>()
    }
}

/// Where text ends: a block has at most [`TEXT_BYTES_MAX`].
pub(super) fn end_of(text: &[u8]) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}

/// A varint of at most 32 bits.
pub(crate) fn varint_u32(reader: &mut Cursor<'_>) -> Decoded<u32> {
    u32::try_from(reader.varint()?).map_err(|_| Malformed("a number that is too large"))
}

fn decode_groups(reader: &mut Cursor<'_>) -> Decoded<Vec<Group>> {
    let count = reader.len(BLOCK_ENTRIES_MAX)?;
    let mut groups: Vec<Group> = Vec::with_capacity(count);
    for _ in 0..count {
        let tenant = TenantNo(varint_u32(reader)?);
        let tag = reader.u8()?;
        let first_rank = varint_u32(reader)?;
        let start = groups.last().map_or(0, |g| g.end);
        let len = reader.len(BLOCK_ENTRIES_MAX)?;
        let ascends = groups.last().is_none_or(|g| (g.tenant, g.tag) < (tenant, tag));
        if len == 0 || start + len > BLOCK_ENTRIES_MAX || !ascends {
            return Err(Malformed("groups of a block out of order"));
        }
        groups.push(Group { tenant, tag, first_rank, start, end: start + len });
    }
    Ok(groups)
}
