//! The tenant dictionary: one code for each identity of a tenant, durable.

mod file_writer;
pub mod format;
pub mod plan;
mod rewrite;
pub mod set;
pub(crate) mod weigh;
pub mod writer;

pub use format::IDENTITY_BYTES_MAX;
pub use set::DictionarySet;
pub use writer::DictionaryWriter;

#[cfg(test)]
mod tests;
