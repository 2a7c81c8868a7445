//! What a query reads: an immutable part of the store, in memory or in a segment.

use std::ops::Range;
use std::sync::Arc;

use crate::error::Result;
use crate::id::{Lsn, Stream, TenantNo};
use crate::query::PartId;
use crate::rollup::{CellFile, Tier};
use crate::schema::{BytesColumn, ColumnId, ColumnVector, Document, Scalar, ScalarRef};
use crate::time::TimestampUs;

/// Contiguous rows of one tenant, one stream and (in a segment) one UTC day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Whose rows they are.
    pub tenant: TenantNo,
    /// The rows, as indexes into the part's rows of that stream.
    pub rows: Range<u64>,
    /// The earliest event time.
    pub min_time: TimestampUs,
    /// The latest event time.
    pub max_time: TimestampUs,
}

/// The least and the greatest value of a column in one granule, absent values left out.
#[derive(Debug, Clone, PartialEq)]
pub enum ZoneMap {
    /// Instants.
    I64 {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// Unsigned numbers, codes of the tenant dictionary.
    U64 {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// Doubles; a granule with a NaN has no zone map.
    F64 {
        /// The least.
        min: f64,
        /// The greatest.
        max: f64,
    },
    /// Text. `max` may be cut and then made larger, so it is a bound and not always a value.
    Bytes {
        /// The least, or a prefix of it.
        min: Vec<u8>,
        /// At least the greatest.
        max: Vec<u8>,
    },
    /// Every value is absent.
    Null,
}

/// Rows that no longer change: a memtable chunk or a segment.
///
/// Row numbers are per stream, from 0. Granule `g` holds the rows from `g * granule_rows()` on, and a
/// vector that is read has one value for each row of its granule, whatever tenant they belong to: the
/// caller takes the rows of its runs alone.
///
/// # Errors
///
/// The reading methods answer [`crate::Error::Corrupt`] for damaged bytes and [`crate::Error::Io`]
/// when the disk refuses; never a wrong value.
pub trait Part: Send + Sync + std::fmt::Debug {
    /// Which bytes this part stands for.
    fn id(&self) -> PartId;
    /// The runs of a stream, sorted by tenant, then by day.
    fn runs(&self, stream: Stream) -> &[Run];
    /// The runs of one tenant; a segment finds them through its index.
    fn runs_of(&self, stream: Stream, tenant: TenantNo) -> &[Run] {
        let runs = self.runs(stream);
        let from = runs.partition_point(|r| r.tenant < tenant);
        let to = runs.partition_point(|r| r.tenant <= tenant);
        runs.get(from..to).unwrap_or(&[])
    }
    /// How many rows of a stream there are.
    fn rows(&self, stream: Stream) -> u64;
    /// Rows of a granule; the last granule of a stream may have fewer.
    fn granule_rows(&self) -> usize;
    /// The zone map of a column in a granule, when there is one.
    fn zone_map(&self, stream: Stream, column: ColumnId, granule: usize) -> Option<ZoneMap>;
    /// A column of a granule. A document column comes back as encoded documents ([`ColumnVector::Bytes`]).
    ///
    /// # Errors
    ///
    /// Damage and I/O, see [`Part`].
    fn column(&self, stream: Stream, column: ColumnId, granule: usize) -> Result<Arc<ColumnVector>>;
    /// The leaves at one path of a document column: [`ColumnVector::Dict`] when all are text, numbers
    /// with presence when all are of one kind, else [`ColumnVector::Scalars`].
    ///
    /// # Errors
    ///
    /// Damage and I/O, see [`Part`].
    fn path(
        &self,
        stream: Stream,
        column: ColumnId,
        path: &[String],
        granule: usize,
    ) -> Result<Arc<ColumnVector>>;
    /// Zone maps of a path in a granule: each value at the path lies in one of them. `None` when that is
    /// not known without reading the values.
    ///
    /// # Errors
    ///
    /// Damage and I/O, see [`Part`].
    fn path_zones(
        &self,
        _stream: Stream,
        _column: ColumnId,
        _path: &[String],
        _granule: usize,
    ) -> Result<Option<Vec<ZoneMap>>> {
        Ok(None)
    }
    /// A frame that no row came after, where one is known.
    fn lsn_max(&self) -> Option<Lsn> {
        None
    }
    /// Bytes that the rows of a stream take, on the disk or in memory.
    fn bytes_of(&self, stream: Stream) -> u64;
    /// The earliest and the latest event time of a stream's rows; `None` when there are none.
    fn bounds(&self, stream: Stream) -> Option<(TimestampUs, TimestampUs)> {
        let runs = self.runs(stream);
        Some((runs.iter().map(|r| r.min_time).min()?, runs.iter().map(|r| r.max_time).max()?))
    }
    /// The rollup cells that sum its rows up, one file a tier; none for what is young.
    fn cells(&self) -> &[Arc<CellFile>] {
        &[]
    }
    /// The bytes of a definition's cells at a tier, of one tenant or of all together; `None` when the
    /// part has none, or they include rows that are hidden.
    ///
    /// # Errors
    ///
    /// Damage and I/O, see [`Part`].
    fn cell_blob(&self, tier: Tier, tenant: Option<TenantNo>, definition: u8) -> Result<Option<Arc<[u8]>>> {
        let _ = (tier, tenant, definition);
        Ok(None)
    }
}

/// The leaves at `path` of encoded documents, in the form [`Part::path`] promises.
///
/// # Errors
///
/// [`crate::Error::Invalid`] when a document cannot be decoded.
pub fn path_of_documents(documents: &BytesColumn, path: &[String]) -> Result<ColumnVector> {
    if documents.iter().all(|document| document.is_none()) {
        return Ok(ColumnVector::absent(documents.len()));
    }
    let mut leaves: Vec<Option<ScalarRef<'_>>> = Vec::with_capacity(documents.len());
    for document in documents.iter() {
        leaves.push(match document {
            Some(bytes) => Document::leaf(bytes, path)?,
            None => None,
        });
    }
    if leaves.iter().flatten().all(|leaf| text_of(leaf).is_some()) {
        return Ok(ColumnVector::dictionary(leaves.iter().map(|leaf| leaf.as_ref().and_then(text_of))));
    }
    let leaves = leaves.into_iter().map(|leaf| leaf.map(Scalar::from)).collect();
    Ok(ColumnVector::from_scalars(leaves))
}

fn text_of<'a>(leaf: &ScalarRef<'a>) -> Option<&'a [u8]> {
    match leaf {
        ScalarRef::Text(text) => Some(text.as_bytes()),
        ScalarRef::Other(_) => None,
    }
}
