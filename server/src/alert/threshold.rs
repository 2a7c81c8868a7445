//! When a number is too much, or too little, and when it is well again.

use serde::Serialize;
use utoipa::ToSchema;

use super::read;
use crate::report::body::Fields;

/// How a number is compared with a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Comparator {
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
}

impl Comparator {
    const ALL: [(&'static str, Self); 6] = [
        ("gt", Self::Gt),
        ("gte", Self::Gte),
        ("lt", Self::Lt),
        ("lte", Self::Lte),
        ("eq", Self::Eq),
        ("ne", Self::Ne),
    ];

    #[expect(clippy::float_cmp, reason = "equality is what was asked for")]
    fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::Gt => value > threshold,
            Self::Gte => value >= threshold,
            Self::Lt => value < threshold,
            Self::Lte => value <= threshold,
            Self::Eq => value == threshold,
            Self::Ne => value != threshold,
        }
    }
}

/// The threshold of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct Threshold {
    /// How the number is compared: `gt`, `gte`, `lt`, `lte`, `eq` or `ne`
    pub op: Comparator,
    /// With what
    pub threshold: f64,
    /// A firing alert resolves only once the number does not compare with this any more: 80 beside a threshold of 90
    /// keeps a number that swings around 90 from firing again and again
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolve_threshold: Option<f64>,
}

impl Threshold {
    /// The threshold of a condition that has one of its own making.
    pub const fn fixed(op: Comparator, threshold: f64) -> Self {
        Self { op, threshold, resolve_threshold: None }
    }

    /// Whether a number is bad; one of an alert that fires is bad until it has come back to the other threshold.
    pub fn is_bad(&self, value: f64, is_firing: bool) -> bool {
        let threshold = self.resolve_threshold.filter(|_| is_firing).unwrap_or(self.threshold);
        self.op.holds(value, threshold)
    }

    /// Reads `op`, `threshold` and `resolve_threshold`.
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let op = fields.choice("op", &Comparator::ALL.map(|(name, _)| name));
        let op = op.and_then(|place| Comparator::ALL.get(place)).map(|(_, op)| *op);
        let op = read::required(fields, "op", op);
        let threshold = read::number(fields, "threshold");
        let threshold = read::required(fields, "threshold", threshold);
        let resolve_threshold = read::number(fields, "resolve_threshold");
        let (op, threshold) = (op?, threshold?);
        let is_sane = |resolve: f64| match op {
            Comparator::Gt | Comparator::Gte => resolve <= threshold,
            Comparator::Lt | Comparator::Lte => resolve >= threshold,
            Comparator::Eq | Comparator::Ne => false,
        };
        if resolve_threshold.is_some_and(|resolve| !is_sane(resolve)) {
            let detail = "it lies on the good side of the threshold, and eq and ne have none";
            fields.problem("resolve_threshold", "invalid", detail);
        }
        Some(Self { op, threshold, resolve_threshold })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_comparison_is_as_it_is_named() {
        let bad = |op| [1.0, 2.0, 3.0].map(|value| Threshold::fixed(op, 2.0).is_bad(value, false));
        assert_eq!(bad(Comparator::Gt), [false, false, true]);
        assert_eq!(bad(Comparator::Gte), [false, true, true]);
        assert_eq!(bad(Comparator::Lt), [true, false, false]);
        assert_eq!(bad(Comparator::Lte), [true, true, false]);
        assert_eq!(bad(Comparator::Eq), [false, true, false]);
        assert_eq!(bad(Comparator::Ne), [true, false, true]);
    }

    #[test]
    fn what_fires_is_bad_until_the_other_threshold() {
        let threshold = Threshold { op: Comparator::Gt, threshold: 90.0, resolve_threshold: Some(80.0) };
        let told =
            [95.0, 85.0, 80.0].map(|value| (threshold.is_bad(value, false), threshold.is_bad(value, true)));
        assert_eq!(told, [(true, true), (false, true), (false, false)]);
    }
}
