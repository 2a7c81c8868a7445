//! What a question's answer depends on, as a number: the same number, the same rows, the same answer.

use sha2::{Digest, Sha256};

use super::plan;
use super::request::Scope;
use super::snapshot::Snapshot;
use crate::error::{Error, Result};
use crate::id::{FileId, Stream};
use crate::part::{Part, Run};
use crate::schema::ColumnVector;
use crate::schema::stream::TIME;
use crate::time::{TimeRange, TimestampUs};

/// Which bytes a part stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartId {
    /// A sealed file; numbers are never given twice.
    File(FileId),
    /// Rows of one tenant in memory: they only ever become more, or a part of a file.
    Memory,
}

/// The state of some tenants' rows of one stream in a window.
///
/// Two moments with one version have the same rows there. Moments with two versions may have them too: a
/// merge of files changes the version and no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DataVersion([u8; 16]);

/// The version of what a question of `scope` over `window` may read.
///
/// # Errors
///
/// None that rows in memory give.
pub(crate) fn version(
    snapshot: &Snapshot,
    scope: &Scope,
    stream: Stream,
    window: TimeRange,
) -> Result<DataVersion> {
    let tenants = plan::tenants(snapshot, scope);
    let touches = |run: &&Run| window.overlaps(run.min_time, run.max_time);
    let mut hash = Sha256::new();
    hash.update(snapshot.hidden.version());
    for part in &snapshot.parts {
        if !part.bounds(stream).is_some_and(|(min, max)| window.overlaps(min, max)) {
            continue;
        }
        let first = match &tenants {
            None => part.runs(stream).iter().find(touches),
            Some(numbers) => numbers.iter().find_map(|n| part.runs_of(stream, *n).iter().find(touches)),
        };
        let Some(run) = first else { continue };
        match part.id() {
            PartId::File(file) => {
                hash.update([0]);
                hash.update(file.0.to_le_bytes());
            }
            PartId::Memory => {
                // Of one tenant, and of any days: only those of the window count.
                hash.update([1]);
                hash.update(run.tenant.0.to_le_bytes());
                hash.update(rows_inside(part.as_ref(), stream, window, run)?.to_le_bytes());
            }
        }
    }
    let digest: [u8; 32] = hash.finalize().into();
    Ok(DataVersion(digest.first_chunk().copied().unwrap_or_default()))
}

/// The rows of a run in memory that are inside of a window.
fn rows_inside(part: &dyn Part, stream: Stream, window: TimeRange, run: &Run) -> Result<u64> {
    if window.contains(run.min_time) && window.contains(run.max_time) {
        return Ok(run.rows.end - run.rows.start);
    }
    match &*part.column(stream, TIME.id, 0)? {
        ColumnVector::I64(times, _) => {
            Ok(times.iter().filter(|t| window.contains(TimestampUs(**t))).count() as u64)
        }
        _ => Err(Error::invalid("a part whose event times are no instants")),
    }
}
