//! Which files are live: a log of edits whose sum is the [`Version`].

pub mod edit;
pub mod file;
pub mod log;

pub use edit::{Edit, Version};
pub use file::{CLASS_DEFAULT, CellsOf, FileChange, FileKind, FileMeta, StreamMeta};
pub(crate) use log::DIR;
pub use log::Manifest;

#[cfg(test)]
mod tests;
