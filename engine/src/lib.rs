//! Insights' engine: an append-only, columnar store of events, audit records and metric points.
//!
//! Synchronous, without HTTP, JSON or an async runtime. The rooms, from the bottom up:
//! [`error`], [`id`], [`time`], [`clock`], [`entropy`] < [`disk`], [`schema`].

pub mod append;
pub mod clock;
pub mod codec;
pub mod codes;
pub mod config;
pub mod disk;
pub mod engine;
pub mod entropy;
pub mod error;
pub mod id;
pub mod part;
pub mod query;
pub mod rollup;
pub mod schema;
pub mod segment;
pub mod time;
pub mod wal;

pub use config::Config;
pub use engine::Engine;
pub use error::{Error, Result};
