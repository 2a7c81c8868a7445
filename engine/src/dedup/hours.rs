//! Sorted files that each hold one hour of receipt, dropped whole when the hour is out of the window.
//!
//! A lookup asks the filter of each file, then the exact key in the few that may have it. An hour has
//! a handful of files while it lasts and one afterwards.
//!
//! Damage costs what is damaged and nothing else: a file that cannot be opened is set aside until its
//! hour is over, a block that cannot be read answers "not here", and a merge leaves such a file alone.
//! A record that is sent twice may then be kept twice; no append, flush or start is refused for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::file_header::FileType;
use crate::id::{FileId, TenantNo};
use crate::manifest::{FileChange, FileKind, FileMeta, Version};
use crate::sorted_file::{BlockCache, Entry, Merge, SortedBlock, SortedReader, SortedWriter, key_hash};
use crate::time::TimestampUs;

/// Files of one hour that are merged when one more is written.
const HOUR_FILES_MAX: usize = 4;
/// Bytes of filters that are kept in memory; files beyond answer from their blocks.
const FILTER_BYTES_MAX: u64 = 32 << 20;
/// Bytes of decoded blocks that are kept.
const CACHE_BYTES: u64 = 4 << 20;
/// Damaged places that are remembered in words.
const FINDINGS_MAX: usize = 100;

/// The hour of a time, counted from 1970.
pub fn hour_of(at: TimestampUs) -> i64 {
    at.0.div_euclid(3_600_000_000)
}

/// Takes an entry over into the file that is written, with what belongs to it.
///
/// Gives the entry's numbers in the new file: those that lead to a blob change.
pub(super) type Carry = fn(&SortedReader, &Entry<'_>, &mut SortedWriter) -> Result<(u64, i64)>;

/// The live files of one kind.
#[derive(Debug)]
pub(super) struct HourFiles {
    disk: Arc<dyn Disk>,
    kind: FileKind,
    ty: FileType,
    carry: Carry,
    cache: BlockCache<SortedBlock>,
    live: RwLock<Arc<LiveFiles>>,
    /// Damage that was found, in words, each once.
    findings: Mutex<BTreeSet<String>>,
}

/// The files of one version of the manifest, open.
#[derive(Debug, Default)]
pub(super) struct LiveFiles {
    /// Those that can be read, the newest hour last.
    files: Vec<Arc<HourFile>>,
    /// Those that cannot be opened, and their hours.
    aside: Vec<(FileId, i64)>,
}

/// Files that are open and not yet answered from.
#[derive(Debug)]
pub struct Prepared(pub(super) LiveFiles);

#[derive(Debug)]
pub(super) struct HourFile {
    pub(super) reader: SortedReader,
    hour: i64,
    filter_bytes: u64,
    /// A merge met damage in it, and leaves it alone from then on.
    is_damaged: AtomicBool,
}

/// A new entry, sorted like [`Entry`], and the blob that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NewEntry {
    pub(super) tenant: TenantNo,
    pub(super) tag: u8,
    pub(super) key: Vec<u8>,
    pub(super) value: u64,
    pub(super) blob: Option<Vec<u8>>,
}

impl HourFiles {
    /// Opens the files of a version; damaged ones are set aside.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        kind: FileKind,
        ty: FileType,
        carry: Carry,
        version: &Version,
    ) -> Result<Self> {
        let files = Self {
            disk,
            kind,
            ty,
            carry,
            cache: BlockCache::new(CACHE_BYTES),
            live: RwLock::default(),
            findings: Mutex::default(),
        };
        let live = files.open_files(version, &|_| true)?;
        files.publish(live);
        Ok(files)
    }

    /// Opens what is new in a version, before it is committed: a file that was just written and cannot
    /// be opened is an error, one that was damaged before stays set aside.
    pub(super) fn prepare(&self, version: &Version) -> Result<LiveFiles> {
        let before = Arc::clone(&self.live.read());
        self.open_files(version, &|id| before.aside.iter().any(|(aside, _)| *aside == id))
    }

    /// Answers from these files from now on.
    pub(super) fn publish(&self, live: LiveFiles) {
        *self.live.write() = Arc::new(live);
    }

    fn open_files(&self, version: &Version, may_be_damaged: &dyn Fn(FileId) -> bool) -> Result<LiveFiles> {
        let before = Arc::clone(&self.live.read());
        let mut filter_bytes: u64 = before.files.iter().map(|f| f.filter_bytes).sum();
        let mut live = LiveFiles::default();
        for meta in version.files_of(self.kind) {
            if let Some(file) = before.files.iter().find(|f| f.reader.id() == meta.id) {
                live.files.push(Arc::clone(file));
                continue;
            }
            match self.open_file(meta, filter_bytes < FILTER_BYTES_MAX) {
                Ok(file) => {
                    filter_bytes += file.filter_bytes;
                    live.files.push(Arc::new(file));
                }
                Err(error) if error.is_foreign_format() => return Err(error),
                Err(error) if may_be_damaged(meta.id) => {
                    self.note(&error);
                    live.aside.push((meta.id, meta.hour.unwrap_or(0)));
                }
                Err(error) => return Err(error),
            }
        }
        live.files.sort_by_key(|f| f.hour);
        Ok(live)
    }

    fn open_file(&self, meta: &FileMeta, with_filter: bool) -> Result<HourFile> {
        let mut reader = SortedReader::open(&*self.disk, meta, self.ty)?;
        let mut filter_bytes = 0;
        if with_filter {
            // Without its filter a file answers from its blocks.
            filter_bytes = reader.load_filter().inspect_err(|e| self.note(e)).unwrap_or(0);
        }
        let hour = meta.hour.unwrap_or(0);
        Ok(HourFile { reader, hour, filter_bytes, is_damaged: AtomicBool::new(false) })
    }

    /// Remembers what cannot be read.
    pub(super) fn note(&self, error: &Error) {
        let mut findings = self.findings.lock();
        if findings.len() < FINDINGS_MAX {
            findings.insert(error.to_string());
        }
    }

    /// The damage that was found, in words, with file and offset.
    pub(super) fn findings(&self) -> Vec<String> {
        self.findings.lock().iter().cloned().collect()
    }

    /// The numbers of a key and the file that has it, the newest hour first. A damaged block counts as
    /// one that does not have the key.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub(super) fn get(
        &self,
        tenant: TenantNo,
        tag: u8,
        key: &[u8],
    ) -> Result<Option<(Arc<HourFile>, u64, i64)>> {
        let hash = key_hash(tenant, tag, key);
        let live = Arc::clone(&self.live.read());
        for file in live.files.iter().rev().filter(|f| f.reader.may_contain(hash)) {
            match file.reader.get(&self.cache, tenant, tag, key) {
                Ok(Some((value, extra))) => return Ok(Some((Arc::clone(file), value, extra))),
                Ok(None) => {}
                Err(error) if error.is_damage() => self.note(&error),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Writes new entries by hour, merges what has become many files, and lets go of hours before `oldest`.
    pub(super) fn write(
        &self,
        mut new: BTreeMap<i64, Vec<NewEntry>>,
        oldest: i64,
        allocate: &dyn Fn() -> FileId,
    ) -> Result<FileChange> {
        let live = Arc::clone(&self.live.read());
        let mut change = FileChange::default();
        let hours = live.files.iter().map(|f| (f.reader.id(), f.hour)).chain(live.aside.iter().copied());
        change.remove.extend(hours.filter(|(_, hour)| *hour < oldest).map(|(id, _)| id));
        new.retain(|hour, entries| *hour >= oldest && !entries.is_empty());
        let sound = |f: &&Arc<HourFile>| !f.is_damaged.load(Ordering::Relaxed);
        let files: Vec<&Arc<HourFile>> = live.files.iter().filter(sound).collect();
        let of_hour = |hour: i64| files.iter().copied().filter(move |f| f.hour == hour).collect::<Vec<_>>();
        let latest = live.files.iter().map(|f| f.hour).chain(new.keys().copied()).max();
        // One finished hour a time, so that a flush after a long pause does not wait for many merges.
        let finished = files.windows(2).find_map(|pair| match pair {
            [a, b] if a.hour == b.hour && a.hour >= oldest && Some(a.hour) < latest => Some(a.hour),
            _ => None,
        });
        if let Some(hour) = finished {
            new.entry(hour).or_default();
        }
        for (hour, mut entries) in new {
            entries.sort_unstable();
            let existing = of_hour(hour);
            let merged = if existing.len() >= HOUR_FILES_MAX || Some(hour) == finished {
                existing
            } else {
                Vec::new()
            };
            self.write_sound(hour, &entries, merged, allocate, &mut change)?;
        }
        Ok(change)
    }

    /// Writes the files anew that have an entry which `is_erased` says yes to, without it. A file that
    /// cannot be read goes as a whole: what it had may be erased, and a record that is sent again may then
    /// be kept twice.
    ///
    /// # Errors
    ///
    /// I/O. Nothing changes then.
    pub(super) fn without(
        &self,
        is_erased: &dyn Fn(&SortedReader, &Entry<'_>) -> Result<bool>,
        allocate: &dyn Fn() -> FileId,
    ) -> Result<FileChange> {
        let live = Arc::clone(&self.live.read());
        let mut change =
            FileChange { add: Vec::new(), remove: live.aside.iter().map(|(id, _)| *id).collect() };
        for file in &live.files {
            let meta = match self.file_without(file, is_erased, allocate) {
                Ok(None) => continue,
                Ok(Some(meta)) => meta,
                Err(error) if error.is_damage() => {
                    self.note(&error);
                    None
                }
                Err(error) => return Err(error),
            };
            change.add.extend(meta);
            change.remove.push(file.reader.id());
        }
        Ok(change)
    }

    /// `None` when the file has nothing that is erased; without a file when nothing is left of it.
    #[expect(clippy::option_option, reason = "unchanged, gone, or another file: said above")]
    fn file_without(
        &self,
        file: &HourFile,
        is_erased: &dyn Fn(&SortedReader, &Entry<'_>) -> Result<bool>,
        allocate: &dyn Fn() -> FileId,
    ) -> Result<Option<Option<FileMeta>>> {
        let mut kept = 0_u64;
        let mut merge = Merge::new(std::iter::once(&file.reader))?;
        while let Some((at, entry)) = merge.peek() {
            kept += u64::from(!is_erased(&file.reader, &entry)?);
            merge.advance(at)?;
        }
        if kept == file.reader.entries() {
            return Ok(None);
        }
        if kept == 0 {
            return Ok(Some(None));
        }
        let mut writer = SortedWriter::create(&*self.disk, self.kind, allocate(), self.ty, Some(kept))?;
        let mut merge = Merge::new(std::iter::once(&file.reader))?;
        while let Some((at, entry)) = merge.peek() {
            if !is_erased(&file.reader, &entry)? {
                let (value, extra) = (self.carry)(&file.reader, &entry, &mut writer)?;
                writer.push(Entry { value, extra, ..entry })?;
            }
            merge.advance(at)?;
        }
        let mut meta = writer.finish(&*self.disk, &[])?;
        meta.hour = Some(file.hour);
        Ok(Some(Some(meta)))
    }

    /// Writes an hour's new entries and those of `merged`, without the files among them that turn out to
    /// be damaged: these stay as they are.
    fn write_sound(
        &self,
        hour: i64,
        new: &[NewEntry],
        mut merged: Vec<&Arc<HourFile>>,
        allocate: &dyn Fn() -> FileId,
        change: &mut FileChange,
    ) -> Result<()> {
        while !new.is_empty() || merged.len() > 1 {
            let id = allocate();
            let error = match self.write_hour(hour, new, &merged, id) {
                Ok(meta) => {
                    change.add.push(meta);
                    change.remove.extend(merged.iter().map(|f| f.reader.id()));
                    return Ok(());
                }
                Err(error) => error,
            };
            // What stays of it is an orphan, and swept at the next start.
            drop(self.disk.remove(&self.kind.path(id)));
            let path_of = |f: &HourFile| self.kind.path(f.reader.id());
            let bad = merged.iter().position(|f| error.file() == Some(path_of(f).as_path()));
            let Some(bad) = bad else { return Err(error) };
            self.note(&error);
            merged.remove(bad).is_damaged.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn write_hour(
        &self,
        hour: i64,
        new: &[NewEntry],
        old: &[&Arc<HourFile>],
        id: FileId,
    ) -> Result<FileMeta> {
        let keys = new.len() as u64 + old.iter().map(|f| f.reader.entries()).sum::<u64>();
        let mut writer = SortedWriter::create(&*self.disk, self.kind, id, self.ty, Some(keys))?;
        let mut merge = Merge::new(old.iter().map(|f| &f.reader))?;
        let mut new = new.iter().peekable();
        let mut last: Option<(TenantNo, u8, Vec<u8>)> = None;
        loop {
            let next = new.peek().map(|n| (n.tenant, n.tag, n.key.as_slice()));
            let entry = match (merge.peek(), next) {
                (None, None) => break,
                // Of the same key the older entry stands: it is the one that was answered.
                (Some((file, entry)), next) if next.is_none_or(|next| entry.order() <= next) => {
                    let order = (entry.tenant, entry.tag, entry.key.to_vec());
                    if last.as_ref() != Some(&order)
                        && let Some(source) = old.get(file)
                    {
                        let (value, extra) = (self.carry)(&source.reader, &entry, &mut writer)?;
                        writer.push(Entry { value, extra, ..entry })?;
                    }
                    merge.advance(file)?;
                    last = Some(order);
                    continue;
                }
                _ => new.next(),
            };
            if let Some(entry) = entry {
                let order = (entry.tenant, entry.tag, entry.key.clone());
                if last.as_ref() != Some(&order) {
                    push_new(&mut writer, entry)?;
                }
                last = Some(order);
            }
        }
        let mut meta = writer.finish(&*self.disk, &[])?;
        meta.hour = Some(hour);
        Ok(meta)
    }
}

fn push_new(writer: &mut SortedWriter, new: &NewEntry) -> Result<()> {
    let (value, extra) = match &new.blob {
        None => (new.value, 0),
        Some(blob) => {
            let place = writer.push_blob(blob)?;
            (place.offset, i64::from(place.len))
        }
    };
    writer.push(Entry { tenant: new.tenant, tag: new.tag, key: &new.key, value, extra })?;
    Ok(())
}
