//! Reads every block of a segment from the disk and compares it with what the index says.

use super::column_chunk;
use super::format::{BlockId, BlockKind};
use super::paths::sub_of;
use super::reader::{ChunkRef, SegmentReader};
use crate::codec::Malformed;
use crate::error::{Error, Result};
use crate::part::Part;
use crate::schema::{ColumnType, Schema};

impl SegmentReader {
    /// Everything that is wrong with the file: blocks whose checksum or content is not right, zone
    /// maps and null counts that are not those of their rows. Empty when all is well.
    ///
    /// Reads the whole file, past cache and mapping.
    pub fn verify(&self) -> Vec<Error> {
        let mut out: Vec<Error> = self.tenant_names().err().into_iter().collect();
        for footer in &self.footer.streams {
            for (number, (_, place)) in (0..).zip(&footer.runs) {
                let id = BlockId::index(BlockKind::Runs, Some(footer.stream), number);
                out.extend(self.read_block(&id, *place).err());
            }
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

    fn verify_chunk(&self, at: &ChunkRef<'_>) -> Result<()> {
        let offset = at.chunk.place.map_or(self.footer.directory.offset, |p| p.offset);
        if let Some(place) = at.chunk.place {
            if at.def.ty == ColumnType::Document {
                self.verify_documents(at)?;
            } else {
                self.read_block(&at.id(BlockKind::Column, 0), place)?;
            }
        }
        let vector = self.read_column(at)?;
        let (zone, nulls) = column_chunk::statistics(&vector);
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
        Ok(())
    }

    fn verify_documents(&self, at: &ChunkRef<'_>) -> Result<()> {
        let Some(place) = at.chunk.place else { return Ok(()) };
        self.read_block(&at.id(BlockKind::Paths, 0), place)?;
        let paths = self.paths(at, place)?;
        if let Some(residual) = paths.residual {
            self.read_block(&at.id(BlockKind::Residual, 0), residual)?;
        }
        for (number, entry) in paths.entries.iter().enumerate() {
            for (kind, place) in entry.places.iter().enumerate() {
                if let Some(place) = place {
                    self.read_block(&at.id(BlockKind::SubColumn, sub_of(number, kind)), *place)?;
                }
            }
        }
        Ok(())
    }

    /// Whether the times of the rows are those that the runs say.
    fn verify_times(&self, stream: crate::id::Stream) -> Result<()> {
        let mut times = Vec::new();
        let time = crate::schema::stream::TIME.id;
        for granule in 0..usize::try_from(self.rows(stream).div_ceil(8192)).unwrap_or(0) {
            let at = self.chunk(stream, time, granule)?;
            if let crate::schema::ColumnVector::I64(values, _) = self.read_column(&at)? {
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
