//! Segments: immutable columnar files that hold rows of one or more streams, of many tenants.
//!
//! # Layout of a file (version 0)
//!
//! | part         | what it is                                                                      |
//! |--------------|---------------------------------------------------------------------------------|
//! | header       | magic, version, file id: [`format`](self)                                       |
//! | blocks       | for each stream and column one block a granule; see `column_chunk`, `paths`     |
//! | tenant index | for each stream blocks of runs; see `tenant_index`                              |
//! | tenant names | one block, read by repair alone                                                 |
//! | directory    | one block: places, null counts and zone maps of all other blocks; `directory`   |
//! | footer       | schema, statistics, places of the three parts above, replaced segments, LSN     |
//! | tail         | where the footer is, and its checksum                                           |
//!
//! Every block has a header with its identity, and its checksum covers the file's id, its offset and
//! that identity: a block that was moved, swapped or left over never passes. The footer's hash is kept
//! in the manifest, outside of the file.

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
pub use format::{FooterHash, GRANULE_ROWS, VERSION};
pub use reader::SegmentReader;
pub use stats::ColumnStats;
pub use writer::{SegmentEnd, SegmentSummary, SegmentWriter, StreamSummary};
