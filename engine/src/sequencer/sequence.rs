//! The catalog record of a tenant's stream: the next seq, and for audit the frontier of its tree.
//!
//! The bytes are described in `docs/format/catalog.md`.

use super::tree::{Frontier, Hash};
use super::{split_tenant, tenant_prefix};
use crate::append::{CatalogKind, CatalogPut};
use crate::error::{Error, Result};
use crate::id::{Stream, TenantNo};

/// Leaf of an audit record that the WAL lost: no record hashes to it.
pub(crate) const LOST_LEAF: Hash = [0; 32];

/// Where a tenant's stream stands, as of a flush.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceRecord {
    /// The seq after the last row.
    pub next_seq: u64,
    /// The tree over the rows' leaves (audit alone).
    pub tree: Frontier,
}

impl Default for SequenceRecord {
    fn default() -> Self {
        Self { next_seq: 1, tree: Frontier::new() }
    }
}

impl SequenceRecord {
    /// The catalog key: the tenant's number, the stream.
    pub fn key(tenant: TenantNo, stream: Stream) -> Vec<u8> {
        let mut out = tenant_prefix(tenant);
        out.push(stream.tag());
        out
    }

    /// The tenant and the stream of a catalog key.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when it is none.
    pub fn split_key(key: &[u8]) -> Result<(TenantNo, Stream)> {
        let (tenant, rest) = split_tenant(key)?;
        let stream = rest.first().copied().and_then(Stream::from_tag);
        Ok((tenant, stream.ok_or_else(|| Error::invalid("a catalog key that names no stream"))?))
    }

    /// The catalog value.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.next_seq.to_le_bytes().to_vec();
        if self.tree.leaves() > 0 {
            out.extend_from_slice(&self.tree.encode());
        }
        out
    }

    /// A record from its catalog value.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when it is none.
    pub fn decode(value: &[u8]) -> Result<Self> {
        let too_short = || Error::invalid("a sequence record that is too short");
        let (next, tree) = value.split_first_chunk().ok_or_else(too_short)?;
        let tree = if tree.is_empty() { Frontier::new() } else { Frontier::decode(tree)? };
        Ok(Self { next_seq: u64::from_le_bytes(*next), tree })
    }

    /// Grows the tree by the leaves that end in front of `next_seq`; gives the records of the roots of
    /// blocks that became full.
    ///
    /// Leaves that are in it already are passed over: a flush that failed late is done again. Records
    /// that a damaged WAL lost stand in it as leaves of zeroes, so that the others keep their place.
    pub fn grow(&mut self, tenant: TenantNo, next_seq: u64, leaves: &[Hash]) -> Vec<CatalogPut> {
        let mut roots = Vec::new();
        let first = next_seq.saturating_sub(leaves.len() as u64);
        while self.tree.leaves() + 1 < first {
            roots.extend(self.tree.append(&LOST_LEAF).map(|(block, root)| root_put(tenant, block, root)));
        }
        let known = self.tree.leaves() + 1 - first;
        for leaf in leaves.iter().skip(usize::try_from(known).unwrap_or(usize::MAX)) {
            roots.extend(self.tree.append(leaf).map(|(block, root)| root_put(tenant, block, root)));
        }
        roots
    }
}

/// The catalog record of a full block's root: tenant and block sort as their numbers do.
fn root_put(tenant: TenantNo, block: u64, root: Hash) -> CatalogPut {
    let mut key = tenant_prefix(tenant);
    key.extend((0..8).rev().map(|i| (block >> (8 * i) & 0xff) as u8));
    CatalogPut { kind: CatalogKind::AuditRoot, key, value: Some(root.to_vec()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequencer::tree::root_of;

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|i| [u8::try_from(i % 251 + 1).unwrap(); 32]).collect()
    }

    #[test]
    fn leaves_that_come_twice_count_once() {
        let all = leaves(600);
        let mut once = SequenceRecord::default();
        let roots = once.grow(TenantNo(1), 601, &all);
        assert_eq!(roots.len(), 2);
        let mut twice = SequenceRecord::default();
        twice.grow(TenantNo(1), 301, &all[..300]);
        twice.grow(TenantNo(1), 451, &all[100..450]);
        twice.grow(TenantNo(1), 601, &all[450..]);
        assert_eq!(once, twice);
        assert_eq!(once.tree.root(), root_of(&all));
    }

    #[test]
    fn a_lost_record_keeps_the_place_of_the_others() {
        let mut record = SequenceRecord::default();
        record.grow(TenantNo(1), 3, &leaves(2));
        record.grow(TenantNo(1), 6, &leaves(2));
        let mut expected = leaves(2);
        expected.push(LOST_LEAF);
        expected.extend(leaves(2));
        assert_eq!(record.tree.root(), root_of(&expected));
    }

    fn golden() -> SequenceRecord {
        let mut record = SequenceRecord { next_seq: 6, ..SequenceRecord::default() };
        record.grow(TenantNo(1), 6, &leaves(5));
        record
    }

    #[test]
    fn the_bytes_of_a_record_are_pinned() {
        let bytes = golden().encode();
        crate::golden::check("sequence.bin", &bytes);
        assert_eq!(SequenceRecord::decode(&bytes).unwrap(), golden());
    }

    #[test]
    fn a_record_comes_back_from_the_catalog() {
        let mut record = SequenceRecord::default();
        assert_eq!(SequenceRecord::decode(&record.encode()).unwrap(), record);
        record.grow(TenantNo(9), 301, &leaves(300));
        assert_eq!(SequenceRecord::decode(&record.encode()).unwrap(), record);
        assert!(SequenceRecord::decode(&[1, 2, 3]).is_err());
        let key = SequenceRecord::key(TenantNo(70_000), Stream::Audit);
        assert_eq!(SequenceRecord::split_key(&key).unwrap(), (TenantNo(70_000), Stream::Audit));
    }
}
