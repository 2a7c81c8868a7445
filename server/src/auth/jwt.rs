//! Tokens of the platform (RFC 7519): one fixed algorithm, `exp` required, claims by their names.
//!
//! Signatures are the library's business. Times and claims are judged here, against our own clock:
//! a claim of the wrong type makes the token worth nothing, it is never taken as absent.

use std::sync::Arc;

use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;
use jsonwebtoken::jwk::{JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation};
use serde_json::{Map, Value};

use super::principal::{PLATFORM, Principal, PrincipalKind};
use super::scope::Scopes;
use crate::config::{ClaimNames, ConfigError, JwtConfig, JwtKeys};
use crate::domain::identifier::is_identifier;

/// How far clocks may be apart.
const LEEWAY_S: f64 = 60.0;

/// Longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 16 << 10;

/// Why a token is worth nothing; for the log alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The signature, the algorithm or the form is wrong.
    #[error("bad signature, algorithm or form")]
    Signature,
    /// No key has its `kid`.
    #[error("unknown key id")]
    UnknownKey,
    /// Its time is over, has not come, or is not said.
    #[error("outside of its time")]
    Time,
    /// It is for another audience, or of another issuer.
    #[error("another audience or issuer")]
    Addressee,
    /// A claim has the wrong type, or no user is named.
    #[error("a claim is missing or of the wrong type")]
    Claim,
}

/// Checks tokens.
pub struct TokenVerifier {
    keys: Vec<(Option<String>, DecodingKey)>,
    validation: Validation,
    audience: Option<String>,
    issuer: Option<String>,
    claims: ClaimNames,
}

impl std::fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenVerifier")
            .field("algorithms", &self.validation.algorithms)
            .finish_non_exhaustive()
    }
}

impl TokenVerifier {
    /// A verifier of tokens with these keys.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when a key cannot be read.
    pub fn new(config: &JwtConfig) -> Result<Self, ConfigError> {
        let keys = match &config.keys {
            JwtKeys::Secret(secret) => vec![(None, DecodingKey::from_secret(secret.expose().as_bytes()))],
            JwtKeys::Pem(pem) => vec![(None, pem_key(config.algorithm, pem)?)],
            JwtKeys::Jwks(bytes) => jwks_keys(config.algorithm, bytes)?,
        };
        let mut validation = Validation::new(config.algorithm);
        // Judged below, against our own clock and with our own rules for types.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        Ok(Self {
            keys,
            validation,
            audience: config.audience.clone(),
            issuer: config.issuer.clone(),
            claims: config.claims.clone(),
        })
    }

    /// The principal of a token.
    ///
    /// # Errors
    ///
    /// Why it is worth nothing.
    pub fn verify(&self, token: &str, now: TimestampUs) -> Result<Principal, Rejected> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Rejected::Signature);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Rejected::Signature)?;
        if header.crit.is_some() {
            // An extension that must be understood, and is not.
            return Err(Rejected::Signature);
        }
        let key = self.key(header.kid.as_deref()).ok_or(Rejected::UnknownKey)?;
        let token = jsonwebtoken::decode::<Map<String, Value>>(token, key, &self.validation)
            .map_err(|_| Rejected::Signature)?;
        #[expect(clippy::cast_precision_loss, reason = "seconds of a clock are far below 2^53")]
        check_time(&token.claims, now.0.div_euclid(1_000_000) as f64)?;
        self.check_addressee(&token.claims)?;
        self.principal(&token.claims)
    }

    /// The key that a token names, or the only one.
    fn key(&self, kid: Option<&str>) -> Option<&DecodingKey> {
        match (self.keys.as_slice(), kid) {
            ([(None, only)], _) | ([(_, only)], None) => Some(only),
            (keys, Some(kid)) => keys.iter().find(|(id, _)| id.as_deref() == Some(kid)).map(|(_, key)| key),
            (_, None) => None,
        }
    }

    fn check_addressee(&self, claims: &Map<String, Value>) -> Result<(), Rejected> {
        let audience_fits = self.audience.as_deref().is_none_or(|expected| match claims.get("aud") {
            Some(Value::String(one)) => one == expected,
            Some(Value::Array(several)) => several.iter().any(|one| one == expected),
            _ => false,
        });
        let issuer_fits = self
            .issuer
            .as_deref()
            .is_none_or(|expected| claims.get("iss").is_some_and(|iss| iss == expected));
        if audience_fits && issuer_fits { Ok(()) } else { Err(Rejected::Addressee) }
    }

    fn principal(&self, claims: &Map<String, Value>) -> Result<Principal, Rejected> {
        let names = &self.claims;
        let mut user_id = None;
        for name in &names.users {
            // Each is looked at, so that one of the wrong type never hides behind another.
            let found = present(claims, name).map(identifier).transpose()?.flatten();
            user_id = user_id.or(found);
        }
        let user_id: Arc<str> = user_id.ok_or(Rejected::Claim)?.into();
        let superuser = match present(claims, &names.superuser) {
            None => false,
            Some(value) => value.as_bool().ok_or(Rejected::Claim)?,
        };
        let organizations = self.organizations(claims)?;
        let scopes = self.scopes(claims)?;
        let kind = if superuser {
            PrincipalKind::Superuser { user_id: Some(Arc::clone(&user_id)) }
        } else {
            PrincipalKind::User { user_id: Arc::clone(&user_id), organizations, scopes }
        };
        Ok(Principal::new(kind, super::user_credential(&user_id)))
    }

    fn organizations(&self, claims: &Map<String, Value>) -> Result<Vec<TenantId>, Rejected> {
        let one = present(claims, &self.claims.organization).into_iter();
        let several = match present(claims, &self.claims.organizations) {
            None => [].iter(),
            Some(value) => value.as_array().ok_or(Rejected::Claim)?.iter(),
        };
        let mut organizations: Vec<TenantId> = Vec::new();
        for value in one.chain(several) {
            let Some(id) = identifier(value)? else { continue };
            let known = organizations.iter().any(|organization| organization.as_str() == id);
            // The platform's own log is for superusers, whatever a token claims.
            if !known && id != PLATFORM {
                organizations.push(TenantId::new(&id).map_err(|_| Rejected::Claim)?);
            }
        }
        Ok(organizations)
    }

    /// What the roles allow. No role is a viewer; an unknown one gives nothing.
    fn scopes(&self, claims: &Map<String, Value>) -> Result<Scopes, Rejected> {
        let one = present(claims, &self.claims.role).into_iter();
        let several = match present(claims, &self.claims.roles) {
            None => [].iter(),
            Some(value) => value.as_array().ok_or(Rejected::Claim)?.iter(),
        };
        let roles: Vec<&str> =
            one.chain(several).map(|role| role.as_str().ok_or(Rejected::Claim)).collect::<Result<_, _>>()?;
        let of_role = |role: &str| match role {
            "viewer" => Scopes::READ,
            "auditor" => Scopes::READ | Scopes::AUDIT_READ,
            "admin" => Scopes::READ | Scopes::AUDIT_READ | Scopes::ADMIN,
            _ => Scopes::NONE,
        };
        let read = if roles.is_empty() {
            of_role("viewer")
        } else {
            roles.into_iter().map(of_role).fold(Scopes::NONE, Scopes::with)
        };
        // Whoever they are, they may send events as themselves.
        Ok(read | Scopes::TRACK)
    }
}

fn check_time(claims: &Map<String, Value>, now_s: f64) -> Result<(), Rejected> {
    let expires_s = claims.get("exp").and_then(Value::as_f64).ok_or(Rejected::Time)?;
    let begins_s = match present(claims, "nbf") {
        None => f64::NEG_INFINITY,
        Some(value) => value.as_f64().ok_or(Rejected::Time)?,
    };
    let inside = now_s < expires_s + LEEWAY_S && begins_s <= now_s + LEEWAY_S;
    if inside { Ok(()) } else { Err(Rejected::Time) }
}

/// A claim that is there; null is not there.
fn present<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).filter(|value| !value.is_null())
}

/// An identifier from text or a whole number; an empty text is absent.
fn identifier(value: &Value) -> Result<Option<String>, Rejected> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        _ => return Err(Rejected::Claim),
    };
    match text.as_str() {
        "" => Ok(None),
        id if is_identifier(id) => Ok(Some(text)),
        _ => Err(Rejected::Claim),
    }
}

fn pem_key(algorithm: Algorithm, pem: &[u8]) -> Result<DecodingKey, ConfigError> {
    let key = match algorithm.family() {
        AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(pem),
        AlgorithmFamily::Ec => DecodingKey::from_ec_pem(pem),
        AlgorithmFamily::Ed => DecodingKey::from_ed_pem(pem),
        AlgorithmFamily::Hmac => {
            return Err(wrong("jwt_public_key_file", "a public key does not go with HS*"));
        }
    };
    key.map_err(|_| wrong("jwt_public_key_file", "it holds no PEM public key of the algorithm's kind"))
}

fn jwks_keys(algorithm: Algorithm, bytes: &[u8]) -> Result<Vec<(Option<String>, DecodingKey)>, ConfigError> {
    let name = "jwt_jwks_file";
    let set: JwkSet =
        serde_json::from_slice(bytes).map_err(|_| wrong(name, "it holds no JSON Web Key Set"))?;
    let named = format!("{algorithm:?}");
    let keys: Vec<_> = set
        .keys
        .iter()
        .filter(|jwk| {
            let signs =
                jwk.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
            let fits = jwk.common.key_algorithm.as_ref().is_none_or(|alg| format!("{alg:?}") == named);
            signs && fits
        })
        .filter_map(|jwk| Some((jwk.common.key_id.clone(), DecodingKey::from_jwk(jwk).ok()?)))
        .filter(|(_, key)| key.family() == algorithm.family())
        .collect();
    if keys.is_empty() { Err(wrong(name, "it holds no key of the algorithm")) } else { Ok(keys) }
}

fn wrong(name: &str, reason: &str) -> ConfigError {
    ConfigError::Value {
        name: name.to_owned(),
        reason: reason.to_owned(),
        origin: crate::config::raw::Origin::Default,
    }
}

#[cfg(test)]
mod tests;
