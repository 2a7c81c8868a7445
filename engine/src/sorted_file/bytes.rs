//! Variable-length numbers, written and read with every length checked.

use crate::error::{Error, Result};
use crate::schema::document::put_varint;

/// Writes a signed number; small ones of either sign are short.
pub(crate) fn put_zigzag(n: i64, out: &mut Vec<u8>) {
    put_varint((n.wrapping_shl(1) ^ (n >> 63)).cast_unsigned(), out);
}

/// Takes numbers and byte strings off the front of untrusted bytes.
///
/// # Errors
///
/// Every method answers [`Error::Invalid`] when the bytes end too early or a number is too large.
#[derive(Debug)]
pub(crate) struct ByteReader<'b> {
    rest: &'b [u8],
}

impl<'b> ByteReader<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self.rest.split_first().ok_or_else(short)?;
        self.rest = rest;
        Ok(*first)
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(short)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn varint(&mut self) -> Result<u64> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            n |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(Error::invalid("a number that is too large"))
    }

    pub(crate) fn varint_u32(&mut self) -> Result<u32> {
        u32::try_from(self.varint()?).map_err(|_| Error::invalid("a number that is too large"))
    }

    /// A length or a count, which cannot be more than `max`.
    pub(crate) fn len(&mut self, max: usize) -> Result<usize> {
        match usize::try_from(self.varint()?) {
            Ok(len) if len <= max => Ok(len),
            _ => Err(Error::invalid("a length that is too large")),
        }
    }

    pub(crate) fn zigzag(&mut self) -> Result<i64> {
        let n = self.varint()?;
        Ok((n >> 1).cast_signed() ^ -(n & 1).cast_signed())
    }

    /// What was not taken yet.
    pub(crate) fn rest(&self) -> &'b [u8] {
        self.rest
    }
}

fn short() -> Error {
    Error::invalid("bytes that end too early")
}
