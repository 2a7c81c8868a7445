//! Whose rows are where: runs of (tenant, day), in blocks that the footer lists with their first tenant.
//!
//! The bytes are described in `docs/format/segment.md`.

use crate::codec::{Cursor, Decoded, Malformed, put_varint};
use crate::id::{TENANT_BYTES_MAX, TenantId, TenantNo};
use crate::part::Run;
use crate::time::{DAY_US, TimestampUs};

/// Most runs of one block.
pub(super) const RUNS_MAX: usize = 1024;

/// Checks that runs are sorted by tenant and day, each within one day, and cover `rows` rows.
pub(super) fn check(runs: &[Run], rows: u64) -> Decoded<()> {
    let mut end = 0;
    for run in runs {
        if run.rows.start != end || run.rows.end <= end {
            return Err(Malformed("runs that do not follow one another"));
        }
        if run.min_time > run.max_time || run.min_time.day() != run.max_time.day() {
            return Err(Malformed("a run that is not of one day"));
        }
        end = run.rows.end;
    }
    let sorted = runs.is_sorted_by(|a, b| (a.tenant, a.min_time.day()) < (b.tenant, b.min_time.day()));
    if !sorted || end != rows {
        return Err(Malformed("runs out of order, or not of all rows"));
    }
    Ok(())
}

/// Encodes at most [`RUNS_MAX`] runs.
pub(super) fn encode_runs(runs: &[Run]) -> Vec<u8> {
    let mut out = Vec::with_capacity(runs.len() * 14 + 4);
    put_varint(runs.len() as u64, &mut out);
    let mut last = 0;
    for run in runs {
        put_varint(u64::from(run.tenant.0 - last), &mut out);
        last = run.tenant.0;
        put_varint(run.rows.end - run.rows.start, &mut out);
        out.extend_from_slice(&run.min_time.0.to_le_bytes());
        put_varint(run.max_time.0.abs_diff(run.min_time.0), &mut out);
    }
    out
}

/// Adds the runs of a block to those before it.
pub(super) fn decode_runs(payload: &[u8], runs: &mut Vec<Run>) -> Decoded<()> {
    let mut cursor = Cursor::new(payload);
    let mut tenant = 0_u32;
    let mut row = runs.last().map_or(0, |r| r.rows.end);
    for _ in 0..cursor.len(RUNS_MAX)? {
        tenant = u32::try_from(cursor.varint()?)
            .ok()
            .and_then(|d| tenant.checked_add(d))
            .ok_or(Malformed("a tenant's number above 32 bits"))?;
        let start = row;
        row = row.checked_add(cursor.varint()?).ok_or(Malformed("more rows than can be counted"))?;
        let min = cursor.u64()?.cast_signed();
        let span = i64::try_from(cursor.varint()?).ok().filter(|s| *s < DAY_US);
        let max = span.and_then(|s| min.checked_add(s)).ok_or(Malformed("a run longer than a day"))?;
        runs.push(Run {
            tenant: TenantNo(tenant),
            rows: start..row,
            min_time: TimestampUs(min),
            max_time: TimestampUs(max),
        });
    }
    cursor.end()
}

pub(super) fn encode_names(names: &[(TenantNo, TenantId)]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(names.len() as u64, &mut out);
    for (number, name) in names {
        put_varint(u64::from(number.0), &mut out);
        put_varint(name.as_str().len() as u64, &mut out);
        out.extend_from_slice(name.as_str().as_bytes());
    }
    out
}

pub(super) fn decode_names(payload: &[u8]) -> Decoded<Vec<(TenantNo, TenantId)>> {
    let mut cursor = Cursor::new(payload);
    let mut names = Vec::new();
    for _ in 0..cursor.len(payload.len())? {
        let number =
            u32::try_from(cursor.varint()?).map_err(|_| Malformed("a tenant's number above 32 bits"))?;
        let len = cursor.len(TENANT_BYTES_MAX)?;
        let name = std::str::from_utf8(cursor.take(len)?).ok().and_then(|n| TenantId::new(n).ok());
        names.push((TenantNo(number), name.ok_or(Malformed("a tenant's name that is none"))?));
    }
    cursor.end()?;
    Ok(names)
}
