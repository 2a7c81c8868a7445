//! What the sequencer decides about appends, as tables.

use std::sync::Arc;

use super::*;
use crate::append::{Idempotency, IdempotencyKey};
use crate::catalog::Catalog;
use crate::dedup::{IdIndex, IdempotencyIndex};
use crate::disk::sim::SimDisk;
use crate::manifest::Manifest;
use crate::schema::BatchBuilder;

struct Fixture {
    sequencer: Sequencer,
    entropy: Entropy,
}

impl Fixture {
    fn new() -> Self {
        let disk: Arc<dyn crate::disk::Disk> = Arc::new(SimDisk::new());
        let manifest = Manifest::open_or_create(Arc::clone(&disk)).unwrap();
        let version = manifest.version();
        let catalog = Catalog::open(Arc::clone(&disk), &version).unwrap();
        let ids = Arc::new(IdIndex::open(Arc::clone(&disk), &version).unwrap());
        let requests = Arc::new(IdempotencyIndex::open(disk, &version).unwrap());
        let sequencer = Sequencer::new(&catalog, ids, requests, Lsn(0), [9; 32]).unwrap();
        Self { sequencer, entropy: Entropy::from_seed([3; 32]) }
    }

    /// Plans and commits, as the engine does; the frame, or the replayed answer.
    fn append(&mut self, append: Append) -> Result<Frame> {
        let received = TimestampUs(1_700_000_000_000_000);
        let plan = self.sequencer.plan(Prepared::new(append)?, received, &self.entropy)?;
        let mut frame = match plan {
            Plan::Write(frame) => *frame,
            Plan::Replay(appended) => Frame::empty(self.sequencer.next_lsn(), received, appended)?,
        };
        self.sequencer.commit(std::mem::take(&mut frame.changes), frame.lsn, received);
        Ok(frame)
    }
}

fn events(tenant: &str, ids: &[Option<&str>]) -> Batch {
    rows(tenant, Stream::Events, ids)
}

fn rows(tenant: &str, stream: Stream, ids: &[Option<&str>]) -> Batch {
    let mut out = BatchBuilder::new(TenantId::new(tenant).unwrap(), stream);
    for id in ids {
        out.str(&stream::ID, *id).str(&stream::USER_ID, Some("u1"));
        out.finish_row();
    }
    out.build()
}

fn named(batch: Batch, body_hash: [u8; 32]) -> Append {
    let key = IdempotencyKey {
        tenant: batch.tenant().as_str().to_owned(),
        principal: "key".to_owned(),
        route: "track".to_owned(),
        key: "k1".to_owned(),
    };
    let idempotency = Some(Idempotency { key, body_hash, rejected: Vec::new() });
    Append { batches: vec![batch], puts: Vec::new(), idempotency }
}

#[test]
fn seq_has_no_holes_and_is_of_one_tenant_and_stream() {
    let mut fixture = Fixture::new();
    let mut first_seq = |batch| fixture.append(Append::batch(batch)).unwrap().appended.batches[0].first_seq;
    assert_eq!(first_seq(events("a", &[None, None])), 1);
    assert_eq!(first_seq(events("b", &[None])), 1);
    assert_eq!(first_seq(events("a", &[None])), 3);
    assert_eq!(first_seq(rows("a", Stream::Audit, &[None])), 1);
    assert_eq!(first_seq(rows("a", Stream::Metrics, &[None])), 0);
    assert_eq!(first_seq(events("a", &[None])), 4);
}

#[test]
fn an_id_that_comes_again_keeps_its_first_seq() {
    let mut fixture = Fixture::new();
    fixture.append(Append::batch(events("a", &[Some("x"), None, Some("y")]))).unwrap();
    let again = fixture
        .append(Append::batch(events("a", &[None, Some("y"), Some("z"), Some("z"), Some("x")])))
        .unwrap();
    let answer = &again.appended.batches[0];
    assert_eq!(answer.duplicates, vec![(1, 3), (3, 5), (4, 1)]);
    assert_eq!(answer.accepted(), 2);
    let seqs: Vec<_> = (0..5).map(|row| answer.seq_of(row)).collect();
    assert_eq!(seqs, vec![(4, false), (3, true), (5, false), (5, true), (1, true)]);
    assert_eq!(again.rows[0].len(), 2);
    // Another tenant and another stream have ids of their own.
    assert_eq!(
        fixture.append(Append::batch(events("b", &[Some("x")]))).unwrap().appended.batches[0].accepted(),
        1
    );
    let audit = fixture.append(Append::batch(rows("a", Stream::Audit, &[Some("x")]))).unwrap();
    assert_eq!(audit.appended.batches[0].accepted(), 1);
}

#[test]
fn a_derived_id_that_is_sent_in_is_a_duplicate() {
    let mut fixture = Fixture::new();
    let first = fixture.append(Append::batch(events("a", &[None, None]))).unwrap();
    let tenant = fixture.sequencer.tenant(&TenantId::new("a").unwrap()).unwrap();
    let ids = fixture.sequencer.derived_ids().clone();
    let id = ids.derive(tenant, Stream::Events, 2, first.appended.received);
    let again = fixture.append(Append::batch(events("a", &[Some(&id)]))).unwrap();
    assert_eq!(again.appended.batches[0].duplicates, vec![(0, 2)]);
    // One of a row that does not exist is an id like any other.
    let future = ids.derive(tenant, Stream::Events, 99, first.appended.received);
    let new = fixture.append(Append::batch(events("a", &[Some(&future)]))).unwrap();
    assert_eq!(new.appended.batches[0].accepted(), 1);
}

#[test]
fn a_named_request_is_answered_again_and_writes_nothing() {
    let mut fixture = Fixture::new();
    let first = fixture.append(named(events("a", &[None, None]), [1; 32])).unwrap();
    let again = fixture.append(named(events("a", &[None, None]), [1; 32])).unwrap();
    assert!(again.appended.replayed && !first.appended.replayed);
    assert_eq!(again.appended.batches, first.appended.batches);
    assert!(again.rows.is_empty());
    let other = fixture.append(named(events("a", &[None]), [2; 32]));
    assert!(matches!(other, Err(Error::IdempotencyMismatch)));
    assert_eq!(fixture.append(Append::batch(events("a", &[None]))).unwrap().appended.batches[0].first_seq, 3);
}

#[test]
fn a_plan_that_is_not_committed_leaves_no_trace() {
    let mut fixture = Fixture::new();
    let prepared = Prepared::new(Append::batch(events("a", &[Some("x")]))).unwrap();
    drop(fixture.sequencer.plan(prepared, TimestampUs(0), &fixture.entropy).unwrap());
    let frame = fixture.append(Append::batch(events("a", &[Some("x")]))).unwrap();
    assert_eq!((frame.lsn, frame.appended.batches[0].seq_of(0)), (Lsn(1), (1, false)));
}

#[test]
fn a_subject_has_one_key_and_every_audit_row_a_leaf() {
    let mut fixture = Fixture::new();
    let first = fixture.append(Append::batch(rows("a", Stream::Audit, &[None, None]))).unwrap();
    let keys = |frame: &Frame| frame.puts.iter().filter(|p| p.kind == CatalogKind::SubjectKey).count();
    assert_eq!(keys(&first), 1);
    assert_eq!(first.appended.batches[0].leaves.len(), 2);
    assert_ne!(first.appended.batches[0].leaves[0], first.appended.batches[0].leaves[1]);
    let second = fixture.append(Append::batch(rows("a", Stream::Audit, &[None]))).unwrap();
    assert_eq!(keys(&second), 0);
}

/// With buffered durability a flush may keep records of frames that a power cut then takes.
#[test]
fn a_number_that_the_catalog_has_seen_is_not_given_again() {
    let disk: Arc<dyn crate::disk::Disk> = Arc::new(SimDisk::new());
    let version = Manifest::open_or_create(Arc::clone(&disk)).unwrap().version();
    let catalog = Catalog::open(Arc::clone(&disk), &version).unwrap();
    let put =
        |key: &[u8]| CatalogPut { kind: CatalogKind::Setting, key: key.to_vec(), value: Some(b"v".to_vec()) };
    catalog.apply(Lsn(7), &[put(b"lost")]).unwrap();
    let ids = Arc::new(IdIndex::open(Arc::clone(&disk), &version).unwrap());
    let requests = Arc::new(IdempotencyIndex::open(disk, &version).unwrap());
    let sequencer = Sequencer::new(&catalog, ids, requests, Lsn(4), [9; 32]).unwrap();
    assert_eq!(sequencer.next_lsn(), Lsn(8));
    catalog.apply(sequencer.next_lsn(), &[put(b"new")]).unwrap();
    assert!(catalog.get(CatalogKind::Setting, b"new").is_some());
}

#[test]
fn one_tenant_and_stream_twice_in_an_append_is_refused() {
    let append = Append { batches: vec![events("a", &[None]), events("a", &[None])], ..Append::default() };
    assert!(matches!(Prepared::new(append), Err(Error::Invalid { .. })));
}
