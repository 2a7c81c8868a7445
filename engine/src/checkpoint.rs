//! A copy of the store at one moment, beside it: hard links to what never changes, copies of what does.
//!
//! The copy is a data directory of its own, below `checkpoints/`: sealed files are linked, the catalog's
//! log and the tail of the WAL are copied, the manifest is written anew. Appends and questions go on
//! meanwhile; only flushes wait, because they recycle the WAL.
//!
//! # Invariants
//!
//! * Everything that was acknowledged before the call is in the copy, frames after it may be.
//! * `manifest/CURRENT` of the copy is written last: without it the copy is not whole, and does not open.

use std::path::{Path, PathBuf};

use crate::core::Core;
use crate::disk::{Disk, SubDisk};
use crate::error::{Error, Result};
use crate::id::Lsn;
use crate::manifest::{FileKind, FileMeta, Manifest, Version};
use crate::recover::WAL_DIR;
use crate::wal::Extent;

/// The directory of the copies.
pub const CHECKPOINT_DIR: &str = "checkpoints";

/// Bytes of a copy's name.
pub const CHECKPOINT_NAME_BYTES_MAX: usize = 64;

/// How often linking starts again because a file went away.
const TRIES_MAX: usize = 8;

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// What a checkpoint holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointReport {
    /// Where it is, below the data directory.
    pub path: PathBuf,
    /// Every frame up to this one is in it.
    pub lsn: Lsn,
    /// Files that it shares with the store.
    pub files_linked: usize,
    /// Their bytes.
    pub bytes_linked: u64,
    /// Bytes that were copied.
    pub bytes_copied: u64,
}

/// Makes a checkpoint of this name.
///
/// # Errors
///
/// [`Error::Invalid`] for a name that is none or is taken, [`Error::DiskFull`], [`Error::Poisoned`] after
/// a commit whose end is not known, [`Error::Io`]. What was written of it is removed again.
pub(crate) fn checkpoint(core: &Core, name: &str) -> Result<CheckpointReport> {
    check_name(name)?;
    let path = Path::new(CHECKPOINT_DIR).join(name);
    if core.disk.exists(&path)? && !is_empty(&*core.disk, &path)? {
        return Err(Error::invalid(format!("there is a checkpoint {name} already")));
    }
    // No flush from here on: the WAL files that belong to this version stay as they are.
    let _flusher = core.flusher.lock();
    if core.manifest.is_poisoned() {
        return Err(Error::Poisoned);
    }
    let copy = SubDisk::create(&*core.disk, &path)?;
    let made = write(core, &copy);
    made.map(|report| CheckpointReport { path, ..report }).inspect_err(|_| remove_all(&copy))
}

fn check_name(name: &str) -> Result<()> {
    let fits = (1..=CHECKPOINT_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if fits {
        Ok(())
    } else {
        Err(Error::invalid(format!(
            "a checkpoint's name has 1 to {CHECKPOINT_NAME_BYTES_MAX} letters, digits, - and _"
        )))
    }
}

/// The directories of a store.
fn dirs() -> impl Iterator<Item = &'static Path> {
    FileKind::ALL.into_iter().map(FileKind::dir).chain([WAL_DIR, crate::manifest::log::DIR]).map(Path::new)
}

fn is_empty(disk: &dyn Disk, path: &Path) -> Result<bool> {
    for dir in dirs() {
        let dir = path.join(dir);
        if disk.exists(&dir)? && !disk.list(&dir)?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn write(core: &Core, copy: &SubDisk<'_>) -> Result<CheckpointReport> {
    dirs().try_for_each(|dir| copy.create_dir(dir))?;
    let mut report = CheckpointReport {
        path: PathBuf::new(),
        lsn: Lsn(0),
        files_linked: 0,
        bytes_linked: 0,
        bytes_copied: 0,
    };
    let version = link_files(core, copy, &mut report)?;
    for meta in version.files_of(FileKind::Catalog) {
        let path = meta.path();
        let bytes = core.disk.open_read(&path)?.bytes()?;
        copy_file(core, copy, &path, bytes, &mut report)?;
    }
    // After the version: a frame is in its files, or in the log from here on.
    let (extents, lsn) = core.log.extents();
    report.lsn = lsn;
    for Extent { path, bytes } in extents {
        copy_file(core, copy, &path, bytes, &mut report)?;
    }
    dirs().try_for_each(|dir| copy.sync_dir(dir))?;
    Manifest::write_copy(copy, &version)?;
    Ok(report)
}

/// Links the sealed files of the live version; starts again with a newer one when a file went meanwhile.
fn link_files(
    core: &Core,
    copy: &SubDisk<'_>,
    report: &mut CheckpointReport,
) -> Result<std::sync::Arc<Version>> {
    let mut tries = 0;
    loop {
        let version = core.manifest.version();
        let sealed: Vec<_> = version.files().filter(|f| f.kind != FileKind::Catalog).collect();
        let linked = sealed.iter().try_for_each(|meta| link(core, copy, meta));
        tries += 1;
        match linked {
            Ok(()) => {
                report.files_linked = sealed.len();
                report.bytes_linked = sealed.iter().map(|f| f.bytes).sum();
                return Ok(version);
            }
            Err(_) if tries < TRIES_MAX && core.manifest.version() != version => remove_all(copy),
            Err(error) => return Err(error),
        }
    }
}

fn link(core: &Core, copy: &SubDisk<'_>, meta: &FileMeta) -> Result<()> {
    core.disk.link(&meta.path(), &copy.full(&meta.path()))
}

/// Copies the first bytes of a file that grows or is used again, and syncs them.
fn copy_file(
    core: &Core,
    copy: &SubDisk<'_>,
    path: &Path,
    bytes: u64,
    report: &mut CheckpointReport,
) -> Result<()> {
    let (free, reserve) = (core.disk.free_bytes()?, core.config.disk_reserve_bytes);
    if free < bytes.saturating_add(reserve) {
        return Err(Error::DiskFull { free, reserve });
    }
    let from = core.disk.open_read(path)?;
    let to = copy.create(path)?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = 0;
    while at < bytes {
        let len = usize::try_from(bytes - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        let chunk = buffer.get_mut(..len).unwrap_or(&mut []);
        from.read_at(at, chunk)?;
        to.write_at(at, chunk)?;
        at += len as u64;
    }
    report.bytes_copied += bytes;
    to.sync()
}

/// Removes every file of a copy; its directories stay, empty.
fn remove_all(copy: &SubDisk<'_>) {
    for dir in dirs() {
        for entry in copy.list(dir).unwrap_or_default() {
            // What stays makes the name taken, and is named by the next try.
            drop(copy.remove(&dir.join(entry.name)));
        }
    }
}

#[cfg(test)]
mod tests;
