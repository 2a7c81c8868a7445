//! What the sessions of one UTC day add up to by interval, and the chains that its neighbours may join.
//!
//! A chain is closed when no event outside of its day can join it: it begins half an hour after the
//! day does, or later, and ends half an hour before its end, or earlier. Closed chains are sums; the
//! other ones are kept each, with the key that they go on under. Lists of open chains are in the cells
//! of the day tier alone.
//!
//! The bytes are described in `docs/format/sessions.md`.

use super::chain::{Chain, NO_USER};
use super::totals::SessionTotals;
use crate::codec::{Cursor, Decoded, Malformed, put_varint};
use crate::id::TenantNo;
use crate::rollup::{Histogram, Tier};
use crate::time::{DAY_US, TimestampUs};

/// The version that [`FoldedSessions::encode`] writes.
const VERSION: u8 = 1;

/// Fewest bytes that an open chain takes: its key and eight numbers.
const OPEN_BYTES_MIN: usize = 24;

/// The sessions of one UTC day, or what has no neighbours of them by interval and the rest each.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FoldedSessions {
    /// The day, in days since 1970.
    pub(crate) day: i32,
    /// How long the intervals are.
    pub(crate) tier: Tier,
    /// A hash of what told events apart.
    pub(crate) classes: u64,
    /// The intervals that have numbers, ascending.
    pub(crate) slots: Vec<Slot>,
    /// The open chains, sorted by (tenant, key, first); only at the day tier.
    pub(crate) open: Vec<OpenChain>,
}

/// What the closed chains of one interval add up to.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Slot {
    /// The interval, from 0 at the start of the day.
    pub(crate) index: usize,
    /// Chains that begin before the interval and end in it or later.
    pub(crate) crossing: u64,
    /// What those that start in it add up to, and the time that any has in it.
    pub(crate) totals: SessionTotals,
    /// The durations of those that start in it, in microseconds.
    pub(crate) durations: Histogram,
}

/// A chain that events of another day may join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenChain {
    /// Whose it is.
    pub(crate) tenant: TenantNo,
    /// Its key within the tenant, see [`super::key`].
    pub(crate) key: u128,
    /// The chain; its own key is 0.
    pub(crate) chain: Chain,
}

impl OpenChain {
    fn order(&self) -> (TenantNo, u128, TimestampUs) {
        (self.tenant, self.key, self.chain.first)
    }
}

impl Slot {
    /// Adds what another set of chains has in the same interval.
    pub(crate) fn absorb(&mut self, other: &Self) {
        self.crossing += other.crossing;
        self.totals += other.totals;
        self.durations.merge(&other.durations);
    }
}

impl FoldedSessions {
    /// Nothing yet.
    pub(crate) fn new(day: i32, tier: Tier, classes: u64) -> Self {
        Self { day, tier, classes, slots: Vec::new(), open: Vec::new() }
    }

    /// The slot of an interval, made when it is not there.
    pub(crate) fn slot(&mut self, index: usize) -> &mut Slot {
        let at = self.slots.partition_point(|slot| slot.index < index);
        if self.slots.get(at).is_none_or(|slot| slot.index != index) {
            self.slots.insert(at, Slot { index, ..Slot::default() });
        }
        #[expect(clippy::indexing_slicing, reason = "it is there, or was just inserted")]
        &mut self.slots[at]
    }

    /// Adds the sessions of other tenants of the same day and tier.
    pub(crate) fn absorb(&mut self, other: &Self) {
        debug_assert_eq!((self.day, self.tier, self.classes), (other.day, other.tier, other.classes));
        for slot in &other.slots {
            self.slot(slot.index).absorb(slot);
        }
        let sorted = match (self.open.last(), other.open.first()) {
            (Some(last), Some(first)) => last.order() <= first.order(),
            _ => true,
        };
        self.open.extend_from_slice(&other.open);
        if !sorted {
            self.sort_open();
        }
    }

    /// Puts the open chains in their order after keys have changed.
    pub(crate) fn sort_open(&mut self) {
        self.open.sort_unstable_by_key(OpenChain::order);
    }

    /// The bytes, as the format has them.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, self.tier as u8];
        out.extend_from_slice(&self.day.to_le_bytes());
        out.extend_from_slice(&self.classes.to_le_bytes());
        put_varint(self.slots.len() as u64, &mut out);
        let mut before = 0;
        for slot in &self.slots {
            put_varint((slot.index - before) as u64, &mut out);
            before = slot.index;
        }
        let columns: [fn(&Slot) -> u64; 8] = [
            |s| s.totals.started,
            |s| s.crossing,
            |s| s.totals.bounces,
            |s| s.totals.duration_us.unsigned_abs(),
            |s| s.totals.events,
            |s| s.totals.pages,
            |s| s.totals.actions,
            |s| s.totals.allocated_us.unsigned_abs(),
        ];
        for column in columns {
            self.slots.iter().for_each(|slot| put_varint(column(slot), &mut out));
        }
        for slot in self.slots.iter().filter(|s| s.totals.started > 0) {
            encode_durations(&slot.durations, &mut out);
        }
        self.encode_open(&mut out);
        out
    }

    fn encode_open(&self, out: &mut Vec<u8>) {
        put_varint(self.open.len() as u64, out);
        let mut before = 0;
        for open in &self.open {
            put_varint(u64::from(open.tenant.0 - before), out);
            before = open.tenant.0;
        }
        self.open.iter().for_each(|o| out.extend_from_slice(&o.key.to_le_bytes()));
        let start = day_start(self.day);
        let columns: [fn(&Chain) -> u64; 6] = [
            |c| c.last.0.abs_diff(c.first.0),
            |c| u64::from(c.events),
            |c| u64::from(c.pages),
            |c| u64::from(c.actions),
            |c| u64::from(c.interactive),
            |c| u64::from(c.user.wrapping_add(1)),
        ];
        self.open.iter().for_each(|o| put_varint(o.chain.first.0.abs_diff(start.0), out));
        for column in columns {
            self.open.iter().for_each(|o| put_varint(column(&o.chain), out));
        }
    }

    /// Reads the bytes, as the format has them.
    ///
    /// # Errors
    ///
    /// When they are not what the layout says: every length is checked before memory is taken for it.
    pub(crate) fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut cursor = Cursor::new(bytes);
        if cursor.u8()? != VERSION {
            return Err(Malformed("sessions of an unknown version"));
        }
        let tier = usize::from(cursor.u8()?);
        let tier = *Tier::ALL.get(tier).ok_or(Malformed("sessions of an unknown tier"))?;
        let day = i32::from_le_bytes(cursor.array()?);
        let classes = cursor.u64()?;
        let slots = decode_slots(&mut cursor, tier)?;
        let open = decode_open(&mut cursor, day)?;
        cursor.end()?;
        Ok(Self { day, tier, classes, slots, open })
    }
}

/// What the sessions of one application are, in the cells of a tenant's applications.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AppSessions {
    /// It has none.
    None,
    /// Those of all events: the tenant has events of no other application.
    All,
    /// These.
    Own(FoldedSessions),
}

/// The bytes of the sessions of applications, by code ascending; each is cut from the events of its
/// application alone. `None` is [`AppSessions::All`].
pub(crate) fn encode_apps(apps: &[(u32, Option<&FoldedSessions>)]) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_varint(apps.len() as u64, &mut out);
    for (code, cells) in apps {
        put_varint(u64::from(*code), &mut out);
        let bytes = cells.map(FoldedSessions::encode).unwrap_or_default();
        put_varint(bytes.len() as u64, &mut out);
        out.extend_from_slice(&bytes);
    }
    out
}

/// The sessions of one application out of the bytes of [`encode_apps`].
///
/// # Errors
///
/// When the bytes are not what the layout says.
pub(crate) fn decode_app(bytes: &[u8], code: u32) -> Decoded<AppSessions> {
    let mut cursor = Cursor::new(bytes);
    if cursor.u8()? != VERSION {
        return Err(Malformed("sessions of an unknown version"));
    }
    let mut found = AppSessions::None;
    for _ in 0..cursor.len(cursor.rest().len() / 2)? {
        let this = cursor.varint()?;
        let len = cursor.len(cursor.rest().len())?;
        let bytes = cursor.take(len)?;
        if this == u64::from(code) {
            found =
                if len == 0 { AppSessions::All } else { AppSessions::Own(FoldedSessions::decode(bytes)?) };
        }
    }
    cursor.end()?;
    Ok(found)
}

/// The sessions of every application out of the bytes of [`encode_apps`], as that takes them.
///
/// # Errors
///
/// When the bytes are not what the layout says.
pub(crate) fn decode_apps(bytes: &[u8]) -> Decoded<Vec<(u32, Option<FoldedSessions>)>> {
    let mut cursor = Cursor::new(bytes);
    if cursor.u8()? != VERSION {
        return Err(Malformed("sessions of an unknown version"));
    }
    let mut apps: Vec<(u32, Option<FoldedSessions>)> = Vec::new();
    for _ in 0..cursor.len(cursor.rest().len() / 2)? {
        let code = u32::try_from(cursor.varint()?).map_err(|_| Malformed("a code above 32 bits"))?;
        if apps.last().is_some_and(|(before, _)| *before >= code) {
            return Err(Malformed("applications out of order"));
        }
        let len = cursor.len(cursor.rest().len())?;
        let bytes = cursor.take(len)?;
        let cells = if len == 0 { None } else { Some(FoldedSessions::decode(bytes)?) };
        apps.push((code, cells));
    }
    cursor.end()?;
    Ok(apps)
}

/// When a day starts.
pub(crate) fn day_start(day: i32) -> TimestampUs {
    TimestampUs(i64::from(day).saturating_mul(DAY_US))
}

/// How many intervals a day has.
pub(crate) fn slots_of(tier: Tier) -> usize {
    match tier {
        Tier::Quarter => 96,
        Tier::Hour => 24,
        Tier::Day => 1,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole microseconds of at most a day"
)]
fn encode_durations(durations: &Histogram, out: &mut Vec<u8>) {
    let (min, max) = (durations.min().unwrap_or(0.0) as u64, durations.max().unwrap_or(0.0) as u64);
    put_varint(min, out);
    put_varint(max - min, out);
    let (zero, buckets) = durations.buckets();
    put_varint(zero, out);
    put_varint(buckets.len() as u64, out);
    let mut before = 0;
    for (index, count) in buckets {
        // A duration is a microsecond or more, so that the least index is -1.
        put_varint(u64::from((index + 1).abs_diff(before)), out);
        put_varint(*count, out);
        before = index + 1;
    }
}

fn decode_durations(cursor: &mut Cursor<'_>, started: u64, sum_us: i64) -> Decoded<Histogram> {
    const UNFIT: Malformed = Malformed("durations that do not fit their sessions");
    let min = cursor.varint()?;
    let max = min.checked_add(cursor.varint()?).filter(|max| *max <= DAY_US.unsigned_abs()).ok_or(UNFIT)?;
    let zero = cursor.varint()?;
    // A bucket takes two bytes at least.
    let len = cursor.len(cursor.rest().len() / 2)?;
    let mut buckets: Vec<(i32, u64)> = Vec::with_capacity(len);
    let mut before = 0_i32;
    for _ in 0..len {
        let delta = i32::try_from(cursor.varint()?).map_err(|_| UNFIT)?;
        before = before.checked_add(delta).ok_or(UNFIT)?;
        buckets.push((before - 1, cursor.varint()?));
    }
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a day; sums up to 2^53 are exact")]
    let (bounds, sum) = ((min as f64, max as f64), sum_us as f64);
    let durations = Histogram::from_buckets(zero, buckets, bounds, sum).ok_or(UNFIT)?;
    if durations.count() == started { Ok(durations) } else { Err(UNFIT) }
}

/// One number of each of `count` things.
fn column(cursor: &mut Cursor<'_>, count: usize) -> Decoded<Vec<u64>> {
    (0..count).map(|_| cursor.varint()).collect()
}

fn signed(n: u64) -> Decoded<i64> {
    i64::try_from(n).map_err(|_| Malformed("a time above its limit"))
}

fn decode_slots(cursor: &mut Cursor<'_>, tier: Tier) -> Decoded<Vec<Slot>> {
    let count = cursor.len(slots_of(tier))?;
    let mut slots: Vec<Slot> = Vec::with_capacity(count);
    for _ in 0..count {
        let delta = cursor.len(slots_of(tier))?;
        let index = match slots.last() {
            Some(before) if delta > 0 => before.index + delta,
            None => delta,
            Some(_) => return Err(Malformed("intervals that do not ascend")),
        };
        if index >= slots_of(tier) {
            return Err(Malformed("an interval after the end of the day"));
        }
        slots.push(Slot { index, ..Slot::default() });
    }
    let mut columns = [const { Vec::new() }; 8];
    for values in &mut columns {
        *values = column(cursor, count)?;
        // Sums of many days stay within their types.
        if values.iter().any(|n| *n > u64::MAX >> 16) {
            return Err(Malformed("a number of sessions above its limit"));
        }
    }
    let [started, crossing, bounces, durations, events, pages, actions, allocated] = &columns;
    for (row, slot) in slots.iter_mut().enumerate() {
        let at = |values: &[u64]| values.get(row).copied().unwrap_or(0);
        slot.crossing = at(crossing);
        slot.totals = SessionTotals {
            started: at(started),
            bounces: at(bounces),
            duration_us: signed(at(durations))?,
            events: at(events),
            pages: at(pages),
            actions: at(actions),
            allocated_us: signed(at(allocated))?,
        };
    }
    for slot in slots.iter_mut().filter(|s| s.totals.started > 0) {
        slot.durations = decode_durations(cursor, slot.totals.started, slot.totals.duration_us)?;
    }
    Ok(slots)
}

fn decode_open(cursor: &mut Cursor<'_>, day: i32) -> Decoded<Vec<OpenChain>> {
    const UNFIT: Malformed = Malformed("an open chain outside of its day");
    let count = cursor.len(cursor.rest().len() / OPEN_BYTES_MIN)?;
    let tenants = column(cursor, count)?;
    let mut keys = Vec::with_capacity(count);
    for _ in 0..count {
        keys.push(u128::from_le_bytes(cursor.array()?));
    }
    let start = day_start(day);
    let mut columns = [const { Vec::new() }; 7];
    for values in &mut columns {
        *values = column(cursor, count)?;
    }
    let at = |values: &[u64], row: usize| values.get(row).copied().unwrap_or(0);
    let small = |n: u64| u32::try_from(n).map_err(|_| Malformed("a number of events above its limit"));
    let [firsts, lengths, events, pages, actions, interactive, users] = &columns;
    let mut open = Vec::with_capacity(count);
    let mut tenant = 0_u32;
    for (row, key) in keys.into_iter().enumerate() {
        tenant = tenant.checked_add(small(at(&tenants, row))?).ok_or(UNFIT)?;
        let first = at(firsts, row);
        let last = first.checked_add(at(lengths, row)).filter(|n| *n < DAY_US.unsigned_abs()).ok_or(UNFIT)?;
        let chain = Chain {
            key: 0,
            first: TimestampUs(start.0.saturating_add(signed(first)?)),
            last: TimestampUs(start.0.saturating_add(signed(last)?)),
            events: small(at(events, row))?,
            pages: small(at(pages, row))?,
            actions: small(at(actions, row))?,
            interactive: small(at(interactive, row))?,
            user: small(at(users, row))?.wrapping_sub(1),
        };
        if chain.events == 0 {
            return Err(UNFIT);
        }
        open.push(OpenChain { tenant: TenantNo(tenant), key, chain });
    }
    if !open.is_sorted_by_key(|o| (o.tenant, o.key, o.chain.first)) {
        return Err(Malformed("open chains out of order"));
    }
    Ok(open)
}

const _: () = assert!(NO_USER.wrapping_add(1) == 0);

#[cfg(test)]
#[path = "cells_tests.rs"]
mod tests;
