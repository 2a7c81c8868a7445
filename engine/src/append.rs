//! What is given to the engine to keep, and what it says when it is kept.

use serde::{Deserialize, Serialize};

use crate::id::{Lsn, TenantId};
use crate::schema::Batch;
use crate::time::TimestampUs;

/// What becomes durable together, or not at all.
#[derive(Debug, Clone, Default)]
pub struct Append {
    /// Rows; at most one batch for each tenant and stream.
    pub batches: Vec<Batch>,
    /// Catalog records that are put with them.
    pub puts: Vec<CatalogPut>,
    /// When the client named the request.
    pub idempotency: Option<Idempotency>,
}

/// A kind of catalog record. On disk it is its place in this list, so that new kinds stand last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum CatalogKind {
    /// Tenant's name -> its number and when it came to exist.
    Tenant = 0,
    /// (tenant number, subject) -> key of the subject's personal columns.
    SubjectKey = 1,
    /// (tenant number, stream) -> next seq and tree frontier.
    Sequence = 2,
    /// (tenant number, block of 256 records) -> root of their leaves.
    AuditRoot = 3,
    /// Name -> secret of the store (derived ids, cursors).
    Secret = 4,
    /// (organization, metric) -> kind and unit.
    Metric = 16,
    /// Id -> API key.
    ApiKey = 17,
    /// Name -> setting or progress mark.
    Setting = 18,
    /// Tenant number -> its retention document.
    Retention = 19,
    /// Id of an erasure -> what is to be erased, later what was.
    Erasure = 20,
    /// Name -> mark of retention: the last wall time that was trusted, the classes of files.
    RetentionMark = 21,
    /// (tenant number, block of 256 records) -> hashes that cover those of its leaves that have expired.
    AuditCover = 5,
}

impl CatalogKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Tenant,
        Self::SubjectKey,
        Self::Sequence,
        Self::AuditRoot,
        Self::AuditCover,
        Self::Secret,
        Self::Metric,
        Self::ApiKey,
        Self::Setting,
        Self::Retention,
        Self::Erasure,
        Self::RetentionMark,
    ];

    /// The kind a byte on disk names, if any.
    pub fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|k| *k as u8 == tag)
    }
}

/// One catalog record that is set or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogPut {
    /// Its kind.
    pub kind: CatalogKind,
    /// Its key, at most 1 KiB.
    pub key: Vec<u8>,
    /// Its value, at most 64 KiB; `None` removes it.
    pub value: Option<Vec<u8>>,
}

/// The name a client gave a request, and what is kept to answer it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// The request's name.
    pub key: IdempotencyKey,
    /// SHA-256 of the body.
    pub body_hash: [u8; 32],
    /// The records of the body that were not accepted.
    pub rejected: Vec<Rejection>,
}

/// What names a request: the same key of another principal, or on another route, is another request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IdempotencyKey {
    /// The organization, or empty for a request over several.
    pub tenant: String,
    /// The credential.
    pub principal: String,
    /// The route with its stream.
    pub route: String,
    /// What the client wrote into the header, at most 255 bytes.
    pub key: String,
}

/// A record of a body that was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// Its place in the body, from 0.
    pub index: u32,
    /// The stable code.
    pub code: String,
    /// RFC 6901 pointer to what is wrong.
    pub pointer: String,
    /// In words.
    pub detail: String,
}

/// What was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The frame that holds it.
    pub lsn: Lsn,
    /// When it was received.
    pub received: TimestampUs,
    /// One for each batch, in their order.
    pub batches: Vec<AppendedBatch>,
    /// Whether it was synced to disk before this answer.
    pub durable: bool,
    /// Whether this is the answer to an earlier request of the same idempotency key; nothing was
    /// added, and `rejected` is what was rejected then.
    pub replayed: bool,
    /// The rejected records, as given (or as given the first time).
    pub rejected: Vec<Rejection>,
}

/// What was kept of one batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendedBatch {
    /// Whose rows.
    pub tenant: String,
    /// The seq of the first new row; the new rows follow without a hole. 0 for metrics.
    pub first_seq: u64,
    /// How many rows the batch had, duplicates included.
    pub rows: u32,
    /// Rows that were there already: (row of the batch, seq of the first copy), by row.
    pub duplicates: Vec<(u32, u64)>,
    /// Of each row of an audit batch the leaf in the tenant's tree, zeroes for a duplicate, whose leaf is
    /// that of the stored row; empty for other streams.
    pub leaves: Vec<[u8; 32]>,
}

impl AppendedBatch {
    /// The seq of a row of the batch (0 for metrics), and whether it is a duplicate.
    pub fn seq_of(&self, row: u32) -> (u64, bool) {
        let before = self.duplicates.partition_point(|(r, _)| *r < row);
        match self.duplicates.get(before) {
            Some((r, seq)) if *r == row => (*seq, true),
            _ if self.first_seq == 0 => (0, false),
            _ => (self.first_seq + u64::from(row) - before as u64, false),
        }
    }

    /// How many rows were new.
    pub fn accepted(&self) -> u64 {
        u64::from(self.rows) - self.duplicates.len() as u64
    }
}

/// Names of the tenant a batch goes to, for the caller's convenience.
impl Append {
    /// One batch and nothing else.
    pub fn batch(batch: Batch) -> Self {
        Self { batches: vec![batch], ..Self::default() }
    }

    /// Catalog records and nothing else.
    pub fn puts(puts: Vec<CatalogPut>) -> Self {
        Self { puts, ..Self::default() }
    }

    /// The tenants it writes to.
    pub fn tenants(&self) -> impl Iterator<Item = &TenantId> {
        self.batches.iter().map(Batch::tenant)
    }
}
