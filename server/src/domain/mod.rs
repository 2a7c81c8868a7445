//! The words of the platform, checked once at the edge; no HTTP.

pub mod identifier;
