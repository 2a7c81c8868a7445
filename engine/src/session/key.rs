//! The key of a session wherever it is met: 128 bits of what kind of name it is and the name.
//!
//! SipHash-2-4 with 128 bits of output (Aumasson and Bernstein, 2012) under a fixed key: keys are on
//! disk, so the hash is part of the format. Two names of one tenant share a key with a probability of
//! 2^-64 at four billion names; whoever makes two names collide joins sessions of their own tenant alone.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

/// The key of `SipHash`, the digits of pi: a choice without a purpose.
const SEED: [u64; 2] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344];

/// What a session is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum KeyKind {
    /// The user, else the visitor.
    Person = 0,
    /// The session that the client named.
    Session = 1,
}

/// The key of a session within its tenant.
pub(crate) fn session_key(kind: KeyKind, name: &[u8]) -> u128 {
    siphash128(SEED, kind as u8, name)
}

/// What takes the place of a key under a secret that nobody keeps: equal keys stay equal.
pub(crate) fn pseudonym(secret: [u64; 2], key: u128) -> u128 {
    siphash128(secret, 0, &key.to_le_bytes())
}

/// SipHash-2-4-128 of one byte and a text, one after the other.
fn siphash128(seed: [u64; 2], first: u8, text: &[u8]) -> u128 {
    let mut hasher = SipHasher24::new_with_keys(seed[0], seed[1]);
    hasher.write(&[first]);
    hasher.write(text);
    u128::from_le_bytes(hasher.finish128().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of the reference implementation: key 00..0f, messages 00, 00 01, .. of growing length.
    #[test]
    fn the_hash_is_siphash_2_4_of_128_bits() {
        let seed = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let message: Vec<u8> = (0..64).collect();
        let hash = |len: usize| siphash128(seed, message[0], &message[1..len]);
        let hex = |hash: u128| format!("{:032x}", hash.swap_bytes());
        assert_eq!(hex(hash(1)), "da87c1d86b99af44347659119b22fc45");
        assert_eq!(hex(hash(2)), "8177228da4a45dc7fca38bdef60affe4");
        assert_eq!(hex(hash(55)), "67f14984c7da791248e32bb5922583da");
        assert_eq!(hex(hash(56)), "1938f2cf72d54ee97e94166fa91d2a36");
        assert_eq!(hex(hash(57)), "74481e9646ed49fe0f6224301604698e");
        assert_eq!(hex(hash(62)), "5853542321f567a005d547a4f04759bd");
        assert_eq!(hex(hash(63)), "5150d1772f50834a503e069a973fbd7c");
    }

    #[test]
    fn a_session_and_a_person_of_one_name_are_two_keys() {
        assert_ne!(session_key(KeyKind::Person, b"a"), session_key(KeyKind::Session, b"a"));
    }
}
