//! Writes canonical documents while a parser streams: no tree, and buffers that are used again.

use std::ops::Range;

use super::document::put_varint;

/// Writes documents value by value, straight into their canonical bytes.
///
/// The values that are added one after the other are documents one after the other in one buffer;
/// [`Self::len`] before and after tells where each of them is. Members of an object may come in any
/// order and more than once: they are sorted, and the last of equal keys kept, when the object ends.
///
/// Calls that do not nest into a whole value (a key outside of an object, an `end` too many) are
/// mistakes of the caller and give bytes that are no document; they never panic.
#[derive(Debug, Default)]
pub struct DocumentEncoder {
    out: Vec<u8>,
    open: Vec<Open>,
    members: Vec<Member>,
    sorted: Vec<u8>,
}

/// An object or array that has not ended.
#[derive(Debug)]
struct Open {
    /// Where its tag is; the count is inserted behind it at the end.
    tag_at: usize,
    /// Values of an array.
    items: u64,
    /// Where its members start in the encoder's list; `None` for an array.
    members_from: Option<usize>,
}

/// Where a member of an open object is.
#[derive(Debug, Clone)]
struct Member {
    /// Its key.
    key: Range<usize>,
    /// Its key's length, key and value; the end is known when the next member starts.
    bytes: Range<usize>,
}

impl DocumentEncoder {
    /// An encoder without bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything and keeps the buffers.
    pub fn clear(&mut self) {
        self.out.clear();
        self.open.clear();
        self.members.clear();
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// The bytes of all documents.
    pub fn as_bytes(&self) -> &[u8] {
        &self.out
    }

    /// Takes back everything from byte `len` on, which is where a document began, open parts included.
    pub fn truncate(&mut self, len: usize) {
        self.out.truncate(len);
        self.open.retain(|open| open.tag_at < len);
        self.members.retain(|member| member.bytes.start < len);
    }

    /// Opens an object.
    pub fn begin_object(&mut self) {
        let members_from = Some(self.members.len());
        self.begin(8, members_from);
    }

    /// Opens an array.
    pub fn begin_array(&mut self) {
        self.begin(7, None);
    }

    fn begin(&mut self, tag: u8, members_from: Option<usize>) {
        self.count_item();
        self.open.push(Open { tag_at: self.out.len(), items: 0, members_from });
        self.out.push(tag);
    }

    /// Names the next member of the open object.
    pub fn key(&mut self, key: &str) {
        let start = self.out.len();
        put_varint(key.len() as u64, &mut self.out);
        let key_start = self.out.len();
        self.out.extend_from_slice(key.as_bytes());
        if let Some(Open { members_from: Some(from), .. }) = self.open.last() {
            self.end_member(*from, start);
            self.members.push(Member { key: key_start..self.out.len(), bytes: start..start });
        }
    }

    /// Adds a null.
    pub fn null(&mut self) {
        self.leaf(0);
    }

    /// Adds true or false.
    pub fn bool(&mut self, b: bool) {
        self.leaf(if b { 2 } else { 1 });
    }

    /// Adds a whole number.
    pub fn i64(&mut self, n: i64) {
        self.leaf(3);
        put_varint((n.wrapping_shl(1) ^ (n >> 63)).cast_unsigned(), &mut self.out);
    }

    /// Adds a whole number that may be above `i64::MAX`.
    pub fn u64(&mut self, n: u64) {
        if let Ok(small) = i64::try_from(n) {
            self.i64(small);
        } else {
            self.leaf(4);
            put_varint(n, &mut self.out);
        }
    }

    /// Adds a double.
    pub fn f64(&mut self, n: f64) {
        self.leaf(5);
        self.out.extend_from_slice(&n.to_bits().to_le_bytes());
    }

    /// Adds text.
    pub fn str(&mut self, text: &str) {
        self.leaf(6);
        put_varint(text.len() as u64, &mut self.out);
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Closes the open object or array.
    pub fn end(&mut self) {
        let Some(open) = self.open.pop() else { return };
        let count = match open.members_from {
            Some(from) => self.sort_members(from, open.tag_at + 1),
            None => open.items,
        };
        self.insert_count(open.tag_at + 1, count);
    }

    fn leaf(&mut self, tag: u8) {
        self.count_item();
        self.out.push(tag);
    }

    fn count_item(&mut self) {
        if let Some(open) = self.open.last_mut() {
            open.items += 1;
        }
    }

    /// Writes down where the member before `at` ended.
    fn end_member(&mut self, from: usize, at: usize) {
        if let Some(last) = self.members.get_mut(from..).and_then(<[_]>::last_mut) {
            last.bytes.end = at;
        }
    }

    /// Puts the members of the object that ends into order; returns how many are left.
    fn sort_members(&mut self, from: usize, body_at: usize) -> u64 {
        self.end_member(from, self.out.len());
        let (out, sorted) = (&mut self.out, &mut self.sorted);
        let mut count = (self.members.len() - from) as u64;
        let members = self.members.get_mut(from..).unwrap_or_default();
        let key = |member: &Member| out.get(member.key.clone()).unwrap_or_default();
        if !members.is_sorted_by(|a, b| key(a) < key(b)) {
            // Stable, so of equal keys the last one stays last.
            members.sort_by(|a, b| key(a).cmp(key(b)));
            sorted.clear();
            count = 0;
            for (index, member) in members.iter().enumerate() {
                if members.get(index + 1).is_none_or(|next| key(next) != key(member)) {
                    sorted.extend_from_slice(out.get(member.bytes.clone()).unwrap_or_default());
                    count += 1;
                }
            }
            out.truncate(body_at);
            out.extend_from_slice(sorted);
        }
        self.members.truncate(from);
        count
    }

    /// Makes room for the varint of a count at `at`, and writes it.
    ///
    /// Nothing that is still open remembers a place behind `at`, so moving bytes is safe.
    fn insert_count(&mut self, at: usize, count: u64) {
        let body_end = self.out.len();
        put_varint(count, &mut self.out);
        let len = self.out.len() - body_end;
        if let Some(tail) = self.out.get_mut(at..) {
            tail.rotate_right(len);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::document::{Document, Value};
    use super::*;

    fn write(value: &Value, encoder: &mut DocumentEncoder) {
        match value {
            Value::Null => encoder.null(),
            Value::Bool(b) => encoder.bool(*b),
            Value::I64(n) => encoder.i64(*n),
            Value::U64(n) => encoder.u64(*n),
            Value::F64(n) => encoder.f64(*n),
            Value::Str(s) => encoder.str(s),
            Value::Array(items) => {
                encoder.begin_array();
                for item in items {
                    write(item, encoder);
                }
                encoder.end();
            }
            Value::Object(members) => {
                encoder.begin_object();
                for (key, value) in members {
                    encoder.key(key);
                    write(value, encoder);
                }
                encoder.end();
            }
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::I64),
            any::<u64>().prop_map(Value::U64),
            (-1e300..1e300).prop_map(Value::F64),
            ".{0,12}".prop_map(Value::Str),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
                prop::collection::vec(("[a-d]{0,2}", inner), 0..8).prop_map(Value::Object),
            ]
        })
    }

    proptest! {
        #[test]
        fn streaming_writes_the_bytes_that_a_tree_writes(values in prop::collection::vec(any_value(), 1..4)) {
            let mut encoder = DocumentEncoder::new();
            for value in &values {
                let start = encoder.len();
                write(value, &mut encoder);
                let streamed = &encoder.as_bytes()[start..];
                let tree = Document::encode(value);
                prop_assert_eq!(streamed, tree.as_bytes());
                prop_assert!(Document::decode(streamed).is_ok());
            }
        }
    }

    #[test]
    fn many_members_need_a_longer_count_and_keep_their_order() {
        let members = (0..1_000).rev().map(|n| (format!("key{n:04}"), Value::I64(n))).collect();
        let value = Value::Object(vec![("inner".into(), Value::Object(members)), ("a".into(), Value::Null)]);
        let mut encoder = DocumentEncoder::new();
        write(&value, &mut encoder);
        assert_eq!(encoder.as_bytes(), Document::encode(&value).as_bytes());
    }

    #[test]
    fn a_document_that_was_begun_can_be_taken_back() {
        let mut encoder = DocumentEncoder::new();
        encoder.str("kept");
        let start = encoder.len();
        encoder.begin_object();
        encoder.key("a");
        encoder.begin_array();
        encoder.truncate(start);
        encoder.begin_object();
        encoder.end();
        assert_eq!(Document::decode(&encoder.as_bytes()[start..]).unwrap(), Value::Object(vec![]));
    }

    #[test]
    fn calls_that_do_not_nest_never_panic() {
        let mut encoder = DocumentEncoder::new();
        encoder.end();
        encoder.key("a");
        encoder.begin_array();
        encoder.key("b");
        encoder.end();
        encoder.end();
        assert!(!encoder.is_empty());
    }
}
