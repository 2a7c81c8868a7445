//! The rollups that reports are answered from: what they ask, declared to the engine.
//!
//! A question is answered from cells when it is written as it is here: the filters and fields are those
//! of [`super::fields`] on both sides, so that a change of a definition changes both, and rows answer
//! until the days are merged again.

use insights_engine::id::Stream;
use insights_engine::query::{Aggregate, Field, Filter};
use insights_engine::rollup::{Kept, RollupDefinition, Tier, TierAggregates};
use insights_engine::schema::{ColumnDef, stream};

use super::apdex;
use super::app_metrics;
use super::fields;

/// The rollups of events and metrics.
pub(crate) fn definitions(page_view_types: &[String]) -> Vec<RollupDefinition> {
    let app = || fields::column(&stream::APP_ID);
    let of = |id, priority, filter: &Filter, keys, tiers: &[TierAggregates]| RollupDefinition {
        id,
        stream: Stream::Events,
        filter: filter.clone(),
        keys,
        tiers: tiers.to_vec(),
        priority,
        kept: Kept::Always,
    };
    let all = Filter::all();
    let views = fields::page_views(page_view_types);
    let named = fields::with_feature(page_view_types);
    let event_type = || fields::column(&stream::EVENT_TYPE);
    let (numbers, lists) = (numbers(page_view_types), lists());
    let outliving = |id, filter: &Filter, keys| RollupDefinition {
        kept: Kept::Outliving,
        ..of(id, 8, filter, keys, &lists_of_quarters())
    };
    vec![
        of(1, 0, &all, vec![], &numbers),
        of(2, 4, &all, vec![app()], &numbers),
        of(3, 1, &all, vec![event_type()], &lists),
        of(4, 5, &all, vec![event_type(), app()], &lists),
        of(5, 2, &views, vec![fields::page()], &lists),
        of(6, 6, &views, vec![fields::page(), app()], &lists),
        of(7, 3, &named, vec![fields::feature()], &lists),
        of(8, 7, &named, vec![fields::feature(), app()], &lists),
        outliving(9, &all, vec![event_type()]),
        outliving(10, &all, vec![event_type(), app()]),
        outliving(11, &views, vec![fields::page()]),
        outliving(12, &views, vec![fields::page(), app()]),
        outliving(13, &named, vec![fields::feature()]),
        outliving(14, &named, vec![fields::feature(), app()]),
        metrics(20, 3, Filter::all(), &[stream::NAME, stream::APP_ID, stream::HOST]),
        metrics(21, 2, Filter::all(), &[stream::NAME, stream::HOST]),
        metrics(22, 1, fields::of_no_app(), &[stream::NAME, stream::HOST]),
        by_name_together(23, Filter::all()),
        by_name_together(26, fields::of_no_app()),
        counters_together(),
        times_together(),
        apdex_together(),
        apdex_by_app(),
    ]
}

/// Of all events: users, page views and actions, at every tier.
fn numbers(page_view_types: &[String]) -> Vec<TierAggregates> {
    let aggregates = vec![
        Aggregate::Distinct(fields::identity()),
        Aggregate::CountIf(Box::new(fields::page_views(page_view_types))),
        Aggregate::CountIf(Box::new(fields::actions(page_view_types))),
    ];
    Tier::ALL.map(|tier| TierAggregates { tier, aggregates: aggregates.clone() }).to_vec()
}

/// Of events by type, page or feature: their number, and at the day tier their users, which would be as
/// many as the events at finer ones.
fn lists() -> Vec<TierAggregates> {
    let users = vec![Aggregate::Distinct(fields::identity())];
    vec![
        TierAggregates { tier: Tier::Quarter, aggregates: Vec::new() },
        TierAggregates { tier: Tier::Hour, aggregates: Vec::new() },
        TierAggregates { tier: Tier::Day, aggregates: users },
    ]
}

/// The same with users by quarters of an hour: once the rows are gone nothing else answers a window
/// that is no UTC days.
fn lists_of_quarters() -> Vec<TierAggregates> {
    let users = vec![Aggregate::Distinct(fields::identity())];
    vec![TierAggregates { tier: Tier::Quarter, aggregates: users }]
}

/// Of points by metric and host, also by application, and of no application: everything that reports
/// compute of values.
fn metrics(id: u8, priority: u8, filter: Filter, keys: &[ColumnDef]) -> RollupDefinition {
    let value = || -> Field { fields::value() };
    let aggregates = vec![
        Aggregate::Sum(value()),
        Aggregate::Min(value()),
        Aggregate::Max(value()),
        Aggregate::Last(value()),
        Aggregate::Quantile(value(), 0.5),
    ];
    RollupDefinition {
        id,
        stream: Stream::Metrics,
        filter,
        keys: keys.iter().map(fields::column).collect(),
        tiers: Tier::ALL.map(|tier| TierAggregates { tier, aggregates: aggregates.clone() }).to_vec(),
        priority,
        kept: Kept::Always,
    }
}

/// Of all tenants by day: everything that reports compute of a metric.
fn by_name_together(id: u8, filter: Filter) -> RollupDefinition {
    let mut definition = metrics(id, 0, filter, &[stream::NAME]);
    definition.tiers.retain(|kept| kept.tier == Tier::Day);
    RollupDefinition { kept: Kept::Together, ..definition }
}

/// Of the applications of all tenants by day: requests and errors.
fn counters_together() -> RollupDefinition {
    of_apps_together(24, app_metrics::counters(), &[stream::NAME, stream::APP_ID], |value| {
        vec![Aggregate::Sum(value)]
    })
}

/// Of the applications of all tenants by day: response times.
fn times_together() -> RollupDefinition {
    of_apps_together(25, app_metrics::times(), &[stream::APP_ID], |value| {
        vec![
            Aggregate::Sum(value.clone()),
            Aggregate::Min(value.clone()),
            Aggregate::Max(value.clone()),
            Aggregate::Quantile(value, 0.5),
        ]
    })
}

/// Of the applications of all tenants by day: how satisfied their users are.
fn apdex_together() -> RollupDefinition {
    of_apps_together(27, app_metrics::times(), &[stream::APP_ID], |_| apdex::aggregates(apdex::T_MS).to_vec())
}

/// The same of each tenant, at every tier: windows that are no UTC days, and days whose rows are gone.
fn apdex_by_app() -> RollupDefinition {
    let aggregates = apdex::aggregates(apdex::T_MS).to_vec();
    RollupDefinition {
        tiers: Tier::ALL.map(|tier| TierAggregates { tier, aggregates: aggregates.clone() }).to_vec(),
        ..metrics(28, 4, app_metrics::times(), &[stream::APP_ID])
    }
}

fn of_apps_together(
    id: u8,
    filter: Filter,
    keys: &[ColumnDef],
    aggregates: impl Fn(Field) -> Vec<Aggregate>,
) -> RollupDefinition {
    RollupDefinition {
        id,
        stream: Stream::Metrics,
        filter,
        keys: keys.iter().map(fields::column).collect(),
        tiers: vec![TierAggregates { tier: Tier::Day, aggregates: aggregates(fields::value()) }],
        // They save the rows of everybody.
        priority: 0,
        kept: Kept::Together,
    }
}

#[cfg(test)]
mod tests {
    use insights_engine::query::{Budget, GroupBy, Op, Query, Scope};
    use insights_engine::rollup::Rollups;
    use insights_engine::time::TimeRange;

    use super::*;
    use crate::report::metric_numbers::Stat;
    use crate::report::{app_metrics, system_performance};

    fn types() -> Vec<String> {
        vec!["page_view".to_owned(), "page.viewed".to_owned()]
    }

    fn question(stream: Stream, filter: Filter, group_by: Vec<Field>, aggregates: Vec<Aggregate>) -> Query {
        Query {
            scope: Scope::All,
            stream,
            window: TimeRange::ALL,
            filter,
            group_by: group_by.into_iter().map(GroupBy::Field).collect(),
            aggregates,
            budget: Budget::default(),
            rows_only: false,
            allow_partial: false,
        }
    }

    #[test]
    fn cells_answer_what_reports_ask() {
        let rollups = Rollups::new(&definitions(&types())).unwrap();
        let users = || vec![Aggregate::Count, Aggregate::Distinct(fields::identity())];
        let mut numbers = users();
        numbers.push(Aggregate::CountIf(Box::new(fields::page_views(&types()))));
        numbers.push(Aggregate::CountIf(Box::new(fields::actions(&types()))));
        let of_app = || fields::both(fields::is(&stream::APP_ID, "web"), Filter::all());
        for filter in [Filter::all(), of_app()] {
            let query = question(Stream::Events, filter.clone(), vec![], numbers.clone());
            assert_eq!(rollups.tiers_of(&query).unwrap(), Tier::ALL);
            for (field, own) in [
                (fields::column(&stream::EVENT_TYPE), Filter::all()),
                (fields::page(), fields::page_views(&types())),
                (fields::feature(), fields::with_feature(&types())),
            ] {
                let filter = fields::both(filter.clone(), own);
                let query = question(Stream::Events, filter, vec![field], users());
                // By quarters only where the cells outlive the rows.
                assert_eq!(rollups.tiers_of(&query).unwrap(), [Tier::Quarter, Tier::Day]);
                let counts = Query { aggregates: vec![Aggregate::Count], ..query };
                assert_eq!(rollups.tiers_of(&counts).unwrap(), Tier::ALL);
            }
        }
        let by_user = question(Stream::Events, Filter::all(), vec![fields::identity()], users());
        assert!(rollups.tiers_of(&by_user).unwrap().is_empty());
    }

    #[test]
    fn cells_answer_what_reports_ask_of_metrics() {
        let rollups = Rollups::new(&definitions(&types())).unwrap();
        let stats =
            [Stat::Count, Stat::Sum, Stat::Avg, Stat::Min, Stat::Max, Stat::Last, Stat::Quantile(0.95)];
        let (name, app) = (fields::column(&stream::NAME), fields::column(&stream::APP_ID));
        let host = Filter::Compare(fields::column(&stream::HOST), Op::Exists);
        let times = app_metrics::of_apps(app_metrics::times(), None, false).filter;
        let of_apps = stats.iter().filter(|stat| **stat != Stat::Last);
        let of_apps = of_apps.map(|stat| stat.aggregate(false)).collect();
        let query = question(Stream::Metrics, times, vec![fields::column(&stream::APP_ID)], of_apps);
        assert_eq!(rollups.tiers_of(&query).unwrap(), Tier::ALL);
        let times = app_metrics::of_apps(app_metrics::times(), Some("web"), false).filter;
        let satisfied = [Aggregate::Count].into_iter().chain(apdex::aggregates(apdex::T_MS)).collect();
        let satisfied = question(Stream::Metrics, times, vec![], satisfied);
        assert_eq!(rollups.tiers_of(&satisfied).unwrap(), Tier::ALL);
        let other_t = Query { aggregates: apdex::aggregates(300.0).to_vec(), ..satisfied };
        assert!(rollups.tiers_of(&other_t).unwrap().is_empty());
        for (filter, group_by) in [
            (system_performance::points(false).filter, vec![name.clone()]),
            (app_metrics::of_apps(app_metrics::counters(), None, false).filter, vec![app, name.clone()]),
            (app_metrics::of_apps(app_metrics::counters(), None, false).filter, vec![name.clone()]),
            (app_metrics::of_apps(app_metrics::counters(), Some("web"), false).filter, vec![name.clone()]),
            (app_metrics::of_apps(app_metrics::times(), None, false).filter, vec![]),
            (app_metrics::of_apps(app_metrics::times(), Some("web"), false).filter, vec![]),
            (fields::both(fields::is_one_of(&stream::NAME, &["a"]), host), vec![name.clone()]),
        ] {
            let aggregates = stats.iter().map(|stat| stat.aggregate(false)).collect();
            let query = question(Stream::Metrics, filter, group_by, aggregates);
            assert_eq!(rollups.tiers_of(&query).unwrap(), Tier::ALL);
            let exact = stats.iter().map(|stat| stat.aggregate(true)).collect();
            assert!(rollups.tiers_of(&Query { aggregates: exact, ..query }).unwrap().is_empty());
        }
    }
}
