//! Numbers inside of a body: behind a varint of their bytes.

use super::cursor::{Cursor, Decoded};
use super::density::Density;
use super::ints::{decode_ints, encode_ints_at};
use super::section::SECTION_BYTES_MAX;
use super::varint::put_varint;

/// Writes what `encode` writes, behind a varint of its bytes.
pub(crate) fn put_block(encode: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    let mut block = Vec::new();
    encode(&mut block);
    put_varint(block.len() as u64, out);
    out.extend_from_slice(&block);
}

/// Reads what [`put_block`] wrote.
pub(crate) fn take_block<'a>(cursor: &mut Cursor<'a>) -> Decoded<&'a [u8]> {
    let len = cursor.len(SECTION_BYTES_MAX)?;
    cursor.take(len)
}

/// Writes numbers.
pub(super) fn put_numbers(values: &[u64], density: Density, out: &mut Vec<u8>) {
    put_block(|block| encode_ints_at(values, density, block), out);
}

/// Reads `count` numbers.
pub(super) fn take_numbers(cursor: &mut Cursor<'_>, count: usize) -> Decoded<Vec<u64>> {
    decode_ints(take_block(cursor)?, count)
}
