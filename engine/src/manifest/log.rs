//! The manifest on disk: one log of edits, and `CURRENT`, which names it. The engine's only commit point.
//!
//! `CURRENT` is a `crate::file_header`; the log is a `crate::frame_log` of [`Edit`]s, of which the first one makes
//! the version that the log starts from.
//!
//! The bytes are described in `docs/format/manifest.md`.
//!
//! # Invariants
//!
//! * `CURRENT` is only ever replaced as a whole: written beside, synced, renamed, directory synced.
//! * A file's number is never given twice, also after a crash: numbers found on disk count as given.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::edit::{Edit, Version};
use super::file::{FileKind, numbered};
use crate::disk::{Disk, read_small};
use crate::error::{Error, Result};
use crate::file_header::{self, FileType};
use crate::frame_log::FrameLog;
use crate::id::FileId;
use crate::record;

/// The newest format of the manifest that is read, and the one that is written.
pub const MANIFEST_VERSION: u32 = 1;
/// Bytes of a log that are always let grow before it is written anew.
pub const MANIFEST_LOG_BYTES_MIN: u64 = 1 << 20;
/// How many times the bytes of its first edit a log may grow to.
const GROWTH: u64 = 4;

/// The directory of the manifest.
pub(crate) const DIR: &str = "manifest";
pub(crate) const CURRENT: &str = "manifest/CURRENT";
const CURRENT_NEW: &str = "manifest/CURRENT.tmp";
pub(crate) const POINTER: FileType =
    FileType { magic: *b"INSCURR\0", version: MANIFEST_VERSION, what: "manifest" };
pub(crate) const LOG: FileType =
    FileType { magic: *b"INSMANI\0", version: MANIFEST_VERSION, what: "manifest" };

/// The set of live files, durable. Shared by all that read it; commits take turns.
#[derive(Debug)]
pub struct Manifest {
    disk: Arc<dyn Disk>,
    version: RwLock<Arc<Version>>,
    log: Mutex<LiveLog>,
    /// Bytes that the log is always let grow to.
    log_bytes_min: u64,
    /// The next number to give.
    next_file: AtomicU64,
}

#[derive(Debug)]
struct LiveLog {
    log: FrameLog,
    /// Size at which it is written anew.
    bytes_max: u64,
}

impl Manifest {
    /// Opens the manifest of a data directory, or makes the first one.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when it is damaged, or missing beside files that it must name;
    /// [`Error::NewerFormat`], untouched; [`Error::Io`].
    pub fn open_or_create(disk: Arc<dyn Disk>) -> Result<Self> {
        Self::open_with(disk, MANIFEST_LOG_BYTES_MIN)
    }

    /// Whether a data directory has a manifest, which every store has from its start on.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn exists(disk: &dyn Disk) -> Result<bool> {
        disk.exists(Path::new(CURRENT))
    }

    /// As [`Self::open_or_create`], with a limit of its own for the log.
    pub(super) fn open_with(disk: Arc<dyn Disk>, log_bytes_min: u64) -> Result<Self> {
        for dir in FileKind::ALL.map(FileKind::dir).into_iter().chain([DIR]) {
            disk.create_dir(Path::new(dir))?;
        }
        disk.sync_dir(Path::new(""))?;
        let seen = highest_on_disk(&*disk)?;
        if disk.exists(Path::new(CURRENT))? {
            Self::open(disk, seen, log_bytes_min)
        } else {
            Self::create(disk, seen, log_bytes_min)
        }
    }

    fn open(disk: Arc<dyn Disk>, seen: FileId, log_bytes_min: u64) -> Result<Self> {
        // A start that failed may have left the names in memory alone.
        disk.sync_dir(Path::new(DIR))?;
        let current = read_small(&*disk, Path::new(CURRENT), 4096)?;
        let current = current.as_slice().try_into();
        let current =
            current.map_err(|_| Error::corrupt("manifest", CURRENT, 0, "a file of the wrong length"))?;
        let id = file_header::decode(POINTER, Path::new(CURRENT), current)?;
        let path = log_path(id);
        if !disk.exists(&path)? {
            return Err(Error::corrupt("manifest", path, 0, "the file that CURRENT names is missing"));
        }
        let mut version = Version::default();
        let mut first_bytes = 0;
        let (log, _) = FrameLog::open(&*disk, &path, id, LOG, 0, &mut |_, payload| {
            first_bytes = if first_bytes == 0 { payload.len() as u64 } else { first_bytes };
            version = version.apply(&record::decode(payload)?)?;
            Ok(())
        })?;
        if first_bytes == 0 {
            return Err(Error::corrupt("manifest", path, 0, "a log without its first edit"));
        }
        let next = version.next_file().0.max(seen.0 + 1).max(id.0 + 1);
        Ok(Self {
            disk,
            version: RwLock::new(Arc::new(version)),
            log: Mutex::new(LiveLog { log, bytes_max: log_bytes_min.max(first_bytes * GROWTH) }),
            log_bytes_min,
            next_file: AtomicU64::new(next),
        })
    }

    fn create(disk: Arc<dyn Disk>, seen: FileId, log_bytes_min: u64) -> Result<Self> {
        // Files of rows come after the first CURRENT, so without one there can be none.
        for kind in FileKind::ALL {
            if let Some(name) = file_names(&*disk, kind)?.first() {
                let reason = format!("it is missing, but there is {}/{name}", kind.dir());
                return Err(Error::corrupt("manifest", CURRENT, 0, reason));
            }
        }
        let id = FileId(seen.0 + 1);
        let edit = Edit { next_file: FileId(id.0 + 1), ..Edit::default() };
        let version = Version::default().apply(&edit)?;
        let (log, first_bytes) = write_log(&*disk, id, &version.to_edit())?;
        point_to(&*disk, id)?;
        Ok(Self {
            disk,
            version: RwLock::new(Arc::new(version)),
            log: Mutex::new(LiveLog { log, bytes_max: log_bytes_min.max(first_bytes * GROWTH) }),
            log_bytes_min,
            next_file: AtomicU64::new(id.0 + 1),
        })
    }

    /// The live files now.
    pub fn version(&self) -> Arc<Version> {
        Arc::clone(&self.version.read())
    }

    /// A number for a new file. It is given once, also if the file never becomes live.
    pub fn allocate(&self) -> FileId {
        FileId(self.next_file.fetch_add(1, Ordering::SeqCst))
    }

    /// The number that [`Self::allocate`] gives next.
    pub fn next_file(&self) -> FileId {
        FileId(self.next_file.load(Ordering::SeqCst))
    }

    /// Gives no number up to `id` any more; for files that the manifest does not name (the WAL's).
    pub fn reserve(&self, id: FileId) {
        self.next_file.fetch_max(id.0 + 1, Ordering::SeqCst);
    }

    /// Makes an edit durable and visible. The files it adds are synced, and so are their names.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the edit could not be written: it did not happen, and may be tried again. After
    /// a failed sync nobody knows whether it happened: every later commit answers [`Error::Poisoned`].
    /// [`Error::Invalid`] when it does not fit the version.
    pub fn commit(&self, mut edit: Edit) -> Result<Arc<Version>> {
        let mut live = self.log.lock();
        if live.log.is_poisoned() {
            return Err(Error::Poisoned);
        }
        edit.next_file = FileId(self.next_file.load(Ordering::SeqCst));
        let next = Arc::new(self.version().apply(&edit)?);
        live.log.append(&record::encode(&edit)?)?;
        *self.version.write() = Arc::clone(&next);
        if live.log.bytes() > live.bytes_max {
            self.rewrite(&mut live, &next);
        }
        Ok(next)
    }

    /// Whether commits are refused until the store is opened anew.
    pub fn is_poisoned(&self) -> bool {
        self.log.lock().log.is_poisoned()
    }

    /// Files that no version names: left by a crash, or by a reader that had them open when they were
    /// removed. Only names that this engine gives are looked at. Call it before other files are made.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn orphans(&self) -> Result<Vec<PathBuf>> {
        let live_log = self.log.lock().log.id();
        let version = self.version();
        let mut out = Vec::new();
        for kind in FileKind::ALL {
            for name in file_names(&*self.disk, kind)? {
                let live = kind.id_of(&name).and_then(|id| version.get(id)).is_some_and(|f| f.kind == kind);
                if !live {
                    out.push(Path::new(kind.dir()).join(name));
                }
            }
        }
        for entry in self.disk.list(Path::new(DIR))? {
            let path = Path::new(DIR).join(&entry.name);
            let old_log = numbered(&entry.name, "log").is_some_and(|id| id != live_log);
            if old_log || path == Path::new(CURRENT_NEW) {
                out.push(path);
            }
        }
        Ok(out)
    }

    /// Removes what [`Self::orphans`] finds, and says how many files that were.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn sweep(&self) -> Result<usize> {
        let orphans = self.orphans()?;
        for path in &orphans {
            self.disk.remove(path)?;
        }
        Ok(orphans.len())
    }

    /// Writes a manifest of `version` to the disk of a copy; the version exists there once this answers.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub(crate) fn write_copy(disk: &dyn Disk, version: &Version) -> Result<()> {
        let id = version.next_file();
        let edit = Edit { next_file: FileId(id.0 + 1), ..version.to_edit() };
        write_log(disk, id, &edit)?;
        point_to(disk, id)
    }

    /// Starts a new log from `version`. The commit before it is durable whatever happens here: until
    /// `CURRENT` is replaced a failure leaves the old log in use, and from then on it stops the commits,
    /// because nobody knows which log the next start will read.
    fn rewrite(&self, live: &mut LiveLog, version: &Version) {
        let id = self.allocate();
        let mut edit = version.to_edit();
        edit.next_file = FileId(self.next_file.load(Ordering::SeqCst));
        let Ok((log, first_bytes)) = write_log(&*self.disk, id, &edit) else {
            // Not before the old log has doubled: a disk that is full stays full for a while.
            live.bytes_max = live.log.bytes() * 2;
            return;
        };
        if point_to(&*self.disk, id).is_err() {
            live.log.poison();
            return;
        }
        let old = log_path(live.log.id());
        *live = LiveLog { log, bytes_max: self.log_bytes_min.max(first_bytes * GROWTH) };
        // A log that stays is an orphan and is swept at the next start.
        drop(self.disk.remove(&old));
    }
}

fn log_path(id: FileId) -> PathBuf {
    PathBuf::from(DIR).join(format!("{:010}.log", id.0))
}

/// Writes a log that holds one edit; its name is durable when this answers.
fn write_log(disk: &dyn Disk, id: FileId, edit: &Edit) -> Result<(FrameLog, u64)> {
    let bytes = record::encode(edit)?;
    let mut log = FrameLog::create(disk, &log_path(id), id, LOG)?;
    log.append(&bytes)?;
    disk.sync_dir(Path::new(DIR))?;
    Ok((log, bytes.len() as u64))
}

/// Makes `CURRENT` name a log.
fn point_to(disk: &dyn Disk, id: FileId) -> Result<()> {
    if disk.exists(Path::new(CURRENT_NEW))? {
        disk.remove(Path::new(CURRENT_NEW))?;
    }
    let file = disk.create(Path::new(CURRENT_NEW))?;
    file.write_at(0, &file_header::encode(POINTER, id))?;
    file.sync()?;
    disk.rename(Path::new(CURRENT_NEW), Path::new(CURRENT))?;
    disk.sync_dir(Path::new(DIR))
}

/// The names in a kind's directory that are of that kind.
fn file_names(disk: &dyn Disk, kind: FileKind) -> Result<Vec<String>> {
    let entries = disk.list(Path::new(kind.dir()))?;
    Ok(entries.into_iter().map(|e| e.name).filter(|n| kind.id_of(n).is_some()).collect())
}

/// The highest number that a file on disk has.
fn highest_on_disk(disk: &dyn Disk) -> Result<FileId> {
    let mut highest = FileId(0);
    for kind in FileKind::ALL {
        for name in file_names(disk, kind)? {
            highest = highest.max(kind.id_of(&name).unwrap_or_default());
        }
    }
    for entry in disk.list(Path::new(DIR))? {
        highest = highest.max(numbered(&entry.name, "log").unwrap_or_default());
    }
    Ok(highest)
}
