//! The catalog record of a tenant.

use serde::{Deserialize, Serialize};

use crate::append::{CatalogKind, CatalogPut};
use crate::error::Result;
use crate::id::{TenantId, TenantNo};
use crate::record;
use crate::time::TimestampUs;

/// What the catalog keeps of a tenant, under its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantRecord {
    /// Its number.
    pub number: TenantNo,
    /// When it came to exist.
    pub created: TimestampUs,
}

impl TenantRecord {
    /// The record as it is given to the catalog.
    ///
    /// # Errors
    ///
    /// None in practice: the record is small.
    pub fn put(self, tenant: &TenantId) -> Result<CatalogPut> {
        let key = tenant.as_str().as_bytes().to_vec();
        Ok(CatalogPut { kind: CatalogKind::Tenant, key, value: Some(record::encode(&self)?) })
    }

    /// A record from a value of the catalog.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] when the bytes are not one.
    pub fn decode(value: &[u8]) -> Result<Self> {
        record::decode(value)
    }
}
