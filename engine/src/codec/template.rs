//! Texts that differ in their numbers alone: `project #17 updated`, `project #23 updated`.
//!
//! The idea is that of CLP (Rodrigues et al., OSDI 2021): the text without its numbers is a template, of which
//! there are few; the numbers of one place in one template are a column.
//!
//! The bytes are described in `docs/format/encodings.md`.

use hashbrown::HashMap;

use super::blocks::{put_numbers, take_numbers};
use super::cursor::{Cursor, Decoded, Malformed};
use super::density::Density;
use super::formats::{parse_decimal, put_decimal};
use super::section::{SECTION_BYTES_MAX, put_section_at};
use super::varint::put_varint;
use crate::schema::BytesColumn;

/// Stands for a number in a template.
const SLOT: u8 = 0;

/// There is a template for at least so many values, or it does not pay.
const VALUES_PER_TEMPLATE: usize = 16;

/// Most numbers of all texts of a column.
const NUMBERS_MAX: usize = SECTION_BYTES_MAX / 16;

/// A template: how many values it has, and the numbers of each of its slots.
#[derive(Default)]
struct Template {
    number: usize,
    slots: Vec<Vec<u64>>,
}

/// Writes the present values as templates and numbers; false when there are too many templates for that.
pub(super) fn put_templates(column: &BytesColumn, density: Density, out: &mut Vec<u8>) -> bool {
    let present = column.present().count_ones();
    let templates_max = (present / VALUES_PER_TEMPLATE).max(1);
    let mut templates: HashMap<Vec<u8>, Template> = HashMap::new();
    let mut which = Vec::with_capacity(present);
    let (mut text, mut numbers) = (Vec::new(), Vec::new());
    let mut written = 0_usize;
    for value in column.iter().flatten() {
        if !cut(value, &mut text, &mut numbers) {
            return false;
        }
        let next = templates.len();
        let template = templates
            .entry_ref(text.as_slice())
            .or_insert_with(|| Template { number: next, slots: vec![Vec::new(); numbers.len()] });
        which.push(template.number as u64);
        template.slots.iter_mut().zip(&numbers).for_each(|(slot, n)| slot.push(*n));
        written += numbers.len();
        if templates.len() > templates_max || written > NUMBERS_MAX {
            return false;
        }
    }
    let mut sorted: Vec<(&Vec<u8>, &Template)> = templates.iter().collect();
    sorted.sort_unstable_by_key(|(_, template)| template.number);
    let lens: Vec<u64> = sorted.iter().map(|(text, _)| text.len() as u64).collect();
    let texts: Vec<u8> = sorted.iter().flat_map(|(text, _)| text.iter().copied()).collect();
    put_varint(sorted.len() as u64, out);
    put_numbers(&lens, density, out);
    put_section_at(&texts, density, out);
    put_numbers(&which, density, out);
    for slot in sorted.iter().flat_map(|(_, template)| &template.slots) {
        put_numbers(slot, density, out);
    }
    true
}

/// The template of a text and its numbers; false when it has a byte 0.
fn cut(value: &[u8], text: &mut Vec<u8>, numbers: &mut Vec<u64>) -> bool {
    text.clear();
    numbers.clear();
    for part in value.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()) {
        if part.contains(&SLOT) {
            return false;
        }
        match parse_decimal(part) {
            Some(number) => {
                text.push(SLOT);
                numbers.push(number);
            }
            None => text.extend_from_slice(part),
        }
    }
    true
}

/// Reads `count` texts.
pub(super) fn take_templates(cursor: &mut Cursor<'_>, count: usize) -> Decoded<BytesColumn> {
    let templates = cursor.len(count)?;
    let lens = take_numbers(cursor, templates)?;
    let texts = cursor.section()?;
    let which = take_numbers(cursor, count)?;
    let mut uses = vec![0_usize; templates];
    for template in &which {
        let slot = usize::try_from(*template).ok().and_then(|t| uses.get_mut(t));
        *slot.ok_or(Malformed("a template that there is not"))? += 1;
    }
    let mut rest: &[u8] = &texts;
    let mut parts = Vec::with_capacity(templates);
    // A slot takes few bytes when its numbers are all the same: what it is decoded to has a limit too.
    let mut numbers = 0_usize;
    for (len, uses) in lens.iter().zip(uses) {
        let len = usize::try_from(*len).unwrap_or(usize::MAX);
        let (text, tail) = rest.split_at_checked(len).ok_or(Malformed("templates shorter than they say"))?;
        rest = tail;
        let mut slots = Vec::new();
        for _ in text.iter().filter(|b| **b == SLOT) {
            numbers = numbers.saturating_add(uses.max(1));
            if numbers > NUMBERS_MAX {
                return Err(Malformed("more numbers than a column may have"));
            }
            slots.push(take_numbers(cursor, uses)?.into_iter());
        }
        parts.push((text, slots));
    }
    if !rest.is_empty() {
        return Err(Malformed("templates longer than they say"));
    }
    let mut out = BytesColumn::new();
    let (mut value, mut bytes) = (Vec::new(), 0);
    for template in which {
        let part = usize::try_from(template).ok().and_then(|t| parts.get_mut(t));
        let (text, slots) = part.ok_or(Malformed("a template that there is not"))?;
        value.clear();
        let mut slots = slots.iter_mut();
        for byte in *text {
            match (*byte, slots.len()) {
                (SLOT, 1..) => {
                    let number = slots.next().and_then(Iterator::next).unwrap_or(0);
                    put_decimal(number, &mut value);
                }
                (byte, _) => value.push(byte),
            }
        }
        bytes += value.len();
        if bytes > SECTION_BYTES_MAX {
            return Err(Malformed("more text than a column may have"));
        }
        out.push(Some(&value));
    }
    Ok(out)
}
