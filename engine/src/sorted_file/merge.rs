//! Entries of several sorted files in one order.

use super::block::Entry;
use super::reader::{Cursor, SortedReader};
use crate::error::Result;

/// Walks over files side by side. Of keys that are in several files all entries come, the one of the
/// first file first.
#[derive(Debug)]
pub(crate) struct Merge<'r> {
    cursors: Vec<Cursor<'r>>,
}

impl<'r> Merge<'r> {
    /// Stands on the first entry of all files.
    pub(crate) fn new(files: impl Iterator<Item = &'r SortedReader>) -> Result<Self> {
        Ok(Self { cursors: files.map(Cursor::new).collect::<Result<_>>()? })
    }

    /// The entry it stands on and the number of its file, from 0; `None` at the end.
    pub(crate) fn peek(&self) -> Option<(usize, Entry<'_>)> {
        // There are few files, so looking at each is faster than keeping a heap.
        let entries = self.cursors.iter().enumerate().filter_map(|(n, c)| Some((n, c.entry()?)));
        entries.min_by(|(_, a), (_, b)| a.order().cmp(&b.order()))
    }

    /// Moves on the file that [`Self::peek`] told.
    pub(crate) fn advance(&mut self, file: usize) -> Result<()> {
        self.cursors.get_mut(file).map_or(Ok(()), Cursor::advance)
    }
}
