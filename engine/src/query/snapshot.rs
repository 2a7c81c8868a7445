//! The parts that one question reads, fixed at its start.

use std::sync::Arc;

use super::hidden::Hidden;
use crate::codes::{Codes, Tenants};
use crate::id::Lsn;
use crate::part::Part;
use crate::query::stop::Stop;

/// What one question sees: the segments and memtable chunks of one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Segments first, then memtable chunks. Every row is in exactly one.
    pub parts: Vec<Arc<dyn Part>>,
    /// The tenant dictionary of the segments. Memtable chunks hold text instead.
    pub codes: Arc<dyn Codes>,
    /// The tenants.
    pub tenants: Arc<dyn Tenants>,
    /// What no question sees of it.
    pub hidden: Arc<Hidden>,
    /// The newest frame whose rows are in `parts`.
    pub lsn: Lsn,
    /// When the question ends without an answer.
    pub stop: Stop,
}
