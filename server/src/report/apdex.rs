//! Apdex: how satisfied users are with response times.

use insights_engine::query::{Aggregate, Answer, Filter, Literal, Op};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{Quantity, ratio};
use super::fields;
use super::metric_numbers::Points;
use super::reader::Reader;
use super::window::Window;
use crate::http::error::ApiError;

/// T when a request says none, in milliseconds; the cells that answer are of this one.
pub(crate) const T_MS: f64 = 500.0;

/// (satisfied + tolerating / 2) / all: satisfied up to T, tolerating up to 4T.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(crate) struct Apdex {
    /// T, in milliseconds.
    pub(crate) t_ms: Quantity,
    /// 0 to 1, two decimals; null without observations.
    pub(crate) score: Option<f64>,
}

/// What it is computed from: observations up to T, and up to 4T.
pub(crate) fn aggregates(t_ms: f64) -> [Aggregate; 2] {
    [t_ms, 4.0 * t_ms]
        .map(|ms| Aggregate::CountIf(Box::new(Filter::Compare(fields::value(), Op::Lte(Literal::F64(ms))))))
}

/// Reads and computes it, of the observations that `points` names. Asked apart from other numbers: cells
/// answer it for one T alone, and the others for every T.
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) fn apdex(
    reader: &Reader<'_>,
    window: &Window,
    points: &Points,
    t_ms: f64,
) -> Result<Apdex, ApiError> {
    let mut query = points.query(reader, window, false, [], &[]);
    query.aggregates = [Aggregate::Count].into_iter().chain(aggregates(t_ms)).collect();
    Ok(Apdex { t_ms: Quantity(t_ms), score: score(&reader.aggregate(query)?) })
}

fn score(answer: &Answer) -> Option<f64> {
    let number = |place: usize| answer.groups.first()?.values.get(place)?.as_f64();
    let (count, satisfied, at_most_4t) = (number(0)?, number(1)?, number(2)?);
    // Satisfied and half of tolerating, the latter being what is between T and 4T.
    ratio(f64::midpoint(satisfied, at_most_4t), count).map(|score| (score * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use insights_engine::query::{Group, Number};

    use super::*;

    #[test]
    fn tolerating_counts_as_half() {
        // 100 observations: 60 within T, 30 more within 4T, 10 beyond: (60 + 15) / 100.
        let values = vec![Number::U64(100), Number::U64(60), Number::U64(90)];
        let answer = Answer { groups: vec![Group { key: vec![], values }], ..Answer::default() };
        assert_eq!(score(&answer), Some(0.75));
        let none = vec![Number::U64(0); 3];
        let none = Answer { groups: vec![Group { key: vec![], values: none }], ..Answer::default() };
        assert_eq!(score(&none), None);
        assert_eq!(score(&Answer::default()), None);
    }
}
