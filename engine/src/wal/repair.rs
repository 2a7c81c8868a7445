//! What happens to the files of a log between its replay and its first new frame.

use std::path::{Path, PathBuf};

use super::record::{HEADER_PAGE_BYTES, SEAL_BYTES, file_name};
use super::replay::{LogFile, Replayed, WalDamage};
use crate::disk::{Disk, DiskFile};
use crate::error::Result;

/// Where bytes go that could not be read, for whoever wants to look at them.
const QUARANTINE_DIR: &str = "quarantine";
/// Bytes copied at once.
const COPY_BYTES: u64 = 1 << 20;

/// Makes what was replayed durable, and makes sure that nothing else can ever be replayed.
///
/// Every step may be repeated after a crash: the log stays as long as it is until the last one.
pub(super) fn repair(disk: &dyn Disk, replayed: &mut Replayed) -> Result<()> {
    for damage in &mut replayed.damage {
        // A full disk must not keep the store from opening: then the bytes stay where they are, until
        // their file is recycled.
        damage.quarantine = set_aside(disk, damage).unwrap_or(None);
    }
    for (index, from) in &replayed.unsynced {
        if let Some(file) = replayed.files.get(*index) {
            write_again(disk, file, *from)?;
        }
    }
    let after_tail = replayed.tail.map_or(0, |tail| tail + 1);
    if let Some(tail) = replayed.tail.and_then(|tail| replayed.files.get(tail)) {
        let file = disk.open_write(&tail.path)?;
        file.truncate(tail.end.min(tail.bytes))?;
        file.sync()?;
    }
    for unused in replayed.files.iter().skip(after_tail) {
        if unused.lost {
            // Where it cannot go it stays: its number is not given again.
            let kept = set_file_aside(disk, unused).ok();
            let of_file = replayed.damage.iter_mut().filter(|damage| damage.path == unused.path);
            of_file.for_each(|damage| damage.quarantine.clone_from(&kept));
        } else {
            // Its creation was cut off: it never had a frame.
            disk.remove(&unused.path)?;
        }
    }
    replayed.files.truncate(after_tail);
    Ok(())
}

/// Writes what a killed process left back over itself, and syncs it.
///
/// The system may show bytes that a failed sync has dropped from what it will ever write, and takes
/// such pages for clean; only written again do they reach the disk.
fn write_again(disk: &dyn Disk, file: &LogFile, from: u64) -> Result<()> {
    let to = (file.end + SEAL_BYTES).min(file.bytes);
    let handle = disk.open_write(&file.path)?;
    copy(&*handle, from, to, &*handle, from)?;
    handle.sync()
}

/// Copies bytes `from..to` of a file to another place.
fn copy(source: &dyn DiskFile, from: u64, to: u64, target: &dyn DiskFile, target_from: u64) -> Result<()> {
    let mut at = from;
    let mut buf = Vec::new();
    while at < to {
        let len = (to - at).min(COPY_BYTES);
        buf.resize(usize::try_from(len).unwrap_or(0), 0);
        source.read_at(at, &mut buf)?;
        target.write_at(target_from + (at - from), &buf)?;
        at += len;
    }
    Ok(())
}

/// Copies bad bytes to a file of their own; `None` when there are none.
fn set_aside(disk: &dyn Disk, damage: &WalDamage) -> Result<Option<PathBuf>> {
    let whole_file = damage.offset < HEADER_PAGE_BYTES;
    if damage.bytes == 0 || whole_file {
        return Ok(None);
    }
    let stem = damage.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("unknown");
    let path = Path::new(QUARANTINE_DIR).join(format!("wal-{stem}-{:x}", damage.offset));
    if disk.exists(&path)? {
        return Ok(Some(path));
    }
    disk.create_dir(Path::new(QUARANTINE_DIR))?;
    let copied = disk.create(&path).and_then(|target| {
        let source = disk.open_read(&damage.path)?;
        copy(&*source, damage.offset, damage.offset + damage.bytes, &*target, 0)?;
        target.sync()
    });
    if let Err(error) = copied {
        // Half a copy would pass for a whole one the next time.
        let _ = disk.remove(&path);
        return Err(error);
    }
    disk.sync_dir(Path::new(QUARANTINE_DIR))?;
    Ok(Some(path))
}

/// Moves a file whose frames are lost out of the log.
fn set_file_aside(disk: &dyn Disk, file: &LogFile) -> Result<PathBuf> {
    disk.create_dir(Path::new(QUARANTINE_DIR))?;
    let path = Path::new(QUARANTINE_DIR).join(file_name(file.id));
    disk.rename(&file.path, &path)?;
    disk.sync_dir(Path::new(QUARANTINE_DIR))?;
    Ok(path)
}
