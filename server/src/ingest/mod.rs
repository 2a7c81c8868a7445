//! From untrusted records to typed rows.
//!
//! [`grammar`] reads a body record by record, [`record`] and its neighbours turn the fields of one
//! record into checked columns, [`intake`] collects the rows of a request, [`write`] keeps them and answers.

pub mod audit;
pub mod document;
pub mod event;
pub mod fault;
pub mod grammar;
pub mod intake;
pub mod metric_kinds;
pub mod point;
pub mod raw;
pub mod record;
pub mod session;
