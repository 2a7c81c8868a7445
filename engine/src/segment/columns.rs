//! Columns of rows on their way into a segment.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::schema::{BytesColumn, ColumnType, ColumnVector};

/// All values of a column, one a row.
#[derive(Debug, Clone, PartialEq)]
pub enum SegmentColumn {
    /// Of [`ColumnType::Time`].
    I64(Vec<i64>),
    /// Of [`ColumnType::U64`].
    U64(Vec<u64>),
    /// Of [`ColumnType::F64`].
    F64(Vec<f64>),
    /// Of [`ColumnType::Code`]; [`crate::schema::NULL_CODE`] is absent.
    Codes(Vec<u32>),
    /// Of [`ColumnType::Str`], and encoded documents of [`ColumnType::Document`].
    Bytes(BytesColumn),
}

impl SegmentColumn {
    /// A column of this type without values.
    pub fn new(ty: ColumnType) -> Self {
        match ty {
            ColumnType::Time => Self::I64(Vec::new()),
            ColumnType::U64 => Self::U64(Vec::new()),
            ColumnType::F64 => Self::F64(Vec::new()),
            ColumnType::Code(_) => Self::Codes(Vec::new()),
            ColumnType::Str | ColumnType::Document => Self::Bytes(BytesColumn::new()),
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        match self {
            Self::I64(v) => v.len(),
            Self::U64(v) => v.len(),
            Self::F64(v) => v.len(),
            Self::Codes(v) => v.len(),
            Self::Bytes(v) => v.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is a column of this type.
    pub(super) fn fits(&self, ty: ColumnType) -> bool {
        match ty {
            ColumnType::Time => matches!(self, Self::I64(_)),
            ColumnType::U64 => matches!(self, Self::U64(_)),
            ColumnType::F64 => matches!(self, Self::F64(_)),
            ColumnType::Code(_) => matches!(self, Self::Codes(_)),
            ColumnType::Str | ColumnType::Document => matches!(self, Self::Bytes(_)),
        }
    }

    /// Takes all values out; their memory stays for the next ones.
    pub(crate) fn clear(&mut self) {
        match self {
            Self::I64(v) => v.clear(),
            Self::U64(v) => v.clear(),
            Self::F64(v) => v.clear(),
            Self::Codes(v) => v.clear(),
            Self::Bytes(v) => v.clear(),
        }
    }

    /// Adds rows of another column of the same type.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when it is of another type, or has no such rows.
    pub fn extend(&mut self, other: &Self, rows: Range<usize>) -> Result<()> {
        match (self, other) {
            (Self::I64(to), Self::I64(from)) => extend(to, from, rows),
            (Self::U64(to), Self::U64(from)) => extend(to, from, rows),
            (Self::F64(to), Self::F64(from)) => extend(to, from, rows),
            (Self::Codes(to), Self::Codes(from)) => extend(to, from, rows),
            (Self::Bytes(to), Self::Bytes(from)) if rows.end <= from.len() => {
                to.extend_rows(from, rows);
                Ok(())
            }
            _ => Err(no_such_rows()),
        }
    }

    /// Adds rows of a decoded column of the same type.
    ///
    /// # Errors
    ///
    /// When the column is of another type.
    pub fn extend_vector(&mut self, vector: &ColumnVector, rows: Range<usize>) -> Result<()> {
        match (self, vector) {
            (Self::I64(to), ColumnVector::I64(from, _)) => extend(to, from, rows),
            (Self::U64(to), ColumnVector::U64(from, _)) => extend(to, from, rows),
            (Self::F64(to), ColumnVector::F64(from, _)) => extend(to, from, rows),
            (Self::Codes(to), ColumnVector::Codes(from)) => extend(to, from, rows),
            (Self::Bytes(to), ColumnVector::Bytes(from)) if rows.end <= from.len() => {
                to.extend_rows(from, rows);
                Ok(())
            }
            (Self::Bytes(to), ColumnVector::Dict { codes, values }) => {
                for code in codes.get(rows).ok_or_else(no_such_rows)? {
                    // The code of an absent value has no value.
                    to.push(values.get(*code as usize));
                }
                Ok(())
            }
            _ => Err(no_such_rows()),
        }
    }

    /// Keeps the rows that `stays` says yes to.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when there are more or fewer answers than rows.
    pub(crate) fn retain(&mut self, stays: &[bool]) -> Result<()> {
        fn keep<T>(values: &mut Vec<T>, stays: &[bool]) {
            let mut stays = stays.iter();
            values.retain(|_| stays.next().copied().unwrap_or(true));
        }
        if stays.len() != self.len() {
            return Err(no_such_rows());
        }
        match self {
            Self::I64(v) => keep(v, stays),
            Self::U64(v) => keep(v, stays),
            Self::F64(v) => keep(v, stays),
            Self::Codes(v) => keep(v, stays),
            Self::Bytes(v) => {
                let rows = (0_u32..).zip(stays).filter(|(_, stays)| **stays).map(|(row, _)| row);
                *v = v.take(&rows.collect::<Vec<u32>>());
            }
        }
        Ok(())
    }
}

fn extend<T: Copy>(to: &mut Vec<T>, from: &[T], rows: Range<usize>) -> Result<()> {
    to.extend_from_slice(from.get(rows).ok_or_else(no_such_rows)?);
    Ok(())
}

fn no_such_rows() -> Error {
    Error::invalid("rows that their column does not have")
}
