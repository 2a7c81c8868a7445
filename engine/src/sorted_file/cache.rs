//! Decoded blocks of sorted files, bounded in bytes.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::error::Result;
use crate::id::FileId;

/// A file, and a block's first byte in it.
type Key = (FileId, u64);

/// Bytes that a block takes beside its own, about.
const ENTRY_BYTES: usize = 128;

/// What is kept for its bytes.
pub(crate) trait MemoryBytes {
    /// Bytes of memory this takes.
    fn memory_bytes(&self) -> usize;
}

/// Blocks that were read lately: a clock. One that was asked for since the hand last passed stays for another
/// round; so all of the limit is of use, and a hit reorders nothing.
#[derive(Debug)]
pub(crate) struct BlockCache<B> {
    bytes_max: usize,
    inner: Mutex<Clock<B>>,
}

#[derive(Debug)]
struct Clock<B> {
    places: HashMap<Key, usize>,
    ring: Vec<Slot<B>>,
    hand: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Slot<B> {
    key: Key,
    block: Arc<B>,
    bytes: usize,
    asked: bool,
}

impl<B: MemoryBytes> BlockCache<B> {
    /// An empty cache for up to `bytes_max` bytes, and one block.
    pub(crate) fn new(bytes_max: u64) -> Self {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let inner = Clock { places: HashMap::new(), ring: Vec::new(), hand: 0, bytes: 0 };
        Self { bytes_max, inner: Mutex::new(inner) }
    }

    /// The block at a place, read by `read` when it is not here. Two that miss at once both read it.
    pub(crate) fn get(&self, file: FileId, offset: u64, read: impl FnOnce() -> Result<B>) -> Result<Arc<B>> {
        let key = (file, offset);
        if let Some(block) = self.inner.lock().get(&key) {
            return Ok(block);
        }
        let block = Arc::new(read()?);
        let bytes = block.memory_bytes() + ENTRY_BYTES;
        let slot = Slot { key, block: Arc::clone(&block), bytes, asked: false };
        self.inner.lock().insert(slot, self.bytes_max);
        Ok(block)
    }
}

impl<B> Clock<B> {
    fn get(&mut self, key: &Key) -> Option<Arc<B>> {
        let slot = self.ring.get_mut(*self.places.get(key)?)?;
        slot.asked = true;
        Some(Arc::clone(&slot.block))
    }

    fn insert(&mut self, slot: Slot<B>, bytes_max: usize) {
        if self.places.contains_key(&slot.key) {
            return;
        }
        while !self.ring.is_empty() && self.bytes + slot.bytes > bytes_max {
            self.evict_one();
        }
        self.bytes += slot.bytes;
        self.places.insert(slot.key, self.ring.len());
        self.ring.push(slot);
    }

    fn evict_one(&mut self) {
        match self.ring.get_mut(self.hand) {
            None => self.hand = 0,
            Some(slot) if slot.asked => {
                slot.asked = false;
                self.hand += 1;
            }
            Some(_) => {
                let gone = self.ring.swap_remove(self.hand);
                self.bytes = self.bytes.saturating_sub(gone.bytes);
                self.places.remove(&gone.key);
                if let Some(moved) = self.ring.get(self.hand) {
                    self.places.insert(moved.key, self.hand);
                }
            }
        }
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
        let inner = cache.inner.lock();
        offsets.filter(|offset| inner.places.contains_key(&(FileId(1), *offset))).count()
    }

    #[test]
    fn the_limit_is_kept_and_what_is_asked_for_stays() {
        let cache = BlockCache::new(10_000);
        let get = |offset| cache.get(FileId(1), offset, || Ok(vec![0; 1_000 - ENTRY_BYTES])).unwrap();
        get(0);
        for offset in 1..200 {
            get(offset);
            get(0);
            assert!(cache.inner.lock().bytes <= 10_000);
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
