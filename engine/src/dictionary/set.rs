//! All live dictionary files, for reading: identity <-> code.
//!
//! A file that cannot be opened is set aside, and a block that cannot be read fails alone. What the other
//! files have is answered; what they do not have may be in the damaged one, so it is an error that names
//! it, and so is the number of codes. A flush that would give a code to such an identity fails with this
//! error: two codes for one identity, or one code for two, would make numbers wrong for ever, and the
//! rows are safe in the WAL until the file is put back.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::file_writer::FileWriter;
use super::format::{
    IDENTITIES, PAGE_ENTRIES, Page, PageInfo, RunInfo, Runs, TYPE, codes_tag, decode_runs, key_of_rank,
    rank_of_key,
};
use super::plan::plan;
use super::rewrite;
use crate::codes::Codes;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::id::{FileId, TenantNo};
use crate::manifest::{FileChange, FileKind, FileMeta, Version};
use crate::schema::IdentityKind;
use crate::sorted_file::{BlockCache, SortedBlock, SortedReader};

/// Bytes of decoded dictionary blocks that are kept.
pub const DICTIONARY_CACHE_BYTES: u64 = 32 << 20;
/// Bytes of pages of codes that are kept: for a million codes.
pub const PAGE_CACHE_BYTES: u64 = 8 << 20;

/// The dictionary at one version of the manifest. Cheap to clone; immutable, so a query keeps the one it
/// started with.
#[derive(Debug, Clone)]
pub struct DictionarySet {
    files: Vec<Arc<File>>,
    /// Files that cannot be opened.
    aside: Vec<Arc<Aside>>,
    shared: Arc<Shared>,
}

/// A file that cannot be opened, and why.
#[derive(Debug)]
struct Aside {
    id: FileId,
    path: PathBuf,
    offset: u64,
    reason: String,
}

impl Aside {
    fn new(meta: &FileMeta, error: &Error) -> Self {
        let (offset, reason) = match error {
            Error::Corrupt { offset, reason, .. } => (*offset, reason.clone()),
            Error::Io { source, .. } => (0, format!("{error}: {source}")),
            other => (0, other.to_string()),
        };
        Self { id: meta.id, path: meta.path(), offset, reason }
    }

    fn error(&self) -> Error {
        Error::corrupt(TYPE.what, &self.path, self.offset, &self.reason)
    }
}

/// Damaged places that are remembered in words.
const FINDINGS_MAX: usize = 100;

#[derive(Debug)]
struct Shared {
    /// Damage that was found, in words, each once.
    findings: Mutex<BTreeSet<String>>,
    disk: Arc<dyn Disk>,
    cache: BlockCache<SortedBlock>,
    pages: BlockCache<Page>,
}

#[derive(Debug)]
struct File {
    reader: SortedReader,
    runs: Runs,
    bytes: u64,
    /// A merge met damage in it, and leaves it alone from then on.
    is_damaged: AtomicBool,
}

impl DictionarySet {
    /// Opens the dictionary files of a version; those that cannot be read are set aside.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NewerFormat`].
    pub fn open(disk: Arc<dyn Disk>, version: &Version) -> Result<Self> {
        let cache = BlockCache::new(DICTIONARY_CACHE_BYTES);
        let pages = BlockCache::new(PAGE_CACHE_BYTES);
        let shared = Arc::new(Shared { findings: Mutex::default(), disk, cache, pages });
        Self { files: Vec::new(), aside: Vec::new(), shared }.open_files(version, &|_| true)
    }

    /// The set for another version; files that stay are not opened again, and the cache is shared. One
    /// that was set aside is tried again.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Corrupt`], [`crate::Error::NewerFormat`], [`crate::Error::Io`] of a file that is new.
    pub fn at(&self, version: &Version) -> Result<Self> {
        self.open_files(version, &|id| self.aside.iter().any(|a| a.id == id))
    }

    fn open_files(&self, version: &Version, may_be_damaged: &dyn Fn(FileId) -> bool) -> Result<Self> {
        let mut out = Self { files: Vec::new(), aside: Vec::new(), shared: Arc::clone(&self.shared) };
        for meta in version.files_of(FileKind::Dictionary) {
            if let Some(file) = self.files.iter().find(|f| f.reader.id() == meta.id) {
                out.files.push(Arc::clone(file));
                continue;
            }
            match self.open_file(meta) {
                Ok(file) => out.files.push(file),
                Err(error) if error.is_foreign_format() => return Err(error),
                Err(error) if may_be_damaged(meta.id) => {
                    out.aside.push(Arc::new(Aside::new(meta, &error)));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(out)
    }

    /// What `ask` finds in the newest file that has it. One that cannot be read does not hide what
    /// another one has: an identity and its code are in one live file.
    fn first<T>(&self, ask: impl Fn(&File) -> Result<Option<T>>) -> Result<Option<T>> {
        let mut failed = None;
        for file in self.files.iter().rev() {
            match ask(file) {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(error) => {
                    if error.is_damage() {
                        self.note(error.to_string());
                    }
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or_else(|| self.check_complete().map(|()| None), Err)
    }

    /// That every file is open: what is in none of them was never given.
    fn check_complete(&self) -> Result<()> {
        self.aside.first().map_or(Ok(()), |aside| Err(aside.error()))
    }

    fn note(&self, finding: String) {
        let mut findings = self.shared.findings.lock();
        if findings.len() < FINDINGS_MAX {
            findings.insert(finding);
        }
    }

    fn open_file(&self, meta: &FileMeta) -> Result<Arc<File>> {
        let reader = SortedReader::open(&*self.shared.disk, meta, TYPE)?;
        let runs = decode_runs(reader.owner()).map_err(|e| reader.corrupt(meta.bytes, e.0))?;
        Ok(Arc::new(File { reader, runs, bytes: meta.bytes, is_damaged: AtomicBool::new(false) }))
    }

    /// Merges files when there are many of them; `added` is what this flush wrote and is not in the set
    /// yet. The answer replaces `added` in the manifest edit. A file that turns out to be damaged is left
    /// as it is, and out of every merge.
    ///
    /// # Errors
    ///
    /// I/O, and damage to `added`. Nothing changes then: the files that were read stay live.
    pub fn merge(&self, added: Option<FileMeta>, id: impl Fn() -> FileId) -> Result<FileChange> {
        let mut files = self.files.clone();
        if let Some(meta) = &added {
            files.push(self.open_file(meta)?);
        }
        loop {
            files.retain(|f| !f.is_damaged.load(Ordering::Relaxed));
            let bytes: Vec<u64> = files.iter().map(|f| f.bytes).collect();
            let Some(chosen) = plan(&bytes).and_then(|range| files.get(range)) else {
                return Ok(FileChange { add: added.into_iter().collect(), remove: Vec::new() });
            };
            let id = id();
            let error = match self.merge_into(id, chosen) {
                Ok(merged) => return Ok(self.replaced(added.as_ref(), chosen, merged)),
                Err(error) => error,
            };
            // What stays of it is an orphan, and swept at the next start.
            drop(self.shared.disk.remove(&FileKind::Dictionary.path(id)));
            let bad = chosen.iter().find(|f| self.is_live(f) && error.file() == Some(f.path().as_path()));
            let Some(bad) = bad else { return Err(error) };
            self.note(error.to_string());
            bad.is_damaged.store(true, Ordering::Relaxed);
        }
    }

    /// Writes the files anew that have an entry which `is_erased` says yes to, without it.
    ///
    /// # Errors
    ///
    /// Damage and I/O. Nothing changes then.
    pub(crate) fn without(
        &self,
        is_erased: &dyn Fn(TenantNo, u8, &[u8]) -> bool,
        id: impl Fn() -> FileId,
    ) -> Result<FileChange> {
        self.check_complete()?;
        let mut change = FileChange::default();
        for file in &self.files {
            let identity_at = |rank| file.at_rank(&self.shared, rank);
            let Some(kept) = rewrite::kept(&file.reader, identity_at, is_erased)? else {
                continue;
            };
            if kept.has_codes() {
                let mut writer = FileWriter::create(&*self.shared.disk, id())?;
                rewrite::write_kept(&file.reader, &kept, &mut writer)?;
                change.add.extend(writer.finish(&*self.shared.disk)?);
            }
            change.remove.push(file.reader.id());
        }
        Ok(change)
    }

    fn merge_into(&self, id: FileId, chosen: &[Arc<File>]) -> Result<Option<FileMeta>> {
        let mut writer = FileWriter::create(&*self.shared.disk, id)?;
        let readers: Vec<&SortedReader> = chosen.iter().map(|f| &f.reader).collect();
        rewrite::merge(&readers, &mut writer)?;
        writer.finish(&*self.shared.disk)
    }

    fn replaced(
        &self,
        added: Option<&FileMeta>,
        chosen: &[Arc<File>],
        merged: Option<FileMeta>,
    ) -> FileChange {
        let remove = chosen.iter().filter(|f| self.is_live(f)).map(|f| f.reader.id()).collect();
        if let Some(meta) = added {
            // It was never live, so no version has to let it go; what stays is swept at the next start.
            drop(self.shared.disk.remove(&meta.path()));
        }
        FileChange { add: merged.into_iter().collect(), remove }
    }

    fn is_live(&self, file: &File) -> bool {
        self.files.iter().any(|f| f.reader.id() == file.reader.id())
    }

    /// How many files there are.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// How many codes there are, of all tenants and kinds.
    pub fn entries(&self) -> u64 {
        self.files.iter().flat_map(|f| f.runs.values()).map(|run| u64::from(run.entries)).sum()
    }
}

impl File {
    fn path(&self) -> PathBuf {
        FileKind::Dictionary.path(self.reader.id())
    }

    /// The code of an identity, if this file has one for it.
    fn code(&self, shared: &Shared, tenant: TenantNo, tag: u8, identity: &[u8]) -> Result<Option<u32>> {
        if !self.runs.contains_key(&(tenant, tag)) {
            return Ok(None);
        }
        let (of, identities) = IDENTITIES;
        let Some(rank) = self.reader.rank_of(&shared.cache, of, identities, identity)? else {
            return Ok(None);
        };
        let found = self.reader.get(&shared.cache, tenant, codes_tag(tag), &key_of_rank(rank))?;
        let code = found.map(|(code, _)| u32::try_from(code)).transpose();
        code.map_err(|_| self.reader.corrupt(0, "a code that is too large"))
    }

    /// The identity of a code of one of this file's runs.
    fn identity(&self, shared: &Shared, tenant: TenantNo, tag: u8, code: u32) -> Result<Option<Arc<[u8]>>> {
        let Some(run) = self.runs.get(&(tenant, tag)) else {
            return Ok(None);
        };
        if code < run.first_code || code >= run.end_code() {
            return Ok(None);
        }
        let page = if run.pages.is_empty() {
            // No place of a block has the highest bit, so this is a name of its own in the cache.
            let name = 1 << 63 | u64::from(tenant.0) << 8 | u64::from(tag);
            shared.pages.get(self.reader.id(), name, || self.turn_around(shared, tenant, tag, run))?
        } else {
            let number = run.pages.partition_point(|p| p.first_code <= code).saturating_sub(1);
            let Some(info) = run.pages.get(number) else {
                return Ok(None);
            };
            shared.pages.get(self.reader.id(), info.place.offset, || self.read_page(run, number, info))?
        };
        page.rank_of(code).map(|rank| self.at_rank(shared, rank)).transpose()
    }

    fn read_page(&self, run: &RunInfo, number: usize, info: &PageInfo) -> Result<Page> {
        let bytes = self.reader.read_blob(info.place)?;
        let len = (run.entries as usize).saturating_sub(number * PAGE_ENTRIES).min(PAGE_ENTRIES);
        Page::decode(&bytes, len).map_err(|e| self.reader.corrupt(info.place.offset, e.0))
    }

    /// The page of a run that has none in the file: at most [`PAGE_ENTRIES`] entries.
    fn turn_around(&self, shared: &Shared, tenant: TenantNo, tag: u8, run: &RunInfo) -> Result<Page> {
        let damage = || self.reader.corrupt(0, "a run that is not as long as the index says");
        let (tag, len) = (codes_tag(tag), run.entries as usize);
        let mut pairs = Vec::with_capacity(len.min(PAGE_ENTRIES));
        while pairs.len() < len {
            let next = u32::try_from(pairs.len()).map_err(|_| damage())?;
            let block = self.reader.block_of_rank(&shared.cache, tenant, tag, next)?.ok_or_else(damage)?;
            let group = block.group(tenant, tag).filter(|g| g.first_rank == next).ok_or_else(damage)?;
            for index in group.start..group.end {
                let entry = block.entry(group, index).ok_or_else(damage)?;
                let code = u32::try_from(entry.value).map_err(|_| damage())?;
                pairs.push((code, rank_of_key(entry.key).ok_or_else(damage)?));
            }
        }
        if pairs.len() == len { Ok(Page::new(pairs)) } else { Err(damage()) }
    }

    /// The identity of a rank.
    fn at_rank(&self, shared: &Shared, rank: u32) -> Result<Arc<[u8]>> {
        let (tenant, tag) = IDENTITIES;
        let block = self.reader.block_of_rank(&shared.cache, tenant, tag, rank)?;
        let found = block.as_ref().and_then(|block| {
            let group = block.group(tenant, tag)?;
            let index = group.start + rank.checked_sub(group.first_rank)? as usize;
            let entry = if index < group.end { block.entry(group, index) } else { None };
            entry.map(|e| Arc::from(e.key))
        });
        found.ok_or_else(|| self.reader.corrupt(0, format!("no identity has the rank {rank}")))
    }
}

impl Codes for DictionarySet {
    fn code_of(&self, tenant: TenantNo, kind: IdentityKind, identity: &[u8]) -> Result<Option<u32>> {
        self.first(|file| file.code(&self.shared, tenant, kind.tag(), identity))
    }

    fn identity_of(&self, tenant: TenantNo, kind: IdentityKind, code: u32) -> Result<Option<Arc<[u8]>>> {
        self.first(|file| file.identity(&self.shared, tenant, kind.tag(), code))
    }

    fn count(&self, tenant: TenantNo, kind: IdentityKind) -> Result<u32> {
        self.check_complete()?;
        let ends = self.files.iter().filter_map(|f| f.runs.get(&(tenant, kind.tag())));
        Ok(ends.map(super::format::RunInfo::end_code).max().unwrap_or(0))
    }

    fn findings(&self) -> Vec<String> {
        let aside = self.aside.iter().map(|a| a.error().to_string());
        aside.chain(self.shared.findings.lock().iter().cloned()).collect()
    }
}
