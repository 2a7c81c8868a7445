//! The catalog through flushes, crashes and replays.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::state::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use super::store::CATALOG_LOG_BYTES_MIN;
use super::*;
use crate::append::{CatalogKind, CatalogPut};
use crate::codes::Tenants;
use crate::disk::sim::{CrashPolicy, FaultKind, OpKind, SimDisk};
use crate::id::{Lsn, TenantId, TenantNo};
use crate::manifest::{Edit, Manifest};
use crate::time::TimestampUs;

fn put(key: &str, value: Option<&str>) -> CatalogPut {
    CatalogPut {
        kind: CatalogKind::Setting,
        key: key.as_bytes().to_vec(),
        value: value.map(|v| v.as_bytes().to_vec()),
    }
}

fn tenant(name: &str, number: u32) -> CatalogPut {
    let record = TenantRecord { number: TenantNo(number), created: TimestampUs(5) };
    record.put(&TenantId::new(name).unwrap()).unwrap()
}

fn open(disk: &SimDisk) -> crate::Result<(Manifest, Catalog)> {
    let shared: Arc<dyn crate::disk::Disk> = Arc::new(disk.clone());
    let manifest = Manifest::open_or_create(Arc::clone(&shared))?;
    manifest.sweep()?;
    let catalog = Catalog::open(shared, &manifest.version())?;
    Ok((manifest, catalog))
}

fn flush(manifest: &Manifest, catalog: &Catalog, upto: Lsn) -> crate::Result<()> {
    let change = catalog.persist(upto, &manifest.version(), || manifest.allocate())?;
    let mut edit = Edit { flushed_lsn: Some(upto), ..Edit::default() };
    edit.absorb(change);
    manifest.commit(edit).map(drop)
}

fn settings(catalog: &Catalog) -> BTreeMap<Vec<u8>, Vec<u8>> {
    catalog.scan(CatalogKind::Setting, b"").into_iter().map(|(k, v)| (k, v.to_vec())).collect()
}

#[test]
fn records_are_read_back_after_a_flush_and_a_crash() {
    let disk = SimDisk::new();
    let (manifest, catalog) = open(&disk).unwrap();
    catalog.apply(Lsn(1), &[put("a", Some("1")), put("b", Some("2")), tenant("acme", 1)]).unwrap();
    catalog.apply(Lsn(2), &[put("a", None), put("bc", Some("3"))]).unwrap();
    flush(&manifest, &catalog, Lsn(2)).unwrap();
    catalog.apply(Lsn(3), &[put("b", Some("4"))]).unwrap();
    flush(&manifest, &catalog, Lsn(3)).unwrap();
    let (_, catalog) = open(&disk.crash(CrashPolicy::DropAll, 0)).unwrap();
    assert_eq!(catalog.get(CatalogKind::Setting, b"a"), None);
    assert_eq!(catalog.get(CatalogKind::Setting, b"b").as_deref(), Some(&b"4"[..]));
    let found: Vec<Vec<u8>> = catalog.scan(CatalogKind::Setting, b"b").into_iter().map(|(k, _)| k).collect();
    assert_eq!(found, [b"b".to_vec(), b"bc".to_vec()]);
    assert_eq!(catalog.applied(), Lsn(3));
    let acme = TenantId::new("acme").unwrap();
    assert_eq!(catalog.number_of(&acme), Some(TenantNo(1)));
    assert_eq!(catalog.name_of(TenantNo(1)), Some(acme.clone()));
    assert_eq!(catalog.tenants(), [acme]);
    assert_eq!(catalog.next_tenant_no(), TenantNo(2));
}

#[test]
fn a_replay_of_frames_that_the_log_has_changes_nothing() {
    let disk = SimDisk::new();
    let (manifest, catalog) = open(&disk).unwrap();
    catalog.apply(Lsn(1), &[put("a", Some("1"))]).unwrap();
    catalog.apply(Lsn(2), &[put("a", Some("2"))]).unwrap();
    flush(&manifest, &catalog, Lsn(2)).unwrap();
    let (_, catalog) = open(&disk).unwrap();
    catalog.apply(Lsn(1), &[put("a", Some("1"))]).unwrap();
    assert_eq!(catalog.get(CatalogKind::Setting, b"a").as_deref(), Some(&b"2"[..]));
    catalog.apply(Lsn(3), &[put("a", Some("3"))]).unwrap();
    assert_eq!(catalog.get(CatalogKind::Setting, b"a").as_deref(), Some(&b"3"[..]));
}

#[test]
fn derived_records_last_with_the_next_flush() {
    let disk = SimDisk::new();
    let (manifest, catalog) = open(&disk).unwrap();
    catalog.apply_derived(vec![put("seq", Some("7"))]).unwrap();
    flush(&manifest, &catalog, Lsn(0)).unwrap();
    let (_, catalog) = open(&disk.crash(CrashPolicy::DropAll, 0)).unwrap();
    assert_eq!(catalog.get(CatalogKind::Setting, b"seq").as_deref(), Some(&b"7"[..]));
}

#[test]
fn what_is_too_large_or_makes_no_sense_is_refused() {
    let (_, catalog) = open(&SimDisk::new()).unwrap();
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    assert!(catalog.apply(Lsn(1), &[put(&long, None)]).is_err());
    let long = "v".repeat(VALUE_BYTES_MAX + 1);
    assert!(catalog.apply(Lsn(1), &[put("k", Some(&long))]).is_err());
    catalog.apply(Lsn(2), &[tenant("acme", 2)]).unwrap();
    assert!(catalog.apply(Lsn(3), &[tenant("other", 2)]).is_err());
    assert!(catalog.apply(Lsn(3), &[tenant("acme", 1)]).is_err());
    catalog.apply(Lsn(4), &[tenant("acme", 2)]).unwrap();
}

#[test]
fn a_name_that_was_given_up_goes_on_to_another_number() {
    let disk = SimDisk::new();
    let (manifest, catalog) = open(&disk).unwrap();
    let acme = TenantId::new("acme").unwrap();
    let gone = CatalogPut { value: None, ..tenant("acme", 1) };
    catalog.apply(Lsn(1), &[tenant("acme", 1)]).unwrap();
    flush(&manifest, &catalog, Lsn(1)).unwrap();
    catalog.apply(Lsn(2), std::slice::from_ref(&gone)).unwrap();
    assert_eq!((catalog.number_of(&acme), catalog.name_of(TenantNo(1))), (None, None));
    catalog.apply(Lsn(3), &[tenant("acme", 2)]).unwrap();
    // The log has the first and the last record alone.
    flush(&manifest, &catalog, Lsn(3)).unwrap();
    let (_, catalog) = open(&disk).unwrap();
    assert_eq!(catalog.number_of(&acme), Some(TenantNo(2)));
    assert_eq!((catalog.name_of(TenantNo(1)), catalog.name_of(TenantNo(2))), (None, Some(acme)));
    catalog.apply(Lsn(4), &[gone]).unwrap();
    assert_eq!(catalog.next_tenant_no(), TenantNo(3));
}

#[test]
fn a_log_of_garbage_is_written_anew() {
    let disk = SimDisk::new();
    let (manifest, catalog) = open(&disk).unwrap();
    let large = "v".repeat(VALUE_BYTES_MAX);
    for lsn in 1..=40 {
        catalog.apply(Lsn(lsn), &[put("same", Some(&large)), put(&format!("{lsn}"), Some("x"))]).unwrap();
        flush(&manifest, &catalog, Lsn(lsn)).unwrap();
    }
    let files: Vec<_> = manifest.version().files().cloned().collect();
    assert_eq!(files.len(), 1);
    assert!(files[0].bytes < CATALOG_LOG_BYTES_MIN * 2);
    assert_eq!(manifest.sweep().unwrap(), 2, "the logs of before are left for the sweep");
    let (_, reopened) = open(&disk).unwrap();
    assert_eq!(settings(&reopened), settings(&catalog));
}

#[test]
fn a_large_change_is_split_over_frames_and_whole_at_the_end() {
    let disk = SimDisk::new();
    let (manifest, catalog) = open(&disk).unwrap();
    flush(&manifest, &catalog, Lsn(0)).unwrap();
    let large = "v".repeat(VALUE_BYTES_MAX);
    let puts: Vec<CatalogPut> = (0..150).map(|n| put(&format!("{n:03}"), Some(&large))).collect();
    catalog.apply(Lsn(1), &puts).unwrap();
    flush(&manifest, &catalog, Lsn(1)).unwrap();
    let (_, reopened) = open(&disk).unwrap();
    assert_eq!(settings(&reopened), settings(&catalog));
    assert_eq!(reopened.applied(), Lsn(1));
}

/// The frames of the WAL of a store that always writes the same: frame n puts `n % 3` and removes one.
fn frame(lsn: u64) -> Vec<CatalogPut> {
    vec![put(&format!("{}", lsn % 3), Some(&format!("{lsn}"))), put(&format!("{}", (lsn + 1) % 3), None)]
}

/// Opens, replays the WAL (which holds `frames` frames, all durable), goes on to `end` with a flush now
/// and then; gives how many frames were applied.
fn work(disk: &SimDisk, frames: u64, end: u64) -> crate::Result<(u64, Catalog)> {
    let (manifest, catalog) = open(disk)?;
    let from = manifest.version().flushed_lsn().0 + 1;
    for lsn in from..=end.max(frames) {
        catalog.apply(Lsn(lsn), &frame(lsn))?;
        if lsn > frames && lsn % 4 == 0 && flush(&manifest, &catalog, Lsn(lsn)).is_err() {
            return Ok((lsn, catalog));
        }
    }
    Ok((end.max(frames), catalog))
}

fn model(frames: u64) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut model = BTreeMap::new();
    for put in (1..=frames).flat_map(frame) {
        match put.value {
            Some(value) => drop(model.insert(put.key, value)),
            None => drop(model.remove(&put.key)),
        }
    }
    model
}

#[test]
fn every_crash_and_failure_gives_the_records_of_the_frames() {
    let disk = SimDisk::new();
    work(&disk, 0, 17).unwrap();
    for op in 0..disk.op_count() {
        for (policy, seed) in CrashPolicy::ALL.into_iter().zip(op..) {
            for fault in [None, Some(FaultKind::Eio), Some(FaultKind::ShortWrite)] {
                let disk = SimDisk::new();
                match fault {
                    None => disk.crash_at(op),
                    Some(kind) => disk.fail_at(op, kind, false),
                }
                let frames = work(&disk, 0, 17).map_or(0, |(frames, _)| frames);
                let disk = disk.crash(policy, seed);
                let (_, catalog) = work(&disk, frames, frames).unwrap();
                assert_eq!(settings(&catalog), model(frames), "{op} {policy:?} {fault:?}");
                let (_, catalog) = work(&disk, frames, frames + 9).unwrap();
                assert_eq!(settings(&catalog), model(frames + 9), "{op} {policy:?} {fault:?}, gone on");
            }
        }
    }
}

#[test]
fn a_write_that_failed_is_made_good_by_the_next_flush() {
    let disk = SimDisk::new();
    let (manifest, catalog) = open(&disk).unwrap();
    flush(&manifest, &catalog, Lsn(0)).unwrap();
    catalog.apply(Lsn(1), &[put("a", Some("1"))]).unwrap();
    disk.fail_kind_at(OpKind::Write, disk.op_count_of(OpKind::Write), FaultKind::Enospc, false);
    assert!(flush(&manifest, &catalog, Lsn(1)).is_err());
    flush(&manifest, &catalog, Lsn(1)).unwrap();
    let (_, catalog) = open(&disk.crash(CrashPolicy::DropAll, 0)).unwrap();
    assert_eq!(catalog.get(CatalogKind::Setting, b"a").as_deref(), Some(&b"1"[..]));
}

#[test]
fn every_changed_byte_is_found_or_says_the_same() {
    let disk = SimDisk::new();
    let (_, whole) = work(&disk, 0, 12).unwrap();
    let path = disk.paths().into_iter().find(|p| p.starts_with("catalog")).unwrap();
    for offset in 0..disk.content(&path).unwrap().len() as u64 {
        let damaged = disk.crash(CrashPolicy::KeepAll, 0);
        damaged.corrupt(&path, offset, 0x04);
        match open(&damaged) {
            Ok((_, catalog)) => assert_eq!(settings(&catalog), settings(&whole), "byte {offset}"),
            Err(crate::Error::Corrupt { path: blamed, .. }) => assert_eq!(blamed, path),
            Err(other) => panic!("{other}"),
        }
    }
    let cut = disk.crash(CrashPolicy::KeepAll, 0);
    cut.cut(&path, disk.content(&path).unwrap().len() as u64 - 40);
    assert!(open(&cut).is_err_and(|e| e.is_damage()), "a cut file is damage");
    cut.lose(&path);
    assert!(open(&cut).is_err_and(|e| e.is_damage()), "a lost file is damage");
}

#[test]
fn the_bytes_of_a_catalog_are_the_ones_of_before() {
    let disk = SimDisk::new();
    let (manifest, catalog) = open(&disk).unwrap();
    catalog.apply(Lsn(1), &[put("a", Some("1")), put("b", None), tenant("acme", 1)]).unwrap();
    flush(&manifest, &catalog, Lsn(1)).unwrap();
    catalog.apply(Lsn(2), &[put("a", Some("2"))]).unwrap();
    flush(&manifest, &catalog, Lsn(2)).unwrap();
    let path = manifest.version().files().next().unwrap().path();
    assert_eq!(path, Path::new("catalog/0000000002.log"));
    crate::golden::check("catalog.log", &disk.content(path).unwrap());
}

proptest! {
    #[test]
    fn random_groups_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(crate::record::decode::<super::log::Group>(&bytes));
        drop(super::log::decode_group(&bytes));
        drop(TenantRecord::decode(&bytes));
    }
}
