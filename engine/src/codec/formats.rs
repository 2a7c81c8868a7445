//! Texts that are another thing written out: UUIDs, bytes in hex, IPv4 addresses, whole numbers.
//!
//! A format takes a column only when each of its values comes back byte for byte.
//!
//! The bytes are described in `docs/format/encodings.md`.

use super::blocks::{put_numbers, take_numbers};
use super::cursor::{Cursor, Decoded, Malformed};
use super::density::Density;
use super::section::put_section_at;
use crate::schema::BytesColumn;

/// Longest text that is taken for hex.
const HEX_BYTES_MAX: usize = 256;

/// Writes the present values as UUIDs in lower-case canonical text; false when one is none.
pub(super) fn put_uuids(column: &BytesColumn, density: Density, out: &mut Vec<u8>) -> bool {
    let mut packed = Vec::with_capacity(column.len() * 16);
    for value in column.iter().flatten() {
        let Some(uuid) = parse_uuid(value) else { return false };
        packed.extend_from_slice(&uuid);
    }
    put_section_at(&packed, density, out);
    true
}

/// Reads `count` UUIDs as text.
pub(super) fn take_uuids(cursor: &mut Cursor<'_>, count: usize) -> Decoded<BytesColumn> {
    let packed = cursor.section()?;
    let (uuids, tail) = packed.as_chunks::<16>();
    if uuids.len() != count || !tail.is_empty() {
        return Err(Malformed("more or fewer UUIDs than rows"));
    }
    let mut out = BytesColumn::with_capacity(count, count * 36);
    for uuid in uuids {
        out.push(Some(&format_uuid(uuid)));
    }
    Ok(out)
}

/// Writes the present values as the bytes that they are the lower-case hex of; false when one is none.
pub(super) fn put_hex(column: &BytesColumn, density: Density, out: &mut Vec<u8>) -> bool {
    let (mut lens, mut packed) = (Vec::new(), Vec::new());
    for value in column.iter().flatten() {
        let (pairs, tail) = value.as_chunks::<2>();
        if !tail.is_empty() || value.len() > HEX_BYTES_MAX {
            return false;
        }
        lens.push(pairs.len() as u64);
        for [high, low] in pairs {
            let (Some(high), Some(low)) = (digit_of(*high), digit_of(*low)) else { return false };
            packed.push(high << 4 | low);
        }
    }
    put_numbers(&lens, density, out);
    put_section_at(&packed, density, out);
    true
}

/// Reads `count` texts in hex.
pub(super) fn take_hex(cursor: &mut Cursor<'_>, count: usize) -> Decoded<BytesColumn> {
    let lens = take_numbers(cursor, count)?;
    let packed = cursor.section()?;
    let mut rest: &[u8] = &packed;
    let mut out = BytesColumn::with_capacity(count, packed.len() * 2);
    let mut text = Vec::new();
    for len in lens {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let (bytes, tail) = rest.split_at_checked(len).ok_or(Malformed("fewer bytes than hex digits"))?;
        rest = tail;
        text.clear();
        text.extend(bytes.iter().flat_map(|b| [hex_digit(b >> 4), hex_digit(b & 15)]));
        out.push(Some(&text));
    }
    if rest.is_empty() { Ok(out) } else { Err(Malformed("more bytes than hex digits")) }
}

/// Writes the present values as IPv4 addresses in dotted text; false when one is none.
pub(super) fn put_ipv4(column: &BytesColumn, density: Density, out: &mut Vec<u8>) -> bool {
    let parsed: Option<Vec<u64>> = column.iter().flatten().map(parse_ipv4).collect();
    parsed.is_some_and(|addresses| {
        put_numbers(&addresses, density, out);
        true
    })
}

/// Reads `count` IPv4 addresses as text.
pub(super) fn take_ipv4(cursor: &mut Cursor<'_>, count: usize) -> Decoded<BytesColumn> {
    let mut out = BytesColumn::with_capacity(count, count * 12);
    let mut text = Vec::new();
    for address in take_numbers(cursor, count)? {
        let address = u32::try_from(address).map_err(|_| Malformed("an address above 32 bits"))?;
        text.clear();
        for (place, part) in std::net::Ipv4Addr::from(address).octets().into_iter().enumerate() {
            if place > 0 {
                text.push(b'.');
            }
            put_decimal(u64::from(part), &mut text);
        }
        out.push(Some(&text));
    }
    Ok(out)
}

/// Writes the present values as whole numbers in decimal; false when one is none.
pub(super) fn put_decimals(column: &BytesColumn, density: Density, out: &mut Vec<u8>) -> bool {
    let parsed: Option<Vec<u64>> = column.iter().flatten().map(parse_decimal).collect();
    parsed.is_some_and(|numbers| {
        put_numbers(&numbers, density, out);
        true
    })
}

/// Reads `count` whole numbers as text.
pub(super) fn take_decimals(cursor: &mut Cursor<'_>, count: usize) -> Decoded<BytesColumn> {
    let mut out = BytesColumn::with_capacity(count, count * 8);
    let mut text = Vec::new();
    for number in take_numbers(cursor, count)? {
        text.clear();
        put_decimal(number, &mut text);
        out.push(Some(&text));
    }
    Ok(out)
}

fn parse_ipv4(text: &[u8]) -> Option<u64> {
    let address: std::net::Ipv4Addr = std::str::from_utf8(text).ok()?.parse().ok()?;
    // The standard library takes no leading zeroes, so the text is the one that comes back.
    Some(u64::from(u32::from(address)))
}

/// Adds a number in its shortest decimal form.
pub(super) fn put_decimal(mut number: u64, out: &mut Vec<u8>) {
    let start = out.len();
    loop {
        out.push(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}

/// A number in its shortest decimal form.
pub(super) fn parse_decimal(text: &[u8]) -> Option<u64> {
    let is_short = matches!(text, [b'0'] | [b'1'..=b'9', ..]) && text.len() <= 19;
    if !is_short {
        return None;
    }
    text.iter().try_fold(0_u64, |n, b| match b {
        b'0'..=b'9' => n.checked_mul(10)?.checked_add(u64::from(b - b'0')),
        _ => None,
    })
}

fn digit_of(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

fn hex_digit(digit: u8) -> u8 {
    if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }
}

const fn is_dash(index: usize) -> bool {
    matches!(index, 8 | 13 | 18 | 23)
}

/// The 16 bytes of a UUID in lower-case canonical text.
pub(super) fn parse_uuid(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() != 36 {
        return None;
    }
    let mut value = 0_u128;
    for (index, byte) in text.iter().enumerate() {
        if is_dash(index) {
            if *byte != b'-' {
                return None;
            }
        } else {
            value = value << 4 | u128::from(digit_of(*byte)?);
        }
    }
    // The text's order: first digit in the first byte.
    let mut bytes = value.to_le_bytes();
    bytes.reverse();
    Some(bytes)
}

pub(super) fn format_uuid(uuid: &[u8; 16]) -> [u8; 36] {
    let mut digits = uuid.iter().flat_map(|b| [b >> 4, b & 15]);
    std::array::from_fn(|index| if is_dash(index) { b'-' } else { hex_digit(digits.next().unwrap_or(0)) })
}
