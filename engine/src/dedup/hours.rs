//! Sorted files that each hold one hour of receipt, dropped whole when the hour is out of the window.
//!
//! A lookup asks the filter of each file, then the exact key in the few that may have it. An hour has
//! a handful of files while it lasts and one afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::disk::Disk;
use crate::error::Result;
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
    /// The newest hour last.
    files: RwLock<Vec<Arc<HourFile>>>,
}

#[derive(Debug)]
pub(super) struct HourFile {
    pub(super) reader: SortedReader,
    hour: i64,
    filter_bytes: u64,
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
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        kind: FileKind,
        ty: FileType,
        carry: Carry,
        version: &Version,
    ) -> Result<Self> {
        let files =
            Self { disk, kind, ty, carry, cache: BlockCache::new(CACHE_BYTES), files: RwLock::default() };
        files.publish(version)?;
        Ok(files)
    }

    /// Answers from the files of `version` from now on.
    pub(super) fn publish(&self, version: &Version) -> Result<()> {
        let before = self.files.read().clone();
        let mut filter_bytes: u64 = before.iter().map(|f| f.filter_bytes).sum();
        let mut files = Vec::with_capacity(before.len());
        for meta in version.files_of(self.kind) {
            if let Some(file) = before.iter().find(|f| f.reader.id() == meta.id) {
                files.push(Arc::clone(file));
                continue;
            }
            let mut file = self.open_file(meta)?;
            if filter_bytes < FILTER_BYTES_MAX {
                file.filter_bytes = file.reader.load_filter()?;
                filter_bytes += file.filter_bytes;
            }
            files.push(Arc::new(file));
        }
        files.sort_by_key(|f| f.hour);
        *self.files.write() = files;
        Ok(())
    }

    fn open_file(&self, meta: &FileMeta) -> Result<HourFile> {
        let reader = SortedReader::open(&*self.disk, meta, self.ty)?;
        Ok(HourFile { reader, hour: meta.hour.unwrap_or(0), filter_bytes: 0 })
    }

    /// The numbers of a key and the file that has it, the newest hour first.
    pub(super) fn get(
        &self,
        tenant: TenantNo,
        tag: u8,
        key: &[u8],
    ) -> Result<Option<(Arc<HourFile>, u64, i64)>> {
        let hash = key_hash(tenant, tag, key);
        let files = self.files.read();
        for file in files.iter().rev().filter(|f| f.reader.may_contain(hash)) {
            if let Some((value, extra)) = file.reader.get(&self.cache, tenant, tag, key)? {
                return Ok(Some((Arc::clone(file), value, extra)));
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
        let files = self.files.read().clone();
        let mut change = FileChange::default();
        change.remove.extend(files.iter().filter(|f| f.hour < oldest).map(|f| f.reader.id()));
        new.retain(|hour, entries| *hour >= oldest && !entries.is_empty());
        let of_hour = |hour: i64| files.iter().filter(move |f| f.hour == hour).collect::<Vec<_>>();
        let latest = files.iter().map(|f| f.hour).chain(new.keys().copied()).max();
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
            change.add.push(self.write_hour(hour, &entries, &merged, allocate())?);
            change.remove.extend(merged.iter().map(|f| f.reader.id()));
        }
        Ok(change)
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
