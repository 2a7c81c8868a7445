//! Where the bytes of a store are: by stream, by column, by tenant.

use std::collections::BTreeMap;
use std::path::Path;

use super::Inspection;
use crate::append::CatalogKind;
use crate::codes::Tenants;
use crate::dedup::ids;
use crate::dictionary::weigh::bytes_by_kind;
use crate::error::Result;
use crate::file_header::FileType;
use crate::id::{Stream, TenantId, TenantNo};
use crate::manifest::FileKind;
use crate::part::Part;
use crate::recover::WAL_DIR;
use crate::schema::{ColumnType, IdentityKind, Schema};
use crate::segment::SegmentReader;
use crate::sorted_file::{SortedReader, share};

/// Bytes that a catalog record takes in its log besides key and value.
const CATALOG_RECORD_BYTES: u64 = 21;

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
    /// Each column that takes bytes, in the schema's order, those of documents by path.
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
    /// Rows without a value, by column of the schema.
    nulls: Vec<u64>,
}

impl StreamWeight {
    fn new(stream: Stream) -> Self {
        Self {
            stream,
            rows: 0,
            segments: 0,
            columns: Vec::new(),
            overhead_bytes: 0,
            dictionary_bytes: 0,
            proof_bytes: 0,
            rollup_bytes: 0,
            id_bytes: 0,
            nulls: vec![0; Schema::of(stream).columns.len()],
        }
    }

    /// Bytes that the rows take: columns and the shares of everything they cannot be read without.
    /// Cells and remembered ids are apart.
    pub fn bytes(&self) -> u64 {
        let columns: u64 = self.columns.iter().map(ColumnWeight::bytes).sum();
        columns + self.overhead_bytes + self.dictionary_bytes + self.proof_bytes
    }
}

/// What a column, or a path of a document column, takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnWeight {
    /// Its name on the wire; for a path its keys after it, joined by dots.
    pub name: String,
    /// Bytes by encoding; where blocks cannot be read, all bytes under no name.
    pub encodings: BTreeMap<&'static str, u64>,
}

impl ColumnWeight {
    /// Its bytes in segments.
    pub fn bytes(&self) -> u64 {
        self.encodings.values().sum()
    }

    /// The names of its encodings, the one with most bytes first.
    pub fn encoding(&self) -> String {
        let mut names: Vec<(u64, &str)> =
            self.encodings.iter().map(|(name, bytes)| (*bytes, *name)).collect();
        names.sort_by(|a, b| b.cmp(a));
        names.into_iter().map(|(_, name)| name).collect::<Vec<_>>().join(", ")
    }
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
    /// Weighs the store. Segments that cannot be opened are left out. Reads every block, for the encodings.
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
        out.streams.iter_mut().for_each(StreamWeight::sort_columns);
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
        let mut by_tag: BTreeMap<u8, u64> = BTreeMap::new();
        for meta in self.version.files_of(FileKind::Dictionary) {
            for (tag, bytes) in bytes_by_kind(&*self.disk, meta)? {
                *by_tag.entry(tag).or_default() += bytes;
            }
        }
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
            // Cells that have outlived their segment say themselves what they sum up.
            let segment = meta.of.and_then(|of| self.version.get(of.segment)).unwrap_or(meta);
            let all: u64 = segment.streams.iter().map(|s| s.rows).sum();
            for stream in streams.iter_mut() {
                let own = segment.stream(stream.stream).map_or(0, |s| s.rows);
                stream.rollup_bytes += share(meta.bytes, own, all);
            }
        }
    }

    /// What the catalog keeps so that records can be proven: all of it counts for audit records,
    /// by its share of the log.
    fn share_proofs(&self, streams: &mut [StreamWeight]) {
        let kinds =
            [CatalogKind::AuditRoot, CatalogKind::AuditCover, CatalogKind::Sequence, CatalogKind::SubjectKey];
        let bytes_of = |kind| -> u64 {
            let records = self.catalog.scan(kind, b"").into_iter();
            records.map(|(key, value)| (key.len() + value.len()) as u64 + CATALOG_RECORD_BYTES).sum()
        };
        let own: u64 = kinds.into_iter().map(bytes_of).sum();
        let all: u64 = CatalogKind::ALL.into_iter().map(bytes_of).sum();
        let log: u64 = self.version.files_of(FileKind::Catalog).map(|file| file.bytes).sum();
        let bytes = share(log, own, all);
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
        let columns = Schema::of(self.stream).columns.iter().zip(&self.nulls);
        let own = columns.filter(|(def, _)| def.ty == ColumnType::Code(kind));
        own.map(|(_, nulls)| self.rows.saturating_sub(*nulls)).sum()
    }

    fn add_column(&mut self, name: &str, encoding: &'static str, bytes: u64) {
        let index = self.columns.iter().position(|c| c.name == name).unwrap_or_else(|| {
            self.columns.push(ColumnWeight { name: name.to_owned(), encodings: BTreeMap::new() });
            self.columns.len() - 1
        });
        if let Some(column) = self.columns.get_mut(index) {
            *column.encodings.entry(encoding).or_default() += bytes;
        }
    }

    /// Adds the columns of a segment; by their sizes alone when its blocks cannot be read.
    fn add_columns(&mut self, reader: &SegmentReader) {
        if let Ok(stats) = reader.column_stats(self.stream) {
            for column in stats {
                self.add_column(&column.name, column.encoding, column.bytes);
            }
            return;
        }
        for (id, bytes) in reader.column_bytes(self.stream) {
            if let Some(def) = Schema::of(self.stream).get(id).filter(|_| bytes > 0) {
                self.add_column(def.name, "", bytes);
            }
        }
    }

    /// Puts the columns into the order of the schema, the paths of one by name.
    fn sort_columns(&mut self) {
        let schema = Schema::of(self.stream);
        let place = |name: &str| {
            let column = name.split('.').next().unwrap_or(name);
            schema.columns.iter().position(|c| c.name == column).unwrap_or(usize::MAX)
        };
        self.columns.sort_by(|a, b| (place(&a.name), &a.name).cmp(&(place(&b.name), &b.name)));
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
        weight.add_columns(reader);
        for (sum, nulls) in weight.nulls.iter_mut().zip(reader.column_nulls(stream)) {
            *sum += nulls;
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
