//! The types of a question for probes and of its answer; no logic.

use std::sync::Arc;

use super::request::{Budget, Cost, Damage, Scope};
use crate::id::TenantNo;
use crate::probes::Probe;
use crate::time::{TimeRange, TimestampUs};

/// A question for the probes of applications: the points of the metric `uptime`.
///
/// A point is up when its value is 0.5 or more, and in maintenance when its label `maintenance` is
/// `true`.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeRequest {
    /// Whose probes.
    pub scope: Scope,
    /// Over which event times.
    pub window: TimeRange,
    /// Of which application; of all when there is none.
    pub app: Option<String>,
    /// What it may use.
    pub budget: Budget,
    /// Answer without the parts that are damaged, and name them, rather than fail.
    pub allow_partial: bool,
}

/// The probes of one application of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppProbes {
    /// Whose.
    pub tenant: TenantNo,
    /// The application; `None` for probes that name none.
    pub app: Option<Arc<str>>,
    /// The probes, by time.
    pub probes: Vec<Probe>,
}

/// The probes of a window.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProbeAnswer {
    /// By tenant and application, ascending; those without probes are left out.
    pub apps: Vec<AppProbes>,
    /// What it cost.
    pub cost: Cost,
    /// What could not be read.
    pub damaged: Vec<Damage>,
    /// Since when rows are kept, when some that the question needs have expired: their probes are missing.
    pub expired: Option<TimestampUs>,
}
