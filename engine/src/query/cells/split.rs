//! Cuts the time of a run into intervals of cells and what is left to rows; pure.

use crate::query::group::NO_GROUP;
use crate::rollup::Tier;
use crate::time::{Buckets, DAY_US, TimeRange, TimestampUs};

/// Most intervals of a tier within a day.
pub(crate) const SLOTS_MAX: usize = 96;

/// How one run is answered.
#[derive(Debug, Default)]
pub(crate) struct Split {
    /// For each tier, from [`Tier::Quarter`] on, the intervals that are folded.
    pub(crate) tiers: [Slots; 3],
    /// The times that rows answer, in order, not touching each other.
    pub(crate) rows: Vec<TimeRange>,
}

/// Some intervals of one tier and day.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    /// By number of the interval a place of `buckets`; [`NO_GROUP`] where it is not folded. Empty for none.
    pub(crate) places: Vec<u32>,
    /// Which bucket of each of the question's lists of buckets.
    pub(crate) buckets: Vec<Vec<u32>>,
}

/// Where an interval lies.
enum Place {
    /// Outside of the window, or of the buckets: it does not count.
    Outside,
    /// Wholly inside, in these buckets.
    Inside(Vec<u32>),
    /// Across an edge.
    Cut,
}

/// What a question asks of time.
#[derive(Debug)]
pub(crate) struct Times<'q> {
    /// Its window.
    pub(crate) window: TimeRange,
    /// Its lists of buckets.
    pub(crate) buckets: Vec<&'q Buckets>,
}

impl Times<'_> {
    /// Where `[start, end)` lies.
    fn place(&self, range: TimeRange) -> Place {
        let window = self.window;
        if range.start >= range.end || range.end <= window.start || range.start >= window.end {
            return Place::Outside;
        }
        if range.start < window.start || range.end > window.end {
            return Place::Cut;
        }
        let mut places = Vec::with_capacity(self.buckets.len());
        for buckets in &self.buckets {
            match buckets.index_of(range.start) {
                Some(bucket) if buckets.get(bucket).is_some_and(|b| range.end <= b.end) => {
                    places.push(u32::try_from(bucket).unwrap_or(NO_GROUP));
                }
                // Rows outside of all buckets are left out one by one.
                _ => return Place::Cut,
            }
        }
        Place::Inside(places)
    }

    /// Splits the rows of a UTC day between `min` and `max` over the tiers that `usable` says have cells.
    pub(crate) fn split(
        &self,
        day: i32,
        min: TimestampUs,
        max: TimestampUs,
        usable: &mut impl FnMut(Tier) -> bool,
    ) -> Split {
        let mut out = Split::default();
        let start = i64::from(day).saturating_mul(DAY_US);
        let all = TimeRange { start: TimestampUs(start), end: TimestampUs(start.saturating_add(DAY_US)) };
        // What no row is in need not be whole.
        let rows = TimeRange { start: min, end: TimestampUs(max.0.saturating_add(1)) };
        self.tier(all, rows, start, &Tier::ALL, usable, &mut out);
        out
    }

    /// Splits a range that intervals of the last of `tiers` fill.
    fn tier(
        &self,
        range: TimeRange,
        rows: TimeRange,
        day: i64,
        tiers: &[Tier],
        usable: &mut impl FnMut(Tier) -> bool,
        out: &mut Split,
    ) {
        let Some((tier, finer)) = tiers.split_last() else {
            return out.add_rows(cut(cut(range, rows), self.window));
        };
        // Asked only where it matters: to know costs a look into a file.
        if matches!(self.place(cut(range, rows)), Place::Outside) {
            return;
        }
        if !usable(*tier) {
            return self.tier(range, rows, day, finer, usable, out);
        }
        let mut at = range.start.0;
        while at < range.end.0 {
            let slot = TimeRange { start: TimestampUs(at), end: TimestampUs(at + tier.width_us()) };
            match self.place(cut(slot, rows)) {
                Place::Outside => {}
                Place::Inside(buckets) => out.add_slot(*tier, (at - day) / tier.width_us(), buckets),
                Place::Cut => self.tier(slot, rows, day, finer, usable, out),
            }
            at = slot.end.0;
        }
    }
}

fn cut(range: TimeRange, to: TimeRange) -> TimeRange {
    TimeRange { start: range.start.max(to.start), end: range.end.min(to.end) }
}

impl Split {
    fn add_rows(&mut self, range: TimeRange) {
        if range.start >= range.end {
            return;
        }
        match self.rows.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.rows.push(range),
        }
    }

    fn add_slot(&mut self, tier: Tier, slot: i64, buckets: Vec<u32>) {
        let Some(slots) = self.tiers.get_mut(tier as usize) else { return };
        let place = match slots.buckets.last() {
            Some(last) if *last == buckets => slots.buckets.len() - 1,
            _ => {
                slots.buckets.push(buckets);
                slots.buckets.len() - 1
            }
        };
        slots.places.resize(SLOTS_MAX, NO_GROUP);
        if let Some(slot) = usize::try_from(slot).ok().and_then(|slot| slots.places.get_mut(slot)) {
            *slot = u32::try_from(place).unwrap_or(NO_GROUP);
        }
    }
}
