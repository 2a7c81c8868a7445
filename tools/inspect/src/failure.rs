//! Why the program stopped, and its exit code.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use insights_server::config::ConfigError;

/// Damage was found.
pub(crate) const DAMAGED: u8 = 1;
/// It was called wrongly, or could not look.
const UNUSABLE: u8 = 2;

/// What stopped the program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The store could not be read.
    #[error("{}", Chain(.0))]
    Engine(#[from] insights_engine::Error),
    /// The answer could not be written.
    #[error("the answer could not be written: {0}")]
    Output(#[from] io::Error),
    /// The answer could not be put into JSON.
    #[error("the answer could not be put into JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The server's settings cannot be used.
    #[error("settings: {0}")]
    Settings(String),
    /// The directory holds no store.
    #[error("{} holds no store: it has no manifest", .0.display())]
    NoStore(PathBuf),
    /// There is no such organization.
    #[error("there is no organization {0}")]
    NoOrganization(String),
}

impl Failure {
    /// Whether whoever reads the answer went away.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        let kind = match self {
            Self::Output(error) => Some(error.kind()),
            Self::Json(error) => error.io_error_kind(),
            Self::Engine(_) | Self::Settings(_) | Self::NoStore(_) | Self::NoOrganization(_) => None,
        };
        kind == Some(io::ErrorKind::BrokenPipe)
    }

    /// How the program exits.
    pub(crate) fn code(&self) -> ExitCode {
        match self {
            Self::Engine(error) if error.is_damage() => ExitCode::from(DAMAGED),
            _ if self.is_closed_pipe() => ExitCode::SUCCESS,
            Self::Engine(_)
            | Self::Output(_)
            | Self::Json(_)
            | Self::Settings(_)
            | Self::NoStore(_)
            | Self::NoOrganization(_) => ExitCode::from(UNUSABLE),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Settings(error.to_string())
    }
}

/// An error and its causes in one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
