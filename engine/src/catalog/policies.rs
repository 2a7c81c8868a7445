//! What the catalog says of who is hidden and how long rows are kept, ready to be asked for each row.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use super::erasure::{Erased, ErasureId, ErasureRecord};
use super::retention::RetentionDocument;
use super::tenant::split_tenant;
use crate::append::{CatalogKind, CatalogPut};
use crate::error::Result;
use crate::id::{KeyId, Lsn, Stream, TenantId, TenantNo};

/// A user whose rows up to a frame are hidden.
#[derive(Clone, PartialEq, Eq)]
pub struct HiddenUser {
    /// The identity, as rows have it.
    pub user: Arc<[u8]>,
    /// Rows of later frames are shown.
    pub bound: Lsn,
}

impl std::fmt::Debug for HiddenUser {
    /// Says nothing of the user.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HiddenUser(.., {})", self.bound)
    }
}

/// Retention documents and erasures of one moment.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    documents: HashMap<TenantNo, RetentionDocument>,
    /// Erasures whose bytes are still there.
    pending: BTreeMap<ErasureId, Arc<ErasureRecord>>,
    users: HashMap<TenantNo, Arc<[HiddenUser]>>,
    /// Numbers of erased tenants; their names for as long as files may have rows of them.
    retired: HashMap<TenantNo, Option<TenantId>>,
    /// By stream the shortest limits that a document had since the start, in the order of
    /// [`super::StreamRetention::limits`].
    shortest: [[Option<u32>; 4]; Stream::ALL.len()],
    /// Different after each change.
    revision: u64,
}

impl Policies {
    /// Takes over a catalog record; others than retention and erasures change nothing.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] when it cannot be read.
    pub(super) fn put(&mut self, put: &CatalogPut) -> Result<()> {
        self.revision += 1;
        match put.kind {
            CatalogKind::Retention => {
                let (tenant, _) = split_tenant(&put.key)?;
                match put.value.as_deref() {
                    Some(value) => self.put_document(tenant, RetentionDocument::decode(value)?),
                    None => drop(self.documents.remove(&tenant)),
                }
            }
            CatalogKind::Erasure => {
                let id = ErasureId::from_key(&put.key)?;
                if let Some(value) = put.value.as_deref() {
                    self.put_erasure(id, ErasureRecord::decode(value)?)?;
                }
            }
            CatalogKind::Tenant
            | CatalogKind::SubjectKey
            | CatalogKind::Sequence
            | CatalogKind::AuditRoot
            | CatalogKind::AuditCover
            | CatalogKind::Secret
            | CatalogKind::Metric
            | CatalogKind::ApiKey
            | CatalogKind::Setting
            | CatalogKind::RetentionMark => {}
        }
        Ok(())
    }

    fn put_document(&mut self, tenant: TenantNo, document: RetentionDocument) {
        for (stream, shortest) in Stream::ALL.into_iter().zip(&mut self.shortest) {
            for (shortest, days) in shortest.iter_mut().zip(document.of(stream).limits()) {
                *shortest = [*shortest, days].into_iter().flatten().min();
            }
        }
        self.documents.insert(tenant, document);
    }

    fn put_erasure(&mut self, id: ErasureId, record: ErasureRecord) -> Result<()> {
        let tenant = record.tenant;
        if record.erased == Erased::Tenant {
            let name = if record.outcome.is_none() { Some(record.tenant_id()?) } else { None };
            self.retired.insert(tenant, name);
            self.documents.remove(&tenant);
        }
        if record.outcome.is_none() {
            self.pending.insert(id, Arc::new(record));
        } else {
            self.pending.remove(&id);
        }
        let of_tenant = self.pending.values().filter(|r| r.tenant == tenant);
        let hidden = |r: &Arc<ErasureRecord>| {
            let user = r.pending_user()?;
            Some(HiddenUser { user: user.user.as_slice().into(), bound: r.bound })
        };
        let users: Vec<HiddenUser> = of_tenant.filter_map(hidden).collect();
        if users.is_empty() {
            self.users.remove(&tenant);
        } else {
            self.users.insert(tenant, users.into());
        }
        Ok(())
    }

    /// The document of a tenant that has one.
    pub fn document(&self, tenant: TenantNo) -> Option<&RetentionDocument> {
        self.documents.get(&tenant)
    }

    /// No document of any tenant has shorter limits for a stream; in the order of
    /// [`super::StreamRetention::limits`].
    pub fn shortest(&self, stream: Stream) -> [Option<u32>; 4] {
        self.shortest.get(usize::from(stream.tag())).copied().unwrap_or_default()
    }

    /// A number that is another one after each change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Every document, in no order.
    pub fn documents(&self) -> impl Iterator<Item = (TenantNo, &RetentionDocument)> {
        self.documents.iter().map(|(tenant, document)| (*tenant, document))
    }

    /// The erasures whose bytes are still there, by id.
    pub fn pending(&self) -> &BTreeMap<ErasureId, Arc<ErasureRecord>> {
        &self.pending
    }

    /// The users of a tenant whose rows are hidden.
    pub fn hidden_users(&self, tenant: TenantNo) -> &[HiddenUser] {
        self.users.get(&tenant).map_or(&[], |users| users)
    }

    /// A key of an erased subject whose records still have their personal fields.
    pub fn erased_key(&self, tenant: TenantNo, key: KeyId) -> Option<[u8; 32]> {
        let of_tenant = self.pending.values().filter(|record| record.tenant == tenant);
        let mut keys = of_tenant.filter_map(|record| record.pending_user()).flat_map(|user| &user.keys);
        keys.find(|(id, _)| *id == key.0).map(|(_, key)| *key)
    }

    /// Whether a number is that of an erased tenant.
    pub fn is_retired(&self, tenant: TenantNo) -> bool {
        self.retired.contains_key(&tenant)
    }

    /// The name that an erased tenant had, for as long as files may have rows of it.
    pub fn retired_name(&self, tenant: TenantNo) -> Option<&TenantId> {
        self.retired.get(&tenant)?.as_ref()
    }

    /// The highest number of an erased tenant.
    pub fn retired_max(&self) -> Option<TenantNo> {
        self.retired.keys().max().copied()
    }

    /// Whether any row may be hidden by an erasure.
    pub fn hides_rows(&self) -> bool {
        // The number of a tenant whose bytes are gone has no name any more.
        self.retired.values().any(Option::is_some) || !self.users.is_empty()
    }
}
