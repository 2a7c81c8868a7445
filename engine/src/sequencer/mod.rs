//! What stands in front of the store and gives each row its place.

pub mod derived_id;
pub mod leaf;
mod mac;
pub mod tree;
