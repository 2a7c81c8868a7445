//! Segments: immutable columnar files that hold rows of one or more streams, of many tenants.
//!
//! The bytes are described in `docs/format/segment.md`.

mod cache;
mod column_chunk;
mod columns;
mod directory;
mod footer;
mod format;
mod granule;
mod output;
mod path_column;
mod paths;
mod reader;
mod shred;
mod stats;
mod tenant_index;
#[cfg(test)]
mod tests;
mod told;
mod verify;
mod writer;
mod zone_map;

pub use cache::BlockCache;
pub use columns::SegmentColumn;
pub(crate) use format::check_version;
pub use format::{FooterHash, GRANULE_ROWS, VERSION};
pub use reader::SegmentReader;
pub use stats::ColumnStats;
pub use writer::{SegmentEnd, SegmentSummary, SegmentWriter, StreamSummary};
