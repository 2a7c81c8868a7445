//! A sealed file as memory: the only unsafe code of the engine.
#![expect(unsafe_code, reason = "mapping a file cannot be written without it")]

use std::fs::File;
use std::io;

use super::Mapping;

/// Maps a sealed file for reading.
///
/// Callers map only files whose bytes they verified and that the engine never writes again; a file
/// that somebody else cuts while it is mapped is outside of what the engine promises.
pub(super) fn map(file: &File) -> io::Result<Mapping> {
    // SAFETY: the mapping is private to this process and read-only. Sealed files are never written,
    // cut or reused by the engine (they are only unlinked, which keeps a mapping alive), and the lock
    // on the data directory keeps every other engine out, so the bytes do not change under a `&[u8]`.
    let mapped = unsafe { memmap2::MmapOptions::new().map(file) }?;
    Ok(Mapping::new(mapped))
}
