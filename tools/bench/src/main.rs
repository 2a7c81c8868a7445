//! Loads an Insights server and measures it: `insights-bench ingest --url URL --key KEY`.

mod args;
mod client;
mod fsync;
mod histogram;
mod load;
mod records;
mod report;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args::Command::Ingest(args) = args::Arguments::parse().command;
    match run(&args) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "insights-bench: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Measures and prints; how many requests failed.
fn run(args: &args::Ingest) -> Result<u64, load::LoadError> {
    let mut syncs = fsync::Fsyncs::in_directory(&args.fsync_dir)?;
    syncs.sample()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(load::run(args))?;
    syncs.sample()?;
    let report = report::Report::new(args, &outcome, &syncs);
    let text = if args.json { report.json() } else { report.table() };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(outcome.errors)
}
