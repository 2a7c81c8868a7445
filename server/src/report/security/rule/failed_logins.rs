//! `password_spraying` and `credential_stuffing`: failed logins of many users from one address, of one user from
//! many addresses.

use super::{Past, Watch};
use crate::config::security::{Rule, Thresholds};
use crate::domain::audit::Severity;
use crate::http::error::ApiError;
use crate::report::security::burst::{Burst, Bursts};
use crate::report::security::finding::{Draft, Findings, Subject, SubjectKind, shown};
use crate::report::security::row::{Kinds, Row};

/// One of the two rules at work. Records without a user or an address say nothing to it.
#[derive(Debug)]
pub(crate) struct FailedLogins {
    of: Of,
    bursts: Bursts,
}

/// What failed logins are gathered by.
#[derive(Debug, Clone, Copy)]
enum Of {
    /// The address: many users are sprayed.
    Address,
    /// The user: many addresses are tried from.
    User,
}

impl FailedLogins {
    /// `password_spraying`, nothing yet.
    pub(crate) fn spraying(thresholds: &Thresholds) -> Self {
        Self { of: Of::Address, bursts: Bursts::new(thresholds.password_spraying) }
    }

    /// `credential_stuffing`, nothing yet.
    pub(crate) fn stuffing(thresholds: &Thresholds) -> Self {
        Self { of: Of::User, bursts: Bursts::new(thresholds.credential_stuffing) }
    }
}

impl Watch for FailedLogins {
    fn take(&mut self, row: &Row<'_>, out: &mut Findings) {
        let (Some(user), Some(address)) = (row.user, row.address) else { return };
        if !row.kinds.has(Kinds::LOGIN_FAILED) {
            return;
        }
        let (subject, other) = match self.of {
            Of::Address => (address, user),
            Of::User => (user, address),
        };
        let mut closed = Vec::new();
        out.untracked += u64::from(!self.bursts.push(subject, Some(other), row, &mut closed));
        for burst in closed {
            out.push(self.of.draft(burst));
        }
    }

    fn finish(mut self: Box<Self>, _: &dyn Past, out: &mut Findings) -> Result<(), ApiError> {
        for burst in self.bursts.finish() {
            out.push(self.of.draft(burst));
        }
        Ok(())
    }
}

impl Of {
    fn draft(self, burst: Burst) -> Draft {
        let (rule, subject) = match self {
            Self::Address => {
                let subject = Subject { kind: SubjectKind::Address, value: shown(&burst.subject) };
                (Rule::PasswordSpraying, subject)
            }
            Self::User => (Rule::CredentialStuffing, Subject::user(&burst.subject)),
        };
        let (count, peak, who) = (burst.count, burst.peak, &subject.value);
        let text = match self {
            Self::Address => {
                format!("{count} failed logins from {who}, of up to {peak} users within the time")
            }
            Self::User => {
                format!("{count} failed logins of {who}, from up to {peak} addresses within the time")
            }
        };
        Draft {
            rule,
            severity: Severity::Error,
            first: burst.first,
            last: burst.last,
            text,
            subject,
            value: None,
            count,
            evidence: burst.evidence,
        }
    }
}
