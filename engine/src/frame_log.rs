//! An append-only file of checksummed frames: what the logs of the manifest and the catalog are made of.
//!
//! The file starts with a [`crate::file_header`].
//!
//! The bytes are described in `docs/format/common.md`.
//!
//! # Invariants
//!
//! * A frame is written and synced before the next one is written.
//! * After the sync a mark is written behind it (an empty frame, not synced itself): it says that all
//!   before it was synced. So a bad frame with any frame header after it was durable and is damage; a
//!   bad frame with nothing after it is what a crash tore, and is cut.
//! * The next frame goes over the mark.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};
use crate::file_header::{self, FileType, HEADER_BYTES};
use crate::id::FileId;
use crate::record::RECORD_BYTES_MAX;

/// Bytes in front of a payload.
pub(crate) const FRAME_HEADER_BYTES: u64 = 16;
/// First bytes of a frame: `FRM` and a byte that is not text.
const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"FRM\xfd");
/// Bytes that are read at a time in the search for a frame behind a bad one.
const SEARCH_BYTES: u64 = 1 << 20;

const _: () = assert!(4 + 4 + 4 + 4 == FRAME_HEADER_BYTES);

/// A log that is open for appending.
#[derive(Debug)]
pub(crate) struct FrameLog {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    id: FileId,
    ty: FileType,
    /// Where the next frame goes.
    end: u64,
    poisoned: bool,
}

/// What was found at the end of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opened {
    /// Bytes of a torn frame that were cut.
    pub(crate) bytes_cut: u64,
}

impl FrameLog {
    /// Makes a new, empty log and syncs it; its name is durable once the directory is synced.
    pub(crate) fn create(disk: &dyn Disk, path: &Path, id: FileId, ty: FileType) -> Result<Self> {
        let file = disk.create(path)?;
        file.write_at(0, &file_header::encode(ty, id))?;
        file.sync()?;
        Ok(Self { file, path: path.to_owned(), id, ty, end: HEADER_BYTES, poisoned: false })
    }

    /// Opens a log and gives each payload with its frame's offset to `each`; cuts a torn tail.
    ///
    /// The first `durable` bytes are known to have been synced: a bad frame there is damage in any case.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] for damage, [`Error::NewerFormat`], [`Error::Io`], and the first error of
    /// `each`, of which [`Error::Invalid`] becomes [`Error::Corrupt`].
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &Path,
        id: FileId,
        ty: FileType,
        durable: u64,
        each: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<(Self, Opened)> {
        let file = disk.open_write(path)?;
        file_header::check(ty, path, id, &*file)?;
        let len = file.bytes()?;
        let mut log = Self { file, path: path.to_owned(), id, ty, end: HEADER_BYTES, poisoned: false };
        let mut at = HEADER_BYTES;
        let mut unmarked = None;
        while at < len {
            match log.read_frame(at, len)? {
                Ok(payload) if payload.is_empty() => {
                    at += FRAME_HEADER_BYTES;
                    unmarked = None;
                }
                Ok(payload) => {
                    each(log.end, &payload).map_err(|e| log.as_damage(e))?;
                    unmarked = Some((at, encode_frame(id, at, &payload)));
                    at += FRAME_HEADER_BYTES + payload.len() as u64;
                    log.end = at;
                }
                Err(reason) => {
                    if at < durable || log.has_frame_after(at, len)? {
                        return Err(log.corrupt(at, reason));
                    }
                    break;
                }
            }
        }
        if log.end < durable {
            return Err(log.corrupt(log.end, "the file is shorter than what was synced"));
        }
        let opened = Opened { bytes_cut: len - at };
        if opened.bytes_cut > 0 {
            log.file.truncate(log.end)?;
        }
        // The last frame may have been written without a sync, or its sync failed: then the system shows
        // it but takes it for clean, and no later sync writes it. So it is written again.
        if let Some((offset, frame)) = unmarked {
            log.file.write_at(offset, &frame)?;
        }
        log.file.sync()?;
        log.mark();
        Ok((log, opened))
    }

    /// Writes one frame and syncs it. When it answers, the payload is durable.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; after a failed write it may be tried again, after a failed sync every further
    /// call answers [`Error::Poisoned`]. [`Error::Invalid`] for an empty or oversized payload.
    pub(crate) fn append(&mut self, payload: &[u8]) -> Result<()> {
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        if payload.is_empty() || payload.len() > RECORD_BYTES_MAX {
            return Err(Error::invalid(format!("a frame has 1 to {RECORD_BYTES_MAX} bytes")));
        }
        let frame = encode_frame(self.id, self.end, payload);
        self.file.write_at(self.end, &frame)?;
        if let Err(error) = self.file.sync() {
            self.poisoned = true;
            return Err(error);
        }
        self.end += frame.len() as u64;
        self.mark();
        Ok(())
    }

    /// Bytes of the log, the header included.
    pub(crate) fn bytes(&self) -> u64 {
        self.end
    }

    /// The log's file.
    pub(crate) fn id(&self) -> FileId {
        self.id
    }

    /// Refuses all further appends.
    pub(crate) fn poison(&mut self) {
        self.poisoned = true;
    }

    /// Whether appends are refused.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Says that all bytes so far are durable. The next frame goes over the mark, so a mark that a crash
    /// takes leaves no hole between frames. One that cannot be written is left out: it only serves to
    /// tell damage from a torn tail.
    fn mark(&self) {
        let mark = encode_frame_header(self.id, self.end, &[]);
        drop(self.file.write_at(self.end, &mark));
    }

    /// The payload of the frame at an offset, or what is wrong with it.
    fn read_frame(&self, at: u64, len: u64) -> Result<Result<Vec<u8>, &'static str>> {
        let rest = len - at;
        if rest < FRAME_HEADER_BYTES {
            return Ok(Err("a frame header that ends too early"));
        }
        let mut header = [0; 16];
        self.file.read_at(at, &mut header)?;
        let Some((payload_len, body_crc)) = decode_frame_header(self.id, at, &header) else {
            return Ok(Err("a frame header whose checksum is wrong"));
        };
        if u64::from(payload_len) > rest - FRAME_HEADER_BYTES {
            return Ok(Err("a frame that ends too early"));
        }
        let mut payload = vec![0; payload_len as usize];
        self.file.read_at(at + FRAME_HEADER_BYTES, &mut payload)?;
        if crc(self.id, at, &payload) != body_crc {
            return Ok(Err("a frame whose checksum is wrong"));
        }
        Ok(Ok(payload))
    }

    /// Whether a valid frame header starts anywhere after `from`.
    fn has_frame_after(&self, from: u64, len: u64) -> Result<bool> {
        let mut at = from + 1;
        while at + FRAME_HEADER_BYTES <= len {
            let take = (len - at).min(SEARCH_BYTES);
            let mut buf = vec![0; usize::try_from(take).unwrap_or(0)];
            self.file.read_at(at, &mut buf)?;
            let mut offset = at;
            for window in buf.windows(16) {
                if window.first_chunk().is_some_and(|h| decode_frame_header(self.id, offset, h).is_some()) {
                    return Ok(true);
                }
                offset += 1;
            }
            // The next chunk starts with the first header that did not fit whole into this one.
            at = offset;
        }
        Ok(false)
    }

    fn corrupt(&self, offset: u64, reason: impl Into<String>) -> Error {
        Error::corrupt(self.ty.what, &self.path, offset, reason)
    }

    fn as_damage(&self, error: Error) -> Error {
        match error {
            Error::Invalid { reason } => self.corrupt(self.end, reason),
            other => other,
        }
    }
}

/// CRC-32 of the place of bytes and the bytes.
fn crc(id: FileId, offset: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&id.0.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

fn encode_frame(id: FileId, offset: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 16);
    frame.extend_from_slice(&encode_frame_header(id, offset, payload));
    frame.extend_from_slice(payload);
    frame
}

fn encode_frame_header(id: FileId, offset: u64, payload: &[u8]) -> [u8; 16] {
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut out = [0; 16];
    out[..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
    out[4..8].copy_from_slice(&len.to_le_bytes());
    let head_crc = crc(id, offset, &out[..8]);
    out[8..12].copy_from_slice(&head_crc.to_le_bytes());
    out[12..].copy_from_slice(&crc(id, offset, payload).to_le_bytes());
    out
}

/// The payload's length and checksum, when the header is one of this file at this offset.
fn decode_frame_header(id: FileId, offset: u64, header: &[u8; 16]) -> Option<(u32, u32)> {
    let [m0, m1, m2, m3, l0, l1, l2, l3, h0, h1, h2, h3, b0, b1, b2, b3] = *header;
    if u32::from_le_bytes([m0, m1, m2, m3]) != FRAME_MAGIC {
        return None;
    }
    if crc(id, offset, &header[..8]) != u32::from_le_bytes([h0, h1, h2, h3]) {
        return None;
    }
    Some((u32::from_le_bytes([l0, l1, l2, l3]), u32::from_le_bytes([b0, b1, b2, b3])))
}

#[cfg(test)]
mod tests;
