//! Numbers of runs that repeat each other: the times at which the series of one source were read.
//!
//! Six metrics of a host are read at one moment, so their runs have the same times, frames and moments of
//! receipt, one after the other. A run that is like the run before takes a bit; where it is not, the
//! difference is written beside.
//!
//! The bytes are described in `docs/format/encodings.md`.

use super::blocks::put_numbers;
use super::cursor::{Cursor, Decoded, Malformed};
use super::density::Density;
use super::ints::{REPEAT, decode_ints, encode_ints_at, unzigzag, zigzag};
use super::varint::put_varint;

/// A run is told by the one before when at most one row of so many is not as told.
const ROWS_PER_EXCEPTION: usize = 4;

/// Encodes numbers whose rows form runs of these lengths, like [`encode_ints_at`], or by the run before where
/// that is shorter.
pub fn encode_ints_in_runs(values: &[u64], lens: &[usize], density: Density, out: &mut Vec<u8>) {
    let start = out.len();
    encode_ints_at(values, density, out);
    let plain = out.len() - start;
    if lens.len() < 2 || lens.iter().sum::<usize>() != values.len() || plain < values.len() / 16 {
        return;
    }
    let mut repeated = vec![REPEAT];
    put_repeats(values, lens, density, &mut repeated);
    if repeated.len() < plain {
        out.truncate(start);
        out.extend_from_slice(&repeated);
    }
}

/// What the run before tells of a row.
fn told(before: &[u64], run: &[u64], at: usize) -> u64 {
    let last = || at.checked_sub(1).and_then(|last| run.get(last)).copied().unwrap_or(0);
    before.get(at).copied().unwrap_or_else(last)
}

fn put_repeats(values: &[u64], lens: &[usize], density: Density, out: &mut Vec<u8>) {
    let mut like = Vec::with_capacity(lens.len());
    let (mut places, mut differences, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    // Rows of runs that are told so far, and the place of the last exception among them.
    let (mut told_rows, mut last_place) = (0_u64, 0_u64);
    let mut before: &[u64] = &[];
    let mut left = values;
    for len in lens {
        let (run, tail) = left.split_at_checked(*len).unwrap_or((left, &[]));
        left = tail;
        let differs = |at: &usize| run.get(*at).is_some_and(|v| *v != told(before, run, *at));
        let exceptions: Vec<usize> = (0..run.len()).filter(differs).collect();
        let is_like = exceptions.len() * ROWS_PER_EXCEPTION <= run.len() && !before.is_empty();
        like.push(u64::from(is_like));
        if is_like {
            for at in exceptions {
                let place = told_rows + at as u64;
                places.push(place - last_place);
                last_place = place;
                let value = run.get(at).copied().unwrap_or(0);
                differences.push(zigzag(value.wrapping_sub(told(before, run, at)).cast_signed()));
            }
            told_rows += run.len() as u64;
        } else {
            rest.extend_from_slice(run);
        }
        before = run;
    }
    let lens: Vec<u64> = lens.iter().map(|len| *len as u64).collect();
    put_varint(lens.len() as u64, out);
    put_numbers(&lens, density, out);
    put_numbers(&like, density, out);
    put_varint(places.len() as u64, out);
    put_numbers(&places, density, out);
    put_numbers(&differences, density, out);
    put_numbers(&rest, density, out);
}

fn take_numbers(cursor: &mut Cursor<'_>, count: usize) -> Decoded<Vec<u64>> {
    let len = cursor.len(cursor.rest().len())?;
    let bytes = cursor.take(len)?;
    // One level of nesting is all that is written; more would let hostile bytes recurse.
    if bytes.first() == Some(&REPEAT) {
        return Err(Malformed("repeated numbers inside of repeated numbers"));
    }
    decode_ints(bytes, count)
}

/// Decodes the body of `rows` numbers.
pub(super) fn take_repeats(cursor: &mut Cursor<'_>, rows: usize) -> Decoded<Vec<u64>> {
    let count = cursor.len(rows)?;
    let lens = take_numbers(cursor, count)?;
    let like = take_numbers(cursor, count)?;
    let exceptions = cursor.len(rows)?;
    let places = take_numbers(cursor, exceptions)?;
    let differences = take_numbers(cursor, exceptions)?;
    let (told_rows, rest_rows) = count_rows(&lens, &like, rows)?;
    let rest = take_numbers(cursor, rest_rows)?;
    let mut rest = rest.as_slice();
    let mut exceptions = Exceptions::new(&places, &differences, told_rows)?;
    let mut values: Vec<u64> = Vec::with_capacity(rows);
    let mut before = 0..0;
    for (len, like) in lens.iter().zip(&like) {
        let len = usize::try_from(*len).unwrap_or(usize::MAX);
        let start = values.len();
        if *like == 0 {
            let (run, tail) = rest.split_at_checked(len).ok_or(Malformed("fewer values than rows"))?;
            values.extend_from_slice(run);
            rest = tail;
        } else {
            for at in 0..len {
                let told = if at < before.len() {
                    values.get(before.start + at).copied()
                } else {
                    at.checked_sub(1).and_then(|last| values.get(start + last)).copied()
                };
                values.push(told.unwrap_or(0).wrapping_add(exceptions.next()));
            }
        }
        before = start..values.len();
    }
    Ok(values)
}

/// How many rows lie in runs that are told by the one before, and how many in others.
fn count_rows(lens: &[u64], like: &[u64], rows: usize) -> Decoded<(usize, usize)> {
    let (mut told, mut rest) = (0_usize, 0_usize);
    for (len, like) in lens.iter().zip(like) {
        let len = usize::try_from(*len).ok().filter(|len| (1..=rows).contains(len));
        let len = len.ok_or(Malformed("a run of no rows, or of too many"))?;
        match like {
            0 => rest += len,
            1 => told += len,
            _ => return Err(Malformed("a flag that is neither 0 nor 1")),
        }
        if told + rest > rows {
            return Err(Malformed("runs that are longer than the column"));
        }
    }
    if told + rest == rows {
        Ok((told, rest))
    } else {
        Err(Malformed("runs that are shorter than the column"))
    }
}

/// The differences of the rows of told runs, in their order; 0 where there is no exception.
struct Exceptions<'a> {
    differences: std::slice::Iter<'a, u64>,
    places: Vec<u64>,
    next_place: usize,
    row: u64,
}

impl<'a> Exceptions<'a> {
    fn new(gaps: &[u64], differences: &'a [u64], rows: usize) -> Decoded<Self> {
        let mut places = Vec::with_capacity(gaps.len());
        let mut place = 0_u64;
        for (index, gap) in gaps.iter().enumerate() {
            place = place.checked_add(*gap).ok_or(Malformed("an exception outside of its rows"))?;
            if place >= rows as u64 || (index > 0 && *gap == 0) {
                return Err(Malformed("an exception outside of its rows"));
            }
            places.push(place);
        }
        Ok(Self { differences: differences.iter(), places, next_place: 0, row: 0 })
    }

    fn next(&mut self) -> u64 {
        let here = self.places.get(self.next_place) == Some(&self.row);
        self.row += 1;
        if !here {
            return 0;
        }
        self.next_place += 1;
        self.differences.next().map_or(0, |n| unzigzag(*n).cast_unsigned())
    }
}
