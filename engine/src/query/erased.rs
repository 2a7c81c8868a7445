//! The rows of a granule that an erasure hides, and audit records without their personal fields.

use std::sync::Arc;

use super::granule::Granule;
use super::plan::Slice;
use crate::catalog::policies::HiddenUser;
use crate::error::{Error, Result};
use crate::id::Stream;
use crate::schema::stream::{COMMITMENT, LSN, OBJECT_ID, OBJECT_TYPE, USER_ID};
use crate::schema::{Bitmap, BytesColumn, ColumnDef, ColumnId, ColumnType, ColumnVector, NULL_CODE, Schema};
use crate::sequencer::leaf::is_committed;

/// Whether objects of a type are users: `user`, or a dotted name that ends in it.
pub(crate) fn is_user_type(object_type: &[u8]) -> bool {
    object_type.rsplit(|b| *b == b'.').next().is_some_and(|last| last.eq_ignore_ascii_case(b"user"))
}

/// Whether an erased record comes without a column.
fn is_blanked(column: ColumnId) -> bool {
    is_committed(column) || column == COMMITMENT.id
}

impl Granule<'_> {
    /// Whether an erasure may change what a column of this granule says.
    pub(super) fn may_blank(&self, column: ColumnId) -> bool {
        self.fields.stream() == Stream::Audit && is_blanked(column) && self.may_hide()
    }

    /// Whether an erasure may hide rows of this granule.
    fn may_hide(&self) -> bool {
        self.slices.iter().any(|slice| !self.snapshot.hidden.users(slice.tenant).is_empty())
    }

    /// The rows that erasures hide, ascending. Of audit they are shown, without their personal fields.
    ///
    /// # Errors
    ///
    /// Those of the columns that tell whose rows they are, and of the dictionary.
    pub(super) fn hidden_rows(&mut self) -> Result<Arc<[u32]>> {
        if let Some(rows) = &self.hidden {
            return Ok(Arc::clone(rows));
        }
        let mut rows = Vec::new();
        for slice in self.slices {
            for user in self.snapshot.hidden.users(slice.tenant) {
                self.rows_of(slice, user, &mut rows)?;
            }
        }
        rows.sort_unstable();
        rows.dedup();
        let rows: Arc<[u32]> = rows.into();
        self.hidden = Some(Arc::clone(&rows));
        Ok(rows)
    }

    /// Adds the rows of a slice that are of or about a user.
    fn rows_of(&self, slice: &Slice, user: &HiddenUser, out: &mut Vec<u32>) -> Result<()> {
        let lsns = self.raw(&LSN)?;
        let ColumnVector::U64(lsns, _) = &*lsns else {
            return Err(Error::invalid("a part whose LSNs are no numbers"));
        };
        let mut add = |row: usize| {
            if lsns.get(row).is_some_and(|lsn| *lsn <= user.bound.0) {
                out.extend(u32::try_from(row));
            }
        };
        self.matches(&USER_ID, slice, &user.user)?.into_iter().for_each(&mut add);
        if self.fields.stream() == Stream::Audit {
            let about = self.matches(&OBJECT_ID, slice, &user.user)?;
            if !about.is_empty() {
                let types = self.raw(&OBJECT_TYPE)?;
                for row in about {
                    if self.text(&types, &OBJECT_TYPE, slice, row)?.is_some_and(|t| is_user_type(&t)) {
                        add(row);
                    }
                }
            }
        }
        Ok(())
    }

    /// A whole column as the part has it.
    fn raw(&self, def: &ColumnDef) -> Result<Arc<ColumnVector>> {
        self.part.column(self.fields.stream(), def.id, self.index)
    }

    /// The rows of a slice where a column of identities has a value.
    fn matches(&self, def: &ColumnDef, slice: &Slice, identity: &[u8]) -> Result<Vec<usize>> {
        let vector = self.raw(def)?;
        let (codes, wanted) = match (&*vector, def.ty) {
            (ColumnVector::Codes(codes), ColumnType::Code(kind)) => {
                (codes, self.snapshot.codes.code_of(slice.tenant, kind, identity)?)
            }
            (ColumnVector::Dict { codes, values }, _) => {
                let place = (0..values.len()).find(|at| values.get(*at) == Some(identity));
                (codes, place.and_then(|at| u32::try_from(at).ok()))
            }
            (ColumnVector::Bytes(bytes), _) => {
                return Ok(slice.rows.clone().filter(|row| bytes.get(*row) == Some(identity)).collect());
            }
            _ => return Err(Error::invalid("a part whose identities are of another type")),
        };
        let Some(wanted) = wanted else { return Ok(Vec::new()) };
        Ok(slice.rows.clone().filter(|row| codes.get(*row) == Some(&wanted)).collect())
    }

    /// The text of one row of a column of identities.
    fn text(
        &self,
        vector: &ColumnVector,
        def: &ColumnDef,
        slice: &Slice,
        row: usize,
    ) -> Result<Option<Arc<[u8]>>> {
        match (vector, def.ty) {
            (ColumnVector::Codes(codes), ColumnType::Code(kind)) => {
                match codes.get(row).filter(|code| **code != NULL_CODE) {
                    Some(code) => self.snapshot.codes.identity_of(slice.tenant, kind, *code),
                    None => Ok(None),
                }
            }
            (ColumnVector::Dict { codes, values }, _) => {
                Ok(codes.get(row).and_then(|code| values.get(*code as usize)).map(Arc::from))
            }
            (ColumnVector::Bytes(bytes), _) => Ok(bytes.get(row).map(Arc::from)),
            _ => Err(Error::invalid("a part whose identities are of another type")),
        }
    }

    /// A column of audit as questions see it: without the personal fields of erased records, which are
    /// marked by an empty commitment.
    pub(super) fn blanked(
        &mut self,
        column: ColumnId,
        vector: Arc<ColumnVector>,
    ) -> Result<Arc<ColumnVector>> {
        let rows = self.hidden_rows()?;
        if rows.is_empty() {
            return Ok(vector);
        }
        debug_assert!(Schema::of(Stream::Audit).get(column).is_some());
        let mark = if column == COMMITMENT.id { Some(&b""[..]) } else { None };
        Ok(Arc::new(without(&vector, &rows, mark)))
    }
}

/// A vector whose values in `rows` are absent, or `mark` where there is one and the value is text.
fn without(vector: &ColumnVector, rows: &[u32], mark: Option<&[u8]>) -> ColumnVector {
    let absent = |present: Option<&Bitmap>, len: usize| {
        let mut present = present.cloned().unwrap_or_else(|| Bitmap::filled(len, true));
        rows.iter().filter(|row| (**row as usize) < len).for_each(|row| present.set(*row as usize, false));
        Some(present)
    };
    let no_codes = |codes: &[u32]| {
        let mut codes = codes.to_vec();
        for row in rows {
            if let Some(code) = codes.get_mut(*row as usize) {
                *code = NULL_CODE;
            }
        }
        codes
    };
    match vector {
        ColumnVector::I64(v, present) => ColumnVector::I64(v.clone(), absent(present.as_ref(), v.len())),
        ColumnVector::U64(v, present) => ColumnVector::U64(v.clone(), absent(present.as_ref(), v.len())),
        ColumnVector::F64(v, present) => ColumnVector::F64(v.clone(), absent(present.as_ref(), v.len())),
        ColumnVector::Codes(codes) => ColumnVector::Codes(no_codes(codes)),
        ColumnVector::Dict { codes, values } if mark.is_none() => {
            ColumnVector::Dict { codes: no_codes(codes), values: values.clone() }
        }
        ColumnVector::Dict { codes, values } => {
            let texts = codes.iter().map(|code| values.get(*code as usize));
            ColumnVector::Bytes(Arc::new(marked(texts, rows, mark)))
        }
        ColumnVector::Bytes(bytes) => ColumnVector::Bytes(Arc::new(marked(bytes.iter(), rows, mark))),
        ColumnVector::Scalars(all) => {
            let mut all = all.clone();
            for row in rows {
                if let Some(leaf) = all.get_mut(*row as usize) {
                    *leaf = None;
                }
            }
            ColumnVector::Scalars(all)
        }
    }
}

/// Texts with those of `rows` replaced; one that is there already stands where there is a mark.
fn marked<'a>(
    texts: impl Iterator<Item = Option<&'a [u8]>>,
    rows: &[u32],
    mark: Option<&[u8]>,
) -> BytesColumn {
    let mut out = BytesColumn::new();
    for (text, row) in texts.zip(0_u32..) {
        let hidden = rows.binary_search(&row).is_ok();
        let kept = text.filter(|_| !hidden || mark.is_some());
        out.push(kept.or(mark.filter(|_| hidden)));
    }
    out
}
