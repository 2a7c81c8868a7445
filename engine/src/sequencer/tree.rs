//! The Merkle tree of RFC 6962 over a tenant's audit leaves, as the few hashes that let it grow.
//!
//! The engine hashes records into leaves ([`super::leaf`]), so the tree takes leaf hashes. A node is
//! SHA-256(0x01, left, right); the tree over n leaves splits at the greatest power of two below n.
//!
//! The bytes are described in `docs/format/catalog.md`.

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// The hash of a leaf or of a node.
pub type Hash = [u8; 32];

/// Leaves of a block whose root is stored.
pub const BLOCK_LEAVES: u64 = 256;

/// The hash of an inner node (RFC 6962, section 2.1).
pub fn node(left: &Hash, right: &Hash) -> Hash {
    let mut hash = Sha256::new();
    hash.update([1]);
    hash.update(left);
    hash.update(right);
    hash.finalize().into()
}

/// The right edge of a tree: enough to add leaves and to tell the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    leaves: u64,
    /// Roots of perfect subtrees, the largest first: one for each one-bit of `leaves`.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many leaves there are.
    pub fn leaves(&self) -> u64 {
        self.leaves
    }

    /// Roots of the perfect subtrees, the largest first.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Those of subtrees of fewer leaves than `leaves`, a power of two.
    pub(crate) fn peaks_below(&self, leaves: u64) -> &[Hash] {
        let below = (self.leaves % leaves).count_ones() as usize;
        self.peaks.get(self.peaks.len().saturating_sub(below)..).unwrap_or(&[])
    }

    /// Those of the others.
    pub(crate) fn peaks_above(&self, leaves: u64) -> &[Hash] {
        let above = (self.leaves / leaves).count_ones() as usize;
        self.peaks.get(..above).unwrap_or(&[])
    }

    /// Adds a leaf. When it completes a block of [`BLOCK_LEAVES`], gives the block's number (from 0)
    /// and its root.
    pub fn append(&mut self, leaf: &Hash) -> Option<(u64, Hash)> {
        let mut peak = *leaf;
        let mut block = None;
        let mut bits = self.leaves;
        let mut height = 0u32;
        while bits & 1 == 1 {
            if let Some(left) = self.peaks.pop() {
                peak = node(&left, &peak);
            }
            bits >>= 1;
            height += 1;
            if 1 << height == BLOCK_LEAVES {
                block = Some((self.leaves / BLOCK_LEAVES, peak));
            }
        }
        self.peaks.push(peak);
        self.leaves += 1;
        block
    }

    /// The root over all leaves; that of no leaf is SHA-256 of nothing.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => Sha256::digest([]).into(),
            Some(last) => peaks.fold(*last, |right, left| node(left, &right)),
        }
    }

    /// The bytes of the frontier.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + self.peaks.len() * 32);
        out.extend_from_slice(&self.leaves.to_le_bytes());
        out.extend_from_slice(self.peaks.as_flattened());
        out
    }

    /// A frontier from its bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the length is not the one that the number of leaves asks for.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let wrong = || Error::invalid("a tree frontier of the wrong length");
        let (leaves, rest) = bytes.split_first_chunk::<8>().ok_or_else(wrong)?;
        let leaves = u64::from_le_bytes(*leaves);
        let (peaks, tail) = rest.as_chunks::<32>();
        if !tail.is_empty() || peaks.len() != leaves.count_ones() as usize {
            return Err(wrong());
        }
        Ok(Self { leaves, peaks: peaks.to_vec() })
    }
}

/// The root over all of `leaves`.
pub fn root_of(leaves: &[Hash]) -> Hash {
    let mut frontier = Frontier::new();
    for leaf in leaves {
        frontier.append(leaf);
    }
    frontier.root()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_of_a_frontier_are_the_ones_of_before() {
        let mut frontier = Frontier::new();
        for leaf in 0..11 {
            frontier.append(&[leaf; 32]);
        }
        crate::golden::check("frontier.bin", &frontier.encode());
    }

    /// RFC 6962, section 2.1, word for word.
    fn naive(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => *one,
            many => {
                let split = 1 << (usize::BITS - 1 - (many.len() - 1).leading_zeros());
                node(&naive(&many[..split]), &naive(&many[split..]))
            }
        }
    }

    fn leaf(n: u64) -> Hash {
        Sha256::digest(n.to_le_bytes()).into()
    }

    #[test]
    fn the_root_is_that_of_the_definition_at_every_size() {
        let leaves: Vec<Hash> = (0..300).map(leaf).collect();
        let mut frontier = Frontier::new();
        assert_eq!(frontier.root(), naive(&[]));
        for (n, leaf) in leaves.iter().enumerate() {
            frontier.append(leaf);
            assert_eq!(frontier.root(), naive(&leaves[..=n]), "{} leaves", n + 1);
        }
    }

    /// The test vectors that implementations of Certificate Transparency share.
    #[test]
    fn the_root_is_that_of_certificate_transparency() {
        let inputs: [&[u8]; 8] = [
            &[],
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
        ];
        let leaves = inputs.map(|input| Sha256::digest([&[0], input].concat()).into());
        let expected = [
            0x5d, 0xc9, 0xda, 0x79, 0xa7, 0x06, 0x59, 0xa9, 0xad, 0x55, 0x9c, 0xb7, 0x01, 0xde, 0xd9, 0xa2,
            0xab, 0x9d, 0x82, 0x3a, 0xad, 0x2f, 0x49, 0x60, 0xcf, 0xe3, 0x70, 0xef, 0xf4, 0x60, 0x43, 0x28,
        ];
        assert_eq!(root_of(&leaves), expected);
    }

    #[test]
    fn a_block_is_told_when_it_is_full() {
        let leaves: Vec<Hash> = (0..1024).map(leaf).collect();
        let mut frontier = Frontier::new();
        let blocks: Vec<(u64, Hash)> = leaves.iter().filter_map(|l| frontier.append(l)).collect();
        let expected: Vec<(u64, Hash)> =
            leaves.chunks(256).map(naive).zip(0..).map(|(h, n)| (n, h)).collect();
        assert_eq!(blocks, expected);
    }

    proptest! {
        #[test]
        fn a_frontier_that_was_stored_goes_on_alike(before in 0u64..600, after in 0u64..40) {
            let mut whole = Frontier::new();
            for n in 0..before {
                whole.append(&leaf(n));
            }
            let mut stored = Frontier::decode(&whole.encode()).unwrap();
            for n in before..before + after {
                prop_assert_eq!(whole.append(&leaf(n)), stored.append(&leaf(n)));
            }
            prop_assert_eq!(whole, stored);
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            drop(Frontier::decode(&bytes));
        }
    }
}
