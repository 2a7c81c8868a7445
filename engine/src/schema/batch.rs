//! Rows of one tenant and one stream, in columns: what becomes durable together.

use super::column::{BytesColumn, Column};
use super::stream::{ColumnDef, ColumnType, Schema};
use crate::error::{Error, Result};
use crate::id::{Stream, TenantId};

/// Most rows of one batch.
pub const BATCH_ROWS_MAX: usize = 10_000;

/// Rows of one tenant and one stream. Its columns are those of the stream's [`Schema`], in that order.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    tenant: TenantId,
    stream: Stream,
    columns: Vec<Column>,
    rows: usize,
}

impl Batch {
    /// A batch from its columns.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when a column is missing, of the wrong type, or of another length.
    pub fn from_columns(tenant: TenantId, stream: Stream, columns: Vec<Column>) -> Result<Self> {
        let schema = Schema::of(stream);
        let rows = columns.first().map_or(0, Column::len);
        let fits = columns.len() == schema.columns.len()
            && columns.iter().zip(schema.columns).all(|(c, def)| c.len() == rows && matches(c, def.ty));
        if !fits {
            return Err(Error::invalid(format!("columns that are not those of the stream {stream}")));
        }
        Ok(Self { tenant, stream, columns, rows })
    }

    /// Whose rows they are.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Their stream.
    pub fn stream(&self) -> Stream {
        self.stream
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns, in the schema's order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// A column, if the stream has it.
    pub fn column(&self, def: &ColumnDef) -> Option<&Column> {
        self.columns.get(Schema::of(self.stream).index_of(def.id)?)
    }

    /// The given rows of the batch, in that order.
    ///
    /// # Panics
    ///
    /// When there is no such row.
    #[must_use]
    pub fn take(&self, rows: &[u32]) -> Self {
        Self {
            tenant: self.tenant.clone(),
            stream: self.stream,
            columns: self.columns.iter().map(|c| c.take(rows)).collect(),
            rows: rows.len(),
        }
    }

    /// The columns, without their tenant and stream.
    pub(crate) fn into_columns(self) -> Vec<Column> {
        self.columns
    }

    /// Bytes of memory this takes.
    pub fn memory_bytes(&self) -> usize {
        self.columns.iter().map(Column::memory_bytes).sum()
    }
}

fn matches(column: &Column, ty: ColumnType) -> bool {
    match ty {
        ColumnType::Time => matches!(column, Column::I64(_)),
        ColumnType::U64 => matches!(column, Column::U64(_)),
        ColumnType::F64 => matches!(column, Column::F64(_)),
        ColumnType::Str | ColumnType::Code(_) | ColumnType::Document => matches!(column, Column::Bytes(_)),
    }
}

/// Collects rows. Set the columns of a row in any order, then [`Self::finish_row`]; what was not set
/// is absent, 0 or 0.0.
#[derive(Debug)]
pub struct BatchBuilder {
    tenant: TenantId,
    stream: Stream,
    columns: Vec<Column>,
    rows: usize,
}

impl BatchBuilder {
    /// No row yet.
    pub fn new(tenant: TenantId, stream: Stream) -> Self {
        let columns = Schema::of(stream)
            .columns
            .iter()
            .map(|c| match c.ty {
                ColumnType::Time => Column::I64(Vec::new()),
                ColumnType::U64 => Column::U64(Vec::new()),
                ColumnType::F64 => Column::F64(Vec::new()),
                ColumnType::Str | ColumnType::Code(_) | ColumnType::Document => {
                    Column::Bytes(BytesColumn::new())
                }
            })
            .collect();
        Self { tenant, stream, columns, rows: 0 }
    }

    /// How many rows are finished.
    pub fn rows(&self) -> usize {
        self.rows
    }

    fn open(&mut self, def: &ColumnDef) -> Option<&mut Column> {
        let index = Schema::of(self.stream).index_of(def.id)?;
        let column = self.columns.get_mut(index)?;
        assert!(column.len() == self.rows, "column {} is set once a row", def.name);
        Some(column)
    }

    /// Sets an instant of the open row.
    ///
    /// # Panics
    ///
    /// When the column is already set in this row, or of another type.
    pub fn i64(&mut self, def: &ColumnDef, value: i64) -> &mut Self {
        let Some(Column::I64(v)) = self.open(def) else { panic!("{} is a column of instants", def.name) };
        v.push(value);
        self
    }

    /// Sets a number of the open row.
    ///
    /// # Panics
    ///
    /// As [`Self::i64`].
    pub fn u64(&mut self, def: &ColumnDef, value: u64) -> &mut Self {
        let Some(Column::U64(v)) = self.open(def) else { panic!("{} is a column of numbers", def.name) };
        v.push(value);
        self
    }

    /// Sets a double of the open row.
    ///
    /// # Panics
    ///
    /// As [`Self::i64`].
    pub fn f64(&mut self, def: &ColumnDef, value: f64) -> &mut Self {
        let Some(Column::F64(v)) = self.open(def) else { panic!("{} is a column of doubles", def.name) };
        v.push(value);
        self
    }

    /// Sets text, or an encoded document, of the open row.
    ///
    /// # Panics
    ///
    /// As [`Self::i64`].
    pub fn bytes(&mut self, def: &ColumnDef, value: Option<&[u8]>) -> &mut Self {
        let Some(Column::Bytes(v)) = self.open(def) else { panic!("{} is a column of bytes", def.name) };
        v.push(value);
        self
    }

    /// Sets text of the open row.
    pub fn str(&mut self, def: &ColumnDef, value: Option<&str>) -> &mut Self {
        self.bytes(def, value.map(str::as_bytes))
    }

    /// Ends the row.
    pub fn finish_row(&mut self) {
        self.rows += 1;
        for column in &mut self.columns {
            if column.len() < self.rows {
                match column {
                    Column::I64(v) => v.push(0),
                    Column::U64(v) => v.push(0),
                    Column::F64(v) => v.push(0.0),
                    Column::Bytes(v) => v.push(None),
                }
            }
        }
    }

    /// The rows as a batch.
    pub fn build(self) -> Batch {
        Batch { tenant: self.tenant, stream: self.stream, columns: self.columns, rows: self.rows }
    }
}
