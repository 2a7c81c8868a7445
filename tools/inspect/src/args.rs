//! Arguments of the program.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use insights_engine::inspect;

/// Look at an Insights data directory without its server.
///
/// Exits with 0 when all is well, 1 when damage was found, 2 when it was called wrongly or could not look.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    /// What is done.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What is done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Rows and bytes by stream, column and organization
    Stats(Place),
    /// The live segments
    Segments(Place),
    /// Rows, oldest first within each organization, those that are only in the log included
    Dump(Dump),
    /// Whether the files are whole
    Verify(Verify),
    /// Merge segments now; the one command that writes, so no server may run
    Compact(Compact),
}

/// A data directory.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The data directory
    pub(crate) dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is merged.
#[derive(Debug, Args)]
pub(crate) struct Compact {
    /// The data directory and the form
    #[command(flatten)]
    pub(crate) place: Place,
    /// The server's file of settings (TOML); INSIGHTS_* in the environment count too
    #[arg(long, env = "INSIGHTS_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Which rows are printed, and how.
#[derive(Debug, Args)]
pub(crate) struct Dump {
    /// The data directory and the form
    #[command(flatten)]
    pub(crate) place: Place,
    /// Which rows
    #[arg(long)]
    pub(crate) stream: Stream,
    /// Of this organization alone
    #[arg(long)]
    pub(crate) organization: Option<String>,
    /// From this instant on (RFC 3339)
    #[arg(long)]
    pub(crate) start: Option<jiff::Timestamp>,
    /// Before this instant (RFC 3339)
    #[arg(long)]
    pub(crate) end: Option<jiff::Timestamp>,
    /// One JSON object a line, or CSV with a line of names
    #[arg(long, default_value = "ndjson")]
    pub(crate) format: Format,
}

/// How deep a verification goes.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The data directory and the form
    #[command(flatten)]
    pub(crate) place: Place,
    /// Lengths and indexes; every block's checksum; every value
    #[arg(long, default_value = "full")]
    pub(crate) level: Level,
    /// The server's file of settings (TOML), which says what rollups there are; INSIGHTS_* count too
    #[arg(long, env = "INSIGHTS_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// A stream, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stream {
    /// Product events.
    Events,
    /// Metric points.
    Metrics,
    /// Audit records.
    Audit,
}

impl From<Stream> for insights_engine::id::Stream {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Events => Self::Events,
            Stream::Metrics => Self::Metrics,
            Stream::Audit => Self::Audit,
        }
    }
}

/// The form of dumped rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One JSON object a line.
    Ndjson,
    /// RFC 4180.
    Csv,
}

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// Lengths, footers, indexes.
    Quick,
    /// Every block's checksum.
    Full,
    /// Every value.
    Deep,
}

impl From<Level> for inspect::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Quick => Self::Quick,
            Level::Full => Self::Full,
            Level::Deep => Self::Deep,
        }
    }
}
