//! Ids that clients gave to records, so that a record that is sent twice is kept once.
//!
//! The bytes are described in `docs/format/dictionary.md`.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;

use super::Prepared;
use super::hours::{HourFiles, NewEntry, hour_of};
use crate::disk::Disk;
use crate::error::Result;
use crate::file_header::FileType;
use crate::id::{FileId, Lsn, Stream, TenantNo};
use crate::manifest::{FileChange, FileKind, Version};
use crate::sorted_file::{Entry, KEY_BYTES_MAX, SortedReader};
use crate::time::TimestampUs;

/// The newest format of an id file that is read, and the one that is written.
pub const IDS_VERSION: u32 = 1;
/// Most bytes of an id; the door refuses longer ones, or a flush could never write them.
pub const ID_BYTES_MAX: usize = KEY_BYTES_MAX;
/// Bytes of memory that an id takes besides its own.
const ENTRY_BYTES: usize = 64;

/// What the files are.
pub(crate) const TYPE: FileType = FileType { magic: *b"INSIDS\0\0", version: IDS_VERSION, what: "id file" };

/// The first record that came with an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenId {
    /// Its seq.
    pub seq: u64,
    /// Its WAL frame.
    pub lsn: Lsn,
    /// When it was received.
    pub received: TimestampUs,
}

/// Ids of the window. Those whose frames are not flushed are in memory, the others in files.
#[derive(Debug)]
pub struct IdIndex {
    files: HourFiles,
    memory: RwLock<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// By tenant, stream and id, see [`memory_key`].
    ids: HashMap<Box<[u8]>, SeenId>,
    bytes: usize,
}

impl IdIndex {
    /// Opens the id files of a version; a replay of the WAL then inserts what came after it.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NewerFormat`]. A file that cannot be read is set aside, see [`Self::findings`].
    pub fn open(disk: Arc<dyn Disk>, version: &Version) -> Result<Self> {
        let carry = |_: &_, entry: &crate::sorted_file::Entry<'_>, _: &mut _| Ok((entry.value, entry.extra));
        let files = HourFiles::open(disk, FileKind::Ids, TYPE, carry, version)?;
        Ok(Self { files, memory: RwLock::default() })
    }

    /// The seq of the record that came first with an id, if one did within the window.
    ///
    /// # Errors
    ///
    /// I/O of a file that may have it. One whose bytes are damaged is passed over.
    pub fn get(&self, tenant: TenantNo, stream: Stream, id: &[u8]) -> Result<Option<u64>> {
        if let Some(seen) = self.memory.read().ids.get(memory_key(tenant, stream, id).as_slice()) {
            return Ok(Some(seen.seq));
        }
        Ok(self.files.get(tenant, stream.tag(), id)?.map(|(_, seq, _)| seq))
    }

    /// Remembers an id that was not seen before.
    pub fn insert(&self, tenant: TenantNo, stream: Stream, id: &[u8], seen: SeenId) {
        let mut memory = self.memory.write();
        let key = memory_key(tenant, stream, id).into_boxed_slice();
        memory.bytes += key.len() + ENTRY_BYTES;
        if memory.ids.insert(key, seen).is_some() {
            memory.bytes -= 5 + id.len() + ENTRY_BYTES;
        }
    }

    /// Forgets an id whose frame could not be kept.
    pub fn remove(&self, tenant: TenantNo, stream: Stream, id: &[u8]) {
        let mut memory = self.memory.write();
        if memory.ids.remove(memory_key(tenant, stream, id).as_slice()).is_some() {
            memory.bytes -= 5 + id.len() + ENTRY_BYTES;
        }
    }

    /// Bytes of memory that ids take which are in no file yet; filters and caches have limits of their own.
    pub fn memory_bytes(&self) -> usize {
        self.memory.read().bytes
    }

    /// Writes the ids of all frames up to `upto` into files of their hours, and lets go of files of hours
    /// before `oldest`. Nothing changes for readers until [`Self::publish`].
    ///
    /// # Errors
    ///
    /// I/O; the ids stay in memory. A damaged file is left out of a merge.
    pub fn write(&self, upto: Lsn, oldest: TimestampUs, allocate: &dyn Fn() -> FileId) -> Result<FileChange> {
        let mut new: BTreeMap<i64, Vec<NewEntry>> = BTreeMap::new();
        for (key, seen) in self.memory.read().ids.iter().filter(|(_, seen)| seen.lsn <= upto) {
            if let Some((tenant, tag, id)) = split_key(key) {
                let entry = NewEntry { tenant, tag, key: id.to_vec(), value: seen.seq, blob: None };
                new.entry(hour_of(seen.received)).or_default().push(entry);
            }
        }
        self.files.write(new, hour_of(oldest), allocate)
    }

    /// The files without ids that `is_erased` says yes to; see [`Self::write`].
    ///
    /// # Errors
    ///
    /// I/O.
    #[expect(clippy::type_complexity, reason = "one question: tenant, stream, id")]
    pub(crate) fn without(
        &self,
        is_erased: &dyn Fn(TenantNo, Option<Stream>, &[u8]) -> bool,
        allocate: &dyn Fn() -> FileId,
    ) -> Result<FileChange> {
        let is_erased = |_: &SortedReader, entry: &Entry<'_>| {
            Ok(is_erased(entry.tenant, Stream::from_tag(entry.tag), entry.key))
        };
        self.files.without(&is_erased, allocate)
    }

    /// Opens what is new in `version`, which has the change of [`Self::write`] and is to be committed.
    ///
    /// # Errors
    ///
    /// Damage and I/O of a new file.
    pub fn prepare(&self, version: &Version) -> Result<Prepared> {
        self.files.prepare(version).map(Prepared)
    }

    /// Answers from the files of the version that was committed, and frees the memory of what is in them.
    pub fn publish(&self, prepared: Prepared, upto: Lsn) {
        self.files.publish(prepared.0);
        let mut memory = self.memory.write();
        memory.ids.retain(|_, seen| seen.lsn > upto);
        memory.bytes = memory.ids.keys().map(|key| key.len() + ENTRY_BYTES).sum();
    }

    /// Damage that was found in files, in words, with file and offset.
    pub fn findings(&self) -> Vec<String> {
        self.files.findings()
    }
}

/// Tenant (4 bytes), stream (1 byte), id.
fn memory_key(tenant: TenantNo, stream: Stream, id: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(5 + id.len());
    key.extend_from_slice(&tenant.0.to_le_bytes());
    key.push(stream.tag());
    key.extend_from_slice(id);
    key
}

fn split_key(key: &[u8]) -> Option<(TenantNo, u8, &[u8])> {
    let (tenant, rest) = key.split_first_chunk::<4>()?;
    let (tag, id) = rest.split_first()?;
    Some((TenantNo(u32::from_le_bytes(*tenant)), *tag, id))
}
