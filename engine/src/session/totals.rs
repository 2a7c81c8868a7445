//! What sessions add up to, bucket by bucket.

use super::chain::Chain;
use crate::time::Buckets;

/// What the sessions of one bucket add up to.
///
/// A session of more than 24 hours is followed until its duration and its being a bounce are settled:
/// `events`, `pages` and `actions` count what was read of it, which is at least that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionTotals {
    /// Sessions that started in the bucket.
    pub started: u64,
    /// Of those, the ones where the user did exactly one thing.
    pub bounces: u64,
    /// The whole durations of those that started in the bucket.
    pub duration_us: i64,
    /// Events of those that started in the bucket.
    pub events: u64,
    /// Their pages.
    pub pages: u64,
    /// Their actions.
    pub actions: u64,
    /// Time of any session inside the bucket.
    pub allocated_us: i64,
}

/// The totals of each bucket. A session begun before the first bucket adds allocated time alone.
pub fn totals<'a>(chains: impl IntoIterator<Item = &'a Chain>, buckets: &Buckets) -> Vec<SessionTotals> {
    let mut out = vec![SessionTotals::default(); buckets.len()];
    let mut near = buckets.near();
    for chain in chains {
        if let Some((index, range)) = near.of(chain.first)
            && let Some(total) = out.get_mut(index)
        {
            let duration_us = chain.duration_us();
            total.started += 1;
            total.bounces += u64::from(chain.is_bounce());
            total.duration_us += duration_us;
            total.events += u64::from(chain.events);
            total.pages += u64::from(chain.pages);
            total.actions += u64::from(chain.actions);
            // Most end in the bucket that they begin in.
            if chain.first.0.saturating_add(duration_us) <= range.end.0 {
                total.allocated_us += duration_us;
                continue;
            }
        }
        chain.allocate(buckets, |index, us| {
            if let Some(total) = out.get_mut(index) {
                total.allocated_us += us;
            }
        });
    }
    out
}

impl std::ops::SubAssign for SessionTotals {
    fn sub_assign(&mut self, other: Self) {
        self.started -= other.started;
        self.bounces -= other.bounces;
        self.duration_us -= other.duration_us;
        self.events -= other.events;
        self.pages -= other.pages;
        self.actions -= other.actions;
        self.allocated_us -= other.allocated_us;
    }
}

impl std::ops::AddAssign for SessionTotals {
    fn add_assign(&mut self, other: Self) {
        self.started += other.started;
        self.bounces += other.bounces;
        self.duration_us += other.duration_us;
        self.events += other.events;
        self.pages += other.pages;
        self.actions += other.actions;
        self.allocated_us += other.allocated_us;
    }
}
