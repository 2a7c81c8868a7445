//! A segment's file while it is written, from front to back.

use std::path::Path;
use std::sync::Arc;

use super::footer::Footer;
use super::format::{BlockId, FooterHash, Place, Tail, VERSION, encode_header, put_block};
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};
use crate::id::FileId;

/// Bytes that are gathered before they are written.
const WRITE_BYTES: usize = 1 << 20;

/// A file that is written from front to back.
#[derive(Debug)]
pub(super) struct Output {
    disk_file: Arc<dyn DiskFile>,
    pub(super) file: FileId,
    /// The length of the file, what is pending included.
    pub(super) offset: u64,
    pending: Vec<u8>,
    pub(super) blocks: u32,
}

impl Output {
    pub(super) fn create(disk: &dyn Disk, path: &Path, file: FileId) -> Result<Self> {
        let disk_file = disk.create(path)?;
        let mut out =
            Self { disk_file, file, offset: 0, pending: Vec::with_capacity(2 * WRITE_BYTES), blocks: 0 };
        out.put(&encode_header(file))?;
        Ok(out)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.pending.extend_from_slice(bytes);
        self.offset += bytes.len() as u64;
        if self.pending.len() >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<()> {
        let at = self.offset - self.pending.len() as u64;
        self.disk_file.write_at(at, &self.pending)?;
        self.pending.clear();
        Ok(())
    }

    pub(super) fn block(&mut self, id: &BlockId, payload: &[u8]) -> Result<Place> {
        let mut block = Vec::with_capacity(payload.len() + 32);
        let place =
            put_block(self.file, self.offset, id, payload, &mut block).map_err(|m| Error::invalid(m.0))?;
        self.put(&block)?;
        let number = self.blocks;
        self.blocks += 1;
        Ok(Place { number, ..place })
    }

    /// Writes footer and tail, syncs, and answers the file's length and the footer's hash.
    pub(super) fn finish(mut self, footer: &Footer) -> Result<(u64, FooterHash)> {
        let bytes = footer.encode();
        let tail = Tail {
            footer_offset: self.offset,
            footer_len: u32::try_from(bytes.len()).map_err(|_| Error::invalid("a footer above 4 GiB"))?,
            version: VERSION,
            file: self.file,
            footer_crc: crc32fast::hash(&bytes),
        };
        self.put(&bytes)?;
        self.put(&tail.encode())?;
        self.write()?;
        self.disk_file.sync()?;
        Ok((self.offset, FooterHash::of(&bytes)))
    }
}
