//! Filters of lists from their parameters; an empty parameter is an absent one.

use axum::http::{HeaderMap, header};
use insights_engine::query::{Field, Filter, Literal, Op};
use insights_engine::schema::ColumnDef;

use crate::domain::identifier::{IDENTIFIER_RULE, is_identifier};
use crate::http::error::ApiError;

/// A parameter that says something.
pub fn present(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

/// A column compares.
pub fn compare(column: &ColumnDef, op: Op) -> Filter {
    Filter::Compare(Field::Column(column.id), op)
}

/// A stored number to compare with.
pub fn number(n: u64) -> Literal {
    i64::try_from(n).map_or(Literal::U64(n), Literal::I64)
}

/// A column equals a text; nothing when there is none.
pub fn is(column: &ColumnDef, text: Option<&str>) -> Option<Filter> {
    present(text).map(|text| compare(column, Op::Is(Literal::Str(text.to_owned()))))
}

/// A column equals an identifier; nothing when there is none.
///
/// # Errors
///
/// `invalid` at `pointer` when the text is no identifier.
pub fn identifier(
    column: &ColumnDef,
    text: Option<&str>,
    pointer: &'static str,
) -> Result<Option<Filter>, ApiError> {
    match present(text) {
        Some(id) if !is_identifier(id) => {
            Err(ApiError::invalid_at(pointer, "invalid", format!("an identifier has {IDENTIFIER_RULE}")))
        }
        text => Ok(is(column, text)),
    }
}

/// One of the columns contains a text; nothing when there is none. Bytes are compared, so case matters.
pub fn contains(columns: &[ColumnDef], text: Option<&str>) -> Option<Filter> {
    let text = present(text)?;
    Some(Filter::Or(columns.iter().map(|column| compare(column, Op::Contains(text.to_owned()))).collect()))
}

/// The `Accept` header, as text.
pub fn accept(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ACCEPT)?.to_str().ok()
}
