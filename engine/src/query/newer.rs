//! The rows that came after a frame: those that a question which goes on has not read yet.

use super::field::Fields;
use super::granule::Granule;
use super::mask::Mask;
use super::number::as_u64;
use super::plan::Slice;
use crate::error::Result;
use crate::id::Lsn;
use crate::part::ZoneMap;
use crate::schema::stream;

/// Rows of frames after one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Newer {
    after: Lsn,
    /// The leaf of the rows' frames.
    lsn: usize,
}

impl Newer {
    /// Those after a frame.
    ///
    /// # Errors
    ///
    /// None: every stream has the column.
    pub(crate) fn than(after: Lsn, fields: &mut Fields) -> Result<Self> {
        Ok(Self { after, lsn: fields.column(&stream::LSN)? })
    }

    /// Takes the other rows of a slice out of `mask`, which has one bit for each of its rows.
    ///
    /// # Errors
    ///
    /// Those of the column.
    pub(crate) fn narrow(self, granule: &mut Granule<'_>, slice: &Slice, mask: &mut Mask) -> Result<()> {
        let all = matches!(granule.zones(self.lsn)?, Some([ZoneMap::U64 { min, .. }]) if *min > self.after.0);
        if all || mask.is_empty() {
            return Ok(());
        }
        let lsns = granule.load(self.lsn)?;
        let lsns = as_u64(&lsns)?;
        let base = slice.rows.start;
        mask.retain(|row| lsns.get(base + row).is_some_and(|lsn| *lsn > self.after.0));
        Ok(())
    }
}
