//! The leaves of audit records that were read back, erased ones among them.

use std::sync::Arc;

use crate::codes::Tenants;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::id::{KeyId, Stream, TenantNo};
use crate::query::{self, Field, Filter, Hidden, Literal, Op, Order, RowRequest, Scope};
use crate::schema::{Batch, Column, stream};
use crate::sequencer::leaf;
use crate::sequencer::tree::Hash;
use crate::time::{TimeRange, TimestampUs};

impl Core {
    /// The leaves of audit rows that were read back.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for another stream, or when the key of a row's subject is gone; damage and I/O of
    /// a record whose personal fields are hidden.
    pub(crate) fn leaves(&self, batch: &Batch) -> Result<Vec<Hash>> {
        let number = self.catalog.number_of(batch.tenant());
        let number = number.ok_or_else(|| Error::invalid("a tenant that does not exist"))?;
        let kept = batch.column(&stream::COMMITMENT).and_then(Column::as_bytes);
        (0..batch.rows())
            .map(|row| match kept.and_then(|kept| kept.get(row)) {
                None => leaf::leaf_of_commitment(batch, row, &self.commitment(number, batch, row)?),
                Some([]) => {
                    leaf::leaf_of_commitment(batch, row, &self.hidden_commitment(number, batch, row)?)
                }
                Some(kept) => {
                    let kept = kept.try_into();
                    let kept = kept.map_err(|_| Error::invalid("a commitment of the wrong length"))?;
                    leaf::leaf_of_commitment(batch, row, kept)
                }
            })
            .collect()
    }

    /// What the personal fields of a whole record are hashed to.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the key of its subject is gone.
    pub(crate) fn commitment(&self, tenant: TenantNo, batch: &Batch, row: usize) -> Result<Hash> {
        let users = batch.column(&stream::USER_ID).and_then(Column::as_bytes);
        let subject = users.and_then(|users| users.get(row)).unwrap_or(&[]);
        let key_ids = batch.column(&stream::KEY_ID).and_then(Column::as_u64).unwrap_or(&[]);
        let key = self.record_key(tenant, subject, KeyId(key_ids.get(row).copied().unwrap_or(0)));
        let key = key.ok_or_else(|| Error::invalid("a row whose subject has no key"))?;
        leaf::commitment(batch, row, &key)
    }

    /// The key that a record's commitment is made with: its subject's, or one that an erasure keeps.
    fn record_key(&self, tenant: TenantNo, subject: &[u8], id: KeyId) -> Option<Hash> {
        let current = self.sequencer.lock().subject_key(tenant, subject).filter(|key| key.id == id);
        current.map(|key| key.key).or_else(|| self.catalog.policies().erased_key(tenant, id))
    }

    /// The commitment of a record whose personal fields are hidden and still there.
    fn hidden_commitment(&self, tenant: TenantNo, batch: &Batch, row: usize) -> Result<Hash> {
        let gone = || Error::invalid("a record that is not there any more");
        let seq = batch.column(&stream::SEQ).and_then(Column::as_u64).and_then(|seqs| seqs.get(row));
        let time = batch.column(&stream::TIME).and_then(Column::as_i64).and_then(|times| times.get(row));
        let (Some(seq), Some(time)) = (seq, time) else { return Err(gone()) };
        let mut snapshot = self.snapshot(&Scope::One(batch.tenant().clone()), Stream::Audit);
        snapshot.hidden = Arc::new(Hidden::default());
        let page = query::rows(
            &snapshot,
            &RowRequest {
                scope: Scope::One(batch.tenant().clone()),
                stream: Stream::Audit,
                window: TimeRange { start: TimestampUs(*time), end: TimestampUs(time.saturating_add(1)) },
                filter: Filter::Compare(Field::Column(stream::SEQ.id), Op::Is(Literal::U64(*seq))),
                order: Order::Asc,
                limit: 1,
                after: None,
                columns: None,
                allow_partial: false,
            },
        )?;
        let whole = page.batches.first().ok_or_else(gone)?;
        // The pass may have been quicker than this look-up: then the commitment is there.
        let kept = whole.column(&stream::COMMITMENT).and_then(Column::as_bytes).and_then(|kept| kept.get(0));
        match kept.and_then(|kept| kept.try_into().ok()) {
            Some(kept) => Ok(kept),
            None => self.commitment(tenant, whole, 0),
        }
    }
}
