//! A disk that looks at another one and does not touch it: what is written stays in memory.
//!
//! A store can be opened on it as on any disk, recovery included, while its files stay as they are. That
//! makes it safe beside a running server: no lock is taken, no torn tail is cut, no orphan is swept. The
//! server may remove files meanwhile; then opening fails, and is tried again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::{DirEntry, DirLock, Disk, DiskFile, Mapping};
use crate::error::{Error, Result};

/// The disk below, and what was changed on top of it.
#[derive(Debug)]
pub struct OverlayDisk {
    below: Arc<dyn Disk>,
    changed: Mutex<BTreeMap<PathBuf, Change>>,
}

/// What stands in the place of a file.
#[derive(Debug, Clone)]
enum Change {
    /// It was removed, or renamed away.
    Removed,
    /// It was created, or opened for writing.
    Writable(Arc<OverlayFile>),
}

impl OverlayDisk {
    /// Nothing is changed yet.
    pub fn new(below: Arc<dyn Disk>) -> Self {
        Self { below, changed: Mutex::default() }
    }

    /// What stands in the place of a file; `None` when it is as below.
    fn change(&self, path: &Path) -> Option<Change> {
        self.changed.lock().get(path).cloned()
    }

    /// The file as it can be written: a copy that is made at the first write.
    fn writable(&self, path: &Path) -> Result<Arc<OverlayFile>> {
        match self.change(path) {
            Some(Change::Writable(file)) => Ok(file),
            Some(Change::Removed) => Err(missing("open", path)),
            None => {
                let below = self.below.open_read(path)?;
                let file = Arc::new(OverlayFile {
                    path: path.to_owned(),
                    below: Some(below),
                    own: RwLock::new(None),
                });
                self.changed.lock().insert(path.to_owned(), Change::Writable(Arc::clone(&file)));
                Ok(file)
            }
        }
    }
}

fn missing(action: &'static str, path: &Path) -> Error {
    Error::Io { action, path: path.to_owned(), source: std::io::ErrorKind::NotFound.into() }
}

/// Nothing is locked: nothing is written.
#[derive(Debug)]
struct NoLock;

impl DirLock for NoLock {}

impl Disk for OverlayDisk {
    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        if self.exists(path)? {
            let source = std::io::ErrorKind::AlreadyExists.into();
            return Err(Error::Io { action: "create", path: path.to_owned(), source });
        }
        let file =
            Arc::new(OverlayFile { path: path.to_owned(), below: None, own: RwLock::new(Some(Vec::new())) });
        self.changed.lock().insert(path.to_owned(), Change::Writable(Arc::clone(&file)));
        Ok(file)
    }

    fn open_write(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        Ok(self.writable(path)?)
    }

    fn open_read(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        match self.change(path) {
            Some(Change::Writable(file)) => Ok(file),
            Some(Change::Removed) => Err(missing("open", path)),
            None => self.below.open_read(path),
        }
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        match self.change(path) {
            Some(change) => Ok(matches!(change, Change::Writable(_))),
            None => self.below.exists(path),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let file = self.writable(from)?;
        let mut changed = self.changed.lock();
        changed.insert(to.to_owned(), Change::Writable(file));
        changed.insert(from.to_owned(), Change::Removed);
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        let file = self.writable(from)?;
        self.changed.lock().insert(to.to_owned(), Change::Writable(file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        if !self.exists(path)? {
            return Err(missing("remove", path));
        }
        self.changed.lock().insert(path.to_owned(), Change::Removed);
        Ok(())
    }

    fn create_dir(&self, _path: &Path) -> Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>> {
        let mut found: BTreeMap<String, u64> = BTreeMap::new();
        if self.below.exists(dir)? {
            found.extend(self.below.list(dir)?.into_iter().map(|e| (e.name, e.bytes)));
        }
        for (path, change) in self.changed.lock().iter() {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str()))
            else {
                continue;
            };
            if parent == dir {
                match change {
                    Change::Writable(file) => found.insert(name.to_owned(), file.bytes()?),
                    Change::Removed => found.remove(name),
                };
            }
        }
        Ok(found.into_iter().map(|(name, bytes)| DirEntry { name, bytes }).collect())
    }

    fn sync_dir(&self, _dir: &Path) -> Result<()> {
        Ok(())
    }

    fn lock(&self) -> Result<Box<dyn DirLock>> {
        Ok(Box::new(NoLock))
    }

    fn free_bytes(&self) -> Result<u64> {
        self.below.free_bytes()
    }
}

/// A file that is read from below until it is written to.
#[derive(Debug)]
struct OverlayFile {
    path: PathBuf,
    below: Option<Arc<dyn DiskFile>>,
    /// All bytes, once anything was written.
    own: RwLock<Option<Vec<u8>>>,
}

impl OverlayFile {
    fn error(&self, action: &'static str, kind: std::io::ErrorKind) -> Error {
        Error::Io { action, path: self.path.clone(), source: kind.into() }
    }

    /// Changes the bytes, which are copied first when they are still those from below.
    fn change<T>(&self, act: impl FnOnce(&mut Vec<u8>) -> T) -> Result<T> {
        let mut own = self.own.write();
        if own.is_none() {
            let mut bytes = Vec::new();
            if let Some(below) = &self.below {
                bytes.resize(self.index(below.bytes()?)?, 0);
                below.read_at(0, &mut bytes)?;
            }
            *own = Some(bytes);
        }
        Ok(act(own.get_or_insert_default()))
    }

    fn index(&self, bytes: u64) -> Result<usize> {
        usize::try_from(bytes).map_err(|_| self.error("write", std::io::ErrorKind::FileTooLarge))
    }
}

impl DiskFile for OverlayFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let own = self.own.read();
        match (&*own, &self.below) {
            (Some(bytes), _) => {
                let start = self.index(offset)?;
                let found = start.checked_add(buf.len()).and_then(|end| bytes.get(start..end));
                let found = found.ok_or_else(|| self.error("read", std::io::ErrorKind::UnexpectedEof))?;
                buf.copy_from_slice(found);
                Ok(())
            }
            (None, Some(below)) => below.read_at(offset, buf),
            (None, None) => Err(self.error("read", std::io::ErrorKind::UnexpectedEof)),
        }
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let start = self.index(offset)?;
        let end = start.checked_add(bytes.len());
        let end = end.ok_or_else(|| self.error("write", std::io::ErrorKind::FileTooLarge))?;
        self.change(|own| {
            if own.len() < end {
                own.resize(end, 0);
            }
            if let Some(target) = own.get_mut(start..end) {
                target.copy_from_slice(bytes);
            }
        })
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn bytes(&self) -> Result<u64> {
        match (&*self.own.read(), &self.below) {
            (Some(bytes), _) => Ok(bytes.len() as u64),
            (None, Some(below)) => below.bytes(),
            (None, None) => Ok(0),
        }
    }

    fn allocate(&self, bytes: u64) -> Result<()> {
        let len = self.index(bytes)?;
        self.change(|own| own.resize(own.len().max(len), 0))
    }

    fn truncate(&self, bytes: u64) -> Result<()> {
        let len = self.index(bytes)?;
        self.change(|own| own.resize(len, 0))
    }

    fn map(&self) -> Result<Mapping> {
        match (&*self.own.read(), &self.below) {
            (Some(bytes), _) => Ok(Mapping::new(bytes.clone())),
            (None, Some(below)) => below.map(),
            (None, None) => Ok(Mapping::new(Vec::new())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimDisk;

    fn names(disk: &dyn Disk) -> Vec<(String, u64)> {
        disk.list(Path::new("d")).unwrap().into_iter().map(|e| (e.name, e.bytes)).collect()
    }

    #[test]
    fn what_is_changed_on_top_is_seen_there_and_nowhere_else() {
        let below: Arc<dyn Disk> = Arc::new(SimDisk::new());
        below.create_dir(Path::new("d")).unwrap();
        for (name, bytes) in [("d/kept", b"abc"), ("d/cut", b"def"), ("d/gone", b"ghi")] {
            below.create(Path::new(name)).unwrap().write_at(0, bytes).unwrap();
        }
        let before = names(&*below);
        let disk = OverlayDisk::new(Arc::clone(&below));
        let _lock = disk.lock().unwrap();
        let cut = disk.open_write(Path::new("d/cut")).unwrap();
        cut.truncate(1).unwrap();
        cut.write_at(3, b"!").unwrap();
        disk.remove(Path::new("d/gone")).unwrap();
        disk.create(Path::new("d/new")).unwrap().allocate(5).unwrap();
        disk.rename(Path::new("d/new"), Path::new("d/newer")).unwrap();
        assert_eq!(names(&disk), [("cut".into(), 4), ("kept".into(), 3), ("newer".into(), 5)]);
        assert_eq!(&*disk.open_read(Path::new("d/cut")).unwrap().map().unwrap(), b"d\0\0!");
        assert_eq!(&*disk.open_read(Path::new("d/kept")).unwrap().map().unwrap(), b"abc");
        assert!(disk.open_read(Path::new("d/gone")).is_err());
        assert!(disk.remove(Path::new("d/gone")).is_err());
        assert!(disk.create(Path::new("d/kept")).is_err());
        let mut past_the_end = [0; 5];
        assert!(disk.open_read(Path::new("d/cut")).unwrap().read_at(0, &mut past_the_end).is_err());
        assert_eq!(names(&*below), before);
        assert_eq!(&*below.open_read(Path::new("d/cut")).unwrap().map().unwrap(), b"def");
    }
}
