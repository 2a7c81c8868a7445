//! Reports that are kept: a document of a time that is over, the same bytes whenever it is fetched.
//!
//! [`ask`] reads which report is wanted, [`compute`] makes its canonical body with the code that answers the same
//! questions live, [`body`] writes, names and hashes it, [`record`] turns it into audit records and back, and
//! [`shelf`] keeps those in the log of the organization and finds them again. So retention, erasure, backup and the
//! proof of the log hold for reports as they do for every record.

pub(crate) mod activity;
pub(crate) mod application;
pub(crate) mod ask;
pub(crate) mod audit_counts;
pub(crate) mod body;
pub(crate) mod compute;
pub(crate) mod html;
pub(crate) mod personal;
pub(crate) mod record;
pub(crate) mod routes;
pub(crate) mod shelf;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::Scopes;

/// Version of bodies and of the records that keep them. It is part of a report's id: what another version would say
/// of the same time is another report.
pub(crate) const VERSION: u32 = 1;
/// Longest window of a report in days.
pub(crate) const WINDOW_DAYS_MAX: i64 = 366;
/// Most rows of a list in a report: pages, features, applications, actions.
pub(crate) const LIST_MAX: usize = 100;

/// What a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ReportType {
    /// One local day of an organization.
    Daily,
    /// An organization over a longer time.
    Organization,
    /// One application.
    Application,
    /// What an administrator must look at in the audit log.
    Security,
}

impl ReportType {
    /// Every type.
    pub(crate) const ALL: [Self; 4] = [Self::Daily, Self::Organization, Self::Application, Self::Security];

    /// Its name on the wire.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Organization => "organization",
            Self::Application => "application",
            Self::Security => "security",
        }
    }

    /// The type of a name on the wire.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What one who makes or reads it must be allowed to.
    pub(crate) fn needs(self) -> Scopes {
        match self {
            Self::Security => Scopes::READ | Scopes::AUDIT_READ,
            Self::Daily | Self::Organization | Self::Application => Scopes::READ,
        }
    }
}
