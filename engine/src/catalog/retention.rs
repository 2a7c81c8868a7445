//! The catalog record of a tenant's retention: how long rows and cells of each stream are kept.

use serde::{Deserialize, Serialize};

use super::tenant::tenant_prefix;
use crate::append::{CatalogKind, CatalogPut};
use crate::error::{Error, Result};
use crate::id::{Stream, TenantNo};
use crate::record;
use crate::rollup::Tier;
use crate::time::{DAY_US, TimestampUs};

/// Most days of a limit, a hundred years; what is to be kept longer has no limit.
pub const RETENTION_DAYS_MAX: u32 = 36_500;

/// How long one stream is kept, in whole UTC days after the day of the rows; `None` is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct StreamRetention {
    /// Rows.
    pub raw_days: Option<u32>,
    /// Cells of 15 minutes.
    pub rollup_15m_days: Option<u32>,
    /// Cells of an hour.
    pub rollup_1h_days: Option<u32>,
    /// Cells of a day.
    pub rollup_1d_days: Option<u32>,
}

impl StreamRetention {
    /// Everything is kept for ever.
    pub const FOREVER: Self =
        Self { raw_days: None, rollup_15m_days: None, rollup_1h_days: None, rollup_1d_days: None };

    /// The limits in the order rows, 15 minutes, hour, day.
    pub const fn limits(&self) -> [Option<u32>; 4] {
        [self.raw_days, self.rollup_15m_days, self.rollup_1h_days, self.rollup_1d_days]
    }

    /// The limit of the cells of a tier.
    pub const fn of_tier(&self, tier: Tier) -> Option<u32> {
        match tier {
            Tier::Quarter => self.rollup_15m_days,
            Tier::Hour => self.rollup_1h_days,
            Tier::Day => self.rollup_1d_days,
        }
    }

    /// Whether nothing goes before it goes with `other`.
    pub fn keeps_at_least(&self, other: &Self) -> bool {
        self.limits().into_iter().zip(other.limits()).all(|(mine, theirs)| match (mine, theirs) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(mine), Some(theirs)) => mine >= theirs,
        })
    }

    /// The least that keeps at least as long as both.
    #[must_use]
    pub fn longest(&self, other: &Self) -> Self {
        let longer = |a: Option<u32>, b: Option<u32>| Some(a?.max(b?));
        Self {
            raw_days: longer(self.raw_days, other.raw_days),
            rollup_15m_days: longer(self.rollup_15m_days, other.rollup_15m_days),
            rollup_1h_days: longer(self.rollup_1h_days, other.rollup_1h_days),
            rollup_1d_days: longer(self.rollup_1d_days, other.rollup_1d_days),
        }
    }

    fn check(&self, stream: Stream) -> Result<()> {
        for days in self.limits().into_iter().flatten() {
            if days == 0 || days > RETENTION_DAYS_MAX {
                return Err(Error::invalid(format!(
                    "a limit of retention is 1 to {RETENTION_DAYS_MAX} days"
                )));
            }
        }
        if stream == Stream::Audit && self.limits().iter().skip(1).any(Option::is_some) {
            return Err(Error::invalid("audit records have no rollups whose retention could be set"));
        }
        Ok(())
    }
}

/// The start of the earliest UTC day that a limit of `days` keeps at `now`; what is before it has expired.
///
/// A day is kept whole: with a limit of one day, yesterday is there until today ends.
pub fn kept_since(days: Option<u32>, now: TimestampUs) -> TimestampUs {
    match days {
        None => TimestampUs(i64::MIN),
        Some(days) => {
            let first = i64::from(now.day()).saturating_sub(i64::from(days));
            TimestampUs(first.saturating_mul(DAY_US))
        }
    }
}

/// How long a tenant's streams are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct RetentionDocument {
    /// Product events.
    pub events: StreamRetention,
    /// Audit records; they have no cells.
    pub audit: StreamRetention,
    /// Metric points.
    pub metrics: StreamRetention,
}

impl RetentionDocument {
    /// The retention of a stream.
    pub const fn of(&self, stream: Stream) -> &StreamRetention {
        match stream {
            Stream::Events => &self.events,
            Stream::Audit => &self.audit,
            Stream::Metrics => &self.metrics,
        }
    }

    /// Checks the limits.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a limit that is 0 or over [`RETENTION_DAYS_MAX`], and for cells of audit.
    pub fn check(&self) -> Result<()> {
        Stream::ALL.into_iter().try_for_each(|stream| self.of(stream).check(stream))
    }

    /// The record as it is given to the catalog.
    ///
    /// # Errors
    ///
    /// As [`Self::check`].
    pub fn put(&self, tenant: TenantNo) -> Result<CatalogPut> {
        self.check()?;
        let value = Some(record::encode(self)?);
        Ok(CatalogPut { kind: CatalogKind::Retention, key: tenant_prefix(tenant), value })
    }

    /// A record from a value of the catalog.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the bytes are not one.
    pub fn decode(value: &[u8]) -> Result<Self> {
        let document: Self = record::decode(value)?;
        document.check()?;
        Ok(document)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn document() -> RetentionDocument {
        RetentionDocument {
            events: StreamRetention {
                raw_days: Some(90),
                rollup_15m_days: Some(90),
                rollup_1h_days: Some(400),
                rollup_1d_days: None,
            },
            audit: StreamRetention { raw_days: Some(1095), ..StreamRetention::FOREVER },
            metrics: StreamRetention { raw_days: Some(30), ..StreamRetention::FOREVER },
        }
    }

    #[test]
    fn the_bytes_of_a_document_are_the_ones_of_before() {
        let put = document().put(TenantNo(7)).unwrap();
        crate::golden::check("retention.bin", put.value.as_deref().unwrap());
        assert_eq!(RetentionDocument::decode(put.value.as_deref().unwrap()).unwrap(), document());
    }

    #[test]
    fn limits_that_make_no_sense_are_refused() {
        let with = |events| RetentionDocument { events, ..RetentionDocument::default() };
        let raw = |days| StreamRetention { raw_days: Some(days), ..StreamRetention::FOREVER };
        assert!(with(raw(0)).check().is_err());
        assert!(with(raw(RETENTION_DAYS_MAX + 1)).check().is_err());
        assert!(with(raw(RETENTION_DAYS_MAX)).check().is_ok());
        let cells = StreamRetention { rollup_1d_days: Some(1), ..StreamRetention::FOREVER };
        assert!(RetentionDocument { audit: cells, ..RetentionDocument::default() }.check().is_err());
    }

    #[test]
    fn a_day_is_kept_whole() {
        let noon = TimestampUs(10 * DAY_US + DAY_US / 2);
        assert_eq!(kept_since(Some(1), noon), TimestampUs(9 * DAY_US));
        assert_eq!(kept_since(Some(1), TimestampUs(10 * DAY_US)), TimestampUs(9 * DAY_US));
        assert_eq!(kept_since(None, noon), TimestampUs(i64::MIN));
        assert_eq!(kept_since(Some(3), TimestampUs(-1)), TimestampUs(-4 * DAY_US));
    }

    fn retention() -> impl Strategy<Value = StreamRetention> {
        let days = || proptest::option::of(1..=5_u32);
        (days(), days(), days(), days()).prop_map(|(raw, quarter, hour, day)| StreamRetention {
            raw_days: raw,
            rollup_15m_days: quarter,
            rollup_1h_days: hour,
            rollup_1d_days: day,
        })
    }

    proptest! {
        #[test]
        fn the_longest_of_two_is_the_least_that_keeps_both(
            a in retention(),
            b in retention(),
            c in retention(),
        ) {
            let both = a.longest(&b);
            prop_assert!(both.keeps_at_least(&a) && both.keeps_at_least(&b));
            if c.keeps_at_least(&a) && c.keeps_at_least(&b) {
                prop_assert!(c.keeps_at_least(&both));
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            drop(RetentionDocument::decode(&bytes));
        }
    }
}
