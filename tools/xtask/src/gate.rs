//! Runs the gates one after the other, each with its time, and says at the end which did not pass.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::tidy;

/// What became of a gate.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    /// Its tool is not installed on this machine.
    Skipped(&'static str),
}

/// A gate that is one call of cargo.
struct CargoGate {
    name: &'static str,
    arguments: &'static [&'static str],
    /// What warnings of rustdoc do; empty for the other gates.
    rustdoc_flags: &'static str,
}

/// The gates that are one call of cargo, in the order they run.
const CARGO_GATES: [CargoGate; 5] = [
    CargoGate { name: "fmt", arguments: &["fmt", "--all", "--check"], rustdoc_flags: "" },
    CargoGate {
        name: "clippy",
        arguments: &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
        rustdoc_flags: "",
    },
    CargoGate { name: "test", arguments: &["test", "--workspace", "--locked"], rustdoc_flags: "" },
    CargoGate {
        name: "doc",
        arguments: &["doc", "--workspace", "--no-deps", "--locked"],
        rustdoc_flags: "-D warnings",
    },
    CargoGate {
        name: "benches",
        arguments: &["check", "--workspace", "--benches", "--locked"],
        rustdoc_flags: "",
    },
];

/// Runs every gate in `root`, also after one has failed; whether all passed.
pub(crate) fn run_all(root: &Path) -> bool {
    let mut done: Vec<(&str, Outcome, Duration)> = Vec::new();
    let mut summaries = Vec::new();
    let mut time = |name, gate: &mut dyn FnMut() -> Outcome| {
        println!("\n== {name}");
        let started = Instant::now();
        let outcome = gate();
        done.push((name, outcome, started.elapsed()));
    };
    time("tidy", &mut || passed(tidy(root)));
    for gate in &CARGO_GATES {
        time(gate.name, &mut || passed(cargo(root, gate.arguments, gate.rustdoc_flags, &mut summaries)));
    }
    time("deny", &mut || deny(root));

    println!("\n== gates");
    for (name, outcome, took) in &done {
        let word = match outcome {
            Outcome::Passed => "passed",
            Outcome::Failed => "FAILED",
            Outcome::Skipped(reason) => reason,
        };
        println!("{name:<8} {:>7.1} s  {word}", took.as_secs_f64());
    }
    for line in &summaries {
        println!("{line}");
    }
    done.iter().all(|(_, outcome, _)| *outcome != Outcome::Failed)
}

/// The gate of our own; whether nothing was found.
pub(crate) fn tidy(root: &Path) -> bool {
    match tidy::check(root) {
        Ok(findings) => {
            for finding in &findings {
                println!("{finding}");
            }
            findings.is_empty()
        }
        Err(error) => {
            println!("tidy: {error}");
            false
        }
    }
}

fn passed(ok: bool) -> Outcome {
    if ok { Outcome::Passed } else { Outcome::Failed }
}

/// Licences and advisories, where `cargo-deny` is installed.
fn deny(root: &Path) -> Outcome {
    let installed = Command::new(cargo_program())
        .args(["deny", "--version"])
        .current_dir(root)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !installed.is_ok_and(|status| status.success()) {
        return Outcome::Skipped("skipped: cargo-deny is not installed");
    }
    passed(cargo(root, &["deny", "check"], "", &mut Vec::new()))
}

/// One call of cargo: its output goes through, the lines with test results are collected as well.
fn cargo(root: &Path, arguments: &[&str], rustdoc_flags: &str, summaries: &mut Vec<String>) -> bool {
    let child = Command::new(cargo_program())
        .args(arguments)
        .env("RUSTDOCFLAGS", rustdoc_flags)
        .current_dir(root)
        .stdout(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            println!("cargo {}: {error}", arguments.join(" "));
            return false;
        }
    };
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            println!("{line}");
            if line.starts_with("test result:") {
                summaries.push(line);
            }
        }
    }
    child.wait().is_ok_and(|status| status.success())
}

/// The cargo that started us, so that the toolchain stays the same.
fn cargo_program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
