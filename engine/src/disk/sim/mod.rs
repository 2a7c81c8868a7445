//! A deterministic disk in memory that forgets, at a crash, whatever was not synced.
//!
//! The strictest reading of what [`super`] promises: a file keeps the bytes of its last sync and an
//! ordered list of the writes since; names keep the state of the last directory sync and a list of
//! the changes since. [`SimDisk::crash`] decides by a [`CrashPolicy`] which of those survive. Any
//! operation can be made to fail ([`SimDisk::fail_at`]) or to be the last one before the power goes
//! ([`SimDisk::crash_at`]). Images are shared copy-on-write, so a crash costs microseconds.

mod crash;
mod device;
mod fault;
mod image;
mod state;
#[cfg(test)]
mod tests;

pub use crash::CrashPolicy;
pub use device::SimDisk;
pub use fault::{FaultKind, OpKind};
