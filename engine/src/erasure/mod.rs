//! Erasure of tenants and users: hidden at once, then written out of every file.

mod leaves;
mod request;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
