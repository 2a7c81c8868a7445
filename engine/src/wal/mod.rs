//! The write-ahead log: one for the whole engine, in numbered files of a fixed size that are reused.
//!
//! [`replay`] gives back what a crash left, [`WalWriter`] appends to it, [`Log`] shares one write and
//! one sync among everything that queued up. The bytes are described in [`record`].

mod log;
mod reader;
pub mod record;
mod repair;
mod replay;
mod spare;
mod writer;

#[cfg(test)]
mod tests;

pub use log::{Entry, Log, LogOptions, LogStats, Sink, Step};
pub(crate) use record::check_version;
pub use replay::{Frame, Replayed, WalDamage, replay};
pub use spare::Spares;
pub use writer::{Extent, WalOptions, WalWriter};
