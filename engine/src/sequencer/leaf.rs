//! The leaf of an audit record: a hash that proves the record, and still stands when its personal
//! fields were erased.
//!
//! leaf = SHA-256(0x00, version, envelope, commitment): the 0x00 is the leaf prefix of RFC 6962. The
//! envelope is what always stays readable. The commitment hides everything else under a key of the
//! record, HMAC-SHA256(subject's key, [`RECORD_KEY`], seq): once the subject's key is gone, nobody can
//! guess a short field (an address, a name) from the leaf.
//!
//! Strings go in as they came, never as codes; documents are canonical already ([`crate::schema::document`]),
//! so a record that is read back from a segment gives the same leaf.
//!
//! The bytes are described in `docs/format/identifiers.md`.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::mac::keyed;
use super::tree::Hash;
use crate::error::{Error, Result};
use crate::id::Stream;
use crate::schema::stream::{
    ACTION_TYPE, COMMITMENT, KEY_ID, LSN, OBJECT_TYPE, OUTCOME, RECEIVED, SEQ, SEVERITY, TIME,
};
use crate::schema::{Batch, BytesColumn, Column, ColumnDef, ColumnId, Schema};

/// The version of envelope and commitment.
pub const LEAF_VERSION: u8 = 1;
/// Separates this use of a subject's key from others.
pub const RECORD_KEY: &[u8] = b"insights audit commitment";

/// The columns that are not committed to: the envelope, and the store's own.
const NOT_COMMITTED: [ColumnDef; 10] =
    [TIME, RECEIVED, LSN, SEQ, KEY_ID, ACTION_TYPE, OBJECT_TYPE, SEVERITY, OUTCOME, COMMITMENT];

/// Whether a column of audit is committed to: those an erased record has lost.
pub fn is_committed(column: ColumnId) -> bool {
    NOT_COMMITTED.iter().all(|def| def.id != column)
}

/// The leaf of one row of an audit batch, whose `seq`, `received_at` and `key_id` are set.
///
/// # Errors
///
/// [`Error::Invalid`] for another stream, or a row that is not there.
pub fn leaf(batch: &Batch, row: usize, subject_key: &[u8; 32]) -> Result<Hash> {
    Leaves::new(batch)?.leaf(row, subject_key)
}

/// The leaf of a row whose committed fields are erased, from the commitment that was kept.
///
/// # Errors
///
/// As [`leaf`].
pub fn leaf_of_commitment(batch: &Batch, row: usize, commitment: &Hash) -> Result<Hash> {
    Leaves::new(batch)?.leaf_of_commitment(row, commitment)
}

/// What hides all fields that are not in the envelope.
///
/// # Errors
///
/// As [`leaf`].
pub fn commitment(batch: &Batch, row: usize, subject_key: &[u8; 32]) -> Result<Hash> {
    Leaves::new(batch)?.commitment(row, subject_key)
}

/// Makes the leaves of the rows of one audit batch, one after the other.
#[derive(Debug)]
pub struct Leaves<'b> {
    rows: usize,
    seq: &'b [u64],
    /// The numbers of the envelope, then its texts.
    numbers: [&'b Column; 6],
    texts: [Option<&'b BytesColumn>; 2],
    committed: Vec<(ColumnId, Option<&'b BytesColumn>)>,
    /// The code under the subject's key of the row before: rows of one subject often follow each other.
    subject: Option<([u8; 32], Hmac<Sha256>)>,
    /// What is hashed of a row.
    text: Vec<u8>,
}

impl<'b> Leaves<'b> {
    /// The leaves of a batch.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for another stream.
    pub fn new(batch: &'b Batch) -> Result<Self> {
        if batch.stream() != Stream::Audit {
            return Err(Error::invalid(format!("rows of the stream {} have no leaves", batch.stream())));
        }
        let numbers = [&SEQ, &TIME, &RECEIVED, &SEVERITY, &OUTCOME, &KEY_ID].map(|def| batch.column(def));
        let [Some(seq), Some(time), Some(received), Some(severity), Some(outcome), Some(key)] = numbers
        else {
            return Err(Error::invalid("an audit batch without a column of the envelope"));
        };
        let text = |def: &ColumnDef| batch.column(def).and_then(Column::as_bytes);
        let committed = Schema::of(Stream::Audit).columns.iter().filter(|def| is_committed(def.id));
        Ok(Self {
            rows: batch.rows(),
            seq: seq.as_u64().unwrap_or(&[]),
            numbers: [seq, time, received, severity, outcome, key],
            texts: [text(&ACTION_TYPE), text(&OBJECT_TYPE)],
            committed: committed.map(|def| (def.id, text(def))).collect(),
            subject: None,
            text: Vec::with_capacity(512),
        })
    }

    /// The leaf of a row, whose `seq`, `received_at` and `key_id` are set.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a row that is not there.
    pub fn leaf(&mut self, row: usize, subject_key: &[u8; 32]) -> Result<Hash> {
        let commitment = self.commitment(row, subject_key)?;
        self.leaf_of_commitment(row, &commitment)
    }

    fn leaf_of_commitment(&mut self, row: usize, commitment: &Hash) -> Result<Hash> {
        self.check(row)?;
        self.text.clear();
        self.text.extend_from_slice(&[0, LEAF_VERSION]);
        for column in self.numbers {
            self.text.extend_from_slice(&number(column, row).to_le_bytes());
        }
        for column in self.texts {
            put_text(column.and_then(|column| column.get(row)), &mut self.text);
        }
        self.text.extend_from_slice(commitment);
        Ok(Sha256::digest(&self.text).into())
    }

    fn commitment(&mut self, row: usize, subject_key: &[u8; 32]) -> Result<Hash> {
        self.check(row)?;
        self.text.clear();
        for (id, column) in &self.committed {
            self.text.extend_from_slice(&id.0.to_le_bytes());
            put_text(column.and_then(|column| column.get(row)), &mut self.text);
        }
        let known = self.subject.take().filter(|(key, _)| key == subject_key);
        let (key, of_subject) = known.unwrap_or_else(|| (*subject_key, keyed(subject_key)));
        let mut record_key = of_subject.clone();
        self.subject = Some((key, of_subject));
        record_key.update(RECORD_KEY);
        record_key.update(&self.seq.get(row).copied().unwrap_or(0).to_le_bytes());
        let mut mac = keyed(&record_key.finalize().into_bytes().into());
        mac.update(&self.text);
        Ok(mac.finalize().into_bytes().into())
    }

    fn check(&self, row: usize) -> Result<()> {
        if row >= self.rows {
            return Err(Error::invalid(format!("row {row} of a batch of {}", self.rows)));
        }
        Ok(())
    }
}

/// A number or an instant; an instant as the two's complement of its microseconds.
fn number(column: &Column, row: usize) -> u64 {
    match column {
        Column::U64(v) => v.get(row).copied().unwrap_or(0),
        Column::I64(v) => v.get(row).map_or(0, |n| n.cast_unsigned()),
        Column::F64(_) | Column::Bytes(_) => 0,
    }
}

fn put_text(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        None => out.push(0),
        Some(bytes) => {
            out.push(1);
            out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            out.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::id::TenantId;
    use crate::schema::{BatchBuilder, ColumnType, Document, Value};

    const KEY: [u8; 32] = [9; 32];

    /// A record with every field set, or with the one named column different.
    fn record(other: Option<&ColumnDef>) -> Batch {
        let mut rows = BatchBuilder::new(TenantId::new("acme").unwrap(), Stream::Audit);
        for def in Schema::of(Stream::Audit).columns {
            let changed = other.is_some_and(|o| o.id == def.id);
            let n = u64::from(def.id.0) + u64::from(changed) * 1000;
            match def.ty {
                ColumnType::Time => rows.i64(def, n.cast_signed()),
                ColumnType::U64 => rows.u64(def, n),
                ColumnType::F64 => rows.f64(def, 0.0),
                ColumnType::Document => {
                    let value = Value::Object(vec![("n".to_owned(), Value::U64(n))]);
                    rows.bytes(def, Some(Document::encode(&value).as_bytes()))
                }
                ColumnType::Str | ColumnType::Code(_) => rows.str(def, Some(&format!("value {n}"))),
            };
        }
        rows.finish_row();
        rows.build()
    }

    fn hex(hash: Hash) -> String {
        hash.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    #[test]
    fn a_leaf_is_the_one_that_was_given_before() {
        assert_eq!(hex(leaf(&record(None), 0, &KEY).unwrap()), GOLDEN_FULL);
        let mut empty = BatchBuilder::new(TenantId::new("acme").unwrap(), Stream::Audit);
        empty.finish_row();
        assert_eq!(hex(leaf(&empty.build(), 0, &KEY).unwrap()), GOLDEN_EMPTY);
    }

    const GOLDEN_FULL: &str = "c01fa513f6a2b2bc132396821856cc99e377f77855047e4d26298fd5ba5fe20e";
    const GOLDEN_EMPTY: &str = "0ce36fb055bd4cd98958226d256cdb7ce9a0c4852b2eabf477bb6da140b5e834";

    #[test]
    fn every_field_but_those_of_the_store_counts() {
        let whole = leaf(&record(None), 0, &KEY).unwrap();
        let mut leaves = HashSet::from([whole]);
        for def in Schema::of(Stream::Audit).columns {
            let changed = leaf(&record(Some(def)), 0, &KEY).unwrap();
            if [LSN.id, COMMITMENT.id].contains(&def.id) {
                assert_eq!(changed, whole);
            } else {
                assert!(leaves.insert(changed), "{} does not count", def.name);
            }
        }
    }

    #[test]
    fn the_commitment_alone_keeps_the_leaf_of_an_erased_record() {
        let full = record(None);
        let kept = commitment(&full, 0, &KEY).unwrap();
        let mut erased = BatchBuilder::new(TenantId::new("acme").unwrap(), Stream::Audit);
        for def in [&TIME, &RECEIVED] {
            erased.i64(def, i64::from(def.id.0));
        }
        for def in [&SEQ, &SEVERITY, &OUTCOME, &KEY_ID] {
            erased.u64(def, u64::from(def.id.0));
        }
        for def in [&ACTION_TYPE, &OBJECT_TYPE] {
            erased.str(def, Some(&format!("value {}", def.id.0)));
        }
        erased.finish_row();
        let erased = erased.build();
        assert_eq!(leaf_of_commitment(&erased, 0, &kept).unwrap(), leaf(&full, 0, &KEY).unwrap());
        assert_ne!(leaf(&erased, 0, &KEY).unwrap(), leaf(&full, 0, &KEY).unwrap());
    }

    #[test]
    fn another_key_gives_another_leaf() {
        assert_ne!(leaf(&record(None), 0, &KEY).unwrap(), leaf(&record(None), 0, &[8; 32]).unwrap());
    }

    #[test]
    fn an_absent_field_is_not_an_empty_one() {
        let mut rows = BatchBuilder::new(TenantId::new("acme").unwrap(), Stream::Audit);
        rows.finish_row();
        rows.str(&crate::schema::stream::DESCRIPTION, Some(""));
        rows.finish_row();
        let rows = rows.build();
        assert_ne!(leaf(&rows, 0, &KEY).unwrap(), leaf(&rows, 1, &KEY).unwrap());
    }

    #[test]
    fn other_streams_have_no_leaves() {
        let batch = BatchBuilder::new(TenantId::new("acme").unwrap(), Stream::Events).build();
        assert!(leaf(&batch, 0, &KEY).is_err());
        assert!(leaf(&record(None), 1, &KEY).is_err());
    }
}
