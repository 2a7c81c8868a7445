//! Pre-aggregated rows: declared rollups, their cells and the mergeable parts that cells and queries share.

pub mod cell_file;
pub mod definition;
pub mod histogram;
pub mod tier;

mod build;
mod cells;
mod cells_decode;
mod cells_format;
mod cells_memory;
mod check;
mod forget;
mod remains;
mod room;
mod verify;
mod write;

#[cfg(test)]
mod tests;

pub use cell_file::{CellCache, CellFile};
pub use definition::{DEFINITIONS_MAX, ID_MAX, Kept, RollupDefinition, Rollups, TierAggregates};
pub use histogram::Histogram;
pub use tier::Tier;
pub use verify::verify;
pub use write::{CellSource, RUN_ROWS_MIN, write_cells};

pub(crate) use cell_file::{ALL_TENANTS, BlobFate, Rewritten};
pub(crate) use cells::{Cells, KeyColumn, SetList, SetRef, StateColumn, Whose, near_codes};
pub(crate) use definition::is_answered_by;
pub(crate) use forget::Forgotten;
pub(crate) use histogram::HistogramList;
pub(crate) use remains::{Remains, blob_of};
pub(crate) use room::CellRoom;
