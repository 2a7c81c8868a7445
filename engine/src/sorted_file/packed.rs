//! Numbers of up to 128 bits that ascend within groups, packed.
//!
//! Random identifiers have no pattern, but their order does not have to be told: of n sorted ones about
//! log2(n) bits each are saved by storing how far the next one is. Bits that are the same in all (the
//! version of a UUID, the upper ones of small numbers) are stored once.
//!
//! The bytes are described in `docs/format/sorted-file.md`.

use crate::codec::{
    Cursor, Decoded, Density, Malformed, decode_ints, encode_ints_at, put_block, put_varint, take_block,
};

/// Varying bits of a head; 12 more have room for the group.
const HEAD_BITS: u32 = 44;
/// Bits of one column of tails.
const TAIL_BITS: u32 = 56;

/// A number and its group.
pub(super) type Grouped = (usize, u128);

/// Bits out of a number, as a number: the mask in runs, from the top.
struct Mask {
    /// First bit and length of each run of ones.
    runs: Vec<(u32, u32)>,
    width: u32,
}

impl Mask {
    fn new(mut bits: u128) -> Self {
        let width = bits.count_ones();
        let mut runs = Vec::new();
        while bits != 0 {
            let first = bits.trailing_zeros();
            let len = (bits >> first).trailing_ones();
            runs.push((first, len));
            bits &= !(ones(len) << first);
        }
        runs.reverse();
        Self { runs, width }
    }

    fn gather(&self, number: u128) -> u128 {
        self.runs.iter().fold(0, |out, (first, len)| {
            let bits = (number >> first) & ones(*len);
            if *len == 128 { bits } else { out << len | bits }
        })
    }

    fn scatter(&self, mut gathered: u128) -> u128 {
        let mut out = 0;
        for (first, len) in self.runs.iter().rev() {
            out |= (gathered & ones(*len)) << first;
            gathered = gathered.checked_shr(*len).unwrap_or(0);
        }
        out
    }

    fn head_bits(&self) -> u32 {
        self.width.min(HEAD_BITS)
    }

    /// Width and place of each column of tails.
    fn tails(&self) -> impl Iterator<Item = (u32, u32)> {
        let all = self.width - self.head_bits();
        (0..all.div_ceil(TAIL_BITS)).map(move |column| {
            let before = column * TAIL_BITS;
            let len = (all - before).min(TAIL_BITS);
            (len, all - before - len)
        })
    }
}

fn ones(len: u32) -> u128 {
    u128::MAX.checked_shr(128 - len.min(128)).unwrap_or(0)
}

#[expect(clippy::cast_possible_truncation, reason = "the masked bits are at most 56")]
fn low_bits(number: u128, len: u32) -> u64 {
    (number & ones(len)) as u64
}

fn put_wide(number: u128, out: &mut Vec<u8>) {
    let [low, high] = [number & u128::from(u64::MAX), number >> 64];
    put_varint(u64::try_from(low).unwrap_or(u64::MAX), out);
    put_varint(u64::try_from(high).unwrap_or(u64::MAX), out);
}

fn take_wide(reader: &mut Cursor<'_>) -> Decoded<u128> {
    let low = reader.varint()?;
    Ok(u128::from(reader.varint()?) << 64 | u128::from(low))
}

fn put_numbers(numbers: &[u64], out: &mut Vec<u8>) {
    put_block(|block| encode_ints_at(numbers, Density::Dense, block), out);
}

/// Packs numbers that ascend by (group, number).
pub(super) fn encode(numbers: &[Grouped], out: &mut Vec<u8>) {
    let any = numbers.iter().fold(0, |bits, (_, n)| bits | n);
    let all = numbers.iter().fold(u128::MAX, |bits, (_, n)| bits & n);
    let mask = Mask::new(any & !all);
    put_wide(any & !all, out);
    put_wide(all & any, out);
    let gathered: Vec<Grouped> = numbers.iter().map(|(group, n)| (*group, mask.gather(*n))).collect();
    let tail_bits = mask.width - mask.head_bits();
    let mut before = 0;
    let heads = gathered.iter().map(|(group, n)| {
        let head = (*group as u64) << mask.head_bits() | low_bits(n >> tail_bits, mask.head_bits());
        head - std::mem::replace(&mut before, head)
    });
    put_numbers(&heads.collect::<Vec<u64>>(), out);
    for (len, place) in mask.tails() {
        let tails: Vec<u64> = gathered.iter().map(|(_, n)| low_bits(n >> place, len)).collect();
        put_numbers(&tails, out);
    }
}

/// The numbers of these groups.
///
/// # Errors
///
/// [`Malformed`] when the bytes are not such numbers, or are of other groups. That they ascend within a
/// group is the caller's to check.
pub(super) fn decode(reader: &mut Cursor<'_>, groups: &[usize]) -> Decoded<Vec<u128>> {
    let (varying, base) = (take_wide(reader)?, take_wide(reader)?);
    if varying & base != 0 {
        return Err(Malformed("bits of packed keys that vary and do not"));
    }
    let mask = Mask::new(varying);
    let mut head = 0_u64;
    let mut out = Vec::with_capacity(groups.len());
    for (difference, group) in decode_ints(take_block(reader)?, groups.len())?.into_iter().zip(groups) {
        head = head.checked_add(difference).ok_or(Malformed("packed keys that are too large"))?;
        if head >> mask.head_bits() != *group as u64 {
            return Err(Malformed("a packed key of another group"));
        }
        out.push(u128::from(head) & ones(mask.head_bits()));
    }
    for (len, _) in mask.tails() {
        for (number, tail) in out.iter_mut().zip(decode_ints(take_block(reader)?, groups.len())?) {
            if u128::from(tail) > ones(len) {
                return Err(Malformed("a packed key that is too large"));
            }
            *number = *number << len | u128::from(tail);
        }
    }
    for number in &mut out {
        *number = base | mask.scatter(*number);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn any_numbers() -> impl Strategy<Value = Vec<Grouped>> {
        let number = prop_oneof![any::<u128>(), 0..1_000_u128, any::<u128>().prop_map(|n| n & 0xffff_0ff0)];
        let of_mask = (any::<u128>(), proptest::collection::btree_set((0..40_usize, number), 1..100));
        of_mask.prop_map(|(mask, numbers)| {
            let masked: BTreeSet<Grouped> = numbers.into_iter().map(|(g, n)| (g, n & mask)).collect();
            masked.into_iter().collect()
        })
    }

    proptest! {
        #[test]
        fn any_numbers_come_back(numbers in any_numbers()) {
            let mut bytes = Vec::new();
            encode(&numbers, &mut bytes);
            let (groups, only): (Vec<usize>, Vec<u128>) = numbers.into_iter().unzip();
            let mut reader = Cursor::new(&bytes);
            prop_assert_eq!(decode(&mut reader, &groups).unwrap(), only);
            prop_assert!(reader.rest().is_empty());
        }

        #[test]
        fn mutated_numbers_never_panic(numbers in any_numbers(), at: prop::sample::Index, byte: u8) {
            let mut bytes = Vec::new();
            encode(&numbers, &mut bytes);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let groups: Vec<usize> = numbers.iter().map(|(group, _)| *group).collect();
            drop(decode(&mut Cursor::new(&bytes), &groups));
        }
    }

    #[test]
    fn random_uuids_take_less_than_their_random_bits() {
        let mut state = 1_u128;
        let mut random = || {
            state = state.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(1);
            (state ^ state >> 64) & !(0xf << 76 | 0x3 << 62) | 4 << 76 | 2 << 62
        };
        let numbers: BTreeSet<Grouped> = (0..450).map(|_| (0, random())).collect();
        let mut bytes = Vec::new();
        encode(&numbers.into_iter().collect::<Vec<_>>(), &mut bytes);
        assert!(bytes.len() < 450 * 147 / 10, "{} bytes", bytes.len());
    }
}
