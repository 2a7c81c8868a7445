//! Numbers of a fixed width in bits, the first value in the lowest bits of the first byte.

use super::cursor::{Decoded, Malformed};

/// The width, in bits, that packs numbers up to `max`: 0 to 56, or 64.
///
/// 57 to 63 are left out: a value of at most 56 bits lies within 8 bytes wherever it starts, so that
/// it is read with one load.
pub(super) fn width_of(max: u64) -> u32 {
    let bits = 64 - max.leading_zeros();
    if bits > 56 { 64 } else { bits }
}

/// Bytes that `count` numbers of `width` bits take.
pub(super) fn packed_bytes(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

/// Packs numbers that all fit `width` bits.
#[expect(clippy::cast_possible_truncation, reason = "the low byte is what is written")]
pub(super) fn pack(values: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let mut pending = 0_u128;
    let mut bits = 0;
    for value in values {
        pending |= u128::from(value) << bits;
        bits += width;
        while bits >= 8 {
            out.push(pending as u8);
            pending >>= 8;
            bits -= 8;
        }
    }
    if bits > 0 {
        out.push(pending as u8);
    }
}

/// Unpacks as many numbers as `out` has room for; `bytes` must have exactly their length.
pub(super) fn unpack(bytes: &[u8], width: u32, out: &mut [u64]) -> Decoded<()> {
    if width > 56 && width != 64 {
        return Err(Malformed("an unknown bit width"));
    }
    if bytes.len() != packed_bytes(out.len(), width) {
        return Err(Malformed("packed numbers of the wrong length"));
    }
    match width {
        0 => out.fill(0),
        64 => {
            for (slot, chunk) in out.iter_mut().zip(bytes.as_chunks::<8>().0) {
                *slot = u64::from_le_bytes(*chunk);
            }
        }
        _ => unpack_narrow(bytes, width as usize, out),
    }
    Ok(())
}

fn unpack_narrow(bytes: &[u8], width: usize, out: &mut [u64]) {
    let mask = (1_u64 << width) - 1;
    for (index, slot) in out.iter_mut().enumerate() {
        let bit = index * width;
        let tail = bytes.get(bit / 8..).unwrap_or(&[]);
        let word = if let Some(chunk) = tail.first_chunk::<8>() {
            u64::from_le_bytes(*chunk)
        } else {
            let mut padded = [0; 8];
            for (to, from) in padded.iter_mut().zip(tail) {
                *to = *from;
            }
            u64::from_le_bytes(padded)
        };
        *slot = (word >> (bit % 8)) & mask;
    }
}
