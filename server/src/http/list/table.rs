//! Short answers that are one table: all rows at once, in three formats.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use insights_engine::query::Number;
use insights_engine::time::TimestampUs;
use serde::Serialize;

use crate::export::{Csv, Format};
use crate::http::error::ApiError;

/// An answer whose JSON has its rows in it.
pub trait Table: Serialize {
    /// The names of the columns in CSV.
    const COLUMNS: &'static [&'static str];
    /// One row.
    type Row: Serialize;

    /// The rows, in order.
    fn rows(&self) -> &[Self::Row];

    /// Adds a row's cells, one for each of [`Self::COLUMNS`].
    fn write_csv(row: &Self::Row, csv: &mut Csv);
}

/// The answer in a format.
///
/// # Errors
///
/// `internal` when it cannot be written, which only a mistake in a type's own serialisation can cause.
pub fn respond<T: Table>(format: Format, table: &T) -> Result<Response, ApiError> {
    let body = match format {
        Format::Json => serde_json::to_vec(table).map_err(|_| ApiError::internal())?,
        Format::Ndjson => {
            let mut out = Vec::new();
            for row in table.rows() {
                serde_json::to_writer(&mut out, row).map_err(|_| ApiError::internal())?;
                out.push(b'\n');
            }
            out
        }
        Format::Csv => {
            let mut csv = Csv::new();
            for name in T::COLUMNS {
                csv.text(name);
            }
            csv.end_line();
            for row in table.rows() {
                T::write_csv(row, &mut csv);
                debug_assert_eq!(csv.cells(), T::COLUMNS.len(), "a cell for each of {:?}", T::COLUMNS);
                csv.end_line();
            }
            csv.take()
        }
    };
    Ok(([(header::CONTENT_TYPE, format.content_type())], body).into_response())
}

/// An instant that came out of an aggregate as a double: microseconds since 1970 are exact below 2^53, the year 2255.
#[expect(clippy::cast_possible_truncation, reason = "an instant of a row, which was an i64")]
pub fn instant(number: Number) -> Option<TimestampUs> {
    number.as_f64().map(|us| TimestampUs(us as i64))
}
