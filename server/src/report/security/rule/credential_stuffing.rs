//! `credential_stuffing`: failed logins of one user from many addresses.

use super::{Past, Watch};
use crate::config::security::{Rule, Thresholds};
use crate::domain::audit::Severity;
use crate::http::error::ApiError;
use crate::report::security::burst::{Burst, Bursts};
use crate::report::security::finding::{Draft, Findings, Subject};
use crate::report::security::row::{Kinds, Row};

/// The rule at work. Records without a user or an address say nothing to it.
#[derive(Debug)]
pub(crate) struct CredentialStuffing(Bursts);

impl CredentialStuffing {
    /// Nothing yet.
    pub(crate) fn new(thresholds: &Thresholds) -> Self {
        Self(Bursts::new(thresholds.credential_stuffing))
    }
}

impl Watch for CredentialStuffing {
    fn take(&mut self, row: &Row<'_>, out: &mut Findings) {
        let (Some(user), Some(address)) = (row.user, row.address) else { return };
        if !row.kinds.has(Kinds::LOGIN_FAILED) {
            return;
        }
        let mut closed = Vec::new();
        out.untracked += u64::from(!self.0.push(user, Some(address), row, &mut closed));
        for burst in closed {
            out.push(draft(burst));
        }
    }

    fn finish(mut self: Box<Self>, _: &dyn Past, out: &mut Findings) -> Result<(), ApiError> {
        for burst in self.0.finish() {
            out.push(draft(burst));
        }
        Ok(())
    }
}

fn draft(burst: Burst) -> Draft {
    let subject = Subject::user(&burst.subject);
    Draft {
        rule: Rule::CredentialStuffing,
        severity: Severity::Error,
        first: burst.first,
        last: burst.last,
        text: format!(
            "{} failed logins of {}, from up to {} addresses within the time",
            burst.count, subject.value, burst.peak
        ),
        subject,
        value: None,
        count: burst.count,
        evidence: burst.evidence,
    }
}
