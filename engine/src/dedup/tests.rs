//! Ids and named requests: nothing is forgotten within the window, nothing is a false duplicate.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::append::{AppendedBatch, IdempotencyKey, Rejection};
use crate::disk::Disk;
use crate::disk::sim::{CrashPolicy, SimDisk};
use crate::id::{Lsn, Stream, TenantNo};
use crate::manifest::{Edit, FileKind, Manifest};
use crate::time::TimestampUs;

const HOUR_US: i64 = 3_600_000_000;

fn open(disk: &SimDisk) -> crate::Result<(Manifest, IdIndex, IdempotencyIndex)> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let manifest = Manifest::open_or_create(Arc::clone(&shared))?;
    manifest.sweep()?;
    let version = manifest.version();
    let ids = IdIndex::open(Arc::clone(&shared), &version)?;
    let requests = IdempotencyIndex::open(shared, &version)?;
    Ok((manifest, ids, requests))
}

fn flush(
    (manifest, ids, requests): &(Manifest, IdIndex, IdempotencyIndex),
    upto: u64,
    oldest: i64,
) -> crate::Result<()> {
    let (upto, oldest) = (Lsn(upto), TimestampUs(oldest));
    let mut edit = Edit { flushed_lsn: Some(upto), ..Edit::default() };
    edit.absorb(ids.write(upto, oldest, &|| manifest.allocate())?);
    edit.absorb(requests.write(upto, oldest, &|| manifest.allocate())?);
    let version = manifest.commit(edit)?;
    ids.publish(ids.prepare(&version)?, upto);
    requests.publish(requests.prepare(&version)?, upto);
    Ok(())
}

fn seen(seq: u64, hour: i64) -> SeenId {
    SeenId { seq, lsn: Lsn(seq), received: TimestampUs(hour * HOUR_US + 5) }
}

fn request(n: u64) -> (IdempotencyKey, StoredAnswer) {
    let key = IdempotencyKey {
        tenant: "acme".to_owned(),
        principal: "key_1".to_owned(),
        route: "/v1/events".to_owned(),
        key: format!("request {n}"),
    };
    let batch = AppendedBatch {
        tenant: "acme".to_owned(),
        first_seq: n * 10,
        rows: 3,
        duplicates: vec![(1, n)],
        leaves: vec![[9; 32]; 2],
    };
    let rejection = Rejection {
        index: 3,
        code: "too_long".to_owned(),
        pointer: "/3/event_type".to_owned(),
        detail: "event_type has at most 128 bytes".to_owned(),
    };
    let received = TimestampUs(i64::try_from(n).unwrap() * HOUR_US / 4);
    let answer = StoredAnswer {
        body_hash: [7; 32],
        lsn: Lsn(n),
        received,
        batches: vec![batch],
        rejected: vec![rejection],
    };
    (key, answer)
}

#[test]
fn an_id_is_known_before_and_after_the_flush_and_at_the_next_start() {
    let disk = SimDisk::new();
    let store = open(&disk).unwrap();
    let ids = &store.1;
    ids.insert(TenantNo(1), Stream::Events, b"a", seen(1, 0));
    ids.insert(TenantNo(1), Stream::Audit, b"a", seen(2, 0));
    ids.insert(TenantNo(2), Stream::Events, b"a", seen(3, 1));
    ids.insert(TenantNo(1), Stream::Events, b"late", seen(4, 1));
    let check = |ids: &IdIndex| {
        assert_eq!(ids.get(TenantNo(1), Stream::Events, b"a").unwrap(), Some(1));
        assert_eq!(ids.get(TenantNo(1), Stream::Audit, b"a").unwrap(), Some(2));
        assert_eq!(ids.get(TenantNo(2), Stream::Events, b"a").unwrap(), Some(3));
        assert_eq!(ids.get(TenantNo(2), Stream::Audit, b"a").unwrap(), None);
        assert_eq!(ids.get(TenantNo(1), Stream::Events, b"b").unwrap(), None);
    };
    check(ids);
    flush(&store, 3, 0).unwrap();
    check(ids);
    assert_eq!(ids.get(TenantNo(1), Stream::Events, b"late").unwrap(), Some(4));
    let reopened = open(&disk.crash(CrashPolicy::DropAll, 0)).unwrap();
    check(&reopened.1);
    assert_eq!(reopened.1.get(TenantNo(1), Stream::Events, b"late").unwrap(), None, "the log has it");
}

#[test]
fn an_id_that_was_taken_back_is_new_again() {
    let store = open(&SimDisk::new()).unwrap();
    store.1.insert(TenantNo(1), Stream::Events, b"a", seen(1, 0));
    assert!(store.1.memory_bytes() > 0);
    store.1.remove(TenantNo(1), Stream::Events, b"a");
    assert_eq!(store.1.get(TenantNo(1), Stream::Events, b"a").unwrap(), None);
    assert_eq!(store.1.memory_bytes(), 0);
}

#[test]
fn hours_are_merged_while_they_last_and_dropped_whole_when_they_are_old() {
    let disk = SimDisk::new();
    let store = open(&disk).unwrap();
    let id = |n: u64| format!("id {n}").into_bytes();
    let mut seq = 0;
    for step in 0..120 {
        let hour = step / 10;
        for _ in 0..50 {
            seq += 1;
            store.1.insert(TenantNo(1), Stream::Events, &id(seq), seen(seq, hour));
        }
        flush(&store, seq, (hour - 4) * HOUR_US).unwrap();
        let files: Vec<i64> = store.0.version().files_of(FileKind::Ids).map(|f| f.hour.unwrap()).collect();
        let mut of_hour: BTreeMap<i64, usize> = BTreeMap::new();
        for hour in files {
            *of_hour.entry(hour).or_default() += 1;
        }
        assert!(of_hour.values().all(|n| *n <= 4), "{of_hour:?}");
        assert!(of_hour.keys().all(|h| *h >= hour - 4));
        assert!(of_hour.iter().filter(|(h, _)| **h < hour - 1).all(|(_, n)| *n == 1), "{of_hour:?}");
    }
    for n in 1..=seq {
        let known = n > 50 * 10 * 7;
        let found = store.1.get(TenantNo(1), Stream::Events, &id(n)).unwrap();
        assert_eq!(found, known.then_some(n), "id {n}");
    }
}

#[test]
fn of_an_id_that_came_again_the_first_seq_stands() {
    let disk = SimDisk::new();
    let store = open(&disk).unwrap();
    for n in 1..=6 {
        // Two frames in flight at once may both hold an id; the one that was flushed first stands.
        store.1.insert(TenantNo(1), Stream::Events, b"same", seen(n, 0));
        flush(&store, n, 0).unwrap();
    }
    let files = store.0.version().files_of(FileKind::Ids).count();
    assert!(files <= 4);
    assert!(store.1.get(TenantNo(1), Stream::Events, b"same").unwrap().is_some());
}

#[test]
fn an_answer_is_given_again_as_it_was() {
    let disk = SimDisk::new();
    let store = open(&disk).unwrap();
    for n in 0..40 {
        let (key, answer) = request(n);
        store.2.insert(key, answer);
        flush(&store, n, 0).unwrap();
    }
    assert_eq!(store.2.memory_bytes(), 0);
    let check = |requests: &IdempotencyIndex| {
        for n in 0..40 {
            let (key, answer) = request(n);
            assert_eq!(requests.get(&key).unwrap().as_deref(), Some(&answer), "request {n}");
            assert_eq!(requests.get(&IdempotencyKey { route: "/v1/audit".to_owned(), ..key }).unwrap(), None);
        }
    };
    check(&store.2);
    let (key, answer) = request(99);
    store.2.insert(key.clone(), answer);
    store.2.remove(&key);
    assert_eq!(store.2.get(&key).unwrap(), None);
    check(&open(&disk.crash(CrashPolicy::DropAll, 0)).unwrap().2);
}

#[test]
fn every_crash_keeps_the_ids_and_answers_of_what_was_flushed() {
    let id = |n: u64| n.to_string().into_bytes();
    let insert = |store: &(Manifest, IdIndex, IdempotencyIndex), n: u64| {
        store.1.insert(TenantNo(1), Stream::Events, &id(n), seen(n, i64::try_from(n / 6).unwrap()));
        let (key, answer) = request(n);
        store.2.insert(key, answer);
    };
    let work = |disk: &SimDisk| {
        let Ok(store) = open(disk) else { return };
        for n in 1..=12 {
            insert(&store, n);
            if flush(&store, n, 0).is_err() {
                return;
            }
        }
    };
    let disk = SimDisk::new();
    work(&disk);
    for change in 0..disk.change_count() {
        for (policy, seed) in CrashPolicy::ALL.into_iter().zip(change..) {
            let disk = SimDisk::new();
            disk.crash_at_change(change);
            work(&disk);
            let store = open(&disk.crash(policy, seed)).unwrap();
            let flushed = store.0.version().flushed_lsn().0;
            (flushed + 1..=12).for_each(|n| insert(&store, n));
            flush(&store, 12, 0).unwrap();
            for n in 1..=12 {
                assert_eq!(store.1.get(TenantNo(1), Stream::Events, &id(n)).unwrap(), Some(n));
                let (key, answer) = request(n);
                assert_eq!(store.2.get(&key).unwrap().as_deref(), Some(&answer));
            }
        }
    }
}

#[test]
fn the_bytes_of_the_files_are_the_ones_of_before() {
    let disk = SimDisk::new();
    let store = open(&disk).unwrap();
    for n in 1..=5 {
        store.1.insert(TenantNo(1), Stream::Events, format!("id {n}").as_bytes(), seen(n, 0));
    }
    let (key, answer) = request(1);
    store.2.insert(key, answer);
    flush(&store, 5, 0).unwrap();
    for (kind, name) in [(FileKind::Ids, "ids.ids"), (FileKind::Idempotency, "idempotency.idem")] {
        let meta = store.0.version().files_of(kind).next().cloned().unwrap();
        crate::golden::check(name, &disk.content(meta.path()).unwrap());
    }
}
