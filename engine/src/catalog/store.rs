//! The catalog: records in memory, and the log that makes them outlive the WAL.
//!
//! A record travels through the WAL with the rows it belongs to and is applied here when its frame is
//! synced. At a flush [`Catalog::persist`] writes what changed into the catalog's log, before the
//! manifest edit that lets the WAL go; on open the log is read first and the WAL is applied on top.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use super::log::{LOG, append, decode_group};
use super::policies::Policies;
use super::state::{State, check_put};
use super::tenant::TenantRecord;
use crate::append::{CatalogKind, CatalogPut};
use crate::codes::Tenants;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::frame_log::FrameLog;
use crate::id::{FileId, Lsn, TenantId, TenantNo};
use crate::manifest::{FileChange, FileKind, FileMeta, Version};
use crate::time::TimestampUs;

/// Bytes of records, before compression, that a log is always let grow to before it is written anew.
pub const CATALOG_LOG_BYTES_MIN: u64 = 1 << 20;

/// Small durable records by kind and key. Shared; reads do not wait for writes to the disk.
#[derive(Debug)]
pub struct Catalog {
    disk: Arc<dyn Disk>,
    state: RwLock<State>,
    /// `None` until the first [`Self::persist`].
    log: Mutex<Option<LiveLog>>,
    /// The next persist writes a new log: the present one may have what was erased.
    is_stale: AtomicBool,
}

#[derive(Debug)]
struct LiveLog {
    log: FrameLog,
    /// The WAL frame up to which the log is complete.
    applied: Lsn,
    /// Bytes of the records in it before compression.
    raw_bytes: u64,
}

impl Catalog {
    /// Reads the log that `version` names; a new store has none.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`], [`Error::NewerFormat`], [`Error::Io`].
    pub fn open(disk: Arc<dyn Disk>, version: &Version) -> Result<Self> {
        let mut state = State::default();
        let mut log = None;
        let mut raw_bytes = 0;
        if let Some(file) = version.files_of(FileKind::Catalog).last() {
            let path = file.path();
            if !disk.exists(&path)? {
                return Err(Error::corrupt("catalog", path, 0, "a file that the manifest names is missing"));
            }
            let (opened, _) = FrameLog::open(&*disk, &path, file.id, LOG, file.bytes, &mut |_, payload| {
                let (group, bytes) = decode_group(payload)?;
                raw_bytes += bytes;
                for put in group.puts {
                    check_put(&put)?;
                    state.put(put, false)?;
                }
                state.advance(group.applied);
                Ok(())
            })?;
            log = Some(LiveLog { log: opened, applied: state.applied(), raw_bytes });
        }
        Ok(Self { disk, state: RwLock::new(state), log: Mutex::new(log), is_stale: AtomicBool::new(false) })
    }

    /// Applies the records of one WAL frame, in the order of the frames, once the frame is synced.
    ///
    /// Frames that the log already covers are passed over, so a replay may give all it has.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a record that [`check_put`] would refuse, or for a tenant that does not
    /// fit the others; the records before it were applied.
    pub fn apply(&self, lsn: Lsn, puts: &[CatalogPut]) -> Result<()> {
        let mut state = self.state.write();
        if lsn <= state.applied() {
            return Ok(());
        }
        for put in puts {
            check_put(put)?;
            state.put(put.clone(), true)?;
        }
        state.advance(lsn);
        Ok(())
    }

    /// Sets records that did not come through the WAL because a replay would make them again (next seq,
    /// tree frontiers, roots). They become durable with the next [`Self::persist`].
    ///
    /// # Errors
    ///
    /// As [`Self::apply`].
    pub fn apply_derived(&self, puts: Vec<CatalogPut>) -> Result<()> {
        let mut state = self.state.write();
        for put in puts {
            check_put(&put)?;
            state.put(put, true)?;
        }
        Ok(())
    }

    /// A record.
    pub fn get(&self, kind: CatalogKind, key: &[u8]) -> Option<Arc<[u8]>> {
        self.state.read().get(kind, key)
    }

    /// The records of a kind whose keys start with `prefix`, sorted by key.
    pub fn scan(&self, kind: CatalogKind, prefix: &[u8]) -> Vec<(Vec<u8>, Arc<[u8]>)> {
        self.state.read().scan(kind, prefix)
    }

    /// The tenants that exist, sorted by name.
    pub fn tenants(&self) -> Vec<TenantId> {
        self.state.read().tenants()
    }

    /// Retention documents and erasures as they are now.
    pub fn policies(&self) -> Arc<Policies> {
        Arc::clone(self.state.read().policies())
    }

    /// The lowest number above those of all tenants.
    pub fn next_tenant_no(&self) -> TenantNo {
        self.state.read().next_tenant_no()
    }

    /// The last WAL frame whose records are here.
    pub fn applied(&self) -> Lsn {
        self.state.read().applied()
    }

    /// Makes every record durable outside of the WAL, in a new log when the old one is mostly garbage.
    ///
    /// The change goes into the manifest edit that advances the flushed LSN to `upto` at most. When that
    /// edit fails, the next call gives a change that includes this one.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]: nothing is lost, it may be tried again unless a sync failed; then every later call
    /// answers [`Error::Poisoned`].
    pub fn persist(
        &self,
        upto: Lsn,
        version: &Version,
        allocate: impl FnOnce() -> FileId,
    ) -> Result<FileChange> {
        let mut log = self.log.lock();
        let live_bytes = self.state.read().live_bytes();
        let is_garbage = |open: &LiveLog| {
            open.raw_bytes > CATALOG_LOG_BYTES_MIN.max(live_bytes * 2) && !open.log.is_poisoned()
        };
        let current = match log.as_mut() {
            Some(open) if !is_garbage(open) && !self.is_stale.load(Ordering::SeqCst) => {
                self.write_pending(open, upto)?;
                open
            }
            _ => {
                let new = self.write_new(allocate(), upto)?;
                self.is_stale.store(false, Ordering::SeqCst);
                log.insert(new)
            }
        };
        let meta = FileMeta::new(current.log.id(), FileKind::Catalog, current.log.bytes(), [0; 32]);
        let remove = version.files_of(FileKind::Catalog).map(|f| f.id).filter(|id| *id != meta.id).collect();
        Ok(FileChange { add: vec![meta], remove })
    }

    /// Lets the next [`Self::persist`] write every record into a new log, so that nothing is left of what
    /// was removed.
    pub(crate) fn write_anew(&self) {
        self.is_stale.store(true, Ordering::SeqCst);
    }

    /// Appends what the log does not have.
    fn write_pending(&self, live: &mut LiveLog, upto: Lsn) -> Result<()> {
        let (keys, puts, applied) = {
            let mut state = self.state.write();
            state.advance(upto);
            let keys = state.take_pending();
            let puts: Vec<CatalogPut> = keys.iter().map(|(kind, key)| state.as_put(*kind, key)).collect();
            (keys, puts, state.applied())
        };
        live.raw_bytes += append(&mut live.log, live.applied, applied, puts.into_iter())
            .inspect_err(|_| self.state.write().restore_pending(keys))?;
        live.applied = applied;
        Ok(())
    }

    /// Writes all records into a new log; the old one stays until the manifest names the new one.
    fn write_new(&self, id: FileId, upto: Lsn) -> Result<LiveLog> {
        let (pending, puts, applied) = {
            let mut state = self.state.write();
            state.advance(upto);
            let puts: Vec<CatalogPut> = state.keys().map(|(kind, key)| state.as_put(kind, key)).collect();
            (state.take_pending(), puts, state.applied())
        };
        let written =
            FrameLog::create(&*self.disk, &FileKind::Catalog.path(id), id, LOG).and_then(|mut log| {
                let raw_bytes = append(&mut log, Lsn(0), applied, puts.into_iter())?;
                self.disk.sync_dir(Path::new(FileKind::Catalog.dir()))?;
                Ok(LiveLog { log, applied, raw_bytes })
            });
        written.inspect_err(|_| self.state.write().restore_pending(pending))
    }
}

impl Tenants for Catalog {
    fn number_of(&self, tenant: &TenantId) -> Option<TenantNo> {
        self.state.read().number_of(tenant)
    }

    fn name_of(&self, number: TenantNo) -> Option<TenantId> {
        self.state.read().name_of(number)
    }

    fn created(&self, tenant: &TenantId) -> Option<TimestampUs> {
        let record = self.get(CatalogKind::Tenant, tenant.as_str().as_bytes())?;
        TenantRecord::decode(&record).ok().map(|record| record.created)
    }
}
