//! A directory of a disk as a disk of its own: where a copy of a store is written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{DirEntry, DirLock, Disk, DiskFile};
use crate::error::{Error, Result};

/// The files below one directory of another disk.
#[derive(Debug)]
pub(crate) struct SubDisk<'a> {
    disk: &'a dyn Disk,
    base: PathBuf,
}

impl<'a> SubDisk<'a> {
    /// The files below `base`, which exists when this returns.
    pub(crate) fn create(disk: &'a dyn Disk, base: &Path) -> Result<Self> {
        disk.create_dir(base)?;
        Ok(Self { disk, base: base.to_owned() })
    }

    /// Where a path of this disk is in the other one.
    pub(crate) fn full(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }
}

impl Disk for SubDisk<'_> {
    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        self.disk.create(&self.full(path))
    }

    fn open_write(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        self.disk.open_write(&self.full(path))
    }

    fn open_read(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        self.disk.open_read(&self.full(path))
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        self.disk.exists(&self.full(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.disk.rename(&self.full(from), &self.full(to))
    }

    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        self.disk.link(&self.full(from), &self.full(to))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.disk.remove(&self.full(path))
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        self.disk.create_dir(&self.full(path))
    }

    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>> {
        self.disk.list(&self.full(dir))
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.disk.sync_dir(&self.full(dir))
    }

    fn lock(&self) -> Result<Box<dyn DirLock>> {
        Err(Error::invalid("a directory inside of a store is locked with the store"))
    }

    fn free_bytes(&self) -> Result<u64> {
        self.disk.free_bytes()
    }
}
