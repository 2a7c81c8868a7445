//! A column that another one tells: the address, the browser and the user of a session are the same in all of
//! its rows, so they are written once for each session of the granule.
//!
//! The bytes are described in `docs/format/segment.md`.

use hashbrown::HashMap;

use super::columns::SegmentColumn;
use crate::codec::{
    self, Cursor, Decoded, Density, Malformed, Values, decode_ints, encode_ints_at, put_block, put_varint,
    take_block,
};
use crate::id::Stream;
use crate::schema::stream::{ACTION_TYPE, NAME, OBJECT_ID, SESSION_ID, USER_ID};
use crate::schema::{BytesColumn, ColumnId, ColumnVector, NULL_CODE, Schema};

/// The kind of a payload with one value a row.
pub(super) const PLAIN: u8 = 0;
/// The kind of a payload that another column tells.
pub(super) const TOLD: u8 = 1;
/// The kind of a payload of doubles in partitions.
pub(super) const PARTS: u8 = 2;

/// The columns that may tell others, in the order in which they may: of an event its session, then its user.
const TELLERS: [(Stream, &[ColumnId]); 3] = [
    (Stream::Events, &[SESSION_ID.id, USER_ID.id]),
    (Stream::Audit, &[USER_ID.id, ACTION_TYPE.id, OBJECT_ID.id]),
    (Stream::Metrics, &[NAME.id]),
];

/// A column is told when at most one row of so many is an exception.
const ROWS_PER_EXCEPTION: usize = 8;

/// The name of the encoding of a payload of values of this kind.
pub(super) fn encoding_name(values: Values, payload: &[u8]) -> &'static str {
    match payload {
        [TOLD, ..] => "told",
        [PARTS, ..] => "partitions",
        [_, payload @ ..] => codec::encoding_name(values, payload),
        [] => "unknown",
    }
}

/// The columns that may tell a column, best first.
pub(super) fn tellers_of(stream: Stream, column: ColumnId) -> &'static [ColumnId] {
    let all = TELLERS.iter().find(|(s, _)| *s == stream).map_or(&[][..], |(_, list)| list);
    let end = all.iter().position(|c| *c == column).unwrap_or(all.len());
    all.get(..end).unwrap_or(&[])
}

/// The rows of a granule by what one of its columns says.
#[derive(Debug)]
pub(super) struct Groups {
    /// Which column says it.
    pub(super) column: ColumnId,
    /// Of each row the number of what it says.
    pub(super) of_rows: Vec<u32>,
    /// How many different things it says.
    pub(super) count: usize,
}

/// Numbers keys by first sight, anew from each break on.
fn number<K: std::hash::Hash + Eq>(keys: impl Iterator<Item = K>, breaks: &[usize]) -> (Vec<u32>, usize) {
    let mut seen: HashMap<K, u32> = HashMap::new();
    let mut breaks = breaks.iter().peekable();
    let mut next = 0_u32;
    let mut out = Vec::new();
    for (row, key) in keys.enumerate() {
        if breaks.next_if_eq(&&row).is_some() {
            seen.clear();
        }
        out.push(*seen.entry(key).or_insert_with(|| {
            next += 1;
            next - 1
        }));
    }
    (out, next as usize)
}

/// Codes that a table of numbers may have for each row, before a hash is shorter.
const TABLE_CODES_A_ROW: usize = 8;

/// As [`number`], of codes: by a table where none of them is much greater than there are rows.
fn number_codes(codes: &[u32], breaks: &[usize]) -> (Vec<u32>, usize) {
    const UNSEEN: u32 = u32::MAX;
    // Absent becomes 0.
    let place = |code: u32| code.wrapping_add(1) as usize;
    let greatest = codes.iter().map(|code| place(*code)).max().unwrap_or(0);
    if greatest > codes.len() * TABLE_CODES_A_ROW {
        return number(codes.iter().copied(), breaks);
    }
    let mut numbers = vec![UNSEEN; greatest + 1];
    let mut out = Vec::with_capacity(codes.len());
    let mut next = 0_u32;
    let mut start = 0;
    for end in breaks.iter().copied().chain([codes.len()]) {
        let Some(stretch) = codes.get(start..end) else { continue };
        for code in stretch {
            let Some(number) = numbers.get_mut(place(*code)) else { continue };
            if *number == UNSEEN {
                *number = next;
                next += 1;
            }
            out.push(*number);
        }
        for code in stretch {
            if let Some(number) = numbers.get_mut(place(*code)) {
                *number = UNSEEN;
            }
        }
        start = end;
    }
    (out, next as usize)
}

impl Groups {
    /// The groups of rows that are written; `None` for a column that cannot tell.
    pub(super) fn written(
        stream: Stream,
        teller: ColumnId,
        columns: &[SegmentColumn],
        rows: std::ops::Range<usize>,
        breaks: &[usize],
    ) -> Option<Self> {
        let (of_rows, count) = match columns.get(Schema::of(stream).index_of(teller)?)? {
            SegmentColumn::Codes(codes) => number_codes(codes.get(rows)?, breaks),
            SegmentColumn::Bytes(column) => number(rows.map(|row| column.get(row)), breaks),
            SegmentColumn::I64(_) | SegmentColumn::U64(_) | SegmentColumn::F64(_) => return None,
        };
        Some(Self { column: teller, of_rows, count })
    }

    /// The groups of rows that were read.
    fn read(teller: ColumnId, vector: &ColumnVector, breaks: &[usize]) -> Decoded<Self> {
        let (of_rows, count) = match vector {
            ColumnVector::Codes(codes) | ColumnVector::Dict { codes, .. } => number_codes(codes, breaks),
            ColumnVector::Bytes(column) => number(column.iter(), breaks),
            _ => return Err(Malformed("a column that cannot tell another")),
        };
        Ok(Self { column: teller, of_rows, count })
    }

    /// The first row of each group.
    fn firsts(&self) -> Vec<usize> {
        let mut firsts = Vec::with_capacity(self.count);
        for (row, group) in self.of_rows.iter().enumerate() {
            if *group as usize == firsts.len() {
                firsts.push(row);
            }
        }
        firsts
    }
}

/// The rows whose values a column tells, and those where it does not; `None` when there are too many of those.
pub(super) fn tell<T: PartialEq>(
    groups: &Groups,
    value: impl Fn(usize) -> T,
) -> Option<(Vec<usize>, Vec<usize>)> {
    let rows = groups.of_rows.len();
    let firsts = groups.firsts();
    // A group for every second row tells nothing.
    if firsts.len() * 2 > rows {
        return None;
    }
    let exceptions_max = rows / ROWS_PER_EXCEPTION;
    let mut exceptions = Vec::new();
    for (row, group) in groups.of_rows.iter().enumerate() {
        let first = firsts.get(*group as usize).copied().unwrap_or(row);
        if first != row && value(row) != value(first) {
            exceptions.push(row);
            if exceptions.len() > exceptions_max {
                return None;
            }
        }
    }
    Some((firsts, exceptions))
}

/// Writes what comes before the values of a told payload.
pub(super) fn put_head(kind: u8, groups: &Groups, breaks: &[usize], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(&groups.column.0.to_le_bytes());
    put_rows(breaks, out);
    put_varint(groups.count as u64, out);
}

/// Writes rows that ascend.
pub(super) fn put_rows(rows: &[usize], out: &mut Vec<u8>) {
    let mut last = 0;
    let mut gaps = Vec::with_capacity(rows.len());
    for row in rows {
        gaps.push((row - last) as u64);
        last = *row;
    }
    put_varint(rows.len() as u64, out);
    put_block(|block| encode_ints_at(&gaps, Density::Dense, block), out);
}

/// Reads rows below `rows` that ascend.
pub(super) fn take_rows(cursor: &mut Cursor<'_>, rows: usize) -> Decoded<Vec<usize>> {
    let count = cursor.len(rows)?;
    let mut row = 0_usize;
    let mut out = Vec::with_capacity(count);
    for (index, gap) in decode_ints(take_block(cursor)?, count)?.into_iter().enumerate() {
        let gap = usize::try_from(gap).unwrap_or(usize::MAX);
        row = row.saturating_add(gap);
        if row >= rows || (index > 0 && gap == 0) {
            return Err(Malformed("rows that do not ascend"));
        }
        out.push(row);
    }
    Ok(out)
}

/// Where a payload's telling column is read.
pub(super) trait Tell {
    /// The values of a column in the same granule.
    ///
    /// # Errors
    ///
    /// Damage of that column, as [`Malformed`].
    fn column(&self, column: ColumnId) -> Decoded<std::sync::Arc<ColumnVector>>;
    /// The columns that may tell the one at hand.
    fn tellers(&self) -> &'static [ColumnId];
}

/// Reads what [`put_head`] wrote after the kind, and the groups of the granule's `rows`.
pub(super) fn take_head(cursor: &mut Cursor<'_>, rows: usize, tell: &dyn Tell) -> Decoded<Groups> {
    let teller = ColumnId(cursor.u16()?);
    if !tell.tellers().contains(&teller) {
        return Err(Malformed("told by a column that may not"));
    }
    let breaks = take_rows(cursor, rows)?;
    let count = cursor.len(rows)?;
    let groups = Groups::read(teller, &*tell.column(teller)?, &breaks)?;
    if groups.count != count || groups.of_rows.len() != rows {
        return Err(Malformed("told by other values than are there"));
    }
    Ok(groups)
}

/// The values of all rows from those of their groups and the exceptions.
pub(super) fn spread<T: Copy>(
    groups: &Groups,
    told: &[T],
    exceptions: &[usize],
    values: &[T],
) -> Decoded<Vec<T>> {
    let of_row = |group: &u32| told.get(*group as usize).copied();
    let spread: Option<Vec<T>> = groups.of_rows.iter().map(of_row).collect();
    let mut out = spread.ok_or(Malformed("fewer values than are told"))?;
    for (row, value) in exceptions.iter().zip(values) {
        if let Some(slot) = out.get_mut(*row) {
            *slot = *value;
        }
    }
    Ok(out)
}

/// The values of some rows of a column.
pub(super) fn pick(column: &BytesColumn, rows: &[usize]) -> BytesColumn {
    let mut out = BytesColumn::new();
    for row in rows {
        out.push(column.get(*row));
    }
    out
}

/// Text of groups and of exceptions as codes into one list of values, each of them once.
pub(super) fn spread_text(
    groups: &Groups,
    told: (&[u32], &BytesColumn),
    exceptions: &[usize],
    others: (&[u32], &BytesColumn),
) -> Decoded<(Vec<u32>, BytesColumn)> {
    let mut values = BytesColumn::new();
    let mut seen: HashMap<&[u8], u32> = HashMap::new();
    let [told, others] = [told, others].map(|(codes, from)| {
        let mut number = |value: Option<_>| match value {
            None => NULL_CODE,
            Some(value) => *seen.entry(value).or_insert_with(|| {
                values.push(Some(value));
                // A granule has fewer values than codes.
                u32::try_from(values.len() - 1).unwrap_or(NULL_CODE)
            }),
        };
        let numbers: Vec<u32> = from.iter().map(&mut number).collect();
        let renumber = |code: &u32| numbers.get(*code as usize).copied().unwrap_or(NULL_CODE);
        codes.iter().map(renumber).collect::<Vec<u32>>()
    });
    let codes = spread(groups, &told, exceptions, &others)?;
    Ok((codes, values))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn codes_are_numbered_by_a_table_as_by_a_hash(
            codes in prop::collection::vec(prop_oneof![9 => 0_u32..9, 2 => Just(NULL_CODE), 1 => 0_u32..2_000], 0..300),
            mut breaks in prop::collection::btree_set(0_usize..320, 0..5),
        ) {
            breaks.retain(|row| *row < codes.len());
            let breaks: Vec<usize> = breaks.into_iter().collect();
            prop_assert_eq!(number_codes(&codes, &breaks), number(codes.iter().copied(), &breaks));
        }
    }

    #[test]
    fn told_text_has_each_value_once() {
        let column = |values: &[&str]| {
            let mut out = BytesColumn::new();
            for v in values {
                out.push(Some(v.as_bytes()));
            }
            out
        };
        let groups = Groups { column: ColumnId(1), of_rows: vec![0, 1, 2, 0, 1], count: 3 };
        let (told, others) = (column(&["a", "b", "a"]), column(&["b", "c"]));
        let (codes, values) = spread_text(&groups, (&[0, 1, 2], &told), &[3, 4], (&[0, 1], &others)).unwrap();
        assert_eq!(values, column(&["a", "b", "c"]));
        assert_eq!(codes, [0, 1, 0, 1, 2]);
    }
}
