//! Decoded blocks of sorted files, bounded in bytes.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::error::Result;
use crate::id::FileId;

/// A file, and a block's first byte in it.
type Key = (FileId, u64);

/// What is kept for its bytes.
pub(crate) trait MemoryBytes {
    /// Bytes of memory this takes.
    fn memory_bytes(&self) -> usize;
}

/// Blocks that were read lately. When the young ones take half of the limit they become the old ones,
/// and what was old and not asked for since is dropped: close to least-recently-used, without a list.
#[derive(Debug)]
pub(crate) struct BlockCache<B> {
    bytes_max: usize,
    inner: Mutex<Generations<B>>,
}

#[derive(Debug)]
struct Generations<B> {
    young: HashMap<Key, Arc<B>>,
    young_bytes: usize,
    old: HashMap<Key, Arc<B>>,
}

impl<B: MemoryBytes> BlockCache<B> {
    /// An empty cache for up to `bytes_max` bytes, and one block.
    pub(crate) fn new(bytes_max: u64) -> Self {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let inner = Generations { young: HashMap::new(), young_bytes: 0, old: HashMap::new() };
        Self { bytes_max, inner: Mutex::new(inner) }
    }

    /// The block at a place, read by `read` when it is not here. Two that miss at once both read it.
    pub(crate) fn get(&self, file: FileId, offset: u64, read: impl FnOnce() -> Result<B>) -> Result<Arc<B>> {
        let key = (file, offset);
        {
            let mut inner = self.inner.lock();
            if let Some(block) = inner.young.get(&key) {
                return Ok(Arc::clone(block));
            }
            if let Some(block) = inner.old.remove(&key) {
                self.insert(&mut inner, key, &block);
                return Ok(block);
            }
        }
        let block = Arc::new(read()?);
        self.insert(&mut self.inner.lock(), key, &block);
        Ok(block)
    }

    fn insert(&self, inner: &mut Generations<B>, key: Key, block: &Arc<B>) {
        let bytes = block.memory_bytes();
        if inner.young_bytes + bytes > self.bytes_max / 2 {
            inner.old = std::mem::take(&mut inner.young);
            inner.young_bytes = 0;
        }
        if inner.young.insert(key, Arc::clone(block)).is_none() {
            inner.young_bytes += bytes;
        }
    }
}
