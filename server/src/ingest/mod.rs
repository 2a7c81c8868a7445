//! From untrusted records to typed rows.
//!
//! [`grammar`] reads a body record by record; [`event`], [`audit`] and [`point`] turn the fields of one
//! record into checked columns; [`intake`] collects the rows of a request; [`write()`] keeps them, and
//! [`answer`] says what became of each. [`session`], [`chains`] and [`look_back`] name sessions.

pub mod answer;
pub mod audit;
pub mod chains;
pub mod document;
pub mod event;
pub mod fault;
pub mod first_copies;
pub mod grammar;
pub mod idempotency;
pub mod intake;
pub mod look_back;
pub mod metric_kinds;
pub mod point;
pub mod raw;
pub mod record;
pub mod session;
pub mod write;

pub use write::{Ingest, Options, write};

#[cfg(test)]
mod tests;
