//! Reads every block of a segment from the disk and compares it with what the index says.

use super::column_chunk;
use super::format::{BlockId, BlockKind, GRANULE_ROWS, Place};
use super::path_column;
use super::paths::sub_of;
use super::reader::{ChunkRef, SegmentReader};
use crate::codec::Malformed;
use crate::error::{Error, Result};
use crate::id::Stream;
use crate::part::Part;
use crate::schema::stream::TIME;
use crate::schema::{ColumnType, ColumnVector, Schema};

impl SegmentReader {
    /// Everything that is wrong with the file: blocks whose checksum or content is not right, zone
    /// maps and null counts that are not those of their rows. Empty when all is well.
    ///
    /// Every block is read from the disk, past the mapping.
    pub fn verify(&self) -> Vec<Error> {
        let mut out = self.verify_blocks();
        if !out.is_empty() {
            // What rests on damaged blocks need not be reported again.
            return out;
        }
        for footer in &self.footer.streams {
            for column in Schema::of(footer.stream).columns {
                for granule in 0..footer.granules() {
                    let checked =
                        self.chunk(footer.stream, column.id, granule).and_then(|at| self.verify_chunk(&at));
                    out.extend(checked.err());
                }
            }
            out.extend(self.verify_times(footer.stream).err());
        }
        out
    }

    /// The blocks whose checksum is not right. Every block is read from the disk, past the mapping.
    pub fn verify_blocks(&self) -> Vec<Error> {
        let mut out: Vec<Error> = self.tenant_names().err().into_iter().collect();
        for (id, place) in self.all_blocks() {
            out.extend(self.read_block(&id, place).err());
        }
        out
    }

    /// How many blocks the file has.
    pub fn block_count(&self) -> u64 {
        u64::from(self.footer.blocks)
    }

    /// Changes text of the file, which stands in one block, and makes the block's checksum good again.
    #[cfg(test)]
    pub(crate) fn forge(&self, disk: &dyn crate::disk::Disk, path: &std::path::Path, from: &[u8], to: &[u8]) {
        assert_eq!(from.len(), to.len());
        let file = disk.open_write(path).unwrap();
        let mut forged = 0;
        for (_, place) in self.all_blocks() {
            let mut block = vec![0; place.len as usize];
            file.read_at(place.offset, &mut block).unwrap();
            let Some(at) = block.windows(from.len()).position(|window| window == from) else { continue };
            block[at..at + from.len()].copy_from_slice(to);
            super::format::reseal(self.file(), place.offset, &mut block);
            file.write_at(place.offset, &block).unwrap();
            forged += 1;
        }
        assert_eq!(forged, 1);
    }

    /// The blocks that the index names; those of damaged paths are left out.
    pub(super) fn all_blocks(&self) -> Vec<(BlockId, Place)> {
        let mut out = vec![
            (BlockId::index(BlockKind::TenantNames, None, 0), self.footer.names),
            (BlockId::index(BlockKind::Directory, None, 0), self.footer.directory),
        ];
        for footer in &self.footer.streams {
            for (number, (_, place)) in (0..).zip(&footer.runs) {
                out.push((BlockId::index(BlockKind::Runs, Some(footer.stream), number), *place));
            }
            for column in Schema::of(footer.stream).columns {
                for granule in 0..footer.granules() {
                    if let Ok(at) = self.chunk(footer.stream, column.id, granule) {
                        self.blocks_of(&at, &mut out);
                    }
                }
            }
        }
        out
    }

    fn blocks_of(&self, at: &ChunkRef<'_>, out: &mut Vec<(BlockId, Place)>) {
        let Some(place) = at.chunk.place else { return };
        if at.def.ty != ColumnType::Document {
            out.push((at.id(BlockKind::Column, 0), place));
            return;
        }
        out.push((at.id(BlockKind::Paths, 0), place));
        let Ok(paths) = self.paths(at, place) else { return };
        out.extend(paths.residual.map(|place| (at.id(BlockKind::Residual, 0), place)));
        for (number, entry) in paths.entries.iter().enumerate() {
            for (kind, place) in entry.places.iter().enumerate() {
                out.extend(place.map(|place| (at.id(BlockKind::SubColumn, sub_of(number, kind)), place)));
            }
        }
    }

    fn verify_chunk(&self, at: &ChunkRef<'_>) -> Result<()> {
        let offset = self.footer.directory.offset;
        let (zone, nulls) = column_chunk::statistics(&self.read_column(at)?);
        if nulls != at.chunk.nulls as usize {
            return Err(self.corrupt(
                "directory",
                offset,
                Malformed("another null count than that of the rows"),
            ));
        }
        // A document column has no zone map of its own, unless every document is absent.
        if zone != at.chunk.zone && (at.def.ty != ColumnType::Document || at.chunk.place.is_none()) {
            return Err(self.corrupt(
                "directory",
                offset,
                Malformed("another zone map than that of the rows"),
            ));
        }
        self.verify_paths(at)
    }

    /// Whether the zone maps of the paths are those of their values.
    fn verify_paths(&self, at: &ChunkRef<'_>) -> Result<()> {
        let (Some(place), ColumnType::Document) = (at.chunk.place, at.def.ty) else { return Ok(()) };
        let paths = self.paths(at, place)?;
        for (number, entry) in paths.entries.iter().enumerate() {
            if path_column::zones(&self.read_path(at, &paths, number)?) != entry.zones {
                return Err(self.corrupt(
                    "paths",
                    place.offset,
                    Malformed("another zone map than that of the values"),
                ));
            }
        }
        Ok(())
    }

    /// Whether the times of the rows are those that the runs say.
    fn verify_times(&self, stream: Stream) -> Result<()> {
        let mut times = Vec::new();
        for granule in 0..usize::try_from(self.rows(stream).div_ceil(GRANULE_ROWS as u64)).unwrap_or(0) {
            if let ColumnVector::I64(values, _) = self.read_column(&self.chunk(stream, TIME.id, granule)?)? {
                times.extend(values);
            }
        }
        for run in self.runs(stream) {
            let range = usize::try_from(run.rows.start).ok().zip(usize::try_from(run.rows.end).ok());
            let own = range.and_then(|(start, end)| times.get(start..end)).unwrap_or(&[]);
            if own.iter().min() != Some(&run.min_time.0) || own.iter().max() != Some(&run.max_time.0) {
                let offset = self.footer.directory.offset;
                return Err(self.corrupt(
                    "tenant index",
                    offset,
                    Malformed("a run with times of other rows"),
                ));
            }
        }
        Ok(())
    }
}
