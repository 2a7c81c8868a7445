//! What is wrong with a setting, and who said it.

use std::path::PathBuf;

use super::raw::Origin;

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read, or is no TOML.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such setting.
    #[error("{origin}: there is no setting {name:?}")]
    Unknown {
        /// The name.
        name: String,
        /// Who said it.
        origin: Origin,
    },
    /// A value is wrong. Secrets are not shown.
    #[error("{name}: {reason} (from {origin})")]
    Value {
        /// The setting.
        name: String,
        /// What is wrong with it.
        reason: String,
        /// Who said it.
        origin: Origin,
    },
}

impl ConfigError {
    /// A wrong value; `text` is shown when it is not empty.
    pub(super) fn value(name: &str, text: &str, reason: &str, origin: &Origin) -> Self {
        let reason = if text.is_empty() { reason.to_owned() } else { format!("{text:?} {reason}") };
        Self::Value { name: name.to_owned(), reason, origin: origin.clone() }
    }
}
