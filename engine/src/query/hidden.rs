//! What no question sees: erased tenants, rows of erased users, rows that a tenant's retention has passed.

use std::sync::Arc;

use crate::catalog::policies::HiddenUser;
use crate::catalog::retention::kept_since;
use crate::catalog::{Policies, RetentionDocument, StreamRetention};
use crate::id::{Stream, TenantNo};
use crate::rollup::Tier;
use crate::time::{TimeRange, TimestampUs};

/// Who and what is hidden at one moment. The bytes may still be there.
#[derive(Debug, Clone)]
pub struct Hidden {
    policies: Arc<Policies>,
    now: TimestampUs,
    default: RetentionDocument,
    /// By stream: since when rows are kept of tenants that have no document.
    default_since: [TimestampUs; Stream::ALL.len()],
}

impl Default for Hidden {
    /// Nothing is hidden.
    fn default() -> Self {
        Self::new(Arc::default(), &RetentionDocument::default(), TimestampUs(0))
    }
}

impl Hidden {
    /// What is hidden at `now`; `default` counts for tenants without a document.
    pub fn new(policies: Arc<Policies>, default: &RetentionDocument, now: TimestampUs) -> Self {
        let default_since = Stream::ALL.map(|stream| kept_since(default.of(stream).raw_days, now));
        Self { policies, now, default: *default, default_since }
    }

    /// Whether a number is that of an erased tenant.
    pub fn is_retired(&self, tenant: TenantNo) -> bool {
        self.policies.is_retired(tenant)
    }

    /// The time of the first rows of a tenant's stream that are shown.
    pub fn kept_since(&self, tenant: TenantNo, stream: Stream) -> TimestampUs {
        match self.policies.document(tenant) {
            Some(document) => kept_since(document.of(stream).raw_days, self.now),
            None => {
                self.default_since.get(usize::from(stream.tag())).copied().unwrap_or(TimestampUs(i64::MIN))
            }
        }
    }

    /// Since when the cells of a tier are shown of a tenant's stream.
    pub fn cells_kept_since(&self, tenant: TenantNo, stream: Stream, tier: Tier) -> TimestampUs {
        kept_since(self.retention(tenant, stream).of_tier(tier), self.now)
    }

    /// Since when the cells of a tier are shown of every tenant: earlier ones are hidden of some.
    pub fn all_cells_kept_since(&self, stream: Stream, tier: Tier) -> TimestampUs {
        let [_, quarter, hour, day] = self.policies.shortest(stream);
        let shortest = match tier {
            Tier::Quarter => quarter,
            Tier::Hour => hour,
            Tier::Day => day,
        };
        kept_since(shortest, self.now).max(kept_since(self.default.of(stream).of_tier(tier), self.now))
    }

    /// How long a tenant's stream is kept.
    pub fn retention(&self, tenant: TenantNo, stream: Stream) -> &StreamRetention {
        self.policies.document(tenant).unwrap_or(&self.default).of(stream)
    }

    /// Whether cells of a tenant's stream are kept longer than the rows.
    pub(crate) fn cells_outlive_rows(&self, tenant: TenantNo, stream: Stream) -> bool {
        let of = self.retention(tenant, stream);
        let longer = |rows: u32| Tier::ALL.iter().any(|t| of.of_tier(*t).is_none_or(|cells| cells > rows));
        of.raw_days.is_some_and(longer)
    }

    /// Whether cells of a tenant (`None` is all tenants together) over rows from `start` on say what its
    /// shown rows say: no erasure hides some of them, no limit has passed.
    pub fn cells_hold(
        &self,
        tenant: Option<TenantNo>,
        stream: Stream,
        tier: Tier,
        start: TimestampUs,
    ) -> bool {
        match tenant {
            Some(tenant) => {
                !self.hides_rows_of(tenant) && self.cells_kept_since(tenant, stream, tier) <= start
            }
            None => !self.hides_rows() && self.all_cells_kept_since(stream, tier) <= start,
        }
    }

    /// Whether any tenant may have a limit.
    pub(crate) fn has_limits(&self) -> bool {
        Stream::ALL.into_iter().any(|stream| {
            let both = [self.default.of(stream).limits(), self.policies.shortest(stream)];
            both.as_flattened().iter().any(Option::is_some)
        })
    }

    /// Bytes that change whenever something else is hidden.
    pub(crate) fn version(&self) -> [u8; 16] {
        let mut out = [0; 16];
        let (revision, day) = out.split_at_mut(8);
        revision.copy_from_slice(&self.policies.revision().to_le_bytes());
        if self.has_limits() {
            day.copy_from_slice(&i64::from(self.now.day()).to_le_bytes());
        }
        out
    }

    /// A number that is another one after each erasure and each change of a limit.
    pub(crate) fn revision(&self) -> u64 {
        self.policies.revision()
    }

    /// The part of a window whose rows are shown.
    pub(crate) fn window(&self, tenant: TenantNo, stream: Stream, window: TimeRange) -> TimeRange {
        let start = window.start.max(self.kept_since(tenant, stream)).min(window.end);
        TimeRange { start, end: window.end }
    }

    /// The users of a tenant whose rows are hidden.
    pub(crate) fn users(&self, tenant: TenantNo) -> &[HiddenUser] {
        self.policies.hidden_users(tenant)
    }

    /// Whether an erasure hides rows of a tenant: what was counted over all its rows does not hold.
    pub fn hides_rows_of(&self, tenant: TenantNo) -> bool {
        self.is_retired(tenant) || !self.users(tenant).is_empty()
    }

    /// Whether an erasure hides rows of any tenant: what was counted over all tenants does not hold.
    pub fn hides_rows(&self) -> bool {
        self.policies.hides_rows()
    }
}
