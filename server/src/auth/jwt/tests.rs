//! Tokens that are good, and the many ways not to be.

use jsonwebtoken::{EncodingKey, Header};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::Secret;

const SECRET: &str = "the-shared-secret-of-the-platform";
const NOW_S: i64 = 1_700_000_000;

fn config() -> JwtConfig {
    JwtConfig {
        algorithm: Algorithm::HS256,
        keys: JwtKeys::Secret(Secret::new(SECRET)),
        audience: None,
        issuer: None,
        claims: ClaimNames::default(),
    }
}

fn sign_with(header: &Header, claims: &Value, secret: &str) -> String {
    jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

/// A token with these claims over a good default.
fn token(changes: &Value) -> String {
    let mut claims = json!({ "sub": "u1", "organization_id": "acme", "exp": NOW_S + 300 });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    sign_with(&Header::new(Algorithm::HS256), &claims, SECRET)
}

fn verify_with(config: &JwtConfig, token: &str) -> Result<Principal, Rejected> {
    TokenVerifier::new(config).unwrap().verify(token, TimestampUs(NOW_S * 1_000_000))
}

fn verify(changes: &Value) -> Result<Principal, Rejected> {
    verify_with(&config(), &token(changes))
}

fn user(changes: &Value) -> (String, Vec<String>, Scopes) {
    match verify(changes).unwrap().kind() {
        PrincipalKind::User { user_id, organizations, scopes } => {
            (user_id.to_string(), organizations.iter().map(ToString::to_string).collect(), *scopes)
        }
        other => panic!("not a user: {other:?}"),
    }
}

#[test]
fn a_good_token_is_a_viewer_of_its_organization() {
    let viewer = Scopes::READ | Scopes::TRACK;
    assert_eq!(user(&json!({})), ("u1".into(), vec!["acme".into()], viewer));
    let principal = verify(&json!({})).unwrap();
    assert_eq!(&**principal.credential(), "user:u1");
}

#[test]
fn numbers_are_identifiers_and_the_first_user_claim_counts() {
    let (id, organizations, _) = user(&json!({ "sub": 42, "organization_id": 7, "user_id": "other" }));
    assert_eq!((id.as_str(), organizations), ("42", vec!["7".to_owned()]));
    let (id, ..) = user(&json!({ "sub": null, "user_id": 18_446_744_073_709_551_615_u64 }));
    assert_eq!(id, "18446744073709551615");
    let (id, ..) = user(&json!({ "sub": "", "user_id": "u2" }));
    assert_eq!(id, "u2");
}

#[test]
fn organizations_are_joined_without_the_platform() {
    let (_, organizations, _) = user(&json!({ "organizations": ["b", "acme", 3, "_platform", "b"] }));
    assert_eq!(organizations, ["acme", "b", "3"]);
    let (_, organizations, _) = user(&json!({ "organization_id": null }));
    assert!(organizations.is_empty());
}

#[test]
fn roles_give_what_they_say_and_unknown_ones_nothing() {
    let track = Scopes::TRACK;
    let auditor = track | Scopes::READ | Scopes::AUDIT_READ;
    for (claims, expected) in [
        (json!({ "role": "viewer" }), track | Scopes::READ),
        (json!({ "role": "auditor" }), auditor),
        (json!({ "role": "admin" }), auditor | Scopes::ADMIN),
        (json!({ "role": "owner" }), track),
        (json!({ "roles": ["owner", "auditor"] }), auditor),
        (json!({ "role": "viewer", "roles": ["admin"] }), auditor | Scopes::ADMIN),
        (json!({ "roles": [] }), track | Scopes::READ),
    ] {
        assert_eq!(user(&claims).2, expected, "{claims}");
    }
}

#[test]
fn a_superuser_claim_is_a_boolean() {
    assert!(verify(&json!({ "is_superuser": true })).unwrap().is_superuser());
    assert!(!verify(&json!({ "is_superuser": false })).unwrap().is_superuser());
    for value in [json!("true"), json!(1), json!([true])] {
        assert_eq!(verify(&json!({ "is_superuser": value })), Err(Rejected::Claim));
    }
}

#[test]
fn a_claim_of_the_wrong_type_is_never_taken_as_absent() {
    for claims in [
        json!({ "sub": { "id": 1 } }),
        json!({ "sub": 1.5 }),
        json!({ "sub": "a b" }),
        json!({ "sub": true }),
        json!({ "user_id": [] }),
        json!({ "sub": null }),
        json!({ "organization_id": ["acme"] }),
        json!({ "organization_id": "../etc" }),
        json!({ "organizations": "acme" }),
        json!({ "organizations": [{}] }),
        json!({ "role": 1 }),
        json!({ "role": ["admin"] }),
        json!({ "roles": "admin" }),
        json!({ "roles": [1] }),
    ] {
        assert!(verify(&claims).is_err(), "{claims}");
    }
}

#[test]
fn a_token_has_a_time_with_a_minute_of_leeway() {
    for (claims, good) in [
        (json!({ "exp": NOW_S - 59 }), true),
        (json!({ "exp": NOW_S - 60 }), false),
        (json!({ "exp": 1_700_000_000.5 }), true),
        (json!({ "exp": null }), false),
        (json!({ "exp": (NOW_S + 300).to_string() }), false),
        (json!({ "exp": [NOW_S + 300] }), false),
        (json!({ "nbf": NOW_S + 60 }), true),
        (json!({ "nbf": NOW_S + 61 }), false),
        (json!({ "nbf": "0" }), false),
    ] {
        assert_eq!(verify(&claims).is_ok(), good, "{claims}");
    }
    let without = sign_with(&Header::new(Algorithm::HS256), &json!({ "sub": "u1" }), SECRET);
    assert_eq!(verify_with(&config(), &without), Err(Rejected::Time));
}

#[test]
fn audience_and_issuer_are_checked_when_configured() {
    let config =
        JwtConfig { audience: Some("insights".into()), issuer: Some("https://idp".into()), ..config() };
    let check = |claims: Value| verify_with(&config, &token(&claims)).is_ok();
    assert!(check(json!({ "aud": "insights", "iss": "https://idp" })));
    assert!(check(json!({ "aud": ["x", "insights"], "iss": "https://idp" })));
    for claims in [
        json!({}),
        json!({ "aud": "insights" }),
        json!({ "iss": "https://idp" }),
        json!({ "aud": "other", "iss": "https://idp" }),
        json!({ "aud": "insights", "iss": "https://evil" }),
        json!({ "aud": { "insights": 1 }, "iss": ["https://idp"] }),
    ] {
        assert!(!check(claims.clone()), "{claims}");
    }
}

#[test]
fn the_algorithm_is_ours_never_the_tokens() {
    let claims = json!({ "sub": "u1", "exp": NOW_S + 300 });
    let other = sign_with(&Header::new(Algorithm::HS512), &claims, SECRET);
    assert_eq!(verify_with(&config(), &other), Err(Rejected::Signature));
    let good = token(&json!({}));
    let (_, rest) = good.split_once('.').unwrap();
    // {"alg":"none","typ":"JWT"}
    let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{rest}");
    assert_eq!(verify_with(&config(), &none), Err(Rejected::Signature));
    let unsigned = format!("{}.", good.rsplit_once('.').unwrap().0);
    assert_eq!(verify_with(&config(), &unsigned), Err(Rejected::Signature));
}

#[test]
fn another_secret_and_unknown_extensions_are_refused() {
    let header = Header::new(Algorithm::HS256);
    let claims = json!({ "sub": "u1", "exp": NOW_S + 300 });
    let forged = sign_with(&header, &claims, "another-secret-of-enough-characters");
    assert_eq!(verify_with(&config(), &forged), Err(Rejected::Signature));
    let critical = Header { crit: Some(vec!["exp".into()]), ..header };
    assert_eq!(verify_with(&config(), &sign_with(&critical, &claims, SECRET)), Err(Rejected::Signature));
}

#[test]
fn a_public_key_verifies_what_its_private_key_signed() {
    let private = include_bytes!("../../../tests/fixtures/jwt/ed25519.pem");
    let public = include_bytes!("../../../tests/fixtures/jwt/ed25519.pub.pem");
    let config = JwtConfig { algorithm: Algorithm::EdDSA, keys: JwtKeys::Pem(public.to_vec()), ..config() };
    let key = EncodingKey::from_ed_pem(private).unwrap();
    let claims = json!({ "sub": "u1", "exp": NOW_S + 300 });
    let token = jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &key).unwrap();
    assert!(verify_with(&config, &token).is_ok());
    // The public key as an HMAC secret, which an algorithm taken from the token would let through.
    let forged =
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(public));
    assert_eq!(verify_with(&config, &forged.unwrap()), Err(Rejected::Signature));
}

#[test]
fn a_key_set_is_searched_by_key_id() {
    let private = include_bytes!("../../../tests/fixtures/jwt/ed25519.pem");
    let jwks = include_bytes!("../../../tests/fixtures/jwt/jwks.json");
    let config = JwtConfig { algorithm: Algorithm::EdDSA, keys: JwtKeys::Jwks(jwks.to_vec()), ..config() };
    let key = EncodingKey::from_ed_pem(private).unwrap();
    let sign = |kid: Option<&str>| {
        let header = Header { kid: kid.map(String::from), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &json!({ "sub": "u1", "exp": NOW_S + 300 }), &key).unwrap()
    };
    assert!(verify_with(&config, &sign(Some("one"))).is_ok());
    assert_eq!(verify_with(&config, &sign(Some("two"))), Err(Rejected::Signature));
    assert_eq!(verify_with(&config, &sign(Some("three"))), Err(Rejected::UnknownKey));
    assert_eq!(verify_with(&config, &sign(None)), Err(Rejected::UnknownKey));
    let wrong = JwtConfig { algorithm: Algorithm::RS256, ..config };
    assert!(TokenVerifier::new(&wrong).is_err());
}

proptest! {
    #[test]
    fn no_token_panics(text in "[A-Za-z0-9_.-]{0,200}") {
        prop_assert!(verify_with(&config(), &text).is_err());
    }

    #[test]
    fn no_claims_panic(sub in ".{0,20}", exp in any::<f64>(), nbf in any::<i64>()) {
        let _ = verify(&json!({ "sub": sub, "exp": exp, "nbf": nbf }));
    }
}
