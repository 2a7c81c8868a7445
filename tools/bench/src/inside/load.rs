//! Appends records to an engine in this process, from threads, and collects what happened.

use std::path::Path;
use std::time::Duration;

use insights_engine::Engine;
use insights_engine::append::Append;
use insights_engine::id::TenantId;
use insights_engine::schema::stream::{
    self, ACTION_TYPE, APP_ID, DESCRIPTION, EVENT_DATA, EVENT_TYPE, HOST, IP_ADDRESS, METADATA, MetricKind,
    NAME, OBJECT_ID, OBJECT_TYPE, SESSION_ID, TIME, USER_AGENT, USER_ID, VALUE,
};
use insights_engine::schema::{Batch, BatchBuilder, Document, Value};
use insights_server::domain::metric::KNOWN;

use super::open::{Inside, cpu_time};
use crate::args::Stream;
use crate::error::BenchError;
use crate::load::{Load, Outcome, PAUSE_AFTER_ERROR};
use crate::pace::{Pace, Span};
use crate::progress::{Done, tell};
use crate::records::{Record, What};

/// Runs a load on the engine of a directory. Rows are made before the clock starts; each append copies its batch,
/// as a server's parser would have filled it. Gives the processor time beside what happened: of all threads, from
/// the first append to the end of the last flush.
///
/// # Errors
///
/// When the engine cannot be opened or closed.
pub(crate) fn run(path: &Path, load: &Load, duration: Duration) -> Result<(Outcome, Duration), BenchError> {
    let inside = Inside::open(path)?;
    let tenant = load.organizations.first().map_or("bench", String::as_str);
    let tenant = TenantId::new(tenant).map_err(|error| inside.error(error))?;
    let batches: Vec<Vec<Batch>> = (0..load.clients).map(|index| batches(load, index, &tenant)).collect();
    let (rows, cpu_before) = (Done::default(), cpu_time());
    let span = Span::of(duration);
    let progress = crate::progress::Progress::show(span, &rows, "records");
    let mut outcome = Outcome::default();
    std::thread::scope(|scope| {
        let clients: Vec<_> = batches
            .iter()
            .zip(0..)
            .map(|(batches, index)| {
                let pace = Pace::of(span, load.requests_per_second(), (index, load.clients));
                let (inside, rows) = (&inside, rows.clone());
                scope.spawn(move || append(inside, batches, pace, &rows))
            })
            .collect();
        clients.into_iter().filter_map(|client| client.join().ok()).for_each(|one| outcome.add(&one));
    });
    outcome.elapsed = span.started.elapsed();
    drop(progress);
    inside.close()?;
    Ok((outcome, cpu_time().saturating_sub(cpu_before)))
}

/// One client, until its pace ends.
fn append(inside: &Inside<'_>, batches: &[Batch], mut pace: Pace, done: &Done) -> Outcome {
    let engine: &Engine = &inside.engine;
    let mut outcome = Outcome::default();
    for batch in batches.iter().cycle() {
        let Some(begun) = pace.next_blocking() else { break };
        match engine.append(Append::batch(batch.clone())) {
            Ok(_) => {
                let rows = batch.rows() as u64;
                outcome.answered(begun, rows, batch.memory_bytes() as u64);
                done.add(rows);
            }
            Err(error) => {
                outcome.errors += 1;
                tell(outcome.errors, &inside.error(error));
                std::thread::sleep(PAUSE_AFTER_ERROR);
            }
        }
    }
    outcome
}

/// The batches of one client.
fn batches(load: &Load, index: u32, tenant: &TenantId) -> Vec<Batch> {
    let mut records = load.records(index);
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let stream = engine_stream(load.stream);
    let mut batch = || {
        let mut builder = BatchBuilder::new(tenant.clone(), stream);
        (0..load.batch).for_each(|_| push(&mut builder, &records.draw(now_ms)));
        builder.build()
    };
    (0..load.batches_made()).map(|_| batch()).collect()
}

/// The engine's name of a stream.
pub(super) const fn engine_stream(stream: Stream) -> insights_engine::id::Stream {
    match stream {
        Stream::Events => insights_engine::id::Stream::Events,
        Stream::Metrics => insights_engine::id::Stream::Metrics,
        Stream::Audit => insights_engine::id::Stream::Audit,
    }
}

/// Appends one record as the server's parser does.
pub(super) fn push(out: &mut BatchBuilder, record: &Record) {
    let at_us = record.at_ms.saturating_mul(1000);
    out.i64(&TIME, at_us).i64(&stream::RECEIVED, at_us);
    out.str(&APP_ID, Some(&format!("app-{}", record.app)));
    match record.what {
        What::Event { event_type, session, page, browser, duration_ms } => {
            out.str(&EVENT_TYPE, Some(event_type));
            out.str(&USER_ID, Some(&format!("user-{}", record.user)));
            out.str(&SESSION_ID, Some(&format!("s-{session:x}")));
            let data = document([
                ("page", Value::Str(format!("/app/{page}"))),
                ("browser", Value::Str(browser.to_owned())),
                ("duration_ms", number(duration_ms)),
            ]);
            out.bytes(&EVENT_DATA, Some(data.as_bytes()));
        }
        What::Point { name, hundredths, host } => {
            let kind = KNOWN.iter().find(|metric| metric.name == name).map_or(MetricKind::Gauge, |m| m.kind);
            out.str(&NAME, Some(name)).str(&HOST, Some(&format!("host-{host}")));
            out.u64(&stream::KIND, kind as u64);
            out.f64(&VALUE, f64::from(u32::try_from(hundredths).unwrap_or(0)) / 100.0);
        }
        What::Audit { action, object, object_id, address: (a, b), browser, elapsed_ms } => {
            out.str(&ACTION_TYPE, Some(action)).str(&DESCRIPTION, Some(&format!("{object} {object_id}")));
            out.str(&USER_ID, Some(&format!("user-{}", record.user)));
            out.str(&OBJECT_TYPE, Some(object)).str(&OBJECT_ID, Some(&format!("{object}-{object_id}")));
            out.str(&IP_ADDRESS, Some(&format!("10.0.{a}.{b}")));
            out.str(&USER_AGENT, Some(&format!("Mozilla/5.0 {browser}")));
            out.bytes(&METADATA, Some(document([("elapsed_ms", number(elapsed_ms))]).as_bytes()));
        }
    }
    out.finish_row();
}

fn document<const N: usize>(members: [(&str, Value); N]) -> Document {
    Document::encode(&Value::Object(members.map(|(key, value)| (key.to_owned(), value)).into()))
}

fn number(n: u64) -> Value {
    i64::try_from(n).map_or(Value::Null, Value::I64)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::records::Spread;

    #[test]
    fn every_stream_makes_batches_of_the_asked_size() {
        for &stream in Stream::value_variants() {
            let organizations = Vec::new();
            let load = Load {
                stream,
                batch: 10,
                clients: 1000,
                rate: None,
                organizations,
                spread: Spread::ONE,
                fresh: false,
                seed: 1,
            };
            let made = batches(&load, 0, &TenantId::new("bench").unwrap());
            assert_eq!(made.len(), 20);
            assert!(made.iter().all(|batch| batch.rows() == 10 && batch.stream() == engine_stream(stream)));
        }
    }
}
