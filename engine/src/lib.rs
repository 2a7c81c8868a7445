//! Insights' engine: an append-only, columnar store of events, audit records and metric points.
//!
//! Synchronous, without HTTP, JSON or an async runtime. The rooms, from the bottom up:
//! [`error`], [`id`], [`time`], [`clock`], [`entropy`] < [`disk`], [`schema`] < [`wal`], [`segment`],
//! [`manifest`], [`catalog`], [`dictionary`], [`dedup`] < [`sequencer`], [`query`] < [`engine`].

pub mod append;
mod apply;
pub mod audit;
mod background;
pub mod catalog;
pub mod checkpoint;
pub mod clock;
pub mod codec;
pub mod codes;
pub mod compaction;
pub mod config;
mod core;
pub mod dedup;
pub mod dictionary;
pub mod disk;
pub mod engine;
pub mod entropy;
pub mod erasure;
pub mod error;
mod file_header;
mod flush;
pub mod follow;
mod format_check;
mod format_version;
mod frame;
mod frame_log;
#[cfg(test)]
mod golden;
pub mod id;
pub mod inspect;
pub mod manifest;
mod memtable;
pub mod part;
pub mod probes;
pub mod query;
mod record;
mod recover;
pub mod retention;
pub mod rollup;
pub mod schema;
mod second_chance;
pub mod segment;
pub mod sequencer;
pub mod session;
mod sorted_file;
mod tables;
pub mod time;
pub mod view;
pub mod wal;

pub use config::Config;
pub use engine::Engine;
pub use error::{Error, Result};
