//! What may happen to rows on their way through a merge.

use crate::error::Result;
use crate::id::{Stream, TenantNo};
use crate::segment::SegmentColumn;

/// What a merge does with the rows of one tenant and stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// They stay as they are.
    Keep,
    /// They go; they are not even read.
    Drop,
    /// They are looked at one by one.
    Look,
}

/// Drops and changes rows that a merge moves. A plain merge changes none: [`KeepAll`].
pub(crate) trait RowRewrite: std::fmt::Debug {
    /// What happens to the rows of a tenant.
    fn fate(&self, stream: Stream, tenant: TenantNo) -> Fate;

    /// Looks at rows of a tenant whose fate is [`Fate::Look`]: changes columns in place, in the order of
    /// the stream's schema, and answers for each row whether it stays. Event times must stay as they are.
    ///
    /// # Errors
    ///
    /// Any; the merge ends and nothing has happened.
    fn look(&self, stream: Stream, tenant: TenantNo, columns: &mut [SegmentColumn]) -> Result<Vec<bool>>;
}

/// Changes nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeepAll;

impl RowRewrite for KeepAll {
    fn fate(&self, _stream: Stream, _tenant: TenantNo) -> Fate {
        Fate::Keep
    }

    fn look(&self, _stream: Stream, _tenant: TenantNo, columns: &mut [SegmentColumn]) -> Result<Vec<bool>> {
        Ok(vec![true; columns.first().map_or(0, SegmentColumn::len)])
    }
}
