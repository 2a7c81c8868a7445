//! `config`: checks the settings, or shows them.

use clap::{Args, Subcommand};

use super::settings::SettingsArgs;
use super::{ProgramError, print};
use crate::auth::jwt::TokenVerifier;
use crate::config::show;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check the settings; exits with 78 and says what is wrong, and who said it
    Check,
    /// Show what is in force and who said it; secrets are not shown
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Print a file with every setting, its default and what it means
    #[arg(long, conflicts_with = "json")]
    example: bool,
    /// Print JSON: {name: {"value", "from"}}
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &ConfigCommand, settings: &SettingsArgs) -> Result<(), ProgramError> {
    if let ConfigCommand::Show(ShowArgs { example: true, .. }) = command {
        return print(show::example().trim_end());
    }
    let (config, raw) = settings.load()?;
    match command {
        ConfigCommand::Check => {
            config.jwt.as_ref().map(TokenVerifier::new).transpose()?;
            for variable in &raw.unknown_variables {
                print(&format!("warning: {}", show::unknown_variable(variable)))?;
            }
            print("the settings are good")
        }
        ConfigCommand::Show(ShowArgs { json: true, .. }) => {
            print(&serde_json::to_string_pretty(&show::effective_json(&raw)).map_err(std::io::Error::other)?)
        }
        ConfigCommand::Show(_) => print(show::effective(&raw).trim_end()),
    }
}
