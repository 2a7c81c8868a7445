//! Decides about an erasure: from its frame on nothing answers with what is erased.

use super::plan::Planner;
use super::{subject_catalog_key, tenant_prefix};
use crate::append::{CatalogKind, CatalogPut};
use crate::catalog::erasure::{EraseTarget, Erased, ErasedUser};
use crate::catalog::{ErasureId, ErasureRecord};
use crate::error::{Error, Result};
use crate::id::{KeyId, Lsn, TenantId, TenantNo};

/// An erasure that is asked for.
#[derive(Debug, Clone)]
pub(crate) struct NewErasure {
    /// Its id; that of `earlier` when there is one.
    pub(crate) id: ErasureId,
    /// What is to be erased.
    pub(crate) target: EraseTarget,
    /// The secret of an erased user, see [`ErasedUser::secret`]; that of `earlier` when there is one.
    pub(crate) secret: [u8; 16],
    /// The record of the same target whose bytes are still there: it is taken further, to the present.
    pub(crate) earlier: Option<ErasureRecord>,
}

impl Planner<'_> {
    /// Adds the record that hides what is erased, and takes its names and keys away.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a tenant that does not exist.
    pub(super) fn erase(&mut self, new: NewErasure) -> Result<()> {
        let NewErasure { id, target, secret, earlier } = new;
        let name = target.tenant().clone();
        let number = self.sequencer.tenant(&name);
        let number = number.ok_or_else(|| Error::invalid("a tenant that does not exist"))?;
        let erased = match target {
            EraseTarget::Tenant(_) => {
                self.retire(number, &name);
                Erased::Tenant
            }
            EraseTarget::User { user, credential, .. } => {
                let known = earlier.as_ref().and_then(ErasureRecord::pending_user);
                let mut keys = known.map(|user| user.keys.clone()).unwrap_or_default();
                let secret = known.map_or(secret, |known| known.secret);
                keys.extend(self.forget(number, user.as_bytes()));
                Erased::User(Some(ErasedUser { user: user.into_bytes(), credential, keys, secret }))
            }
        };
        let counted = earlier.as_ref().and_then(|earlier| earlier.counted.clone());
        let record = ErasureRecord {
            tenant: number,
            name: name.as_str().to_owned(),
            erased,
            requested: earlier.map_or(self.received, |earlier| earlier.requested),
            hidden: self.received,
            bound: Lsn(self.lsn.0.saturating_sub(1)),
            last_key: KeyId(self.sequencer.next_key.saturating_sub(1)),
            counted,
            outcome: None,
        };
        self.puts.push(record.put(id)?);
        Ok(())
    }

    /// Takes a tenant's name from its number: who comes later under that name is another tenant.
    fn retire(&mut self, number: TenantNo, name: &TenantId) {
        let gone = |kind, key| CatalogPut { kind, key, value: None };
        self.puts.push(gone(CatalogKind::Tenant, name.as_str().as_bytes().to_vec()));
        self.puts.push(gone(CatalogKind::Retention, tenant_prefix(number)));
        self.changes.retired.push(name.clone());
    }

    /// Takes a subject's key from the subject; the erasure keeps it until the commitments are made.
    fn forget(&mut self, number: TenantNo, subject: &[u8]) -> Option<(u64, [u8; 32])> {
        let key = self.sequencer.subject_key(number, subject)?;
        let catalog_key = subject_catalog_key(number, subject);
        self.puts.push(CatalogPut { kind: CatalogKind::SubjectKey, key: catalog_key, value: None });
        self.changes.forgotten.push((number, subject.into()));
        Some((key.id.0, key.key))
    }
}
