//! Each question as the calls of the engine that its report makes: pure.

use insights_engine::Result;
use insights_engine::id::{Stream, TenantId};
use insights_engine::query::{
    Aggregate, Budget, Cost, Cursor, Field, Filter, GroupBy, Literal, Op, Order, Query, RowRequest, Scope,
    SessionClasses, SessionRequest,
};
use insights_engine::schema::ColumnDef;
use insights_engine::schema::stream::{
    ACTION_TYPE, ANONYMOUS_ID, APP_ID, EVENT_DATA, EVENT_TYPE, NAME, SESSION_ID, USER_ID, VALUE,
};
use insights_engine::time::{BucketUnit, Buckets, DAY_US, TimeRange, TimestampUs};
use insights_engine::view::View;
use insights_server::Config;
use jiff::tz::TimeZone;

use crate::question::{ACTION_PREFIX, DAYS, LIVE_METRICS, PAGE_ROWS, Question, SEARCH_ROWS, Subject};

/// A minute, in microseconds.
pub(crate) const MINUTE_US: i64 = 60_000_000;
/// Most buckets of a window.
pub(crate) const BUCKETS_MAX: usize = 1_000;
/// Metrics of hosts.
pub(crate) const SYSTEM_METRICS: [&str; 3] = ["cpu.usage", "memory.usage", "disk.usage"];

/// One call of the engine.
#[derive(Debug, Clone)]
pub(super) enum Call {
    /// For numbers.
    Numbers(Query),
    /// For sessions.
    Sessions(SessionRequest),
    /// For rows.
    Rows(RowRequest),
}

impl Call {
    /// Makes it and drops the answer.
    pub(super) fn run(&self, view: &View) -> Result<()> {
        self.cost(view).map(drop)
    }

    /// Makes it, and says what it cost.
    pub(super) fn cost(&self, view: &View) -> Result<Cost> {
        match self {
            Self::Numbers(query) => view.aggregate(query).map(|answer| answer.cost),
            Self::Sessions(request) => view.sessions(request).map(|answer| answer.cost),
            Self::Rows(request) => view.rows(request).map(|page| page.cost),
        }
    }
}

/// What one window of a question is about.
struct Asked<'a> {
    subject: &'a Subject,
    scope: Scope,
    window: TimeRange,
    days: Buckets,
}

/// The calls that answer window `n` of a question; none where the subject has nothing to ask about. `second_page` is
/// where the second page of audit records starts.
///
/// # Errors
///
/// For an organization whose name is none.
pub(super) fn calls(
    question: Question,
    subject: &Subject,
    second_page: Option<Cursor>,
    n: u32,
) -> Result<Vec<Call>> {
    let end = question.end(subject, n).as_microsecond();
    let window = long_window(end);
    let days = Buckets::cover(window, BucketUnit::Day, &TimeZone::UTC, BUCKETS_MAX)?;
    let asked = Asked { subject, scope: scope(subject)?, window, days };
    let audit = |filter, limit, after| {
        let request = rows(asked.scope.clone(), Stream::Audit, TimeRange::ALL, filter, limit);
        Call::Rows(RowRequest { after, ..request })
    };
    Ok(match question {
        Question::Analytics => {
            vec![asked.events(&[]), asked.sessions(), asked.systems(), asked.apps(live_metrics())]
        }
        Question::Activity => {
            let by_type = GroupBy::Field(column(&EVENT_TYPE));
            vec![asked.events(&[]), asked.events(&[by_type]), asked.sessions()]
        }
        Question::AnalyticsAll => {
            let all = Asked { scope: Scope::All, ..asked };
            vec![all.events(&[]), all.apps(live_metrics())]
        }
        Question::Performance => vec![asked.apps(asked.of_app())],
        Question::MetricsHour => vec![asked.hour(end)?],
        Question::AuditPage => vec![audit(Filter::all(), PAGE_ROWS, None)],
        Question::AuditNextPage => {
            second_page.map(|after| audit(Filter::all(), PAGE_ROWS, Some(after))).into_iter().collect()
        }
        Question::AuditSearch => {
            let starts = Op::StartsWith(ACTION_PREFIX.to_owned());
            let filter = vec![is(&USER_ID, &subject.user), Filter::Compare(column(&ACTION_TYPE), starts)];
            vec![audit(Filter::And(filter), SEARCH_ROWS, None)]
        }
        Question::EventsFilter => {
            let before = TimeRange { start: TimestampUs(i64::MIN), ..window };
            let data = [("page", &subject.page), ("browser", &subject.browser)];
            let filter = Filter::And(data.map(|(key, value)| data_is(key, value)).into());
            vec![Call::Rows(rows(asked.scope, Stream::Events, before, filter, PAGE_ROWS))]
        }
    })
}

impl Asked<'_> {
    fn by_day(&self, more: &[GroupBy]) -> Vec<GroupBy> {
        [&[GroupBy::Bucket(self.days.clone())], more].concat()
    }

    fn numbers(&self, stream: Stream) -> Query {
        numbers(self.scope.clone(), stream, self.window)
    }

    /// Events and people by day.
    fn events(&self, by: &[GroupBy]) -> Call {
        let identity = [USER_ID, ANONYMOUS_ID, SESSION_ID].map(|def| column(&def));
        Call::Numbers(Query {
            group_by: self.by_day(by),
            aggregates: vec![Aggregate::Count, Aggregate::Distinct(Field::FirstOf(identity.into()))],
            ..self.numbers(Stream::Events)
        })
    }

    /// Sessions by day.
    fn sessions(&self) -> Call {
        Call::Sessions(sessions(self.scope.clone(), self.window, self.days.clone()))
    }

    /// What hosts measure, by day.
    fn systems(&self) -> Call {
        let aggregates =
            vec![Aggregate::Avg(value()), Aggregate::Max(value()), Aggregate::Quantile(value(), 0.95)];
        self.metrics(one_of(&NAME, &SYSTEM_METRICS), aggregates)
    }

    /// What apps measure, by day.
    fn apps(&self, filter: Filter) -> Call {
        let quantiles = [0.5, 0.95, 0.99].map(|q| Aggregate::Quantile(value(), q));
        self.metrics(
            filter,
            [vec![Aggregate::Sum(value()), Aggregate::Avg(value())], quantiles.into()].concat(),
        )
    }

    fn metrics(&self, filter: Filter, aggregates: Vec<Aggregate>) -> Call {
        let group_by = self.by_day(&[GroupBy::Field(column(&NAME))]);
        Call::Numbers(Query { filter, aggregates, group_by, ..self.numbers(Stream::Metrics) })
    }

    /// The hour before `end` by minute.
    fn hour(&self, end: i64) -> Result<Call> {
        let window =
            TimeRange { start: TimestampUs(end.saturating_sub(60 * MINUTE_US)), end: TimestampUs(end) };
        let minutes = Buckets::cover(window, BucketUnit::Step(MINUTE_US), &TimeZone::UTC, BUCKETS_MAX)?;
        Ok(Call::Numbers(Query {
            window,
            filter: self.of_app(),
            group_by: vec![GroupBy::Bucket(minutes), GroupBy::Field(column(&NAME))],
            aggregates: vec![Aggregate::Avg(value()), Aggregate::Sum(value())],
            ..self.numbers(Stream::Metrics)
        }))
    }

    /// The metrics of the subject's app.
    fn of_app(&self) -> Filter {
        Filter::And(vec![is(&APP_ID, &self.subject.app), live_metrics()])
    }
}

/// Whose rows.
///
/// # Errors
///
/// For a name that is none.
pub(super) fn scope(subject: &Subject) -> Result<Scope> {
    subject.organization.as_deref().map_or(Ok(Scope::All), |name| TenantId::new(name).map(Scope::One))
}

/// The days before `end`, in microseconds.
pub(super) fn long_window(end: i64) -> TimeRange {
    TimeRange { start: TimestampUs(end.saturating_sub(DAYS * DAY_US)), end: TimestampUs(end) }
}

/// A count of all rows, to be made more of.
pub(crate) fn numbers(scope: Scope, stream: Stream, window: TimeRange) -> Query {
    Query {
        scope,
        stream,
        window,
        filter: Filter::all(),
        group_by: Vec::new(),
        aggregates: vec![Aggregate::Count],
        budget: Budget::default(),
        rows_only: false,
        allow_partial: false,
    }
}

/// Sessions by bucket.
pub(crate) fn sessions(scope: Scope, window: TimeRange, buckets: Buckets) -> SessionRequest {
    SessionRequest {
        scope,
        window,
        buckets,
        filter: Filter::all(),
        classes: classes(),
        exact: false,
        budget: Budget::default(),
        allow_partial: false,
    }
}

/// The newest rows.
pub(crate) fn rows(
    scope: Scope,
    stream: Stream,
    window: TimeRange,
    filter: Filter,
    limit: usize,
) -> RowRequest {
    RowRequest {
        scope,
        stream,
        window,
        filter,
        order: Order::Desc,
        limit,
        after: None,
        columns: None,
        allow_partial: false,
    }
}

/// A column as a field.
pub(crate) fn column(def: &ColumnDef) -> Field {
    Field::Column(def.id)
}

/// Text of a column equals this.
pub(crate) fn is(def: &ColumnDef, value: &str) -> Filter {
    Filter::Compare(column(def), Op::Is(Literal::Str(value.to_owned())))
}

/// The value of a point.
pub(crate) fn value() -> Field {
    column(&VALUE)
}

fn live_metrics() -> Filter {
    one_of(&NAME, &LIVE_METRICS)
}

/// Text of a column equals one of these.
pub(crate) fn one_of<T: AsRef<str>>(def: &ColumnDef, values: &[T]) -> Filter {
    let values = values.iter().map(|value| Literal::Str(value.as_ref().to_owned())).collect();
    Filter::Compare(column(def), Op::In(values))
}

/// Text in the data of an event equals this.
pub(crate) fn data_is(key: &str, value: &str) -> Filter {
    let path = Field::Path(EVENT_DATA.id, vec![key.to_owned()]);
    Filter::Compare(path, Op::Is(Literal::Str(value.to_owned())))
}

/// What the server's reports take for a page view and for an action.
fn classes() -> SessionClasses {
    let page = one_of(&EVENT_TYPE, &Config::default().page_view_event_types);
    let interactive = Field::Path(EVENT_DATA.id, vec!["interactive".to_owned()]);
    let passive = Filter::Compare(interactive, Op::Is(Literal::Bool(false)));
    let not = |filter: &Filter| Filter::Not(Box::new(filter.clone()));
    let action = Filter::And(vec![not(&page), not(&passive)]);
    SessionClasses { interactive: Filter::Or(vec![page.clone(), action.clone()]), page, action }
}
