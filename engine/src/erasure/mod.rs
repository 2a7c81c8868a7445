//! Erasure of tenants and users: hidden at once, then written out of every file.

mod cells;
mod leaves;
pub(crate) mod pass;
mod request;
mod rows;

pub use pass::ErasurePass;
pub(crate) use pass::Names;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
