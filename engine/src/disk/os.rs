//! The real disk: a data directory of the operating system.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::lock::{self, LOCK_NAME};
use super::{DirEntry, DirLock, Disk, DiskFile, Mapping, map};
use crate::error::{Error, Result};

/// Only the owner of the process reads what is stored.
const FILE_MODE: u32 = 0o600;
/// Only the owner of the process lists or enters a directory.
const DIR_MODE: u32 = 0o700;
/// Zeroes written by one call while a file is allocated.
const ZEROES_BYTES: usize = 1 << 20;

/// Lets this process open as many files as the system allows it: every live segment keeps one open.
///
/// Answers how many that are; `None` when there is no limit. A limit that cannot be raised stays.
pub fn raise_open_files_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, raised).is_err() {
        return limit.current;
    }
    limit.maximum
}

/// A data directory. Files have mode 0600 and directories 0700, whatever the umask.
#[derive(Debug)]
pub struct OsDisk {
    root: PathBuf,
}

impl OsDisk {
    /// Opens a data directory and creates it when it does not exist.
    ///
    /// An existing directory is closed to others: it gets mode 0700.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the system refuses, for example because something else has the name.
    pub fn open(data_dir: impl Into<PathBuf>) -> Result<Self> {
        let root = data_dir.into();
        let refused = |source| Error::Io { action: "create", path: root.clone(), source };
        DirBuilder::new().recursive(true).mode(DIR_MODE).create(&root).map_err(refused)?;
        fs::set_permissions(&root, Permissions::from_mode(DIR_MODE)).map_err(refused)?;
        Ok(Self { root })
    }

    /// Takes a data directory that exists as it is, to look at it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when there is no such directory.
    pub fn existing(data_dir: impl Into<PathBuf>) -> Result<Self> {
        let root = data_dir.into();
        match fs::metadata(&root) {
            Ok(found) if found.is_dir() => Ok(Self { root }),
            Ok(_) => Err(io_error("look up", &root, io::ErrorKind::NotADirectory.into())),
            Err(error) => Err(io_error("look up", &root, error)),
        }
    }

    /// The place of a relative path, which must stay inside of the data directory.
    fn full(&self, path: &Path) -> Result<PathBuf> {
        let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if inside {
            Ok(self.root.join(path))
        } else {
            Err(Error::invalid("a path leaves the data directory"))
        }
    }

    fn open_file(
        &self,
        action: &'static str,
        path: &Path,
        options: &OpenOptions,
    ) -> Result<Arc<dyn DiskFile>> {
        let file = options.open(self.full(path)?).map_err(|e| io_error(action, path, e))?;
        Ok(Arc::new(OsFile { file, path: path.to_owned() }))
    }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io { action, path: path.to_owned(), source }
}

/// Makes the names in a directory of the system durable.
fn sync_full(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

impl Disk for OsDisk {
    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(FILE_MODE);
        let file = options.open(self.full(path)?).map_err(|e| io_error("create", path, e))?;
        // The umask may only have taken bits away; set what is meant.
        file.set_permissions(Permissions::from_mode(FILE_MODE)).map_err(|e| io_error("create", path, e))?;
        Ok(Arc::new(OsFile { file, path: path.to_owned() }))
    }

    fn open_write(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        self.open_file("open", path, OpenOptions::new().read(true).write(true))
    }

    fn open_read(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        self.open_file("open", path, OpenOptions::new().read(true))
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        self.full(path)?.try_exists().map_err(|e| io_error("look up", path, e))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(self.full(from)?, self.full(to)?).map_err(|e| io_error("rename", from, e))
    }

    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        fs::hard_link(self.full(from)?, self.full(to)?).map_err(|e| io_error("link", from, e))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        fs::remove_file(self.full(path)?).map_err(|e| io_error("remove", path, e))
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        let refused = |e| io_error("create", path, e);
        self.full(path)?;
        let mut dir = self.root.clone();
        for part in path.components() {
            let parent = dir.clone();
            dir.push(part);
            match DirBuilder::new().mode(DIR_MODE).create(&dir) {
                Ok(()) => {
                    fs::set_permissions(&dir, Permissions::from_mode(DIR_MODE)).map_err(refused)?;
                    sync_full(&parent).map_err(refused)?;
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
                Err(e) => return Err(refused(e)),
            }
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>> {
        let refused = |e| io_error("list", dir, e);
        let mut found = Vec::new();
        for entry in fs::read_dir(self.full(dir)?).map_err(refused)? {
            let entry = entry.map_err(refused)?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Removed since the directory was read.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(refused(e)),
            };
            // A name that is not UTF-8 was not given by the engine.
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                found.push(DirEntry { name, bytes: metadata.len() });
            }
        }
        found.sort();
        Ok(found)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        sync_full(&self.full(dir)?).map_err(|e| io_error("sync", dir, e))
    }

    fn lock(&self) -> Result<Box<dyn DirLock>> {
        let path = Path::new(LOCK_NAME);
        let refused = |e| io_error("lock", path, e);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
        let file = options.open(self.root.join(path)).map_err(refused)?;
        file.set_permissions(Permissions::from_mode(FILE_MODE)).map_err(refused)?;
        match lock::try_lock(file).map_err(refused)? {
            Some(lock) => Ok(Box::new(lock)),
            None => Err(Error::Locked { path: self.root.clone() }),
        }
    }

    fn free_bytes(&self) -> Result<u64> {
        let stat =
            rustix::fs::statvfs(&self.root).map_err(|e| io_error("look up", Path::new(""), e.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// An open file of the system.
#[derive(Debug)]
struct OsFile {
    file: File,
    path: PathBuf,
}

impl OsFile {
    fn error(&self, action: &'static str) -> impl FnOnce(io::Error) -> Error + '_ {
        move |source| io_error(action, &self.path, source)
    }

    /// Writes zeroes from `from` to `to`, so that later writes find blocks that are in use already.
    fn write_zeroes(&self, from: u64, to: u64) -> io::Result<()> {
        let zeroes = vec![0; ZEROES_BYTES];
        let mut at = from;
        while at < to {
            let len = usize::try_from(to - at).unwrap_or(usize::MAX).min(ZEROES_BYTES);
            let (now, _) = zeroes.split_at(len);
            self.file.write_all_at(now, at)?;
            at += len as u64;
        }
        Ok(())
    }
}

impl DiskFile for OsFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buf, offset).map_err(self.error("read"))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(self.error("write"))
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(self.error("sync"))
    }

    fn bytes(&self) -> Result<u64> {
        Ok(self.file.metadata().map_err(self.error("look up"))?.len())
    }

    fn allocate(&self, bytes: u64) -> Result<()> {
        let before = self.bytes()?;
        if bytes <= before {
            return Ok(());
        }
        // Reserving the space first finds a full disk before anything is written. It alone would
        // leave extents marked unwritten, and the first sync of each block would have to journal
        // that mark going away: the zeroes are what makes a later fdatasync cheap.
        let flags = rustix::fs::FallocateFlags::empty();
        let written = match rustix::fs::fallocate(&self.file, flags, before, bytes - before) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => self.write_zeroes(before, bytes),
            Err(e) => Err(e.into()),
        };
        written.map_err(|e| {
            // Give back what was taken; the first error is the one to tell.
            let _ = self.file.set_len(before);
            self.error("allocate")(e)
        })
    }

    fn truncate(&self, bytes: u64) -> Result<()> {
        self.file.set_len(bytes).map_err(self.error("truncate"))
    }

    fn map(&self) -> Result<Mapping> {
        map::map(&self.file).map_err(self.error("map"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_and_directories_are_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("data");
        let disk = OsDisk::open(&root).unwrap();
        disk.create_dir(Path::new("a/b")).unwrap();
        disk.create_dir(Path::new("a/b")).unwrap();
        disk.create(Path::new("a/b/f")).unwrap();
        let _lock = disk.lock().unwrap();
        for (path, expected) in [("", 0o700), ("a", 0o700), ("a/b", 0o700), ("a/b/f", 0o600), ("LOCK", 0o600)]
        {
            assert_eq!(mode(&root.join(path)), expected, "{path}");
        }
    }

    #[test]
    fn the_second_lock_is_refused_until_the_first_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let disk = OsDisk::open(dir.path()).unwrap();
        let other = OsDisk::open(dir.path()).unwrap();
        let lock = disk.lock().unwrap();
        assert!(matches!(other.lock(), Err(Error::Locked { .. })));
        drop(lock);
        other.lock().unwrap();
    }

    #[test]
    fn a_file_is_written_read_mapped_allocated_and_cut() {
        let dir = tempfile::tempdir().unwrap();
        let disk = OsDisk::open(dir.path()).unwrap();
        let path = Path::new("f");
        let file = disk.create(path).unwrap();
        file.write_at(2, b"abc").unwrap();
        file.allocate(3_000_000).unwrap();
        file.allocate(10).unwrap();
        file.sync().unwrap();
        assert_eq!(file.bytes().unwrap(), 3_000_000);
        let mut buf = [9; 7];
        file.read_at(0, &mut buf).unwrap();
        assert_eq!(&buf, b"\0\0abc\0\0");
        file.truncate(5).unwrap();
        assert!(matches!(file.read_at(0, &mut buf), Err(Error::Io { action: "read", .. })));
        assert_eq!(&*disk.open_read(path).unwrap().map().unwrap(), b"\0\0abc");
        assert!(disk.create(path).is_err());
        disk.rename(path, Path::new("g")).unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        assert_eq!(disk.list(Path::new("")).unwrap(), vec![DirEntry { name: "g".into(), bytes: 5 }]);
        disk.remove(Path::new("g")).unwrap();
        assert!(!disk.exists(Path::new("g")).unwrap());
        assert!(disk.free_bytes().unwrap() > 0);
    }

    #[test]
    fn a_path_cannot_leave_the_data_directory() {
        let dir = tempfile::tempdir().unwrap();
        let disk = OsDisk::open(dir.path().join("data")).unwrap();
        for path in ["../x", "/etc/x", "a/../../x"] {
            assert!(matches!(disk.create(Path::new(path)), Err(Error::Invalid { .. })), "{path}");
        }
    }

    #[test]
    fn errors_name_the_operation_and_the_relative_path() {
        let dir = tempfile::tempdir().unwrap();
        let disk = OsDisk::open(dir.path()).unwrap();
        let error = disk.open_read(Path::new("none")).unwrap_err();
        assert_eq!(error.to_string(), "open none");
    }
}
