//! Doubles, bit for bit.
//!
//! The bytes are described in `docs/format/encodings.md`.

use super::cursor::{Cursor, Decoded, Malformed};
use super::density::Density;
use super::ints::{decode_ints, encode_ints_at, pack_pco, take_pco};

const BITS: u8 = 0;
const PCO: u8 = 1;
const RAW: u8 = 2;

/// Encodes doubles of fresh rows.
pub fn encode_floats(values: &[f64], out: &mut Vec<u8>) {
    encode_floats_at(values, Density::Fast, out);
}

/// Encodes doubles; NaN payloads and the sign of zero survive.
///
/// Repeated values go by their bits; `pco` finds decimals and steps by itself, and is left out when
/// it gains less than 5 %.
pub fn encode_floats_at(values: &[f64], density: Density, out: &mut Vec<u8>) {
    let runs = values.chunk_by(|a, b| a.to_bits() == b.to_bits()).count();
    if runs <= 1 || runs < values.len() / 16 {
        out.push(BITS);
        let bits: Vec<u64> = values.iter().map(|v| v.to_bits()).collect();
        encode_ints_at(&bits, density, out);
        return;
    }
    if let Some(packed) = pack_pco(values, density)
        && packed.len() < values.len() * 8 / 20 * 19
    {
        out.push(PCO);
        out.extend_from_slice(&packed);
        return;
    }
    out.push(RAW);
    for value in values {
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }
}

/// Decodes what [`encode_floats`] wrote of `rows` doubles.
///
/// # Errors
///
/// [`Malformed`] when `bytes` are anything else.
pub fn decode_floats(bytes: &[u8], rows: usize) -> Decoded<Vec<f64>> {
    let mut cursor = Cursor::new(bytes);
    match cursor.u8()? {
        BITS => Ok(decode_ints(cursor.rest(), rows)?.into_iter().map(f64::from_bits).collect()),
        PCO => {
            let mut values = vec![0.0; rows];
            take_pco(cursor.rest(), &mut values)?;
            Ok(values)
        }
        RAW => {
            let (chunks, tail) = cursor.rest().as_chunks::<8>();
            if chunks.len() != rows || !tail.is_empty() {
                return Err(Malformed("raw doubles of the wrong length"));
            }
            Ok(chunks.iter().map(|c| f64::from_bits(u64::from_le_bytes(*c))).collect())
        }
        _ => Err(Malformed("an unknown encoding of doubles")),
    }
}

/// The name of the encoding that `bytes` start with.
pub(super) fn name(bytes: &[u8]) -> Option<&'static str> {
    let (tag, body) = bytes.split_first()?;
    Some(match *tag {
        BITS => return super::ints::name(body),
        PCO => "pco",
        RAW => "raw",
        _ => return None,
    })
}
