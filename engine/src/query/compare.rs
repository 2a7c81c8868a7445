//! An [`Op`] made ready: intervals for each type of number, one test for text, exact across types.

use super::request::{Literal, Op};
use crate::part::ZoneMap;
use crate::schema::Scalar;

/// Inclusive intervals; a value passes when it is in one of them.
type Intervals<T> = Vec<(T, T)>;

/// What a value must be to pass. [`Op::IsNot`] is the complement of the test of [`Op::Is`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Test {
    /// Every present value passes, whatever it is.
    pub(crate) any: bool,
    /// Signed numbers that pass.
    pub(crate) i64s: Intervals<i64>,
    /// Unsigned numbers that pass.
    pub(crate) u64s: Intervals<u64>,
    /// Doubles that pass; a NaN never does.
    pub(crate) f64s: Intervals<f64>,
    /// Whether `false` and `true` pass.
    pub(crate) truth: (bool, bool),
    /// Text that passes.
    pub(crate) text: TextTest,
}

/// Text that passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TextTest {
    /// None.
    Never,
    /// These.
    OneOf(Vec<Box<[u8]>>),
    /// What contains this.
    Contains(String),
    /// What starts with this.
    StartsWith(String),
    /// What is beyond or below a bound.
    Order {
        /// The bound.
        bound: Box<[u8]>,
        /// Greater passes, else less.
        greater: bool,
        /// The bound itself passes.
        equal: bool,
    },
}

/// How a value stands to a literal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Relation {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Test {
    /// The test of an op, and whether a row passes when the test does not hold ([`Op::IsNot`]).
    pub(crate) fn of(op: &Op) -> (Self, bool) {
        let mut test = Self::never();
        match op {
            Op::Is(literal) | Op::IsNot(literal) => test.add(literal, Relation::Equal),
            Op::In(list) => {
                for literal in list {
                    test.add(literal, Relation::Equal);
                }
            }
            Op::Gt(bound) => test.add(bound, Relation::Greater),
            Op::Gte(bound) => test.add(bound, Relation::GreaterOrEqual),
            Op::Lt(bound) => test.add(bound, Relation::Less),
            Op::Lte(bound) => test.add(bound, Relation::LessOrEqual),
            Op::Contains(part) => test.text = TextTest::Contains(part.clone()),
            Op::StartsWith(part) => test.text = TextTest::StartsWith(part.clone()),
            Op::Exists => test.any = true,
        }
        (test, matches!(op, Op::IsNot(_)))
    }

    fn never() -> Self {
        Self {
            any: false,
            i64s: Vec::new(),
            u64s: Vec::new(),
            f64s: Vec::new(),
            truth: (false, false),
            text: TextTest::Never,
        }
    }

    fn add(&mut self, literal: &Literal, relation: Relation) {
        match literal {
            Literal::Bool(b) => {
                if relation == Relation::Equal {
                    let passes = if *b { &mut self.truth.1 } else { &mut self.truth.0 };
                    *passes = true;
                }
            }
            Literal::Str(text) => self.add_text(text.as_bytes(), relation),
            Literal::I64(n) => self.add_whole(i128::from(*n), relation),
            Literal::U64(n) => self.add_whole(i128::from(*n), relation),
            Literal::F64(n) if n.is_nan() => {}
            Literal::F64(n) => {
                // A cast of a double to i128 saturates, far outside of both domains.
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "saturates, which keeps every comparison"
                )]
                let (floor, ceil) = (n.floor() as i128, n.ceil() as i128);
                self.add_number(floor, ceil, ordered(*n, relation), relation);
            }
        }
    }

    fn add_whole(&mut self, n: i128, relation: Relation) {
        self.add_number(n, n, double_interval(n, relation), relation);
    }

    fn add_text(&mut self, text: &[u8], relation: Relation) {
        let bound: Box<[u8]> = text.into();
        match (&mut self.text, relation) {
            (TextTest::OneOf(list), Relation::Equal) => list.push(bound),
            (slot, Relation::Equal) => *slot = TextTest::OneOf(vec![bound]),
            (slot, _) => {
                *slot = TextTest::Order {
                    bound,
                    greater: matches!(relation, Relation::Greater | Relation::GreaterOrEqual),
                    equal: matches!(relation, Relation::GreaterOrEqual | Relation::LessOrEqual),
                };
            }
        }
    }

    /// Adds a number given by the whole numbers around it.
    fn add_number(&mut self, floor: i128, ceil: i128, doubles: Option<(f64, f64)>, relation: Relation) {
        let (low, high) = match relation {
            Relation::Equal if floor != ceil => (1, 0),
            Relation::Equal => (floor, floor),
            Relation::Greater => (floor.saturating_add(1), i128::MAX),
            Relation::GreaterOrEqual => (ceil, i128::MAX),
            Relation::Less => (i128::MIN, ceil.saturating_sub(1)),
            Relation::LessOrEqual => (i128::MIN, floor),
        };
        let signed = (low.max(i128::from(i64::MIN)), high.min(i128::from(i64::MAX)));
        if let (true, Ok(from), Ok(to)) =
            (signed.0 <= signed.1, i64::try_from(signed.0), i64::try_from(signed.1))
        {
            self.i64s.push((from, to));
        }
        let unsigned = (low.max(0), high.min(i128::from(u64::MAX)));
        if let (true, Ok(from), Ok(to)) =
            (unsigned.0 <= unsigned.1, u64::try_from(unsigned.0), u64::try_from(unsigned.1))
        {
            self.u64s.push((from, to));
        }
        self.f64s.extend(doubles);
    }

    /// Whether text passes.
    pub(crate) fn text(&self, text: &[u8]) -> bool {
        self.any || self.text.holds(text)
    }

    /// Whether a signed number passes.
    #[inline]
    pub(crate) fn i64(&self, n: i64) -> bool {
        self.any || self.i64s.iter().any(|(from, to)| *from <= n && n <= *to)
    }

    /// Whether an unsigned number passes.
    #[inline]
    pub(crate) fn u64(&self, n: u64) -> bool {
        self.any || self.u64s.iter().any(|(from, to)| *from <= n && n <= *to)
    }

    /// Whether a double passes.
    #[inline]
    pub(crate) fn f64(&self, n: f64) -> bool {
        self.any || self.f64s.iter().any(|(from, to)| *from <= n && n <= *to)
    }

    /// Whether a leaf of a document passes.
    pub(crate) fn scalar(&self, scalar: &Scalar) -> bool {
        match scalar {
            Scalar::Bool(b) => self.any || if *b { self.truth.1 } else { self.truth.0 },
            Scalar::I64(n) => self.i64(*n),
            Scalar::U64(n) => self.u64(*n),
            Scalar::F64(n) => self.f64(*n),
            Scalar::Str(text) => self.text(text.as_bytes()),
            Scalar::Other => self.any,
        }
    }

    /// Whether a value between the bounds of a zone map may pass; codes are judged elsewhere.
    pub(crate) fn may_pass(&self, zone: &ZoneMap) -> bool {
        match zone {
            ZoneMap::Null => false,
            _ if self.any => true,
            ZoneMap::I64 { min, max } => self.i64s.iter().any(|(from, to)| from <= max && min <= to),
            ZoneMap::U64 { min, max } => self.u64s.iter().any(|(from, to)| from <= max && min <= to),
            ZoneMap::F64 { min, max } => self.f64s.iter().any(|(from, to)| from <= max && min <= to),
            ZoneMap::Bytes { min, max } => self.text.may_hold(min, max),
        }
    }
}

impl TextTest {
    /// Whether text passes.
    pub(crate) fn holds(&self, text: &[u8]) -> bool {
        match self {
            Self::Never => false,
            Self::OneOf(list) => list.iter().any(|one| **one == *text),
            Self::Contains(needle) => contains(text, needle),
            Self::StartsWith(prefix) => text.starts_with(prefix.as_bytes()),
            Self::Order { bound, greater, equal } => match text.cmp(bound) {
                std::cmp::Ordering::Equal => *equal,
                std::cmp::Ordering::Greater => *greater,
                std::cmp::Ordering::Less => !*greater,
            },
        }
    }

    /// Whether text of `min..=max` may pass; `min` may be a prefix, `max` more than any value.
    fn may_hold(&self, min: &[u8], max: &[u8]) -> bool {
        match self {
            Self::Never => false,
            Self::OneOf(list) => list.iter().any(|one| min <= &**one && &**one <= max),
            Self::Contains(_) => true,
            Self::StartsWith(prefix) => {
                let prefix = prefix.as_bytes();
                prefix <= max && (min <= prefix || min.starts_with(prefix))
            }
            Self::Order { bound, greater: true, .. } => max >= &**bound,
            Self::Order { bound, greater: false, .. } => min <= &**bound,
        }
    }
}

fn contains(text: &[u8], needle: &str) -> bool {
    match std::str::from_utf8(text) {
        Ok(text) => text.contains(needle),
        // Stored bytes that are no text: by brute force.
        Err(_) => needle.is_empty() || text.windows(needle.len()).any(|w| w == needle.as_bytes()),
    }
}

/// The doubles that stand in a relation to a double that is no NaN.
fn ordered(n: f64, relation: Relation) -> Option<(f64, f64)> {
    match relation {
        Relation::Equal => Some((n, n)),
        Relation::GreaterOrEqual => Some((n, f64::INFINITY)),
        Relation::LessOrEqual => Some((f64::NEG_INFINITY, n)),
        // Nothing is beyond an infinity, and it has no neighbour there.
        Relation::Greater => (n < f64::INFINITY).then(|| (n.next_up(), f64::INFINITY)),
        Relation::Less => (n > f64::NEG_INFINITY).then(|| (f64::NEG_INFINITY, n.next_down())),
    }
}

/// The doubles that stand in a relation to a whole number of at most 65 bits, which may lie between two.
fn double_interval(n: i128, relation: Relation) -> Option<(f64, f64)> {
    #[expect(clippy::cast_precision_loss, reason = "the rounding is undone below")]
    let near = n as f64;
    #[expect(clippy::cast_possible_truncation, reason = "a whole number of at most 65 bits")]
    let back = near as i128;
    if back == n {
        return ordered(near, relation);
    }
    let (below, above) = if back < n { (near, near.next_up()) } else { (near.next_down(), near) };
    match relation {
        Relation::Equal => None,
        Relation::Greater | Relation::GreaterOrEqual => Some((above, f64::INFINITY)),
        Relation::Less | Relation::LessOrEqual => Some((f64::NEG_INFINITY, below)),
    }
}
