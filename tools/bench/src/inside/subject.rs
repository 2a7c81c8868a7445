//! What questions are about: taken from the arguments, and from the engine's newest rows where they are silent.

use insights_engine::Result;
use insights_engine::id::Stream;
use insights_engine::query::{Cursor, Filter, Group, GroupBy, KeyValue, RowPage};
use insights_engine::schema::stream::{APP_ID, EVENT_DATA, NAME, USER_ID};
use insights_engine::schema::{Batch, ColumnDef, Document, Scalar};
use insights_engine::time::{TimeRange, TimestampUs};

use super::calls::{column, is, long_window, numbers, rows, scope};
use super::open::Inside;
use crate::args::About;
use crate::error::BenchError;
use crate::question::{PAGE_ROWS, Subject};

/// Finds what to ask about, and where the second page of audit records starts.
///
/// # Errors
///
/// When the engine fails, or there is nothing to ask about.
pub(super) fn find(
    inside: &Inside<'_>,
    about: &About,
) -> std::result::Result<(Subject, Option<Cursor>), BenchError> {
    let ours = |error| inside.error(error);
    let end = about.end.unwrap_or_else(jiff::Timestamp::now);
    let mut subject = Subject {
        organization: about.organization.clone(),
        app: String::new(),
        user: String::new(),
        page: String::new(),
        browser: String::new(),
        end,
        cursor: None,
    };
    let before = TimeRange { start: TimestampUs(i64::MIN), end: TimestampUs(end.as_microsecond()) };
    let events = newest(inside, &subject, Stream::Events, before, 1).map_err(ours)?;
    let audit = newest(inside, &subject, Stream::Audit, TimeRange::ALL, PAGE_ROWS).map_err(ours)?;
    let event = events.batches.first();
    let Some(newest_row) = event.or_else(|| audit.batches.first()) else {
        return Err(BenchError::NothingToAsk(format!(
            "there is no event before {end} and no audit record: name an --organization that has some, or fill the directory with \
             `insights-bench ingest --data-dir` or `insights-server demo`"
        )));
    };
    subject.organization.get_or_insert_with(|| newest_row.tenant().as_str().to_owned());
    subject.page = event.map(|event| data(event, "page")).unwrap_or_default();
    subject.browser = event.map(|event| data(event, "browser")).unwrap_or_default();
    subject.app = match &about.app {
        Some(app) => app.clone(),
        None => busiest_app(inside, &subject).map_err(ours)?.unwrap_or_else(|| text(newest_row, &APP_ID)),
    };
    let audit = newest(inside, &subject, Stream::Audit, TimeRange::ALL, PAGE_ROWS).map_err(ours)?;
    let user = || audit.batches.first().map(|record| text(record, &USER_ID));
    subject.user = about.user.clone().or_else(user).unwrap_or_default();
    Ok((subject, audit.next))
}

fn newest(
    inside: &Inside<'_>,
    subject: &Subject,
    stream: Stream,
    window: TimeRange,
    limit: usize,
) -> Result<RowPage> {
    inside.engine.rows(&rows(scope(subject)?, stream, window, Filter::all(), limit))
}

/// The application with the most response times.
fn busiest_app(inside: &Inside<'_>, subject: &Subject) -> Result<Option<String>> {
    let mut query = numbers(scope(subject)?, Stream::Metrics, long_window(subject.end.as_microsecond()));
    query.filter = is(&NAME, "response.time");
    query.group_by = vec![GroupBy::Field(column(&APP_ID))];
    let answer = inside.engine.aggregate(&query)?;
    let count = |group: &&Group| group.values.first().map_or(0, |number| number.as_u64());
    let busiest = answer.groups.iter().max_by_key(count).and_then(|group| group.key.first());
    Ok(busiest.and_then(|key| if let KeyValue::Str(app) = key { Some(app.to_string()) } else { None }))
}

/// Text of the first row.
fn text(batch: &Batch, def: &ColumnDef) -> String {
    let column = batch.column(def).and_then(|column| column.as_bytes());
    column.and_then(|column| column.get_str(0)).unwrap_or_default().to_owned()
}

/// Text in the data of the first event.
fn data(batch: &Batch, key: &str) -> String {
    let column = batch.column(&EVENT_DATA).and_then(|column| column.as_bytes());
    let value = column.and_then(|column| Document::get(column.get(0)?, &[key.to_owned()]).ok()?);
    if let Some(Scalar::Str(text)) = value { text.to_string() } else { String::new() }
}
