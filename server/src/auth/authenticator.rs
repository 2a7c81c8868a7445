//! From the credential in a request's headers to a principal.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use insights_engine::time::TimestampUs;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::api_key::{self, Grant};
use super::jwt::TokenVerifier;
use super::keyring::{KeyEntry, Keyring};
use super::principal::{Principal, PrincipalKind};
use super::scope::Scopes;
use crate::config::Secret;
use crate::http::error::ApiError;

/// The name of the superuser's own key as a credential.
const SUPERUSER: &str = "superuser";

/// Knows the credentials of this server.
#[derive(Debug)]
pub struct Authenticator {
    superuser_hash: [u8; 32],
    keyring: Keyring,
    tokens: Option<TokenVerifier>,
}

impl Authenticator {
    /// An authenticator that knows the superuser's key, the keys of the store, and tokens if any.
    pub fn new(superuser_key: &Secret, keyring: Keyring, tokens: Option<TokenVerifier>) -> Self {
        Self { superuser_hash: Sha256::digest(superuser_key.expose()).into(), keyring, tokens }
    }

    /// The API keys of the store.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The principal of a request.
    ///
    /// # Errors
    ///
    /// `unauthenticated`, alike for every wrong credential.
    pub fn principal(&self, headers: &HeaderMap, now: TimestampUs) -> Result<Principal, ApiError> {
        credential(headers)
            .and_then(|credential| self.check(credential, now))
            .ok_or_else(ApiError::unauthenticated)
    }

    fn check(&self, credential: Credential<'_>, now: TimestampUs) -> Option<Principal> {
        let text = credential.text();
        if api_key::looks_like_key(text)
            && let Some(entry) = self.keyring.verify(text, now)
        {
            return Some(of_key(&entry));
        }
        let hash: [u8; 32] = Sha256::digest(text).into();
        if bool::from(hash.ct_eq(&self.superuser_hash)) {
            return Some(Principal::new(PrincipalKind::Superuser { user_id: None }, SUPERUSER));
        }
        let (Credential::Bearer(token), Some(tokens)) = (credential, &self.tokens) else { return None };
        match tokens.verify(token, now) {
            Ok(principal) => Some(principal),
            Err(reason) => {
                tracing::debug!(%reason, "a token was rejected");
                None
            }
        }
    }
}

fn of_key(entry: &KeyEntry) -> Principal {
    let kind = match &entry.key.grant {
        Grant::Superuser => PrincipalKind::Superuser { user_id: None },
        Grant::Organization { organization, scopes } => PrincipalKind::Organization {
            organization: organization.clone(),
            scopes: if scopes.has(Scopes::ADMIN) { *scopes | Scopes::ALL_OF_ORGANIZATION } else { *scopes },
        },
    };
    Principal::new(kind, Arc::clone(&entry.key.id))
}

/// What a request shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Credential<'a> {
    /// `Authorization: Bearer`, a key or a token.
    Bearer(&'a str),
    /// `X-Api-Key`, a key.
    Key(&'a str),
}

impl<'a> Credential<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::Bearer(text) | Self::Key(text) => text,
        }
    }
}

/// The one credential of a request; `Authorization` goes before `X-Api-Key`.
fn credential(headers: &HeaderMap) -> Option<Credential<'_>> {
    let credential = match headers.get(header::AUTHORIZATION) {
        Some(value) => {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| Credential::Bearer(token.trim()))?
        }
        None => Credential::Key(headers.get("x-api-key")?.to_str().ok()?.trim()),
    };
    (!credential.text().is_empty()).then_some(credential)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use insights_engine::entropy::Entropy;
    use insights_engine::id::TenantId;
    use proptest::prelude::*;

    use super::super::api_key::ApiKey;
    use super::*;

    const ROOT: &str = "a-superuser-key-of-32-characters!";
    const NOW: TimestampUs = TimestampUs(1_000_000);

    fn authenticator(scopes: Scopes) -> (Authenticator, String) {
        let keyring = Keyring::default();
        let grant = Grant::Organization { organization: TenantId::new("acme").unwrap(), scopes };
        let (key, text) = ApiKey::issue("k", grant, None, NOW, "test", &Entropy::from_seed([3; 32]));
        keyring.insert(key);
        (Authenticator::new(&Secret::new(ROOT), keyring, None), text)
    }

    fn ask(authenticator: &Authenticator, list: &[(&str, &str)]) -> Result<Principal, ApiError> {
        let headers = list
            .iter()
            .map(|(name, value)| {
                (HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap())
            })
            .collect();
        authenticator.principal(&headers, NOW)
    }

    #[test]
    fn a_key_is_taken_from_either_header() {
        let (auth, key) = authenticator(Scopes::TRACK);
        for (header, value) in [
            ("authorization", format!("Bearer {key}")),
            ("authorization", format!("bearer  {key} ")),
            ("x-api-key", key.clone()),
        ] {
            let principal = ask(&auth, &[(header, &value)]).unwrap();
            assert!(
                principal.may(Scopes::TRACK) && !principal.may(Scopes::READ) && !principal.is_superuser()
            );
        }
        assert!(ask(&auth, &[("x-api-key", ROOT)]).unwrap().is_superuser());
        assert!(ask(&auth, &[("authorization", &format!("Bearer {ROOT}"))]).unwrap().is_superuser());
    }

    #[test]
    fn every_wrong_credential_gets_the_same_answer() {
        let (auth, key) = authenticator(Scopes::TRACK);
        let expected = ask(&auth, &[]).unwrap_err();
        let wrong = [
            ("authorization", String::new()),
            ("authorization", "Bearer ".to_owned()),
            ("authorization", key.clone()),
            ("authorization", format!("Basic {key}")),
            ("authorization", format!("Bearer {key}x")),
            ("authorization", format!("Bearer {}", &key[..20])),
            ("authorization", "Bearer ins_unknown_unknown".to_owned()),
            ("authorization", "Bearer a.b.c".to_owned()),
            ("x-api-key", String::new()),
            ("x-api-key", format!("Bearer {key}")),
        ];
        for (header, value) in wrong {
            assert_eq!(ask(&auth, &[(header, &value)]).unwrap_err(), expected, "{header}: {value}");
        }
    }

    #[test]
    fn a_wrong_authorization_is_not_saved_by_another_header() {
        let (auth, key) = authenticator(Scopes::TRACK);
        assert!(ask(&auth, &[("authorization", "Bearer wrong"), ("x-api-key", &key)]).is_err());
    }

    #[test]
    fn admin_implies_every_scope_of_its_organization() {
        let (auth, key) = authenticator(Scopes::ADMIN);
        let principal = ask(&auth, &[("x-api-key", &key)]).unwrap();
        assert!(principal.may(Scopes::ALL_OF_ORGANIZATION));
        assert!(!principal.may(Scopes::METRICS));
    }

    proptest! {
        #[test]
        fn no_header_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let (auth, _) = authenticator(Scopes::TRACK);
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                for name in ["authorization", "x-api-key"] {
                    let headers = [(HeaderName::from_static(name), value.clone())].into_iter().collect();
                    prop_assert!(auth.principal(&headers, NOW).is_err());
                }
            }
        }
    }
}
