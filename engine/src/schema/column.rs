//! Values of one column in memory, in the form that batches and memtables hold.

use crate::error::{Error, Result};

/// A growing set of bits, one a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
    len: usize,
}

impl Bitmap {
    /// `len` bits that are all `bit`.
    pub fn filled(len: usize, bit: bool) -> Self {
        let mut out = Self { words: vec![if bit { u64::MAX } else { 0 }; len.div_ceil(64)], len };
        out.clear_tail();
        out
    }

    /// Adds a bit at the end.
    pub fn push(&mut self, bit: bool) {
        if self.len.is_multiple_of(64) {
            self.words.push(0);
        }
        if bit && let Some(word) = self.words.last_mut() {
            *word |= 1 << (self.len % 64);
        }
        self.len += 1;
    }

    /// The bit of row `index`; false past the end.
    pub fn get(&self, index: usize) -> bool {
        index < self.len && self.words.get(index / 64).is_some_and(|w| w >> (index % 64) & 1 == 1)
    }

    /// Sets the bit of row `index`, which exists.
    pub fn set(&mut self, index: usize, bit: bool) {
        if index < self.len
            && let Some(word) = self.words.get_mut(index / 64)
        {
            if bit { *word |= 1 << (index % 64) } else { *word &= !(1 << (index % 64)) }
        }
    }

    /// How many bits there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bits are set.
    pub fn count_ones(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// The bits as words, the first row in the lowest bit of the first; bits past the end are 0.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// A set from its words; bits past `len` are cleared.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when `words` are not exactly as many as `len` needs.
    pub fn from_words(words: Vec<u64>, len: usize) -> Result<Self> {
        if words.len() != len.div_ceil(64) {
            return Err(Error::invalid("a bitmap of the wrong length"));
        }
        let mut out = Self { words, len };
        out.clear_tail();
        Ok(out)
    }

    fn clear_tail(&mut self) {
        if !self.len.is_multiple_of(64)
            && let Some(word) = self.words.last_mut()
        {
            *word &= (1 << (self.len % 64)) - 1;
        }
    }
}

/// Byte strings one after the other, each present or absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BytesColumn {
    /// Where each value ends in `bytes`; an absent value is empty.
    ends: Vec<u32>,
    bytes: Vec<u8>,
    present: Bitmap,
}

impl Default for BytesColumn {
    fn default() -> Self {
        Self::new()
    }
}

impl BytesColumn {
    /// No value.
    pub fn new() -> Self {
        Self { ends: Vec::new(), bytes: Vec::new(), present: Bitmap::default() }
    }

    /// No value yet, and room for `rows` values of `bytes` together.
    pub fn with_capacity(rows: usize, bytes: usize) -> Self {
        Self { ends: Vec::with_capacity(rows), bytes: Vec::with_capacity(bytes), present: Bitmap::default() }
    }

    /// `rows` values that are all absent.
    pub(crate) fn absent(rows: usize) -> Self {
        Self { ends: vec![0; rows], bytes: Vec::new(), present: Bitmap::filled(rows, false) }
    }

    /// These values.
    ///
    /// # Panics
    ///
    /// As [`Self::push`].
    pub(crate) fn of_values(values: &[Option<&[u8]>]) -> Self {
        let total: usize = values.iter().flatten().map(|value| value.len()).sum();
        assert!(u32::try_from(total).is_ok(), "a byte column stays under 4 GiB");
        let (mut bytes, mut ends) = (Vec::with_capacity(total), Vec::with_capacity(values.len()));
        let mut words = Vec::with_capacity(values.len().div_ceil(64));
        for of_word in values.chunks(64) {
            let mut word = 0;
            for (bit, value) in of_word.iter().enumerate() {
                if let Some(value) = value {
                    bytes.extend_from_slice(value);
                    word |= 1 << bit;
                }
                // Not past `total`.
                ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
            }
            words.push(word);
        }
        Self { ends, bytes, present: Bitmap { words, len: values.len() } }
    }

    /// A column from its parts.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the ends do not ascend within `bytes`, or the lengths differ.
    pub fn from_parts(ends: Vec<u32>, bytes: Vec<u8>, present: Bitmap) -> Result<Self> {
        let ascending = ends.is_sorted() && ends.last().map_or(0, |e| *e as usize) == bytes.len();
        if !ascending || ends.len() != present.len() {
            return Err(Error::invalid("a byte column whose parts do not fit"));
        }
        Ok(Self { ends, bytes, present })
    }

    /// Adds a value at the end.
    ///
    /// # Panics
    ///
    /// When the column would pass 4 GiB, which the limits on batches and segments exclude.
    pub fn push(&mut self, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.bytes.extend_from_slice(value);
        }
        let end = u32::try_from(self.bytes.len());
        assert!(end.is_ok(), "a byte column stays under 4 GiB");
        self.ends.push(end.unwrap_or(u32::MAX));
        self.present.push(value.is_some());
    }

    /// The value of row `index`; `None` when absent or past the end.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        if !self.present.get(index) {
            return None;
        }
        let end = *self.ends.get(index)? as usize;
        let start = if index == 0 { 0 } else { *self.ends.get(index - 1)? as usize };
        self.bytes.get(start..end)
    }

    /// The value of row `index` as text; `None` when absent or not UTF-8.
    pub fn get_str(&self, index: usize) -> Option<&str> {
        std::str::from_utf8(self.get(index)?).ok()
    }

    /// Every value, in order.
    pub fn iter(&self) -> impl Iterator<Item = Option<&[u8]>> + '_ {
        (0..self.len()).map(|i| self.get(i))
    }

    /// Adds the values of `other` at the end.
    ///
    /// # Panics
    ///
    /// As [`Self::push`].
    pub fn extend(&mut self, other: &Self) {
        let base = self.bytes.len();
        let total = u32::try_from(base + other.bytes.len());
        assert!(total.is_ok(), "a byte column stays under 4 GiB");
        let base = u32::try_from(base).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&other.bytes);
        self.ends.extend(other.ends.iter().map(|end| base + end));
        for row in 0..other.len() {
            self.present.push(other.present.get(row));
        }
    }

    /// Adds `rows` of `other` at the end; a row past the end of `other` is not added.
    ///
    /// # Panics
    ///
    /// As [`Self::push`].
    pub fn extend_rows(&mut self, other: &Self, rows: std::ops::Range<usize>) {
        let Some(ends) = other.ends.get(rows.clone()) else { return };
        let from = rows.start.checked_sub(1).and_then(|row| other.ends.get(row)).copied().unwrap_or(0);
        let to = ends.last().copied().unwrap_or(from);
        let base = u32::try_from(self.bytes.len()).ok().filter(|base| base.checked_add(to - from).is_some());
        assert!(base.is_some(), "a byte column stays under 4 GiB");
        let base = base.unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(other.bytes.get(from as usize..to as usize).unwrap_or(&[]));
        self.ends.extend(ends.iter().map(|end| base + (end - from)));
        for row in rows {
            self.present.push(other.present.get(row));
        }
    }

    /// Takes all values out; their memory stays for the next ones.
    pub fn clear(&mut self) {
        self.ends.clear();
        self.bytes.clear();
        self.present = Bitmap::default();
    }

    /// The values of `rows`, in that order; a row past the end is absent.
    #[must_use]
    pub fn take(&self, rows: &[u32]) -> Self {
        let mut out = Self::new();
        for row in rows {
            out.push(self.get(*row as usize));
        }
        out
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Where each value ends.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// All values, one after the other.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Which values are present.
    pub fn present(&self) -> &Bitmap {
        &self.present
    }

    /// Bytes of memory this takes.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.len() + self.ends.len() * 4 + self.ends.len() / 8
    }

    /// Gives back what growing took beyond the values.
    pub(crate) fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.present.words.shrink_to_fit();
    }
}

/// All values of one column of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// Instants and signed numbers.
    I64(Vec<i64>),
    /// Unsigned numbers.
    U64(Vec<u64>),
    /// Doubles.
    F64(Vec<f64>),
    /// Text, codes to be, documents.
    Bytes(BytesColumn),
}

impl Column {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        match self {
            Self::I64(v) => v.len(),
            Self::U64(v) => v.len(),
            Self::F64(v) => v.len(),
            Self::Bytes(v) => v.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds the values of `other`, which is of the same type, at the end.
    ///
    /// # Panics
    ///
    /// When it is of another type.
    pub fn extend(&mut self, other: &Self) {
        match (self, other) {
            (Self::I64(to), Self::I64(from)) => to.extend_from_slice(from),
            (Self::U64(to), Self::U64(from)) => to.extend_from_slice(from),
            (Self::F64(to), Self::F64(from)) => to.extend_from_slice(from),
            (Self::Bytes(to), Self::Bytes(from)) => to.extend(from),
            _ => panic!("columns of one type"),
        }
    }

    /// The values of `rows`, in that order.
    ///
    /// # Panics
    ///
    /// When there is no such row.
    #[must_use]
    pub fn take(&self, rows: &[u32]) -> Self {
        fn pick<T: Copy>(values: &[T], rows: &[u32]) -> Vec<T> {
            #[expect(clippy::indexing_slicing, reason = "the rows are those of the column")]
            rows.iter().map(|row| values[*row as usize]).collect()
        }
        match self {
            Self::I64(v) => Self::I64(pick(v, rows)),
            Self::U64(v) => Self::U64(pick(v, rows)),
            Self::F64(v) => Self::F64(pick(v, rows)),
            Self::Bytes(v) => Self::Bytes(v.take(rows)),
        }
    }

    /// Bytes of memory this takes.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::I64(v) => v.len() * 8,
            Self::U64(v) => v.len() * 8,
            Self::F64(v) => v.len() * 8,
            Self::Bytes(v) => v.memory_bytes(),
        }
    }

    /// Gives back what growing took beyond the values.
    pub(crate) fn shrink_to_fit(&mut self) {
        match self {
            Self::I64(v) => v.shrink_to_fit(),
            Self::U64(v) => v.shrink_to_fit(),
            Self::F64(v) => v.shrink_to_fit(),
            Self::Bytes(v) => v.shrink_to_fit(),
        }
    }

    /// Instants, when that is what it holds.
    pub fn as_i64(&self) -> Option<&[i64]> {
        if let Self::I64(v) = self { Some(v) } else { None }
    }

    /// Unsigned numbers, when that is what it holds.
    pub fn as_u64(&self) -> Option<&[u64]> {
        if let Self::U64(v) = self { Some(v) } else { None }
    }

    /// Doubles, when that is what it holds.
    pub fn as_f64(&self) -> Option<&[f64]> {
        if let Self::F64(v) = self { Some(v) } else { None }
    }

    /// Byte strings, when that is what it holds.
    pub fn as_bytes(&self) -> Option<&BytesColumn> {
        if let Self::Bytes(v) = self { Some(v) } else { None }
    }
}
