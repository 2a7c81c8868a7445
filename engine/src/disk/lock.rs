//! The lock file that keeps a data directory to one process.

use std::fs::{File, TryLockError};
use std::io;

use super::DirLock;

/// Name of the lock file, in the data directory.
pub(super) const LOCK_NAME: &str = "LOCK";

/// Holds the lock until it is dropped; the system lets go of it when the process dies.
#[derive(Debug)]
pub(super) struct OsLock {
    /// Closing the file gives the lock back.
    _file: File,
}

impl DirLock for OsLock {}

/// Takes the lock without waiting; `None` when another process has it.
pub(super) fn try_lock(file: File) -> io::Result<Option<OsLock>> {
    match file.try_lock() {
        Ok(()) => Ok(Some(OsLock { _file: file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
