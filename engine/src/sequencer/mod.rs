//! Order: seq, LSN, tenant numbers, keys of personal columns, duplicates; in front of the log.
//!
//! `plan` decides and changes nothing; `commit` takes the decision over once the log has the frame.

pub(crate) mod cover;
pub mod derived_id;
pub(crate) mod erase;
pub mod leaf;
mod mac;
pub mod plan;
pub mod sequence;
pub mod tree;

use std::sync::Arc;

use derived_id::DerivedIds;
use hashbrown::HashMap;
use sequence::SequenceRecord;

pub use crate::catalog::tenant::{split_tenant, tenant_prefix};

use crate::append::{CatalogKind, CatalogPut, IdempotencyKey};
use crate::catalog::erasure::Erased;
use crate::catalog::{Catalog, ErasureRecord, TenantRecord};
use crate::dedup::{IdIndex, IdempotencyIndex, SeenId, StoredAnswer};
use crate::error::{Error, Result};
use crate::id::{KeyId, Lsn, Stream, TenantId, TenantNo};
use crate::time::TimestampUs;

/// The key of a subject's personal columns: random, stored, never derived.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SubjectKey {
    /// Its number.
    pub id: KeyId,
    /// The key.
    pub key: [u8; 32],
}

impl std::fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SubjectKey({}, ..)", self.id)
    }
}

/// Catalog key of the secret that derived ids are made with.
const DERIVED_ID_SECRET: &[u8] = b"derived-id";

/// Bytes of a subject key's catalog value: the number, the key.
const SUBJECT_KEY_BYTES: usize = 8 + 32;

/// What is given out next, and what was given out before.
#[derive(Debug)]
pub struct Sequencer {
    next_lsn: Lsn,
    next_tenant: u32,
    next_key: u64,
    tenants: HashMap<TenantId, TenantNo>,
    next_seq: HashMap<(TenantNo, Stream), u64>,
    subject_keys: HashMap<TenantNo, HashMap<Box<[u8]>, SubjectKey>>,
    /// Ids that clients gave, in the de-duplication window.
    ids: Arc<IdIndex>,
    /// Requests that clients named, in the same window.
    requests: Arc<IdempotencyIndex>,
    derived_id_key: [u8; 32],
    derived_ids: DerivedIds,
    /// Whether a frame has the key; the first one takes it along, before any id is given out.
    derived_id_key_is_kept: bool,
}

/// What a plan adds to the sequencer.
#[derive(Debug, Default)]
pub struct Changes {
    tenants: Vec<(TenantId, TenantNo)>,
    keys: Vec<(TenantNo, Box<[u8]>, SubjectKey)>,
    next_seq: Vec<(TenantNo, Stream, u64)>,
    ids: Vec<(TenantNo, Stream, Box<[u8]>, u64)>,
    request: Option<(IdempotencyKey, StoredAnswer)>,
    /// Tenants that are erased.
    retired: Vec<TenantId>,
    /// Subjects that are erased: a record of theirs that comes later gets a new key.
    forgotten: Vec<(TenantNo, Box<[u8]>)>,
}

impl Sequencer {
    /// The sequencer of a store whose catalog was read; frames are replayed into it next.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when a catalog record cannot be read.
    pub fn new(
        catalog: &Catalog,
        ids: Arc<IdIndex>,
        requests: Arc<IdempotencyIndex>,
        flushed: Lsn,
        new_derived_id_key: [u8; 32],
    ) -> Result<Self> {
        let mut out = Self {
            // A flush may have kept catalog records of frames that a power cut took from a buffered log.
            next_lsn: Lsn(flushed.max(catalog.applied()).0 + 1),
            next_tenant: 1,
            next_key: 1,
            tenants: HashMap::new(),
            next_seq: HashMap::new(),
            subject_keys: HashMap::new(),
            ids,
            requests,
            derived_id_key: new_derived_id_key,
            derived_ids: DerivedIds::new(&new_derived_id_key),
            derived_id_key_is_kept: false,
        };
        let kinds = [
            CatalogKind::Tenant,
            CatalogKind::SubjectKey,
            CatalogKind::Sequence,
            CatalogKind::Secret,
            CatalogKind::Erasure,
        ];
        for kind in kinds {
            for (key, value) in catalog.scan(kind, &[]) {
                out.learn(&CatalogPut { kind, key, value: Some(value.to_vec()) })?;
            }
        }
        Ok(out)
    }

    /// Takes over a catalog record that an earlier run wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when it cannot be read.
    pub fn learn(&mut self, put: &CatalogPut) -> Result<()> {
        let Some(value) = put.value.as_deref() else { return self.unlearn(put) };
        match put.kind {
            CatalogKind::Tenant => {
                let number = TenantRecord::decode(value)?.number;
                self.next_tenant = self.next_tenant.max(number.0 + 1);
                self.tenants.insert(tenant_name(&put.key)?, number);
            }
            CatalogKind::SubjectKey => {
                let (tenant, subject) = split_tenant(&put.key)?;
                let key = decode_subject_key(value)?;
                self.next_key = self.next_key.max(key.id.0 + 1);
                self.subject_keys.entry(tenant).or_default().insert(subject.into(), key);
            }
            CatalogKind::Sequence => {
                let (tenant, stream) = SequenceRecord::split_key(&put.key)?;
                self.raise_seq(tenant, stream, SequenceRecord::decode(value)?.next_seq);
            }
            CatalogKind::Secret if put.key == DERIVED_ID_SECRET => {
                self.derived_id_key =
                    value.try_into().map_err(|_| Error::invalid("a secret of the wrong length"))?;
                self.derived_ids = DerivedIds::new(&self.derived_id_key);
                self.derived_id_key_is_kept = true;
            }
            CatalogKind::Erasure => {
                let record = ErasureRecord::decode(value)?;
                self.next_key = self.next_key.max(record.last_key.0 + 1);
                if record.erased == Erased::Tenant {
                    self.next_tenant = self.next_tenant.max(record.tenant.0 + 1);
                }
            }
            CatalogKind::AuditRoot
            | CatalogKind::AuditCover
            | CatalogKind::Secret
            | CatalogKind::Metric
            | CatalogKind::ApiKey
            | CatalogKind::Setting
            | CatalogKind::Retention
            | CatalogKind::RetentionMark => {}
        }
        Ok(())
    }

    /// Takes over that records of an erased tenant are being removed.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when one cannot be read.
    pub(crate) fn forget(&mut self, puts: &[CatalogPut]) -> Result<()> {
        puts.iter().filter(|put| put.value.is_none()).try_for_each(|put| self.unlearn(put))
    }

    /// Takes over that a record was removed: of an erased tenant or subject.
    fn unlearn(&mut self, put: &CatalogPut) -> Result<()> {
        match put.kind {
            CatalogKind::Tenant => drop(self.tenants.remove(&tenant_name(&put.key)?)),
            CatalogKind::SubjectKey => {
                let (tenant, subject) = split_tenant(&put.key)?;
                self.forget_subject(tenant, subject);
            }
            CatalogKind::Sequence => {
                self.next_seq.remove(&SequenceRecord::split_key(&put.key)?);
            }
            CatalogKind::AuditRoot
            | CatalogKind::AuditCover
            | CatalogKind::Secret
            | CatalogKind::Metric
            | CatalogKind::ApiKey
            | CatalogKind::Setting
            | CatalogKind::Retention
            | CatalogKind::Erasure
            | CatalogKind::RetentionMark => {}
        }
        Ok(())
    }

    /// Takes over the rows of a frame that was replayed; the next seq of their stream.
    pub fn replayed_rows(&mut self, tenant: TenantNo, stream: Stream, next_seq: u64) {
        self.raise_seq(tenant, stream, next_seq);
    }

    fn forget_subject(&mut self, tenant: TenantNo, subject: &[u8]) {
        let Some(keys) = self.subject_keys.get_mut(&tenant) else { return };
        keys.remove(subject);
        if keys.is_empty() {
            self.subject_keys.remove(&tenant);
        }
    }

    /// Notes that frame `lsn` was replayed.
    pub fn replayed_frame(&mut self, lsn: Lsn) {
        self.next_lsn = Lsn(self.next_lsn.0.max(lsn.0 + 1));
    }

    /// Gives no number of a key again that a replayed row names.
    pub fn replayed_keys(&mut self, ids: &[u64]) {
        let last = ids.iter().copied().max().unwrap_or(0);
        self.next_key = self.next_key.max(last.saturating_add(1));
    }

    fn raise_seq(&mut self, tenant: TenantNo, stream: Stream, next: u64) {
        let slot = self.next_seq.entry((tenant, stream)).or_insert(1);
        *slot = (*slot).max(next);
    }

    /// Takes a plan over, before the log gets its frame `lsn`: nothing can refuse it any more.
    pub fn commit(&mut self, changes: Changes, lsn: Lsn, received: TimestampUs) {
        self.next_lsn = Lsn(lsn.0 + 1);
        self.derived_id_key_is_kept = true;
        for name in &changes.retired {
            self.tenants.remove(name);
        }
        for (tenant, subject) in changes.forgotten {
            self.forget_subject(tenant, &subject);
        }
        for (name, number) in changes.tenants {
            self.next_tenant = self.next_tenant.max(number.0 + 1);
            self.tenants.insert(name, number);
        }
        for (tenant, subject, key) in changes.keys {
            self.next_key = self.next_key.max(key.id.0 + 1);
            self.subject_keys.entry(tenant).or_default().insert(subject, key);
        }
        for (tenant, stream, next) in changes.next_seq {
            self.next_seq.insert((tenant, stream), next);
        }
        for (tenant, stream, id, seq) in changes.ids {
            self.ids.insert(tenant, stream, &id, SeenId { seq, lsn, received });
        }
        if let Some((key, answer)) = changes.request {
            self.requests.insert(key, answer);
        }
    }

    /// The frame that comes next.
    pub fn next_lsn(&self) -> Lsn {
        self.next_lsn
    }

    /// The number of a tenant that exists.
    pub fn tenant(&self, name: &TenantId) -> Option<TenantNo> {
        self.tenants.get(name).copied()
    }

    /// The key of a subject's personal columns, by the key's owner.
    pub fn subject_key(&self, tenant: TenantNo, subject: &[u8]) -> Option<SubjectKey> {
        self.subject_keys.get(&tenant)?.get(subject).copied()
    }

    /// The derived ids of this store.
    pub fn derived_ids(&self) -> &DerivedIds {
        &self.derived_ids
    }

    /// The record that keeps the key, for as long as no frame has it.
    fn derived_id_put(&self) -> Option<CatalogPut> {
        let value = Some(self.derived_id_key.to_vec());
        let put = CatalogPut { kind: CatalogKind::Secret, key: DERIVED_ID_SECRET.to_vec(), value };
        (!self.derived_id_key_is_kept).then_some(put)
    }

    /// The seq in a derived id, when it is one of this tenant and stream.
    pub fn parse_derived_id(&self, tenant: TenantNo, stream: Stream, id: &str) -> Option<u64> {
        self.derived_ids.parse(tenant, stream, id).map(|(seq, _)| seq)
    }

    /// The seq that comes next.
    pub fn next_seq(&self, tenant: TenantNo, stream: Stream) -> u64 {
        self.next_seq.get(&(tenant, stream)).copied().unwrap_or(1)
    }
}

/// Catalog key of a subject: the tenant's number, then the subject; an empty subject is the tenant itself.
pub fn subject_catalog_key(tenant: TenantNo, subject: &[u8]) -> Vec<u8> {
    let mut out = tenant_prefix(tenant);
    out.extend_from_slice(subject);
    out
}

fn tenant_name(key: &[u8]) -> Result<TenantId> {
    TenantId::new(std::str::from_utf8(key).map_err(|_| Error::invalid("a tenant's name that is not UTF-8"))?)
}

/// Catalog value of a subject's key.
pub fn encode_subject_key(key: &SubjectKey) -> Vec<u8> {
    let mut out = Vec::with_capacity(SUBJECT_KEY_BYTES);
    out.extend_from_slice(&key.id.0.to_le_bytes());
    out.extend_from_slice(&key.key);
    out
}

/// A subject's key from its catalog value.
///
/// # Errors
///
/// [`Error::Invalid`] when the value has another length.
pub fn decode_subject_key(value: &[u8]) -> Result<SubjectKey> {
    if value.len() != SUBJECT_KEY_BYTES {
        return Err(Error::invalid("a subject's key of the wrong length"));
    }
    let (id, key) = value.split_at(8);
    let mut out = [0; 32];
    out.copy_from_slice(key);
    Ok(SubjectKey { id: KeyId(read_u64(id)?), key: out })
}

fn read_u64(bytes: &[u8]) -> Result<u64> {
    bytes.try_into().map(u64::from_le_bytes).map_err(|_| Error::invalid("a catalog value that is too short"))
}
