//! Reads one WAL file: the frame at an offset, or the next one that is intact.

use std::path::Path;
use std::sync::Arc;

use super::record::{ALIGN, FRAME_HEADER_BYTES, FrameHeader, Place};
use crate::disk::{Disk, DiskFile};
use crate::error::Result;
use crate::id::FileId;

/// Bytes read at once; a longer frame is read whole.
const WINDOW_BYTES: u64 = 1 << 20;

/// A WAL file that is being read, with a window of its bytes in memory.
#[derive(Debug)]
pub(super) struct FileReader {
    file: Arc<dyn DiskFile>,
    file_id: FileId,
    /// `None` when no header says which frames belong to the file: then there are none.
    epoch: Option<u64>,
    bytes: u64,
    window_at: u64,
    window: Vec<u8>,
}

impl FileReader {
    /// Opens a file; `epoch` is what its frames must carry.
    pub(super) fn open(disk: &dyn Disk, path: &Path, file_id: FileId, epoch: Option<u64>) -> Result<Self> {
        let file = disk.open_read(path)?;
        let bytes = file.bytes()?;
        Ok(Self { file, file_id, epoch, bytes, window_at: 0, window: Vec::new() })
    }

    /// Bytes `offset..offset + len`; `None` when the file ends before.
    pub(super) fn bytes_at(&mut self, offset: u64, len: u64) -> Result<Option<&[u8]>> {
        let Some(end) = offset.checked_add(len).filter(|end| *end <= self.bytes) else { return Ok(None) };
        if offset < self.window_at || end > self.window_at + self.window.len() as u64 {
            let read = len.max(WINDOW_BYTES.min(self.bytes - offset));
            // A frame is at most 4 GiB and was checked to lie inside of the file.
            self.window.resize(usize::try_from(read).unwrap_or(usize::MAX), 0);
            self.window_at = offset;
            if let Err(error) = self.file.read_at(offset, &mut self.window) {
                self.window.clear();
                return Err(error);
            }
        }
        let (Ok(start), Ok(len)) = (usize::try_from(offset - self.window_at), usize::try_from(len)) else {
            return Ok(None);
        };
        Ok(self.window.get(start..start + len))
    }

    /// The frame at `offset`, if there is an intact one.
    pub(super) fn frame_at(&mut self, offset: u64) -> Result<Option<(FrameHeader, &[u8])>> {
        let Some(header) = self.peek(offset)? else { return Ok(None) };
        let Some(place) = self.place(offset) else { return Ok(None) };
        let frame = self.bytes_at(offset, header.frame_bytes())?.unwrap_or_default();
        if !FrameHeader::verify(place, frame) {
            return Ok(None);
        }
        let payload = frame.get(FRAME_HEADER_BYTES..).unwrap_or_default();
        let len = usize::try_from(header.payload_bytes).unwrap_or(usize::MAX);
        Ok(payload.get(..len).map(|payload| (header, payload)))
    }

    /// The fields of what looks like a frame at `offset`, intact or not.
    pub(super) fn peek(&mut self, offset: u64) -> Result<Option<FrameHeader>> {
        let file_bytes = self.bytes;
        let Some(place) = self.place(offset) else { return Ok(None) };
        let bytes = self.bytes_at(offset, FRAME_HEADER_BYTES as u64)?.unwrap_or_default();
        Ok(FrameHeader::peek(place, file_bytes, bytes))
    }

    /// The first intact frame at or after `from`.
    ///
    /// Only the epoch is compared while looking: it is random and secret, so that no payload that
    /// somebody sent in can pass for a frame.
    pub(super) fn next_frame(&mut self, from: u64) -> Result<Option<(u64, FrameHeader)>> {
        let Some(epoch) = self.epoch else { return Ok(None) };
        let mut at = from.next_multiple_of(ALIGN);
        while at + FRAME_HEADER_BYTES as u64 <= self.bytes {
            let len = WINDOW_BYTES.min(self.bytes - at) / ALIGN * ALIGN;
            let words = self.bytes_at(at, len)?.unwrap_or_default().chunks_exact(8).skip(1);
            let hit = words.enumerate().find(|(_, word)| **word == epoch.to_le_bytes());
            let Some((words_before, _)) = hit else {
                // The last word may be the first of a frame whose epoch is in the next window.
                at += len - ALIGN;
                continue;
            };
            at += words_before as u64 * ALIGN;
            if let Some((header, _)) = self.frame_at(at)? {
                return Ok(Some((at, header)));
            }
            at += ALIGN;
        }
        Ok(None)
    }

    /// The length of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn place(&self, offset: u64) -> Option<Place> {
        Some(Place { file_id: self.file_id, epoch: self.epoch?, offset })
    }
}
