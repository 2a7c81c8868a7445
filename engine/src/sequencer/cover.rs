//! The catalog record of the leaves of a block whose audit records have expired: the hashes of the subtrees
//! that cover them, so that records of the block that are still there can be proven.
//!
//! The bytes are described in `docs/format/catalog.md`.

use std::collections::BTreeMap;

use super::tenant_prefix;
use super::tree::{BLOCK_LEAVES, Hash, node};
use crate::append::{CatalogKind, CatalogPut};
use crate::error::{Error, Result};
use crate::id::TenantNo;

/// Bytes of the bits.
const GONE_BYTES: usize = 32;
const _: () = assert!(GONE_BYTES as u64 * 8 == BLOCK_LEAVES);

/// The leaves of a block that are gone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Cover {
    /// By the first leaf of a subtree how many leaves it has, and its hash.
    subtrees: BTreeMap<u64, (u64, Hash)>,
}

impl Cover {
    /// The catalog key: tenant and block sort as their numbers do.
    pub(crate) fn key(tenant: TenantNo, block: u64) -> Vec<u8> {
        let mut key = tenant_prefix(tenant);
        key.extend((0..8).rev().map(|i| (block >> (8 * i) & 0xff) as u8));
        key
    }

    /// The record as it is given to the catalog; none when the root of the block stands for it.
    pub(crate) fn put(&self, tenant: TenantNo, block: u64) -> CatalogPut {
        let value = (self.leaves() < BLOCK_LEAVES).then(|| self.encode());
        CatalogPut { kind: CatalogKind::AuditCover, key: Self::key(tenant, block), value }
    }

    /// How many leaves are gone.
    pub(crate) fn leaves(&self) -> u64 {
        self.subtrees.values().map(|(leaves, _)| leaves).sum()
    }

    /// Whether a leaf is gone.
    pub(crate) fn has(&self, leaf: u64) -> bool {
        self.subtrees.range(..=leaf).next_back().is_some_and(|(first, (leaves, _))| leaf - first < *leaves)
    }

    /// The hash of the subtree of `leaves` leaves from `first` on, when it is one that is kept.
    pub(crate) fn get(&self, first: u64, leaves: u64) -> Option<Hash> {
        self.subtrees.get(&first).filter(|(own, _)| *own == leaves).map(|(_, hash)| *hash)
    }

    /// Adds a leaf of the block that goes; subtrees that are whole then become one.
    pub(crate) fn add(&mut self, leaf: u64, hash: Hash) {
        if leaf >= BLOCK_LEAVES || self.has(leaf) {
            return;
        }
        let (mut first, mut leaves, mut hash) = (leaf, 1, hash);
        while leaves < BLOCK_LEAVES {
            let sibling = first ^ leaves;
            let Some(other) = self.get(sibling, leaves) else { break };
            self.subtrees.remove(&sibling);
            hash = if sibling < first { node(&other, &hash) } else { node(&hash, &other) };
            first = first.min(sibling);
            leaves *= 2;
        }
        self.subtrees.insert(first, (leaves, hash));
    }

    /// The bytes, as the format has them.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; GONE_BYTES];
        for leaf in (0..BLOCK_LEAVES).filter(|leaf| self.has(*leaf)) {
            if let Some(byte) = usize::try_from(leaf / 8).ok().and_then(|at| out.get_mut(at)) {
                *byte |= 1 << (leaf % 8);
            }
        }
        for (_, hash) in self.subtrees.values() {
            out.extend_from_slice(hash);
        }
        out
    }

    /// A record from its bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when there are not as many hashes as the bits ask for.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let wrong = || Error::invalid("hashes of expired leaves of the wrong length");
        let (gone, rest) = bytes.split_first_chunk::<GONE_BYTES>().ok_or_else(wrong)?;
        let (hashes, []) = rest.as_chunks::<32>() else { return Err(wrong()) };
        let is_gone = |leaf: u64| {
            let byte = usize::try_from(leaf / 8).ok().and_then(|at| gone.get(at));
            byte.is_some_and(|byte| byte >> (leaf % 8) & 1 == 1)
        };
        let mut hashes = hashes.iter();
        let mut out = Self::default();
        let mut first = 0;
        while first < BLOCK_LEAVES {
            if !is_gone(first) {
                first += 1;
                continue;
            }
            let mut leaves = 1;
            while leaves < BLOCK_LEAVES
                && first % (leaves * 2) == 0
                && (first..first + leaves * 2).all(is_gone)
            {
                leaves *= 2;
            }
            out.subtrees.insert(first, (leaves, *hashes.next().ok_or_else(wrong)?));
            first += leaves;
        }
        if hashes.next().is_some() { Err(wrong()) } else { Ok(out) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sequencer::tree::root_of;

    fn leaf(n: u64) -> Hash {
        [u8::try_from(n).unwrap(); 32]
    }

    #[test]
    fn the_bytes_are_the_ones_of_before() {
        let mut cover = Cover::default();
        (0..7).chain([100]).for_each(|n| cover.add(n, leaf(n)));
        let bytes = cover.encode();
        assert_eq!(bytes.len(), 32 + 4 * 32, "of four, of two, of one, and the other one");
        crate::golden::check("audit_cover.bin", &bytes);
    }

    proptest! {
            #[test]
            fn leaves_come_back_and_what_is_whole_is_one_hash(gone in prop::collection::vec(0_u64..256, 0..400)) {
                let mut cover = Cover::default();
                for n in &gone {
     cover.add(*n, leaf(*n));
    }
                prop_assert_eq!(Cover::decode(&cover.encode()).unwrap(), cover.clone());
                for n in 0..256 {
                    prop_assert_eq!(cover.has(n), gone.contains(&n));
                }
                for (first, (leaves, hash)) in &cover.subtrees {
                    let own: Vec<Hash> = (*first..first + leaves).map(leaf).collect();
                    prop_assert_eq!(*hash, root_of(&own));
                }
                (0..256).for_each(|n| cover.add(n, leaf(n)));
                let all: Vec<Hash> = (0..256).map(leaf).collect();
                prop_assert_eq!(cover.get(0, 256), Some(root_of(&all)));
                prop_assert_eq!(cover.put(TenantNo(1), 0).value, None);
            }

            #[test]
            fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
                drop(Cover::decode(&bytes));
            }
        }
}
