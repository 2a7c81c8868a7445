//! A bounded load of everything at once, and whether the server stays as large as it was.

use std::time::Duration;

use serde::Serialize;

use crate::args::{About, Soak, Stream};
use crate::ask::{self, Asking};
use crate::client::{Client, Server};
use crate::error::BenchError;
use crate::load::{self, Load};
use crate::own_metrics::{self, Sample};
use crate::pace::Span;
use crate::progress::{Done, Progress};
use crate::query_report::Line as QueryLine;
use crate::records::Spread;
use crate::report::Latency;
use crate::subject;
use crate::verdict::{Line, judge};

/// Connections that ask.
const QUESTION_CLIENTS: u32 = 2;
/// Records of each stream before the run, so that there is something to ask about: more than one page.
const FIRST_RECORDS: u32 = 100;
/// How late a late record is at most: inside the default late window, beyond the last finished day.
const LATE_MS: u64 = 3 * 86_400_000;
/// Percent of the records by stream.
const SHARES: [(Stream, u64); 3] = [(Stream::Metrics, 65), (Stream::Events, 25), (Stream::Audit, 10)];

/// What was sent to one stream.
#[derive(Debug, Serialize)]
struct StreamLine {
    stream: &'static str,
    rows: u64,
    requests: u64,
    errors: u64,
    latency_ms: Latency,
}

/// A soak, judged.
#[derive(Debug, Serialize)]
pub(crate) struct SoakReport {
    seconds: u64,
    rate: u64,
    organizations: u32,
    tolerance_percent: u8,
    streams: Vec<StreamLine>,
    questions: Vec<QueryLine>,
    errors: u64,
    judged: Vec<Line>,
    /// Why nothing could be judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_judged: Option<String>,
    flat: bool,
    samples: Vec<Sample>,
}

/// Runs the load and judges it.
///
/// # Errors
///
/// When the server is not there, or the key may not write for others or read `/metrics`.
pub(crate) async fn run(args: &Soak) -> Result<SoakReport, BenchError> {
    let server = Server::new(&args.server.url, &args.server.key)?;
    let loads = SHARES.map(|(stream, percent)| load_of(args, stream, percent));
    for load in &loads {
        load.send_first(&server, FIRST_RECORDS).await?;
    }
    own_metrics::once(&mut Client::new(server.clone()), 0.0).await?;
    let about = About {
        organization: loads.first().and_then(|load| load.organizations.first().cloned()),
        app: None,
        user: None,
        questions: Vec::new(),
        end: None,
        windows: 3,
    };
    let subject = subject::find(&mut Client::new(server.clone()), &about).await?;
    let questions = subject::requests(&about, &subject)?;
    let asking = Asking { clients: QUESTION_CLIENTS, rate: Some(args.query_rate) };

    let (rows, asked) = (Done::default(), Done::default());
    let progress = Progress::show(Span::of(args.duration), &rows, "records");
    let [metrics, events, audit] = &loads;
    let run = |load| load::run(&server, load, args.duration, &rows);
    let (metrics, events, audit, answers, (samples, failed_reads)) = tokio::join!(
        run(metrics),
        run(events),
        run(audit),
        ask::run(&server, &questions, asking, args.duration, &asked),
        own_metrics::watch(&server, args.every, args.duration),
    );
    drop(progress);
    let mut streams = Vec::new();
    for ((stream, _), outcome) in SHARES.iter().zip([metrics, events, audit]) {
        let outcome = outcome?;
        streams.push(StreamLine {
            stream: stream.name(),
            rows: outcome.rows,
            requests: outcome.latencies.count(),
            errors: outcome.errors,
            latency_ms: Latency::of(&outcome.latencies),
        });
    }
    let answers = answers?;
    let errors = streams.iter().map(|line| line.errors).sum::<u64>()
        + answers.iter().map(|asked| asked.errors).sum::<u64>()
        + failed_reads;
    let questions = answers.iter().map(|asked| QueryLine::new(asked, None)).collect();
    let (judged, not_judged) = match judge(&samples, args.tolerance) {
        Ok(judged) => (judged, None),
        Err(reason) => (Vec::new(), Some(reason)),
    };
    let flat = not_judged.is_none() && judged.iter().all(|line| line.flat);
    Ok(SoakReport {
        seconds: args.duration.as_secs(),
        rate: args.rate,
        organizations: args.organizations,
        tolerance_percent: args.tolerance,
        streams,
        questions,
        errors,
        judged,
        not_judged,
        flat,
        samples,
    })
}

fn load_of(args: &Soak, stream: Stream, percent: u64) -> Load {
    Load {
        stream,
        batch: args.batch,
        clients: args.clients,
        rate: Some((args.rate * percent / 100).max(1)),
        organizations: (0..args.organizations).map(|n| format!("soak-{n}")).collect(),
        spread: Spread {
            organizations: args.organizations.into(),
            users: args.users.into(),
            late_percent: args.late.into(),
            late_ms: LATE_MS,
        },
        fresh: true,
        seed: args.seed.wrapping_add(percent),
    }
}

impl SoakReport {
    /// Whether everything was answered and nothing grew.
    pub(crate) fn passed(&self) -> bool {
        self.flat && self.errors == 0
    }

    /// Lines for people.
    pub(crate) fn table(&self) -> String {
        let took = Duration::from_secs(self.seconds);
        let mut lines = vec![format!(
            "soak         {} records/s of {} organizations for {took:?}",
            self.rate, self.organizations
        )];
        lines.extend(self.streams.iter().map(|line| {
            let Latency { p50, p99, max, .. } = line.latency_ms;
            let StreamLine { stream, rows, errors, .. } = line;
            format!("{stream:<12} {rows} records, {errors} requests failed, p50 {p50:.2}  p99 {p99:.2}  max {max:.2} ms")
        }));
        let asked: u64 = self.questions.iter().map(QueryLine::requests).sum();
        let failed: u64 = self.questions.iter().map(QueryLine::errors).sum();
        lines.push(format!("questions    {asked} answered, {failed} failed"));
        lines.extend(self.judged.iter().map(|line| {
            let Line { name, second_quarter, last_quarter, max, allowed, flat } = line;
            let verdict = if *flat { "flat" } else { "GREW" };
            if name.contains("memory") {
                let mib = |bytes: &f64| bytes / 1_048_576.0;
                let (second, last, max, allowed) = (mib(second_quarter), mib(last_quarter), mib(max), mib(allowed));
                format!("{name:<18} {verdict}: {second:.1} MiB, then {last:.1} MiB (at most {allowed:.1}; peak {max:.1})")
            } else {
                format!("{name:<18} {verdict}: {second_quarter:.0}, then {last_quarter:.0} (at most {allowed:.0}; peak {max:.0})")
            }
        }));
        if let Some(last) = self.samples.last() {
            let numbers = last.engine.iter().map(|(name, value)| format!("{name} {value:.0}"));
            lines.push(format!("engine       {}", numbers.collect::<Vec<_>>().join(", ")));
        }
        lines.extend(self.not_judged.iter().map(|reason| format!("NOT JUDGED   {reason}")));
        lines.push(if self.passed() { "passed" } else { "FAILED" }.to_owned());
        lines.join("\n")
    }
}
