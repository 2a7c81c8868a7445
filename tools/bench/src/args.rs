//! Arguments of the program.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Deserialize;

use crate::question::Question;

/// Load an Insights server, or an engine without a server, and measure it.
///
/// A figure without its command, its machine and its disk is not a figure: every durable one has a raw fdatasync of
/// the same disk beside it, every one over HTTP can have the floor of a server that does nothing. Run it on a
/// machine that is otherwise quiet.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// What is measured.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples, with KEY from <data-dir>/superuser.key:
  insights-bench ingest --url http://127.0.0.1:8686 --key $KEY --organization bench --clients 64
  insights-bench query --url http://127.0.0.1:8686 --key $KEY --organization northwind --clients 4
  insights-bench mixed --url http://127.0.0.1:8686 --key $KEY --organization bench --rate 100000
  insights-bench soak --url http://127.0.0.1:8686 --key $KEY --duration 5m
  insights-bench live --url http://127.0.0.1:8686 --key $KEY --viewers 1000
  insights-bench ingest --data-dir /tmp/scratch --stream metrics
  insights-bench fill --data-dir /tmp/scratch --stream audit --rows 10000000
  insights-bench flat --dir /tmp/scratch
  insights-bench restart --data-dir /tmp/scratch";

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send records and measure how long it takes until they are acknowledged
    Ingest(Ingest),
    /// Ask what people ask and measure how long the answers take
    Query(Query),
    /// Send records at a rate and ask at the same time; both are measured
    Mixed(Mixed),
    /// Load every stream for a while and judge whether memory and descriptors stay flat
    ///
    /// Many organizations, all three streams, some of it days late so that finished days are merged again, and
    /// questions. The server's own /metrics is read every few seconds; the medians of the second and the last
    /// quarter of the run are compared. The key must be a superuser's. Exits with 1 when a request failed, or
    /// memory or descriptors grew by more than --tolerance.
    Soak(Soak),
    /// Fill a data directory with records of the last whole days, without a server, and merge them
    ///
    /// Each user has one session a day, however many records there are: directories of more and of fewer rows have
    /// the same identities. `query --data-dir`, or a server on the directory, asks about it.
    Fill(Fill),
    /// Judge whether a report takes as long with more rows, and with more organizations beside its own
    ///
    /// Fills three data directories below --dir without a server: one organization with few rows, the same one with
    /// many, and with few among many other organizations. Then asks each in turn for 30 days of the one organization.
    /// Exits with 1 when a median is more than --tolerance above that of the first.
    Flat(Flat),
    /// Kill a server that has as many rows in memory as it may, and measure how long until it is ready again
    ///
    /// Starts the server itself. Exits with 1 when a record that was acknowledged is gone.
    Restart(Restart),
    /// View what happens now from many connections, and measure how long until an event is seen by each
    ///
    /// Makes an organization of its own. The key must be a superuser's. Exits with 1 when a viewer missed an event.
    Live(Live),
    /// Answer every request with the same bytes: what HTTP itself costs on this machine
    #[command(hide = true)]
    Floor(Floor),
    /// Be the engine of benches/peers: one JSON object a line in, one a line out (see benches/peers/README.md)
    #[command(hide = true)]
    Peer(Peer),
}

/// The stream that records go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stream {
    /// Product events.
    Events,
    /// Metric points.
    Metrics,
    /// Audit records.
    Audit,
}

impl Stream {
    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Metrics => "metrics",
            Self::Audit => "audit",
        }
    }

    /// The route that takes its records.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Events => "/api/insights/track/",
            Self::Metrics => "/api/insights/metrics/",
            Self::Audit => "/api/insights/audit/",
        }
    }
}

/// A server, or a data directory without one.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The server, as `http://host:port`
    #[arg(long, required_unless_present = "data_dir", conflicts_with = "data_dir")]
    pub(crate) url: Option<String>,
    /// An API key that may do what is measured
    #[arg(
        long,
        env = "INSIGHTS_KEY",
        hide_env_values = true,
        required_unless_present = "data_dir",
        default_value_if("data_dir", clap::builder::ArgPredicate::IsPresent, Some(""))
    )]
    pub(crate) key: Option<String>,
    /// Open the engine on this directory, in this process, and measure it without HTTP. No server may have the
    /// directory; records that are sent stay in it
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// A server.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// The server, as `http://host:port`
    #[arg(long)]
    pub(crate) url: String,
    /// An API key that may do what is measured
    #[arg(long, env = "INSIGHTS_KEY", hide_env_values = true)]
    pub(crate) key: String,
}

/// What every run is told.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// How long: seconds, or a number with s, m or h
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// One JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// How records are sent.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// The stream
    #[arg(long, value_enum, default_value = "events")]
    pub(crate) stream: Stream,
    /// Records of a request
    #[arg(long, default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) batch: u32,
    /// Connections, each with one request in flight
    #[arg(long, default_value = "8", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) clients: u32,
    /// What all randomness comes from
    #[arg(long, default_value = "1")]
    pub(crate) seed: u64,
    /// Where a raw fdatasync is measured: a directory on the disk of the server's data
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) fsync_dir: PathBuf,
}

/// `ingest`.
#[derive(Debug, Args)]
pub(crate) struct Ingest {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) run: Run,
    #[command(flatten)]
    pub(crate) load: Load,
    /// The organization of the records, when the key is a superuser's
    #[arg(long)]
    pub(crate) organization: Option<String>,
    /// Records a second that are meant to be sent (open loop; latency counts from when a request was due). Without it
    /// every connection sends as soon as it has its answer (closed loop)
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rate: Option<u64>,
}

/// What is asked about.
#[derive(Debug, Args)]
pub(crate) struct About {
    /// The organization of the questions; without it the key's own, or the one with the newest event
    #[arg(long)]
    pub(crate) organization: Option<String>,
    /// The application of the questions; without it the one with the most response times
    #[arg(long)]
    pub(crate) app: Option<String>,
    /// The user of the audit search; without it the one of the newest audit record
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// A question, by name; may be given several times. All of them without it
    #[arg(long = "question", value_enum, value_name = "NAME")]
    pub(crate) questions: Vec<Question>,
    /// The end of the windows: a date or an instant. Now without it
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub(crate) end: Option<jiff::Timestamp>,
    /// Windows of each question, asked in turn: the last 30 days, the 30 days up to yesterday, and so on. A server
    /// keeps answers while their rows do not change: with one window nearly every answer is a kept one
    #[arg(long, default_value = "10", value_parser = clap::value_parser!(u32).range(1..=365))]
    pub(crate) windows: u32,
}

impl About {
    /// The questions that are asked.
    pub(crate) fn asked(&self) -> Vec<Question> {
        if self.questions.is_empty() { Question::value_variants().to_vec() } else { self.questions.clone() }
    }
}

/// `query`.
#[derive(Debug, Args)]
pub(crate) struct Query {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) run: Run,
    #[command(flatten)]
    pub(crate) about: About,
    /// Connections, each with one question in flight
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) clients: u32,
    /// Questions a second, of all connections together (open loop). Without it every connection asks as soon as it
    /// has its answer (closed loop)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
    /// Do not measure the floor: the same requests to a server that answers as many bytes at once
    #[arg(long)]
    pub(crate) no_floor: bool,
}

/// `mixed`.
#[derive(Debug, Args)]
pub(crate) struct Mixed {
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) run: Run,
    #[command(flatten)]
    pub(crate) load: Load,
    #[command(flatten)]
    pub(crate) about: About,
    /// Records a second that are meant to be sent
    #[arg(long, default_value = "100000", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rate: u64,
    /// Connections that ask, each with one question in flight
    #[arg(long, default_value = "2", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) query_clients: u32,
    /// Questions a second, of all connections together
    #[arg(long, default_value = "10", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) query_rate: u32,
}

/// `soak`.
#[derive(Debug, Args)]
pub(crate) struct Soak {
    #[command(flatten)]
    pub(crate) server: Server,
    /// How long: seconds, or a number with s, m or h
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Records a second of all streams together: 65 % metric points, 25 % events, 10 % audit records
    #[arg(long, default_value = "20000", value_parser = clap::value_parser!(u64).range(100..))]
    pub(crate) rate: u64,
    /// Records of a request
    #[arg(long, default_value = "200", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) batch: u32,
    /// Connections of each stream
    #[arg(long, default_value = "4", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) clients: u32,
    /// Organizations, named soak-0, soak-1, ...
    #[arg(long, default_value = "50", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) organizations: u32,
    /// Users of each organization. Identities take memory for as long as the server knows them: all of them should
    /// have been seen before the second quarter of the run, or getting to know them counts as growth
    #[arg(long, default_value = "200", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) users: u32,
    /// Percent of the records that are up to three days late
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) late: u8,
    /// Questions a second
    #[arg(long, default_value = "4", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) query_rate: u32,
    /// How often /metrics is read
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub(crate) every: Duration,
    /// Percent that the last quarter's median may be above the second one's (beside 16 MiB, 16 descriptors)
    #[arg(long, default_value = "15", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) tolerance: u8,
    /// What all randomness comes from
    #[arg(long, default_value = "1")]
    pub(crate) seed: u64,
    /// One JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// `fill`.
#[derive(Debug, Args)]
pub(crate) struct Fill {
    /// The data directory; made when there is none. No server may have it
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// A stream; may be given several times, each gets an equal share of the records
    #[arg(long = "stream", value_enum, value_name = "STREAM", default_value = "events")]
    pub(crate) streams: Vec<Stream>,
    /// Records of the organization
    #[arg(long, default_value = "1000000", value_parser = clap::value_parser!(u64).range(1..=10_000_000_000))]
    pub(crate) rows: u64,
    /// Whole UTC days before today that they are of
    #[arg(long, default_value = "30", value_parser = clap::value_parser!(u32).range(1..=365))]
    pub(crate) days: u32,
    /// The organization
    #[arg(long, default_value = "bench")]
    pub(crate) organization: String,
    /// Its users
    #[arg(long, default_value = "5000", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) users: u32,
    /// Organizations beside it, with 5 records of each stream
    #[arg(long, default_value = "0", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(crate) others: u32,
    /// What all randomness comes from
    #[arg(long, default_value = "1")]
    pub(crate) seed: u64,
    /// One JSON object instead of a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// `flat`.
#[derive(Debug, Args)]
pub(crate) struct Flat {
    /// Where the three data directories are made; what an earlier run left there is not touched
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Records of the first store: half events, half metric points
    #[arg(long, default_value = "100000", value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    pub(crate) rows: u64,
    /// Records of the second one
    #[arg(long, default_value = "10000000", value_parser = clap::value_parser!(u64).range(1_000..=10_000_000_000))]
    pub(crate) rows_max: u64,
    /// Organizations of the third one, all but one of them with 5 events and 5 points
    #[arg(long, default_value = "100000", value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    pub(crate) organizations: u32,
    /// Users of the organization that is asked about
    #[arg(long, default_value = "500", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) users: u32,
    /// How often each store is asked
    #[arg(long, default_value = "200", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rounds: u32,
    /// Percent that a median may be above that of the first store (beside 0.1 ms)
    #[arg(long, default_value = "50", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(crate) tolerance: u32,
    /// What all randomness comes from
    #[arg(long, default_value = "1")]
    pub(crate) seed: u64,
    /// One JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// `restart`.
#[derive(Debug, Args)]
pub(crate) struct Restart {
    /// The data directory, empty or not there yet
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// The server's program; without it the `insights-server` beside this one
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) server: Option<PathBuf>,
    /// The stream that is sent
    #[arg(long, value_enum, default_value = "events")]
    pub(crate) stream: Stream,
    /// Bytes of rows that the server may have in memory (what its setting `memtable_bytes` says)
    #[arg(long, default_value = "134217728", value_parser = clap::value_parser!(u64).range(1 << 20..))]
    pub(crate) memtable_bytes: u64,
    /// Percent of them at which it is killed
    #[arg(long, default_value = "90", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) fill: u8,
    /// After which time it is killed although there are not as many, because flushes keep up with the load
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub(crate) fill_timeout: Duration,
    /// Connections, each with one request in flight
    #[arg(long, default_value = "64", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) clients: u32,
    /// Records of a request
    #[arg(long, default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) batch: u32,
    /// How often it is filled and killed
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// What all randomness comes from
    #[arg(long, default_value = "1")]
    pub(crate) seed: u64,
    /// One JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// `live`.
#[derive(Debug, Args)]
pub(crate) struct Live {
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) run: Run,
    /// Connections that view; each is a descriptor here and in the server
    #[arg(long, default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub(crate) viewers: u32,
    /// Events a second, each a request of its own
    #[arg(long, default_value = "20", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: u32,
}

/// `floor`.
#[derive(Debug, Args)]
pub(crate) struct Floor {
    /// Bytes of every answer
    #[arg(long, default_value = "1000", value_parser = clap::value_parser!(u32).range(0..=64 << 20))]
    pub(crate) bytes: u32,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: std::net::SocketAddr,
}

/// `peer`.
#[derive(Debug, Args)]
pub(crate) struct Peer {
    /// The data directory; made when there is none. No server may have it
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
}

/// The time of `8`, `8s`, `5m` or `1h`; a second to a day.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds_per_unit = match unit {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3_600),
        _ => None,
    };
    let seconds =
        number.parse().ok().zip(seconds_per_unit).and_then(|(n, unit): (u64, u64)| n.checked_mul(unit));
    let in_range = seconds.filter(|seconds| (1..=86_400).contains(seconds));
    in_range
        .map(Duration::from_secs)
        .ok_or_else(|| "a duration is 1s to 24h, written as 8, 8s, 5m or 1h".to_owned())
}

/// An instant, or the end of a UTC day.
fn instant(text: &str) -> Result<jiff::Timestamp, String> {
    if let Ok(instant) = text.parse() {
        return Ok(instant);
    }
    let date: Option<jiff::civil::Date> = text.parse().ok();
    let end = date.and_then(|date| date.tomorrow().ok()?.to_zoned_datetime(jiff::tz::TimeZone::UTC).ok());
    end.map(|end| end.timestamp()).ok_or_else(|| "an end is a date or an RFC 3339 instant".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_duration_is_seconds_or_has_a_unit() {
        for (text, expected) in [("8", 8), ("8s", 8), ("5m", 300), ("24h", 86_400)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(expected)), "{text}");
        }
        for bad in ["", "s", "0", "0s", "25h", "1d", "1.5s", "-1", "8 s", "99999999999999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_end_is_an_instant_or_a_whole_day() {
        assert_eq!(instant("2024-02-29").unwrap().to_string(), "2024-03-01T00:00:00Z");
        assert_eq!(instant("2024-02-29T12:00:00Z").unwrap().to_string(), "2024-02-29T12:00:00Z");
        assert!(instant("yesterday").is_err());
    }

    #[test]
    fn a_server_needs_a_key_and_a_directory_none() {
        let parse = |rest: &[&str]| Arguments::try_parse_from([&["insights-bench", "ingest"], rest].concat());
        assert!(parse(&["--url", "http://h", "--key", "k"]).is_ok());
        assert!(parse(&["--data-dir", "d"]).is_ok());
        assert!(parse(&["--url", "http://h"]).is_err());
        assert!(parse(&[]).is_err());
        assert!(parse(&["--url", "http://h", "--key", "k", "--data-dir", "d"]).is_err());
    }
}
