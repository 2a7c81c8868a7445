//! Retention classes: rows that live about as long share files, so that files expire as a whole.
//!
//! A class is a span of limits of rows. It only says which rows stand together: whether a file has expired
//! is asked of the exact limit of every tenant in it. The spans are fixed, so that a document that changes
//! moves its own tenant's rows and nobody else's, and there are never more than [`CLASSES`] files of one
//! stream and day because of them.

use crate::catalog::StreamRetention;
use crate::id::{Stream, TenantNo};
use crate::query::Hidden;

/// How many classes there are.
pub const CLASSES: usize = 8;

/// The longest limit of rows, in days, of the classes 1 and up, but for the last one, which has no longest.
const DAYS_MAX: [u32; CLASSES - 2] = [7, 31, 93, 186, 400, 1_100];

/// The class of rows with this retention: 0 for ever, else the higher the longer.
pub fn class_of(retention: &StreamRetention) -> u8 {
    let Some(days) = retention.raw_days else { return 0 };
    let shorter = DAYS_MAX.partition_point(|max| *max < days);
    u8::try_from(shorter + 1).unwrap_or(0)
}

/// The classes of every tenant at one moment: a merge sees one moment from its start to its end.
#[derive(Debug)]
pub(crate) struct Classes(Hidden);

impl Classes {
    /// Those of a moment.
    pub(crate) fn new(hidden: Hidden) -> Self {
        Self(hidden)
    }

    /// The class of a tenant's rows of a stream.
    pub(crate) fn of(&self, stream: Stream, tenant: TenantNo) -> u8 {
        class_of(self.0.retention(tenant, stream))
    }

    /// Whether the tenant is erased, so that its rows are hidden wherever they stand.
    pub(crate) fn is_retired(&self, tenant: TenantNo) -> bool {
        self.0.is_retired(tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(days: Option<u32>) -> u8 {
        class_of(&StreamRetention { raw_days: days, ..StreamRetention::FOREVER })
    }

    #[test]
    fn limits_that_are_near_each_other_share_a_class() {
        for (days, expected) in [
            (1, 1),
            (7, 1),
            (8, 2),
            (30, 2),
            (90, 3),
            (180, 4),
            (365, 5),
            (1_095, 6),
            (1_101, 7),
            (36_500, 7),
        ] {
            assert_eq!(class(Some(days)), expected, "{days}");
        }
        assert_eq!(class(None), 0);
    }

    #[test]
    fn there_are_no_more_classes_than_files_of_a_day_may_have() {
        let all: std::collections::BTreeSet<u8> = (1..=36_500).map(|days| class(Some(days))).collect();
        assert_eq!(all.len() + 1, CLASSES);
    }
}
