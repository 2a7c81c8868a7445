//! What the security report looks for: rules, the actions they are about, their thresholds.

use std::collections::BTreeSet;

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::audit::{ACTION_TYPE_BYTES_MAX, OWN_ACTION_PREFIX};

/// Longest look-back and dormancy, in days.
const DAYS_MAX: u64 = 3_660;
/// Longest sliding window of a rule, in seconds.
const WINDOW_S_MAX: u64 = 86_400;
/// Greatest count that a rule may ask for. Windows hold fewer records than this in memory.
const COUNT_MAX: u64 = 10_000;

/// A rule of the security report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Failed logins of many users from one address.
    PasswordSpraying,
    /// Failed logins of one user from many addresses.
    CredentialStuffing,
    /// A login from an address that the user never came from.
    NewAddress,
    /// A login with a user agent that the user never came with.
    NewAgent,
    /// A second factor was turned off.
    TwoFactorDisabled,
    /// Many deletions by one user.
    MassDelete,
    /// Many exports by one user.
    MassExport,
    /// A user who comes back after a long silence.
    DormantAccountActive,
    /// A user's first privileged action.
    FirstPrivilegedAction,
    /// Records that are missing in the log.
    AuditGap,
    /// A clock that was set back, or that is ahead.
    ClockStep,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 11] = [
        Self::PasswordSpraying,
        Self::CredentialStuffing,
        Self::NewAddress,
        Self::NewAgent,
        Self::TwoFactorDisabled,
        Self::MassDelete,
        Self::MassExport,
        Self::DormantAccountActive,
        Self::FirstPrivilegedAction,
        Self::AuditGap,
        Self::ClockStep,
    ];

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PasswordSpraying => "password_spraying",
            Self::CredentialStuffing => "credential_stuffing",
            Self::NewAddress => "new_address",
            Self::NewAgent => "new_agent",
            Self::TwoFactorDisabled => "two_factor_disabled",
            Self::MassDelete => "mass_delete",
            Self::MassExport => "mass_export",
            Self::DormantAccountActive => "dormant_account_active",
            Self::FirstPrivilegedAction => "first_privileged_action",
            Self::AuditGap => "audit_gap",
            Self::ClockStep => "clock_step",
        }
    }

    /// The rule of a name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.name() == name)
    }
}

/// What action types may look like: the whole of one, or its start (`role.*`), or its end (`*.deleted`).
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Whole(String),
    Start(String),
    End(String),
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let pattern = match (text.strip_suffix('*'), text.strip_prefix('*')) {
            (Some(start), _) => Self::Start(start.to_owned()),
            (None, Some(end)) => Self::End(end.to_owned()),
            (None, None) => Self::Whole(text.to_owned()),
        };
        let (Self::Whole(rest) | Self::Start(rest) | Self::End(rest)) = &pattern;
        if rest.is_empty() || rest.contains('*') {
            return Err("is no action type with `*` at its start or its end");
        }
        if rest.len() > ACTION_TYPE_BYTES_MAX {
            return Err("is longer than an action type can be");
        }
        Ok(pattern)
    }

    /// The server's own acts are meant only by a pattern that names them.
    fn matches(&self, action: &str) -> bool {
        let is_own = action.starts_with(OWN_ACTION_PREFIX);
        match self {
            Self::Whole(whole) => action == whole,
            Self::Start(start) => {
                action.starts_with(start.as_str()) && (!is_own || start.starts_with(OWN_ACTION_PREFIX))
            }
            Self::End(end) => action.ends_with(end.as_str()) && !is_own,
        }
    }
}

/// A list of patterns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Patterns(Vec<Pattern>);

impl Patterns {
    /// Reads each of `texts`.
    ///
    /// # Errors
    ///
    /// The first text that is no pattern, and why.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, (String, &'static str)> {
        let one =
            |text: &T| Pattern::parse(text.as_ref()).map_err(|reason| (text.as_ref().to_owned(), reason));
        texts.iter().map(one).collect::<Result<_, _>>().map(Self)
    }

    /// Whether any of them is of this action type.
    pub fn matches(&self, action: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(action))
    }
}

/// Which action types are what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actions {
    /// Logins; the outcome says whether one failed.
    pub login: Patterns,
    /// Logins that failed, whatever the outcome says.
    pub login_failed: Patterns,
    /// A second factor was turned off.
    pub two_factor_disabled: Patterns,
    /// Deletions.
    pub deleted: Patterns,
    /// Exports.
    pub exported: Patterns,
    /// What only privileged people do.
    pub privileged: Patterns,
}

/// Defaults of the lists of [`Actions`], with commas between.
pub(super) mod defaults {
    pub(in crate::config) const LOGIN: &str = "user.login,auth.login,login";
    pub(in crate::config) const LOGIN_FAILED: &str =
        "user.login_failed,user.login.failed,auth.login_failed,auth.login.failed,login_failed";
    pub(in crate::config) const TWO_FACTOR_DISABLED: &str =
        "user.2fa_disabled,security.2fa.disabled,*.2fa_disabled,*.mfa_disabled";
    pub(in crate::config) const DELETED: &str = "*.deleted";
    pub(in crate::config) const EXPORTED: &str = "*.exported,*.export";
    pub(in crate::config) const PRIVILEGED: &str =
        "role.*,permission.*,key.*,insights.key*,organization.settings*,user.impersonated*";
    pub(in crate::config) const THRESHOLDS: &str = "password_spraying.users=10,password_spraying.window_s=600,\
         credential_stuffing.addresses=20,credential_stuffing.window_s=600,look_back.days=30,mass_delete.records=20,\
         mass_delete.window_s=300,mass_export.records=20,mass_export.window_s=300,mass.factor=10,mass.active_days=5,\
         dormant_account.days=30,clock_step.seconds=600";
}

impl Default for Actions {
    fn default() -> Self {
        let list = |text: &str| {
            Patterns(text.split(',').filter_map(|text| Pattern::parse(text.trim()).ok()).collect())
        };
        Self {
            login: list(defaults::LOGIN),
            login_failed: list(defaults::LOGIN_FAILED),
            two_factor_disabled: list(defaults::TWO_FACTOR_DISABLED),
            deleted: list(defaults::DELETED),
            exported: list(defaults::EXPORTED),
            privileged: list(defaults::PRIVILEGED),
        }
    }
}

/// A number of records and the time within which they must lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Within {
    /// How many, at least.
    pub count: u64,
    /// The longest time from the first to the last, in seconds.
    pub window_s: u64,
}

/// From where on something is a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Users of failed logins from one address.
    pub password_spraying: Within,
    /// Addresses of failed logins of one user.
    pub credential_stuffing: Within,
    /// Days before the window that say what is usual.
    pub look_back_days: u64,
    /// Deletions by one user.
    pub mass_delete: Within,
    /// Exports by one user.
    pub mass_export: Within,
    /// How many times the user's usual day is too much.
    pub mass_factor: u64,
    /// Fewest active days in the look-back that make a usual day.
    pub mass_active_days: u64,
    /// Days of silence after which a user was dormant.
    pub dormant_days: u64,
    /// Seconds that a clock may be off.
    pub clock_step_s: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            password_spraying: Within { count: 10, window_s: 600 },
            credential_stuffing: Within { count: 20, window_s: 600 },
            look_back_days: 30,
            mass_delete: Within { count: 20, window_s: 300 },
            mass_export: Within { count: 20, window_s: 300 },
            mass_factor: 10,
            mass_active_days: 5,
            dormant_days: 30,
            clock_step_s: 600,
        }
    }
}

impl Thresholds {
    /// The place of a name, and the most it may be.
    fn place(&mut self, name: &str) -> Option<(&mut u64, u64)> {
        Some(match name {
            "password_spraying.users" => (&mut self.password_spraying.count, COUNT_MAX),
            "password_spraying.window_s" => (&mut self.password_spraying.window_s, WINDOW_S_MAX),
            "credential_stuffing.addresses" => (&mut self.credential_stuffing.count, COUNT_MAX),
            "credential_stuffing.window_s" => (&mut self.credential_stuffing.window_s, WINDOW_S_MAX),
            "look_back.days" => (&mut self.look_back_days, DAYS_MAX),
            "mass_delete.records" => (&mut self.mass_delete.count, COUNT_MAX),
            "mass_delete.window_s" => (&mut self.mass_delete.window_s, WINDOW_S_MAX),
            "mass_export.records" => (&mut self.mass_export.count, COUNT_MAX),
            "mass_export.window_s" => (&mut self.mass_export.window_s, WINDOW_S_MAX),
            "mass.factor" => (&mut self.mass_factor, COUNT_MAX),
            "mass.active_days" => (&mut self.mass_active_days, DAYS_MAX),
            "dormant_account.days" => (&mut self.dormant_days, DAYS_MAX),
            "clock_step.seconds" => (&mut self.clock_step_s, WINDOW_S_MAX),
            _ => return None,
        })
    }

    /// Sets one of them, as `name=number`.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn set(&mut self, text: &str) -> Result<(), String> {
        let (name, number) = text.split_once('=').ok_or("is not `rule.threshold=number`")?;
        let (place, max) = self.place(name.trim()).ok_or("names no threshold")?;
        let number = number.trim().parse().ok().filter(|number| (1..=max).contains(number));
        *place = number.ok_or_else(|| format!("is no number of 1 to {max}"))?;
        Ok(())
    }
}

/// What the security report looks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecuritySettings {
    /// The rules that are off.
    pub rules_off: BTreeSet<Rule>,
    /// Which action types are what.
    pub actions: Actions,
    /// From where on something is a finding.
    pub thresholds: Thresholds,
}

impl SecuritySettings {
    /// Whether a rule is on.
    pub fn is_on(&self, rule: Rule) -> bool {
        !self.rules_off.contains(&rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_whole_or_a_start_or_an_end() {
        let list = |texts: &[&str]| Patterns::parse(texts).unwrap();
        for (pattern, action, expected) in [
            ("user.login", "user.login", true),
            ("user.login", "user.login_failed", false),
            ("role.*", "role.granted", true),
            ("role.*", "user.role.granted", false),
            ("*.deleted", "project.deleted", true),
            ("*.deleted", "project.undeleted", false),
            ("*.exported", "insights.audit.exported", false),
            ("i*", "insights.key.created", false),
            ("insights.key*", "insights.key.created", true),
            ("insights.key.created", "insights.key.created", true),
        ] {
            assert_eq!(list(&[pattern]).matches(action), expected, "{pattern} {action}");
        }
        for wrong in ["", "*", "a*b", "*a*", "**", &"x".repeat(129)] {
            assert!(Patterns::parse(&[wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_default_is_read_and_the_thresholds_are_those_of_the_type() {
        let mut read = Thresholds {
            password_spraying: Within { count: 0, window_s: 0 },
            credential_stuffing: Within { count: 0, window_s: 0 },
            look_back_days: 0,
            mass_delete: Within { count: 0, window_s: 0 },
            mass_export: Within { count: 0, window_s: 0 },
            mass_factor: 0,
            mass_active_days: 0,
            dormant_days: 0,
            clock_step_s: 0,
        };
        for text in defaults::THRESHOLDS.split(',') {
            read.set(text).unwrap();
        }
        assert_eq!(read, Thresholds::default());
        for wrong in ["", "mass.factor", "mass.factor=0", "mass.factor=ten", "speed=1", "look_back.days=4000"]
        {
            assert!(read.set(wrong).is_err(), "{wrong}");
        }
        for (rule, name) in Rule::ALL.map(|rule| (rule, rule.name())) {
            assert_eq!(Rule::from_name(name), Some(rule));
            assert_eq!(serde_json::to_value(rule).unwrap(), name);
        }
    }
}
