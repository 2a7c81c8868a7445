//! Pre-aggregated rows: the mergeable parts that cells and queries share.

pub mod histogram;

pub use histogram::Histogram;
