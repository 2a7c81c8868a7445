//! Every system call of the engine: files through [`Disk`], real or simulated.
//!
//! Paths are relative to the data directory. What a caller may assume of any disk, and what the
//! simulated one takes away at a crash:
//!
//! * bytes written are durable once [`DiskFile::sync`] returned; before that any subset of the
//!   writes may survive, in any order, each torn at any byte;
//! * a file's name (created, renamed, removed) is durable once [`Disk::sync_dir`] returned for its
//!   directory; before that the old or the new state may be found after a crash;
//! * a rename is atomic, and durable with the directory of its new name;
//! * a directory is durable once [`Disk::create_dir`] returned.
#![expect(clippy::missing_errors_doc, reason = "all methods of a disk fail alike: said once, at the traits")]

mod lock;
mod map;
pub(crate) mod meter;
pub mod os;
pub mod overlay;
pub mod sim;
mod sub;

use std::fmt;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use crate::error::Result;

pub use os::{OsDisk, raise_open_files_limit};
pub use overlay::OverlayDisk;
pub use sim::SimDisk;
pub(crate) use sub::SubDisk;

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The file's name, without its directory.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
}

/// Keeps a directory to one process while it lives.
pub trait DirLock: Send + Sync + fmt::Debug {}

/// The files below one data directory.
///
/// # Errors
///
/// Every method answers [`crate::Error::Io`], naming the file, when the system refuses.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates a file that must not exist, for reading and writing, with mode 0600.
    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>>;
    /// Opens a file for reading and writing.
    fn open_write(&self, path: &Path) -> Result<Arc<dyn DiskFile>>;
    /// Opens a file for reading.
    fn open_read(&self, path: &Path) -> Result<Arc<dyn DiskFile>>;
    /// Whether there is a file or a directory of this name.
    fn exists(&self, path: &Path) -> Result<bool>;
    /// Gives a file another name, replacing what had it.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    /// Gives a file a second name, which must be free; both are names of the same bytes. Only for sealed
    /// files, whose bytes never change. Durable with the directory of the new name.
    fn link(&self, from: &Path, to: &Path) -> Result<()>;
    /// Removes a file's name; its bytes go with the last one.
    fn remove(&self, path: &Path) -> Result<()>;
    /// Creates a directory and its parents, with mode 0700; fine when it exists.
    fn create_dir(&self, path: &Path) -> Result<()>;
    /// The files of a directory (not its directories), sorted by name.
    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> Result<()>;
    /// Takes the exclusive lock on the data directory, without waiting.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Locked`] when another process has it.
    fn lock(&self) -> Result<Box<dyn DirLock>>;
    /// Bytes that can still be written to the file system.
    fn free_bytes(&self) -> Result<u64>;
}

/// One open file.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Fills `buf` from `offset`; a shorter file is an error.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;
    /// Makes all earlier writes to this file durable (`fdatasync`).
    fn sync(&self) -> Result<()>;
    /// The file's length in bytes.
    fn bytes(&self) -> Result<u64>;
    /// Extends the file to `bytes` with zeroes that take space on the disk now.
    fn allocate(&self, bytes: u64) -> Result<()>;
    /// Cuts the file to `bytes`.
    fn truncate(&self, bytes: u64) -> Result<()>;
    /// The whole file as memory; only for sealed files, whose bytes never change.
    fn map(&self) -> Result<Mapping>;
}

/// A sealed file as memory: a mapping on a real disk, a copy on a simulated one.
#[derive(Clone)]
pub struct Mapping(Arc<dyn Deref<Target = [u8]> + Send + Sync>);

impl Mapping {
    /// Wraps whatever keeps the bytes alive.
    pub fn new(bytes: impl Deref<Target = [u8]> + Send + Sync + 'static) -> Self {
        Self(Arc::new(bytes))
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({} bytes)", self.len())
    }
}

/// Reads a whole small file.
///
/// # Errors
///
/// [`crate::Error::Invalid`] when it is longer than `bytes_max`, else what the disk says.
pub fn read_small(disk: &dyn Disk, path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let file = disk.open_read(path)?;
    let bytes = file.bytes()?;
    if bytes > bytes_max {
        return Err(crate::Error::invalid(format!("{} has more than {bytes_max} bytes", path.display())));
    }
    let len = usize::try_from(bytes).map_err(|_| crate::Error::invalid("file too large for memory"))?;
    let mut buf = vec![0; len];
    file.read_at(0, &mut buf)?;
    Ok(buf)
}
