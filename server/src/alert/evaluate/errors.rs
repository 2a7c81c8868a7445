//! Errors that came: grave audit records and events that are errors, by kind.
//!
//! What counts is when the server received a record, not when it happened: an error that a client could send only
//! later is news all the same. A kind is the action or event type, the type of the object, and the description
//! without what differs from case to case, so that a thousand failures of one kind are one alert.

use insights_engine::id::Stream;
use insights_engine::query::{Cursor, Filter, Literal, Op, RowRequest};
use insights_engine::schema::{Batch, ColumnDef, Document, Scalar, stream};
use insights_engine::time::{DAY_US, TimeRange, TimestampUs};

use super::Place;
use crate::alert::board::{Readings, SERIES_MAX};
use crate::alert::condition::ErrorsCondition;
use crate::alert::error_kind::normalized;
use crate::alert::label::Labels;
use crate::alert::length::Length;
use crate::alert::state::Observation;
use crate::domain::audit::OWN_ACTION_PREFIX;
use crate::http::error::ApiError;
use crate::report::fields::{column, is, is_one_of};
use crate::report::reader::Reader;

/// Records of a page.
const PAGE_ROWS: usize = 5_000;
/// Most records that one look reads; the next look goes on with the rest of a greater storm.
const LOOK_ROWS_MAX: usize = 50_000;
/// How long before its receipt an error may have happened, or after it by a wrong clock.
const STRAY_US: i64 = DAY_US;
/// How long after its receipt a record becomes visible at the latest: it is stamped before it is on disk.
pub const OVERLAP: Length = Length::seconds(10);
/// Where the message of an event may be.
const MESSAGE_PATHS: [&str; 3] = ["message", "error", "description"];

/// Up to where errors were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// Those received until here are no news.
    began: TimestampUs,
    /// The instant of the last look.
    looked: TimestampUs,
    /// Whether the time that is looked at is over: what was received after the last instant is then none of it. Else
    /// it counts at once, so that no `seq` below one that was seen is left behind when the clock is set back.
    is_over: bool,
    /// Up to where each stream was read.
    streams: [Seen; 2],
}

/// Up to where a stream was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Seen {
    /// The greatest `seq` of those that were, once there was one: what comes later has a greater one.
    seq: Option<u64>,
    /// What one look could not read to its end.
    rest: Option<Rest>,
}

/// The rest of a question, which the next look goes on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rest {
    /// Received after this.
    from: TimestampUs,
    /// Received until this.
    until: TimestampUs,
    /// After which row.
    after: Cursor,
    /// The greatest `seq` so far.
    top: Option<u64>,
}

impl Since {
    /// Nothing that was received after `began` was looked at; time goes on.
    pub const fn new(began: TimestampUs) -> Self {
        Self { began, looked: began, is_over: false, streams: [Seen { seq: None, rest: None }; 2] }
    }

    /// The same within a time that is over.
    pub const fn rehearsed(began: TimestampUs) -> Self {
        Self { is_over: true, ..Self::new(began) }
    }

    /// After which receipt errors are news in a look at `until`, while none was seen: those of the look before may have
    /// become visible after it.
    fn from(&self, until: TimestampUs) -> TimestampUs {
        let overlapped = TimestampUs(self.looked.min(until).0.saturating_sub(OVERLAP.us()));
        // Before its own beginning a clock was set back: the beginning says nothing then.
        if until < self.began { overlapped } else { overlapped.max(self.began) }
    }
}

/// An error as it is read.
struct Row<'a> {
    received: TimestampUs,
    seq: u64,
    kind: &'a str,
    object_type: Option<&'a str>,
    app_id: Option<&'a str>,
    text: String,
}

/// The new errors up to each instant, by kind.
pub(super) fn look(
    place: &Place<'_>,
    condition: &ErrorsCondition,
    instants: &[TimestampUs],
    since: &mut Since,
) -> Result<Vec<Readings>, ApiError> {
    look_up_to(place, condition, instants, since, LOOK_ROWS_MAX.saturating_mul(instants.len()))
}

/// [`look`], of which each stream gives about `rows_max` rows at most.
fn look_up_to(
    place: &Place<'_>,
    condition: &ErrorsCondition,
    instants: &[TimestampUs],
    since: &mut Since,
    rows_max: usize,
) -> Result<Vec<Readings>, ApiError> {
    let mut found = vec![Readings { are_new: true, ..Readings::default() }; instants.len()];
    let Some(last) = instants.last().copied() else { return Ok(found) };
    let reader = place.reader();
    let from = since.from(last);
    let until = if since.is_over { last } else { TimestampUs(i64::MAX) };
    for (seen, stream) in since.streams.iter_mut().zip([Stream::Audit, Stream::Events]) {
        let Some(filter) = filter(condition, stream) else { continue };
        let mut take = |row: &Row<'_>| {
            let at = instants.partition_point(|at| *at < row.received).min(instants.len() - 1);
            if let Some(readings) = found.get_mut(at) {
                count(readings, row, stream);
            }
        };
        let mut rows_left = rows_max;
        // What a look left over, then what has come since.
        if let Some(rest) = seen.rest.take() {
            rows_left = read(&reader, (stream, &filter), rest.into(), seen, rows_left, &mut take)?;
        }
        if seen.rest.is_none() {
            let from = Walk { from, until, after: None, top: None };
            read(&reader, (stream, &filter), from, seen, rows_left, &mut take)?;
        }
    }
    since.looked = last;
    Ok(found)
}

/// A question for rows, from its beginning or from where it was left.
#[derive(Debug, Clone, Copy)]
struct Walk {
    from: TimestampUs,
    until: TimestampUs,
    after: Option<Cursor>,
    top: Option<u64>,
}

impl From<Rest> for Walk {
    fn from(rest: Rest) -> Self {
        Self { from: rest.from, until: rest.until, after: Some(rest.after), top: rest.top }
    }
}

/// Adds an error to what was found.
fn count(readings: &mut Readings, row: &Row<'_>, stream: Stream) {
    let labels = labels(row, stream);
    if let Some(Observation::Value(count)) = readings.series.get_mut(&labels) {
        *count += 1.0;
    } else if readings.series.len() < SERIES_MAX {
        readings.series.insert(labels, Observation::Value(1.0));
    } else {
        readings.omitted += 1;
    }
}

fn labels(row: &Row<'_>, stream: Stream) -> Labels {
    let name = if stream == Stream::Audit { "action_type" } else { "event_type" };
    let mut labels = Labels::from([(name.to_owned(), row.kind.to_owned())]);
    let others =
        [("object_type", row.object_type), ("app_id", row.app_id), ("error", Some(row.text.as_str()))];
    for (name, value) in others {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            labels.insert(name.to_owned(), value.to_owned());
        }
    }
    labels
}

/// Which records of a stream are errors; `None` when none is.
fn filter(condition: &ErrorsCondition, of: Stream) -> Option<Filter> {
    let mut all = match of {
        Stream::Audit => {
            let own = Op::StartsWith(OWN_ACTION_PREFIX.to_owned());
            let least = i64::try_from(condition.min_severity.tag()).unwrap_or(i64::MAX);
            let mut all = vec![
                Filter::Compare(column(&stream::SEVERITY), Op::Gte(Literal::I64(least))),
                // Alerts are records too: one must not be the cause of the next.
                Filter::Not(Box::new(Filter::Compare(column(&stream::ACTION_TYPE), own))),
            ];
            if let Some(prefix) = &condition.action_prefix {
                let starts = Op::StartsWith(prefix.clone());
                all.push(Filter::Compare(column(&stream::ACTION_TYPE), starts));
            }
            all
        }
        Stream::Events if condition.event_types.is_empty() => return None,
        Stream::Events => vec![is_one_of(&stream::EVENT_TYPE, &condition.event_types)],
        Stream::Metrics => return None,
    };
    all.extend(condition.app_id.as_ref().map(|app| is(&stream::APP_ID, app)));
    Some(Filter::And(all))
}

/// The columns that are read of a stream; the personal ones only to take them out of descriptions.
fn columns(of: Stream) -> Vec<ColumnDef> {
    let common =
        [stream::TIME, stream::RECEIVED, stream::SEQ, stream::USER_ID, stream::IP_ADDRESS, stream::APP_ID];
    let own: &[ColumnDef] = match of {
        Stream::Audit => &[
            stream::ACTION_TYPE,
            stream::DESCRIPTION,
            stream::OBJECT_TYPE,
            stream::OBJECT_ID,
            stream::OBJECT_REPR,
            stream::USER_NAME,
        ],
        Stream::Events | Stream::Metrics => {
            &[stream::EVENT_TYPE, stream::EVENT_DATA, stream::ANONYMOUS_ID, stream::SESSION_ID]
        }
    };
    common.iter().chain(own).copied().collect()
}

/// The question of a walk. Once an error was seen, news are told by `seq` alone: no clock can hide them.
fn request(
    reader: &Reader<'_>,
    (stream, errors): (Stream, &Filter),
    walk: &Walk,
    seen: Option<u64>,
    limit: usize,
) -> RowRequest {
    let (start, end) = (walk.from.0.saturating_sub(STRAY_US), walk.until.0.saturating_add(STRAY_US));
    let range = TimeRange { start: TimestampUs(start), end: TimestampUs(end) };
    let mut request = reader.row_request(stream, range, limit);
    let received = |op| Filter::Compare(column(&stream::RECEIVED), op);
    let mut all = vec![errors.clone(), received(Op::Lte(Literal::I64(walk.until.0)))];
    all.push(match seen {
        Some(seq) => {
            let seq = i64::try_from(seq).map_or(Literal::U64(seq), Literal::I64);
            Filter::Compare(column(&stream::SEQ), Op::Gt(seq))
        }
        None => received(Op::Gt(Literal::I64(walk.from.0))),
    });
    request.filter = Filter::And(all);
    request.columns = Some(columns(stream).iter().map(|def| def.id).collect());
    request.after = walk.after;
    request
}

/// Gives the errors of a walk to `take`, page by page, oldest first, and remembers how far it came. Gives how many more
/// rows may be read.
fn read(
    reader: &Reader<'_>,
    (stream, errors): (Stream, &Filter),
    mut walk: Walk,
    seen: &mut Seen,
    rows_max: usize,
    take: &mut dyn FnMut(&Row<'_>),
) -> Result<usize, ApiError> {
    let mut request = request(reader, (stream, errors), &walk, seen.seq, PAGE_ROWS.min(rows_max.max(1)));
    let mut rows_left = rows_max;
    loop {
        let page = reader.rows(&request)?;
        for batch in &page.batches {
            rows_left = rows_left.saturating_sub(batch.rows());
            for index in 0..batch.rows() {
                let row = row(batch, index, stream);
                walk.top = walk.top.max(Some(row.seq));
                take(&row);
            }
        }
        let Some(after) = page.next else {
            seen.seq = seen.seq.max(walk.top);
            return Ok(rows_left);
        };
        if rows_left == 0 {
            seen.rest = Some(Rest { from: walk.from, until: walk.until, after, top: walk.top });
            return Ok(0);
        }
        request.after = Some(after);
    }
}

fn row(batch: &Batch, index: usize, of: Stream) -> Row<'_> {
    let text = |def: &ColumnDef| {
        let text = batch.column(def).and_then(|column| column.as_bytes()?.get_str(index));
        text.filter(|text| !text.is_empty())
    };
    let received = batch.column(&stream::RECEIVED).and_then(|column| column.as_i64()?.get(index).copied());
    let seq = batch.column(&stream::SEQ).and_then(|column| column.as_u64()?.get(index).copied());
    let (kind, description, personal) = match of {
        Stream::Audit => (
            text(&stream::ACTION_TYPE),
            text(&stream::DESCRIPTION).map(str::to_owned),
            vec![
                stream::USER_ID,
                stream::USER_NAME,
                stream::OBJECT_ID,
                stream::OBJECT_REPR,
                stream::IP_ADDRESS,
            ],
        ),
        Stream::Events | Stream::Metrics => (
            text(&stream::EVENT_TYPE),
            message(batch, index),
            vec![stream::USER_ID, stream::ANONYMOUS_ID, stream::SESSION_ID, stream::IP_ADDRESS],
        ),
    };
    let personal: Vec<&str> = personal.iter().filter_map(&text).collect();
    Row {
        received: TimestampUs(received.unwrap_or_default()),
        seq: seq.unwrap_or_default(),
        kind: kind.unwrap_or_default(),
        object_type: if of == Stream::Audit { text(&stream::OBJECT_TYPE) } else { None },
        app_id: text(&stream::APP_ID),
        text: normalized(&description.unwrap_or_default(), &personal),
    }
}

/// What an event says about the error that it is.
fn message(batch: &Batch, index: usize) -> Option<String> {
    let document = batch.column(&stream::EVENT_DATA)?.as_bytes()?.get(index)?;
    MESSAGE_PATHS.iter().find_map(|path| match Document::get(document, &[(*path).to_owned()]) {
        Ok(Some(Scalar::Str(text))) => Some(text.to_string()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::Method;
    use insights_engine::id::TenantId;
    use serde_json::json;

    use super::*;
    use crate::alert::condition::Condition;
    use crate::alert::driver::within;
    use crate::alert::rule::RuleDocument;
    use crate::testing::TestApp;

    /// Sends critical records, one of each kind.
    async fn send(app: &TestApp, key: &str, kinds: std::ops::Range<usize>) {
        let record = |kind: usize| json!({"action_type": format!("job.{kind}"), "severity": "critical"});
        let body = json!(kinds.map(record).collect::<Vec<_>>());
        let answer = app.call(Method::POST, "/api/insights/audit/", key, &body).await;
        assert!(answer.status.is_success(), "{answer:?}");
    }

    /// How many errors a look finds now that reads about `rows_max` rows.
    async fn found(app: &TestApp, since: &mut Since, rows_max: usize) -> usize {
        let body = json!({"name": "Errors", "condition": {"type": "errors"}});
        let Condition::Errors(condition) = RuleDocument::read(&body).unwrap().condition else {
            panic!("not a rule of errors");
        };
        let (now, mut after) = (app.state.clock.now(), *since);
        let organization = TenantId::new("acme").unwrap();
        let looked = within(&app.state, &organization, move |place| {
            let found = look_up_to(place, &condition, &[now], &mut after, rows_max)?;
            Ok((found[0].series.len(), after))
        });
        let (count, after) = looked.await.unwrap();
        *since = after;
        count
    }

    #[tokio::test]
    async fn an_error_that_becomes_visible_after_a_later_look_is_not_lost() {
        let app = TestApp::new();
        let key = app.key("acme", &["admin"]).await;
        let began = app.state.clock.now();
        app.clock.advance(Duration::from_mins(1));
        send(&app, &key, 0..1).await;
        // A look was at nine seconds later when the record was not on disk yet.
        let looked = TimestampUs(app.state.clock.now().0 + 9_000_000);
        let mut since = Since { looked, ..Since::new(began) };
        app.clock.advance(Duration::from_secs(14));
        assert_eq!(found(&app, &mut since, LOOK_ROWS_MAX).await, 1);
        assert_eq!(found(&app, &mut since, LOOK_ROWS_MAX).await, 0);
        // What came before the beginning is no news, however near.
        let mut since = Since::new(TimestampUs(began.0 + 60_000_000));
        assert_eq!(found(&app, &mut since, LOOK_ROWS_MAX).await, 0);
    }

    #[tokio::test]
    async fn after_the_clock_was_set_back_errors_are_told_by_their_number() {
        let app = TestApp::new();
        let key = app.key("acme", &["admin"]).await;
        let later = TimestampUs(app.state.clock.now().0 + 3_600_000_000);
        // The clock has been an hour ahead, with and without an error until then.
        app.clock.advance(Duration::from_secs(1));
        send(&app, &key, 0..1).await;
        let mut silent = Since { looked: later, ..Since::new(app.state.clock.now()) };
        let mut since = Since::new(TimestampUs(app.state.clock.now().0 - 1));
        assert_eq!(found(&app, &mut since, LOOK_ROWS_MAX).await, 1);
        since.looked = later;
        app.clock.advance(Duration::from_secs(5));
        send(&app, &key, 1..3).await;
        assert_eq!(found(&app, &mut since, LOOK_ROWS_MAX).await, 2);
        assert_eq!(found(&app, &mut silent, LOOK_ROWS_MAX).await, 2);
    }

    #[tokio::test]
    async fn what_one_look_cannot_read_the_next_ones_do() {
        let app = TestApp::new();
        let key = app.key("acme", &["admin"]).await;
        let mut since = Since::new(app.state.clock.now());
        app.clock.advance(Duration::from_secs(1));
        send(&app, &key, 0..25).await;
        assert_eq!(found(&app, &mut since, 10).await, 10);
        send(&app, &key, 25..30).await;
        assert_eq!(found(&app, &mut since, 10).await, 10);
        app.flush();
        assert_eq!(found(&app, &mut since, 10).await, 10);
        assert_eq!(found(&app, &mut since, 10).await, 0);
    }

    #[test]
    fn errors_of_one_kind_are_counted_together_and_kinds_are_bounded() {
        let mut readings = Readings::default();
        let row = |text: &str| Row {
            received: TimestampUs(0),
            seq: 1,
            kind: "db.failed",
            object_type: None,
            app_id: Some("shop"),
            text: text.to_owned(),
        };
        for _ in 0..3 {
            count(&mut readings, &row("timeout"), Stream::Audit);
        }
        let labels = labels(&row("timeout"), Stream::Audit);
        assert_eq!(readings.series[&labels], Observation::Value(3.0));
        assert_eq!(labels.keys().collect::<Vec<_>>(), ["action_type", "app_id", "error"]);
        for n in 0..SERIES_MAX + 4 {
            count(&mut readings, &row(&format!("kind {n}")), Stream::Events);
        }
        assert_eq!((readings.series.len(), readings.omitted), (SERIES_MAX, 5));
    }
}
