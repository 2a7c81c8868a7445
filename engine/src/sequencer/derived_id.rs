//! Ids that the server makes: a `UUIDv7` derived from a row's place, so that it need not be stored.
//!
//! The bytes are described in `docs/format/identifiers.md`.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::mac::keyed;
use crate::id::{Stream, TenantNo};
use crate::time::TimestampUs;

/// The highest seq that an id can carry: 4.4 * 10^12.
pub const DERIVED_SEQ_MAX: u64 = (1 << SEQ_BITS) - 1;

const SEQ_BITS: u32 = 42;
const HALF_BITS: u32 = SEQ_BITS / 2;
const HALF_MASK: u64 = (1 << HALF_BITS) - 1;
const ROUNDS: u8 = 6;
const MS_MASK: u64 = (1 << 48) - 1;

/// Separates the uses of the one key.
const DOMAIN_ROUND: u8 = 1;
const DOMAIN_TAG: u8 = 2;

/// Makes and reads the ids of one store.
#[derive(Clone)]
pub struct DerivedIds {
    /// The code under the store's key, its key block hashed already.
    keyed: Hmac<Sha256>,
}

/// Says nothing of the key.
impl fmt::Debug for DerivedIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DerivedIds").finish_non_exhaustive()
    }
}

impl DerivedIds {
    /// The ids under a key.
    pub fn new(key: &[u8; 32]) -> Self {
        Self { keyed: keyed(key) }
    }

    /// The id of a row, in lower-case text of 36 bytes.
    ///
    /// `received` is kept in milliseconds; a time before 1970 counts as 1970. `seq` is at most
    /// [`DERIVED_SEQ_MAX`]: a higher one gives an id that [`Self::parse`] refuses.
    pub fn derive(&self, tenant: TenantNo, stream: Stream, seq: u64, received: TimestampUs) -> String {
        let ms = u64::try_from(received.0.div_euclid(1000)).unwrap_or(0) & MS_MASK;
        let tag = self.tag(tenant, stream, ms, seq);
        let permuted = self.permute(tenant, stream, seq & DERIVED_SEQ_MAX);
        let body = u128::from(permuted) << 32 | u128::from(tag);
        let rand_a = body >> 62;
        let rand_b = body & ((1 << 62) - 1);
        format_uuid(u128::from(ms) << 80 | 7 << 76 | rand_a << 64 | 2 << 62 | rand_b)
    }

    /// The seq and the time of receipt in milliseconds that an id carries; `None` for any text that is not
    /// an id of this tenant and stream under this key. Upper-case digits are taken too.
    pub fn parse(&self, tenant: TenantNo, stream: Stream, id: &str) -> Option<(u64, i64)> {
        let uuid = parse_uuid(id)?;
        if uuid >> 76 & 0xf != 7 || uuid >> 62 & 3 != 2 {
            return None;
        }
        let ms = low_u64(uuid >> 80);
        let body = (uuid >> 64 & 0xfff) << 62 | uuid & ((1 << 62) - 1);
        let seq = self.unpermute(tenant, stream, low_u64(body >> 32));
        let given = u32::try_from(body & u128::from(u32::MAX)).ok()?;
        let matches = self.tag(tenant, stream, ms, seq) == given;
        if matches { Some((seq, i64::try_from(ms).ok()?)) } else { None }
    }

    fn mac(&self, domain: u8, tenant: TenantNo, stream: Stream, words: [u64; 2]) -> u64 {
        let mut text = [0; 22];
        let (head, tail) = text.split_at_mut(6);
        head.copy_from_slice(&[[domain, stream.tag()].as_slice(), &tenant.0.to_le_bytes()].concat());
        for (slot, word) in tail.chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        let mut mac = self.keyed.clone();
        mac.update(&text);
        let [b0, b1, b2, b3, b4, b5, b6, b7, ..]: [u8; 32] = mac.finalize().into_bytes().into();
        u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7])
    }

    fn tag(&self, tenant: TenantNo, stream: Stream, ms: u64, seq: u64) -> u32 {
        let [b0, b1, b2, b3, ..] = self.mac(DOMAIN_TAG, tenant, stream, [ms, seq]).to_le_bytes();
        u32::from_le_bytes([b0, b1, b2, b3])
    }

    fn round(&self, tenant: TenantNo, stream: Stream, number: u8, half: u64) -> u64 {
        self.mac(DOMAIN_ROUND, tenant, stream, [u64::from(number), half]) & HALF_MASK
    }

    fn permute(&self, tenant: TenantNo, stream: Stream, n: u64) -> u64 {
        let (mut left, mut right) = (n >> HALF_BITS, n & HALF_MASK);
        for number in 0..ROUNDS {
            (left, right) = (right, left ^ self.round(tenant, stream, number, right));
        }
        left << HALF_BITS | right
    }

    fn unpermute(&self, tenant: TenantNo, stream: Stream, n: u64) -> u64 {
        let (mut left, mut right) = (n >> HALF_BITS, n & HALF_MASK);
        for number in (0..ROUNDS).rev() {
            (left, right) = (right ^ self.round(tenant, stream, number, left), left);
        }
        left << HALF_BITS | right
    }
}

/// The low 64 bits; the callers have shifted away what is above.
fn low_u64(n: u128) -> u64 {
    u64::try_from(n & u128::from(u64::MAX)).unwrap_or(0)
}

/// Where the hyphens of a UUID are.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

fn format_uuid(uuid: u128) -> String {
    let mut out = String::with_capacity(36);
    for (at, byte) in uuid.to_le_bytes().into_iter().rev().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        out.extend([byte >> 4, byte & 0xf].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0')));
    }
    out
}

fn parse_uuid(text: &str) -> Option<u128> {
    if text.len() != 36 {
        return None;
    }
    let mut uuid = 0u128;
    for (at, byte) in text.bytes().enumerate() {
        if HYPHENS.contains(&at) {
            if byte != b'-' {
                return None;
            }
        } else {
            uuid = uuid << 4 | u128::from(char::from(byte).to_digit(16)?);
        }
    }
    Some(uuid)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn ids() -> DerivedIds {
        DerivedIds::new(&[7; 32])
    }

    #[test]
    fn an_id_is_the_one_that_was_given_before() {
        let id = ids().derive(TenantNo(3), Stream::Events, 41, TimestampUs(1_700_000_000_123_456));
        assert_eq!(id, GOLDEN);
        assert_eq!(ids().parse(TenantNo(3), Stream::Events, &id), Some((41, 1_700_000_000_123)));
        assert_eq!(
            ids().parse(TenantNo(3), Stream::Events, &id.to_uppercase()),
            Some((41, 1_700_000_000_123))
        );
    }

    const GOLDEN: &str = "018bcfe5-687b-7042-ab3f-3cb16221ebb1";

    #[test]
    fn an_id_of_another_tenant_stream_or_key_is_not_known() {
        let id = ids().derive(TenantNo(3), Stream::Events, 41, TimestampUs(1_700_000_000_123_456));
        assert_eq!(ids().parse(TenantNo(4), Stream::Events, &id), None);
        assert_eq!(ids().parse(TenantNo(3), Stream::Audit, &id), None);
        assert_eq!(DerivedIds::new(&[8; 32]).parse(TenantNo(3), Stream::Events, &id), None);
        assert_eq!(ids().parse(TenantNo(3), Stream::Events, &format!("{}0", &id[..35])), None);
    }

    #[test]
    fn neighbours_get_ids_that_do_not_look_alike() {
        let middles: HashSet<String> = (1..=200)
            .map(|seq| ids().derive(TenantNo(1), Stream::Audit, seq, TimestampUs(0))[14..22].to_owned())
            .collect();
        assert!(middles.len() > 190);
    }

    proptest! {
        #[test]
        fn every_place_comes_back(seq in 0..=DERIVED_SEQ_MAX, ms in 0i64..1 << 48, tenant: u32) {
            let id = ids().derive(TenantNo(tenant), Stream::Events, seq, TimestampUs(ms * 1000 + 999));
            prop_assert_eq!(id.len(), 36);
            prop_assert_eq!(ids().parse(TenantNo(tenant), Stream::Events, &id), Some((seq, ms)));
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text in "\\PC{0,40}|[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}") {
            prop_assert_eq!(ids().parse(TenantNo(1), Stream::Events, &text), None);
        }
    }
}
