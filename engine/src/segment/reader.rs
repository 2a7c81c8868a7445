//! Reads a segment: an immutable [`Part`] whose every byte is verified before it is believed.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::cache::{BlockCache, CacheKey, Cached, PATHS, RESIDUAL, WHOLE};
use super::column_chunk;
use super::directory::{self, Chunk, StreamDirectory};
use super::footer::{Footer, StreamFooter};
use super::format::{
    BLOCK_HEADER_BYTES, BlockId, BlockKind, FooterHash, GRANULE_ROWS, HEADER_BYTES, Place, TAIL_BYTES, Tail,
    VERSION, check_block, decode_header,
};
use super::paths::{KINDS, Paths, sub_of};
use super::shred::{Shredded, ShreddedPath};
use super::told::{self, Tell};
use super::{path_column, tenant_index};
use crate::codec::{Decoded, Malformed, decode_strings};
use crate::disk::{Disk, DiskFile, Mapping, meter};
use crate::error::{Error, Result};
use crate::format_version;
use crate::id::{FileId, Lsn, Stream, TenantId, TenantNo};
use crate::part::{Part, Run, ZoneMap, path_of_documents};
use crate::query::PartId;
use crate::schema::{BytesColumn, ColumnDef, ColumnId, ColumnType, ColumnVector, Document, Schema};
use crate::time::TimestampUs;

/// Largest footer that is read.
const FOOTER_BYTES_MAX: u32 = 64 << 20;

/// An open segment.
#[derive(Debug)]
pub struct SegmentReader {
    pub(super) path: PathBuf,
    pub(super) file: FileId,
    disk_file: Arc<dyn DiskFile>,
    bytes: u64,
    pub(super) footer: Footer,
    pub(super) streams: Vec<StreamIndex>,
    cache: Arc<BlockCache>,
    /// One bit a block: its checksum was right once.
    verified: Vec<AtomicU64>,
    /// The file as memory; only verified blocks are read from it.
    mapping: OnceLock<Option<Mapping>>,
    bytes_read: AtomicU64,
}

/// What is kept in memory of a stream.
#[derive(Debug)]
pub(super) struct StreamIndex {
    pub(super) stream: Stream,
    pub(super) runs: Vec<Run>,
    pub(super) directory: StreamDirectory,
}

/// A column of a granule, looked up: what reading it needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChunkRef<'a> {
    pub(super) stream: Stream,
    pub(super) def: &'static ColumnDef,
    pub(super) granule: u32,
    pub(super) rows: usize,
    pub(super) chunk: &'a Chunk,
}

impl ChunkRef<'_> {
    pub(super) fn id(&self, kind: BlockKind, sub: u32) -> BlockId {
        BlockId::column(kind, self.stream, self.def.id, self.granule, sub)
    }
}

/// The bytes of a block, read or mapped.
pub(super) enum Block {
    Read(Vec<u8>),
    Mapped(Mapping, Place),
}

impl Block {
    /// The payload of a block that was verified.
    pub(super) fn payload(&self) -> &[u8] {
        let bytes = match self {
            Self::Read(bytes) => bytes.as_slice(),
            Self::Mapped(mapping, place) => mapped(mapping, *place).unwrap_or(&[]),
        };
        bytes.get(BLOCK_HEADER_BYTES..).unwrap_or(&[])
    }
}

fn mapped(mapping: &Mapping, place: Place) -> Option<&[u8]> {
    let start = usize::try_from(place.offset).ok()?;
    mapping.get(start..start.checked_add(place.len as usize)?)
}

fn array<const N: usize>(file: &dyn DiskFile, offset: u64) -> Result<[u8; N]> {
    let mut out = [0; N];
    file.read_at(offset, &mut out)?;
    Ok(out)
}

impl SegmentReader {
    /// Opens a segment and reads its index; blocks are read when they are asked for.
    ///
    /// `footer_hash` is what the manifest says; without one, as repair does, the checksums inside of
    /// the file must do.
    ///
    /// # Errors
    ///
    /// [`Error::NewerFormat`], [`Error::Corrupt`] when anything is not as it was written, [`Error::Io`].
    pub fn open(
        disk: &dyn Disk,
        path: &Path,
        file: FileId,
        footer_hash: Option<FooterHash>,
        cache: Arc<BlockCache>,
    ) -> Result<Arc<Self>> {
        let disk_file = disk.open_read(path)?;
        let bytes = disk_file.bytes()?;
        let footer = open_footer(disk_file.as_ref(), path, file, bytes, footer_hash)?;
        let mut reader = Self {
            path: path.to_owned(),
            file,
            disk_file,
            bytes,
            verified: (0..footer.blocks.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            footer,
            streams: Vec::new(),
            cache,
            mapping: OnceLock::new(),
            bytes_read: AtomicU64::new(0),
        };
        reader.streams = reader.open_streams()?;
        Ok(Arc::new(reader))
    }

    fn open_streams(&self) -> Result<Vec<StreamIndex>> {
        let footer = &self.footer;
        let shape: Vec<(usize, usize)> =
            footer.streams.iter().map(|s| (Schema::of(s.stream).columns.len(), s.granules())).collect();
        let block = self.block(&BlockId::index(BlockKind::Directory, None, 0), footer.directory)?;
        let directories = directory::decode(block.payload(), &shape)
            .map_err(|m| self.corrupt("directory", footer.directory.offset, m))?;
        let mut out = Vec::with_capacity(directories.len());
        for (stream, directory) in footer.streams.iter().zip(directories) {
            out.push(StreamIndex { stream: stream.stream, runs: self.open_runs(stream)?, directory });
        }
        Ok(out)
    }

    fn open_runs(&self, stream: &StreamFooter) -> Result<Vec<Run>> {
        let mut runs = Vec::new();
        for (number, (tenant, place)) in (0..).zip(&stream.runs) {
            let block = self.block(&BlockId::index(BlockKind::Runs, Some(stream.stream), number), *place)?;
            let first = runs.len();
            tenant_index::decode_runs(block.payload(), &mut runs)
                .and_then(|()| match runs.get(first) {
                    Some(run) if run.tenant == *tenant => Ok(()),
                    _ => Err(Malformed("another first tenant than the footer says")),
                })
                .map_err(|m| self.corrupt("tenant index", place.offset, m))?;
        }
        let offset = stream.runs.first().map_or(0, |(_, place)| place.offset);
        tenant_index::check(&runs, stream.rows).map_err(|m| self.corrupt("tenant index", offset, m))?;
        Ok(runs)
    }

    /// The file's id.
    pub fn file(&self) -> FileId {
        self.file
    }

    /// The file's length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The segments whose rows this one took over.
    pub fn replaces(&self) -> &[FileId] {
        &self.footer.replaces
    }

    /// Every frame up to it was in segments when this one was published.
    pub fn flushed_lsn(&self) -> Lsn {
        self.footer.flushed_lsn
    }

    /// Names of the tenants that have rows; read from the file at each call, for repair.
    ///
    /// # Errors
    ///
    /// As the reading methods of [`Part`].
    pub fn tenant_names(&self) -> Result<Vec<(TenantNo, TenantId)>> {
        let place = self.footer.names;
        let block = self.block(&BlockId::index(BlockKind::TenantNames, None, 0), place)?;
        tenant_index::decode_names(block.payload()).map_err(|m| self.corrupt("tenant names", place.offset, m))
    }

    /// Bytes of each column of a stream in the file, in the schema's order.
    pub fn column_bytes(&self, stream: Stream) -> Vec<(ColumnId, u64)> {
        let bytes =
            self.footer.streams.iter().find(|s| s.stream == stream).map_or(&[][..], |s| &s.column_bytes);
        Schema::of(stream).columns.iter().zip(bytes).map(|(c, b)| (c.id, *b)).collect()
    }

    /// Rows of each column of a stream that have no value, in the schema's order.
    pub fn column_nulls(&self, stream: Stream) -> Vec<u64> {
        let directory = self.index(stream).map_or(&[][..], |s| &s.directory);
        directory.iter().map(|chunks| chunks.iter().map(|c| u64::from(c.nulls)).sum()).collect()
    }

    /// Bytes read of it so far, by whoever it was.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// A tenant's share of the bytes of a stream, by its rows.
    pub fn tenant_bytes(&self, stream: Stream, tenant: TenantNo) -> u64 {
        let bytes = self.bytes_of(stream);
        let own: u64 = self.runs_of(stream, tenant).iter().map(|r| r.rows.end - r.rows.start).sum();
        let share = u128::from(bytes) * u128::from(own) / u128::from(self.rows(stream).max(1));
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    pub(super) fn corrupt(&self, what: &'static str, offset: u64, reason: Malformed) -> Error {
        Error::corrupt(what, &self.path, offset, reason.0)
    }

    /// A block, verified now or before.
    pub(super) fn block(&self, id: &BlockId, place: Place) -> Result<Block> {
        self.bytes_read.fetch_add(u64::from(place.len), Ordering::Relaxed);
        meter::count(u64::from(place.len));
        let word = self.verified.get(place.number as usize / 64);
        let bit = 1_u64 << (place.number % 64);
        if word.is_some_and(|w| w.load(Ordering::Acquire) & bit != 0)
            && let Some(mapping) = self.mapping.get_or_init(|| self.disk_file.map().ok())
            && mapped(mapping, place).is_some()
        {
            return Ok(Block::Mapped(mapping.clone(), place));
        }
        let block = self.read_block(id, place)?;
        if let Some(word) = word {
            word.fetch_or(bit, Ordering::Release);
        }
        Ok(block)
    }

    /// A block from the disk, verified.
    pub(super) fn read_block(&self, id: &BlockId, place: Place) -> Result<Block> {
        let end = place.offset.checked_add(u64::from(place.len));
        if end.is_none_or(|end| end > self.bytes) {
            return Err(self.corrupt("block", place.offset, Malformed("it lies outside of the file")));
        }
        let mut bytes = vec![0; place.len as usize];
        self.disk_file.read_at(place.offset, &mut bytes)?;
        check_block(self.file, place.offset, id, &bytes)
            .map_err(|m| self.corrupt("block", place.offset, m))?;
        Ok(Block::Read(bytes))
    }

    fn index(&self, stream: Stream) -> Option<&StreamIndex> {
        self.streams.iter().find(|s| s.stream == stream)
    }

    /// Looks a column of a granule up.
    pub(super) fn chunk(&self, stream: Stream, column: ColumnId, granule: usize) -> Result<ChunkRef<'_>> {
        let rows = usize::try_from(self.rows(stream)).unwrap_or(usize::MAX);
        let found = Schema::of(stream).index_of(column).and_then(|index| {
            let def = Schema::of(stream).columns.get(index)?;
            let chunk = self.index(stream)?.directory.get(index)?.get(granule)?;
            let rows = rows.checked_sub(granule * GRANULE_ROWS)?.min(GRANULE_ROWS);
            Some(ChunkRef { stream, def, granule: u32::try_from(granule).ok()?, rows, chunk })
        });
        found
            .ok_or_else(|| Error::invalid(format!("no column {} in granule {granule} of {stream}", column.0)))
    }

    /// The value of a view from the cache, or made and kept.
    fn cached(&self, at: &ChunkRef<'_>, view: u32, make: impl FnOnce() -> Result<Cached>) -> Result<Cached> {
        let key =
            CacheKey { file: self.file, stream: at.stream, column: at.def.id, granule: at.granule, view };
        if let Some(value) = self.cache.get(&key) {
            return Ok(value);
        }
        let value = make()?;
        self.cache.insert(key, value.clone());
        Ok(value)
    }

    fn cached_vector(
        &self,
        at: &ChunkRef<'_>,
        view: u32,
        make: impl FnOnce() -> Result<ColumnVector>,
    ) -> Result<Arc<ColumnVector>> {
        match self.cached(at, view, || Ok(Cached::Vector(Arc::new(make()?))))? {
            Cached::Vector(vector) => Ok(vector),
            Cached::Paths(_) => Err(Error::invalid("a cached vector that is none")),
        }
    }

    /// Decodes a column of a granule, past the cache.
    pub(super) fn read_column(&self, at: &ChunkRef<'_>) -> Result<ColumnVector> {
        let Some(place) = at.chunk.place else {
            return column_chunk::absent(at.def.ty, at.rows).ok_or_else(|| {
                self.corrupt("directory", self.footer.directory.offset, Malformed("a column without values"))
            });
        };
        if at.def.ty == ColumnType::Document {
            let documents = self.read_documents(at, place)?;
            return Ok(ColumnVector::Bytes(Arc::new(documents)));
        }
        let block = self.block(&at.id(BlockKind::Column, 0), place)?;
        self.told(at, place.offset, |tell| column_chunk::decode(at.def.ty, block.payload(), at.rows, tell))
    }

    /// All columns of a granule in the schema's order, past the cache: for a merge, which reads each once.
    ///
    /// # Errors
    ///
    /// Damage and I/O, see [`Part`].
    pub(crate) fn read_granule(&self, stream: Stream, granule: usize) -> Result<Vec<ColumnVector>> {
        let columns = Schema::of(stream).columns.iter();
        columns.map(|def| self.read_column(&self.chunk(stream, def.id, granule)?)).collect()
    }

    fn read_documents(&self, at: &ChunkRef<'_>, place: Place) -> Result<BytesColumn> {
        let paths = self.paths(at, place)?;
        let residual = self.read_residual(at, &paths)?;
        let shredded =
            (0..paths.entries.len()).map(|n| self.read_path(at, &paths, n)).collect::<Result<_>>()?;
        Shredded { paths: shredded, residual }
            .assemble(at.rows)
            .map_err(|m| self.corrupt("documents", place.offset, m))
    }

    /// The paths of a document column.
    pub(super) fn paths(&self, at: &ChunkRef<'_>, place: Place) -> Result<Arc<Paths>> {
        let value = self.cached(at, PATHS, || {
            let block = self.block(&at.id(BlockKind::Paths, 0), place)?;
            let paths = Paths::decode(block.payload()).map_err(|m| self.corrupt("paths", place.offset, m))?;
            Ok(Cached::Paths(Arc::new(paths)))
        })?;
        match value {
            Cached::Paths(paths) => Ok(paths),
            Cached::Vector(_) => Err(Error::invalid("cached paths that are none")),
        }
    }

    pub(super) fn read_residual(&self, at: &ChunkRef<'_>, paths: &Paths) -> Result<Option<BytesColumn>> {
        let Some(place) = paths.residual else { return Ok(None) };
        let block = self.block(&at.id(BlockKind::Residual, 0), place)?;
        let strings =
            decode_strings(block.payload(), at.rows).map_err(|m| self.corrupt("block", place.offset, m))?;
        Ok(Some(strings.into_plain()))
    }

    /// What shredding left, one document a row; all absent when there is nothing.
    fn residual(&self, at: &ChunkRef<'_>, paths: &Paths) -> Result<Arc<ColumnVector>> {
        self.cached_vector(at, RESIDUAL, || {
            Ok(match self.read_residual(at, paths)? {
                Some(column) => ColumnVector::Bytes(Arc::new(column)),
                None => column_chunk::absent(ColumnType::Document, at.rows)
                    .unwrap_or_else(|| ColumnVector::Scalars(vec![None; at.rows])),
            })
        })
    }

    /// The blocks of a path's sub-columns, and the offset of the first.
    fn sub_blocks(
        &self,
        at: &ChunkRef<'_>,
        paths: &Paths,
        number: usize,
    ) -> Result<(u64, [Option<Block>; KINDS])> {
        let mut blocks = [const { None }; KINDS];
        let mut first = 0;
        let places = paths.entries.get(number).map_or([None; KINDS], |e| e.places);
        for (kind, (place, block)) in places.into_iter().zip(&mut blocks).enumerate() {
            if let Some(place) = place {
                *block = Some(self.block(&at.id(BlockKind::SubColumn, sub_of(number, kind)), place)?);
                first = if first == 0 { place.offset } else { first };
            }
        }
        Ok((first, blocks))
    }

    pub(super) fn read_path(&self, at: &ChunkRef<'_>, paths: &Paths, number: usize) -> Result<ShreddedPath> {
        let (first, blocks) = self.sub_blocks(at, paths, number)?;
        let (keys, in_residual) =
            paths.entries.get(number).map_or((&[][..], false), |e| (&e.keys, e.in_residual));
        self.told(at, first, |tell| path_column::decode(keys, in_residual, payloads(&blocks), at.rows, tell))
    }

    /// Decodes what other columns may tell; an error of theirs is the answer, not damage of this one.
    fn told<T>(
        &self,
        at: &ChunkRef<'_>,
        offset: u64,
        decode: impl FnOnce(&dyn Tell) -> Decoded<T>,
    ) -> Result<T> {
        let teller = Teller { reader: self, at, failed: RefCell::new(None) };
        let decoded = decode(&teller);
        decoded.map_err(|m| teller.failed.into_inner().unwrap_or_else(|| self.corrupt("block", offset, m)))
    }

    /// The leaves of a shredded path, past the cache.
    fn read_leaves(&self, at: &ChunkRef<'_>, paths: &Paths, number: usize) -> Result<ColumnVector> {
        let in_residual = paths.entries.get(number).filter(|e| e.in_residual);
        let Some(entry) = in_residual else {
            let (first, blocks) = self.sub_blocks(at, paths, number)?;
            return self.told(at, first, |tell| path_column::vector_of_one(payloads(&blocks), at.rows, tell));
        };
        let path = self.read_path(at, paths, number)?;
        let offset = entry.places.iter().flatten().next().map_or(0, |p| p.offset);
        let mut leaves =
            path_column::scalars(&path, at.rows).map_err(|m| self.corrupt("block", offset, m))?;
        if let ColumnVector::Bytes(residual) = &*self.residual(at, paths)? {
            for (leaf, document) in leaves.iter_mut().zip(residual.iter()) {
                if let (None, Some(document)) = (&leaf, document) {
                    *leaf = Document::get(document, &entry.keys)?;
                }
            }
        }
        Ok(ColumnVector::from_scalars(leaves))
    }
}

/// Reads the columns that tell the one at hand.
struct Teller<'a> {
    reader: &'a SegmentReader,
    at: &'a ChunkRef<'a>,
    /// Why such a column could not be read: the answer then, with its own place.
    failed: RefCell<Option<Error>>,
}

impl Tell for Teller<'_> {
    fn column(&self, column: ColumnId) -> Decoded<Arc<ColumnVector>> {
        let granule = self.at.granule as usize;
        let vector = Part::column(self.reader, self.at.stream, column, granule);
        vector.map_err(|error| {
            self.failed.replace(Some(error));
            Malformed("the column that tells this one cannot be read")
        })
    }

    fn tellers(&self) -> &'static [ColumnId] {
        told::tellers_of(self.at.stream, self.at.def.id)
    }
}

fn payloads(blocks: &[Option<Block>; KINDS]) -> [Option<&[u8]>; KINDS] {
    std::array::from_fn(|kind| blocks.get(kind).and_then(Option::as_ref).map(Block::payload))
}

/// Reads and verifies header, tail and footer.
fn open_footer(
    disk_file: &dyn DiskFile,
    path: &Path,
    file: FileId,
    bytes: u64,
    footer_hash: Option<FooterHash>,
) -> Result<Footer> {
    let corrupt = |what, offset, reason| Error::corrupt(what, path, offset, reason);
    let Some(tail_offset) = bytes.checked_sub(TAIL_BYTES as u64).filter(|o| *o >= HEADER_BYTES as u64) else {
        return Err(corrupt("segment", 0, "it is shorter than its header and its tail"));
    };
    let (version, id) = decode_header(&array(disk_file, 0)?).map_err(|m| corrupt("header", 0, m.0))?;
    format_version::judge(path, version, VERSION)?;
    let tail =
        Tail::decode(&array(disk_file, tail_offset)?).map_err(|m| corrupt("tail", tail_offset, m.0))?;
    if id != file || tail.file != file || tail.version != version {
        return Err(corrupt("segment", 0, "it is another file than the one that belongs here"));
    }
    let at = tail.footer_offset;
    if at.checked_add(u64::from(tail.footer_len)) != Some(tail_offset) || tail.footer_len > FOOTER_BYTES_MAX {
        return Err(corrupt("tail", tail_offset, "a footer that does not end where the tail starts"));
    }
    let mut footer = vec![0; tail.footer_len as usize];
    disk_file.read_at(at, &mut footer)?;
    if crc32fast::hash(&footer) != tail.footer_crc {
        return Err(corrupt("footer", at, "its checksum does not match"));
    }
    if footer_hash.is_some_and(|hash| hash != FooterHash::of(&footer)) {
        return Err(corrupt("footer", at, "it is not the one that the manifest names"));
    }
    let footer = Footer::decode(&footer).map_err(|m| corrupt("footer", at, m.0))?;
    if footer.file != file || u64::from(footer.blocks) > bytes / BLOCK_HEADER_BYTES as u64 {
        return Err(corrupt("footer", at, "it is of another file"));
    }
    Ok(footer)
}

impl Part for SegmentReader {
    fn id(&self) -> PartId {
        PartId::File(self.file)
    }

    fn runs(&self, stream: Stream) -> &[Run] {
        self.index(stream).map_or(&[], |s| &s.runs)
    }

    fn rows(&self, stream: Stream) -> u64 {
        self.footer.streams.iter().find(|s| s.stream == stream).map_or(0, |s| s.rows)
    }

    fn granule_rows(&self) -> usize {
        GRANULE_ROWS
    }

    fn zone_map(&self, stream: Stream, column: ColumnId, granule: usize) -> Option<ZoneMap> {
        self.chunk(stream, column, granule).ok()?.chunk.zone.clone()
    }

    fn column(&self, stream: Stream, column: ColumnId, granule: usize) -> Result<Arc<ColumnVector>> {
        let at = self.chunk(stream, column, granule)?;
        self.cached_vector(&at, WHOLE, || self.read_column(&at))
    }

    fn path(
        &self,
        stream: Stream,
        column: ColumnId,
        path: &[String],
        granule: usize,
    ) -> Result<Arc<ColumnVector>> {
        let at = self.chunk(stream, column, granule)?;
        let Some(place) = at.chunk.place else {
            return Ok(Arc::new(ColumnVector::absent(at.rows)));
        };
        let paths = self.paths(&at, place)?;
        let documents = if path.is_empty() || paths.is_above(path) {
            self.column(stream, column, granule)?
        } else if let Some(number) = paths.find(path) {
            let view = u32::try_from(number).unwrap_or(PATHS);
            return self.cached_vector(&at, view, || self.read_leaves(&at, &paths, number));
        } else if paths.residual.is_none() {
            // All paths that there are have sub-columns, and this is none of them.
            return Ok(Arc::new(ColumnVector::absent(at.rows)));
        } else {
            self.residual(&at, &paths)?
        };
        match &*documents {
            ColumnVector::Bytes(documents) => path_of_documents(documents, path).map(Arc::new),
            _ => Err(Error::invalid(format!("{} is no document column", at.def.name))),
        }
    }

    fn path_zones(
        &self,
        stream: Stream,
        column: ColumnId,
        path: &[String],
        granule: usize,
    ) -> Result<Option<Vec<ZoneMap>>> {
        let at = self.chunk(stream, column, granule)?;
        Ok(match at.chunk.place {
            Some(place) => self.paths(&at, place)?.zones(path),
            None => Some(Vec::new()),
        })
    }

    fn bytes_of(&self, stream: Stream) -> u64 {
        self.column_bytes(stream).iter().map(|(_, b)| b).sum()
    }

    fn bounds(&self, stream: Stream) -> Option<(TimestampUs, TimestampUs)> {
        self.footer.streams.iter().find(|s| s.stream == stream).map(|s| (s.min_time, s.max_time))
    }
}
