//! Errors that came: grave audit records and events that are errors, by kind.
//!
//! What counts is when the server received a record, not when it happened: an error that a client could send only
//! later is news all the same. A kind is the action or event type, the type of the object, and the description
//! without what differs from case to case, so that a thousand failures of one kind are one alert.

use insights_engine::id::Stream;
use insights_engine::query::{Filter, Literal, Op, RowRequest};
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
/// Most records that one look reads; of a greater storm the counts are of these.
const LOOK_ROWS_MAX: usize = 50_000;
/// How long before its receipt an error may have happened, or after it by a wrong clock.
const STRAY_US: i64 = DAY_US;
/// A record may become visible a little after those that were received after it.
const OVERLAP: Length = Length::seconds(10);
/// Where the message of an event may be.
const MESSAGE_PATHS: [&str; 3] = ["message", "error", "description"];

/// Up to where errors were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// Those received until here were.
    pub received: TimestampUs,
    /// The last of each stream that was, once there was one.
    seqs: [Option<u64>; 2],
}

impl Since {
    /// Nothing that was received after `received` was looked at.
    pub const fn new(received: TimestampUs) -> Self {
        Self { received, seqs: [None; 2] }
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
    let mut found = vec![Readings { are_new: true, ..Readings::default() }; instants.len()];
    let Some(last) = instants.last().copied() else { return Ok(found) };
    let reader = place.reader();
    for (slot, stream) in [Stream::Audit, Stream::Events].into_iter().enumerate() {
        let Some(filter) = filter(condition, stream) else { continue };
        let Some(seen) = since.seqs.get_mut(slot) else { continue };
        let request = request(&reader, stream, filter, (since.received, last), *seen);
        let mut take = |row: &Row<'_>| {
            *seen = (*seen).max(Some(row.seq));
            let at = instants.partition_point(|at| *at < row.received);
            if let Some(readings) = found.get_mut(at) {
                count(readings, row, stream);
            }
        };
        read(&reader, request, stream, LOOK_ROWS_MAX.saturating_mul(instants.len()), &mut take)?;
    }
    since.received = last;
    Ok(found)
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

fn request(
    reader: &Reader<'_>,
    stream: Stream,
    errors: Filter,
    (after, until): (TimestampUs, TimestampUs),
    seen: Option<u64>,
) -> RowRequest {
    let (start, end) = (after.0.saturating_sub(STRAY_US), until.0.saturating_add(STRAY_US));
    let range = TimeRange { start: TimestampUs(start), end: TimestampUs(end) };
    let mut request = reader.row_request(stream, range, PAGE_ROWS);
    let from = if seen.is_some() { after.0.saturating_sub(OVERLAP.us()) } else { after.0 };
    let received = |op| Filter::Compare(column(&stream::RECEIVED), op);
    let mut all =
        vec![errors, received(Op::Gt(Literal::I64(from))), received(Op::Lte(Literal::I64(until.0)))];
    if let Some(seq) = seen {
        let seq = i64::try_from(seq).map_or(Literal::U64(seq), Literal::I64);
        all.push(Filter::Compare(column(&stream::SEQ), Op::Gt(seq)));
    }
    request.filter = Filter::And(all);
    request.columns = Some(columns(stream).iter().map(|def| def.id).collect());
    request
}

/// Gives every error to `take`, page by page.
fn read(
    reader: &Reader<'_>,
    mut request: RowRequest,
    stream: Stream,
    rows_max: usize,
    take: &mut dyn FnMut(&Row<'_>),
) -> Result<(), ApiError> {
    let mut rows = 0;
    loop {
        let page = reader.rows(&request)?;
        for batch in &page.batches {
            rows += batch.rows();
            for index in 0..batch.rows() {
                take(&row(batch, index, stream));
            }
        }
        request.after = page.next;
        if request.after.is_none() || rows >= rows_max {
            return Ok(());
        }
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
    use super::*;

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
