//! The chains of one tenant and one UTC day as cells of every tier.

use super::cells::{FoldedSessions, OpenChain, day_start, slots_of};
use super::chain::{Chain, GAP_US};
use super::gather::Gather;
use crate::id::TenantNo;
use crate::rollup::Tier;
use crate::time::{DAY_US, TimeRange, TimestampUs};

/// The cells of a day, from the finest tier to the coarsest; the last one has the open chains.
pub(crate) type DayCells = [FoldedSessions; 3];

/// Folds the chains of a day, which are of one tenant and joined; `keys` are theirs by number.
///
/// # Panics
///
/// When a chain is of another tenant or reaches out of the day, which only a caller that gives rows of
/// other runs can cause.
pub(crate) fn fold_day(
    (tenant, day): (TenantNo, i32),
    classes: u64,
    gather: &Gather,
    keys: &[(TenantNo, u128)],
) -> DayCells {
    let start = day_start(day);
    let end = TimestampUs(start.0.saturating_add(DAY_US));
    let [mut quarter, mut hour, mut whole] = Tier::ALL.map(|tier| FoldedSessions::new(day, tier, classes));
    for piece in gather.pieces() {
        let chain = piece.chain;
        assert!(start <= chain.first && chain.last < end, "a chain of one day lies in it");
        if is_closed(&chain, start, end) {
            for cells in [&mut quarter, &mut hour, &mut whole] {
                add(cells, &chain, start);
            }
        } else {
            let key = usize::try_from(chain.key).ok().and_then(|number| keys.get(number));
            let Some((owner, key)) = key else { continue };
            assert!(*owner == tenant, "a day's cells are of one tenant");
            whole.open.push(OpenChain { tenant, key: *key, chain: Chain { key: 0, ..chain } });
        }
    }
    whole.open.sort_unstable_by_key(|o| (o.key, o.chain.first));
    [quarter, hour, whole]
}

/// Whether no event of another day can join a chain.
fn is_closed(chain: &Chain, start: TimestampUs, end: TimestampUs) -> bool {
    chain.first.0 - start.0 >= GAP_US && end.0 - chain.last.0 >= GAP_US
}

/// Adds a closed chain to the intervals that it starts in and lies in.
fn add(cells: &mut FoldedSessions, chain: &Chain, start: TimestampUs) {
    let width = cells.tier.width_us();
    let count = slots_of(cells.tier);
    let index_of = |at: TimestampUs| usize::try_from((at.0 - start.0) / width).unwrap_or(0).min(count - 1);
    let (first, last) = (index_of(chain.first), index_of(chain.last));
    let duration_us = chain.duration_us();
    let slot = cells.slot(first);
    slot.totals.started += 1;
    slot.totals.bounces += u64::from(chain.is_bounce());
    slot.totals.duration_us += duration_us;
    slot.totals.events += u64::from(chain.events);
    slot.totals.pages += u64::from(chain.pages);
    slot.totals.actions += u64::from(chain.actions);
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a day")]
    slot.durations.record(duration_us as f64);
    for index in first..=last {
        let from = start.0 + i64::try_from(index).unwrap_or(0) * width;
        let interval = TimeRange { start: TimestampUs(from), end: TimestampUs(from + width) };
        let slot = cells.slot(index);
        // A closed chain is shorter than a day: its duration is not capped.
        let inside = chain.last.min(interval.end).0 - chain.first.max(interval.start).0;
        slot.totals.allocated_us += inside.max(0);
        slot.crossing += u64::from(index > first);
    }
}
