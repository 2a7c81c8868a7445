//! The values of some fields of all matching rows, vector by vector.

use std::sync::Arc;

use super::field::{Fields, Source};
use super::filter::{self, Predicate};
use super::granule::Granule;
use super::ids::{self, KeyIds};
use super::mask::Rows;
use super::plan;
use super::request::{KeyValue, ScanColumn, ScanEnd, ScanRequest, ScanVector};
use super::snapshot::Snapshot;
use super::walk::{self, Tally};
use crate::error::Result;
use crate::id::TenantNo;
use crate::schema::stream::TIME;
use crate::schema::{Bitmap, ColumnVector, Scalar};

/// Rows of a vector.
const VECTOR_ROWS: usize = 1024;

/// Gives the fields of all matching rows to `each`, in vectors of one tenant and at most 1,024 rows.
///
/// Text comes as codes of the scan. A document column comes as [`Scalar::Other`] where it is present.
///
/// # Errors
///
/// [`crate::Error::Invalid`] for a field the stream does not have, what the parts answer where they
/// are damaged (unless `allow_partial`), and the first error of `each`.
pub fn scan(
    snapshot: &Snapshot,
    request: &ScanRequest,
    each: &mut dyn FnMut(&ScanVector) -> Result<()>,
) -> Result<ScanEnd> {
    let mut fields = Fields::new(request.stream);
    let time = fields.column(&TIME)?;
    let mut predicate = Predicate::compile(&request.filter, &mut fields)?;
    let sources = request.fields.iter().map(|f| fields.source(f)).collect::<Result<Vec<_>>>()?;
    let mut names: Vec<KeyIds> = sources.iter().map(|_| KeyIds::default()).collect();
    let mut tally = Tally::new(snapshot, request.stream, request.window, request.allow_partial);
    let mut list = Vec::new();
    let tasks = plan::plan(snapshot, &request.scope, request.stream, request.window);
    for (task, token) in tasks.iter().zip(1..) {
        let Some(mut granule) = Granule::new(snapshot, &fields, task, token) else { continue };
        for slice in &task.slices {
            tally.look_at(slice)?;
            let read =
                filter::select(&mut predicate, time, request.window, &mut granule, slice).and_then(|mask| {
                    let rows = walk::selected(&mask, slice, &mut list);
                    vectors(&mut granule, slice.tenant, rows, &sources, &mut names)
                });
            for vector in tally.or_skip(read, slice)?.unwrap_or_default() {
                each(&vector)?;
            }
        }
    }
    let (cost, damaged) = tally.finish();
    Ok(ScanEnd { names: names.iter().map(texts).collect(), cost, damaged })
}

/// All vectors of the rows of a slice: nothing is given away before everything has been read.
fn vectors(
    granule: &mut Granule<'_>,
    tenant: TenantNo,
    rows: Rows<'_>,
    sources: &[Source],
    names: &mut [KeyIds],
) -> Result<Vec<ScanVector>> {
    let mut out = Vec::with_capacity(rows.len().div_ceil(VECTOR_ROWS));
    for from in (0..rows.len()).step_by(VECTOR_ROWS) {
        let some = match rows {
            Rows::Range(start, end) => Rows::Range(start + from, end.min(start + from + VECTOR_ROWS)),
            Rows::List(list) => Rows::List(list.get(from..list.len().min(from + VECTOR_ROWS)).unwrap_or(&[])),
        };
        let mut columns = Vec::with_capacity(sources.len());
        for (source, names) in sources.iter().zip(names.iter_mut()) {
            columns.push(column(granule, tenant, some, source, names)?);
        }
        out.push(ScanVector { tenant, rows: some.len(), columns });
    }
    Ok(out)
}

fn column(
    granule: &mut Granule<'_>,
    tenant: TenantNo,
    rows: Rows<'_>,
    source: &Source,
    names: &mut KeyIds,
) -> Result<ScanColumn> {
    let Source::Leaf(leaf) = source else {
        return codes(granule, tenant, rows, source, names);
    };
    let vector = granule.load(*leaf)?;
    Ok(match &*vector {
        ColumnVector::I64(values, present) => {
            ScanColumn::I64(pick(values, rows), pick_bits(present.as_ref(), rows))
        }
        ColumnVector::U64(values, present) => {
            ScanColumn::U64(pick(values, rows), pick_bits(present.as_ref(), rows))
        }
        ColumnVector::F64(values, present) => {
            ScanColumn::F64(pick(values, rows), pick_bits(present.as_ref(), rows))
        }
        ColumnVector::Bytes(bytes) if is_document(granule, *leaf) => {
            ScanColumn::Scalars(leaves(rows, |row| bytes.present().get(row).then_some(Scalar::Other)))
        }
        ColumnVector::Scalars(all) => {
            ScanColumn::Scalars(leaves(rows, |row| all.get(row).cloned().flatten()))
        }
        ColumnVector::Codes(_) | ColumnVector::Dict { .. } | ColumnVector::Bytes(_) => {
            codes(granule, tenant, rows, source, names)?
        }
    })
}

/// A field as codes of the scan. Of a choice of fields that are numbers, the numbers are named by their digits.
fn codes(
    granule: &mut Granule<'_>,
    tenant: TenantNo,
    rows: Rows<'_>,
    source: &Source,
    names: &mut KeyIds,
) -> Result<ScanColumn> {
    let mut out = Vec::new();
    ids::key_ids(names, source, granule, tenant, rows, &mut out)?;
    Ok(ScanColumn::Codes(out))
}

fn is_document(granule: &Granule<'_>, leaf: usize) -> bool {
    granule.fields.leaves().get(leaf).is_some_and(super::field::Leaf::is_document)
}

fn pick<T: Copy>(values: &[T], rows: Rows<'_>) -> Vec<T> {
    let mut out = Vec::with_capacity(rows.len());
    rows.each(|_, row| out.extend(values.get(row)));
    out
}

fn pick_bits(present: Option<&Bitmap>, rows: Rows<'_>) -> Option<Bitmap> {
    let present = present?;
    let mut out = Bitmap::default();
    rows.each(|_, row| out.push(present.get(row)));
    Some(out)
}

fn leaves(rows: Rows<'_>, leaf: impl Fn(usize) -> Option<Scalar>) -> Vec<Option<Scalar>> {
    let mut out = Vec::with_capacity(rows.len());
    rows.each(|_, row| out.push(leaf(row)));
    out
}

/// The text of each code.
fn texts(names: &KeyIds) -> Vec<Arc<str>> {
    names.values().iter().map(text).collect()
}

fn text(value: &KeyValue) -> Arc<str> {
    match value {
        KeyValue::Str(text) => Arc::clone(text),
        KeyValue::Absent => "".into(),
        KeyValue::Bool(b) => b.to_string().into(),
        KeyValue::I64(n) => n.to_string().into(),
        KeyValue::U64(n) => n.to_string().into(),
        KeyValue::F64(bits) => f64::from_bits(*bits).to_string().into(),
        KeyValue::Bucket(index) => index.to_string().into(),
    }
}
