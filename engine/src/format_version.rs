//! Which versions of a file are read, and the refusal of all others before anything is touched.
//!
//! Each kind of file has its version in the room that writes it, and in its first bytes on disk. Version 1
//! is the first that was released; version 0 was never one.

use std::path::Path;

use crate::error::{Error, Result};

/// The oldest version of any file that is read.
pub(crate) const OLDEST: u32 = 1;

/// Whether a version is one of those that are read.
pub(crate) fn is_read(found: u32, newest: u32) -> bool {
    (OLDEST..=newest).contains(&found)
}

/// Refuses a file of a version that is not read.
///
/// # Errors
///
/// [`Error::NewerFormat`], [`Error::OlderFormat`].
pub(crate) fn judge(path: &Path, found: u32, newest: u32) -> Result<()> {
    let path = path.to_owned();
    if found > newest {
        Err(Error::NewerFormat { path, found, supported: newest })
    } else if found < OLDEST {
        Err(Error::OlderFormat { path, found, oldest: OLDEST })
    } else {
        Ok(())
    }
}
