//! Names of sessions that the server gives: authenticated, never stored, the same within one chain.
//!
//! # Parts of a name
//!
//! `s_`, then base64url of 24 bytes:
//!
//! | offset | size | field    | meaning                                                    |
//! |-------:|-----:|----------|------------------------------------------------------------|
//! |      0 |    8 | start    | event time of the chain's first event, us, little-endian   |
//! |      8 |    6 | identity | first bytes of the hash of the identity                    |
//! |     14 |   10 | tag      | HMAC-SHA256 over organization and the bytes before, cut    |

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;
use sha2::Sha256;

/// What every name starts with.
pub const NAME_PREFIX: &str = "s_";
/// Bytes of a name: the prefix and 24 bytes in base64url.
const NAME_LEN: usize = 34;
/// Bytes of a name before its tag.
const UNTAGGED_BYTES: usize = 14;
/// Bytes of a name, decoded.
const NAME_BYTES: usize = 24;

/// Who a chain of events without a session id belongs to, hashed with the store's secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdentityHash([u8; 16]);

/// Makes and recognises names, under a secret of the store.
#[derive(Clone)]
pub struct SessionNamer {
    mac: Hmac<Sha256>,
}

impl fmt::Debug for SessionNamer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionNamer(..)")
    }
}

impl SessionNamer {
    /// A namer under `secret`.
    pub fn new(secret: &[u8; 32]) -> Self {
        // A key shorter than a block of the hash is padded with zeros (RFC 2104).
        let mut block = [0; 64];
        for (to, from) in block.iter_mut().zip(secret) {
            *to = *from;
        }
        Self { mac: Hmac::new((&block).into()) }
    }

    /// The hash of an identity of an organization; `kind` keeps users, visitors and connections apart.
    pub fn identity(&self, organization: &TenantId, kind: u8, id: &[&str]) -> IdentityHash {
        let mut mac = self.mac.clone();
        mac.update(b"identity\0");
        mac.update(organization.as_str().as_bytes());
        mac.update(&[0, kind]);
        for part in id {
            mac.update(part.as_bytes());
            mac.update(&[0]);
        }
        IdentityHash(cut(mac))
    }

    /// The name of the chain of an identity that starts at `start`.
    pub fn name(&self, organization: &TenantId, identity: IdentityHash, start: TimestampUs) -> String {
        let mut bytes = [0; NAME_BYTES];
        let (untagged, tag) = bytes.split_at_mut(UNTAGGED_BYTES);
        let (time, who) = untagged.split_at_mut(8);
        time.copy_from_slice(&start.0.to_le_bytes());
        let (cut, _) = identity.0.split_at(who.len());
        who.copy_from_slice(cut);
        tag.copy_from_slice(&self.tag(organization, untagged));
        format!("{NAME_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Whether this server gave `name` to a session of the organization.
    pub fn recognises(&self, organization: &TenantId, name: &str) -> bool {
        let Some(text) = name.strip_prefix(NAME_PREFIX).filter(|_| name.len() == NAME_LEN) else {
            return false;
        };
        let mut bytes = [0; NAME_BYTES];
        if URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) != Ok(NAME_BYTES) {
            return false;
        }
        let (untagged, tag) = bytes.split_at(UNTAGGED_BYTES);
        subtle::ConstantTimeEq::ct_eq(&self.tag(organization, untagged)[..], tag).into()
    }

    fn tag(&self, organization: &TenantId, untagged: &[u8]) -> [u8; NAME_BYTES - UNTAGGED_BYTES] {
        let mut mac = self.mac.clone();
        mac.update(b"name\0");
        mac.update(organization.as_str().as_bytes());
        mac.update(&[0]);
        mac.update(untagged);
        cut(mac)
    }
}

/// The first bytes of a finished MAC; `N` is at most its 32.
fn cut<const N: usize>(mac: Hmac<Sha256>) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(mac.finalize().into_bytes()) {
        *to = from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acme() -> TenantId {
        TenantId::new("acme").unwrap()
    }

    #[test]
    fn a_name_is_an_identifier_that_its_server_recognises() {
        let namer = SessionNamer::new(&[7; 32]);
        let ada = namer.identity(&acme(), 0, &["ada"]);
        let name = namer.name(&acme(), ada, TimestampUs(1_700_000_000_000_000));
        assert!(crate::domain::identifier::is_identifier(&name));
        assert_eq!(name.len(), NAME_LEN);
        assert!(namer.recognises(&acme(), &name));
        assert_eq!(name, namer.name(&acme(), ada, TimestampUs(1_700_000_000_000_000)));
        assert_ne!(name, namer.name(&acme(), ada, TimestampUs(1_700_000_000_000_001)));
        assert_ne!(ada, namer.identity(&acme(), 1, &["ada"]));
        assert_ne!(namer.identity(&acme(), 2, &["a", "b"]), namer.identity(&acme(), 2, &["ab", ""]));
    }

    #[test]
    fn a_name_is_the_one_that_was_given_before() {
        let namer = SessionNamer::new(&[7; 32]);
        let name =
            namer.name(&acme(), namer.identity(&acme(), 0, &["ada"]), TimestampUs(1_700_000_000_000_000));
        assert_eq!(name, "s_AEAeGCQKBgAMBSnBTntkoywtq1toyHDh");
    }

    #[test]
    fn another_organization_another_store_and_another_text_are_not_recognised() {
        let namer = SessionNamer::new(&[7; 32]);
        let name = namer.name(&acme(), namer.identity(&acme(), 0, &["ada"]), TimestampUs(1));
        assert!(!namer.recognises(&TenantId::new("other").unwrap(), &name));
        assert!(!SessionNamer::new(&[8; 32]).recognises(&acme(), &name));
        for at in 0..name.len() {
            let mut changed = name.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(!namer.recognises(&acme(), std::str::from_utf8(&changed).unwrap()), "{at}");
        }
        for text in ["", "s_", "s_abc", &"s".repeat(NAME_LEN)] {
            assert!(!namer.recognises(&acme(), text));
        }
    }
}
