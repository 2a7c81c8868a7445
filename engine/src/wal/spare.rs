//! WAL files that wait to be used: zeroed ahead of time, or taken back after a flush.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::record::{parse_name, spare_name};
use crate::disk::{Disk, DiskFile};
use crate::error::Result;

/// A bounded pool of files of one size. Any thread may fill it; only the writer takes from it.
#[derive(Debug)]
pub struct Spares {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    file_bytes: u64,
    files_max: usize,
    pool: Mutex<Pool>,
}

#[derive(Debug, Default)]
struct Pool {
    ready: BTreeSet<u64>,
    /// Numbers with bytes of an earlier use.
    used: BTreeSet<u64>,
    next: u64,
}

impl Spares {
    /// Finds the spare files in `dir`; those of another size, or above the limit, are removed.
    pub(super) fn open(disk: Arc<dyn Disk>, dir: &Path, file_bytes: u64, files_max: usize) -> Result<Self> {
        let mut pool = Pool::default();
        for entry in disk.list(dir)? {
            let Some(number) = parse_name(&entry.name, ".spare") else { continue };
            pool.next = pool.next.max(number.saturating_add(1));
            if entry.bytes == file_bytes && pool.ready.len() < files_max {
                pool.ready.insert(number);
                // Whether it is zeroed is not written down anywhere.
                pool.used.insert(number);
            } else {
                disk.remove(&dir.join(&entry.name))?;
            }
        }
        Ok(Self { disk, dir: dir.to_owned(), file_bytes, files_max, pool: Mutex::new(pool) })
    }

    /// Files that are ready.
    pub fn count(&self) -> usize {
        self.pool.lock().ready.len()
    }

    /// Makes one file ready if there is none; answers whether it did.
    ///
    /// Writing and syncing the zeroes takes as long as the file is big, which is why it is done here
    /// and not when the writer needs the next file. A failure harms nothing and may be tried again.
    ///
    /// # Errors
    ///
    /// What the disk says, first of all that it is full.
    pub fn fill(&self) -> Result<bool> {
        let number = {
            let mut pool = self.pool.lock();
            if !pool.ready.is_empty() || self.files_max == 0 {
                return Ok(false);
            }
            let number = pool.next;
            pool.next += 1;
            number
        };
        let path = self.path(number);
        let made = self.disk.create(&path).and_then(|file| {
            file.allocate(self.file_bytes)?;
            file.sync()
        });
        if let Err(error) = made {
            let _ = self.disk.remove(&path);
            return Err(error);
        }
        self.pool.lock().ready.insert(number);
        Ok(true)
    }

    /// Overwrites the bytes of earlier use in all spare files, and syncs; answers how many there were.
    ///
    /// For erasure: nothing that was erased stays readable in a file that waits. A file that is taken
    /// by the writer meanwhile is left to it.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub fn wipe(&self) -> Result<usize> {
        let mut wiped = 0;
        loop {
            // Out of the pool while it is written, so that the writer cannot take it.
            let number = {
                let mut pool = self.pool.lock();
                let Some(number) = pool.used.pop_first() else { return Ok(wiped) };
                pool.ready.remove(&number);
                number
            };
            let zeroed = self.disk.open_write(&self.path(number)).and_then(|file| {
                file.truncate(0)?;
                file.allocate(self.file_bytes)?;
                file.sync()
            });
            if let Err(error) = zeroed {
                let _ = self.disk.remove(&self.path(number));
                return Err(error);
            }
            self.pool.lock().ready.insert(number);
            wiped += 1;
        }
    }

    /// Gives a ready file the name `to`; `None` when there is none.
    pub(super) fn take(&self, to: &Path) -> Result<Option<Arc<dyn DiskFile>>> {
        let number = {
            let mut pool = self.pool.lock();
            // A zeroed one first: its torn tails are easier to tell.
            let number = pool.ready.difference(&pool.used).next().or(pool.ready.first()).copied();
            let Some(number) = number else { return Ok(None) };
            pool.ready.remove(&number);
            pool.used.remove(&number);
            number
        };
        self.disk.rename(&self.path(number), to)?;
        self.disk.open_write(to).map(Some)
    }

    /// Takes back a file that is not needed any more, or removes it.
    pub(super) fn give_back(&self, path: &Path, bytes: u64) -> Result<()> {
        let number = {
            let mut pool = self.pool.lock();
            if bytes != self.file_bytes || pool.ready.len() >= self.files_max {
                drop(pool);
                return self.disk.remove(path);
            }
            let number = pool.next;
            pool.next += 1;
            number
        };
        self.disk.rename(path, &self.path(number))?;
        let mut pool = self.pool.lock();
        pool.used.insert(number);
        pool.ready.insert(number);
        Ok(())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(spare_name(number))
    }
}
