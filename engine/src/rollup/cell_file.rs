//! A file of cells, open for reading.

use std::sync::Arc;

use crate::manifest::FileMeta;

/// The cells of one segment at one tier, open.
#[derive(Debug)]
pub struct CellFile {
    meta: Arc<FileMeta>,
}

impl CellFile {
    /// What the manifest says of it.
    pub fn meta(&self) -> &Arc<FileMeta> {
        &self.meta
    }
}
