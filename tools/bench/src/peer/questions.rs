//! The questions of `benches/peers/QUESTIONS.md` as calls of the engine, and their answers as rows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use insights_engine::id::{Stream, TenantId};
use insights_engine::query::{
    Aggregate, Cost, Field, Filter, Group, GroupBy, KeyValue, Number, Op, Query, RowPage, RowRequest, Scope,
};
use insights_engine::schema::stream::{
    ACTION_TYPE, ANONYMOUS_ID, APP_ID, EVENT_TYPE, NAME, OBJECT_ID, SEQ, SESSION_ID, TIME, USER_ID,
};
use insights_engine::schema::{Batch, ColumnDef};
use insights_engine::time::{BucketUnit, Buckets, TimeRange, TimestampUs};
use insights_engine::view::View;
use insights_engine::{Engine, Result};
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::inside::calls::{
    BUCKETS_MAX, MINUTE_US, SYSTEM_METRICS, column, data_is, is, numbers, one_of, rows, sessions, value,
};
use crate::question::{LIVE_METRICS, PAGE_ROWS, SEARCH_ROWS};

/// What the audit search of the harness looks for.
const SEARCHED_PREFIX: &str = "security.";
/// Quantiles of response times.
const QUANTILES: [f64; 3] = [0.5, 0.95, 0.99];

/// A question by its name in the harness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum PeerQuestion {
    Q1,
    Q2,
    Q3,
    Q4a,
    Q4b,
    Q5,
    Q6,
    Q7,
    Q8,
}

/// What it is asked about; a question reads those that it needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Parameters {
    org: String,
    app: String,
    user: String,
    page: String,
    browser: String,
    /// The window, epoch milliseconds, half-open.
    t0: i64,
    t1: i64,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answered {
    /// Its rows, each an array of `SHAPE` in the harness.
    pub(super) rows: Vec<Value>,
    /// Until the engine had answered.
    pub(super) elapsed: Duration,
    /// What the engine read for it.
    pub(super) cost: Cost,
}

/// Asks one question of one view.
///
/// # Errors
///
/// Those of the engine, and for an organization whose name is none.
pub(super) fn ask(engine: &Engine, question: PeerQuestion, parameters: &Parameters) -> Result<Answered> {
    let asking = Asking::new(engine.view(), parameters, question == PeerQuestion::Q7)?;
    match question {
        PeerQuestion::Q1 => asking.activity(),
        PeerQuestion::Q2 => asking.systems(),
        PeerQuestion::Q3 => asking.application(),
        PeerQuestion::Q4a => asking.everybody(),
        PeerQuestion::Q4b => asking.requests(),
        PeerQuestion::Q5 => asking.search(),
        PeerQuestion::Q6 => asking.page_of_browser(),
        PeerQuestion::Q7 => asking.live(),
        PeerQuestion::Q8 => asking.pages(),
    }
}

/// A question under way.
#[derive(Debug)]
struct Asking<'a> {
    view: View,
    asked: &'a Parameters,
    window: TimeRange,
    buckets: Buckets,
    began: Instant,
    cost: Cost,
}

impl<'a> Asking<'a> {
    fn new(view: View, asked: &'a Parameters, by_minute: bool) -> Result<Self> {
        let at = |ms: i64| TimestampUs(ms.saturating_mul(1000));
        let window = TimeRange::new(at(asked.t0), at(asked.t1))?;
        let unit = if by_minute { BucketUnit::Step(MINUTE_US) } else { BucketUnit::Day };
        let buckets = Buckets::cover(window, unit, &TimeZone::UTC, BUCKETS_MAX)?;
        Ok(Self { view, asked, window, buckets, began: Instant::now(), cost: Cost::default() })
    }

    fn one(&self) -> Result<Scope> {
        TenantId::new(&self.asked.org).map(Scope::One)
    }

    /// Numbers by bucket, and by a field where one is named.
    fn numbers(
        &mut self,
        (scope, stream): (Scope, Stream),
        filter: Filter,
        by: Option<&ColumnDef>,
        aggregates: Vec<Aggregate>,
    ) -> Result<Vec<Group>> {
        let mut group_by = vec![GroupBy::Bucket(self.buckets.clone())];
        group_by.extend(by.map(|def| GroupBy::Field(column(def))));
        let query = Query { filter, group_by, aggregates, ..numbers(scope, stream, self.window) };
        let answer = self.view.aggregate(&query)?;
        self.cost += answer.cost;
        Ok(answer.groups)
    }

    /// The engine has answered: now its answer is made rows of.
    fn finish(self, elapsed: Duration, rows: Vec<Value>) -> Answered {
        Answered { rows, elapsed, cost: self.cost }
    }

    /// The start of a group's bucket, epoch milliseconds.
    fn start(&self, group: &Group) -> i64 {
        if let Some(KeyValue::Bucket(index)) = group.key.first() {
            return self.bucket(*index);
        }
        0
    }

    fn bucket(&self, index: usize) -> i64 {
        self.buckets.get(index).map_or(0, |bucket| bucket.start.0 / 1000)
    }

    fn activity(mut self) -> Result<Answered> {
        let from = (self.one()?, Stream::Events);
        let users = vec![Aggregate::Count, Aggregate::Distinct(identity())];
        let days = self.numbers(from.clone(), Filter::all(), None, users)?;
        let types = self.numbers(from.clone(), Filter::all(), Some(&EVENT_TYPE), vec![Aggregate::Count])?;
        let chains = self.view.sessions(&sessions(from.0, self.window, self.buckets.clone()))?;
        self.cost += chains.cost;
        let elapsed = self.began.elapsed();
        let active = |group: &Group| match group.key.first() {
            Some(KeyValue::Bucket(index)) => chains.active.get(*index).copied().unwrap_or(0),
            _ => 0,
        };
        let day =
            |group: &Group| json!([self.start(group), "", count(group, 0), count(group, 1), active(group)]);
        let of_type = |group: &Group| json!([self.start(group), text(group, 1), count(group, 0), 0, 0]);
        let rows = days.iter().map(day).chain(types.iter().map(of_type)).collect();
        Ok(self.finish(elapsed, rows))
    }

    fn systems(mut self) -> Result<Answered> {
        let of_no_app = Filter::Not(Box::new(Filter::Compare(column(&APP_ID), Op::Exists)));
        let filter = Filter::And(vec![one_of(&NAME, &SYSTEM_METRICS), of_no_app]);
        let aggregates =
            vec![Aggregate::Avg(value()), Aggregate::Max(value()), Aggregate::Quantile(value(), 0.95)];
        let from = (self.one()?, Stream::Metrics);
        let groups = self.numbers(from, filter, Some(&NAME), aggregates)?;
        let elapsed = self.began.elapsed();
        let row = |group: &Group| {
            json!([self.start(group), text(group, 1), number(group, 0), number(group, 1), number(group, 2)])
        };
        let rows = groups.iter().map(row).collect();
        Ok(self.finish(elapsed, rows))
    }

    /// The three metrics of applications by bucket and name: mean, sum and quantiles of each.
    fn app_metrics(
        &mut self,
        scope: Scope,
        app: Option<&str>,
    ) -> Result<BTreeMap<i64, BTreeMap<String, Group>>> {
        let of_app = match app {
            Some(app) => is(&APP_ID, app),
            None => Filter::Compare(column(&APP_ID), Op::Exists),
        };
        let filter = Filter::And(vec![one_of(&NAME, &LIVE_METRICS), of_app]);
        let mut aggregates = vec![Aggregate::Avg(value()), Aggregate::Sum(value())];
        aggregates.extend(QUANTILES.map(|q| Aggregate::Quantile(value(), q)));
        let groups = self.numbers((scope, Stream::Metrics), filter, Some(&NAME), aggregates)?;
        let mut by_bucket: BTreeMap<i64, BTreeMap<String, Group>> = BTreeMap::new();
        for group in groups {
            let start = self.start(&group);
            let name = text(&group, 1).as_str().unwrap_or_default().to_owned();
            by_bucket.entry(start).or_default().insert(name, group);
        }
        Ok(by_bucket)
    }

    fn application(mut self) -> Result<Answered> {
        let (scope, app) = (self.one()?, self.asked.app.clone());
        let buckets = self.app_metrics(scope, Some(&app))?;
        let elapsed = self.began.elapsed();
        let row = |(start, names): (&i64, &BTreeMap<String, Group>)| {
            let [times, requests, errors] = LIVE_METRICS.map(|name| names.get(name));
            let of = |n| times.and_then(|group| double(group, n));
            let sum = |group: Option<&Group>| group.and_then(|group| double(group, 1));
            let rate = sum(requests).filter(|n| *n > 0.0).map(|n| sum(errors).unwrap_or(0.0) / n);
            json!([start, of(0), of(2), of(3), of(4), rate])
        };
        let rows = buckets.iter().map(row).collect();
        Ok(self.finish(elapsed, rows))
    }

    fn everybody(mut self) -> Result<Answered> {
        let aggregates = vec![Aggregate::Count, Aggregate::Distinct(identity())];
        let groups = self.numbers((Scope::All, Stream::Events), Filter::all(), None, aggregates)?;
        let elapsed = self.began.elapsed();
        let row = |group: &Group| json!([self.start(group), count(group, 0), count(group, 1)]);
        let rows = groups.iter().map(row).collect();
        Ok(self.finish(elapsed, rows))
    }

    fn requests(mut self) -> Result<Answered> {
        let buckets = self.app_metrics(Scope::All, None)?;
        let elapsed = self.began.elapsed();
        let row = |(start, names): (&i64, &BTreeMap<String, Group>)| {
            let [times, requests, errors] = LIVE_METRICS.map(|name| names.get(name));
            let sum = |group: Option<&Group>| group.and_then(|group| double(group, 1)).unwrap_or(0.0);
            json!([start, sum(requests), sum(errors), times.and_then(|group| double(group, 3))])
        };
        let rows = buckets.iter().map(row).collect();
        Ok(self.finish(elapsed, rows))
    }

    fn search(mut self) -> Result<Answered> {
        let starts = Filter::Compare(column(&ACTION_TYPE), Op::StartsWith(SEARCHED_PREFIX.to_owned()));
        let filter = Filter::And(vec![is(&USER_ID, &self.asked.user), starts]);
        let request = RowRequest {
            columns: Some([TIME, SEQ, ACTION_TYPE, OBJECT_ID].map(|def| def.id).into()),
            ..rows(self.one()?, Stream::Audit, self.window, filter, SEARCH_ROWS)
        };
        let page = self.view.rows(&request)?;
        self.cost += page.cost;
        let elapsed = self.began.elapsed();
        let rows = records(&page, true);
        Ok(self.finish(elapsed, rows))
    }

    fn page_of_browser(mut self) -> Result<Answered> {
        let (page, browser) = (&self.asked.page, &self.asked.browser);
        let filter = Filter::And(vec![data_is("page", page), data_is("browser", browser)]);
        let from = (self.one()?, Stream::Events);
        let groups = self.numbers(from, filter, None, vec![Aggregate::Count])?;
        let elapsed = self.began.elapsed();
        let rows = groups.iter().map(|group| json!([self.start(group), count(group, 0)])).collect();
        Ok(self.finish(elapsed, rows))
    }

    fn live(mut self) -> Result<Answered> {
        let filter = Filter::And(vec![is(&APP_ID, &self.asked.app), one_of(&NAME, &LIVE_METRICS)]);
        let aggregates = vec![Aggregate::Avg(value()), Aggregate::Sum(value())];
        let from = (self.one()?, Stream::Metrics);
        let groups = self.numbers(from, filter, Some(&NAME), aggregates)?;
        let elapsed = self.began.elapsed();
        let mut minutes: BTreeMap<i64, [Option<f64>; 3]> = BTreeMap::new();
        for group in &groups {
            let row = minutes.entry(self.start(group)).or_default();
            for (index, (cell, name)) in row.iter_mut().zip(LIVE_METRICS).enumerate() {
                if text(group, 1) == name {
                    *cell = double(group, usize::from(index > 0));
                }
            }
        }
        let row = |(start, [time, requests, errors]): (&i64, &[Option<f64>; 3])| {
            json!([start, time, requests.unwrap_or(0.0), errors.unwrap_or(0.0)])
        };
        let rows = minutes.iter().map(row).collect();
        Ok(self.finish(elapsed, rows))
    }

    fn pages(mut self) -> Result<Answered> {
        let request = RowRequest {
            columns: Some([TIME, SEQ, ACTION_TYPE].map(|def| def.id).into()),
            ..rows(self.one()?, Stream::Audit, TimeRange::ALL, Filter::all(), PAGE_ROWS)
        };
        let first = self.view.rows(&request)?;
        let second = match first.next {
            Some(after) => Some(self.view.rows(&RowRequest { after: Some(after), ..request })?),
            None => None,
        };
        let elapsed = self.began.elapsed();
        let pages = [Some(first), second];
        pages.iter().flatten().for_each(|page| self.cost += page.cost);
        let rows = pages.iter().flatten().flat_map(|page| records(page, false)).collect();
        Ok(self.finish(elapsed, rows))
    }
}

/// Who an event is of, as the server's reports have it.
fn identity() -> Field {
    Field::FirstOf([USER_ID, ANONYMOUS_ID, SESSION_ID].iter().map(column).collect())
}

fn count(group: &Group, index: usize) -> u64 {
    group.values.get(index).map_or(0, |number| number.as_u64())
}

fn double(group: &Group, index: usize) -> Option<f64> {
    group.values.get(index).copied().and_then(Number::as_f64)
}

fn number(group: &Group, index: usize) -> Value {
    json!(double(group, index))
}

fn text(group: &Group, index: usize) -> Value {
    match group.key.get(index) {
        Some(KeyValue::Str(text)) => json!(&**text),
        _ => json!(""),
    }
}

/// Audit records: time in milliseconds, seq, action, and the object where it is wanted.
fn records(page: &RowPage, with_object: bool) -> Vec<Value> {
    page.batches
        .iter()
        .flat_map(|batch| (0..batch.rows()).map(move |row| record(batch, row, with_object)))
        .collect()
}

fn record(batch: &Batch, row: usize, with_object: bool) -> Value {
    let time = batch.column(&TIME).and_then(|column| column.as_i64()?.get(row).copied());
    let seq = batch.column(&SEQ).and_then(|column| column.as_u64()?.get(row).copied());
    let text = |def| batch.column(def).and_then(|column| column.as_bytes()?.get_str(row));
    let mut record = vec![json!(time.map(|us| us / 1000)), json!(seq), json!(text(&ACTION_TYPE))];
    if with_object {
        record.push(json!(text(&OBJECT_ID)));
    }
    Value::Array(record)
}
