//! The tenant dictionary: one code for each identity of a tenant, durable.

pub mod format;
pub mod plan;
pub mod set;
pub mod writer;

pub use format::IDENTITY_BYTES_MAX;
pub use set::DictionarySet;
pub use writer::DictionaryWriter;

#[cfg(test)]
mod tests;
