//! The words of the platform, checked once at the edge; no HTTP.

pub mod audit;
pub mod document_json;
pub mod event;
pub mod identifier;
pub mod instant;
pub mod lang;
pub mod metric;
pub mod own_act;
pub mod preference;
pub(crate) mod texts;
