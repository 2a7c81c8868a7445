//! Audit records: severities, outcomes, action types, and the secrets that are never kept.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The prefix of actions that the server records of its own acts; clients cannot write it.
pub const OWN_ACTION_PREFIX: &str = "insights.";

/// What stands in place of a secret.
pub const MASK: &str = "***";

/// Most bytes of an action type.
pub const ACTION_TYPE_BYTES_MAX: usize = 128;

/// How grave a record is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Business as usual.
    #[default]
    Info,
    /// Worth a look.
    Notice,
    /// May become a problem.
    Warning,
    /// A problem.
    Error,
    /// Somebody must act now.
    Critical,
}

impl Severity {
    /// Every severity, the least grave first; the place is the stored number.
    pub const ALL: [Self; 5] = [Self::Info, Self::Notice, Self::Warning, Self::Error, Self::Critical];

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }

    /// The severity of a name on the wire.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }

    /// The stored number.
    pub const fn tag(self) -> u64 {
        self as u64
    }

    /// The severity of a stored number.
    pub fn from_tag(tag: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.tag() == tag)
    }
}

/// Whether the action succeeded.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It did.
    #[default]
    Success,
    /// It did not.
    Failure,
}

impl Outcome {
    /// Every outcome; the place is the stored number.
    pub const ALL: [Self; 2] = [Self::Success, Self::Failure];

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }

    /// The outcome of a name on the wire.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|o| o.name() == name)
    }

    /// The stored number.
    pub const fn tag(self) -> u64 {
        self as u64
    }

    /// The outcome of a stored number.
    pub fn from_tag(tag: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|o| o.tag() == tag)
    }
}

/// Whether `text` is an action type: words of `[A-Za-z0-9_:-]` with a dot between them, such as `project.created`.
pub fn is_action_type(text: &str) -> bool {
    let word = |w: &str| {
        !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'-'))
    };
    text.len() <= ACTION_TYPE_BYTES_MAX && text.split('.').all(word)
}

/// Parts of field names whose values are secrets, without case and punctuation.
const SECRET_WORDS: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "authorization",
    "cookie",
    "credential",
];

/// Whether a field of this name holds a secret: `password`, `api_key`, `X-Auth-Token`, `clientSecret` and the like.
pub fn is_secret_field(name: &str) -> bool {
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    SECRET_WORDS.iter().any(|word| plain.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_of_severities_and_outcomes_agree() {
        for severity in Severity::ALL {
            assert_eq!(Severity::from_name(severity.name()), Some(severity));
            assert_eq!(Severity::from_tag(severity.tag()), Some(severity));
            assert_eq!(serde_json::to_value(severity).unwrap(), severity.name());
        }
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::from_name(outcome.name()), Some(outcome));
            assert_eq!(Outcome::from_tag(outcome.tag()), Some(outcome));
        }
        assert_eq!(Severity::from_name("fatal"), None);
        assert_eq!(Severity::from_tag(5), None);
    }

    #[test]
    fn an_action_type_is_words_with_dots_between() {
        for good in ["project.created", "login", "user.2fa_enabled", "app.deploy.failed", "x:y.z-1"] {
            assert!(is_action_type(good), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "caf\u{e9}.open", &"a".repeat(129)] {
            assert!(!is_action_type(bad), "{bad}");
        }
    }

    #[test]
    fn secrets_are_found_whatever_their_spelling() {
        for secret in
            ["password", "user_password", "API-Key", "apiKey", "clientSecret", "Set-Cookie", "X-Auth-Token"]
        {
            assert!(is_secret_field(secret), "{secret}");
        }
        for plain in ["name", "email", "pass_rate", "keyboard", "author"] {
            assert!(!is_secret_field(plain), "{plain}");
        }
    }
}
