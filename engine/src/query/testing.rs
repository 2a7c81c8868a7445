//! A small store in memory for tests: rows as maps, cut into parts of odd shapes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::codes::{Codes, Tenants};
use crate::error::{Error, Result};
use crate::id::{Lsn, Stream, TenantId, TenantNo};
use crate::part::{Part, Run, ZoneMap, path_of_documents};
use crate::query::{PartId, Snapshot, Stop};
use crate::rollup::Tier;
use crate::schema::{
    BytesColumn, ColumnDef, ColumnId, ColumnType, ColumnVector, Document, IdentityKind, NULL_CODE, Scalar,
    Schema, Value,
};
use crate::time::{DAY_US, TimestampUs};

/// One row: the columns that are present, by name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) tenant: u32,
    pub(crate) values: BTreeMap<&'static str, Value>,
}

impl Row {
    pub(crate) fn time(&self) -> i64 {
        self.i64("timestamp")
    }

    fn i64(&self, name: &str) -> i64 {
        match self.values.get(name) {
            Some(Value::I64(n)) => *n,
            _ => 0,
        }
    }

    pub(crate) fn u64(&self, name: &str) -> u64 {
        match self.values.get(name) {
            Some(Value::I64(n)) => u64::try_from(*n).unwrap(),
            Some(Value::U64(n)) => *n,
            _ => 0,
        }
    }
}

pub(crate) fn tenant_name(number: u32) -> TenantId {
    TenantId::new(&format!("tenant-{number}")).unwrap()
}

/// The shape of a part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) granule_rows: usize,
    /// Codes of the dictionary, as a segment; else text, as a memtable.
    pub(crate) coded: bool,
    pub(crate) zone_maps: bool,
    /// Text that has no codes comes as a dictionary of the granule.
    pub(crate) dictionaries: bool,
}

#[derive(Debug, Default)]
pub(crate) struct TestCodes {
    identities: BTreeMap<(TenantNo, IdentityKind), Vec<Arc<[u8]>>>,
}

impl TestCodes {
    fn add(&mut self, tenant: TenantNo, kind: IdentityKind, identity: &[u8]) {
        let list = self.identities.entry((tenant, kind)).or_default();
        if !list.iter().any(|i| **i == *identity) {
            list.push(identity.into());
        }
    }
}

impl Codes for TestCodes {
    fn code_of(&self, tenant: TenantNo, kind: IdentityKind, identity: &[u8]) -> Result<Option<u32>> {
        let list = self.identities.get(&(tenant, kind));
        Ok(list.and_then(|l| l.iter().position(|i| **i == *identity)).map(|p| u32::try_from(p).unwrap()))
    }

    fn identity_of(&self, tenant: TenantNo, kind: IdentityKind, code: u32) -> Result<Option<Arc<[u8]>>> {
        Ok(self.identities.get(&(tenant, kind)).and_then(|l| l.get(code as usize)).cloned())
    }

    fn count(&self, tenant: TenantNo, kind: IdentityKind) -> Result<u32> {
        Ok(self.identities.get(&(tenant, kind)).map_or(0, |l| u32::try_from(l.len()).unwrap()))
    }
}

/// Tenants 1 to 9.
#[derive(Debug)]
pub(crate) struct TestTenants;

impl Tenants for TestTenants {
    fn number_of(&self, tenant: &TenantId) -> Option<TenantNo> {
        (1..10).find(|n| tenant_name(*n) == *tenant).map(TenantNo)
    }

    fn name_of(&self, number: TenantNo) -> Option<TenantId> {
        (1..10).contains(&number.0).then(|| tenant_name(number.0))
    }
}

/// Cells by tier, tenant (all together for none) and definition.
pub(crate) type TestCells = BTreeMap<(u8, Option<TenantNo>, u8), Arc<[u8]>>;

#[derive(Debug, Clone)]
pub(crate) struct TestPart {
    stream: Stream,
    shape: Shape,
    rows: Vec<Row>,
    runs: Vec<Run>,
    codes: Arc<TestCodes>,
    damaged: BTreeSet<(u16, usize)>,
    cells: TestCells,
}

impl TestPart {
    fn granule(&self, granule: usize) -> &[Row] {
        let from = granule * self.shape.granule_rows;
        &self.rows[from..self.rows.len().min(from + self.shape.granule_rows)]
    }

    fn bytes(&self, def: &ColumnDef, granule: usize) -> BytesColumn {
        let mut out = BytesColumn::new();
        for row in self.granule(granule) {
            match row.values.get(def.name) {
                None => out.push(None),
                Some(Value::Str(text)) if def.ty != ColumnType::Document => out.push(Some(text.as_bytes())),
                Some(value) => out.push(Some(Document::encode(value).as_bytes())),
            }
        }
        out
    }

    fn vector(&self, def: &ColumnDef, granule: usize) -> ColumnVector {
        let rows = self.granule(granule);
        match def.ty {
            ColumnType::Time => ColumnVector::I64(rows.iter().map(|r| r.i64(def.name)).collect(), None),
            ColumnType::U64 => ColumnVector::U64(rows.iter().map(|r| r.u64(def.name)).collect(), None),
            ColumnType::F64 => {
                let value = |r: &Row| if let Some(Value::F64(n)) = r.values.get(def.name) { *n } else { 0.0 };
                ColumnVector::F64(rows.iter().map(value).collect(), None)
            }
            ColumnType::Document => ColumnVector::Bytes(Arc::new(self.bytes(def, granule))),
            ColumnType::Str if !self.shape.dictionaries => {
                ColumnVector::Bytes(Arc::new(self.bytes(def, granule)))
            }
            ColumnType::Code(kind) if self.shape.coded => {
                let code = |r: &Row| match r.values.get(def.name) {
                    Some(Value::Str(text)) => {
                        self.codes.code_of(TenantNo(r.tenant), kind, text.as_bytes()).unwrap().unwrap()
                    }
                    _ => NULL_CODE,
                };
                ColumnVector::Codes(rows.iter().map(code).collect())
            }
            ColumnType::Str | ColumnType::Code(_) => {
                let mut values = BytesColumn::new();
                let mut seen: Vec<Vec<u8>> = Vec::new();
                let mut codes = Vec::new();
                for value in self.bytes(def, granule).iter() {
                    codes.push(match value {
                        None => NULL_CODE,
                        Some(value) => {
                            u32::try_from(seen.iter().position(|s| s == value).unwrap_or_else(|| {
                                seen.push(value.to_vec());
                                values.push(Some(value));
                                seen.len() - 1
                            }))
                            .unwrap()
                        }
                    });
                }
                ColumnVector::Dict { codes, values: Arc::new(values) }
            }
        }
    }
}

impl Part for TestPart {
    fn id(&self) -> PartId {
        PartId::Memory
    }

    fn runs(&self, stream: Stream) -> &[Run] {
        if stream == self.stream { &self.runs } else { &[] }
    }

    fn rows(&self, stream: Stream) -> u64 {
        if stream == self.stream { self.rows.len() as u64 } else { 0 }
    }

    fn granule_rows(&self) -> usize {
        self.shape.granule_rows
    }

    fn zone_map(&self, _: Stream, column: ColumnId, granule: usize) -> Option<ZoneMap> {
        if !self.shape.zone_maps {
            return None;
        }
        let def = Schema::of(self.stream).get(column)?;
        if def.ty == ColumnType::Document {
            return None;
        }
        match self.vector(def, granule) {
            ColumnVector::I64(v, _) => Some(ZoneMap::I64 { min: *v.iter().min()?, max: *v.iter().max()? }),
            ColumnVector::U64(v, _) => Some(ZoneMap::U64 { min: *v.iter().min()?, max: *v.iter().max()? }),
            ColumnVector::F64(v, _) => {
                let (min, max) =
                    v.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), n| (a.min(*n), b.max(*n)));
                (!v.iter().any(|n| n.is_nan())).then_some(ZoneMap::F64 { min, max })
            }
            ColumnVector::Codes(v) => {
                let codes = || v.iter().filter(|c| **c != NULL_CODE).map(|c| u64::from(*c));
                Some(match (codes().min(), codes().max()) {
                    (Some(min), Some(max)) => ZoneMap::U64 { min, max },
                    _ => ZoneMap::Null,
                })
            }
            _ => {
                let bytes = self.bytes(def, granule);
                Some(match (bytes.iter().flatten().min(), bytes.iter().flatten().max()) {
                    // Cut to two bytes: a prefix of the least, and more than the greatest.
                    (Some(min), Some(max)) => {
                        let mut above = max[..max.len().min(2)].to_vec();
                        above.push(0xff);
                        ZoneMap::Bytes { min: min[..min.len().min(2)].to_vec(), max: above }
                    }
                    _ => ZoneMap::Null,
                })
            }
        }
    }

    fn column(&self, _: Stream, column: ColumnId, granule: usize) -> Result<Arc<ColumnVector>> {
        if self.damaged.contains(&(column.0, granule)) {
            return Err(Error::corrupt("block", "segment", 0, "damaged by the test"));
        }
        Ok(Arc::new(self.vector(Schema::of(self.stream).get(column).unwrap(), granule)))
    }

    fn path(
        &self,
        _: Stream,
        column: ColumnId,
        path: &[String],
        granule: usize,
    ) -> Result<Arc<ColumnVector>> {
        if self.damaged.contains(&(column.0, granule)) {
            return Err(Error::corrupt("block", "segment", 0, "damaged by the test"));
        }
        let def = Schema::of(self.stream).get(column).unwrap();
        Ok(Arc::new(path_of_documents(&self.bytes(def, granule), path)?))
    }

    fn path_zones(
        &self,
        _: Stream,
        column: ColumnId,
        path: &[String],
        granule: usize,
    ) -> Result<Option<Vec<ZoneMap>>> {
        if !self.shape.zone_maps {
            return Ok(None);
        }
        let def = Schema::of(self.stream).get(column).unwrap();
        let mut zones = Vec::new();
        for document in self.bytes(def, granule).iter().flatten() {
            zones.push(match Document::get(document, path)? {
                None => continue,
                Some(Scalar::I64(n)) => ZoneMap::I64 { min: n, max: n },
                Some(Scalar::F64(n)) if !n.is_nan() => ZoneMap::F64 { min: n, max: n },
                Some(Scalar::Str(text)) => {
                    ZoneMap::Bytes { min: text.as_bytes().to_vec(), max: text.as_bytes().to_vec() }
                }
                Some(_) => return Ok(None),
            });
        }
        Ok(Some(zones))
    }

    fn bytes_of(&self, _: Stream) -> u64 {
        0
    }

    fn cell_blob(&self, tier: Tier, tenant: Option<TenantNo>, definition: u8) -> Result<Option<Arc<[u8]>>> {
        Ok(self.cells.get(&(tier as u8, tenant, definition)).cloned())
    }
}

/// Parts from rows: one list of rows and one shape for each. Rows are sorted by tenant and day, and in
/// a coded part by time.
#[derive(Debug)]
pub(crate) struct TestStore {
    pub(crate) stream: Stream,
    pub(crate) parts: Vec<(Vec<Row>, Shape)>,
    /// (part, column, granule)
    pub(crate) damaged: Vec<(usize, ColumnId, usize)>,
}

impl TestStore {
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.snapshot_with(|_, _| BTreeMap::new())
    }

    /// As [`Self::snapshot`]; `cells` makes the cells of a part, given its number and a snapshot of it alone.
    pub(crate) fn snapshot_with(&self, cells: impl Fn(usize, &Snapshot) -> TestCells) -> Snapshot {
        let mut codes = TestCodes::default();
        for (rows, _) in self.parts.iter().filter(|(_, shape)| shape.coded) {
            for row in rows {
                for def in Schema::of(self.stream).columns {
                    if let (ColumnType::Code(kind), Some(Value::Str(text))) =
                        (def.ty, row.values.get(def.name))
                    {
                        codes.add(TenantNo(row.tenant), kind, text.as_bytes());
                    }
                }
            }
        }
        let codes = Arc::new(codes);
        let lsn = self.parts.iter().flat_map(|(rows, _)| rows).map(|r| r.u64("lsn")).max().unwrap_or(0);
        let snapshot_of = |parts| {
            let codes = Arc::clone(&codes) as Arc<dyn Codes>;
            Snapshot {
                parts,
                codes,
                tenants: Arc::new(TestTenants),
                hidden: Arc::default(),
                lsn: Lsn(lsn),
                stop: Stop::never(),
            }
        };
        let part = |(index, (rows, shape)): (usize, &(Vec<Row>, Shape))| -> Arc<dyn Part> {
            let mut rows = rows.clone();
            rows.sort_by_key(|r| {
                (r.tenant, TimestampUs(r.time()).day(), if shape.coded { r.time() } else { 0 })
            });
            let damaged = self.damaged.iter().filter(|d| d.0 == index).map(|d| (d.1.0, d.2)).collect();
            let mut part = TestPart {
                stream: self.stream,
                shape: *shape,
                runs: runs(&rows),
                rows,
                codes: Arc::clone(&codes),
                damaged,
                cells: BTreeMap::new(),
            };
            part.cells = cells(index, &snapshot_of(vec![Arc::new(part.clone())]));
            Arc::new(part)
        };
        snapshot_of(self.parts.iter().enumerate().map(part).collect())
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.parts.iter().flat_map(|(rows, _)| rows)
    }
}

fn runs(rows: &[Row]) -> Vec<Run> {
    let mut out = Vec::new();
    let mut at = 0;
    for run in rows
        .chunk_by(|a, b| (a.tenant, a.time().div_euclid(DAY_US)) == (b.tenant, b.time().div_euclid(DAY_US)))
    {
        let end = at + run.len() as u64;
        out.push(Run {
            tenant: TenantNo(run[0].tenant),
            rows: at..end,
            min_time: TimestampUs(run.iter().map(Row::time).min().unwrap()),
            max_time: TimestampUs(run.iter().map(Row::time).max().unwrap()),
        });
        at = end;
    }
    out
}
