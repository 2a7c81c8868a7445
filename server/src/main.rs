//! The server's program; everything is in [`insights_server::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    insights_server::cli::main()
}
