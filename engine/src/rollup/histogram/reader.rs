//! Reads the bytes of a histogram from the front.

use super::{INDEX_MAX, INDEX_MIN, Side};
use crate::error::{Error, Result};

/// Takes bytes off the front.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
}

impl Reader<'_> {
    pub(super) fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self.bytes.split_first().ok_or_else(short)?;
        self.bytes = rest;
        Ok(*first)
    }

    pub(super) fn f64(&mut self) -> Result<f64> {
        let (bytes, rest) = self.bytes.split_first_chunk::<8>().ok_or_else(short)?;
        self.bytes = rest;
        Ok(f64::from_bits(u64::from_le_bytes(*bytes)))
    }

    pub(super) fn varint(&mut self) -> Result<u64> {
        let mut n = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                break;
            }
            n |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(Error::invalid("a varint above 64 bits"))
    }

    pub(super) fn side(&mut self) -> Result<Side> {
        let len = usize::try_from(self.varint()?).map_err(|_| short())?;
        // A bucket takes at least two bytes: more than that cannot follow, and is not allocated for.
        if len > self.bytes.len() / 2 {
            return Err(short());
        }
        let mut buckets: Vec<(i32, u64)> = Vec::with_capacity(len);
        for _ in 0..len {
            let delta = u32::try_from(self.varint()?).map_err(|_| Error::invalid("a bucket out of range"))?;
            let index = match buckets.last() {
                None => Some((delta >> 1).cast_signed() ^ -(delta & 1).cast_signed()),
                Some((before, _)) => before.checked_add_unsigned(delta).filter(|_| delta > 0),
            };
            let index = index.filter(|i| (INDEX_MIN..INDEX_MAX).contains(i));
            let count = self.varint()?;
            match index {
                Some(index) if count > 0 => buckets.push((index, count)),
                _ => return Err(Error::invalid("a bucket out of range")),
            }
        }
        Ok(Side { buckets })
    }
}

fn short() -> Error {
    Error::invalid("a histogram that ends too early")
}
