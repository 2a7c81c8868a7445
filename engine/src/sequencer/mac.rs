//! HMAC-SHA256 (RFC 2104) under keys of 32 bytes.

use hmac::{Hmac, KeyInit};
use sha2::Sha256;

/// Starts a code under `key`, which RFC 2104 fills up with zeroes to the block of 64 bytes.
pub(super) fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    Hmac::new(&block.into())
}

#[cfg(test)]
mod tests {
    use hmac::Mac;

    use super::*;

    #[test]
    fn a_key_of_32_bytes_is_that_of_the_definition() {
        let mut ours = keyed(&[7; 32]);
        let mut theirs = Hmac::<Sha256>::new_from_slice(&[7; 32]).unwrap();
        ours.update(b"text");
        theirs.update(b"text");
        assert_eq!(ours.finalize().into_bytes(), theirs.finalize().into_bytes());
    }
}
