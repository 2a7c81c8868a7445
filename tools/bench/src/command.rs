//! The commands: each measures, prints, and says whether all was well.

use std::io::Write;

use serde::Serialize;

use crate::args::{self, Ingest, Mixed, Query, Soak};
use crate::ask::{self, Asking};
use crate::client::{Client, Server};
use crate::error::BenchError;
use crate::fsync::Fsyncs;
use crate::inside;
use crate::inside::fill::{Filling, ROWS_OF_OTHERS};
use crate::load::{self, Load, Outcome};
use crate::pace::Span;
use crate::progress::{Done, Progress};
use crate::query_report::{Line, QueryReport};
use crate::records::Spread;
use crate::report::{Report, json};
use crate::{floor, own_metrics, peer, restart, soak, subject, viewers};

/// `ingest`.
///
/// # Errors
///
/// When nothing could be measured.
pub(crate) fn ingest(args: &Ingest) -> Result<bool, BenchError> {
    let load = load_of(&args.load, args.organization.as_deref(), args.rate);
    let directory = args.place.data_dir.as_deref();
    let mut syncs = Fsyncs::in_directory(&args.load.fsync_dir)?;
    syncs.sample()?;
    let (outcome, cpu, memory) = if let Some(directory) = directory {
        let (outcome, cpu) = inside::load::run(directory, &load, args.run.duration)?;
        (outcome, Some(cpu), None)
    } else {
        let server = server(&args.place)?;
        let (outcome, memory) = runtime()?.block_on(async {
            load.send_first(&server, 1).await?;
            let duration = args.run.duration;
            Ok::<_, BenchError>(tokio::join!(
                send(&server, &load, duration),
                own_metrics::memory_peak(&server, duration)
            ))
        })?;
        (outcome?, None, memory)
    };
    syncs.sample()?;
    let report = Report::new(&load, &outcome, cpu, &syncs).with_server_memory(memory);
    print(args.run.json, &report, || report.table())?;
    Ok(outcome.errors == 0)
}

/// `query`.
///
/// # Errors
///
/// When nothing could be measured.
pub(crate) fn query(args: &Query) -> Result<bool, BenchError> {
    let asking = Asking { clients: args.clients, rate: args.rate };
    let ((lines, organization), memory) = if let Some(directory) = args.place.data_dir.as_deref() {
        let (asked, organization) = inside::ask::run(directory, &args.about, asking, args.run.duration)?;
        ((asked.iter().map(|asked| Line::new(asked, None)).collect(), organization), None)
    } else {
        let server = server(&args.place)?;
        let (answers, memory) = runtime()?.block_on(async {
            tokio::join!(
                query_server(&server, args, asking),
                own_metrics::memory_peak(&server, args.run.duration)
            )
        });
        (answers?, memory)
    };
    let report = QueryReport::new(organization, asking, args.about.windows, lines).with_server_memory(memory);
    print(args.run.json, &report, || report.table())?;
    Ok(report.errors() == 0)
}

/// Asks a server one question after the other.
async fn query_server(
    server: &Server,
    args: &Query,
    asking: Asking,
) -> Result<(Vec<Line>, Option<String>), BenchError> {
    let subject = subject::find(&mut Client::new(server.clone()), &args.about).await?;
    let questions = subject::requests(&args.about, &subject)?;
    let share = args.run.duration / u32::try_from(questions.len().max(1)).unwrap_or(1);
    let done = Done::default();
    let progress = Progress::show(Span::of(args.run.duration), &done, "questions");
    let mut lines = Vec::new();
    for question in questions.chunks(1) {
        for asked in ask::run(server, question, asking, share, &done).await? {
            let requests = question.first().map(|(_, requests)| requests.as_slice()).unwrap_or_default();
            let bytes = usize::try_from(asked.bytes.quantile(50, 100)).unwrap_or(0);
            let floor = if args.no_floor {
                None
            } else {
                Some(floor::measure(asked.question, requests, asking, bytes).await?)
            };
            lines.push(Line::new(&asked, floor.as_ref()));
        }
    }
    drop(progress);
    Ok((lines, subject.organization))
}

/// What `mixed` measured.
#[derive(Debug, Serialize)]
struct MixedReport {
    ingest: Report,
    query: QueryReport,
}

/// `mixed`.
///
/// # Errors
///
/// When nothing could be measured.
pub(crate) fn mixed(args: &Mixed) -> Result<bool, BenchError> {
    let server = Server::new(&args.server.url, &args.server.key)?;
    let load = load_of(&args.load, args.about.organization.as_deref(), Some(args.rate));
    let asking = Asking { clients: args.query_clients, rate: Some(args.query_rate) };
    let mut syncs = Fsyncs::in_directory(&args.load.fsync_dir)?;
    syncs.sample()?;
    let (outcome, asked, organization) = runtime()?.block_on(async {
        load.send_first(&server, 1).await?;
        let subject = subject::find(&mut Client::new(server.clone()), &args.about).await?;
        let questions = subject::requests(&args.about, &subject)?;
        let done = Done::default();
        let asking = ask::run(&server, &questions, asking, args.run.duration, &done);
        let (outcome, asked) = tokio::join!(send(&server, &load, args.run.duration), asking);
        Ok::<_, BenchError>((outcome?, asked?, subject.organization))
    })?;
    syncs.sample()?;
    let lines = asked.iter().map(|asked| Line::new(asked, None)).collect();
    let report = MixedReport {
        ingest: Report::new(&load, &outcome, None, &syncs),
        query: QueryReport::new(organization, asking, args.about.windows, lines),
    };
    print(args.run.json, &report, || format!("{}\n\n{}", report.ingest.table(), report.query.table()))?;
    Ok(outcome.errors == 0 && report.query.errors() == 0)
}

/// `soak`.
///
/// # Errors
///
/// When nothing could be measured.
pub(crate) fn soak(args: &Soak) -> Result<bool, BenchError> {
    let report = runtime()?.block_on(soak::run(args))?;
    print(args.json, &report, || report.table())?;
    Ok(report.passed())
}

/// What `fill` did.
#[derive(Debug, Serialize)]
struct FillReport {
    rows: u64,
    append_s: f64,
    merge_s: f64,
}

/// `fill`.
///
/// # Errors
///
/// When the directory cannot be opened, or the engine fails.
pub(crate) fn fill(args: &args::Fill) -> Result<bool, BenchError> {
    let filling = Filling {
        organization: args.organization.clone(),
        streams: args.streams.clone(),
        rows: args.rows,
        days: args.days.into(),
        users: args.users.into(),
        others: args.others.into(),
        rows_of_others: ROWS_OF_OTHERS,
        seed: args.seed,
    };
    let inside = inside::open::Inside::open(&args.data_dir)?;
    let done = Done::default();
    let progress = Progress::towards(filling.rows(), &done, "records");
    let filled = inside::fill::fill(&inside, &filling, &done)?;
    drop(progress);
    inside.close()?;
    let (append_s, merge_s) = (filled.appending.as_secs_f64(), filled.merging.as_secs_f64());
    let report = FillReport { rows: filled.rows, append_s, merge_s };
    print(args.json, &report, || {
        format!("{} records in {append_s:.1} s, merged in {merge_s:.1} s", report.rows)
    })?;
    Ok(true)
}

/// `flat`.
///
/// # Errors
///
/// When nothing could be measured.
pub(crate) fn flat(args: &args::Flat) -> Result<bool, BenchError> {
    let report = inside::flat::run(args)?;
    print(args.json, &report, || report.table())?;
    Ok(report.flat)
}

/// `restart`.
///
/// # Errors
///
/// When nothing could be measured.
pub(crate) fn restart(args: &args::Restart) -> Result<bool, BenchError> {
    let report = runtime()?.block_on(restart::run(args))?;
    print(args.json, &report, || report.table())?;
    Ok(report.passed())
}

/// `live`.
///
/// # Errors
///
/// When nothing could be measured.
pub(crate) fn live(args: &args::Live) -> Result<bool, BenchError> {
    insights_engine::disk::raise_open_files_limit();
    let report = runtime()?.block_on(viewers::run(args))?;
    print(args.run.json, &report, || report.table())?;
    Ok(report.passed())
}

/// `floor`.
///
/// # Errors
///
/// When the address cannot be listened on.
pub(crate) fn floor(args: &args::Floor) -> Result<bool, BenchError> {
    runtime()?.block_on(floor::run(args))?;
    Ok(true)
}

/// `peer`.
///
/// # Errors
///
/// When the engine cannot be opened or closed, or the harness has gone.
pub(crate) fn peer(args: &args::Peer) -> Result<bool, BenchError> {
    peer::run(&args.data_dir, std::io::stdin().lock(), std::io::stdout().lock())?;
    Ok(true)
}

/// Sends records and shows how far it is.
async fn send(server: &Server, load: &Load, duration: std::time::Duration) -> Result<Outcome, BenchError> {
    let rows = Done::default();
    let progress = Progress::show(Span::of(duration), &rows, "records");
    let outcome = load::run(server, load, duration, &rows).await;
    drop(progress);
    outcome
}

fn load_of(args: &args::Load, organization: Option<&str>, rate: Option<u64>) -> Load {
    Load {
        stream: args.stream,
        batch: args.batch,
        clients: args.clients,
        rate,
        organizations: organization.map(str::to_owned).into_iter().collect(),
        spread: Spread::ONE,
        fresh: false,
        seed: args.seed,
    }
}

/// The server of the arguments; they have either one or a directory.
fn server(place: &args::Place) -> Result<Server, BenchError> {
    Server::new(place.url.as_deref().unwrap_or_default(), place.key.as_deref().unwrap_or_default())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// Prints one line of JSON, or a table.
fn print(as_json: bool, report: &impl Serialize, table: impl FnOnce() -> String) -> std::io::Result<()> {
    let text = if as_json { json(report) } else { table() };
    writeln!(std::io::stdout(), "{text}")
}
