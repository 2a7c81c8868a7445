//! The catalog record of a tenant.

use serde::{Deserialize, Serialize};

use crate::append::{CatalogKind, CatalogPut};
use crate::error::{Error, Result};
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

/// A number whose bytes sort as the numbers do: what catalog keys of a tenant start with.
#[expect(clippy::big_endian_bytes, reason = "bytes that sort as the numbers do")]
pub fn tenant_prefix(tenant: TenantNo) -> Vec<u8> {
    tenant.0.to_be_bytes().to_vec()
}

/// The tenant's number in front of a catalog key, and the rest.
///
/// # Errors
///
/// [`Error::Invalid`] when the key is too short.
#[expect(clippy::big_endian_bytes, reason = "bytes that sort as the numbers do")]
pub fn split_tenant(key: &[u8]) -> Result<(TenantNo, &[u8])> {
    let (head, rest) =
        key.split_first_chunk().ok_or_else(|| Error::invalid("a catalog key that is too short"))?;
    Ok((TenantNo(u32::from_be_bytes(*head)), rest))
}
