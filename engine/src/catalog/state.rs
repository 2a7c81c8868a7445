//! The catalog in memory: one sorted map for each kind, the tenants' names and numbers, what is not
//! on disk yet.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::HashMap;

use super::policies::Policies;
use super::tenant::TenantRecord;
use crate::append::{CatalogKind, CatalogPut};
use crate::error::{Error, Result};
use crate::id::{Lsn, TenantId, TenantNo};

/// Most bytes of a key.
pub const KEY_BYTES_MAX: usize = 1 << 10;
/// Most bytes of a value.
pub const VALUE_BYTES_MAX: usize = 64 << 10;
/// What a record takes in a log besides its key and value.
const PUT_BYTES: u64 = 4 + 8 + 1 + 8;

/// Refuses a record that is too large.
///
/// # Errors
///
/// [`Error::Invalid`], naming the limit.
pub fn check_put(put: &CatalogPut) -> Result<()> {
    if put.key.len() > KEY_BYTES_MAX {
        return Err(Error::invalid(format!("a catalog key has at most {KEY_BYTES_MAX} bytes")));
    }
    if put.value.as_ref().is_some_and(|v| v.len() > VALUE_BYTES_MAX) {
        return Err(Error::invalid(format!("a catalog value has at most {VALUE_BYTES_MAX} bytes")));
    }
    Ok(())
}

/// Bytes that a record takes in a log.
pub(super) fn put_bytes(key_bytes: usize, value_bytes: usize) -> u64 {
    PUT_BYTES + (key_bytes + value_bytes) as u64
}

type Records = BTreeMap<Vec<u8>, Arc<[u8]>>;

/// All records, and which of them the log on disk does not have yet.
#[derive(Debug, Default)]
pub(super) struct State {
    records: BTreeMap<CatalogKind, Records>,
    /// Keys whose present value (or absence) is not in the log.
    pending: BTreeSet<(CatalogKind, Vec<u8>)>,
    /// The last frame of the WAL whose records are here.
    applied: Lsn,
    /// Bytes that `records` would take in a new log.
    live_bytes: u64,
    numbers: HashMap<TenantId, TenantNo>,
    names: HashMap<TenantNo, TenantId>,
    tenant_no_max: u32,
    policies: Arc<Policies>,
}

impl State {
    /// Sets or removes one record.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the record of a tenant, a retention or an erasure is not one.
    pub(super) fn put(&mut self, put: CatalogPut, pending: bool) -> Result<()> {
        match put.kind {
            CatalogKind::Tenant => self.put_tenant(&put)?,
            CatalogKind::Retention | CatalogKind::Erasure => {
                let policies = Arc::make_mut(&mut self.policies);
                policies.put(&put)?;
                self.tenant_no_max = self.tenant_no_max.max(policies.retired_max().map_or(0, |n| n.0));
            }
            _ => {}
        }
        let CatalogPut { kind, key, value } = put;
        if pending {
            self.pending.insert((kind, key.clone()));
        }
        let key_bytes = key.len();
        let bytes_with = |value: &[u8]| put_bytes(key_bytes, value.len());
        self.live_bytes += value.as_deref().map_or(0, bytes_with);
        let records = self.records.entry(kind).or_default();
        let old = match value {
            Some(value) => records.insert(key, value.into()),
            None => records.remove(&key),
        };
        self.live_bytes -= old.as_deref().map_or(0, bytes_with);
        Ok(())
    }

    /// Keeps both ways between a tenant's name and number. An erased tenant loses its name, never its number.
    fn put_tenant(&mut self, put: &CatalogPut) -> Result<()> {
        let name = std::str::from_utf8(&put.key).map_err(|_| Error::invalid("a tenant's name is text"))?;
        let Some(value) = put.value.as_deref() else {
            if let Some(number) = self.numbers.remove(&TenantId::new(name)?) {
                self.names.remove(&number);
            }
            return Ok(());
        };
        let tenant = TenantId::new(name)?;
        let number = TenantRecord::decode(value)?.number;
        // A name goes on to a higher number when its tenant was erased; a number never gets another name.
        let before = self.numbers.get(&tenant).copied().filter(|before| *before != number);
        let taken = self.names.get(&number).is_some_and(|t| *t != tenant)
            || before.is_some_and(|before| before > number);
        if taken {
            return Err(Error::invalid(format!(
                "tenant {tenant:?} and number {number} do not belong together"
            )));
        }
        if let Some(before) = before {
            self.names.remove(&before);
        }
        self.names.insert(number, tenant.clone());
        self.numbers.insert(tenant, number);
        self.tenant_no_max = self.tenant_no_max.max(number.0);
        Ok(())
    }

    pub(super) fn get(&self, kind: CatalogKind, key: &[u8]) -> Option<Arc<[u8]>> {
        self.records.get(&kind)?.get(key).cloned()
    }

    pub(super) fn scan(&self, kind: CatalogKind, prefix: &[u8]) -> Vec<(Vec<u8>, Arc<[u8]>)> {
        let Some(records) = self.records.get(&kind) else {
            return Vec::new();
        };
        records
            .range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), Arc::clone(value)))
            .collect()
    }

    pub(super) fn number_of(&self, tenant: &TenantId) -> Option<TenantNo> {
        self.numbers.get(tenant).copied()
    }

    pub(super) fn name_of(&self, number: TenantNo) -> Option<TenantId> {
        self.names.get(&number).or_else(|| self.policies.retired_name(number)).cloned()
    }

    pub(super) fn policies(&self) -> &Arc<Policies> {
        &self.policies
    }

    pub(super) fn tenants(&self) -> Vec<TenantId> {
        let mut out: Vec<TenantId> = self.numbers.keys().cloned().collect();
        out.sort_unstable();
        out
    }

    pub(super) fn next_tenant_no(&self) -> TenantNo {
        TenantNo(self.tenant_no_max + 1)
    }

    pub(super) fn applied(&self) -> Lsn {
        self.applied
    }

    /// Says that the records of all frames up to `lsn` are here; never goes back.
    pub(super) fn advance(&mut self, lsn: Lsn) {
        self.applied = self.applied.max(lsn);
    }

    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// The records that the log does not have, and from now on may have.
    pub(super) fn take_pending(&mut self) -> BTreeSet<(CatalogKind, Vec<u8>)> {
        std::mem::take(&mut self.pending)
    }

    /// Gives back what could not be written.
    pub(super) fn restore_pending(&mut self, mut keys: BTreeSet<(CatalogKind, Vec<u8>)>) {
        self.pending.append(&mut keys);
    }

    /// A record as it is now, absent when it was removed.
    pub(super) fn as_put(&self, kind: CatalogKind, key: &[u8]) -> CatalogPut {
        CatalogPut { kind, key: key.to_vec(), value: self.get(kind, key).map(|v| v.to_vec()) }
    }

    /// Every record, in the order of kinds and keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = (CatalogKind, &Vec<u8>)> {
        self.records.iter().flat_map(|(kind, records)| records.keys().map(|key| (*kind, key)))
    }
}
