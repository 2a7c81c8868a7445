//! The rules: small state machines that are fed with records in the order of time.

pub(crate) mod audit_gap;
pub(crate) mod dormant_account;
pub(crate) mod failed_logins;
pub(crate) mod first_privileged_action;
pub(crate) mod mass;
pub(crate) mod new_login;
pub(crate) mod two_factor_disabled;

use std::collections::HashMap;
use std::fmt::Debug;
use std::ops::RangeInclusive;

use insights_engine::time::{Buckets, TimestampUs};

use super::baseline::Baseline;
use super::finding::Findings;
use super::row::Row;
use crate::config::security::{Rule, SecuritySettings, Within};
use crate::http::error::ApiError;

/// What a rule asks of the log when the window is over.
pub(crate) trait Past: Debug {
    /// When each of these users last succeeded with anything before the look-back; who never did is left out.
    ///
    /// # Errors
    ///
    /// Those of the engine on the wire.
    fn last_active(&self, users: &[&str]) -> Result<HashMap<String, TimestampUs>, ApiError>;

    /// How many records the log has with these places, whatever their time; `None` when some have expired.
    ///
    /// # Errors
    ///
    /// Those of the engine on the wire.
    fn present(&self, seqs: RangeInclusive<u64>) -> Result<Option<u64>, ApiError>;
}

/// A rule at work.
pub(crate) trait Watch: Debug {
    /// Takes the next record, in the order of (time, seq).
    fn take(&mut self, row: &Row<'_>, out: &mut Findings);

    /// Says what is left when the window is over.
    ///
    /// # Errors
    ///
    /// Those of `past`.
    fn finish(self: Box<Self>, past: &dyn Past, out: &mut Findings) -> Result<(), ApiError>;
}

/// The rules that are on, over what was before the window; `days` are the days of the window.
pub(crate) fn watches(
    settings: &SecuritySettings,
    baseline: Baseline,
    days: &Buckets,
) -> Vec<Box<dyn Watch>> {
    let mut out: Vec<Box<dyn Watch>> = Vec::new();
    let Baseline { addresses, agents, deletions, exports, privileged, active } = baseline;
    let thresholds = &settings.thresholds;
    let on = |rule| settings.is_on(rule);
    if on(Rule::PasswordSpraying) {
        out.push(Box::new(failed_logins::FailedLogins::spraying(thresholds)));
    }
    if on(Rule::CredentialStuffing) {
        out.push(Box::new(failed_logins::FailedLogins::stuffing(thresholds)));
    }
    for (rule, known) in [(Rule::NewAddress, addresses), (Rule::NewAgent, agents)] {
        if on(rule) {
            out.push(Box::new(new_login::NewLogin::new(rule, known)));
        }
    }
    if on(Rule::TwoFactorDisabled) {
        out.push(Box::new(two_factor_disabled::TwoFactorDisabled::default()));
    }
    for (rule, usual) in [(Rule::MassDelete, deletions), (Rule::MassExport, exports)] {
        if on(rule) {
            out.push(Box::new(mass::Mass::new(rule, thresholds, usual, days.clone())));
        }
    }
    if on(Rule::DormantAccountActive) {
        out.push(Box::new(dormant_account::DormantAccount::new(thresholds, active)));
    }
    if on(Rule::FirstPrivilegedAction) {
        out.push(Box::new(first_privileged_action::FirstPrivilegedAction::new(privileged)));
    }
    if on(Rule::AuditGap) || on(Rule::ClockStep) {
        out.push(Box::new(audit_gap::AuditGap::new(settings)));
    }
    out
}

/// The thresholds of a rule by their names, as a finding says them.
pub(crate) fn thresholds(rule: Rule, settings: &SecuritySettings) -> Vec<(&'static str, u64)> {
    let all = &settings.thresholds;
    let within = |what, within: Within| vec![(what, within.count), ("window_s", within.window_s)];
    let mass = |limit| {
        let mut out = within("records", limit);
        let rest = [
            ("factor", all.mass_factor),
            ("active_days", all.mass_active_days),
            ("look_back_days", all.look_back_days),
        ];
        out.extend(rest);
        out
    };
    match rule {
        Rule::PasswordSpraying => within("users", all.password_spraying),
        Rule::CredentialStuffing => within("addresses", all.credential_stuffing),
        Rule::NewAddress | Rule::NewAgent | Rule::FirstPrivilegedAction => {
            vec![("look_back_days", all.look_back_days)]
        }
        Rule::TwoFactorDisabled | Rule::AuditGap => Vec::new(),
        Rule::MassDelete => mass(all.mass_delete),
        Rule::MassExport => mass(all.mass_export),
        Rule::DormantAccountActive => vec![("days", all.dormant_days)],
        Rule::ClockStep => vec![("seconds", all.clock_step_s)],
    }
}

/// What a rule means, in a sentence.
pub(crate) const fn definition(rule: Rule) -> &'static str {
    match rule {
        Rule::PasswordSpraying => "failed logins of so many different users from one address within the time",
        Rule::CredentialStuffing => "failed logins of one user from so many addresses within the time",
        Rule::NewAddress => {
            "a login of a user from an address without a login of theirs in the look-back or earlier in the window; silent for users without any login in the look-back"
        }
        Rule::NewAgent => {
            "a login of a user with a user agent without a login of theirs in the look-back or earlier in the window; silent for users without any login in the look-back"
        }
        Rule::TwoFactorDisabled => "a second factor was turned off",
        Rule::MassDelete => {
            "so many deletions by one user within the time, or on one day so many times the median of the user's active days in the look-back"
        }
        Rule::MassExport => {
            "so many exports by one user within the time, or on one day so many times the median of the user's active days in the look-back"
        }
        Rule::DormantAccountActive => {
            "a user succeeds with something so many days or more after the time before"
        }
        Rule::FirstPrivilegedAction => {
            "a user does something privileged and did nothing privileged in the look-back or earlier in the window"
        }
        Rule::AuditGap => "places in the log between two records of the window that no record has",
        Rule::ClockStep => {
            "a record was received so much earlier than the one in front of it in the log, or is of a time so much after it was received"
        }
    }
}
