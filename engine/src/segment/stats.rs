//! What the columns of a stream take in a segment, by encoding.

use std::collections::BTreeMap;

use super::format::{BlockKind, Place};
use super::path_column;
use super::paths::sub_of;
use super::reader::{ChunkRef, SegmentReader};
use super::told;
use crate::codec::{Values, encoding_name};
use crate::error::Result;
use crate::id::Stream;
use crate::schema::{ColumnType, Schema};

/// The blocks of one column, or of one path of a document column, that have the same encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnStats {
    /// The column; for a path its keys after it, joined by dots; `column.*` for what shredding left, and
    /// `column` for the list of paths.
    pub name: String,
    /// The name of the encoding.
    pub encoding: &'static str,
    /// How many blocks there are.
    pub blocks: u64,
    /// Their bytes in the file, with their headers.
    pub bytes: u64,
}

/// (Column, name of the path), encoding -> blocks, bytes.
type Sums = BTreeMap<(usize, String, &'static str), (u64, u64)>;

fn add(sums: &mut Sums, column: usize, name: String, encoding: &'static str, place: Place) {
    let sum = sums.entry((column, name, encoding)).or_default();
    sum.0 += 1;
    sum.1 += u64::from(place.len);
}

impl SegmentReader {
    /// What the columns of a stream take: in the schema's order, the paths of a document column by name.
    /// Reads every block.
    ///
    /// # Errors
    ///
    /// As the reading methods of [`crate::part::Part`].
    pub fn column_stats(&self, stream: Stream) -> Result<Vec<ColumnStats>> {
        let mut sums = Sums::new();
        let granules = self
            .footer
            .streams
            .iter()
            .find(|s| s.stream == stream)
            .map_or(0, super::footer::StreamFooter::granules);
        for (number, column) in Schema::of(stream).columns.iter().enumerate() {
            for granule in 0..granules {
                let at = self.chunk(stream, column.id, granule)?;
                let Some(place) = at.chunk.place else { continue };
                if at.def.ty == ColumnType::Document {
                    self.add_documents(&at, number, place, &mut sums)?;
                    continue;
                }
                let values = match at.def.ty {
                    ColumnType::F64 => Values::Doubles,
                    ColumnType::Str | ColumnType::Document => Values::Text,
                    ColumnType::Time | ColumnType::U64 | ColumnType::Code(_) => Values::Numbers,
                };
                let block = self.block(&at.id(BlockKind::Column, 0), place)?;
                let encoding = told::encoding_name(values, block.payload());
                add(&mut sums, number, column.name.to_owned(), encoding, place);
            }
        }
        let stats = sums.into_iter().map(|((_, name, encoding), (blocks, bytes))| ColumnStats {
            name,
            encoding,
            blocks,
            bytes,
        });
        Ok(stats.collect())
    }

    fn add_documents(&self, at: &ChunkRef<'_>, number: usize, place: Place, sums: &mut Sums) -> Result<()> {
        let name = at.def.name;
        add(sums, number, name.to_owned(), "paths", place);
        let paths = self.paths(at, place)?;
        if let Some(place) = paths.residual {
            let block = self.block(&at.id(BlockKind::Residual, 0), place)?;
            let encoding = encoding_name(Values::Text, block.payload());
            add(sums, number, format!("{name}.*"), encoding, place);
        }
        for (path, entry) in paths.entries.iter().enumerate() {
            for (kind, place) in entry.places.iter().enumerate() {
                let Some(place) = *place else { continue };
                let block = self.block(&at.id(BlockKind::SubColumn, sub_of(path, kind)), place)?;
                let encoding = path_column::encoding_name(kind, block.payload());
                add(sums, number, format!("{name}.{}", entry.keys.join(".")), encoding, place);
            }
        }
        Ok(())
    }
}
