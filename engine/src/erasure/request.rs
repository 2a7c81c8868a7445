//! Asks for an erasure, sets a retention: one frame of the log each.

use crate::append::{Append, Appended, CatalogKind, CatalogPut};
use crate::catalog::erasure::EraseTarget;
use crate::catalog::{ErasureId, ErasureRecord, RetentionDocument};
use crate::codes::Tenants;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::id::{TenantId, TenantNo};
use crate::sequencer::erase::NewErasure;
use crate::sequencer::plan::Prepared;
use crate::sequencer::tenant_prefix;

impl Core {
    /// Hides what is to be erased, see [`crate::Engine::erase`].
    ///
    /// # Errors
    ///
    /// As [`crate::Engine::erase`].
    pub(crate) fn erase(&self, target: EraseTarget, with: Append) -> Result<(ErasureId, Appended)> {
        let _one_at_a_time = self.erasing.lock();
        let policies = self.catalog.policies();
        // A tenant of this name that was erased before is another one: its erasure goes on by itself.
        let number = self.catalog.number_of(target.tenant());
        let same = |record: &ErasureRecord| Some(record.tenant) == number && record.is_pending_for(&target);
        let earlier = policies.pending().iter().find(|(_, record)| same(record));
        let earlier = earlier.map(|(id, record)| (*id, ErasureRecord::clone(record)));
        let id = if let Some((id, _)) = &earlier { *id } else { ErasureId(self.random()?) };
        let secret = self.random()?;
        let erasure = NewErasure { id, target, secret, earlier: earlier.map(|(_, record)| record) };
        let appended = self.append_own(Prepared::erasing(with, erasure)?)?;
        Ok((id, appended))
    }

    /// Sets how long a tenant's streams are kept.
    ///
    /// # Errors
    ///
    /// As [`crate::Engine::set_retention`].
    pub(crate) fn set_retention(&self, tenant: &TenantId, document: Option<RetentionDocument>) -> Result<()> {
        let number = self.existing(tenant)?;
        let put = match document {
            Some(document) => document.put(number)?,
            None => CatalogPut { kind: CatalogKind::Retention, key: tenant_prefix(number), value: None },
        };
        self.append_own(Prepared::own(vec![put])?).map(drop)
    }

    fn random(&self) -> Result<[u8; 16]> {
        let random = self.entropy.next();
        random.first_chunk().copied().ok_or_else(|| Error::invalid("randomness that is too short"))
    }

    /// Whether receipts wait for files to be wiped.
    pub(crate) fn is_unwiped(&self) -> bool {
        super::pass::is_unwiped(self)
    }

    fn existing(&self, tenant: &TenantId) -> Result<TenantNo> {
        let number = self.catalog.number_of(tenant);
        number.ok_or_else(|| Error::invalid("a tenant that does not exist"))
    }
}
