//! Looks at a data directory: `insights-inspect stats DIR`.

mod args;
mod compact;
mod dump;
mod failure;
mod segments;
mod stats;
mod table;
#[cfg(test)]
mod tests;
mod verify;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use insights_engine::disk::{Disk, OsDisk, raise_open_files_limit};

use args::{Arguments, Command};
use failure::{DAMAGED, Failure};

fn main() -> ExitCode {
    // Wrong arguments end here, with 2.
    let arguments = Arguments::parse();
    // A store may have more segments than a process may open files by default.
    raise_open_files_limit();
    match run(&arguments.command) {
        Ok(code) => code,
        Err(failure) => {
            // Whoever read the answer may have had enough of it; that is no failure to tell.
            if !failure.is_closed_pipe() {
                drop(writeln!(io::stderr(), "insights-inspect: {failure}"));
            }
            failure.code()
        }
    }
}

fn run(command: &Command) -> Result<ExitCode, Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let is_whole = match command {
        Command::Stats(place) => stats::run(&open(&place.dir)?, place.json, &mut out)?,
        Command::Segments(place) => segments::run(&open(&place.dir)?, place.json, &mut out)?,
        Command::Dump(dump) => dump::run(&open(&dump.place.dir)?, dump, &mut out)?,
        Command::Compact(compact) => compact::run(compact, &mut out)?,
        Command::Verify(verify) => verify::run(&open(&verify.place.dir)?, verify, &mut out)?,
    };
    out.flush()?;
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) })
}

fn open(dir: &std::path::Path) -> Result<Arc<dyn Disk>, Failure> {
    Ok(Arc::new(OsDisk::existing(dir)?))
}
