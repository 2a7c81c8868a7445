//! Signatures of webhooks in the shape of Standard Webhooks 1.0: who holds the secret can tell that a request is ours,
//! whole, and new.

use std::fmt::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use insights_engine::entropy::Entropy;
use sha2::Sha256;

use crate::config::Secret;

/// What the text of a secret starts with.
pub const SECRET_PREFIX: &str = "whsec_";
/// Fewest bytes of a key.
const KEY_BYTES_MIN: usize = 24;
/// Most bytes of a key: the block of SHA-256, beyond which a key is hashed first.
const KEY_BYTES_MAX: usize = 64;

/// A secret that signs nothing, and what it must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret of a webhook is whsec_ and 24 to 64 bytes in base64")]
pub struct InvalidSecret;

/// A new secret: 256 bits.
pub fn new_secret(entropy: &Entropy) -> Secret {
    Secret::new(format!("{SECRET_PREFIX}{}", STANDARD.encode(entropy.next())))
}

/// The key of a secret.
///
/// # Errors
///
/// [`InvalidSecret`].
pub fn key_of(secret: &str) -> Result<Vec<u8>, InvalidSecret> {
    let text = secret.strip_prefix(SECRET_PREFIX).ok_or(InvalidSecret)?;
    if text.len() > KEY_BYTES_MAX * 2 {
        return Err(InvalidSecret);
    }
    let key = STANDARD.decode(text).map_err(|_| InvalidSecret)?;
    if (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()) { Ok(key) } else { Err(InvalidSecret) }
}

/// The headers that sign a body: the id of the message, the second of the attempt, and `v1,` with the HMAC-SHA-256 of
/// `id.timestamp.body` in base64.
///
/// # Errors
///
/// [`InvalidSecret`].
pub fn headers(
    secret: &Secret,
    id: &str,
    timestamp_s: i64,
    body: &[u8],
) -> Result<[(&'static str, String); 3], InvalidSecret> {
    let key = key_of(secret.expose())?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| InvalidSecret)?;
    mac.update(format!("{id}.{timestamp_s}.").as_bytes());
    mac.update(body);
    let mut signature = "v1,".to_owned();
    // Writing to a string cannot fail.
    let _ = write!(signature, "{}", STANDARD.encode(mac.finalize().into_bytes()));
    Ok([
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", timestamp_s.to_string()),
        ("webhook-signature", signature),
    ])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of the specification and its libraries (standard-webhooks/standard-webhooks).
    #[test]
    fn the_signature_of_the_specifications_example_is_right() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let [id, at, signature] =
            headers(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}")
                .unwrap();
        assert_eq!(id, ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned()));
        assert_eq!(at, ("webhook-timestamp", "1614265330".to_owned()));
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signature, ("webhook-signature", expected.to_owned()));
    }

    #[test]
    fn a_new_secret_signs_and_no_two_are_the_same() {
        let entropy = Entropy::from_seed([3; 32]);
        let (one, other) = (new_secret(&entropy), new_secret(&entropy));
        assert_eq!(key_of(one.expose()).unwrap().len(), 32);
        assert_ne!(one.expose(), other.expose());
    }

    #[test]
    fn short_long_and_foreign_secrets_are_refused() {
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        assert!(key_of(&of(24)).is_ok() && key_of(&of(64)).is_ok());
        for wrong in
            [of(23), of(65), of(9_000), "whsec_".into(), "hush".into(), "whsec_!".into(), String::new()]
        {
            assert_eq!(key_of(&wrong), Err(InvalidSecret), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_a_panic(text in "(whsec_)?\\PC{0,200}") {
            let _ = key_of(&text);
        }
    }
}
