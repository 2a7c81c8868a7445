//! Answers to requests that clients named, so that a request that is sent again is answered alike.
//!
//! The bytes are described in `docs/format/dictionary.md`.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use super::Prepared;
use super::hours::{HourFiles, NewEntry, hour_of};
use crate::append::{AppendedBatch, IdempotencyKey, Rejection};
use crate::disk::Disk;
use crate::error::Result;
use crate::file_header::FileType;
use crate::id::{FileId, Lsn, TenantNo};
use crate::manifest::{FileChange, FileKind, Version};
use crate::record;
use crate::sorted_file::{BlockPlace, Entry, SortedReader, SortedWriter};
use crate::time::TimestampUs;

/// The newest format of an idempotency file that is read, and the one that is written.
pub const IDEMPOTENCY_VERSION: u32 = 1;

/// What the files are.
pub(crate) const TYPE: FileType =
    FileType { magic: *b"INSIDEM\0", version: IDEMPOTENCY_VERSION, what: "idempotency file" };

/// What is kept of a named request: enough to see that it is the same, and to answer it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredAnswer {
    /// SHA-256 of the body.
    pub body_hash: [u8; 32],
    /// The frame that holds what it brought.
    pub lsn: Lsn,
    /// When it was received.
    pub received: TimestampUs,
    /// What was kept of each batch.
    pub batches: Vec<AppendedBatch>,
    /// The records that were not accepted.
    pub rejected: Vec<Rejection>,
}

impl StoredAnswer {
    /// Bytes of memory this takes, about.
    fn memory_bytes(&self) -> usize {
        let batches =
            self.batches.iter().map(|b| 96 + b.tenant.len() + b.duplicates.len() * 16 + b.leaves.len() * 32);
        let rejected = self.rejected.iter().map(|r| 80 + r.code.len() + r.pointer.len() + r.detail.len());
        128 + batches.sum::<usize>() + rejected.sum::<usize>()
    }
}

/// Requests of the window. Those whose frames are not flushed are in memory, the others in files.
#[derive(Debug)]
pub struct IdempotencyIndex {
    files: HourFiles,
    memory: RwLock<HashMap<IdempotencyKey, Arc<StoredAnswer>>>,
}

impl IdempotencyIndex {
    /// Opens the idempotency files of a version; a replay of the WAL then inserts what came after it.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NewerFormat`]. A file that cannot be read is set aside, see [`Self::findings`].
    pub fn open(disk: Arc<dyn Disk>, version: &Version) -> Result<Self> {
        let files = HourFiles::open(disk, FileKind::Idempotency, TYPE, carry_blob, version)?;
        Ok(Self { files, memory: RwLock::default() })
    }

    /// The answer that a request got, if it came within the window.
    ///
    /// # Errors
    ///
    /// I/O of a file that may have it. One whose bytes are damaged is passed over.
    pub fn get(&self, key: &IdempotencyKey) -> Result<Option<Arc<StoredAnswer>>> {
        if let Some(answer) = self.memory.read().get(key) {
            return Ok(Some(Arc::clone(answer)));
        }
        let Some((file, offset, len)) = self.files.get(TenantNo(0), 0, &record::encode(key)?)? else {
            return Ok(None);
        };
        match read_answer(&file.reader, offset, len) {
            Ok(answer) => Ok(Some(Arc::new(answer))),
            Err(error) if error.is_damage() => {
                self.files.note(&error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Remembers the answer to a request.
    pub fn insert(&self, key: IdempotencyKey, answer: StoredAnswer) {
        self.memory.write().insert(key, Arc::new(answer));
    }

    /// Forgets a request whose frame could not be kept.
    pub fn remove(&self, key: &IdempotencyKey) {
        self.memory.write().remove(key);
    }

    /// Bytes of memory that answers take which are in no file yet.
    pub fn memory_bytes(&self) -> usize {
        let memory = self.memory.read();
        let key_bytes =
            |k: &IdempotencyKey| 96 + k.tenant.len() + k.principal.len() + k.route.len() + k.key.len();
        memory.iter().map(|(key, answer)| key_bytes(key) + answer.memory_bytes()).sum()
    }

    /// Writes the answers of all frames up to `upto` into files of their hours, and lets go of files of
    /// hours before `oldest`. Nothing changes for readers until [`Self::publish`].
    ///
    /// # Errors
    ///
    /// I/O; the answers stay in memory. A damaged file is left out of a merge.
    pub fn write(&self, upto: Lsn, oldest: TimestampUs, allocate: &dyn Fn() -> FileId) -> Result<FileChange> {
        let mut new: BTreeMap<i64, Vec<NewEntry>> = BTreeMap::new();
        for (key, answer) in self.memory.read().iter().filter(|(_, answer)| answer.lsn <= upto) {
            let blob = Some(record::encode(&**answer)?);
            let entry = NewEntry { tenant: TenantNo(0), tag: 0, key: record::encode(key)?, value: 0, blob };
            new.entry(hour_of(answer.received)).or_default().push(entry);
        }
        self.files.write(new, hour_of(oldest), allocate)
    }

    /// The files without answers that `is_erased` says yes to, by the key and the frame of what it brought;
    /// see [`Self::write`].
    ///
    /// # Errors
    ///
    /// I/O.
    pub(crate) fn without(
        &self,
        is_erased: &dyn Fn(&IdempotencyKey, Lsn) -> bool,
        allocate: &dyn Fn() -> FileId,
    ) -> Result<FileChange> {
        let is_erased = |reader: &SortedReader, entry: &Entry<'_>| {
            // A key that cannot be read is nobody's any more.
            let Ok(key) = record::decode::<IdempotencyKey>(entry.key) else { return Ok(true) };
            // The answer is looked at where the key alone is one that goes.
            Ok(is_erased(&key, Lsn(0)) && is_erased(&key, read_answer(reader, entry.value, entry.extra)?.lsn))
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
        self.memory.write().retain(|_, answer| answer.lsn > upto);
    }

    /// Damage that was found in files, in words, with file and offset.
    pub fn findings(&self) -> Vec<String> {
        self.files.findings()
    }
}

fn read_answer(reader: &SortedReader, offset: u64, len: i64) -> Result<StoredAnswer> {
    let bytes = reader.read_blob(place_of(reader, offset, len)?)?;
    record::decode(&bytes).map_err(|e| reader.as_damage(offset, e))
}

fn place_of(reader: &SortedReader, offset: u64, len: i64) -> Result<BlockPlace> {
    let len = u32::try_from(len).map_err(|_| reader.corrupt(offset, "an answer of an impossible length"))?;
    Ok(BlockPlace { offset, len })
}

fn carry_blob(reader: &SortedReader, entry: &Entry<'_>, writer: &mut SortedWriter) -> Result<(u64, i64)> {
    let blob = reader.read_blob(place_of(reader, entry.value, entry.extra)?)?;
    let place = writer.push_blob(&blob)?;
    Ok((place.offset, i64::from(place.len)))
}
