//! A server that is killed with as much in memory as it may have: how long until it is ready, and how large it is then.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use crate::args::{Restart, Stream};
use crate::client::{Client, Request, Server};
use crate::error::BenchError;
use crate::load::{self, Load};
use crate::own_metrics::{self, Sample, whole};
use crate::progress::Done;
use crate::records::Spread;

const KEY: &str = "the-superuser-key-of-a-server-that-is-killed";
const ORGANIZATION: &str = "restart";
/// How often a server is looked at while it fills, and while it starts.
const FILL_EVERY: Duration = Duration::from_millis(20);
const START_EVERY: Duration = Duration::from_millis(2);
/// A server that is not ready by then has failed.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// One kill and what came after it.
#[derive(Debug, Serialize)]
pub(crate) struct Round {
    /// Of rows that were in memory alone, at the last look before the kill.
    memtable_bytes: u64,
    /// Of the log that had to be read again.
    wal_bytes: u64,
    /// Records that were acknowledged before the kill, those of earlier rounds too.
    acknowledged: u64,
    /// Records that were there after it.
    found: u64,
    /// From the start of the program until `/readyz` was 200.
    ready_ms: f64,
    /// Anonymous memory at the last look before the kill, and when it was ready again.
    anonymous_before_bytes: Option<u64>,
    anonymous_after_bytes: Option<u64>,
}

/// All of them.
#[derive(Debug, Serialize)]
pub(crate) struct RestartReport {
    stream: &'static str,
    memtable_bytes_max: u64,
    rounds: Vec<Round>,
    ready_ms_max: f64,
    lost: u64,
}

/// A server of our own; killed when dropped.
struct Killed {
    child: Child,
    server: Server,
}

impl Drop for Killed {
    fn drop(&mut self) {
        // It is gone already when it was killed on purpose.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts, fills and kills a server again and again.
///
/// # Errors
///
/// When the directory has something in it, or the program does not start or not get ready.
pub(crate) async fn run(args: &Restart) -> Result<RestartReport, BenchError> {
    if std::fs::read_dir(&args.data_dir).is_ok_and(|mut entries| entries.next().is_some()) {
        let text = format!("{} is not empty: name another --data-dir", args.data_dir.display());
        return Err(BenchError::NothingToAsk(text));
    }
    let program = program(args.server.as_deref())?;
    let (mut rounds, mut acknowledged) = (Vec::new(), 0);
    let (mut running, _) = start(&program, args).await?;
    for _ in 0..args.rounds {
        let (done, full) = fill_and_kill(&mut running, args).await?;
        acknowledged += done;
        drop(running);
        let began = Instant::now();
        let client;
        (running, client) = start(&program, args).await?;
        let ready_ms = began.elapsed().as_secs_f64() * 1e3;
        rounds.push(round(client, args.stream, (acknowledged, &full), ready_ms).await?);
    }
    let lost = rounds.iter().map(|round| round.acknowledged.saturating_sub(round.found)).max();
    Ok(RestartReport {
        stream: args.stream.name(),
        memtable_bytes_max: args.memtable_bytes,
        ready_ms_max: rounds.iter().map(|round| round.ready_ms).fold(0.0, f64::max),
        rounds,
        lost: lost.unwrap_or(0),
    })
}

/// The server beside this program, unless another one is named.
fn program(named: Option<&Path>) -> Result<PathBuf, BenchError> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()?.with_file_name("insights-server"),
    };
    if path.is_file() {
        return Ok(path);
    }
    let text =
        format!("no server at {}: `cargo build --release -p insights-server`, or --server", path.display());
    Err(BenchError::NothingToAsk(text))
}

/// Starts the server and waits until it is ready.
async fn start(program: &Path, args: &Restart) -> Result<(Killed, Client), BenchError> {
    let mut child = Command::new(program)
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(&args.data_dir)
        .env("INSIGHTS_SUPERUSER_KEY", KEY)
        .env("INSIGHTS_LOG", "warn")
        .env("INSIGHTS_MEMTABLE_BYTES", args.memtable_bytes.to_string())
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = child.stdout.take().map(|out| BufReader::new(out).lines());
    let url = lines
        .into_iter()
        .flatten()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("listening on ").map(str::to_owned));
    let server = Server::new(url.as_deref().unwrap_or_default(), KEY);
    let Ok(server) = server else {
        drop(child.kill());
        let status = child.wait()?;
        return Err(BenchError::NothingToAsk(format!("the server did not start: {status}")));
    };
    let killed = Killed { child, server };
    let mut client = Client::new(killed.server.clone());
    let began = Instant::now();
    loop {
        match client.send(&Request::get("/readyz")?).await {
            Ok(_) => return Ok((killed, client)),
            Err(error) if began.elapsed() > START_TIMEOUT => return Err(error),
            Err(_) => tokio::time::sleep(START_EVERY).await,
        }
    }
}

/// Sends records until the memory for rows is full, or its time is over, and kills the server while more are on their
/// way. What was acknowledged, and the last look at the server.
async fn fill_and_kill(running: &mut Killed, args: &Restart) -> Result<(u64, Sample), BenchError> {
    let load = Load {
        stream: args.stream,
        batch: args.batch,
        clients: args.clients,
        rate: None,
        organizations: vec![ORGANIZATION.to_owned()],
        spread: Spread::ONE,
        fresh: false,
        seed: args.seed,
    };
    let done = Done::default();
    let mut sample = None;
    let server = running.server.clone();
    let child = &mut running.child;
    let watched = async {
        let mut client = Client::new(server.clone());
        let began = Instant::now();
        loop {
            tokio::time::sleep(FILL_EVERY).await;
            let now = own_metrics::once(&mut client, began.elapsed().as_secs_f64()).await?;
            let full = engine(&now, "memtable_bytes") >= args.memtable_bytes / 100 * u64::from(args.fill);
            sample = Some(now);
            if full || began.elapsed() > args.fill_timeout {
                child.kill()?;
                return Ok::<(), BenchError>(());
            }
        }
    };
    // The load would go on for longer than any filling may take: it ends when it is dropped here, after the kill.
    let long = args.fill_timeout.saturating_add(START_TIMEOUT);
    tokio::select! {
        watched = watched => watched?,
        ended = load::run(&server, &load, long, &done) => ended.map(drop)?,
    }
    Ok((done.get(), sample.unwrap_or_default()))
}

/// What there is after a restart.
async fn round(
    mut client: Client,
    stream: Stream,
    (acknowledged, full): (u64, &Sample),
    ready_ms: f64,
) -> Result<Round, BenchError> {
    let after = own_metrics::once(&mut client, 0.0).await?;
    let path = format!("/api/insights/organizations/{ORGANIZATION}/usage/");
    let usage: Value = serde_json::from_slice(&client.send(&Request::get(&path)?).await?)
        .map_err(|error| BenchError::refused(200, error.to_string()))?;
    let found = usage.pointer(&format!("/streams/{}/rows", stream.name())).and_then(Value::as_u64);
    Ok(Round {
        memtable_bytes: engine(full, "memtable_bytes"),
        wal_bytes: engine(full, "wal_bytes"),
        acknowledged,
        found: found.unwrap_or(0),
        ready_ms,
        anonymous_before_bytes: full.anonymous_bytes.map(whole),
        anonymous_after_bytes: after.anonymous_bytes.map(whole),
    })
}

/// A number of the engine, 0 where the server does not say it.
fn engine(sample: &Sample, name: &str) -> u64 {
    sample.engine.get(name).copied().map_or(0, whole)
}

impl RestartReport {
    /// Whether nothing that was acknowledged is gone.
    pub(crate) fn passed(&self) -> bool {
        self.lost == 0
    }

    /// Lines for people.
    pub(crate) fn table(&self) -> String {
        let mib = |bytes: u64| crate::progress::to_f64(bytes) / 1_048_576.0;
        let memory = |bytes: Option<u64>| bytes.map_or("-".to_owned(), |bytes| format!("{:.1}", mib(bytes)));
        let mut lines = vec![
            format!(
                "{}, kill -9 with up to {:.0} MiB of rows in memory",
                self.stream,
                mib(self.memtable_bytes_max)
            ),
            format!(
                "{:>8} {:>12} {:>8} {:>13} {:>13} {:>11} {:>11}",
                "ready ms", "memtable MiB", "WAL MiB", "acknowledged", "found", "before MiB", "after MiB"
            ),
        ];
        lines.extend(self.rounds.iter().map(|round| {
            format!(
                "{:>8.0} {:>12.1} {:>8.1} {:>13} {:>13} {:>11} {:>11}",
                round.ready_ms,
                mib(round.memtable_bytes),
                mib(round.wal_bytes),
                round.acknowledged,
                round.found,
                memory(round.anonymous_before_bytes),
                memory(round.anonymous_after_bytes)
            )
        }));
        lines.push(
            "before, after: anonymous memory at the last look before the kill, and when it was ready"
                .to_owned(),
        );
        lines.push(match self.lost {
            0 => "nothing that was acknowledged is gone".to_owned(),
            lost => format!("LOST: {lost} acknowledged records"),
        });
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(dir: &Path, server: &Path) -> Restart {
        Restart {
            data_dir: dir.to_owned(),
            server: Some(server.to_owned()),
            stream: Stream::Events,
            memtable_bytes: 1 << 20,
            fill: 75,
            fill_timeout: Duration::from_secs(1),
            clients: 2,
            batch: 100,
            rounds: 1,
            seed: 1,
            json: false,
        }
    }

    #[tokio::test]
    async fn what_cannot_be_measured_says_why() {
        let place = tempfile::tempdir().unwrap();
        let nowhere = place.path().join("nowhere");
        let error = run(&args(&nowhere, &nowhere)).await.unwrap_err().to_string();
        assert!(error.contains("no server at"), "{error}");
        std::fs::write(place.path().join("something"), "").unwrap();
        let error = run(&args(place.path(), &nowhere)).await.unwrap_err().to_string();
        assert!(error.contains("is not empty"), "{error}");
    }

    #[test]
    fn what_is_gone_is_told() {
        let round = |found| Round {
            memtable_bytes: 1 << 20,
            wal_bytes: 2 << 20,
            acknowledged: 10,
            found,
            ready_ms: 12.5,
            anonymous_before_bytes: Some(3 << 20),
            anonymous_after_bytes: None,
        };
        let report = |found: u64| RestartReport {
            stream: "events",
            memtable_bytes_max: 128 << 20,
            rounds: vec![round(found)],
            ready_ms_max: 12.5,
            lost: 10_u64.saturating_sub(found),
        };
        assert!(report(11).passed() && !report(9).passed());
        assert!(report(9).table().contains("LOST: 1 acknowledged"));
        let json: Value = serde_json::from_str(&crate::report::json(&report(11))).unwrap();
        assert_eq!((&json["rounds"][0]["ready_ms"], &json["lost"]), (&12.5.into(), &0.into()));
    }
}
