//! What became of each record, for the client.

use std::borrow::Cow;
use std::collections::HashMap;

use insights_engine::append::{Appended, AppendedBatch};
use insights_engine::id::{Stream, TenantId};
use insights_engine::time::TimestampUs;
use serde::Serialize;
use utoipa::ToSchema;

use super::fault::Fault;
use super::first_copies::NO_LEAF;
use super::intake::RecordFault;
use crate::http::error::{ApiError, FieldError};

/// A record that was not accepted, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RecordError {
    /// Its place in the body, from 0.
    pub index: u32,
    /// What is wrong: an RFC 6901 pointer into the record.
    pub pointer: String,
    /// The reason, for programs.
    #[schema(value_type = String)]
    pub code: Cow<'static, str>,
    /// The reason, in words.
    #[schema(value_type = String)]
    pub detail: Cow<'static, str>,
}

impl From<RecordFault> for RecordError {
    fn from(RecordFault { index, fault: Fault { pointer, code, detail } }: RecordFault) -> Self {
        Self { index, pointer, code, detail }
    }
}

/// What proves where an audit record is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct AuditReceipt {
    /// Its place in the body, from 0.
    pub index: u32,
    /// Its id: the client's, or one that the server derives.
    pub id: String,
    /// Its place in its organization's log, from 1, without holes.
    pub seq: u64,
    /// SHA-256 leaf of the log's tree, in hexadecimal. Absent for a duplicate whose first copy cannot be
    /// read any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf_hash: Option<String>,
}

/// The answer to a body of records.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
#[schema(as = IngestAnswer)]
pub struct Answer {
    /// Records that are new.
    pub accepted: u64,
    /// Records whose id was there already; they are kept once.
    pub duplicates: u64,
    /// Records that were not accepted; `errors` says why.
    pub rejected: u64,
    /// Whether the records were synced to disk before this answer.
    pub durable: bool,
    /// What was wrong with the rejected records.
    pub errors: Vec<RecordError>,
    /// The id of the record, when the body was one object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The session of the event, when the body was one object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Where the audit records are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<Vec<AuditReceipt>>,
}

/// Where records went, as far as answering needs it.
#[derive(Debug)]
pub struct Sent {
    /// The stream.
    pub stream: Stream,
    /// Whether the body was one object.
    pub single: bool,
    /// The organization of each record of the body.
    pub homes: Vec<Option<TenantId>>,
    /// The ids that the client gave: of every audit record, else of the first record.
    pub ids: Vec<Option<String>>,
    /// What was wrong.
    pub errors: Vec<RecordError>,
    /// The session of a single event.
    pub session_id: Option<String>,
}

/// Derives the id of a row whose client gave none.
pub type DerivedId<'a> = dyn Fn(&TenantId, Stream, u64, TimestampUs) -> String + 'a;

impl Sent {
    /// The answer after the rows were kept, now or at an earlier request of the same idempotency key.
    pub fn answer(mut self, appended: &Appended, derived_id: &DerivedId<'_>) -> Answer {
        if appended.replayed {
            self.errors = appended.rejected.iter().map(replayed_error).collect();
        }
        let receipts = match self.stream {
            Stream::Audit => self.receipts(appended, derived_id),
            Stream::Events if self.single => self.receipts(appended, derived_id),
            Stream::Events | Stream::Metrics => Vec::new(),
        };
        let id = self.single.then(|| receipts.first().map(|r| r.id.clone())).flatten();
        Answer {
            accepted: appended.batches.iter().map(AppendedBatch::accepted).sum(),
            duplicates: appended.batches.iter().map(|b| b.duplicates.len() as u64).sum(),
            rejected: count_records(&self.errors),
            durable: appended.durable,
            errors: self.errors,
            id,
            session_id: self.session_id,
            records: (self.stream == Stream::Audit).then_some(receipts),
        }
    }

    /// A receipt for each record that was kept, in the order of the body.
    fn receipts(&self, appended: &Appended, derived_id: &DerivedId<'_>) -> Vec<AuditReceipt> {
        let mut batches: HashMap<&str, (&AppendedBatch, u32)> =
            appended.batches.iter().map(|batch| (batch.tenant.as_str(), (batch, 0))).collect();
        let mut rejected = self.errors.iter().map(|error| error.index).peekable();
        let mut receipts = Vec::new();
        for (index, home) in (0_u32..).zip(&self.homes) {
            let mut is_rejected = false;
            while rejected.next_if(|at| *at <= index).is_some() {
                is_rejected = true;
            }
            let Some(home) = home.as_ref().filter(|_| !is_rejected) else { continue };
            let Some((batch, next)) = batches.get_mut(home.as_str()) else { continue };
            let row = *next;
            *next += 1;
            let (seq, _) = batch.seq_of(row);
            let given = self.ids.get(index as usize).cloned().flatten();
            let id = given.unwrap_or_else(|| derived_id(home, self.stream, seq, appended.received));
            let leaf_hash =
                batch.leaves.get(row as usize).filter(|leaf| **leaf != NO_LEAF).map(|leaf| hex(leaf));
            receipts.push(AuditReceipt { index, id, seq, leaf_hash });
        }
        receipts
    }
}

fn replayed_error(rejection: &insights_engine::append::Rejection) -> RecordError {
    RecordError {
        index: rejection.index,
        pointer: rejection.pointer.clone(),
        code: Cow::Owned(rejection.code.clone()),
        detail: Cow::Owned(rejection.detail.clone()),
    }
}

/// How many records the errors are about; the errors of a record follow one another.
pub fn count_records(errors: &[RecordError]) -> u64 {
    errors.chunk_by(|a, b| a.index == b.index).count() as u64
}

/// The problem of a body of which nothing was kept.
pub fn nothing_kept(errors: Vec<RecordError>, single: bool, strict: bool) -> ApiError {
    let records = count_records(&errors);
    let fields: Vec<FieldError> = errors
        .into_iter()
        .map(|error| {
            let field = FieldError::new(error.pointer, error.code, error.detail);
            if single { field } else { field.of_record(error.index) }
        })
        .collect();
    if single {
        return ApiError::invalid(fields);
    }
    let why = if strict { "the batch is all or nothing (strict), and" } else { "nothing was accepted:" };
    let are = if records == 1 { "record is" } else { "records are" };
    let detail = format!("{why} {records} {are} invalid; see errors");
    ApiError::new(crate::http::error::Code::Invalid, detail).with_errors(fields)
}

/// Bytes in hexadecimal. By a table: the formatter of a byte is a third of an audit record's answer.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or('0');
    let mut out = String::with_capacity(bytes.len() * 2);
    out.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]));
    out
}
