//! Sorted files: what goes in comes out, and damage is told.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::disk::Disk;
use crate::disk::sim::SimDisk;
use crate::error::{Error, Result};
use crate::file_header::FileType;
use crate::id::{FileId, TenantNo};
use crate::manifest::{FileKind, FileMeta};

const TYPE: FileType = FileType { magic: *b"TESTSORT", version: 2, what: "test file" };

type Model = BTreeMap<(TenantNo, u8, Vec<u8>), (u64, i64)>;

fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir(Path::new(FileKind::Ids.dir())).unwrap();
    disk
}

fn write(disk: &SimDisk, id: u64, model: &Model) -> FileMeta {
    let keys = Some(model.len() as u64);
    let mut writer = SortedWriter::create(disk, FileKind::Ids, FileId(id), TYPE, keys).unwrap();
    for ((tenant, tag, key), (value, extra)) in model {
        writer.push(Entry { tenant: *tenant, tag: *tag, key, value: *value, extra: *extra }).unwrap();
    }
    writer.finish(disk, b"owner").unwrap()
}

fn open(disk: &SimDisk, meta: &FileMeta) -> Result<SortedReader> {
    let mut reader = SortedReader::open(disk, meta, TYPE)?;
    reader.load_filter()?;
    Ok(reader)
}

fn read_all(reader: &SortedReader) -> Result<Model> {
    let mut model = Model::new();
    let mut merge = Merge::new(std::iter::once(reader))?;
    while let Some((file, e)) = merge.peek() {
        model.insert((e.tenant, e.tag, e.key.to_vec()), (e.value, e.extra));
        merge.advance(file)?;
    }
    Ok(model)
}

/// Several tenants: one of many blocks, and small ones that share a block.
fn large() -> Model {
    let mut model = Model::new();
    for n in 0..9_000u64 {
        let key = format!("user-{:06}@example.com", n * 7919 % 1_000_003).into_bytes();
        model.insert((TenantNo(5), 1, key), (n.wrapping_mul(0x9e37_79b9_7f4a_7c15), -n.cast_signed()));
    }
    for tenant in 6..300 {
        for tag in 0..3 {
            model.insert((TenantNo(tenant), tag, format!("k{tenant}").into_bytes()), (u64::from(tenant), 0));
            model.insert((TenantNo(tenant), tag, Vec::new()), (0, i64::MIN));
        }
    }
    model
}

#[test]
fn every_key_is_found_by_key_by_rank_and_in_order() {
    let disk = disk();
    let model = large();
    let meta = write(&disk, 3, &model);
    let reader = open(&disk, &meta).unwrap();
    let cache = BlockCache::new(200_000);
    assert_eq!(reader.owner(), b"owner");
    assert_eq!(reader.entries(), model.len() as u64);
    assert_eq!(read_all(&reader).unwrap(), model);
    let mut ranks: BTreeMap<(TenantNo, u8), u32> = BTreeMap::new();
    for ((tenant, tag, key), numbers) in &model {
        assert!(reader.may_contain(key_hash(*tenant, *tag, key)));
        assert_eq!(reader.get(&cache, *tenant, *tag, key).unwrap().as_ref(), Some(numbers));
        let rank = ranks.entry((*tenant, *tag)).or_default();
        let block = reader.block_of_rank(&cache, *tenant, *tag, *rank).unwrap().unwrap();
        let group = block.group(*tenant, *tag).unwrap();
        let index = group.start + (*rank - group.first_rank) as usize;
        assert_eq!(block.entry(group, index).unwrap().key, key);
        *rank += 1;
    }
    for (tenant, tag, key) in [(0, 0, "a"), (5, 1, "zzz"), (5, 2, "user-000001@example.com"), (400, 0, "")] {
        assert_eq!(reader.get(&cache, TenantNo(tenant), tag, key.as_bytes()).unwrap(), None);
    }
}

#[test]
fn an_empty_file_is_a_file() {
    let disk = disk();
    let reader = open(&disk, &write(&disk, 1, &Model::new())).unwrap();
    assert_eq!(reader.get(&BlockCache::new(0), TenantNo(1), 0, b"a").unwrap(), None);
    assert_eq!(read_all(&reader).unwrap(), Model::new());
}

#[test]
fn files_side_by_side_give_one_order_with_the_first_file_first() {
    let disk = disk();
    let key = |n: u32| (TenantNo(n / 100), 0, n.to_string().into_bytes());
    let a: Model = (0..500).step_by(2).map(|n| (key(n), (1, 0))).collect();
    let b: Model = (0..500).step_by(3).map(|n| (key(n), (2, 0))).collect();
    let readers = [(1, &a), (2, &b)].map(|(id, model)| open(&disk, &write(&disk, id, model)).unwrap());
    let mut merge = Merge::new(readers.iter()).unwrap();
    let mut found = Vec::new();
    while let Some((file, e)) = merge.peek() {
        found.push((e.tenant, e.tag, e.key.to_vec(), e.value));
        merge.advance(file).unwrap();
    }
    let mut expected: Vec<_> = a.iter().chain(&b).map(|(k, v)| (k.0, k.1, k.2.clone(), v.0)).collect();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn entries_out_of_order_are_refused() {
    let disk = disk();
    let mut writer = SortedWriter::create(&disk, FileKind::Ids, FileId(1), TYPE, None).unwrap();
    let entry = |tenant, tag, key| Entry { tenant: TenantNo(tenant), tag, key, value: 0, extra: 0 };
    assert_eq!(writer.push(entry(2, 2, b"m")).unwrap(), 0);
    for bad in [entry(1, 3, b"z"), entry(2, 1, b"z"), entry(2, 2, b"m"), entry(2, 2, b"a")] {
        assert!(writer.push(bad).is_err());
    }
    assert_eq!(writer.push(entry(2, 2, b"n")).unwrap(), 1);
    assert_eq!(writer.push(entry(3, 0, b"a")).unwrap(), 0);
    assert!(writer.push(entry(4, 0, &vec![0; KEY_BYTES_MAX + 1])).is_err());
}

fn small() -> Model {
    let key = |n: u32| (TenantNo(1 + n / 20), 0, format!("key {n}").into_bytes());
    (0..40).map(|n| (key(n), (u64::from(n), 7))).collect()
}

#[test]
fn every_changed_byte_is_an_error_or_the_same_answer() {
    let disk = disk();
    let meta = write(&disk, 9, &small());
    for offset in 0..meta.bytes {
        let damaged = disk.kill();
        damaged.corrupt(meta.path(), offset, 0x20);
        match open(&damaged, &meta).and_then(|reader| read_all(&reader)) {
            Ok(model) => assert_eq!(model, small(), "byte {offset}"),
            Err(Error::Corrupt { path, .. }) => assert_eq!(path, meta.path()),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_file_that_was_cut_swapped_or_lost_is_damage() {
    let disk = disk();
    let meta = write(&disk, 9, &small());
    let other = write(&disk, 10, &small());
    let cut = disk.kill();
    cut.cut(meta.path(), meta.bytes - 1);
    assert!(open(&cut, &meta).is_err_and(|e| e.is_damage()));
    let swapped = cut.kill();
    swapped.put(meta.path(), &cut.content(other.path()).unwrap());
    assert!(open(&swapped, &meta).is_err_and(|e| e.is_damage()));
    let lost = swapped.kill();
    lost.lose(meta.path());
    assert!(open(&lost, &meta).is_err_and(|e| e.is_damage()));
    let unlike = FileMeta { hash: [0; 32], ..other };
    assert!(open(&lost, &unlike).is_err_and(|e| e.is_damage()));
}

#[test]
fn a_newer_format_is_refused() {
    let disk = disk();
    let newer = FileType { version: 3, ..TYPE };
    let writer = SortedWriter::create(&disk, FileKind::Ids, FileId(1), newer, None).unwrap();
    let meta = writer.finish(&disk, &[]).unwrap();
    assert!(matches!(open(&disk, &meta), Err(Error::NewerFormat { found: 3, supported: 2, .. })));
}

#[test]
fn the_bytes_of_a_file_are_the_ones_of_before() {
    let disk = disk();
    let meta = write(&disk, 9, &small());
    crate::golden::check("sorted_file.bin", &disk.content(meta.path()).unwrap());
}

fn any_model() -> impl Strategy<Value = Model> {
    let text = prop_oneof![
        proptest::collection::vec(0u8..3, 0..6),
        "[0-9a-f]{3}".prop_map(String::into_bytes),
        "[0-9]{2}".prop_map(String::into_bytes),
        "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}".prop_map(String::into_bytes),
        "[a-g-]{1,40}".prop_map(String::into_bytes),
    ];
    let key = (0u32..4, 0u8..3, text);
    let key = key.prop_map(|(tenant, tag, key)| (TenantNo(tenant), tag, key));
    proptest::collection::btree_map(key, any::<(u64, i64)>(), 0..120)
}

fn block(model: &Model) -> SortedBlock {
    let mut block = SortedBlock::default();
    for ((tenant, tag, key), (value, extra)) in model {
        block.push(Entry { tenant: *tenant, tag: *tag, key, value: *value, extra: *extra }, 7);
    }
    block
}

proptest! {
    #[test]
    fn any_block_comes_back(model in any_model()) {
        let block = block(&model);
        prop_assert_eq!(SortedBlock::decode(&block.encode()).unwrap(), block);
    }

    #[test]
    fn mutated_blocks_never_panic(model in any_model(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut bytes = block(&model).encode();
        let index = at.index(bytes.len());
        bytes[index] = byte;
        drop(SortedBlock::decode(&bytes));
        drop(SortedBlock::decode(&bytes[..cut.index(bytes.len())]));
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(SortedBlock::decode(&bytes));
        let disk = disk();
        let meta = FileMeta::new(FileId(1), FileKind::Ids, bytes.len() as u64, [0; 32]);
        disk.put(meta.path(), &bytes);
        prop_assert!(open(&disk, &meta).is_err());
    }
}
