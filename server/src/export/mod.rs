//! Answers as JSON, NDJSON and CSV: which one is asked for, and rows of the store written in it.

pub mod csv;
pub mod format;
pub mod record;
pub mod rows;
pub mod whole;

pub use csv::Csv;
pub use format::Format;
pub use record::{Cell, Record};
pub use whole::Whole;
