//! A document as the sorted list of its leaves, and back: what shredding takes apart and puts together.

use super::document::Scalar;
use super::document::{
    Reader, TAG_ARRAY, TAG_OBJECT, TAG_TEXT, check_depth, check_order, put_bool, put_f64, put_i64, put_key,
    put_object, put_text,
};
use crate::codec::{Decoded, Malformed};

/// What stands at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Leaf<'a> {
    /// Text.
    Text(&'a str),
    /// A number that fits an `i64`.
    I64(i64),
    /// A double, any bits.
    F64(f64),
    /// True or false.
    Bool(bool),
    /// Anything else, encoded: null, a number above `i64::MAX`, a list, an object without members.
    Encoded(&'a [u8]),
}

impl Leaf<'_> {
    fn encode(self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => put_text(text, out),
            Self::I64(n) => put_i64(n, out),
            Self::F64(n) => put_f64(n, out),
            Self::Bool(b) => put_bool(b, out),
            Self::Encoded(bytes) => out.extend_from_slice(bytes),
        }
    }
}

impl<'a> Reader<'a> {
    /// Gives every leaf to `each`, in order, with the keys that lead to it.
    fn walk(&mut self, keys: &mut Vec<&'a str>, each: &mut dyn FnMut(&[&'a str], Leaf<'a>)) -> Decoded<()> {
        check_depth(keys.len())?;
        let before = self.cursor.rest();
        let leaf = match self.cursor.u8()? {
            TAG_OBJECT => {
                let members = self.count()?;
                if members > 0 {
                    return self.walk_members(members, keys, each);
                }
                None
            }
            TAG_TEXT => Some(Leaf::Text(self.text()?)),
            TAG_ARRAY => {
                (0..self.count()?).try_for_each(|_| self.skip(keys.len() + 1))?;
                None
            }
            tag => match self.leaf(tag)? {
                Some(Scalar::Bool(b)) => Some(Leaf::Bool(b)),
                Some(Scalar::I64(n)) => Some(Leaf::I64(n)),
                Some(Scalar::F64(n)) => Some(Leaf::F64(n)),
                _ => None,
            },
        };
        let taken = before.len() - self.cursor.rest().len();
        each(keys, leaf.unwrap_or(Leaf::Encoded(before.get(..taken).unwrap_or(before))));
        Ok(())
    }

    fn walk_members(
        &mut self,
        members: usize,
        keys: &mut Vec<&'a str>,
        each: &mut dyn FnMut(&[&'a str], Leaf<'a>),
    ) -> Decoded<()> {
        let mut last = None;
        for _ in 0..members {
            let key = self.text()?;
            check_order(last.replace(key), key)?;
            keys.push(key);
            self.walk(keys, each)?;
            keys.pop();
        }
        Ok(())
    }
}

/// Gives every leaf of a document to `each`, in the order of their paths, with the keys that lead to
/// it: none for a document that is no object with members.
///
/// `each` may have seen leaves when the document turns out to be damaged.
pub(crate) fn walk_leaves<'a>(bytes: &'a [u8], mut each: impl FnMut(&[&'a str], Leaf<'a>)) -> Decoded<()> {
    let mut reader = Reader::new(bytes);
    reader.walk(&mut Vec::new(), &mut each)?;
    reader.cursor.end()
}

/// Writes the document that has these leaves, sorted by path; the inverse of [`walk_leaves`].
///
/// # Errors
///
/// [`Malformed`] when there is none, because a path is given twice or goes through another one's leaf.
pub(crate) fn put_leaves<K: AsRef<str>>(leaves: &[(&[K], Leaf<'_>)], out: &mut Vec<u8>) -> Decoded<()> {
    put_members(leaves, 0, out)
}

fn put_members<K: AsRef<str>>(leaves: &[(&[K], Leaf<'_>)], depth: usize, out: &mut Vec<u8>) -> Decoded<()> {
    if let [(keys, leaf)] = leaves
        && keys.len() == depth
    {
        leaf.encode(out);
        return Ok(());
    }
    check_depth(depth)?;
    if leaves.iter().any(|(keys, _)| keys.len() <= depth) {
        return Err(Malformed("a path that is a leaf and an object"));
    }
    let same = |a: &(&[K], Leaf<'_>), b: &(&[K], Leaf<'_>)| {
        a.0.get(depth).map(AsRef::as_ref) == b.0.get(depth).map(AsRef::as_ref)
    };
    put_object(leaves.chunk_by(same).count(), out);
    for group in leaves.chunk_by(same) {
        let key = group.first().and_then(|(keys, _)| keys.get(depth)).ok_or(Malformed("an empty object"))?;
        put_key(key.as_ref(), out);
        put_members(group, depth + 1, out)?;
    }
    Ok(())
}
