//! Decoded blocks of sorted files, bounded in bytes.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::Result;
use crate::id::FileId;
use crate::second_chance::SecondChance;

/// A file, and a block's first byte in it.
type Key = (FileId, u64);

/// Bytes that a block takes beside its own, about.
const ENTRY_BYTES: usize = 128;

/// What is kept for its bytes.
pub(crate) trait MemoryBytes {
    /// Bytes of memory this takes.
    fn memory_bytes(&self) -> usize;
}

/// Blocks that were read lately.
#[derive(Debug)]
pub(crate) struct BlockCache<B> {
    bytes_max: usize,
    blocks: Mutex<SecondChance<Key, Arc<B>>>,
}

impl<B: MemoryBytes> BlockCache<B> {
    /// An empty cache for up to `bytes_max` bytes, or one block.
    pub(crate) fn new(bytes_max: u64) -> Self {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        Self { bytes_max, blocks: Mutex::default() }
    }

    /// The block at a place, read by `read` when it is not here. Two that miss at once both read it.
    pub(crate) fn get(&self, file: FileId, offset: u64, read: impl FnOnce() -> Result<B>) -> Result<Arc<B>> {
        let key = (file, offset);
        if let Some(block) = self.blocks.lock().get(&key) {
            return Ok(Arc::clone(block));
        }
        let block = Arc::new(read()?);
        let bytes = block.memory_bytes() + ENTRY_BYTES;
        self.blocks.lock().insert(key, Arc::clone(&block), bytes, self.bytes_max);
        Ok(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl MemoryBytes for Vec<u8> {
        fn memory_bytes(&self) -> usize {
            self.len()
        }
    }

    fn kept(cache: &BlockCache<Vec<u8>>, offsets: std::ops::Range<u64>) -> usize {
        let blocks = cache.blocks.lock();
        offsets.filter(|offset| blocks.has(&(FileId(1), *offset))).count()
    }

    #[test]
    fn the_limit_is_kept_and_what_is_asked_for_stays() {
        let cache = BlockCache::new(10_000);
        let get = |offset| cache.get(FileId(1), offset, || Ok(vec![0; 1_000 - ENTRY_BYTES])).unwrap();
        get(0);
        for offset in 1..200 {
            get(offset);
            get(0);
            assert!(cache.blocks.lock().bytes() <= 10_000);
            assert_eq!(kept(&cache, 0..1), 1, "after {offset}");
        }
        assert_eq!(kept(&cache, 0..200), 10);
    }

    #[test]
    fn what_fits_is_read_once_in_whatever_order_it_is_asked_for() {
        let cache = BlockCache::new(10_000);
        let mut reads = 0;
        for _ in 0..5 {
            for offset in 0..10 {
                let read = || {
                    reads += 1;
                    Ok(vec![0; 1_000 - ENTRY_BYTES])
                };
                cache.get(FileId(1), offset, read).unwrap();
            }
        }
        assert_eq!(reads, 10);
    }

    #[test]
    fn a_block_above_the_limit_is_alone() {
        let cache = BlockCache::new(1_000);
        for offset in 0..3 {
            assert_eq!(cache.get(FileId(1), offset, || Ok(vec![1; 5_000])).unwrap().len(), 5_000);
            assert_eq!(kept(&cache, 0..3), 1);
        }
    }
}
