//! What a credential may do ([`Scopes`]), and whose rows a read may see ([`ReadScope`]).

use std::fmt;
use std::ops::BitOr;

use insights_engine::id::{Stream, TenantId};
use insights_engine::query::{
    Budget, Filter, Order, ProbeRequest, Query, RowRequest, ScanRequest, Scope, SessionClasses,
    SessionRequest,
};
use insights_engine::time::{Buckets, TimeRange};
use insights_engine::{Error, Result};

/// A set of permissions.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Sends product events.
    pub const TRACK: Self = Self(1);
    /// Sends metric points.
    pub const METRICS_WRITE: Self = Self(2);
    /// Sends audit records.
    pub const AUDIT_WRITE: Self = Self(4);
    /// Reads reports, events and metrics.
    pub const READ: Self = Self(8);
    /// Reads audit records.
    pub const AUDIT_READ: Self = Self(16);
    /// Manages keys, retention, alerts and erasure of its own organization.
    pub const ADMIN: Self = Self(32);
    /// Reads the server's own metrics.
    pub const METRICS: Self = Self(64);
    /// Everything inside one organization: what `admin` implies for a key.
    pub const ALL_OF_ORGANIZATION: Self = Self(1 | 2 | 4 | 8 | 16 | 32);

    /// Every scope with its name on the wire.
    pub const NAMES: [(&'static str, Self); 7] = [
        ("track", Self::TRACK),
        ("metrics:write", Self::METRICS_WRITE),
        ("audit:write", Self::AUDIT_WRITE),
        ("read", Self::READ),
        ("audit:read", Self::AUDIT_READ),
        ("admin", Self::ADMIN),
        ("metrics", Self::METRICS),
    ];

    /// The scope of a name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(n, _)| *n == name).map(|(_, scope)| *scope)
    }

    /// The names of the scopes in this set, in a fixed order.
    pub fn names(self) -> Vec<&'static str> {
        Self::NAMES.iter().filter(|(_, scope)| self.has(*scope)).map(|(name, _)| *name).collect()
    }

    /// Whether all of `needs` are in this set.
    pub const fn has(self, needs: Self) -> bool {
        self.0 & needs.0 == needs.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOr for Scopes {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scopes").field(&self.names()).finish()
    }
}

/// Whose rows a read may see. Only a [`super::Principal`] makes one, after it has checked itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadScope {
    scope: Scope,
    /// When the scope holds for one stream alone.
    only: Option<Stream>,
}

impl ReadScope {
    /// The rows of one organization.
    pub(super) fn one(organization: TenantId) -> Self {
        Self { scope: Scope::One(organization), only: None }
    }

    /// The rows of every organization.
    pub(super) fn all() -> Self {
        Self { scope: Scope::All, only: None }
    }

    /// The same, for one stream alone.
    pub(super) fn only(self, stream: Stream) -> Self {
        Self { only: Some(stream), ..self }
    }

    /// The organization, when it is one.
    pub fn organization(&self) -> Option<&TenantId> {
        match &self.scope {
            Scope::One(tenant) => Some(tenant),
            Scope::Several(_) | Scope::All => None,
        }
    }

    /// The engine's scope for a read of `stream`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when this scope does not hold for that stream: a mistake of the caller.
    pub(crate) fn of(&self, stream: Stream) -> Result<Scope> {
        match self.only {
            Some(only) if only != stream => {
                Err(Error::invalid(format!("this scope does not cover {stream}")))
            }
            Some(_) | None => Ok(self.scope.clone()),
        }
    }

    /// A question for numbers in this scope: all rows, one group, no aggregates yet.
    pub fn query(&self, stream: Stream, window: TimeRange) -> Query {
        Query {
            scope: self.scope.clone(),
            stream,
            window,
            filter: Filter::all(),
            group_by: Vec::new(),
            aggregates: Vec::new(),
            budget: Budget::default(),
            rows_only: false,
            allow_partial: false,
        }
    }

    /// A question for rows in this scope: all of them, newest first.
    pub fn row_request(&self, stream: Stream, window: TimeRange, limit: usize) -> RowRequest {
        RowRequest {
            scope: self.scope.clone(),
            stream,
            window,
            filter: Filter::all(),
            order: Order::Desc,
            limit,
            after: None,
            columns: None,
            allow_partial: false,
        }
    }

    /// A question for sessions in this scope: of all events, not exact.
    pub fn session_request(
        &self,
        window: TimeRange,
        buckets: Buckets,
        classes: SessionClasses,
    ) -> SessionRequest {
        SessionRequest {
            scope: self.scope.clone(),
            window,
            buckets,
            filter: Filter::all(),
            classes,
            exact: false,
            budget: Budget::default(),
            allow_partial: false,
        }
    }

    /// A question for the probes of an application, or of all, in this scope.
    pub fn probe_request(&self, window: TimeRange, app: Option<&str>) -> ProbeRequest {
        ProbeRequest {
            scope: self.scope.clone(),
            window,
            app: app.map(str::to_owned),
            budget: Budget::default(),
            allow_partial: false,
        }
    }

    /// A scan in this scope: all rows, no fields yet.
    pub fn scan_request(&self, stream: Stream, window: TimeRange) -> ScanRequest {
        ScanRequest {
            scope: self.scope.clone(),
            stream,
            window,
            filter: Filter::all(),
            fields: Vec::new(),
            allow_partial: false,
        }
    }
}
