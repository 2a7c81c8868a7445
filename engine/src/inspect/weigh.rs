//! Where the bytes of a store are: by stream, by column, by tenant.

use std::collections::BTreeMap;
use std::path::Path;

use super::Inspection;
use crate::append::CatalogKind;
use crate::codes::Tenants;
use crate::dedup::ids;
use crate::dictionary::format as dictionary;
use crate::error::Result;
use crate::file_header::FileType;
use crate::id::{Stream, TenantId, TenantNo};
use crate::manifest::FileKind;
use crate::part::Part;
use crate::recover::WAL_DIR;
use crate::schema::{ColumnType, IdentityKind, Schema};
use crate::segment::SegmentReader;
use crate::sorted_file::{SortedReader, share};

/// Bytes that a catalog record takes in its log besides key and value, about.
const CATALOG_RECORD_BYTES: u64 = 6;

/// What a store holds and how many bytes it takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreWeight {
    /// Each stream.
    pub streams: Vec<StreamWeight>,
    /// Each tenant that has rows, by name.
    pub tenants: Vec<TenantWeight>,
    /// Bytes of live files by kind.
    pub kinds: Vec<(FileKind, u64)>,
    /// Bytes of the WAL's files, spare ones included.
    pub wal_bytes: u64,
    /// All of them together, and the manifest.
    pub total_bytes: u64,
}

/// What a stream takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamWeight {
    /// The stream.
    pub stream: Stream,
    /// Rows in segments.
    pub rows: u64,
    /// Segments that have such rows.
    pub segments: u64,
    /// Each column of the schema, in its order.
    pub columns: Vec<ColumnWeight>,
    /// Its share of what segments have besides columns: indexes, directories, footers.
    pub overhead_bytes: u64,
    /// Its share of the dictionaries.
    pub dictionary_bytes: u64,
    /// Roots, sequences and subjects' keys of its records.
    pub proof_bytes: u64,
    /// Rollup cells.
    pub rollup_bytes: u64,
    /// Ids that clients gave, which are remembered for a day.
    pub id_bytes: u64,
}

impl StreamWeight {
    fn new(stream: Stream) -> Self {
        let column = |c: &crate::schema::ColumnDef| ColumnWeight {
            name: c.name,
            encoding: String::new(),
            bytes: 0,
            nulls: 0,
        };
        Self {
            stream,
            rows: 0,
            segments: 0,
            columns: Schema::of(stream).columns.iter().map(column).collect(),
            overhead_bytes: 0,
            dictionary_bytes: 0,
            proof_bytes: 0,
            rollup_bytes: 0,
            id_bytes: 0,
        }
    }

    /// Bytes that the rows take: columns and the shares of everything they cannot be read without.
    /// Cells and remembered ids are apart.
    pub fn bytes(&self) -> u64 {
        let columns: u64 = self.columns.iter().map(|c| c.bytes).sum();
        columns + self.overhead_bytes + self.dictionary_bytes + self.proof_bytes
    }
}

/// What a column takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnWeight {
    /// Its name on the wire.
    pub name: &'static str,
    /// The encodings of its blocks, the one with most bytes first.
    pub encoding: String,
    /// Its bytes in segments.
    pub bytes: u64,
    /// Rows without a value.
    pub nulls: u64,
}

/// What a tenant takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantWeight {
    /// The tenant; `None` when the catalog has no name for its number.
    pub name: Option<TenantId>,
    /// Its number.
    pub number: TenantNo,
    /// Rows in segments.
    pub rows: u64,
    /// Its share of the columns of segments.
    pub bytes: u64,
}

impl Inspection {
    /// Weighs the store. Segments that cannot be opened are left out.
    ///
    /// # Errors
    ///
    /// Damage and I/O errors of dictionary and id files.
    pub fn weigh(&self) -> Result<StoreWeight> {
        let mut out = StoreWeight {
            streams: Stream::ALL.into_iter().map(StreamWeight::new).collect(),
            ..StoreWeight::default()
        };
        let mut tenants = BTreeMap::new();
        for reader in self.segments.iter().filter_map(|s| s.reader.as_ref().ok()) {
            weigh_segment(reader, &mut out.streams, &mut tenants);
        }
        let name_of = |number| self.catalog.name_of(number);
        out.tenants = tenants
            .into_iter()
            .map(|(number, (rows, bytes))| TenantWeight { name: name_of(number), number, rows, bytes })
            .collect();
        out.tenants.sort_by(|a, b| a.name.cmp(&b.name).then(a.number.cmp(&b.number)));
        self.share_dictionaries(&mut out.streams)?;
        self.share_ids(&mut out.streams)?;
        self.share_cells(&mut out.streams);
        self.share_proofs(&mut out.streams);
        self.add_up(&mut out)?;
        Ok(out)
    }

    /// Shares the bytes of each kind of identity among the streams by their rows that name one.
    fn share_dictionaries(&self, streams: &mut [StreamWeight]) -> Result<()> {
        let by_tag = self.bytes_by_tag(FileKind::Dictionary, dictionary::TYPE)?;
        for kind in IdentityKind::ALL {
            let bytes = by_tag.get(&kind.tag()).copied().unwrap_or(0);
            let named: Vec<u64> = streams.iter().map(|s| s.values_of(kind)).collect();
            let all: u64 = named.iter().sum();
            for (stream, own) in streams.iter_mut().zip(named) {
                stream.dictionary_bytes += share(bytes, own, all);
            }
        }
        Ok(())
    }

    fn share_ids(&self, streams: &mut [StreamWeight]) -> Result<()> {
        let by_tag = self.bytes_by_tag(FileKind::Ids, ids::TYPE)?;
        for stream in streams {
            stream.id_bytes = by_tag.get(&stream.stream.tag()).copied().unwrap_or(0);
        }
        Ok(())
    }

    fn bytes_by_tag(&self, kind: FileKind, ty: FileType) -> Result<BTreeMap<u8, u64>> {
        let mut out: BTreeMap<u8, u64> = BTreeMap::new();
        for meta in self.version.files_of(kind) {
            for (tag, bytes) in SortedReader::open(&*self.disk, meta, ty)?.bytes_by_tag()? {
                *out.entry(tag).or_default() += bytes;
            }
        }
        Ok(out)
    }

    /// A file of cells belongs to the streams of the segment that it sums up, by their rows.
    fn share_cells(&self, streams: &mut [StreamWeight]) {
        for meta in self.version.files_of(FileKind::Cells) {
            let Some(segment) = meta.of.and_then(|of| self.version.get(of.segment)) else { continue };
            let all: u64 = segment.streams.iter().map(|s| s.rows).sum();
            for stream in streams.iter_mut() {
                let own = segment.stream(stream.stream).map_or(0, |s| s.rows);
                stream.rollup_bytes += share(meta.bytes, own, all);
            }
        }
    }

    /// What the catalog keeps so that records can be proven: all of it counts for audit records.
    fn share_proofs(&self, streams: &mut [StreamWeight]) {
        let kinds = [CatalogKind::AuditRoot, CatalogKind::Sequence, CatalogKind::SubjectKey];
        let records = kinds.into_iter().flat_map(|kind| self.catalog.scan(kind, b""));
        let bytes =
            records.map(|(key, value)| (key.len() + value.len()) as u64 + CATALOG_RECORD_BYTES).sum::<u64>();
        for stream in streams.iter_mut().filter(|s| s.stream == Stream::Audit) {
            stream.proof_bytes = bytes;
        }
    }

    fn add_up(&self, out: &mut StoreWeight) -> Result<()> {
        for kind in FileKind::ALL {
            out.kinds.push((kind, self.version.files_of(kind).map(|f| f.bytes).sum()));
        }
        let bytes_in = |dir: &str| -> Result<u64> {
            let dir = Path::new(dir);
            let is_there = self.disk.exists(dir)?;
            Ok(if is_there { self.disk.list(dir)?.iter().map(|e| e.bytes).sum() } else { 0 })
        };
        out.wal_bytes = bytes_in(WAL_DIR)?;
        let manifest = bytes_in(crate::manifest::DIR)?;
        out.total_bytes = out.kinds.iter().map(|(_, b)| b).sum::<u64>() + out.wal_bytes + manifest;
        Ok(())
    }
}

impl StreamWeight {
    /// How many values its columns have of a kind of identity.
    fn values_of(&self, kind: IdentityKind) -> u64 {
        let columns = Schema::of(self.stream).columns.iter().zip(&self.columns);
        let own = columns.filter(|(def, _)| def.ty == ColumnType::Code(kind));
        own.map(|(_, column)| self.rows.saturating_sub(column.nulls)).sum()
    }
}

fn weigh_segment(
    reader: &SegmentReader,
    streams: &mut [StreamWeight],
    tenants: &mut BTreeMap<TenantNo, (u64, u64)>,
) {
    let columns: u64 = Stream::ALL.into_iter().map(|s| reader.bytes_of(s)).sum();
    let all_rows: u64 = Stream::ALL.into_iter().map(|s| reader.rows(s)).sum();
    let overhead = reader.bytes().saturating_sub(columns);
    for weight in streams {
        let (stream, rows) = (weight.stream, reader.rows(weight.stream));
        if rows == 0 {
            continue;
        }
        weight.rows += rows;
        weight.segments += 1;
        weight.overhead_bytes += share(overhead, rows, all_rows);
        let found = reader.column_bytes(stream).into_iter().zip(reader.column_nulls(stream));
        for (column, ((_, bytes), nulls)) in weight.columns.iter_mut().zip(found) {
            column.bytes += bytes;
            column.nulls += nulls;
        }
        let bytes = reader.bytes_of(stream);
        for run in reader.runs(stream) {
            let own = run.rows.end.saturating_sub(run.rows.start);
            let (tenant_rows, tenant_bytes) = tenants.entry(run.tenant).or_default();
            *tenant_rows += own;
            *tenant_bytes += share(bytes, own, rows);
        }
    }
}
