//! Looks at the first bytes of every file of a data directory, before the store is opened.
//!
//! A directory that another version wrote to is left as it was found: no torn tail is cut, no file is swept,
//! no lock file is made. Files that are damaged are no business of this look; their rooms name them.

use std::path::Path;

use crate::catalog::log as catalog;
use crate::dedup::{idempotency, ids};
use crate::dictionary::format as dictionary;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::file_header::{self, FileType};
use crate::manifest::FileKind;
use crate::manifest::log as manifest;
use crate::recover::WAL_DIR;
use crate::rollup::cell_file;
use crate::segment;
use crate::wal;

/// Most bytes that are read of a file: the page that a WAL file starts with.
const HEAD_BYTES_MAX: u64 = 4096;

/// Refuses a directory in which any file has a version that is not read.
///
/// # Errors
///
/// [`Error::NewerFormat`], [`Error::OlderFormat`], [`Error::Io`] when a directory cannot be listed.
pub(crate) fn check(disk: &dyn Disk) -> Result<()> {
    look(disk, manifest::DIR, &|path, head| {
        let is_pointer = path == Path::new(manifest::CURRENT);
        if is_pointer || path.extension().is_some_and(|e| e == "log") {
            control(if is_pointer { manifest::POINTER } else { manifest::LOG }, path, head)?;
        }
        Ok(())
    })?;
    look(disk, WAL_DIR, &|path, head| {
        if path.extension().is_some_and(|e| e == "wal") { wal::check_version(path, head) } else { Ok(()) }
    })?;
    for kind in FileKind::ALL {
        look(disk, kind.dir(), &|path, head| match kind {
            FileKind::Segment => segment::check_version(path, head),
            FileKind::Dictionary => control(dictionary::TYPE, path, head),
            FileKind::Ids => control(ids::TYPE, path, head),
            FileKind::Idempotency => control(idempotency::TYPE, path, head),
            FileKind::Catalog => control(catalog::LOG, path, head),
            FileKind::Cells => control(cell_file::TYPE, path, head),
        })?;
    }
    Ok(())
}

/// Gives the first bytes of each file of a directory to `judge`, and answers its first refusal of a version.
fn look(disk: &dyn Disk, dir: &str, judge: &dyn Fn(&Path, &[u8]) -> Result<()>) -> Result<()> {
    let dir = Path::new(dir);
    if !disk.exists(dir)? {
        return Ok(());
    }
    for entry in disk.list(dir)? {
        let path = dir.join(&entry.name);
        let mut head = vec![0; usize::try_from(entry.bytes.min(HEAD_BYTES_MAX)).unwrap_or(0)];
        // What cannot be read, or went away meanwhile, is named by the room that needs it.
        let is_read = disk.open_read(&path).and_then(|file| file.read_at(0, &mut head)).is_ok();
        match is_read.then(|| judge(&path, &head)) {
            Some(Err(error)) if error.is_foreign_format() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The version in a header of a control file.
fn control(ty: FileType, path: &Path, head: &[u8]) -> Result<()> {
    let header = head.first_chunk().ok_or_else(|| Error::corrupt(ty.what, path, 0, "a short header"))?;
    file_header::decode(ty, path, header).map(drop)
}
