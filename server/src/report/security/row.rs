//! An audit record as the rules see it, and what kinds of action it is.

use insights_engine::time::TimestampUs;

use crate::config::security::Actions;
use crate::domain::audit::OWN_ACTION_PREFIX;

/// Where a record is: enough to name it later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Its place in the log.
    pub(crate) seq: u64,
    /// When the server received it.
    pub(crate) received: TimestampUs,
    /// The id that its client gave.
    pub(crate) id: Option<Box<str>>,
}

/// An audit record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    /// When it happened.
    pub(crate) at: TimestampUs,
    /// When the server received it.
    pub(crate) received: TimestampUs,
    /// Its place in the log.
    pub(crate) seq: u64,
    /// The id that its client gave.
    pub(crate) id: Option<&'a str>,
    /// Who did it.
    pub(crate) user: Option<&'a str>,
    /// From where.
    pub(crate) address: Option<&'a str>,
    /// With what.
    pub(crate) agent: Option<&'a str>,
    /// What was done.
    pub(crate) action: &'a str,
    /// Whether it failed.
    pub(crate) failed: bool,
    /// What kinds of action it is.
    pub(crate) kinds: Kinds,
}

impl Row<'_> {
    /// Its place.
    pub(crate) fn mark(&self) -> Mark {
        Mark { seq: self.seq, received: self.received, id: self.id.map(Into::into) }
    }
}

/// A set of kinds of action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Kinds(u8);

impl Kinds {
    /// A login that succeeded.
    pub(crate) const LOGIN: Self = Self(1);
    /// A login that failed.
    pub(crate) const LOGIN_FAILED: Self = Self(2);
    /// A second factor was turned off.
    pub(crate) const TWO_FACTOR_DISABLED: Self = Self(4);
    /// A deletion.
    pub(crate) const DELETED: Self = Self(8);
    /// An export.
    pub(crate) const EXPORTED: Self = Self(16);
    /// A privileged action.
    pub(crate) const PRIVILEGED: Self = Self(32);
    /// An act on the server itself.
    pub(crate) const OWN: Self = Self(64);

    /// What an action is. An action that failed deleted, exported and turned off nothing.
    pub(crate) fn of(action: &str, failed: bool, actions: &Actions) -> Self {
        let mut kinds = Self::default();
        let mut add = |kind: Self, holds: bool| kinds.0 |= if holds { kind.0 } else { 0 };
        let login_failed = actions.login_failed.matches(action);
        let login = !login_failed && actions.login.matches(action);
        add(Self::LOGIN, login && !failed);
        add(Self::LOGIN_FAILED, login_failed || (login && failed));
        add(Self::TWO_FACTOR_DISABLED, !failed && actions.two_factor_disabled.matches(action));
        add(Self::DELETED, !failed && actions.deleted.matches(action));
        add(Self::EXPORTED, !failed && actions.exported.matches(action));
        add(Self::PRIVILEGED, actions.privileged.matches(action));
        add(Self::OWN, action.starts_with(OWN_ACTION_PREFIX));
        kinds
    }

    /// Whether it is of this kind too.
    pub(crate) const fn has(self, kind: Self) -> bool {
        self.0 & kind.0 != 0
    }
}
