//! One block of sorted entries: bytes <-> entries.
//!
//! # Layout (before compression)
//!
//! | part     | content                                                                              |
//! |----------|--------------------------------------------------------------------------------------|
//! | groups   | varint of how many; each: varint tenant, tag byte, varint first rank, varint entries |
//! | prefixes | for each entry: varint of bytes shared with the key before it in its group           |
//! | suffixes | for each entry: varint of further bytes                                              |
//! | values   | for each entry: zigzag of the difference to the value before, from 0, wrapping       |
//! | extras   | for each entry: zigzag of the difference to the extra before, from 0, wrapping       |
//! | text     | the further bytes of all keys                                                        |
//!
//! # Invariants
//!
//! * Groups ascend by (tenant, tag), none is empty; keys ascend within a group, each once.
//! * A rank is the place of an entry among all entries of its (tenant, tag) in the file, from 0.

use super::cache::MemoryBytes;
use crate::codec::{Cursor, Decoded, Malformed, put_varint};
use crate::id::TenantNo;

/// Most bytes of a key.
pub(crate) const KEY_BYTES_MAX: usize = 512 << 10;
/// Most bytes of all keys of a block; a writer ends a block long before.
const TEXT_BYTES_MAX: usize = 1 << 20;
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
    ends: Vec<usize>,
    values: Vec<u64>,
    extras: Vec<i64>,
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
        self.text.get(start..end).unwrap_or(&[])
    }

    /// The entry at a place of a group.
    pub(crate) fn entry(&self, group: &Group, index: usize) -> Option<Entry<'_>> {
        let value = *self.values.get(index)?;
        let extra = *self.extras.get(index)?;
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
        self.ends.push(self.text.len());
        self.values.push(entry.value);
        self.extras.push(entry.extra);
    }

    /// The bytes of the block.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.text.len() + self.len() * 6);
        put_varint(self.groups.len() as u64, &mut out);
        for group in &self.groups {
            put_varint(u64::from(group.tenant.0), &mut out);
            out.push(group.tag);
            put_varint(u64::from(group.first_rank), &mut out);
            put_varint((group.end - group.start) as u64, &mut out);
        }
        let mut suffixes = Vec::with_capacity(self.len() * 2);
        let mut text = Vec::with_capacity(self.text.len());
        for group in &self.groups {
            let mut before: &[u8] = &[];
            for index in group.start..group.end {
                let key = self.key(index);
                let shared = before.iter().zip(key).take_while(|(a, b)| a == b).count();
                let further = key.get(shared..).unwrap_or(&[]);
                put_varint(shared as u64, &mut out);
                put_varint(further.len() as u64, &mut suffixes);
                text.extend_from_slice(further);
                before = key;
            }
        }
        out.append(&mut suffixes);
        let mut before = 0;
        for value in &self.values {
            put_zigzag(value.wrapping_sub(before).cast_signed(), &mut out);
            before = *value;
        }
        let mut before = 0;
        for extra in &self.extras {
            put_zigzag(extra.wrapping_sub(before), &mut out);
            before = *extra;
        }
        out.append(&mut text);
        out
    }

    /// A block from its bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when the bytes are not a block, or its entries are out of order.
    pub(super) fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut reader = Cursor::new(bytes);
        let groups = decode_groups(&mut reader)?;
        let len = groups.last().map_or(0, |g| g.end);
        let mut lens = |max| (0..len).map(|_| reader.len(max)).collect::<Decoded<Vec<usize>>>();
        let shared = lens(KEY_BYTES_MAX)?;
        let further = lens(KEY_BYTES_MAX)?;
        let mut value = 0u64;
        let values = (0..len).map(|_| {
            value = value.wrapping_add(zigzag(&mut reader)?.cast_unsigned());
            Ok(value)
        });
        let values = values.collect::<Decoded<Vec<u64>>>()?;
        let mut extra = 0i64;
        let extras = (0..len).map(|_| {
            extra = extra.wrapping_add(zigzag(&mut reader)?);
            Ok(extra)
        });
        let extras = extras.collect::<Decoded<Vec<i64>>>()?;
        let mut block = Self { groups, values, extras, ..Self::default() };
        block.decode_keys(&mut reader, &shared, &further)?;
        if reader.rest().is_empty() { Ok(block) } else { Err(Malformed("a block with bytes after its end")) }
    }

    fn decode_keys(&mut self, reader: &mut Cursor<'_>, shared: &[usize], further: &[usize]) -> Decoded<()> {
        let lens: Vec<(usize, usize)> = shared.iter().copied().zip(further.iter().copied()).collect();
        for group in &self.groups {
            let mut before = 0..0;
            for (index, (shared, further)) in lens.iter().enumerate().take(group.end).skip(group.start) {
                let first = index == group.start;
                let start = self.text.len();
                let fits = *shared <= before.len() && start + shared + further <= TEXT_BYTES_MAX;
                if !fits {
                    return Err(Malformed("a key longer than its block allows"));
                }
                self.text.extend_from_within(before.start..before.start + shared);
                self.text.extend_from_slice(reader.take(*further)?);
                let key = start..self.text.len();
                if !first && self.text.get(before) >= self.text.get(key.clone()) {
                    return Err(Malformed("keys of a block out of order"));
                }
                self.ends.push(key.end);
                before = key;
            }
        }
        Ok(())
    }
}

impl MemoryBytes for SortedBlock {
    fn memory_bytes(&self) -> usize {
        self.text.len() + self.ends.len() * 24 + self.groups.len() * size_of::<Group>()
    }
}

/// Writes a signed number; small ones of either sign are short.
fn put_zigzag(n: i64, out: &mut Vec<u8>) {
    put_varint((n.wrapping_shl(1) ^ (n >> 63)).cast_unsigned(), out);
}

fn zigzag(reader: &mut Cursor<'_>) -> Decoded<i64> {
    let n = reader.varint()?;
    Ok((n >> 1).cast_signed() ^ -(n & 1).cast_signed())
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
