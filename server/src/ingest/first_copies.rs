//! The leaves of audit records that were there already, for the receipts of their duplicates.

use std::collections::HashMap;

use insights_engine::append::{Appended, AppendedBatch};
use insights_engine::id::{Stream, TenantId};
use insights_engine::query::{Field, Filter, Literal, Op};
use insights_engine::schema::stream::SEQ;
use insights_engine::time::TimeRange;

use crate::auth::Principal;
use crate::http::error::ApiError;
use crate::store::Store;

/// Most records that one question looks up.
const LOOKED_UP_MAX: usize = 1_000;

/// What stands where a leaf is not known.
pub const NO_LEAF: [u8; 32] = [0; 32];

/// Sets the leaf of every duplicate whose first copy came with an earlier request.
///
/// A record that cannot be read, or whose leaf cannot be made any more, keeps [`NO_LEAF`]: what was sent
/// is kept, and a failed look at the past must not say otherwise.
pub async fn fill_leaves(store: &Store, principal: &Principal, appended: &mut Appended) {
    for batch in &mut appended.batches {
        let Ok(rows) = usize::try_from(batch.rows) else { continue };
        batch.leaves.resize(rows, NO_LEAF);
        let missing = missing(batch);
        for seqs in missing.chunks(LOOKED_UP_MAX) {
            match leaves(store, principal, &batch.tenant, seqs).await {
                Ok(found) => set(batch, &found),
                Err(error) => {
                    tracing::warn!(code = error.code().name(), "leaves of duplicates could not be looked up");
                    return;
                }
            }
        }
    }
}

/// The seqs of duplicates without a leaf, ascending and each once.
fn missing(batch: &AppendedBatch) -> Vec<u64> {
    let unknown = |row: &u32| batch.leaves.get(*row as usize).is_some_and(|leaf| *leaf == NO_LEAF);
    let mut seqs: Vec<u64> =
        batch.duplicates.iter().filter(|(row, _)| unknown(row)).map(|(_, seq)| *seq).collect();
    seqs.sort_unstable();
    seqs.dedup();
    seqs
}

fn set(batch: &mut AppendedBatch, found: &HashMap<u64, [u8; 32]>) {
    for (row, seq) in &batch.duplicates {
        if let (Some(leaf), Some(found)) = (batch.leaves.get_mut(*row as usize), found.get(seq)) {
            *leaf = *found;
        }
    }
}

/// The leaves of an organization's records by seq.
async fn leaves(
    store: &Store,
    principal: &Principal,
    organization: &str,
    seqs: &[u64],
) -> Result<HashMap<u64, [u8; 32]>, ApiError> {
    let tenant = TenantId::new(organization).map_err(|_| ApiError::internal())?;
    let scope = principal.receipt_scope(&tenant)?;
    let mut request = scope.row_request(Stream::Audit, TimeRange::ALL, seqs.len());
    let seqs = seqs.iter().map(|seq| Literal::U64(*seq)).collect();
    request.filter = Filter::Compare(Field::Column(SEQ.id), Op::In(seqs));
    request.allow_partial = true;
    let mut found = HashMap::new();
    for batch in store.rows(&scope, request).await?.batches {
        // Of a subject that was erased the key is gone, and the leaf with it.
        let (Ok(leaves), Some(seqs)) = (store.leaves(&batch), batch.column(&SEQ).and_then(|c| c.as_u64()))
        else {
            continue;
        };
        found.extend(seqs.iter().copied().zip(leaves));
    }
    Ok(found)
}
