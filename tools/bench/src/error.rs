//! Why nothing could be measured, or a request failed; and what to do about it.

use std::io;
use std::path::PathBuf;

/// Why nothing could be measured, or a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// The URL is not one of a server.
    #[error("{0} is not http://host[:port]; TLS ends at the proxy, so measure the server behind it")]
    Url(String),
    /// Nobody answers there.
    #[error("no server at {address}: {source}; start `insights-server`, or say --url as it printed it")]
    NoServer {
        /// Host and port.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The server's answer was not a 2xx, or none that we understand.
    #[error("the server answered {status}: {text}{hint}", hint = hint(*status))]
    Refused {
        /// The status, 0 when there was none.
        status: u16,
        /// The start of the body.
        text: String,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Http(#[from] hyper::Error),
    /// The store could not be opened, or did not do what it was asked.
    #[error("{path}: {source}", path = path.display())]
    Engine {
        /// The data directory.
        path: PathBuf,
        /// What the engine said.
        source: insights_engine::Error,
    },
    /// There is nothing to ask about.
    #[error("{0}")]
    NothingToAsk(String),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl BenchError {
    /// An answer that is not as it should be.
    pub(crate) fn refused(status: u16, text: impl Into<String>) -> Self {
        Self::Refused { status, text: text.into() }
    }
}

/// What usually helps, by status.
fn hint(status: u16) -> &'static str {
    match status {
        401 => " (give --key or INSIGHTS_KEY; the first superuser's key is in <data-dir>/superuser.key)",
        403 => " (the key lacks a scope for this, or belongs to another organization)",
        422 => " (with a superuser's key name an --organization)",
        429 | 503 => " (the server is at its limits: lower --rate or --clients, or give it a faster disk)",
        _ => "",
    }
}
