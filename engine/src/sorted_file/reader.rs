//! Reads a sorted file: the index is in memory, blocks are read and verified when they are asked for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::block::{Entry, KEY_BYTES_MAX, SortedBlock, varint_u32};
use super::cache::BlockCache;
use super::filter::Filter;
use super::writer::{BlockTag, FOOTER_BYTES, block_crc, content_hash};
use crate::codec::{Cursor as Bytes, Decoded, Malformed, put_varint};
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};
use crate::file_header::{self, FileType, HEADER_BYTES};
use crate::id::{FileId, TenantNo};
use crate::manifest::FileMeta;

/// Where a framed block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockPlace {
    /// Its first byte.
    pub(crate) offset: u64,
    /// Its bytes, with the frame.
    pub(crate) len: u32,
}

impl BlockPlace {
    /// Writes the place as two varints.
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        put_varint(self.offset, out);
        put_varint(u64::from(self.len), out);
    }

    /// Reads what [`Self::encode`] wrote.
    pub(crate) fn decode(reader: &mut Bytes<'_>) -> Decoded<Self> {
        Ok(Self { offset: reader.varint()?, len: varint_u32(reader)? })
    }
}

/// A block of entries in the index.
#[derive(Debug)]
struct IndexEntry {
    place: BlockPlace,
    tenant: TenantNo,
    tag: u8,
    first_rank: u32,
    first_key: Box<[u8]>,
}

/// An open sorted file.
#[derive(Debug)]
pub(crate) struct SortedReader {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    ty: FileType,
    id: FileId,
    index: Vec<IndexEntry>,
    filter_place: Option<BlockPlace>,
    filter: Option<Filter>,
    owner: Vec<u8>,
    entries: u64,
    bytes: u64,
}

impl SortedReader {
    /// Opens the file that the manifest describes.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`], [`Error::NewerFormat`], [`Error::Io`].
    pub(crate) fn open(disk: &dyn Disk, meta: &FileMeta, ty: FileType) -> Result<Self> {
        let path = meta.path();
        let corrupt = |offset: u64, reason: &str| Error::corrupt(ty.what, &path, offset, reason);
        if !disk.exists(&path)? {
            return Err(corrupt(0, "a file that the manifest names is missing"));
        }
        let file = disk.open_read(&path)?;
        let bytes = file.bytes()?;
        if bytes != meta.bytes || bytes < HEADER_BYTES + FOOTER_BYTES {
            return Err(corrupt(bytes, "a file that is not as long as the manifest says"));
        }
        file_header::check(ty, &path, meta.id, &*file)?;
        let footer_at = bytes - FOOTER_BYTES;
        let mut footer = [0; 48];
        file.read_at(footer_at, &mut footer)?;
        let (place, entries) = decode_footer(&footer, meta.id, ty)
            .ok_or_else(|| corrupt(footer_at, "a footer whose checksum, kind or number is wrong"))?;
        let mut reader = Self {
            file,
            path: path.clone(),
            ty,
            id: meta.id,
            index: Vec::new(),
            filter_place: None,
            filter: None,
            owner: Vec::new(),
            entries,
            bytes,
        };
        let index = reader.read_framed(place, BlockTag::Index)?;
        if content_hash(&index, &footer) != meta.hash {
            return Err(corrupt(footer_at, "a file that is not the one the manifest names"));
        }
        reader.decode_index(&index).map_err(|e| reader.corrupt(place.offset, e.0))?;
        Ok(reader)
    }

    fn decode_index(&mut self, bytes: &[u8]) -> Decoded<()> {
        let mut reader = Bytes::new(bytes);
        for _ in 0..reader.len(bytes.len())? {
            let place = BlockPlace::decode(&mut reader)?;
            let tenant = TenantNo(varint_u32(&mut reader)?);
            let tag = reader.u8()?;
            let first_rank = varint_u32(&mut reader)?;
            let key_len = reader.len(KEY_BYTES_MAX)?;
            let first_key: Box<[u8]> = reader.take(key_len)?.into();
            let entry = IndexEntry { place, tenant, tag, first_rank, first_key };
            if self.index.last().is_some_and(|last| last.order() >= entry.order()) {
                return Err(Malformed("blocks of an index out of order"));
            }
            self.index.push(entry);
        }
        let place = BlockPlace::decode(&mut reader)?;
        self.filter_place = if place.len == 0 { None } else { Some(place) };
        self.owner = reader.rest().to_vec();
        Ok(())
    }

    /// The bytes of the file by the tag of its entries, each tag's share by the bytes of its keys.
    ///
    /// Reads and verifies every block.
    pub(crate) fn bytes_by_tag(&self) -> Result<BTreeMap<u8, u64>> {
        /// What an entry has besides its key: about the bytes of value, extra and prefix length.
        const ENTRY_BYTES: u64 = 4;
        let mut weights: BTreeMap<u8, u64> = BTreeMap::new();
        let mut cursor = Cursor::new(self)?;
        while let Some(entry) = cursor.entry() {
            *weights.entry(entry.tag).or_default() += entry.key.len() as u64 + ENTRY_BYTES;
            cursor.advance()?;
        }
        let all: u64 = weights.values().sum();
        Ok(weights.into_iter().map(|(tag, weight)| (tag, share(self.bytes, weight, all))).collect())
    }

    /// Reads every block and the filter, and says how many that were.
    pub(crate) fn verify(&self) -> Result<u64> {
        for number in 0..self.index.len() {
            self.read_block(number)?;
        }
        let filter = self.filter_place.map(|place| self.read_framed(place, BlockTag::Filter)).transpose()?;
        Ok(self.index.len() as u64 + u64::from(filter.is_some()))
    }

    /// The file's number.
    pub(crate) fn id(&self) -> FileId {
        self.id
    }

    /// How many entries there are.
    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    /// What the owner put into the index.
    pub(crate) fn owner(&self) -> &[u8] {
        &self.owner
    }

    /// Reads the filter, if there is one, and keeps it; tells the bytes of memory that it takes.
    pub(crate) fn load_filter(&mut self) -> Result<u64> {
        let Some(place) = self.filter_place else {
            return Ok(0);
        };
        let bytes = self.read_framed(place, BlockTag::Filter)?;
        let filter = Filter::decode(&bytes)
            .ok_or_else(|| self.corrupt(place.offset, "a filter of the wrong length"))?;
        let memory = filter.memory_bytes();
        self.filter = Some(filter);
        Ok(memory)
    }

    /// Whether a key of this [`super::key_hash`] may be here; `true` also when there is no loaded filter.
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        self.filter.as_ref().is_none_or(|f| f.may_contain(hash))
    }

    /// The two numbers of a key, if it is here.
    pub(crate) fn get(
        &self,
        cache: &BlockCache<SortedBlock>,
        tenant: TenantNo,
        tag: u8,
        key: &[u8],
    ) -> Result<Option<(u64, i64)>> {
        let block = self.block_of_key(cache, tenant, tag, key)?;
        Ok(block.and_then(|block| block.get(tenant, tag, key).map(|e| (e.value, e.extra))))
    }

    /// The rank of a key among those of its tenant and tag, if it is here.
    pub(crate) fn rank_of(
        &self,
        cache: &BlockCache<SortedBlock>,
        tenant: TenantNo,
        tag: u8,
        key: &[u8],
    ) -> Result<Option<u32>> {
        let block = self.block_of_key(cache, tenant, tag, key)?;
        Ok(block.and_then(|block| block.find(tenant, tag, key).map(|(rank, _)| rank)))
    }

    /// The block that has a key, if any has.
    fn block_of_key(
        &self,
        cache: &BlockCache<SortedBlock>,
        tenant: TenantNo,
        tag: u8,
        key: &[u8],
    ) -> Result<Option<Arc<SortedBlock>>> {
        let after = self.index.partition_point(|b| b.order() <= (tenant, tag, key));
        after.checked_sub(1).map(|number| self.block_at(cache, number)).transpose()
    }

    /// The block that has the entry of a rank of a (tenant, tag) of which this file has that many entries.
    pub(crate) fn block_of_rank(
        &self,
        cache: &BlockCache<SortedBlock>,
        tenant: TenantNo,
        tag: u8,
        rank: u32,
    ) -> Result<Option<Arc<SortedBlock>>> {
        let after = self.index.partition_point(|b| (b.tenant, b.tag, b.first_rank) <= (tenant, tag, rank));
        match after.checked_sub(1) {
            Some(number) => self.block_at(cache, number).map(Some),
            None => Ok(None),
        }
    }

    fn block_at(&self, cache: &BlockCache<SortedBlock>, number: usize) -> Result<Arc<SortedBlock>> {
        let entry = self.index.get(number).ok_or_else(|| Error::invalid("no such block"))?;
        cache.get(self.id, entry.place.offset, || self.read_entries(entry))
    }

    /// A block of entries, past the cache: for a merge, which reads each once.
    pub(crate) fn read_block(&self, number: usize) -> Result<Option<SortedBlock>> {
        self.index.get(number).map(|entry| self.read_entries(entry)).transpose()
    }

    fn read_entries(&self, entry: &IndexEntry) -> Result<SortedBlock> {
        let bytes = self.read_framed(entry.place, BlockTag::Entries)?;
        let block = SortedBlock::decode(&bytes).map_err(|e| self.corrupt(entry.place.offset, e.0))?;
        let first = block.groups().first().and_then(|g| block.entry(g, g.start));
        if first.is_none_or(|e| e.order() != entry.order()) {
            return Err(self.corrupt(entry.place.offset, "a block that is not the one the index names"));
        }
        Ok(block)
    }

    /// Bytes of the owner that [`super::SortedWriter::push_blob`] placed.
    pub(crate) fn read_blob(&self, place: BlockPlace) -> Result<Vec<u8>> {
        self.read_framed(place, BlockTag::Blob)
    }

    fn read_framed(&self, place: BlockPlace, tag: BlockTag) -> Result<Vec<u8>> {
        let corrupt = |reason: &str| self.corrupt(place.offset, reason);
        let end = place.offset.checked_add(u64::from(place.len));
        let inside = place.offset >= HEADER_BYTES && end.is_some_and(|end| end <= self.bytes);
        if !inside {
            return Err(corrupt("a block outside of the file"));
        }
        let mut framed = vec![0; place.len as usize];
        self.file.read_at(place.offset, &mut framed)?;
        let (crc, section) =
            framed.split_first_chunk::<4>().ok_or_else(|| corrupt("a block without a frame"))?;
        if block_crc(self.id, place.offset, tag, section) != u32::from_le_bytes(*crc) {
            return Err(corrupt("a block whose checksum is wrong"));
        }
        let mut reader = Bytes::new(section);
        let raw = reader.section().map_err(|e| corrupt(e.0))?;
        reader.end().map_err(|e| corrupt(e.0))?;
        Ok(raw.into_owned())
    }

    /// Damage at an offset of this file.
    pub(crate) fn corrupt(&self, offset: u64, reason: impl Into<String>) -> Error {
        Error::corrupt(self.ty.what, &self.path, offset, reason)
    }

    /// An error of decoding as damage at an offset of this file.
    pub(crate) fn as_damage(&self, offset: u64, error: Error) -> Error {
        match error {
            Error::Invalid { reason } => self.corrupt(offset, reason),
            other => other,
        }
    }
}

impl IndexEntry {
    fn order(&self) -> (TenantNo, u8, &[u8]) {
        (self.tenant, self.tag, &self.first_key)
    }
}

fn decode_footer(footer: &[u8; 48], id: FileId, ty: FileType) -> Option<(BlockPlace, u64)> {
    let (body, crc) = footer.split_last_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (words, _) = body.as_chunks::<8>();
    let [offset, len_version, entries, file, magic] = words.first_chunk::<5>()?;
    if *file != id.0.to_le_bytes() || *magic != ty.magic {
        return None;
    }
    let [l0, l1, l2, l3, ..] = *len_version;
    let place = BlockPlace { offset: u64::from_le_bytes(*offset), len: u32::from_le_bytes([l0, l1, l2, l3]) };
    Some((place, u64::from_le_bytes(*entries)))
}

/// `part / all` of `bytes`, rounded down.
pub(crate) fn share(bytes: u64, part: u64, all: u64) -> u64 {
    let share = u128::from(bytes) * u128::from(part) / u128::from(all.max(1));
    u64::try_from(share).unwrap_or(u64::MAX)
}

/// A place in a sorted file that moves forward.
#[derive(Debug)]
pub(crate) struct Cursor<'r> {
    reader: &'r SortedReader,
    next_block: usize,
    block: SortedBlock,
    group: usize,
    index: usize,
}

impl<'r> Cursor<'r> {
    /// Stands on the first entry.
    pub(crate) fn new(reader: &'r SortedReader) -> Result<Self> {
        let mut cursor = Self { reader, next_block: 0, block: SortedBlock::default(), group: 0, index: 0 };
        cursor.settle()?;
        Ok(cursor)
    }

    /// The entry it stands on, if it is not past the end.
    pub(crate) fn entry(&self) -> Option<Entry<'_>> {
        self.block.entry(self.block.groups().get(self.group)?, self.index)
    }

    /// Moves to the next entry.
    pub(crate) fn advance(&mut self) -> Result<()> {
        self.index += 1;
        if self.block.groups().get(self.group).is_some_and(|g| self.index >= g.end) {
            self.group += 1;
        }
        self.settle()
    }

    fn settle(&mut self) -> Result<()> {
        if self.group >= self.block.groups().len()
            && let Some(block) = self.reader.read_block(self.next_block)?
        {
            self.next_block += 1;
            self.block = block;
            self.group = 0;
            self.index = 0;
        }
        Ok(())
    }
}
