//! Fields as doubles, and sums that do not depend on how rows are cut into parts.

use super::field::Source;
use super::granule::Granule;
use super::mask::Rows;
use crate::error::{Error, Result};
use crate::schema::{Bitmap, ColumnVector, NULL_CODE, Scalar};

/// A sum with its rounding errors kept beside (Neumaier 1974).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    /// Adds a number.
    #[inline]
    pub(crate) fn add(&mut self, n: f64) {
        let next = self.sum + n;
        // What the addition lost, whichever of the two is larger.
        self.lost += if self.sum.abs() >= n.abs() { (self.sum - next) + n } else { (n - next) + self.sum };
        self.sum = next;
    }

    /// Adds all numbers that are no NaN, several sums at a time.
    pub(crate) fn add_all(&mut self, values: &[f64]) {
        const LANES: usize = 8;
        let (chunks, rest) = values.as_chunks::<LANES>();
        // Under this many the lanes cost more than they save.
        let (chunks, few) = if chunks.len() < 4 { (&[][..], values) } else { (chunks, rest) };
        let (mut sums, mut losses) = ([0.0_f64; LANES], [0.0_f64; LANES]);
        for chunk in chunks {
            for ((sum, lost), value) in sums.iter_mut().zip(&mut losses).zip(chunk) {
                let n = if value.is_nan() { 0.0 } else { *value };
                // Knuth's form of the same error: more operations, no branch between lanes.
                let next = *sum + n;
                let back = next - *sum;
                *lost += (*sum - (next - back)) + (n - back);
                *sum = next;
            }
        }
        if !chunks.is_empty() {
            for (sum, lost) in sums.into_iter().zip(losses) {
                self.add(sum);
                self.lost += lost;
            }
        }
        for value in few.iter().filter(|v| !v.is_nan()) {
            self.add(*value);
        }
    }

    /// Adds what another sum has.
    pub(crate) fn merge(&mut self, other: Self) {
        self.add(other.sum);
        self.lost += other.lost;
    }

    /// The plain sum and what rounding lost of it.
    pub(crate) fn parts(self) -> (f64, f64) {
        (self.sum, self.lost)
    }

    /// The sum of its parts.
    pub(crate) fn from_parts(sum: f64, lost: f64) -> Self {
        Self { sum, lost }
    }

    /// The total. Past the range of a double it is what plain addition gives.
    pub(crate) fn total(self) -> f64 {
        if self.sum.is_finite() { self.sum + self.lost } else { self.sum }
    }
}

/// The numbers of a field, one for each row; NaN for what is absent or no number.
///
/// # Errors
///
/// Those of the columns.
pub(crate) fn numbers(
    source: &Source,
    granule: &mut Granule<'_>,
    rows: Rows<'_>,
    out: &mut Vec<f64>,
) -> Result<()> {
    out.clear();
    out.resize(rows.len(), f64::NAN);
    match source {
        Source::Tenant => Ok(()),
        Source::Leaf(leaf) => {
            let vector = granule.load(*leaf)?;
            leaf_numbers(&vector, rows, out);
            Ok(())
        }
        Source::FirstOf(sources) => {
            let mut taken = vec![false; rows.len()];
            let mut one = Vec::new();
            for source in sources {
                let Source::Leaf(leaf) = source else {
                    // A name is present in every row, and no number.
                    return Ok(());
                };
                let vector = granule.load(*leaf)?;
                one.clear();
                one.resize(rows.len(), f64::NAN);
                leaf_numbers(&vector, rows, &mut one);
                rows.each(|at, row| {
                    if let (Some(taken), Some(slot), Some(new)) =
                        (taken.get_mut(at), out.get_mut(at), one.get(at))
                        && !*taken
                        && says_something(&vector, row)
                    {
                        *taken = true;
                        *slot = *new;
                    }
                });
            }
            Ok(())
        }
    }
}

/// Whether a row has a value.
pub(crate) fn is_present(vector: &ColumnVector, row: usize) -> bool {
    match vector {
        ColumnVector::I64(_, present) | ColumnVector::U64(_, present) | ColumnVector::F64(_, present) => {
            present.as_ref().is_none_or(|p| p.get(row))
        }
        ColumnVector::Codes(codes) | ColumnVector::Dict { codes, .. } => {
            codes.get(row).is_some_and(|c| *c != NULL_CODE)
        }
        ColumnVector::Bytes(bytes) => bytes.present().get(row),
        ColumnVector::Scalars(leaves) => leaves.get(row).is_some_and(Option::is_some),
    }
}

/// Whether a row has a value that a choice among fields takes: not null, no array, no object.
fn says_something(vector: &ColumnVector, row: usize) -> bool {
    match vector {
        ColumnVector::Scalars(leaves) => {
            leaves.get(row).and_then(Option::as_ref).is_some_and(|scalar| *scalar != Scalar::Other)
        }
        other => is_present(other, row),
    }
}

#[expect(clippy::cast_precision_loss, reason = "aggregates are doubles")]
fn leaf_numbers(vector: &ColumnVector, rows: Rows<'_>, out: &mut [f64]) {
    match vector {
        ColumnVector::I64(values, present) => copy(values, present.as_ref(), rows, out, |n| n as f64),
        ColumnVector::U64(values, present) => copy(values, present.as_ref(), rows, out, |n| n as f64),
        ColumnVector::F64(values, present) => copy(values, present.as_ref(), rows, out, |n| n),
        ColumnVector::Codes(_) | ColumnVector::Dict { .. } | ColumnVector::Bytes(_) => {}
        ColumnVector::Scalars(leaves) => rows.each(|at, row| {
            let number = match leaves.get(row).and_then(Option::as_ref) {
                Some(Scalar::I64(n)) => *n as f64,
                Some(Scalar::U64(n)) => *n as f64,
                Some(Scalar::F64(n)) => *n,
                Some(Scalar::Bool(_) | Scalar::Str(_) | Scalar::Other) | None => return,
            };
            if let Some(slot) = out.get_mut(at) {
                *slot = number;
            }
        }),
    }
}

fn copy<T: Copy>(
    values: &[T],
    present: Option<&Bitmap>,
    rows: Rows<'_>,
    out: &mut [f64],
    number: impl Fn(T) -> f64,
) {
    match (present, rows) {
        (None, Rows::Range(from, to)) => {
            for (slot, value) in out.iter_mut().zip(values.get(from..to).unwrap_or(&[])) {
                *slot = number(*value);
            }
        }
        (None, Rows::List(list)) => {
            for (slot, row) in out.iter_mut().zip(list) {
                *slot = values.get(*row as usize).map_or(f64::NAN, |v| number(*v));
            }
        }
        (Some(present), rows) => rows.each(|at, row| {
            if let (true, Some(slot), Some(value)) = (present.get(row), out.get_mut(at), values.get(row)) {
                *slot = number(*value);
            }
        }),
    }
}

/// Instants and unsigned numbers of a column of the stream, for orders and ties.
///
/// # Errors
///
/// [`Error::Invalid`] when the part gives another type.
pub(crate) fn as_i64(vector: &ColumnVector) -> Result<&[i64]> {
    match vector {
        ColumnVector::I64(values, _) => Ok(values),
        _ => Err(Error::invalid("a part whose instants are of another type")),
    }
}

/// As [`as_i64`], for unsigned numbers.
///
/// # Errors
///
/// [`Error::Invalid`] when the part gives another type.
pub(crate) fn as_u64(vector: &ColumnVector) -> Result<&[u64]> {
    match vector {
        ColumnVector::U64(values, _) => Ok(values),
        _ => Err(Error::invalid("a part whose unsigned numbers are of another type")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_keeps_what_plain_addition_loses() {
        let mut sum = Sum::default();
        for n in [1.0, 1e100, 1.0, -1e100] {
            sum.add(n);
        }
        assert_eq!(sum.total().to_bits(), 2.0_f64.to_bits());
        let values: Vec<f64> = (0..1000).map(|n| f64::from(n) * 0.1).chain([f64::NAN]).collect();
        let (mut lanes, mut single) = (Sum::default(), Sum::default());
        lanes.add_all(&values);
        for value in values.iter().filter(|v| !v.is_nan()) {
            single.add(*value);
        }
        assert!((lanes.total() - single.total()).abs() <= single.total() * f64::EPSILON);
        let mut both = Sum::default();
        both.add_all(&[&[f64::INFINITY][..], &values, &values].concat());
        assert_eq!(both.total().to_bits(), f64::INFINITY.to_bits());
        let mut infinite = Sum::default();
        for n in [f64::INFINITY, 1.0] {
            infinite.add(n);
        }
        assert_eq!(infinite.total().to_bits(), f64::INFINITY.to_bits());
    }
}
