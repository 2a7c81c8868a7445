//! From the credential in a request's headers to a principal.

use axum::http::{HeaderMap, header};
use insights_engine::time::TimestampUs;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::principal::{Principal, PrincipalKind};
use crate::http::error::ApiError;

/// Knows the credentials of this server.
pub struct Authenticator {
    superuser_hash: [u8; 32],
}

impl Authenticator {
    /// An authenticator that knows the superuser's key.
    pub fn new(superuser_key: &str) -> Self {
        Self { superuser_hash: Sha256::digest(superuser_key).into() }
    }

    /// The principal of a request.
    ///
    /// # Errors
    ///
    /// `unauthenticated`, alike for every wrong credential.
    pub fn principal(&self, headers: &HeaderMap, _now: TimestampUs) -> Result<Principal, ApiError> {
        let token = credential(headers).ok_or_else(ApiError::unauthenticated)?;
        let hash: [u8; 32] = Sha256::digest(token).into();
        if bool::from(hash.ct_eq(&self.superuser_hash)) {
            return Ok(Principal::new(PrincipalKind::Superuser { user_id: None }, "superuser"));
        }
        Err(ApiError::unauthenticated())
    }
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authenticator(..)")
    }
}

/// The one credential of a request: `Authorization: Bearer`, else `X-Api-Key`.
fn credential(headers: &HeaderMap) -> Option<&str> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim());
    }
    headers.get("x-api-key")?.to_str().ok().map(str::trim)
}
