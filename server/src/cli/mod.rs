//! The commands of the program: arguments, logging, and what each command does.

#![expect(clippy::doc_markdown, reason = "clap prints these comments as they stand")]

mod config;
mod demo;
mod error;
mod http_client;
mod keys;
mod logging;
mod open;
mod serve;
mod settings;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use error::ProgramError;
use settings::SettingsArgs;

/// The server of Insights: tracking, audit and reports of a platform.
///
/// Without a command it serves. At the first start it makes a superuser's key and says where it is;
/// with that key, make one for an organization and send the first event:
///
///   insights-server &
///   ROOT=$(cat insights-data/superuser.key)
///   insights-server keys create --url http://127.0.0.1:8686 --key $ROOT \
///       --organization acme --name backend --scope admin
///   curl -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \
///       -d '{"event_type": "hello"}' http://127.0.0.1:8686/api/insights/track/
#[derive(Debug, Parser)]
#[command(name = "insights-server", version, verbatim_doc_comment, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API (what happens without a command)
    Serve,
    /// Fill an empty data directory with a believable platform of 30 days, and serve it
    Demo(demo::DemoArgs),
    /// Make, list and revoke API keys, on the data directory or against a running server
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Check the settings, or show what is in force and who said it
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print the OpenAPI document of the API
    Openapi,
}

/// Runs the command of the command line; errors are printed.
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut stderr = std::io::stderr().lock();
            let _ = writeln!(stderr, "error: {error}");
            let mut cause = std::error::Error::source(&error);
            while let Some(inner) = cause {
                let _ = writeln!(stderr, "  because: {inner}");
                cause = inner.source();
            }
            error.exit_code()
        }
    }
}

fn run(cli: Cli) -> Result<(), ProgramError> {
    match cli.command {
        None | Some(Command::Serve) => serve::run(cli.settings.load()?.0),
        Some(Command::Demo(args)) => demo::run(cli.settings.load()?.0, &args),
        Some(Command::Keys(command)) => keys::run(command, &cli.settings),
        Some(Command::Config(command)) => config::run(&command, &cli.settings),
        Some(Command::Openapi) => {
            let text = crate::openapi::document().to_pretty_json().map_err(std::io::Error::other)?;
            print(&text)
        }
    }
}

/// Writes a text and a line feed to standard output.
fn print(text: &str) -> Result<(), ProgramError> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(ProgramError::from)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serving_needs_no_command_and_settings_go_anywhere() {
        for args in [
            &["insights-server", "--listen", "127.0.0.1:0"][..],
            &["insights-server", "serve", "--listen", "127.0.0.1:0"],
            &["insights-server", "--listen", "127.0.0.1:0", "serve"],
            &["insights-server", "config", "check", "--set", "log=debug"],
        ] {
            Cli::try_parse_from(args).unwrap();
        }
        assert!(Cli::try_parse_from(["insights-server", "keys", "create"]).is_err());
    }
}
