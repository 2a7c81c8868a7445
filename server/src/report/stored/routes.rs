//! The routes of an application: which have the most requests, which are the slowest, which fail most. From points of
//! its metrics with the label `route`, as `MetricsLayer` sends them.

use std::collections::BTreeMap;

use insights_engine::query::{Field, Filter, GroupBy, Op};
use insights_engine::schema::stream;
use serde::Serialize;

use crate::http::error::{ApiError, Code};
use crate::report::answer::{Quantity, ratio};
use crate::report::app_metrics::{ERRORS, REQUESTS, RESPONSE_TIME, of_app};
use crate::report::fields::{both, is_one_of};
use crate::report::metric_numbers::{Points, Stat, by_name, groups, key_str};
use crate::report::reader::Reader;
use crate::report::window::Window;

/// Rows of each list.
const ROUTES_MAX: usize = 20;
/// Most (metric, route) pairs of an application that are read; with more there are no lists.
const PAIRS_MAX: usize = 20_000;
/// The label that names a route.
const LABEL: &str = "route";
/// What is computed of each pair.
const STATS: [Stat; 4] = [Stat::Sum, Stat::Count, Stat::Avg, Stat::Quantile(0.95)];

/// Lists of the routes of an application, each at most 20 long; of equal ones the first by name.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(crate) struct Routes {
    /// Routes that were seen; null when they are too many to be told apart, or points are not kept that long.
    pub(crate) count: Option<usize>,
    /// Those with the most requests.
    pub(crate) by_requests: Vec<RouteRow>,
    /// Those with the highest 95th percentile of response times.
    pub(crate) slowest: Vec<RouteRow>,
    /// Those with the most errors, of those that have some.
    pub(crate) by_errors: Vec<RouteRow>,
}

/// The numbers of a route.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(crate) struct RouteRow {
    /// The route.
    pub(crate) route: String,
    /// Requests.
    pub(crate) requests: Quantity,
    /// Requests that failed.
    pub(crate) errors: Quantity,
    /// Errors of requests; null without requests.
    pub(crate) error_rate: Option<f64>,
    /// Mean of its response times in milliseconds.
    pub(crate) avg_ms: Option<f64>,
    /// 95 % of its response times are at most this, in milliseconds.
    pub(crate) p95_ms: Option<f64>,
}

/// Reads the routes of an application.
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) fn routes(reader: &Reader<'_>, window: &Window, app_id: &str) -> Result<Routes, ApiError> {
    let route = Field::Path(stream::LABELS.id, vec![LABEL.to_owned()]);
    let names = is_one_of(&stream::NAME, &[REQUESTS, ERRORS, RESPONSE_TIME]);
    let labelled = Filter::Compare(route.clone(), Op::Exists);
    let points = Points { filter: both(both(names, of_app(Some(app_id))), labelled), exact: false };
    let mut query = points.query(reader, window, false, [by_name(), GroupBy::Field(route)], &STATS);
    query.budget.groups_max = PAIRS_MAX;
    let answer = match reader.aggregate(query) {
        Ok(answer) => answer,
        Err(error) if matches!(error.code(), Code::TooManyCells | Code::RowsExpired) => {
            return Ok(Routes::default());
        }
        Err(error) => return Err(error),
    };
    let mut rows: BTreeMap<String, RouteRow> = BTreeMap::new();
    for (key, numbers) in groups(&answer, &STATS) {
        let [name, route] = key else { continue };
        let (Some(name), Some(route)) = (key_str(name), key_str(route)) else { continue };
        let row = rows
            .entry(route.to_owned())
            .or_insert_with(|| RouteRow { route: route.to_owned(), ..RouteRow::default() });
        let sum = Quantity(numbers.get(Stat::Sum).unwrap_or(0.0));
        match name {
            REQUESTS => row.requests = sum,
            ERRORS => row.errors = sum,
            _ => {
                row.avg_ms = numbers.get(Stat::Avg);
                row.p95_ms = numbers.get(Stat::Quantile(0.95));
            }
        }
    }
    for row in rows.values_mut() {
        row.error_rate = ratio(row.errors.0, row.requests.0);
    }
    Ok(lists(&rows.into_values().collect::<Vec<_>>()))
}

/// The lists of `rows`, which are sorted by name.
fn lists(rows: &[RouteRow]) -> Routes {
    let top = |key: &dyn Fn(&RouteRow) -> Option<f64>| {
        let mut with_key: Vec<(f64, &RouteRow)> =
            rows.iter().filter_map(|row| Some((key(row).filter(|number| *number > 0.0)?, row))).collect();
        // Stable, so that equal ones stay sorted by name.
        with_key.sort_by(|one, other| other.0.total_cmp(&one.0));
        with_key.into_iter().take(ROUTES_MAX).map(|(_, row)| row.clone()).collect()
    };
    Routes {
        count: Some(rows.len()),
        by_requests: top(&|row| Some(row.requests.0)),
        slowest: top(&|row| row.p95_ms),
        by_errors: top(&|row| Some(row.errors.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_list_has_its_own_order_and_leaves_out_what_it_is_not_about() {
        let row = |route: &str, requests, errors, p95_ms| RouteRow {
            route: route.to_owned(),
            requests: Quantity(requests),
            errors: Quantity(errors),
            p95_ms,
            ..RouteRow::default()
        };
        let rows = vec![
            row("/a", 5.0, 0.0, Some(10.0)),
            row("/b", 9.0, 2.0, None),
            row("/c", 5.0, 7.0, Some(90.0)),
            row("/d", 0.0, 0.0, Some(30.0)),
        ];
        let names = |rows: &[RouteRow]| rows.iter().map(|row| row.route.clone()).collect::<Vec<_>>();
        let routes = lists(&rows);
        assert_eq!(routes.count, Some(4));
        assert_eq!(names(&routes.by_requests), ["/b", "/a", "/c"]);
        assert_eq!(names(&routes.slowest), ["/c", "/d", "/a"]);
        assert_eq!(names(&routes.by_errors), ["/c", "/b"]);
    }

    #[test]
    fn lists_are_bounded() {
        let rows: Vec<_> = (0..100)
            .map(|n| RouteRow { route: format!("/{n:03}"), requests: Quantity(1.0), ..RouteRow::default() })
            .collect();
        let routes = lists(&rows);
        assert_eq!((routes.count, routes.by_requests.len()), (Some(100), ROUTES_MAX));
        assert_eq!(routes.by_requests[0].route, "/000");
    }
}
