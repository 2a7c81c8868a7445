//! Arguments of the program.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Load an Insights server and measure it.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    /// What is measured.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send records and measure how long it takes until they are acknowledged
    Ingest(Ingest),
}

/// The stream that records go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
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

/// How records are sent.
#[derive(Debug, Args)]
pub(crate) struct Ingest {
    /// The server, as `http://host:port`
    #[arg(long)]
    pub(crate) url: String,
    /// An API key that may write the stream
    #[arg(long, env = "INSIGHTS_KEY", hide_env_values = true)]
    pub(crate) key: String,
    /// The organization of the records, when the key is a superuser's
    #[arg(long)]
    pub(crate) organization: Option<String>,
    /// The stream
    #[arg(long, value_enum, default_value = "events")]
    pub(crate) stream: Stream,
    /// Records of a request
    #[arg(long, default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) batch: u32,
    /// Connections, each with one request in flight
    #[arg(long, default_value = "8", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) clients: u32,
    /// Records a second that are meant to be sent (open loop; latency counts from when a request was due). Without it
    /// every connection sends as soon as it has its answer (closed loop)
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rate: Option<u64>,
    /// How long: seconds, or a number with s, m or h
    #[arg(long, default_value = "10s", value_parser = seconds)]
    pub(crate) duration: u64,
    /// What all randomness comes from
    #[arg(long, default_value = "1")]
    pub(crate) seed: u64,
    /// Where a raw fdatasync is measured: a directory on the disk of the server's data
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) fsync_dir: PathBuf,
    /// One JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// The seconds of `8`, `8s`, `5m` or `1h`; a second to a day.
fn seconds(text: &str) -> Result<u64, String> {
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
    in_range.ok_or_else(|| "a duration is 1s to 24h, written as 8, 8s, 5m or 1h".to_owned())
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
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for bad in ["", "s", "0", "0s", "25h", "1d", "1.5s", "-1", "8 s", "99999999999999999999h"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
