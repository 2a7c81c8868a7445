//! Writes a sorted file, front to back, in bounded memory.
//!
//! The bytes are described in `docs/format/sorted-file.md`.

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::block::{BLOCK_ENTRIES_MAX, Entry, KEY_BYTES_MAX, SortedBlock};
use super::filter::{Filter, key_hash};
use super::reader::BlockPlace;
use crate::codec::{SECTION_BYTES_MAX, put_section, put_varint};
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};
use crate::file_header::{self, FileType, HEADER_BYTES};
use crate::id::{FileId, TenantNo};
use crate::manifest::{FileKind, FileMeta};

/// Bytes of the footer.
pub(super) const FOOTER_BYTES: u64 = 48;
/// Bytes of keys that end a block.
const BLOCK_TEXT_BYTES: usize = 16 << 10;
/// Bytes that are gathered before they are written.
const WRITE_BYTES: usize = 1 << 20;

/// What a framed block holds; part of its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum BlockTag {
    /// Sorted entries.
    Entries = 1,
    /// Bytes of the owner.
    Blob = 2,
    /// The filter.
    Filter = 3,
    /// The index.
    Index = 4,
}

/// A sorted file that is being written.
#[derive(Debug)]
pub(crate) struct SortedWriter {
    file: Arc<dyn DiskFile>,
    ty: FileType,
    kind: FileKind,
    id: FileId,
    /// Bytes that are not written yet; they go to `written`.
    buffer: Vec<u8>,
    written: u64,
    block: SortedBlock,
    /// The next rank of the (tenant, tag) of the last entry.
    run: Option<(TenantNo, u8, u32)>,
    last_key: Vec<u8>,
    entries: u64,
    index: Vec<u8>,
    blocks: u64,
    filter: Option<Filter>,
}

impl SortedWriter {
    /// Starts the file of number `id`; with a filter when `filter_keys` says for how many keys at most.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], here and in the other methods; the file is then left for the sweep.
    pub(crate) fn create(
        disk: &dyn Disk,
        kind: FileKind,
        id: FileId,
        ty: FileType,
        filter_keys: Option<u64>,
    ) -> Result<Self> {
        let file = disk.create(&kind.path(id))?;
        Ok(Self {
            file,
            ty,
            kind,
            id,
            buffer: file_header::encode(ty, id).to_vec(),
            written: 0,
            block: SortedBlock::default(),
            run: None,
            last_key: Vec::new(),
            entries: 0,
            index: Vec::new(),
            blocks: 0,
            filter: filter_keys.map(Filter::for_keys),
        })
    }

    /// Adds an entry and gives its rank among those of its tenant and tag.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when it does not come after the one before, or its key is too long.
    pub(crate) fn push(&mut self, entry: Entry<'_>) -> Result<u32> {
        let rank = match self.run {
            Some((tenant, tag, next)) if (tenant, tag) == (entry.tenant, entry.tag) => {
                if self.last_key.as_slice() >= entry.key {
                    return Err(Error::invalid("entries of a sorted file out of order"));
                }
                next
            }
            Some((tenant, tag, _)) if (tenant, tag) > (entry.tenant, entry.tag) => {
                return Err(Error::invalid("entries of a sorted file out of order"));
            }
            _ => 0,
        };
        if entry.key.len() > KEY_BYTES_MAX {
            return Err(Error::invalid(format!("a key of a sorted file has at most {KEY_BYTES_MAX} bytes")));
        }
        let next = rank.checked_add(1).ok_or_else(|| Error::invalid("a run of a sorted file is too long"))?;
        if let Some(filter) = &mut self.filter {
            filter.insert(key_hash(entry.tenant, entry.tag, entry.key));
        }
        self.block.push(entry, rank);
        self.run = Some((entry.tenant, entry.tag, next));
        self.last_key.clear();
        self.last_key.extend_from_slice(entry.key);
        self.entries += 1;
        if self.block.len() == BLOCK_ENTRIES_MAX || self.block.text_bytes() >= BLOCK_TEXT_BYTES {
            self.end_block()?;
        }
        Ok(rank)
    }

    /// Adds bytes of the owner and tells where they are.
    pub(crate) fn push_blob(&mut self, bytes: &[u8]) -> Result<BlockPlace> {
        self.put_framed(BlockTag::Blob, bytes)
    }

    /// Ends the file, syncs it and its name, and describes it for the manifest. `owner` goes into the index.
    pub(crate) fn finish(mut self, disk: &dyn Disk, owner: &[u8]) -> Result<FileMeta> {
        self.end_block()?;
        let mut filter_place = BlockPlace { offset: 0, len: 0 };
        if let Some(filter) = self.filter.take() {
            filter_place = self.put_framed(BlockTag::Filter, &filter.encode())?;
        }
        let mut index = Vec::with_capacity(self.index.len() + owner.len() + 16);
        put_varint(self.blocks, &mut index);
        index.append(&mut self.index);
        filter_place.encode(&mut index);
        index.extend_from_slice(owner);
        let place = self.put_framed(BlockTag::Index, &index)?;
        let footer = encode_footer(self.ty, self.id, place, self.entries);
        let hash = content_hash(&index, &footer);
        self.buffer.extend_from_slice(&footer);
        self.write_buffer()?;
        self.file.sync()?;
        disk.sync_dir(Path::new(self.kind.dir()))?;
        Ok(FileMeta::new(self.id, self.kind, self.written, hash))
    }

    fn end_block(&mut self) -> Result<()> {
        let block = std::mem::take(&mut self.block);
        let Some(first) = block.groups().first() else {
            return Ok(());
        };
        let place = self.put_framed(BlockTag::Entries, &block.encode())?;
        let key = block.entry(first, first.start).map_or(&[][..], |e| e.key);
        place.encode(&mut self.index);
        put_varint(u64::from(first.tenant.0), &mut self.index);
        self.index.push(first.tag);
        put_varint(u64::from(first.first_rank), &mut self.index);
        put_varint(key.len() as u64, &mut self.index);
        self.index.extend_from_slice(key);
        self.blocks += 1;
        Ok(())
    }

    fn put_framed(&mut self, tag: BlockTag, raw: &[u8]) -> Result<BlockPlace> {
        if raw.len() > SECTION_BYTES_MAX {
            return Err(Error::invalid("a block of a sorted file is too long"));
        }
        let mut section = Vec::with_capacity(raw.len() / 2);
        put_section(raw, &mut section);
        let offset = self.written + self.buffer.len() as u64;
        self.buffer.extend_from_slice(&block_crc(self.id, offset, tag, &section).to_le_bytes());
        self.buffer.append(&mut section);
        let len = self.written + self.buffer.len() as u64 - offset;
        let len = u32::try_from(len).map_err(|_| Error::invalid("a block of a sorted file is too long"))?;
        if self.buffer.len() >= WRITE_BYTES {
            self.write_buffer()?;
        }
        Ok(BlockPlace { offset, len })
    }

    fn write_buffer(&mut self) -> Result<()> {
        self.file.write_at(self.written, &self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

const _: () = assert!(HEADER_BYTES == 32 && 8 + 4 + 4 + 8 + 8 + 8 + 4 + 4 == FOOTER_BYTES);

/// CRC-32 of a framed block and of its place.
pub(super) fn block_crc(id: FileId, offset: u64, tag: BlockTag, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&id.0.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(&[tag as u8]);
    hasher.update(bytes);
    hasher.finalize()
}

/// What the manifest keeps of a file: SHA-256 of its index and footer.
pub(super) fn content_hash(index: &[u8], footer: &[u8; 48]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(index);
    hash.update(footer);
    hash.finalize().into()
}

fn encode_footer(ty: FileType, id: FileId, index: BlockPlace, entries: u64) -> [u8; 48] {
    let mut out = [0; 48];
    out[..8].copy_from_slice(&index.offset.to_le_bytes());
    out[8..12].copy_from_slice(&index.len.to_le_bytes());
    out[12..16].copy_from_slice(&ty.version.to_le_bytes());
    out[16..24].copy_from_slice(&entries.to_le_bytes());
    out[24..32].copy_from_slice(&id.0.to_le_bytes());
    out[32..40].copy_from_slice(&ty.magic);
    let crc = crc32fast::hash(&out[..44]);
    out[44..].copy_from_slice(&crc.to_le_bytes());
    out
}
