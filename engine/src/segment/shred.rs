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

use hashbrown::HashMap;

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

/// A leaf with the number of its path.
type PathLeaf<'a> = (usize, Leaf<'a>);

/// All leaves of a granule.
struct Leaves<'a> {
    paths: Vec<Vec<&'a str>>,
    /// Of each path the leaves that can be shredded.
    counts: Vec<usize>,
    /// Of each row its leaves, in order; `Err` for bytes that are no canonical document.
    rows: Vec<Result<Vec<PathLeaf<'a>>, &'a [u8]>>,
}

impl<'a> Leaves<'a> {
    fn of(documents: &'a BytesColumn) -> Self {
        let mut out =
            Self { paths: Vec::new(), counts: Vec::new(), rows: Vec::with_capacity(documents.len()) };
        let mut numbers: HashMap<Vec<&'a str>, usize> = HashMap::new();
        for document in documents.iter() {
            let mut leaves = Vec::new();
            let walked = walk_leaves(document.unwrap_or(&[]), |keys, leaf| {
                let number = numbers.get(keys).copied().unwrap_or_else(|| {
                    out.paths.push(keys.to_vec());
                    numbers.insert(keys.to_vec(), out.paths.len() - 1);
                    out.paths.len() - 1
                });
                leaves.push((number, leaf));
            });
            out.rows.push(match document {
                Some(bytes) if walked.is_err() => Err(bytes),
                Some(_) => Ok(leaves),
                None => Ok(Vec::new()),
            });
        }
        out.counts = vec![0; out.paths.len()];
        for (path, leaf) in out.rows.iter().flatten().flatten() {
            if !matches!(leaf, Leaf::Encoded(_))
                && let Some(count) = out.counts.get_mut(*path)
            {
                *count += 1;
            }
        }
        out
    }

    /// The paths that are shredded, sorted by keys.
    fn choose(&self) -> Vec<usize> {
        let rows_min = self.rows.len().div_ceil(ROWS_PER_PRESENT).max(1);
        let mut chosen: Vec<(usize, usize, &Vec<&str>)> = (0..)
            .zip(self.counts.iter().zip(&self.paths))
            .filter(|(_, (count, keys))| {
                let bytes: usize = keys.iter().map(|k| k.len()).sum();
                **count >= rows_min && !keys.is_empty() && bytes <= PATH_BYTES_MAX
            })
            .map(|(number, (count, keys))| (number, *count, keys))
            .collect();
        chosen.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.2.cmp(b.2)));
        chosen.truncate(PATHS_MAX);
        chosen.sort_by(|a, b| a.2.cmp(b.2));
        chosen.into_iter().map(|(number, ..)| number).collect()
    }
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

    /// Adds a leaf; false when it has none of the four types.
    fn set(&mut self, row: usize, leaf: &Leaf<'_>) -> bool {
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
            Leaf::Encoded(_) => return false,
        }
        true
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

/// Takes the documents of a granule apart.
pub(super) fn shred(documents: &BytesColumn) -> Shredded {
    let leaves = Leaves::of(documents);
    let chosen = leaves.choose();
    let mut open: Vec<OpenPath> = chosen.iter().map(|_| OpenPath::new()).collect();
    // Of each path of the granule its place among the chosen ones.
    let mut slots: Vec<Option<usize>> = vec![None; leaves.paths.len()];
    let mut by_keys: HashMap<&[&str], usize> = HashMap::new();
    for (slot, &number) in chosen.iter().enumerate() {
        if let (Some(place), Some(keys)) = (slots.get_mut(number), leaves.paths.get(number)) {
            *place = Some(slot);
            by_keys.insert(keys, slot);
        }
    }
    let mut residual = BytesColumn::new();
    let mut left: Vec<(&[&str], Leaf<'_>)> = Vec::new();
    let mut buffer = Vec::new();
    for (row, document) in leaves.rows.iter().enumerate() {
        left.clear();
        let Ok(document) = document.as_ref().map_err(|bytes| residual.push(Some(bytes))) else {
            for path in &mut open {
                path.in_residual = true;
            }
            continue;
        };
        for (number, leaf) in document {
            let slot = slots.get(*number).copied().flatten().and_then(|slot| open.get_mut(slot));
            if slot.is_some_and(|path| path.set(row, leaf)) {
                continue;
            }
            let keys = leaves.paths.get(*number).map_or(&[][..], Vec::as_slice);
            for prefix in (1..=keys.len()).filter_map(|len| keys.get(..len)) {
                if let Some(path) = by_keys.get(prefix).and_then(|slot| open.get_mut(*slot)) {
                    path.in_residual = true;
                }
            }
            left.push((keys, *leaf));
        }
        buffer.clear();
        let whole = !left.is_empty() && put_leaves(&left, &mut buffer).is_ok();
        residual.push(whole.then_some(buffer.as_slice()));
    }
    let paths = chosen
        .iter()
        .zip(open)
        .map(|(number, path)| {
            path.finish(leaves.paths.get(*number).map_or(&[], Vec::as_slice), documents.len())
        })
        .collect();
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

    fn object(members: &[(&str, Value)]) -> Value {
        Value::Object(members.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect())
    }

    #[test]
    fn a_path_of_several_types_is_split_by_type() {
        let text = |s: &str| Value::Str(s.to_owned());
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
