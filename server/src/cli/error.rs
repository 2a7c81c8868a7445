//! Why a command failed, and what it exits with.

use std::process::ExitCode;

use crate::config::ConfigError;
use crate::demo::DemoError;

/// A command that failed.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The settings are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] insights_engine::Error),
    /// The demo was refused.
    #[error(transparent)]
    Demo(#[from] DemoError),
    /// The address to listen on cannot be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The operating system refused something else.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A running server refused, or what was asked for is wrong.
    #[error("{0}")]
    Refused(String),
}

impl ProgramError {
    /// 78 for wrong settings (`EX_CONFIG` of sysexits), 1 for everything else.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::from(78),
            Self::Engine(_) | Self::Demo(_) | Self::Listen { .. } | Self::Io(_) | Self::Refused(_) => {
                ExitCode::FAILURE
            }
        }
    }
}
