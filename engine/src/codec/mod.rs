//! Column encodings: values <-> bytes, pure, behind one pair of functions for each kind of value.
//!
//! The first byte of an encoding is its tag, so that more can be added and readers need not know how
//! one was chosen. Decoders take the number of rows from their caller, who knows it from a verified
//! index: nothing is allocated because the bytes ask for it, beyond [`SECTION_BYTES_MAX`].

mod bitpack;
mod blocks;
mod cursor;
mod density;
mod floats;
mod formats;
mod ints;
mod names;
mod repeat;
mod section;
mod strings;
mod template;
#[cfg(test)]
mod tests;
mod varint;

pub use cursor::{Decoded, Malformed};
pub use density::Density;
pub use floats::{decode_floats, encode_floats, encode_floats_at};
pub use ints::{
    decode_codes, decode_ints, encode_codes, encode_codes_at, encode_ints, encode_ints_at, from_ordered,
    to_ordered,
};
pub use names::{Values, encoding_name};
pub use repeat::encode_ints_in_runs;
pub use section::SECTION_BYTES_MAX;
pub use strings::{Strings, decode_strings, encode_strings, encode_strings_at};
pub use varint::put_varint;

pub(crate) use blocks::{put_block, take_block};
pub(crate) use cursor::Cursor;
pub(crate) use ints::{unzigzag, zigzag};
pub(crate) use section::put_section;
