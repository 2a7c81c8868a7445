//! Cells as bytes: one blob for each tenant, definition and tier of a day. `cells_decode` reads them.
//!
//! The bytes are described in `docs/format/cells.md`.

use super::cells::{Cells, KeyColumn, SetList, SetRef, StateColumn};
use super::definition::RollupDefinition;
use super::histogram::HistogramList;
use super::tier::Tier;
use crate::codec::{encode_codes, encode_floats, encode_ints, put_block, put_varint, zigzag};
use crate::query::{Aggregate, Field, KeyValue, Latest, Sum};
use crate::schema::{ColumnType, IdentityKind, Schema};
use crate::time::DAY_US;

/// Most cells of one blob.
pub(crate) const CELLS_MAX: usize = 1 << 20;
/// Most values of all sets of one space, and most buckets of all histograms, of one blob.
pub(crate) const VALUES_MAX: usize = 1 << 24;
/// Most bytes of a text that is a key; a row with a longer one keeps its run from having such cells.
pub(crate) const KEY_TEXT_BYTES_MAX: usize = 64 << 10;

pub(super) const SUM_BESIDE: u8 = 1;
pub(super) const MIN_BESIDE: u8 = 2;
pub(super) const MAX_BESIDE: u8 = 4;

/// What is known of cells before they are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout<'a> {
    /// What they are of.
    pub(crate) definition: &'a RollupDefinition,
    /// At which tier; the definition is declared there.
    pub(crate) tier: Tier,
    /// On which UTC day.
    pub(crate) day: i32,
}

impl<'a> Layout<'a> {
    /// The aggregates of the definition at the tier.
    pub(crate) fn aggregates(&self) -> &'a [Aggregate] {
        self.definition.aggregates(self.tier).unwrap_or(&[])
    }

    /// The start of an interval.
    pub(super) fn start_of(&self, slot: u8) -> i64 {
        i64::from(self.day) * DAY_US + i64::from(slot) * self.tier.width_us()
    }

    fn beside(&self, field: &Field, kind: fn(&Field) -> Aggregate) -> Option<usize> {
        let wanted = kind(field);
        self.aggregates().iter().position(|a| *a == wanted)
    }
}

/// The spaces of the distinct values of a field: a code space each, and one for text.
pub(crate) fn spaces(definition: &RollupDefinition, field: &Field) -> Vec<Option<IdentityKind>> {
    fn add(definition: &RollupDefinition, field: &Field, out: &mut Vec<Option<IdentityKind>>) {
        match field {
            Field::FirstOf(fields) => fields.iter().for_each(|f| add(definition, f, out)),
            Field::Column(id) => {
                let ty = Schema::of(definition.stream).get(*id).map(|def| def.ty);
                let space = if let Some(ColumnType::Code(kind)) = ty { Some(kind) } else { None };
                if !out.contains(&space) {
                    out.push(space);
                }
            }
            Field::Path(..) | Field::Tenant => {}
        }
    }
    let mut out = Vec::new();
    add(definition, field, &mut out);
    out
}

fn put_ints(values: impl Iterator<Item = u64>, out: &mut Vec<u8>) {
    let values: Vec<u64> = values.collect();
    put_block(|out| encode_ints(&values, out), out);
}

fn put_floats(values: impl Iterator<Item = f64>, out: &mut Vec<u8>) {
    let values: Vec<f64> = values.collect();
    put_block(|out| encode_floats(&values, out), out);
}

/// The bytes of some cells.
pub(crate) fn encode(cells: &Cells, layout: Layout<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(cells.series() as u64, &mut out);
    put_varint(cells.len() as u64, &mut out);
    for key in &cells.keys {
        put_key(key, &mut out);
    }
    put_ints((0..cells.series()).map(|s| cells.of_series(s).len() as u64), &mut out);
    put_ints(cells.slots.iter().map(|s| u64::from(*s)), &mut out);
    put_ints(cells.counts.iter().copied(), &mut out);
    for (at, (state, aggregate)) in cells.states.iter().zip(layout.aggregates()).enumerate() {
        // A state may share numbers with those before it: they are read first.
        let beside = Beside::of(aggregate, layout, cells.states.get(..at).unwrap_or(&[]));
        put_state(cells, state, &beside, layout, &mut out);
    }
    out
}

fn put_key(key: &KeyColumn, out: &mut Vec<u8>) {
    match key {
        KeyColumn::Codes(codes) => {
            out.push(0);
            put_block(|out| encode_codes(codes, out), out);
        }
        KeyColumn::Values { values, places } => {
            out.push(1);
            put_varint(values.len() as u64, out);
            for value in values {
                put_value(value, out);
            }
            put_block(|out| encode_codes(places, out), out);
        }
    }
}

fn put_value(value: &KeyValue, out: &mut Vec<u8>) {
    match value {
        KeyValue::Bool(b) => out.extend_from_slice(&[1, u8::from(*b)]),
        KeyValue::I64(n) => {
            out.push(2);
            put_varint(zigzag(*n), out);
        }
        KeyValue::U64(n) => {
            out.push(3);
            put_varint(*n, out);
        }
        KeyValue::F64(bits) => {
            out.push(4);
            out.extend_from_slice(&bits.to_le_bytes());
        }
        KeyValue::Str(text) => {
            out.push(5);
            put_varint(text.len() as u64, out);
            out.extend_from_slice(text.as_bytes());
        }
        // No list of values has them: an absent key has no place.
        KeyValue::Absent | KeyValue::Bucket(_) => out.push(0),
    }
}

fn put_state(cells: &Cells, state: &StateColumn, beside: &Beside<'_>, layout: Layout<'_>, out: &mut Vec<u8>) {
    match state {
        StateColumn::Sum(list) => {
            put_floats(list.iter().map(|(sum, _)| sum.parts().0), out);
            put_floats(list.iter().map(|(sum, _)| sum.parts().1), out);
            let whole = list.iter().zip(&cells.counts).all(|((_, values), rows)| values == rows);
            out.push(u8::from(whole));
            if !whole {
                put_ints(list.iter().map(|(_, values)| *values), out);
            }
        }
        StateColumn::Min(list) | StateColumn::Max(list) => put_floats(list.iter().copied(), out),
        StateColumn::Last(list) => {
            let since = |(latest, slot): (&Option<Latest>, &u8)| {
                latest.map_or(0, |l| l.time.wrapping_sub(layout.start_of(*slot)).cast_unsigned() + 1)
            };
            put_ints(list.iter().zip(&cells.slots).map(since), out);
            put_ints(list.iter().map(|l| l.map_or(0, |l| l.lsn)), out);
            put_ints(list.iter().map(|l| l.map_or(0, |l| l.seq)), out);
            put_floats(list.iter().map(|l| l.map_or(0.0, |l| l.value)), out);
        }
        StateColumn::Histogram(list) => put_histograms(list, beside, out),
        StateColumn::CountIf(list) => put_ints(list.iter().copied(), out),
        StateColumn::Distinct(lists) => lists.iter().for_each(|list| put_sets(list, cells.len(), out)),
    }
}

fn put_histograms(list: &HistogramList, beside: &Beside<'_>, out: &mut Vec<u8>) {
    let flags = beside.flags(list);
    out.push(flags);
    put_ints(list.iter().map(|h| h.head.zero), out);
    put_ints(list.iter().map(|h| h.positive.len() as u64), out);
    put_ints(list.iter().map(|h| h.negative.len() as u64), out);
    let (mut indexes, mut counts) = (Vec::with_capacity(list.buckets()), Vec::with_capacity(list.buckets()));
    for side in list.iter().flat_map(|histogram| [histogram.positive, histogram.negative]) {
        let mut before = None;
        for (index, count) in side.iter() {
            indexes.push(match before {
                None => zigzag(i64::from(index)),
                Some(before) => u64::from(index.abs_diff(before)),
            });
            counts.push(count);
            before = Some(index);
        }
    }
    put_ints(indexes.into_iter(), out);
    put_ints(counts.into_iter(), out);
    if flags & SUM_BESIDE == 0 {
        put_floats(list.iter().map(|h| h.head.sum), out);
    }
    if flags & MIN_BESIDE == 0 {
        put_floats(list.iter().map(|h| h.min().unwrap_or(0.0)), out);
    }
    if flags & MAX_BESIDE == 0 {
        put_floats(list.iter().map(|h| h.max().unwrap_or(0.0)), out);
    }
}

/// The states of the same field that a histogram shares numbers with.
#[derive(Debug, Default)]
pub(super) struct Beside<'a> {
    /// Sums, and of how many values.
    pub(super) sum: Option<&'a [(Sum, u64)]>,
    /// Least values.
    pub(super) min: Option<&'a [f64]>,
    /// Greatest values.
    pub(super) max: Option<&'a [f64]>,
}

impl<'a> Beside<'a> {
    /// The states before one of an aggregate.
    pub(super) fn of(aggregate: &Aggregate, layout: Layout<'_>, states: &'a [StateColumn]) -> Self {
        let Aggregate::Quantile(field, _) = aggregate else { return Self::default() };
        let state = |kind: fn(&Field) -> Aggregate| states.get(layout.beside(field, kind)?);
        Self {
            sum: match state(|f| Aggregate::Sum(f.clone())) {
                Some(StateColumn::Sum(list)) => Some(list),
                _ => None,
            },
            min: match state(|f| Aggregate::Min(f.clone())) {
                Some(StateColumn::Min(list)) => Some(list),
                _ => None,
            },
            max: match state(|f| Aggregate::Max(f.clone())) {
                Some(StateColumn::Max(list)) => Some(list),
                _ => None,
            },
        }
    }

    /// Which numbers are as in the other states: not where infinities are, which histograms leave out.
    fn flags(&self, list: &HistogramList) -> u8 {
        let same = |of: Option<f64>, there: f64| of.is_none_or(|n| n.to_bits() == there.to_bits());
        let mut flags = 0;
        if self.sum.is_some() {
            // The compensated sum is the better one, and quantiles need none.
            flags |= SUM_BESIDE;
        }
        if self.min.is_some_and(|there| list.iter().zip(there).all(|(h, n)| same(h.min(), *n))) {
            flags |= MIN_BESIDE;
        }
        if self.max.is_some_and(|there| list.iter().zip(there).all(|(h, n)| same(h.max(), *n))) {
            flags |= MAX_BESIDE;
        }
        flags
    }
}

fn put_sets(list: &SetList, cells: usize, out: &mut Vec<u8>) {
    out.push(u8::from(list.of_tenants.is_some()));
    if let Some((_, tenants)) = &list.of_tenants {
        put_ints((0..cells).map(|cell| list.of_cell(cell).len() as u64), out);
        put_ints(tenants.iter().map(|t| u64::from(t.0)), out);
    }
    let (mut lens, mut gaps, mut hashes) = (Vec::with_capacity(list.len()), Vec::new(), Vec::new());
    for set in (0..list.len()).filter_map(|set| list.get(set)) {
        if let SetRef::Hashes(of_set) = set {
            lens.push(of_set.len() as u64);
            for h in of_set {
                hashes.extend_from_slice(&h.to_le_bytes());
            }
            continue;
        }
        let codes = set.codes();
        lens.push(codes.len() as u64);
        let mut before: Option<u32> = None;
        for code in codes {
            gaps.push(u64::from(before.map_or(code, |before| code - before - 1)));
            before = Some(code);
        }
    }
    put_ints(lens.into_iter(), out);
    if list.kind.is_some() {
        put_ints(gaps.into_iter(), out);
    } else {
        out.append(&mut hashes);
    }
}
