//! Immutable files of sorted keys with two numbers each: what dictionary, id and idempotency files are.

mod block;
mod cache;
mod filter;
mod form;
mod keys;
mod merge;
mod packed;
mod reader;
mod writer;

pub(crate) use block::{Entry, KEY_BYTES_MAX, SortedBlock, varint_u32};
pub(crate) use cache::{BlockCache, MemoryBytes};
pub(crate) use filter::key_hash;
pub(crate) use merge::Merge;
pub(crate) use reader::{BlockPlace, Cursor, SortedReader, share};
pub(crate) use writer::SortedWriter;

#[cfg(test)]
mod tests;
