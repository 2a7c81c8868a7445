//! Shredding: the documents of a granule as typed sub-columns and a residual, and back.
//!
//! A path is the list of keys that lead to a leaf; a leaf is anything but an object with members. A
//! path whose text, i64, f64 or bool leaves are in at least 1 % of the granule's rows becomes a
//! sub-column for each of these types; at most [`PATHS_MAX`] paths, the most frequent first. All other
//! leaves (null, lists, objects without members, numbers above `i64::MAX`, rare paths) stay in the
//! residual document of their row.
//!
//! Nothing is lost: a row's document is made of its leaves, which lie apart or in the residual, never
//! in both. An object that has lost all its leaves is made again from their paths; one that never had
//! any is a leaf itself. A document that is no object, or not canonical, is its own residual.

use std::hash::BuildHasher;
use std::ops::Range;

use hashbrown::{DefaultHashBuilder, HashMap};

use crate::codec::{Decoded, Malformed};
use crate::schema::leaves::{Leaf, put_leaves, walk_leaves};
use crate::schema::{Bitmap, BytesColumn};

/// Most paths of a granule that are shredded.
pub(super) const PATHS_MAX: usize = 256;

/// A path is shredded when it is in one of so many rows.
const ROWS_PER_PRESENT: usize = 100;

/// Longest path that is shredded, in bytes of its keys.
const PATH_BYTES_MAX: usize = 1024;

/// The values of one type at one path: those that are there, and in which rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sparse<T> {
    pub(super) values: Vec<T>,
    pub(super) present: Bitmap,
}

impl<T> Sparse<T> {
    fn new() -> Self {
        Self { values: Vec::new(), present: Bitmap::default() }
    }

    fn set(&mut self, row: usize, value: T) {
        while self.present.len() < row {
            self.present.push(false);
        }
        self.present.push(true);
        self.values.push(value);
    }

    fn finish(mut self, rows: usize) -> Option<Self> {
        while self.present.len() < rows {
            self.present.push(false);
        }
        (!self.values.is_empty()).then_some(self)
    }
}

/// One path with its sub-columns, one for each type that occurs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ShreddedPath {
    pub(super) keys: Vec<String>,
    /// Whether the residual has something at this path, or below it.
    pub(super) in_residual: bool,
    pub(super) text: Option<BytesColumn>,
    pub(super) i64: Option<Sparse<i64>>,
    pub(super) f64: Option<Sparse<f64>>,
    pub(super) bool: Option<Sparse<bool>>,
}

/// The documents of a granule, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shredded {
    /// Sorted by keys.
    pub(super) paths: Vec<ShreddedPath>,
    /// One document a row; absent where nothing is left. `None` when nothing is left in any row.
    pub(super) residual: Option<BytesColumn>,
}

/// How often a path occurs.
#[derive(Default)]
struct Tally<'a> {
    /// Leaves that can be shredded.
    leaves: usize,
    /// The path, once it occurs often enough to be shredded.
    keys: Option<Vec<&'a str>>,
}

/// The paths of a granule that are shredded, sorted by keys.
///
/// Paths are counted by a hash of their keys: under two million different ones, which 8,192 documents can have,
/// a granule takes some tens of MiB. Paths of one hash count as one, which costs density and no value.
fn choose(documents: &BytesColumn) -> Vec<Vec<&str>> {
    let rows_min = documents.len().div_ceil(ROWS_PER_PRESENT).max(1);
    let hasher = DefaultHashBuilder::default();
    let mut tallies: HashMap<u64, Tally<'_>> = HashMap::new();
    for document in documents.iter().flatten() {
        // What a damaged document had before its damage counts; it costs no more than a path too many.
        let _ = walk_leaves(document, |keys, leaf| {
            if matches!(leaf, Leaf::Encoded(_)) || keys.is_empty() {
                return;
            }
            let tally = tallies.entry(hasher.hash_one(keys)).or_default();
            tally.leaves += 1;
            if tally.leaves >= rows_min && tally.keys.is_none() {
                tally.keys = Some(keys.to_vec());
            }
        });
    }
    let often = tallies.into_values().filter_map(|tally| Some((tally.leaves, tally.keys?)));
    let short = |keys: &[&str]| keys.iter().map(|k| k.len()).sum::<usize>() <= PATH_BYTES_MAX;
    let mut chosen: Vec<(usize, Vec<&str>)> = often.filter(|(_, keys)| short(keys)).collect();
    chosen.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    chosen.truncate(PATHS_MAX);
    let mut paths: Vec<Vec<&str>> = chosen.into_iter().map(|(_, keys)| keys).collect();
    paths.sort();
    paths
}

/// A path that is being filled.
struct OpenPath {
    text: BytesColumn,
    i64: Sparse<i64>,
    f64: Sparse<f64>,
    bool: Sparse<bool>,
    in_residual: bool,
}

impl OpenPath {
    fn new() -> Self {
        Self {
            text: BytesColumn::new(),
            i64: Sparse::new(),
            f64: Sparse::new(),
            bool: Sparse::new(),
            in_residual: false,
        }
    }

    /// Adds a leaf of one of the four types.
    fn set(&mut self, row: usize, leaf: &Leaf<'_>) {
        match leaf {
            Leaf::Text(text) => {
                while self.text.len() < row {
                    self.text.push(None);
                }
                self.text.push(Some(text.as_bytes()));
            }
            Leaf::I64(n) => self.i64.set(row, *n),
            Leaf::F64(n) => self.f64.set(row, *n),
            Leaf::Bool(b) => self.bool.set(row, *b),
            Leaf::Encoded(_) => {}
        }
    }

    fn finish(mut self, keys: &[&str], rows: usize) -> ShreddedPath {
        let text = (!self.text.is_empty()).then(|| {
            while self.text.len() < rows {
                self.text.push(None);
            }
            self.text
        });
        ShreddedPath {
            keys: keys.iter().map(|k| (*k).to_owned()).collect(),
            in_residual: self.in_residual,
            text,
            i64: self.i64.finish(rows),
            f64: self.f64.finish(rows),
            bool: self.bool.finish(rows),
        }
    }
}

/// The leaves of one document that stay in the residual: the keys of all of them in one list.
#[derive(Default)]
struct Left<'a> {
    keys: Vec<&'a str>,
    leaves: Vec<(Range<usize>, Leaf<'a>)>,
}

impl<'a> Left<'a> {
    fn clear(&mut self) {
        self.keys.clear();
        self.leaves.clear();
    }

    fn push(&mut self, keys: &[&'a str], leaf: Leaf<'a>) {
        let start = self.keys.len();
        self.keys.extend_from_slice(keys);
        self.leaves.push((start..self.keys.len(), leaf));
    }

    fn leaves(&self) -> Vec<(&[&'a str], Leaf<'a>)> {
        let keys = |range: &Range<usize>| self.keys.get(range.clone()).unwrap_or(&[]);
        self.leaves.iter().map(|(range, leaf)| (keys(range), *leaf)).collect()
    }
}

/// Takes the documents of a granule apart.
pub(super) fn shred(documents: &BytesColumn) -> Shredded {
    let chosen = choose(documents);
    let by_keys: HashMap<&[&str], usize> =
        chosen.iter().enumerate().map(|(slot, keys)| (keys.as_slice(), slot)).collect();
    let mut open: Vec<OpenPath> = chosen.iter().map(|_| OpenPath::new()).collect();
    let mut residual = BytesColumn::new();
    let (mut taken, mut left) = (Vec::new(), Left::default());
    let mut buffer = Vec::new();
    for (row, document) in documents.iter().enumerate() {
        taken.clear();
        left.clear();
        let Some(bytes) = document else {
            residual.push(None);
            continue;
        };
        let walked = walk_leaves(bytes, |keys, leaf| match by_keys.get(keys) {
            Some(slot) if !matches!(leaf, Leaf::Encoded(_)) => taken.push((*slot, leaf)),
            _ => left.push(keys, leaf),
        });
        if walked.is_err() {
            for path in &mut open {
                path.in_residual = true;
            }
            residual.push(Some(bytes));
            continue;
        }
        for (slot, leaf) in &taken {
            if let Some(path) = open.get_mut(*slot) {
                path.set(row, leaf);
            }
        }
        let leaves = left.leaves();
        for (keys, _) in &leaves {
            for prefix in (1..=keys.len()).filter_map(|len| keys.get(..len)) {
                if let Some(path) = by_keys.get(prefix).and_then(|slot| open.get_mut(*slot)) {
                    path.in_residual = true;
                }
            }
        }
        buffer.clear();
        let whole = !leaves.is_empty() && put_leaves(&leaves, &mut buffer).is_ok();
        residual.push(whole.then_some(buffer.as_slice()));
    }
    let finished = chosen.iter().zip(open).map(|(keys, path)| path.finish(keys, documents.len()));
    // All leaves of a path may lie in documents that are damaged.
    let paths = finished.filter(ShreddedPath::has_values).collect();
    let has_residual = residual.present().count_ones() > 0;
    Shredded { paths, residual: has_residual.then_some(residual) }
}

impl Shredded {
    /// Makes the documents of `rows` rows again.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when leaves contradict one another.
    pub(super) fn assemble(&self, rows: usize) -> Decoded<BytesColumn> {
        let mut out = BytesColumn::new();
        let mut cursors = vec![[0_usize; 3]; self.paths.len()];
        let mut document = Vec::new();
        let mut typed: Vec<(Vec<&str>, Leaf<'_>)> = Vec::new();
        for row in 0..rows {
            typed.clear();
            for (path, cursor) in self.paths.iter().zip(&mut cursors) {
                path.take_leaves(row, cursor, &mut typed)?;
            }
            let residual = self.residual.as_ref().and_then(|r| r.get(row));
            if typed.is_empty() {
                out.push(residual);
                continue;
            }
            if let Some(residual) = residual {
                walk_leaves(residual, |keys, leaf| typed.push((keys.to_vec(), leaf)))?;
                typed.sort_by(|a, b| a.0.cmp(&b.0));
            }
            let leaves: Vec<(&[&str], Leaf<'_>)> =
                typed.iter().map(|(k, leaf)| (k.as_slice(), *leaf)).collect();
            document.clear();
            put_leaves(&leaves, &mut document)?;
            out.push(Some(&document));
        }
        Ok(out)
    }
}

impl ShreddedPath {
    fn has_values(&self) -> bool {
        self.text.is_some() || self.i64.is_some() || self.f64.is_some() || self.bool.is_some()
    }

    /// Adds the leaves of a row; `cursor` counts the present values before it, of each sparse type.
    fn take_leaves<'a>(
        &'a self,
        row: usize,
        cursor: &mut [usize; 3],
        out: &mut Vec<(Vec<&'a str>, Leaf<'a>)>,
    ) -> Decoded<()> {
        let keys = || self.keys.iter().map(String::as_str).collect::<Vec<_>>();
        let [i64s, f64s, bools] = cursor;
        if let Some(bytes) = self.text.as_ref().and_then(|t| t.get(row)) {
            let text = std::str::from_utf8(bytes).map_err(|_| Malformed("text that is not UTF-8"))?;
            out.push((keys(), Leaf::Text(text)));
        }
        if let Some(n) = next(self.i64.as_ref(), row, i64s) {
            out.push((keys(), Leaf::I64(n)));
        }
        if let Some(n) = next(self.f64.as_ref(), row, f64s) {
            out.push((keys(), Leaf::F64(n)));
        }
        if let Some(b) = next(self.bool.as_ref(), row, bools) {
            out.push((keys(), Leaf::Bool(b)));
        }
        Ok(())
    }
}

fn next<T: Copy>(sparse: Option<&Sparse<T>>, row: usize, cursor: &mut usize) -> Option<T> {
    let sparse = sparse.filter(|s| s.present.get(row))?;
    let value = sparse.values.get(*cursor).copied();
    *cursor += 1;
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::schema::document::tests::any_value;
    use crate::schema::{Document, Value};

    fn column(documents: &[Option<Value>]) -> BytesColumn {
        let mut out = BytesColumn::new();
        for document in documents {
            out.push(document.as_ref().map(|v| Document::encode(v).as_bytes().to_vec()).as_deref());
        }
        out
    }

    fn check(documents: &[Option<Value>]) -> Shredded {
        let documents = column(documents);
        let shredded = shred(&documents);
        assert_eq!(shredded.assemble(documents.len()).unwrap(), documents);
        shredded
    }

    fn text(text: &str) -> Value {
        Value::Str(text.to_owned())
    }

    fn object(members: &[(&str, Value)]) -> Value {
        Value::Object(members.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect())
    }

    #[test]
    fn a_path_of_several_types_is_split_by_type() {
        let shredded = check(&[
            Some(object(&[("a", Value::I64(1))])),
            Some(object(&[("a", text("x"))])),
            None,
            Some(object(&[("a", Value::F64(1.0)), ("b", object(&[("c", Value::Bool(true))]))])),
        ]);
        let [a, bc] = &shredded.paths[..] else { panic!("{shredded:?}") };
        assert_eq!(
            (a.text.is_some(), a.i64.is_some(), a.f64.is_some(), a.bool.is_some()),
            (true, true, true, false)
        );
        assert_eq!(bc.keys, ["b", "c"]);
        assert_eq!(shredded.residual, None);
    }

    #[test]
    fn what_has_no_type_stays_in_the_residual() {
        let shredded = check(&[
            Some(object(&[])),
            Some(object(&[("a", object(&[]))])),
            Some(object(&[("a", object(&[("b", Value::I64(1))]))])),
            Some(object(&[("a", Value::Null)])),
            Some(object(&[("a", object(&[("b", Value::I64(1)), ("c", Value::Array(vec![Value::I64(2)]))]))])),
            Some(Value::U64(u64::MAX)),
            Some(Value::Str("no object".to_owned())),
            None,
        ]);
        assert_eq!(shredded.paths.len(), 1);
        assert!(!shredded.paths[0].in_residual, "nothing in the residual is at or below a.b");
    }

    #[test]
    fn a_path_that_is_a_leaf_here_and_an_object_there_is_known_to_be_in_the_residual() {
        let mut documents = vec![Some(object(&[("a", Value::I64(1))])); 500];
        documents.push(Some(object(&[("a", object(&[("rare", Value::I64(1))]))])));
        let shredded = check(&documents);
        assert_eq!(shredded.paths.len(), 1);
        assert!(shredded.paths[0].in_residual);
    }

    #[test]
    fn rare_paths_and_those_above_the_limit_are_not_shredded() {
        let documents: Vec<_> = (0..1000_i64)
            .map(|i| {
                let mut members = vec![(format!("rare-{i}"), Value::I64(i))];
                members.extend((0..300).map(|p| (format!("p{p}"), Value::I64(p))));
                Some(Value::Object(members))
            })
            .collect();
        let shredded = check(&documents);
        assert_eq!(shredded.paths.len(), PATHS_MAX);
        assert!(shredded.residual.is_some());
    }

    #[test]
    fn a_hundred_thousand_keys_leave_the_frequent_ones_shredded() {
        let documents: Vec<_> = (0..1000_i64)
            .map(|row| {
                let mut members: Vec<_> =
                    (0..100).map(|k| (format!("k{:06}", row * 100 + k), Value::I64(k))).collect();
                members.push(("page".to_owned(), text(&format!("/{}", row % 7))));
                Some(Value::Object(members))
            })
            .collect();
        let shredded = check(&documents);
        assert_eq!(shredded.paths.iter().map(|p| p.keys.join(".")).collect::<Vec<_>>(), ["page"]);
        assert!(!shredded.paths[0].in_residual, "the other keys do not lie at the path");
    }

    #[test]
    fn the_deepest_objects_come_back() {
        let deep = |depth: usize, leaf: i64| {
            (0..depth).fold(Value::I64(leaf), |inner, level| object(&[(&format!("level-{level}"), inner)]))
        };
        let depth = crate::schema::document::DOCUMENT_DEPTH_MAX;
        let documents: Vec<_> = (0..200).map(|row| Some(deep(depth - row % 3, 7))).collect();
        let shredded = check(&documents);
        assert_eq!(shredded.paths.len(), 3);
        let long = |row: i64| object(&[(&"k".repeat(PATH_BYTES_MAX + 1), Value::I64(row))]);
        assert_eq!(check(&(0..200).map(|row| Some(long(row))).collect::<Vec<_>>()).paths, []);
    }

    #[test]
    fn a_path_of_another_type_in_every_row_comes_back() {
        let documents: Vec<_> = (0..600_i64)
            .map(|row| {
                let value = match row % 7 {
                    0 => Value::I64(row),
                    1 => Value::F64(0.5),
                    2 => text("two"),
                    3 => Value::Bool(row % 2 == 1),
                    4 => Value::Null,
                    5 => Value::Array(vec![Value::I64(row)]),
                    _ => object(&[("below", Value::I64(row))]),
                };
                Some(object(&[("a", value)]))
            })
            .collect();
        let shredded = check(&documents);
        assert_eq!(shredded.paths.len(), 2);
        assert!(shredded.paths[0].in_residual, "nulls and lists lie at the path");
    }

    #[test]
    fn bytes_that_are_no_document_come_back_as_they_are() {
        let mut documents = column(&[Some(object(&[("a", Value::I64(1))]))]);
        documents.push(Some(&[3, 0x80, 0]));
        documents.push(Some(&[]));
        let shredded = shred(&documents);
        assert_eq!(shredded.assemble(3).unwrap(), documents);
        assert!(shredded.paths[0].in_residual);
    }

    proptest! {
        #[test]
        fn any_documents_come_back(documents in prop::collection::vec(prop::option::of(any_value()), 0..12)) {
            check(&documents);
        }

        #[test]
        fn rare_and_frequent_documents_come_back(
            frequent in any_value(), rare in prop::collection::vec(any_value(), 1..4),
        ) {
            let mut documents = vec![Some(frequent); 150];
            documents.extend(rare.into_iter().map(Some));
            check(&documents);
        }
    }
}
