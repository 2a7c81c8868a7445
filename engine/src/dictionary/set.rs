//! All live dictionary files, for reading: identity <-> code.

use std::sync::Arc;

use super::format::{RANKS_PER_BLOB, Runs, TYPE, decode_runs};
use super::plan::plan;
use super::writer::DictionaryWriter;
use crate::codes::Codes;
use crate::disk::Disk;
use crate::error::Result;
use crate::id::{FileId, TenantNo};
use crate::manifest::{FileChange, FileKind, FileMeta, Version};
use crate::schema::IdentityKind;
use crate::sorted_file::{BlockCache, BlockPlace, MemoryBytes, Merge, SortedBlock, SortedReader};

/// Bytes of decoded dictionary blocks that are kept.
pub const DICTIONARY_CACHE_BYTES: u64 = 32 << 20;
/// Bytes of ranks by code that are kept: for 2 million codes.
pub const RANK_CACHE_BYTES: u64 = 8 << 20;

/// The dictionary at one version of the manifest. Cheap to clone; immutable, so a query keeps the one it
/// started with.
#[derive(Debug, Clone)]
pub struct DictionarySet {
    files: Vec<Arc<File>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    disk: Arc<dyn Disk>,
    cache: BlockCache<SortedBlock>,
    ranks: BlockCache<Ranks>,
}

/// A rank blob: for each of its codes the rank of the identity, or `u32::MAX`.
#[derive(Debug)]
struct Ranks(Box<[u32]>);

impl MemoryBytes for Ranks {
    fn memory_bytes(&self) -> usize {
        self.0.len() * 4
    }
}

#[derive(Debug)]
struct File {
    reader: SortedReader,
    runs: Runs,
    bytes: u64,
}

impl DictionarySet {
    /// Opens the dictionary files of a version.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Corrupt`], [`crate::Error::NewerFormat`], [`crate::Error::Io`].
    pub fn open(disk: Arc<dyn Disk>, version: &Version) -> Result<Self> {
        let cache = BlockCache::new(DICTIONARY_CACHE_BYTES);
        let shared = Arc::new(Shared { disk, cache, ranks: BlockCache::new(RANK_CACHE_BYTES) });
        Self { files: Vec::new(), shared }.at(version)
    }

    /// The set for another version; files that stay are not opened again, and the cache is shared.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn at(&self, version: &Version) -> Result<Self> {
        let open = |meta: &Arc<FileMeta>| match self.files.iter().find(|f| f.reader.id() == meta.id) {
            Some(file) => Ok(Arc::clone(file)),
            None => self.open_file(meta),
        };
        let files = version.files_of(FileKind::Dictionary).map(open).collect::<Result<_>>()?;
        Ok(Self { files, shared: Arc::clone(&self.shared) })
    }

    fn open_file(&self, meta: &FileMeta) -> Result<Arc<File>> {
        let reader = SortedReader::open(&*self.shared.disk, meta, TYPE)?;
        let runs = decode_runs(reader.owner()).map_err(|e| reader.corrupt(meta.bytes, e.0))?;
        Ok(Arc::new(File { reader, runs, bytes: meta.bytes }))
    }

    /// Merges files when there are many of them; `added` is what this flush wrote and is not in the set
    /// yet. The answer replaces `added` in the manifest edit.
    ///
    /// # Errors
    ///
    /// Damage and I/O. Nothing changes then: the files that were read stay live.
    pub fn merge(&self, added: Option<FileMeta>, id: impl FnOnce() -> FileId) -> Result<FileChange> {
        let mut files = self.files.clone();
        if let Some(meta) = &added {
            files.push(self.open_file(meta)?);
        }
        let bytes: Vec<u64> = files.iter().map(|f| f.bytes).collect();
        let Some(chosen) = plan(&bytes).and_then(|range| files.get(range)) else {
            return Ok(FileChange { add: added.into_iter().collect(), remove: Vec::new() });
        };
        let mut writer = DictionaryWriter::new(Arc::clone(&self.shared.disk), id());
        let mut merge = Merge::new(chosen.iter().map(|f| &f.reader))?;
        while let Some((file, entry)) = merge.peek() {
            writer.push(entry)?;
            merge.advance(file)?;
        }
        let live = |f: &&Arc<File>| self.files.iter().any(|s| s.reader.id() == f.reader.id());
        let remove = chosen.iter().filter(live).map(|f| f.reader.id()).collect();
        if let Some(meta) = &added {
            // It was never live, so no version has to let it go; what stays is swept at the next start.
            drop(self.shared.disk.remove(&meta.path()));
        }
        Ok(FileChange { add: writer.finish()?.into_iter().collect(), remove })
    }

    /// How many files there are.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// How many identities there are, of all tenants.
    pub fn entries(&self) -> u64 {
        self.files.iter().map(|f| f.reader.entries()).sum()
    }
}

impl File {
    /// The identity of a code of one of this file's runs.
    fn identity(&self, shared: &Shared, tenant: TenantNo, tag: u8, code: u32) -> Result<Option<Arc<[u8]>>> {
        let Some(run) = self.runs.get(&(tenant, tag)) else {
            return Ok(None);
        };
        if code < run.first_code || code >= run.end_code() {
            return Ok(None);
        }
        let place = code - run.first_code;
        if run.ranks.is_empty() {
            return self.in_small_run(shared, tenant, tag, code);
        }
        let blob = run.ranks.get((place / RANKS_PER_BLOB) as usize);
        let blob = *blob.ok_or_else(|| self.reader.corrupt(0, "a run without its ranks"))?;
        let ranks = self.ranks(shared, blob)?;
        match ranks.0.get((place % RANKS_PER_BLOB) as usize) {
            None => Err(self.reader.corrupt(blob.offset, "too few ranks")),
            Some(&u32::MAX) => Ok(None),
            Some(&rank) => self.at_rank(shared, tenant, tag, code, rank),
        }
    }

    fn ranks(&self, shared: &Shared, place: BlockPlace) -> Result<Arc<Ranks>> {
        shared.ranks.get(self.reader.id(), place.offset, || {
            let bytes = self.reader.read_blob(place)?;
            let (words, _) = bytes.as_chunks::<4>();
            Ok(Ranks(words.iter().map(|w| u32::from_le_bytes(*w)).collect()))
        })
    }

    fn at_rank(
        &self,
        shared: &Shared,
        tenant: TenantNo,
        tag: u8,
        code: u32,
        rank: u32,
    ) -> Result<Option<Arc<[u8]>>> {
        let block = self.reader.block_of_rank(&shared.cache, tenant, tag, rank)?;
        let found = block.as_ref().and_then(|block| {
            let group = block.group(tenant, tag)?;
            let index = group.start + rank.checked_sub(group.first_rank)? as usize;
            let entry = if index < group.end { block.entry(group, index) } else { None };
            entry.filter(|e| e.value == u64::from(code)).map(|e| Arc::from(e.key))
        });
        match found {
            Some(identity) => Ok(Some(identity)),
            None => Err(self.reader.corrupt(0, format!("code {code} is not where its rank says"))),
        }
    }

    fn in_small_run(
        &self,
        shared: &Shared,
        tenant: TenantNo,
        tag: u8,
        code: u32,
    ) -> Result<Option<Arc<[u8]>>> {
        let block = self.reader.block_of_rank(&shared.cache, tenant, tag, 0)?;
        Ok(block.and_then(|block| {
            let group = block.group(tenant, tag)?;
            let place = block.values_of(group).iter().position(|v| *v == u64::from(code))?;
            block.entry(group, group.start + place).map(|e| Arc::from(e.key))
        }))
    }
}

impl Codes for DictionarySet {
    fn code_of(&self, tenant: TenantNo, kind: IdentityKind, identity: &[u8]) -> Result<Option<u32>> {
        for file in self.files.iter().rev() {
            if !file.runs.contains_key(&(tenant, kind.tag())) {
                continue;
            }
            if let Some((code, _)) = file.reader.get(&self.shared.cache, tenant, kind.tag(), identity)? {
                let code =
                    u32::try_from(code).map_err(|_| file.reader.corrupt(0, "a code that is too large"))?;
                return Ok(Some(code));
            }
        }
        Ok(None)
    }

    fn identity_of(&self, tenant: TenantNo, kind: IdentityKind, code: u32) -> Result<Option<Arc<[u8]>>> {
        for file in self.files.iter().rev() {
            if let Some(identity) = file.identity(&self.shared, tenant, kind.tag(), code)? {
                return Ok(Some(identity));
            }
        }
        Ok(None)
    }

    fn count(&self, tenant: TenantNo, kind: IdentityKind) -> Result<u32> {
        let ends = self.files.iter().filter_map(|f| f.runs.get(&(tenant, kind.tag())));
        Ok(ends.map(super::format::RunInfo::end_code).max().unwrap_or(0))
    }
}
