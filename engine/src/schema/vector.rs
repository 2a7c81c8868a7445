//! Values of one column as a query sees them: decoded, but strings still as codes where possible.

use std::sync::Arc;

use hashbrown::HashMap;

use super::column::{Bitmap, BytesColumn};
use super::document::Scalar;

/// The code that stands for an absent value.
pub const NULL_CODE: u32 = u32::MAX;

/// The values of one column in one granule or memtable chunk. One value a row.
#[derive(Debug, Clone)]
pub enum ColumnVector {
    /// Instants and signed numbers, with presence where a value may be absent.
    I64(Vec<i64>, Option<Bitmap>),
    /// Unsigned numbers.
    U64(Vec<u64>, Option<Bitmap>),
    /// Doubles.
    F64(Vec<f64>, Option<Bitmap>),
    /// Codes of the tenant dictionary; [`NULL_CODE`] is absent.
    Codes(Vec<u32>),
    /// Codes into `values`, which are distinct; [`NULL_CODE`] is absent.
    Dict {
        /// One code a row.
        codes: Vec<u32>,
        /// The distinct values, by code.
        values: Arc<BytesColumn>,
    },
    /// Text, bytes or encoded documents.
    Bytes(Arc<BytesColumn>),
    /// A path of a document whose values are of several types, or not text; `None` is absent.
    Scalars(Vec<Option<Scalar>>),
}

impl ColumnVector {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        match self {
            Self::I64(v, _) => v.len(),
            Self::U64(v, _) => v.len(),
            Self::F64(v, _) => v.len(),
            Self::Codes(v) => v.len(),
            Self::Dict { codes, .. } => codes.len(),
            Self::Bytes(v) => v.len(),
            Self::Scalars(v) => v.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ColumnVector {
    /// Text as codes of its own, in the order of first sight.
    pub fn dictionary<'a>(texts: impl Iterator<Item = Option<&'a [u8]>>) -> Self {
        let mut codes = Vec::with_capacity(texts.size_hint().0);
        let mut values = BytesColumn::new();
        let mut seen: HashMap<&[u8], u32> = HashMap::new();
        for text in texts {
            codes.push(match text {
                None => NULL_CODE,
                Some(text) => *seen.entry(text).or_insert_with(|| {
                    values.push(Some(text));
                    u32::try_from(values.len() - 1).unwrap_or(NULL_CODE)
                }),
            });
        }
        Self::Dict { codes, values: Arc::new(values) }
    }

    /// No value in any row, as [`Self::from_scalars`] answers it.
    pub fn absent(rows: usize) -> Self {
        Self::Dict { codes: vec![NULL_CODE; rows], values: Arc::new(BytesColumn::new()) }
    }

    /// The tightest form for the leaves of a path: a dictionary when all are text, numbers with
    /// presence when all are of one kind, else the leaves as they are.
    pub fn from_scalars(leaves: Vec<Option<Scalar>>) -> Self {
        let all = |test: fn(&Scalar) -> bool| leaves.iter().flatten().all(test);
        if all(|s| matches!(s, Scalar::Str(_))) {
            return Self::dictionary(leaves.iter().map(|leaf| match leaf {
                Some(Scalar::Str(text)) => Some(text.as_bytes()),
                _ => None,
            }));
        }
        if all(|s| matches!(s, Scalar::I64(_))) {
            let (values, present) = numbers(&leaves, |s| if let Scalar::I64(n) = s { *n } else { 0 });
            return Self::I64(values, Some(present));
        }
        if all(|s| matches!(s, Scalar::F64(_))) {
            let (values, present) = numbers(&leaves, |s| if let Scalar::F64(n) = s { *n } else { 0.0 });
            return Self::F64(values, Some(present));
        }
        Self::Scalars(leaves)
    }
}

fn numbers<T: Default>(leaves: &[Option<Scalar>], value: impl Fn(&Scalar) -> T) -> (Vec<T>, Bitmap) {
    let mut present = Bitmap::default();
    let values = leaves
        .iter()
        .map(|leaf| {
            present.push(leaf.is_some());
            leaf.as_ref().map(&value).unwrap_or_default()
        })
        .collect();
    (values, present)
}
