//! A Bloom filter in cache lines: answers "not here" for a key with one access to memory.
//!
//! Every key sets [`PROBES`] bits of one 64-byte line, so about 1 key in 60 that is not here is
//! answered "perhaps" at 10 bits a key (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient
//! Bloom Filters, 2007).
//!
//! The bytes are described in `docs/format/sorted-file.md`.

use crate::id::TenantNo;

/// Bits a key takes.
const BITS_PER_KEY: u64 = 10;
/// Bits a key sets.
const PROBES: u32 = 6;
const LINE_BYTES: usize = 64;
/// Most bytes of a filter: 16 million keys at full accuracy; more keys make it less sharp, never wrong.
const FILTER_BYTES_MAX: u64 = 20 << 20;

/// The hash of a key that filters use; it is on disk, so it never changes.
///
/// Eight bytes a step, each multiplied into 128 bits and folded. It need not withstand chosen keys:
/// those cost a read of a block, never a wrong answer.
pub(crate) fn key_hash(tenant: TenantNo, tag: u8, key: &[u8]) -> u64 {
    let mut state = fold(u64::from(tenant.0) << 8 | u64::from(tag), 0x9e37_79b9_7f4a_7c15);
    let (words, rest) = key.as_chunks::<8>();
    for word in words {
        state = fold(state ^ u64::from_le_bytes(*word), 0xa076_1d64_78bd_642f);
    }
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    state = fold(state ^ u64::from_le_bytes(last), 0xe703_7ed1_a0b4_28db);
    fold(state ^ key.len() as u64, 0x8ebc_6af0_9c88_c6e3)
}

/// Both halves of the product, added without carry.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x2d35_8dcc_aa6c_78a5) * u128::from(b);
    let [l0, l1, l2, l3, l4, l5, l6, l7, h0, h1, h2, h3, h4, h5, h6, h7] = product.to_le_bytes();
    u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7])
        ^ u64::from_le_bytes([h0, h1, h2, h3, h4, h5, h6, h7])
}

/// Keys that may be in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    lines: Vec<[u64; 8]>,
}

impl Filter {
    /// An empty filter that is sharp for up to `keys` keys.
    pub(super) fn for_keys(keys: u64) -> Self {
        let bytes = (keys.saturating_mul(BITS_PER_KEY) / 8).clamp(1, FILTER_BYTES_MAX);
        let lines = usize::try_from(bytes).unwrap_or(1).div_ceil(LINE_BYTES);
        Self { lines: vec![[0; 8]; lines] }
    }

    /// Puts a key in.
    pub(super) fn insert(&mut self, hash: u64) {
        let at = self.line_of(hash);
        if let Some(line) = self.lines.get_mut(at) {
            for (word, mask) in line.iter_mut().zip(bits(hash)) {
                *word |= mask;
            }
        }
    }

    /// Whether a key may have been put in; `false` is certain.
    pub(super) fn may_contain(&self, hash: u64) -> bool {
        let line = self.lines.get(self.line_of(hash));
        line.is_none_or(|line| line.iter().zip(bits(hash)).all(|(word, mask)| word & mask == mask))
    }

    fn line_of(&self, hash: u64) -> usize {
        usize::try_from(((hash >> 32) * self.lines.len() as u64) >> 32).unwrap_or(0)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        self.lines.iter().flatten().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// A filter from its bytes; `None` when they are not whole lines.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        if words.is_empty() || !rest.is_empty() || !words.len().is_multiple_of(8) {
            return None;
        }
        let words: Vec<u64> = words.iter().map(|w| u64::from_le_bytes(*w)).collect();
        Some(Self { lines: words.as_chunks::<8>().0.to_vec() })
    }

    /// Bytes of memory this takes.
    pub(super) fn memory_bytes(&self) -> u64 {
        (self.lines.len() * LINE_BYTES) as u64
    }
}

/// The bits of a key in its line: nine bits of the hash for each, spread by one more multiplication.
fn bits(hash: u64) -> [u64; 8] {
    let mut spread = (hash & 0xffff_ffff).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = [0; 8];
    for _ in 0..PROBES {
        let bit = spread >> 55;
        if let Some(word) = out.get_mut(usize::try_from(bit >> 6).unwrap_or(0)) {
            *word |= 1 << (bit & 63);
        }
        spread = spread.wrapping_mul(0xd134_2543_de82_ef95);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(range: std::ops::Range<u64>) -> impl Iterator<Item = u64> {
        range.map(|n| key_hash(TenantNo(1), 0, format!("key {n}").as_bytes()))
    }

    #[test]
    fn no_key_is_lost_and_few_others_pass() {
        let mut filter = Filter::for_keys(10_000);
        hashes(0..10_000).for_each(|h| filter.insert(h));
        let filter = Filter::decode(&filter.encode()).unwrap();
        assert!(hashes(0..10_000).all(|h| filter.may_contain(h)));
        let wrong = hashes(10_000..110_000).filter(|h| filter.may_contain(*h)).count();
        assert!(wrong < 2_500, "{wrong} of 100,000 pass");
    }

    #[test]
    fn the_hash_of_a_key_never_changes() {
        assert_eq!(key_hash(TenantNo(7), 1, b"0192f5b0-7c3e-7000-8000-0123456789ab"), GOLDEN);
    }

    const GOLDEN: u64 = 5_138_255_627_428_525_023;

    #[test]
    fn bytes_that_are_not_lines_are_refused() {
        assert_eq!(Filter::decode(&[]), None);
        assert_eq!(Filter::decode(&[0; 63]), None);
        assert_eq!(Filter::decode(&[0; 72]), None);
    }
}
