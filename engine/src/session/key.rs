//! The key of a session wherever it is met: 128 bits of what kind of name it is and the name.
//!
//! SipHash-2-4 with 128 bits of output (Aumasson and Bernstein, 2012) under a fixed key: keys are on
//! disk, so the hash is part of the format. Two names of one tenant share a key with a probability of
//! 2^-64 at four billion names; whoever makes two names collide joins sessions of their own tenant alone.

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

/// SipHash-2-4-128 of one byte and a text.
fn siphash128(seed: [u64; 2], first: u8, text: &[u8]) -> u128 {
    let mut state = State([
        seed[0] ^ 0x736f_6d65_7073_6575,
        seed[1] ^ 0x646f_7261_6e64_6f6d ^ 0xee,
        seed[0] ^ 0x6c79_6765_6e65_7261,
        seed[1] ^ 0x7465_6462_7974_6573,
    ]);
    // Seven bytes of text follow the first byte, so that every further word is one of the text.
    let (head, rest) = text.split_at(text.len().min(7));
    let mut word = u64::from(first) | little_endian(head) << 8;
    let mut filled = head.len() + 1;
    if filled == 8 {
        state.absorb(word);
        let (words, tail) = rest.as_chunks::<8>();
        for bytes in words {
            state.absorb(u64::from_le_bytes(*bytes));
        }
        (word, filled) = (little_endian(tail), tail.len());
    }
    debug_assert!(filled < 8);
    // The last word ends in the length, the first byte included.
    let len = text.len() as u64 + 1;
    state.absorb(word | len << 56);
    state.finish()
}

/// Up to eight bytes as a number.
fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

struct State([u64; 4]);

impl State {
    #[inline]
    fn round(&mut self) {
        let [a, b, c, d] = &mut self.0;
        *a = a.wrapping_add(*b);
        *c = c.wrapping_add(*d);
        *b = b.rotate_left(13) ^ *a;
        *d = d.rotate_left(16) ^ *c;
        *a = a.rotate_left(32);
        *c = c.wrapping_add(*b);
        *a = a.wrapping_add(*d);
        *b = b.rotate_left(17) ^ *c;
        *d = d.rotate_left(21) ^ *a;
        *c = c.rotate_left(32);
    }

    #[inline]
    fn absorb(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.round();
        self.0[0] ^= word;
    }

    fn finish(mut self) -> u128 {
        self.0[2] ^= 0xee;
        (0..4).for_each(|_| self.round());
        let low = self.0[0] ^ self.0[1] ^ self.0[2] ^ self.0[3];
        self.0[1] ^= 0xdd;
        (0..4).for_each(|_| self.round());
        let high = self.0[0] ^ self.0[1] ^ self.0[2] ^ self.0[3];
        u128::from(low) | u128::from(high) << 64
    }
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
