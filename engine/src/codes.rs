//! Looking up the codes of the tenant dictionary; what a query and a flush need of it.

use std::sync::Arc;

use crate::error::Result;
use crate::id::{TenantId, TenantNo};
use crate::schema::IdentityKind;
use crate::time::TimestampUs;

/// Identity <-> code, for one state of the store. Codes are dense from 0 in each (tenant, kind).
pub trait Codes: Send + Sync + std::fmt::Debug {
    /// The code of an identity, if it has one.
    ///
    /// # Errors
    ///
    /// Damage and I/O errors of the dictionary's files.
    fn code_of(&self, tenant: TenantNo, kind: IdentityKind, identity: &[u8]) -> Result<Option<u32>>;
    /// The identity of a code; `None` for a code that was never given.
    ///
    /// # Errors
    ///
    /// As [`Self::code_of`].
    fn identity_of(&self, tenant: TenantNo, kind: IdentityKind, code: u32) -> Result<Option<Arc<[u8]>>>;
    /// How many codes were given in a code space: the next one.
    ///
    /// # Errors
    ///
    /// As [`Self::code_of`].
    fn count(&self, tenant: TenantNo, kind: IdentityKind) -> Result<u32>;
    /// What cannot be read, in words, with file and offset.
    fn findings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Tenants' names and numbers, for one state of the store.
pub trait Tenants: Send + Sync + std::fmt::Debug {
    /// The number of a tenant that has written.
    fn number_of(&self, tenant: &TenantId) -> Option<TenantNo>;
    /// The name of a number.
    fn name_of(&self, number: TenantNo) -> Option<TenantId>;
    /// When a tenant came to exist, where that is known.
    fn created(&self, _tenant: &TenantId) -> Option<TimestampUs> {
        None
    }
}
