//! Loads an Insights server, or an engine without one, and measures it: `insights-bench --help`.

mod args;
mod ask;
mod bodies;
mod client;
mod command;
mod error;
mod floor;
mod fsync;
mod histogram;
mod inside;
mod load;
mod own_metrics;
mod pace;
mod peer;
mod progress;
mod query_report;
mod question;
mod random;
mod records;
mod report;
mod restart;
mod soak;
mod subject;
#[cfg(test)]
mod tests;
mod verdict;
mod viewers;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use args::Command;

fn main() -> ExitCode {
    let done = match args::Arguments::parse().command {
        Command::Ingest(args) => command::ingest(&args),
        Command::Query(args) => command::query(&args),
        Command::Mixed(args) => command::mixed(&args),
        Command::Soak(args) => command::soak(&args),
        Command::Fill(args) => command::fill(&args),
        Command::Flat(args) => command::flat(&args),
        Command::Restart(args) => command::restart(&args),
        Command::Live(args) => command::live(&args),
        Command::Floor(args) => command::floor(&args),
        Command::Peer(args) => command::peer(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "insights-bench: {error}"));
            ExitCode::FAILURE
        }
    }
}
