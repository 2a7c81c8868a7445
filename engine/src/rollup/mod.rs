//! Pre-aggregated rows: the mergeable parts that cells and queries share.

pub mod cell_file;
pub mod histogram;
pub mod tier;

pub use cell_file::CellFile;
pub use histogram::Histogram;
pub use tier::Tier;
