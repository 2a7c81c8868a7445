//! The keys of a block: bytes <-> keys.
//!
//! The bytes are described in `docs/format/sorted-file.md`.

use std::collections::BTreeMap;

use super::block::{Group, KEY_BYTES_MAX, end_of};
use super::form::Form;
use super::packed;
use crate::codec::{
    Cursor, Decoded, Density, Malformed, decode_ints, encode_ints_at, put_block, put_section, take_block,
};

/// Fewest keys of a form that are packed: fewer are text, which has less overhead.
const PACKED_KEYS_MIN: usize = 12;
/// Most bytes of all keys of a block; a writer ends a block long before.
pub(super) const TEXT_BYTES_MAX: usize = 1 << 20;

/// The forms of keys, and which of them it pays to pack.
fn choose_forms(keys: &[&[u8]]) -> Vec<Form> {
    let mut forms: Vec<Form> = keys.iter().map(|key| Form::of(key)).collect();
    let count = |forms: &[Form]| {
        let mut counts: BTreeMap<Form, usize> = BTreeMap::new();
        for form in forms {
            *counts.entry(*form).or_default() += 1;
        }
        counts
    };
    let counts = count(&forms);
    let of = |form: Form| counts.get(&form).copied().unwrap_or(0);
    for form in &mut forms {
        // A few decimal ones among many hexadecimal ones are hexadecimal.
        *form = form.wider().filter(|wider| of(*wider) > of(*form)).unwrap_or(*form);
    }
    let counts = count(&forms);
    for form in &mut forms {
        if counts.get(form).is_none_or(|keys| *keys < PACKED_KEYS_MIN) {
            *form = Form::Text;
        }
    }
    forms
}

fn put_numbers(numbers: &[u64], out: &mut Vec<u8>) {
    put_block(|block| encode_ints_at(numbers, Density::Dense, block), out);
}

/// Writes the keys of groups; they ascend within each.
pub(super) fn encode(groups: &[Group], keys: &[&[u8]], out: &mut Vec<u8>) {
    let forms = choose_forms(keys);
    put_numbers(&forms.iter().map(|form| u64::from(form.tag())).collect::<Vec<_>>(), out);
    let mut by_form: BTreeMap<u8, Vec<packed::Grouped>> = BTreeMap::new();
    let (mut shared, mut further, mut text) = (Vec::new(), Vec::new(), Vec::new());
    for (number, group) in groups.iter().enumerate() {
        let mut before: &[u8] = &[];
        let here = keys.iter().zip(&forms).take(group.end).skip(group.start);
        for (key, form) in here {
            if *form != Form::Text {
                by_form.entry(form.tag()).or_default().push((number, form.number(key)));
                continue;
            }
            let same = before.iter().zip(*key).take_while(|(a, b)| a == b).count();
            let rest = key.get(same..).unwrap_or(&[]);
            shared.push(same as u64);
            further.push(rest.len() as u64);
            text.extend_from_slice(rest);
            before = key;
        }
    }
    for numbers in by_form.values() {
        packed::encode(numbers, out);
    }
    if !shared.is_empty() {
        put_numbers(&shared, out);
        put_numbers(&further, out);
        put_section(&text, out);
    }
}

/// Keys one after the other, and where each ends.
pub(super) type Keys = (Vec<u8>, Vec<u32>);

/// The keys of groups.
///
/// # Errors
///
/// [`Malformed`] when the bytes are not keys, are more than [`TEXT_BYTES_MAX`], or out of order in a group.
pub(super) fn decode(reader: &mut Cursor<'_>, groups: &[Group]) -> Decoded<Keys> {
    let count = groups.last().map_or(0, |g| g.end);
    let tags = decode_ints(take_block(reader)?, count)?;
    let forms = tags.into_iter().map(Form::from_tag).collect::<Option<Vec<Form>>>();
    let forms = forms.ok_or(Malformed("a key of an unknown form"))?;
    let mut packed = take_packed(reader, groups, &forms)?;
    let texts = forms.iter().filter(|form| **form == Form::Text).count();
    let mut front = FrontCoded::take(reader, texts)?;
    let (mut text, mut ends): Keys = (Vec::with_capacity(count * 16), Vec::with_capacity(count));
    for group in groups {
        let mut before: Option<std::ops::Range<usize>> = None;
        let mut before_text = 0..0;
        for form in forms.iter().take(group.end).skip(group.start) {
            let start = text.len();
            if *form == Form::Text {
                front.next_into(&before_text, &mut text)?;
                before_text = start..text.len();
            } else {
                let number = packed.get_mut(form).and_then(Iterator::next);
                let number = number.filter(|n| *n <= form.largest());
                form.put_key(number.ok_or(Malformed("a packed key that cannot be"))?, &mut text);
            }
            let key = start..text.len();
            if key.end > TEXT_BYTES_MAX {
                return Err(Malformed("keys longer than a block allows"));
            }
            if before.is_some_and(|before| text.get(before) >= text.get(key.clone())) {
                return Err(Malformed("keys of a block out of order"));
            }
            ends.push(end_of(&text));
            before = Some(key);
        }
    }
    front.end()?;
    text.shrink_to_fit();
    Ok((text, ends))
}

/// The numbers of each form.
type Packed = BTreeMap<Form, std::vec::IntoIter<u128>>;

fn take_packed(reader: &mut Cursor<'_>, groups: &[Group], forms: &[Form]) -> Decoded<Packed> {
    let mut groups_of: BTreeMap<u8, (Form, Vec<usize>)> = BTreeMap::new();
    for (number, group) in groups.iter().enumerate() {
        for form in forms.iter().take(group.end).skip(group.start).filter(|form| **form != Form::Text) {
            groups_of.entry(form.tag()).or_insert_with(|| (*form, Vec::new())).1.push(number);
        }
    }
    let numbers = groups_of.into_values().map(|(form, groups)| {
        let numbers = packed::decode(reader, &groups)?;
        Ok((form, numbers.into_iter()))
    });
    numbers.collect()
}

/// Keys of text that are still to be told.
struct FrontCoded<'b> {
    shared: std::vec::IntoIter<u64>,
    further: std::vec::IntoIter<u64>,
    text: std::borrow::Cow<'b, [u8]>,
    next: usize,
}

impl<'b> FrontCoded<'b> {
    fn take(reader: &mut Cursor<'b>, count: usize) -> Decoded<Self> {
        if count == 0 {
            let (shared, further) = (Vec::new().into_iter(), Vec::new().into_iter());
            return Ok(Self { shared, further, text: Vec::new().into(), next: 0 });
        }
        let shared = decode_ints(take_block(reader)?, count)?.into_iter();
        let further = decode_ints(take_block(reader)?, count)?.into_iter();
        Ok(Self { shared, further, text: reader.section()?, next: 0 })
    }

    /// Writes the next key; `before` is the one before it in `out`.
    fn next_into(&mut self, before: &std::ops::Range<usize>, out: &mut Vec<u8>) -> Decoded<()> {
        const WRONG: Malformed = Malformed("a key longer than its block allows");
        let shared = self.shared.next().and_then(|n| usize::try_from(n).ok()).ok_or(WRONG)?;
        let further = self.further.next().and_then(|n| usize::try_from(n).ok()).ok_or(WRONG)?;
        if shared > before.len() || further > KEY_BYTES_MAX || shared + further > KEY_BYTES_MAX {
            return Err(WRONG);
        }
        let rest = self.text.get(self.next..self.next + further).ok_or(WRONG)?;
        out.extend_from_within(before.start..before.start + shared);
        out.extend_from_slice(rest);
        self.next += further;
        Ok(())
    }

    fn end(&self) -> Decoded<()> {
        if self.next == self.text.len() { Ok(()) } else { Err(Malformed("text after the last key")) }
    }
}
