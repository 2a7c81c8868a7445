//! The `Idempotency-Key` header: what names a request so that it can be answered again.

use axum::http::HeaderMap;
use insights_engine::append::{Idempotency, IdempotencyKey, Rejection};
use sha2::{Digest, Sha256};

use super::intake::RecordFault;
use crate::auth::principal::{Principal, PrincipalKind};
use crate::http::error::ApiError;

/// The header.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// The key of a request, if it has one.
///
/// # Errors
///
/// `invalid` unless it is 1 to 255 visible ASCII characters, and given once.
pub fn key_of(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let bytes = value.as_bytes();
    let visible = (1..=KEY_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    if !visible || values.next().is_some() {
        let detail = "the header Idempotency-Key has 1 to 255 visible ASCII characters";
        return Err(ApiError::invalid_at("/idempotency-key", "invalid", detail));
    }
    Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
}

/// What is kept to answer a request again.
pub fn idempotency(
    key: String,
    principal: &Principal,
    route: String,
    body: &[u8],
    faults: &[RecordFault],
) -> Idempotency {
    let tenant = match principal.kind() {
        PrincipalKind::Organization { organization, .. } => organization.as_str().to_owned(),
        PrincipalKind::User { organizations, .. } => match organizations.as_slice() {
            [one] => one.as_str().to_owned(),
            _ => String::new(),
        },
        PrincipalKind::Superuser { .. } => String::new(),
    };
    let rejected = faults.iter().map(|RecordFault { index, fault }| Rejection {
        index: *index,
        code: fault.code.clone().into_owned(),
        pointer: fault.pointer.clone(),
        detail: fault.detail.clone().into_owned(),
    });
    Idempotency {
        key: IdempotencyKey { tenant, principal: principal.credential().to_string(), route, key },
        body_hash: Sha256::digest(body).into(),
        rejected: rejected.collect(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_key_is_visible_ascii_and_given_once() {
        let of = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(value).unwrap());
            }
            key_of(&headers).map_err(|error| error.code().name())
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[b"a-1"]), Ok(Some("a-1".into())));
        assert_eq!(of(&[&[b'x'; 255]]), Ok(Some("x".repeat(255))));
        for bad in [&[&b""[..]][..], &[b"a b"], &[&[b'x'; 256]], &[b"\xe9"], &[b"a", b"a"]] {
            assert_eq!(of(bad), Err("invalid"));
        }
    }
}
