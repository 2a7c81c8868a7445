//! Decides about one append: which rows are new, their numbers, and the frame that says so.

use hashbrown::HashMap;

use super::erase::NewErasure;
use super::leaf::Leaves;
use super::{Changes, DERIVED_ID_SECRET, Sequencer, SubjectKey, encode_subject_key, subject_catalog_key};
use crate::append::{Append, Appended, AppendedBatch, CatalogKind, CatalogPut};
use crate::catalog::TenantRecord;
use crate::entropy::Entropy;
use crate::error::{Error, Result};
use crate::frame::{self, BatchHeader, FrameHeader, StoredRequest};
use crate::id::{KeyId, Lsn, Stream, TenantId, TenantNo};
use crate::memtable::{Leaf, NewRows};
use crate::schema::{Batch, BytesColumn, Column, ColumnType, Schema, stream};
use crate::time::TimestampUs;

/// Bytes of one identity (a user, a name, ...) or id.
pub const IDENTITY_BYTES_MAX: usize = 4_096;

/// What to do about an append.
#[derive(Debug)]
pub enum Plan {
    /// A frame for the log.
    Write(Box<Frame>),
    /// The request was answered before; this is the answer, true once frame `lsn` is synced.
    Replay(Appended),
}

/// A frame for the log, and what becomes true with it.
#[derive(Debug)]
pub struct Frame {
    /// Its number.
    pub lsn: Lsn,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Rows for the memtable.
    pub(crate) rows: Vec<NewRows>,
    /// Records for the catalog.
    pub puts: Vec<CatalogPut>,
    /// The answer.
    pub appended: Appended,
    /// What the sequencer takes over.
    pub changes: Changes,
}

/// An append whose columns were encoded outside of the sequencer's lock.
#[derive(Debug)]
pub struct Prepared {
    append: Append,
    encoded: Vec<Vec<u8>>,
    erasure: Option<NewErasure>,
    /// Records that only the engine writes.
    own_puts: Vec<CatalogPut>,
}

impl Prepared {
    /// Checks an append and encodes its columns.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when two batches have the same tenant and stream, one has too many rows, or a
    /// record is one that the engine keeps for itself.
    pub fn new(append: Append) -> Result<Self> {
        for (i, batch) in append.batches.iter().enumerate() {
            if batch.rows() > crate::schema::batch::BATCH_ROWS_MAX {
                return Err(Error::invalid("a batch with too many rows"));
            }
            check_identities(batch)?;
            let same = |b: &&Batch| b.tenant() == batch.tenant() && b.stream() == batch.stream();
            if append.batches.iter().skip(i + 1).any(|b| same(&b)) {
                return Err(Error::invalid("two batches of one tenant and stream in one append"));
            }
        }
        append.puts.iter().try_for_each(check_owner)?;
        let encoded = append.batches.iter().map(frame::encode_columns).collect();
        Ok(Self { append, encoded, erasure: None, own_puts: Vec::new() })
    }

    /// An append that also erases something.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub(crate) fn erasing(append: Append, erasure: NewErasure) -> Result<Self> {
        Ok(Self { erasure: Some(erasure), ..Self::new(append)? })
    }

    /// Records that only the engine writes, and nothing else.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub(crate) fn own(puts: Vec<CatalogPut>) -> Result<Self> {
        Ok(Self { own_puts: puts, ..Self::new(Append::default())? })
    }

    /// Bytes of the encoded columns.
    pub fn bytes(&self) -> u64 {
        self.encoded.iter().map(|e| e.len() as u64).sum()
    }
}

/// Refuses what the dictionary and the id files could not hold: it would make every flush fail.
fn check_identities(batch: &Batch) -> Result<()> {
    for (column, def) in batch.columns().iter().zip(Schema::of(batch.stream()).columns) {
        let limited = matches!(def.ty, ColumnType::Code(_)) || def.id == stream::ID.id;
        let Some(values) = column.as_bytes().filter(|_| limited) else { continue };
        if values.iter().flatten().any(|value| value.len() > IDENTITY_BYTES_MAX) {
            return Err(Error::invalid(format!("{} has at most {IDENTITY_BYTES_MAX} bytes", def.name)));
        }
    }
    Ok(())
}

/// Refuses records that the engine makes itself: others of their kind would not fit its state.
fn check_owner(put: &CatalogPut) -> Result<()> {
    let own = match put.kind {
        CatalogKind::Tenant
        | CatalogKind::SubjectKey
        | CatalogKind::Sequence
        | CatalogKind::AuditRoot
        | CatalogKind::AuditCover
        | CatalogKind::Retention
        | CatalogKind::Erasure
        | CatalogKind::RetentionMark => true,
        CatalogKind::Secret => put.key == DERIVED_ID_SECRET,
        CatalogKind::Metric | CatalogKind::ApiKey | CatalogKind::Setting => false,
    };
    if own { Err(Error::invalid("a catalog record that only the engine writes")) } else { Ok(()) }
}

/// Which rows of a batch are new.
struct Deduplicated {
    /// (row, seq of the first copy), by row.
    duplicates: Vec<(u32, u64)>,
    /// Ids of the new rows that have one: (index among the new rows, id).
    ids: Vec<(u64, Box<[u8]>)>,
}

impl Frame {
    /// A frame without rows, whose answer is known: it waits for the syncs of all earlier ones.
    ///
    /// # Errors
    ///
    /// None in practice: its header is small.
    pub fn empty(lsn: Lsn, received: TimestampUs, appended: Appended) -> Result<Self> {
        let header = FrameHeader { received, batches: Vec::new(), puts: Vec::new(), idempotency: None };
        let payload = frame::encode(&header, &[])?;
        let (rows, puts) = (Vec::new(), Vec::new());
        Ok(Self { lsn, payload, rows, puts, appended, changes: Changes::default() })
    }
}

impl Sequencer {
    /// Decides about an append; changes nothing but the cursor of `entropy`.
    ///
    /// # Errors
    ///
    /// [`Error::IdempotencyMismatch`], [`Error::Invalid`], and what reading the id files says.
    pub fn plan(&self, prepared: Prepared, received: TimestampUs, entropy: &Entropy) -> Result<Plan> {
        if let Some(replay) = self.replay(&prepared.append)? {
            return Ok(Plan::Replay(replay));
        }
        let Append { batches, mut puts, idempotency } = prepared.append;
        puts.extend(self.derived_id_put());
        puts.extend(prepared.own_puts);
        let lsn = self.next_lsn();
        let mut planner = Planner {
            sequencer: self,
            received,
            lsn,
            entropy,
            puts,
            changes: Changes::default(),
            new_tenants: HashMap::new(),
        };
        if let Some(erasure) = prepared.erasure {
            planner.erase(erasure)?;
        }
        let mut headers = Vec::new();
        let mut columns = Vec::new();
        let mut rows = Vec::new();
        let mut answers = Vec::new();
        for (batch, encoded) in batches.into_iter().zip(prepared.encoded) {
            let (answer, new) = planner.batch(batch, encoded)?;
            answers.push(answer);
            if let Some((header, encoded, new_rows)) = new {
                headers.push(header);
                columns.push(encoded);
                rows.push(new_rows);
            }
        }
        let Planner { puts, mut changes, .. } = planner;
        let rejected = idempotency.as_ref().map(|i| i.rejected.clone()).unwrap_or_default();
        let request = idempotency.map(|request| StoredRequest { request, batches: answers.clone() });
        changes.request = request.as_ref().map(|r| r.remembered(lsn, received));
        let header = FrameHeader { received, batches: headers, puts, idempotency: request };
        let slices: Vec<&[u8]> = columns.iter().map(Vec::as_slice).collect();
        let payload = frame::encode(&header, &slices)?;
        let appended = Appended { lsn, received, batches: answers, durable: true, replayed: false, rejected };
        let puts = header.puts;
        Ok(Plan::Write(Box::new(Frame { lsn, payload, rows, puts, appended, changes })))
    }

    fn replay(&self, append: &Append) -> Result<Option<Appended>> {
        let Some(idempotency) = &append.idempotency else { return Ok(None) };
        let Some(stored) = self.requests.get(&idempotency.key)? else { return Ok(None) };
        if stored.body_hash != idempotency.body_hash {
            return Err(Error::IdempotencyMismatch);
        }
        Ok(Some(Appended {
            lsn: stored.lsn,
            received: stored.received,
            batches: stored.batches.clone(),
            durable: true,
            replayed: true,
            rejected: stored.rejected.clone(),
        }))
    }

    /// Whether a row with this id is there already, and its seq.
    fn find_id(&self, tenant: TenantNo, stream: Stream, id: &[u8]) -> Result<Option<u64>> {
        if let Some(seq) = self.ids.get(tenant, stream, id)? {
            return Ok(Some(seq));
        }
        let derived = std::str::from_utf8(id).ok().and_then(|id| self.parse_derived_id(tenant, stream, id));
        Ok(derived.filter(|seq| *seq > 0 && *seq < self.next_seq(tenant, stream)))
    }
}

pub(super) struct Planner<'a> {
    pub(super) sequencer: &'a Sequencer,
    pub(super) received: TimestampUs,
    pub(super) lsn: Lsn,
    entropy: &'a Entropy,
    pub(super) puts: Vec<CatalogPut>,
    pub(super) changes: Changes,
    new_tenants: HashMap<TenantId, TenantNo>,
}

type Written = (BatchHeader, Vec<u8>, NewRows);

impl Planner<'_> {
    fn batch(&mut self, batch: Batch, encoded: Vec<u8>) -> Result<(AppendedBatch, Option<Written>)> {
        let tenant = batch.tenant().clone();
        let stream = batch.stream();
        let rows = u32::try_from(batch.rows()).map_err(|_| Error::invalid("a batch with too many rows"))?;
        let number = self.tenant(&tenant)?;
        let first_seq = if stream == Stream::Metrics { 0 } else { self.sequencer.next_seq(number, stream) };
        let found = self.deduplicate(&batch, number, first_seq)?;
        let mut answer = AppendedBatch {
            tenant: tenant.as_str().to_owned(),
            first_seq,
            rows,
            duplicates: found.duplicates,
            leaves: Vec::new(),
        };
        let (batch, encoded) = if answer.duplicates.is_empty() {
            (batch, encoded)
        } else {
            let new = batch.take(&new_rows(rows, &answer.duplicates));
            let encoded = frame::encode_columns(&new);
            (new, encoded)
        };
        for (index, id) in found.ids {
            let seq = if stream == Stream::Metrics { 0 } else { first_seq + index };
            self.changes.ids.push((number, stream, id, seq));
        }
        if batch.rows() == 0 {
            return Ok((answer, None));
        }
        if stream != Stream::Metrics {
            self.changes.next_seq.push((number, stream, first_seq + batch.rows() as u64));
        }
        let (header, columns, leaves) = self.fill(batch, number, first_seq)?;
        answer.leaves = spread(&leaves, &answer);
        Ok((answer, Some((header, encoded, NewRows { tenant: number, stream, columns, leaves }))))
    }

    /// The columns of the new rows with what the engine adds, and the leaves of audit records.
    fn fill(
        &mut self,
        batch: Batch,
        number: TenantNo,
        first_seq: u64,
    ) -> Result<(BatchHeader, Vec<Column>, Vec<Leaf>)> {
        let (tenant, stream) = (batch.tenant().clone(), batch.stream());
        let keys = if stream == Stream::Audit { self.subject_keys(&batch, number) } else { Vec::new() };
        let header = BatchHeader {
            tenant: tenant.as_str().to_owned(),
            tenant_no: number,
            stream,
            rows: u32::try_from(batch.rows()).unwrap_or(u32::MAX),
            first_seq,
            key_ids: keys.iter().map(|k| k.id.0).collect(),
        };
        let columns = frame::fill(batch, &header, self.received, self.lsn);
        if keys.is_empty() {
            return Ok((header, columns, Vec::new()));
        }
        let filled = Batch::from_columns(tenant, stream, columns)?;
        let mut of_rows = Leaves::new(&filled)?;
        let rows = keys.iter().enumerate();
        let leaves = rows.map(|(row, key)| of_rows.leaf(row, &key.key)).collect::<Result<_>>()?;
        Ok((header, filled.into_columns(), leaves))
    }

    /// The number of a tenant; a new one is given here, and told to the catalog.
    fn tenant(&mut self, name: &TenantId) -> Result<TenantNo> {
        let known = self.sequencer.tenant(name).filter(|_| !self.changes.retired.contains(name));
        if let Some(number) = known.or_else(|| self.new_tenants.get(name).copied()) {
            return Ok(number);
        }
        let given = u32::try_from(self.new_tenants.len()).unwrap_or(u32::MAX);
        let number = TenantNo(self.sequencer.next_tenant.saturating_add(given));
        self.new_tenants.insert(name.clone(), number);
        self.changes.tenants.push((name.clone(), number));
        self.puts.push(TenantRecord { number, created: self.received }.put(name)?);
        Ok(number)
    }

    fn deduplicate(&self, batch: &Batch, number: TenantNo, first_seq: u64) -> Result<Deduplicated> {
        let mut out = Deduplicated { duplicates: Vec::new(), ids: Vec::new() };
        let Some(ids) = batch.column(&stream::ID).and_then(Column::as_bytes) else { return Ok(out) };
        if ids.present().count_ones() == 0 {
            return Ok(out);
        }
        let mut here: HashMap<&[u8], u64> = HashMap::new();
        let mut new = 0_u64;
        for row in 0..batch.rows() {
            if let Some(id) = ids.get(row) {
                let earlier = match here.get(id) {
                    Some(seq) => Some(*seq),
                    None => self.sequencer.find_id(number, batch.stream(), id)?,
                };
                if let Some(seq) = earlier {
                    out.duplicates.push((u32::try_from(row).unwrap_or(u32::MAX), seq));
                    continue;
                }
                here.insert(id, first_seq + new);
                out.ids.push((new, id.into()));
            }
            new += 1;
        }
        Ok(out)
    }

    /// The key of each row's subject: its user, or the tenant itself. New subjects get one here.
    fn subject_keys(&mut self, batch: &Batch, number: TenantNo) -> Vec<SubjectKey> {
        let empty = BytesColumn::new();
        let users = batch.column(&stream::USER_ID).and_then(Column::as_bytes).unwrap_or(&empty);
        let forgotten = self.changes.forgotten.iter().filter(|(tenant, _)| *tenant == number);
        let forgotten: Vec<Box<[u8]>> = forgotten.map(|(_, subject)| subject.clone()).collect();
        let mut new: HashMap<&[u8], SubjectKey> = HashMap::new();
        (0..batch.rows())
            .map(|row| {
                let subject = users.get(row).unwrap_or(&[]);
                let known = self.sequencer.subject_key(number, subject);
                let known = known.filter(|_| !forgotten.iter().any(|gone| **gone == *subject));
                known.unwrap_or_else(|| {
                    *new.entry(subject).or_insert_with(|| self.new_subject_key(number, subject))
                })
            })
            .collect()
    }

    fn new_subject_key(&mut self, number: TenantNo, subject: &[u8]) -> SubjectKey {
        let id = KeyId(self.sequencer.next_key + self.changes.keys.len() as u64);
        let key = SubjectKey { id, key: self.entropy.next() };
        self.changes.keys.push((number, subject.into(), key));
        self.puts.push(CatalogPut {
            kind: CatalogKind::SubjectKey,
            key: subject_catalog_key(number, subject),
            value: Some(encode_subject_key(&key)),
        });
        key
    }
}

/// The leaves of new rows, one for each row of the batch; zeroes where the first copy is in another frame.
fn spread(leaves: &[Leaf], answer: &AppendedBatch) -> Vec<Leaf> {
    if leaves.is_empty() || answer.duplicates.is_empty() {
        return leaves.to_vec();
    }
    (0..answer.rows)
        .map(|row| {
            // A duplicate within the batch has the leaf of its first copy; an older one is out of range.
            let (seq, _) = answer.seq_of(row);
            let index = usize::try_from(seq.wrapping_sub(answer.first_seq)).ok();
            index.and_then(|i| leaves.get(i)).copied().unwrap_or_default()
        })
        .collect()
}

/// The rows that are not duplicates.
fn new_rows(rows: u32, duplicates: &[(u32, u64)]) -> Vec<u32> {
    let mut skip = duplicates.iter().map(|(row, _)| *row).peekable();
    (0..rows)
        .filter(|row| {
            let duplicate = skip.peek() == Some(row);
            if duplicate {
                skip.next();
            }
            !duplicate
        })
        .collect()
}

#[cfg(test)]
mod tests;
