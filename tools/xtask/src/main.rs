//! The gates of the project: `cargo xtask ci` runs all of them, `cargo xtask tidy` the one of our own.

#![expect(clippy::print_stdout, reason = "a command line tool answers on stdout")]

mod gate;
mod source;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <ci | tidy>";

fn main() -> ExitCode {
    let root = workspace_root();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let passed = match arguments.as_slice() {
        ["ci"] => gate::run_all(&root),
        ["tidy"] => gate::tidy(&root),
        _ => {
            println!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The directory of the workspace's `Cargo.toml`: two above this package.
fn workspace_root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package).to_path_buf()
}
