//! Cells from their bytes, whose layout `cells_format` has: nothing is believed before it is checked, and no
//! memory is taken before it is counted.

use super::cells::{Cells, KeyColumn, SetList, StateColumn};
use super::cells_format::{
    Beside, CELLS_MAX, KEY_TEXT_BYTES_MAX, Layout, MAX_BESIDE, MIN_BESIDE, SUM_BESIDE, VALUES_MAX, spaces,
};
use super::cells_memory::{Allowance, MEMORY_BYTES_MAX};
use super::histogram::{Head, HistogramList};
use crate::codec::{
    Cursor, Decoded, Malformed, decode_codes, decode_floats, decode_ints, take_block, unzigzag,
};
use crate::id::TenantNo;
use crate::query::{Aggregate, KeyValue, Latest, Sum};
use crate::schema::{IdentityKind, NULL_CODE};
use crate::time::DAY_US;

/// Cells from their bytes.
///
/// # Errors
///
/// [`Malformed`] when `bytes` are anything else.
pub(crate) fn decode(bytes: &[u8], layout: Layout<'_>) -> Decoded<Cells> {
    decode_within(bytes, layout, MEMORY_BYTES_MAX)
}

/// Cells from their bytes, when they need no more than so many bytes of memory; it is counted before it is
/// taken.
///
/// # Errors
///
/// Those of [`decode`].
pub(super) fn decode_within(bytes: &[u8], layout: Layout<'_>, memory_bytes_max: usize) -> Decoded<Cells> {
    let allowance = Allowance::new(memory_bytes_max);
    let mut reader = Reader { cursor: Cursor::new(bytes), layout, allowance };
    let series = reader.cursor.len(CELLS_MAX)?;
    let len = reader.cursor.len(CELLS_MAX)?;
    let keys = layout.definition.keys.len() + usize::from(layout.definition.numbers_tenants());
    reader.allowance.cells((series, keys), len, layout.aggregates())?;
    let mut cells = Cells::default();
    for _ in &layout.definition.keys {
        cells.keys.push(reader.key(series)?);
    }
    if layout.definition.numbers_tenants() {
        cells.keys.push(reader.key(series)?);
        let numbers = cells.keys.last().and_then(KeyColumn::codes).unwrap_or(&[]);
        if numbers.len() != series || !numbers.is_sorted() {
            return Err(Malformed("tenants out of order"));
        }
    }
    let lens = reader.ints(series)?;
    cells.ends = ends(&lens, len)?;
    if lens.contains(&0) {
        return Err(Malformed("a series without cells"));
    }
    let slots_max = DAY_US / layout.tier.width_us();
    for slot in reader.ints(len)? {
        match u8::try_from(slot) {
            Ok(slot) if i64::from(slot) < slots_max => cells.slots.push(slot),
            _ => return Err(Malformed("an interval outside of its day")),
        }
    }
    let ascends =
        |s: usize| cells.slots.get(cells.of_series(s)).is_some_and(|slots| slots.is_sorted_by(|a, b| a < b));
    if !(0..series).all(ascends) {
        return Err(Malformed("intervals of a series out of order"));
    }
    cells.counts = reader.ints(len)?;
    for aggregate in layout.aggregates() {
        let state = reader.state(&cells, aggregate)?;
        cells.states.push(state);
    }
    reader.cursor.end()?;
    Ok(cells)
}

/// Running ends of lengths that add up to `total`.
fn ends(lens: &[u64], total: usize) -> Decoded<Vec<u32>> {
    let mut end = 0_u64;
    let mut out = Vec::with_capacity(lens.len());
    for len in lens {
        end = end.saturating_add(*len);
        out.push(u32::try_from(end).map_err(|_| Malformed("lengths that are too large"))?);
    }
    if end == total as u64 { Ok(out) } else { Err(Malformed("lengths that do not add up")) }
}

struct Reader<'a, 'l> {
    cursor: Cursor<'a>,
    layout: Layout<'l>,
    /// What may still be allocated.
    allowance: Allowance,
}

impl<'a> Reader<'a, '_> {
    fn column(&mut self) -> Decoded<&'a [u8]> {
        take_block(&mut self.cursor)
    }

    fn ints(&mut self, rows: usize) -> Decoded<Vec<u64>> {
        decode_ints(self.column()?, rows)
    }

    fn floats(&mut self, rows: usize) -> Decoded<Vec<f64>> {
        decode_floats(self.column()?, rows)
    }

    fn flag(&mut self) -> Decoded<bool> {
        match self.cursor.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a byte that is neither 0 nor 1")),
        }
    }

    fn key(&mut self, series: usize) -> Decoded<KeyColumn> {
        if !self.flag()? {
            return Ok(KeyColumn::Codes(decode_codes(self.column()?, series)?));
        }
        let count = self.cursor.len(series)?;
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(self.value()?);
        }
        if !values.is_sorted_by(|a, b| a < b) {
            return Err(Malformed("keys out of order"));
        }
        let places = decode_codes(self.column()?, series)?;
        if places.iter().any(|p| *p != NULL_CODE && *p as usize >= count) {
            return Err(Malformed("a key without a value"));
        }
        Ok(KeyColumn::Values { values, places })
    }

    fn value(&mut self) -> Decoded<KeyValue> {
        Ok(match self.cursor.u8()? {
            1 => KeyValue::Bool(self.flag()?),
            2 => KeyValue::I64(unzigzag(self.cursor.varint()?)),
            3 => KeyValue::U64(self.cursor.varint()?),
            4 => KeyValue::F64(u64::from_le_bytes(self.cursor.array()?)),
            5 => {
                let len = self.cursor.len(KEY_TEXT_BYTES_MAX)?;
                let text = std::str::from_utf8(self.cursor.take(len)?);
                KeyValue::Str(text.map_err(|_| Malformed("a key that is no text"))?.into())
            }
            _ => return Err(Malformed("an unknown kind of key")),
        })
    }

    fn state(&mut self, cells: &Cells, aggregate: &Aggregate) -> Decoded<StateColumn> {
        let len = cells.len();
        Ok(match aggregate {
            Aggregate::Sum(_) => {
                let (sums, lost) = (self.floats(len)?, self.floats(len)?);
                let values = if self.flag()? { cells.counts.clone() } else { self.ints(len)? };
                let sums = sums.into_iter().zip(lost).map(|(sum, lost)| Sum::from_parts(sum, lost));
                StateColumn::Sum(sums.zip(values).collect())
            }
            Aggregate::Min(_) => StateColumn::Min(self.floats(len)?),
            Aggregate::Max(_) => StateColumn::Max(self.floats(len)?),
            Aggregate::Last(_) => StateColumn::Last(self.latest(cells)?),
            Aggregate::Quantile(..) => StateColumn::Histogram(self.histograms(cells, aggregate)?),
            Aggregate::CountIf(_) => StateColumn::CountIf(self.ints(len)?),
            Aggregate::Distinct(field) => {
                let spaces = spaces(self.layout.definition, field);
                let lists = spaces.into_iter().map(|space| self.sets(space, len));
                StateColumn::Distinct(lists.collect::<Decoded<_>>()?)
            }
            Aggregate::Count | Aggregate::Avg(_) | Aggregate::QuantileExact(..) => {
                return Err(Malformed("a state that cells cannot keep"));
            }
        })
    }

    fn latest(&mut self, cells: &Cells) -> Decoded<Vec<Option<Latest>>> {
        let len = cells.len();
        let (since, lsns, seqs) = (self.ints(len)?, self.ints(len)?, self.ints(len)?);
        let values = self.floats(len)?;
        let width = self.layout.tier.width_us().unsigned_abs();
        let mut out = Vec::with_capacity(len);
        for (((since, lsn), (seq, value)), slot) in
            since.into_iter().zip(lsns).zip(seqs.into_iter().zip(values)).zip(&cells.slots)
        {
            let Some(since) = since.checked_sub(1) else {
                out.push(None);
                continue;
            };
            if since >= width {
                return Err(Malformed("a latest value outside of its interval"));
            }
            let time = self.layout.start_of(*slot) + since.cast_signed();
            out.push(Some(Latest { time, lsn, seq, value }));
        }
        Ok(out)
    }

    fn histograms(&mut self, cells: &Cells, aggregate: &Aggregate) -> Decoded<HistogramList> {
        let len = cells.len();
        let flags = self.cursor.u8()?;
        let zeroes = self.ints(len)?;
        let (positive, negative) = (self.ints(len)?, self.ints(len)?);
        let total = positive.iter().chain(&negative).fold(0_u64, |sum, n| sum.saturating_add(*n));
        let total = usize::try_from(total).ok().filter(|n| *n <= VALUES_MAX);
        let total = total.ok_or(Malformed("too many buckets"))?;
        self.allowance.buckets(total)?;
        let (indexes, counts) = (self.ints(total)?, self.ints(total)?);
        let beside = Beside::of(aggregate, self.layout, &cells.states);
        let of_sums = |list: &[(Sum, u64)]| list.iter().map(|(sum, _)| sum.total()).collect::<Vec<_>>();
        let mut numbers = |flag: u8, there: Option<Vec<f64>>| match there {
            Some(there) if flags & flag != 0 => Ok(there),
            _ if flags & flag != 0 => Err(Malformed("a histogram without its other states")),
            _ => self.floats(len),
        };
        let sums = numbers(SUM_BESIDE, beside.sum.map(of_sums))?;
        let mins = numbers(MIN_BESIDE, beside.min.map(<[f64]>::to_vec))?;
        let maxes = numbers(MAX_BESIDE, beside.max.map(<[f64]>::to_vec))?;
        let mut buckets = indexes.into_iter().zip(counts);
        let mut out = HistogramList::with_capacity(len, total);
        let mut room = Vec::new();
        for ((zero, (positive, negative)), (sum, (min, max))) in zeroes
            .into_iter()
            .zip(positive.into_iter().zip(negative))
            .zip(sums.into_iter().zip(mins.into_iter().zip(maxes)))
        {
            let head = Head { zero, count: 0, sum, min, max };
            let pushed = out.push_parts(head, (positive, negative), &mut buckets, &mut room);
            pushed.map_err(|_| Malformed("a histogram whose parts do not fit"))?;
        }
        out.shrink();
        Ok(out)
    }

    fn sets(&mut self, kind: Option<IdentityKind>, cells: usize) -> Decoded<SetList> {
        let mut list = SetList::new(kind);
        let mut sets = cells;
        self.allowance.space(cells)?;
        if self.flag()? {
            let lens = self.ints(cells)?;
            let total = lens.iter().fold(0_u64, |sum, n| sum.saturating_add(*n));
            sets =
                usize::try_from(total).ok().filter(|n| *n <= VALUES_MAX).ok_or(Malformed("too many sets"))?;
            self.allowance.sets(sets)?;
            let ends = ends(&lens, sets)?;
            let tenant =
                |t: u64| u32::try_from(t).map(TenantNo).map_err(|_| Malformed("a tenant above 32 bits"));
            let tenants = self.ints(sets)?.into_iter().map(tenant).collect::<Decoded<_>>()?;
            list.of_tenants = Some((ends, tenants));
        } else {
            self.allowance.sets(sets)?;
        }
        let lens = self.ints(sets)?;
        let total = lens.iter().fold(0_u64, |sum, n| sum.saturating_add(*n));
        let total = usize::try_from(total)
            .ok()
            .filter(|n| *n <= VALUES_MAX)
            .ok_or(Malformed("sets that are too large"))?;
        self.allowance.values(total, kind.is_some())?;
        if kind.is_none() {
            let bytes =
                self.cursor.take(total.checked_mul(16).ok_or(Malformed("sets that are too large"))?)?;
            let (hashes, _) = bytes.as_chunks::<16>();
            let mut hashes = hashes.iter().map(|h| u128::from_le_bytes(*h));
            for len in lens {
                let set: Vec<u128> =
                    hashes.by_ref().take(usize::try_from(len).unwrap_or(usize::MAX)).collect();
                if !set.is_sorted_by(|a, b| a < b) {
                    return Err(Malformed("hashes of a set out of order"));
                }
                list.push_hashes(&set);
            }
            list.shrink();
            return Ok(list);
        }
        let mut gaps = self.ints(total)?.into_iter();
        let mut codes = Vec::new();
        for len in lens {
            codes.clear();
            let mut next = 0_u64;
            for gap in gaps.by_ref().take(usize::try_from(len).unwrap_or(usize::MAX)) {
                let code = next.saturating_add(gap);
                match u32::try_from(code) {
                    Ok(code) if code < NULL_CODE - 1 => codes.push(code),
                    _ => return Err(Malformed("a code above 32 bits")),
                }
                next = code + 1;
            }
            list.push_codes(&codes);
        }
        list.shrink();
        Ok(list)
    }
}
