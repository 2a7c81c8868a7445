//! What becomes of each row when a segment is written anew: erased ones go, audit records lose their
//! personal fields and get their commitment.

use std::sync::Arc;

use crate::catalog::{ErasureId, ErasureRecord};
use crate::codes::Codes;
use crate::compaction::rewrite::{Fate, RowRewrite};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::id::{Stream, TenantNo};
use crate::query::is_user_type;
use crate::schema::stream::{LSN, OBJECT_ID, OBJECT_TYPE, USER_ID};
use crate::schema::{
    Batch, BatchBuilder, BytesColumn, ColumnDef, ColumnType, IdentityKind, NULL_CODE, Schema, stream,
};
use crate::segment::SegmentColumn;
use crate::sequencer::leaf::is_committed;

/// An erasure that is being carried out.
#[derive(Debug, Clone)]
pub(super) struct Carried {
    pub(super) id: ErasureId,
    pub(super) record: Arc<ErasureRecord>,
}

/// A user's codes in the tenant dictionary, where it has some.
#[derive(Debug, Clone, Copy)]
struct UserCodes {
    user: Option<u32>,
    object: Option<u32>,
}

/// Writes rows without what is erased.
#[derive(Debug)]
pub(super) struct EraseRows<'a> {
    core: &'a Core,
    codes: Arc<dyn Codes>,
    retired: Vec<TenantNo>,
    users: Vec<(Arc<ErasureRecord>, UserCodes)>,
}

impl<'a> EraseRows<'a> {
    /// Looks the users' codes up.
    ///
    /// # Errors
    ///
    /// Those of the dictionary.
    pub(super) fn new(core: &'a Core, carried: &[Carried]) -> Result<Self> {
        let codes = core.tables.codes();
        let (mut retired, mut users) = (Vec::new(), Vec::new());
        for Carried { record, .. } in carried {
            match record.pending_user() {
                None => retired.push(record.tenant),
                Some(erased) => {
                    let of = |kind| codes.code_of(record.tenant, kind, &erased.user);
                    let found =
                        UserCodes { user: of(IdentityKind::User)?, object: of(IdentityKind::Object)? };
                    users.push((Arc::clone(record), found));
                }
            }
        }
        Ok(Self { core, codes, retired, users })
    }

    /// Whether each row is of or about an erased user.
    fn erased(&self, stream: Stream, tenant: TenantNo, columns: &[SegmentColumn]) -> Result<Vec<bool>> {
        let SegmentColumn::U64(lsns) = column(stream, &LSN, columns)? else { return Err(wrong()) };
        let SegmentColumn::Codes(users) = column(stream, &USER_ID, columns)? else { return Err(wrong()) };
        let objects = match stream {
            Stream::Audit => Some(column(stream, &OBJECT_ID, columns)?),
            Stream::Events | Stream::Metrics => None,
        };
        let mut out = vec![false; lsns.len()];
        for (record, codes) in self.users.iter().filter(|(record, _)| record.tenant == tenant) {
            for (row, erased) in out.iter_mut().enumerate() {
                if lsns.get(row).is_none_or(|lsn| *lsn > record.bound.0) {
                    continue;
                }
                *erased |= codes.user.is_some() && users.get(row).copied() == codes.user;
                if let (false, Some(SegmentColumn::Codes(objects)), Some(_)) =
                    (*erased, objects, codes.object)
                    && objects.get(row).copied() == codes.object
                {
                    *erased = self.is_about_a_user(tenant, columns, row)?;
                }
            }
        }
        Ok(out)
    }

    fn is_about_a_user(&self, tenant: TenantNo, columns: &[SegmentColumn], row: usize) -> Result<bool> {
        let SegmentColumn::Codes(types) = column(Stream::Audit, &OBJECT_TYPE, columns)? else {
            return Err(wrong());
        };
        let Some(code) = types.get(row).filter(|code| **code != NULL_CODE) else { return Ok(false) };
        let name = self.codes.identity_of(tenant, IdentityKind::Name, *code)?;
        Ok(name.is_some_and(|name| is_user_type(&name)))
    }

    /// An audit record as a batch of one row, as its leaf was made of.
    fn record(&self, tenant: TenantNo, columns: &[SegmentColumn], row: usize) -> Result<Batch> {
        let name = crate::codes::Tenants::name_of(self.core.catalog.as_ref(), tenant).ok_or_else(wrong)?;
        let mut batch = BatchBuilder::new(name, Stream::Audit);
        for (def, values) in Schema::of(Stream::Audit).columns.iter().zip(columns) {
            match (values, def.ty) {
                (SegmentColumn::I64(v), _) => batch.i64(def, *v.get(row).ok_or_else(wrong)?),
                (SegmentColumn::U64(v), _) => batch.u64(def, *v.get(row).ok_or_else(wrong)?),
                (SegmentColumn::F64(v), _) => batch.f64(def, *v.get(row).ok_or_else(wrong)?),
                (SegmentColumn::Bytes(v), _) => batch.bytes(def, v.get(row)),
                (SegmentColumn::Codes(v), ColumnType::Code(kind)) => {
                    let code = *v.get(row).ok_or_else(wrong)?;
                    let identity = match code {
                        NULL_CODE => None,
                        code => Some(self.codes.identity_of(tenant, kind, code)?.ok_or_else(wrong)?),
                    };
                    batch.bytes(def, identity.as_deref())
                }
                (SegmentColumn::Codes(_), _) => return Err(wrong()),
            };
        }
        batch.finish_row();
        Ok(batch.build())
    }

    /// Puts commitments in the place of the personal fields.
    fn empty(&self, tenant: TenantNo, columns: &mut [SegmentColumn], erased: &[bool]) -> Result<()> {
        let kept = column(Stream::Audit, &stream::COMMITMENT, columns)?;
        let SegmentColumn::Bytes(kept) = kept else { return Err(wrong()) };
        let mut commitments = BytesColumn::new();
        for (row, is_erased) in erased.iter().enumerate() {
            match kept.get(row) {
                None if *is_erased => {
                    let record = self.record(tenant, columns, row)?;
                    commitments.push(Some(&self.core.commitment(tenant, &record, 0)?));
                }
                kept => commitments.push(kept),
            }
        }
        for (def, values) in Schema::of(Stream::Audit).columns.iter().zip(columns) {
            if def.id == stream::COMMITMENT.id {
                *values = SegmentColumn::Bytes(std::mem::take(&mut commitments));
            } else if is_committed(def.id) {
                take_out(values, erased);
            }
        }
        Ok(())
    }
}

impl RowRewrite for EraseRows<'_> {
    fn fate(&self, _stream: Stream, tenant: TenantNo) -> Fate {
        if self.retired.contains(&tenant) {
            Fate::Drop
        } else if self.users.iter().any(|(record, _)| record.tenant == tenant) {
            Fate::Look
        } else {
            Fate::Keep
        }
    }

    fn look(&self, stream: Stream, tenant: TenantNo, columns: &mut [SegmentColumn]) -> Result<Vec<bool>> {
        let erased = self.erased(stream, tenant, columns)?;
        if stream == Stream::Audit {
            if erased.contains(&true) {
                self.empty(tenant, columns, &erased)?;
            }
            return Ok(vec![true; erased.len()]);
        }
        Ok(erased.into_iter().map(|erased| !erased).collect())
    }
}

/// Makes the values of some rows absent.
fn take_out(values: &mut SegmentColumn, erased: &[bool]) {
    match values {
        SegmentColumn::Codes(codes) => {
            for (code, _) in codes.iter_mut().zip(erased).filter(|(_, erased)| **erased) {
                *code = NULL_CODE;
            }
        }
        SegmentColumn::Bytes(bytes) => {
            let mut out = BytesColumn::new();
            bytes.iter().zip(erased).for_each(|(value, erased)| out.push(value.filter(|_| !erased)));
            *bytes = out;
        }
        // Numbers are never personal: all of them are in the envelope.
        SegmentColumn::I64(_) | SegmentColumn::U64(_) | SegmentColumn::F64(_) => {}
    }
}

fn column<'c>(of: Stream, def: &ColumnDef, columns: &'c [SegmentColumn]) -> Result<&'c SegmentColumn> {
    let index = Schema::of(of).index_of(def.id);
    index.and_then(|index| columns.get(index)).ok_or_else(wrong)
}

fn wrong() -> Error {
    Error::invalid("rows of a segment whose columns are not those of their stream")
}
