//! Variable-length integers: seven bits a byte, the lowest first.

/// Writes `n`, in 1 to 10 bytes.
#[expect(clippy::cast_possible_truncation, reason = "both casts keep the seven low bits that are meant")]
pub fn put_varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}
