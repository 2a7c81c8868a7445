//! A bounded cache of decoded granules, shared by all segments of an engine.
//!
//! Sixteen shards, each under its own lock. A hit costs a hash and a flag; no list is reordered.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::DefaultHashBuilder;
use parking_lot::Mutex;

use super::paths::Paths;
use crate::id::{FileId, Stream};
use crate::schema::{ColumnId, ColumnVector, Scalar};
use crate::second_chance::SecondChance;

const SHARDS: usize = 16;

/// Bytes that an entry takes beside its value, about.
const ENTRY_BYTES: usize = 128;

/// What a cached value was decoded from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CacheKey {
    pub(super) file: FileId,
    pub(super) stream: Stream,
    pub(super) column: ColumnId,
    pub(super) granule: u32,
    /// Which view of the column: [`WHOLE`], [`RESIDUAL`], [`PATHS`], or a path's number.
    pub(super) view: u32,
}

/// The whole column.
pub(super) const WHOLE: u32 = u32::MAX;
/// What shredding left of a document column.
pub(super) const RESIDUAL: u32 = u32::MAX - 1;
/// The paths of a document column.
pub(super) const PATHS: u32 = u32::MAX - 2;

/// A decoded value.
#[derive(Debug, Clone)]
pub(super) enum Cached {
    /// Values, one a row.
    Vector(Arc<ColumnVector>),
    /// The paths of a document column.
    Paths(Arc<Paths>),
}

impl Cached {
    fn memory_bytes(&self) -> usize {
        match self {
            Self::Vector(vector) => vector_bytes(vector),
            Self::Paths(paths) => paths.memory_bytes(),
        }
    }
}

fn vector_bytes(vector: &ColumnVector) -> usize {
    match vector {
        ColumnVector::I64(v, _) => v.len() * 8,
        ColumnVector::U64(v, _) => v.len() * 8,
        ColumnVector::F64(v, _) => v.len() * 8,
        ColumnVector::Codes(v) => v.len() * 4,
        ColumnVector::Dict { codes, values } => codes.len() * 4 + values.memory_bytes(),
        ColumnVector::Bytes(column) => column.memory_bytes(),
        ColumnVector::Scalars(leaves) => leaves
            .iter()
            .map(|l| {
                size_of::<Option<Scalar>>() + if let Some(Scalar::Str(s)) = l { s.len() + 16 } else { 0 }
            })
            .sum(),
    }
}

/// Decoded granules, bounded in bytes of memory. One for an engine.
#[derive(Debug)]
pub struct BlockCache {
    hasher: DefaultHashBuilder,
    shards: Vec<Mutex<SecondChance<CacheKey, Cached>>>,
    /// Bytes of one shard.
    shard_bytes_max: usize,
}

impl BlockCache {
    /// An empty cache that holds at most `bytes_max` bytes of decoded values.
    pub fn new(bytes_max: u64) -> Arc<Self> {
        let shard_bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX) / SHARDS;
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Arc::new(Self { hasher: DefaultHashBuilder::default(), shards, shard_bytes_max })
    }

    /// Bytes of decoded values that it holds.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|s| s.lock().bytes() as u64).sum()
    }

    fn shard(&self, key: &CacheKey) -> Option<&Mutex<SecondChance<CacheKey, Cached>>> {
        let hash = self.hasher.hash_one(key);
        self.shards.get(usize::try_from(hash >> 32).unwrap_or(0) % SHARDS)
    }

    pub(super) fn get(&self, key: &CacheKey) -> Option<Cached> {
        self.shard(key)?.lock().get(key).cloned()
    }

    /// Keeps a value, unless it is there already or larger than a whole shard.
    pub(super) fn insert(&self, key: CacheKey, value: Cached) {
        let bytes = value.memory_bytes() + ENTRY_BYTES;
        if let Some(shard) = self.shard(&key).filter(|_| bytes <= self.shard_bytes_max) {
            shard.lock().insert(key, value, bytes, self.shard_bytes_max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(granule: u32) -> CacheKey {
        CacheKey { file: FileId(1), stream: Stream::Events, column: ColumnId(0), granule, view: WHOLE }
    }

    fn vector(rows: usize) -> Cached {
        Cached::Vector(Arc::new(ColumnVector::U64(vec![0; rows], None)))
    }

    #[test]
    fn the_limit_is_kept_and_what_is_asked_for_stays() {
        let cache = BlockCache::new(16 * 10_000);
        cache.insert(key(0), vector(100));
        for granule in 1..2000 {
            cache.insert(key(granule), vector(100));
            assert!(cache.get(&key(0)).is_some(), "after {granule}");
            assert!(cache.bytes() <= 160_000);
        }
        let kept = (0..2000).filter(|g| cache.get(&key(*g)).is_some()).count();
        assert!((100..=172).contains(&kept), "{kept}");
    }

    #[test]
    fn a_value_above_the_limit_is_not_kept() {
        let cache = BlockCache::new(16 * 1000);
        cache.insert(key(0), vector(1000));
        assert!(cache.get(&key(0)).is_none());
        assert_eq!(cache.bytes(), 0);
    }
}
