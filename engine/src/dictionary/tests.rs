//! The tenant dictionary against a map, through flushes, merges, crashes and damage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::codes::Codes;
use crate::disk::Disk;
use crate::disk::sim::{CrashPolicy, SimDisk};
use crate::error::Error;
use crate::id::TenantNo;
use crate::manifest::{Edit, FileChange, FileKind, Manifest};
use crate::schema::IdentityKind;

type Space = (TenantNo, IdentityKind);
/// What is given to a flush: new and known identities of each space.
type Load = BTreeMap<Space, BTreeSet<Vec<u8>>>;
/// Codes as they were given.
type Model = BTreeMap<Space, BTreeMap<Vec<u8>, u32>>;

fn open(disk: &SimDisk) -> crate::Result<(Manifest, DictionarySet)> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let manifest = Manifest::open_or_create(Arc::clone(&shared))?;
    manifest.sweep()?;
    let set = DictionarySet::open(shared, &manifest.version())?;
    Ok((manifest, set))
}

/// One flush: codes for `load`, a file, a merge when there are many, one edit.
fn flush(
    disk: &SimDisk,
    manifest: &Manifest,
    set: &DictionarySet,
    load: &Load,
) -> crate::Result<(Model, DictionarySet)> {
    let mut writer = DictionaryWriter::new(Arc::new(disk.clone()), manifest.allocate());
    let mut given = Model::new();
    for ((tenant, kind), identities) in load {
        let sorted: Vec<&[u8]> = identities.iter().map(Vec::as_slice).collect();
        let days = vec![20_000; sorted.len()];
        let codes = writer.assign(set, *tenant, *kind, &sorted, &days)?;
        given.insert((*tenant, *kind), identities.iter().cloned().zip(codes).collect());
    }
    let added = writer.finish()?;
    let mut edit = Edit::default();
    edit.absorb(set.merge(added, || manifest.allocate())?);
    let version = manifest.commit(edit)?;
    Ok((given, set.at(&version)?))
}

fn learn(model: &mut Model, given: Model) {
    for (space, codes) in given {
        let known = model.entry(space).or_default();
        for (identity, code) in codes {
            let before = known.insert(identity, code);
            assert!(before.is_none_or(|b| b == code), "a code changed");
        }
    }
}

fn check(set: &DictionarySet, model: &Model) {
    for ((tenant, kind), codes) in model {
        assert_eq!(set.count(*tenant, *kind).unwrap() as usize, codes.len(), "codes are dense");
        for (identity, code) in codes {
            assert_eq!(set.code_of(*tenant, *kind, identity).unwrap(), Some(*code));
            assert_eq!(set.identity_of(*tenant, *kind, *code).unwrap().as_deref(), Some(identity.as_slice()));
        }
        assert_eq!(set.identity_of(*tenant, *kind, u32::try_from(codes.len()).unwrap()).unwrap(), None);
        assert_eq!(set.code_of(*tenant, *kind, b"\xffnobody").unwrap(), None);
    }
    assert_eq!(set.count(TenantNo(99_999), IdentityKind::User).unwrap(), 0);
}

fn load(seed: u32, users: u32) -> Load {
    let mut load = Load::new();
    for n in 0..users {
        let user = format!("user-{}", (n + seed * users / 2) * 7919 % 1_000_003);
        load.entry((TenantNo(1), IdentityKind::User)).or_default().insert(user.into_bytes());
    }
    for tenant in 2..20 {
        for (kind, name) in
            [(IdentityKind::App, "web"), (IdentityKind::Name, "page.view"), (IdentityKind::Name, "")]
        {
            load.entry((TenantNo(tenant), kind))
                .or_default()
                .insert(format!("{name}{}", seed % 3).into_bytes());
        }
    }
    load
}

#[test]
fn codes_stay_through_flushes_merges_and_starts() {
    let disk = SimDisk::new();
    let (manifest, mut set) = open(&disk).unwrap();
    let mut model = Model::new();
    for seed in 0..30 {
        // Large enough that a merged run has many blocks and pages of codes.
        let (given, next) = flush(&disk, &manifest, &set, &load(seed, 1500)).unwrap();
        learn(&mut model, given);
        set = next;
        assert!(set.files() <= plan::DICTIONARY_FILES_MAX + 1);
    }
    check(&set, &model);
    assert_eq!(set.entries(), model.values().map(|m| m.len() as u64).sum::<u64>());
    let (_, reopened) = open(&disk.crash(CrashPolicy::DropAll, 0)).unwrap();
    check(&reopened, &model);
}

#[test]
fn a_flush_without_a_new_identity_writes_no_file() {
    let disk = SimDisk::new();
    let (manifest, set) = open(&disk).unwrap();
    let (given, set) = flush(&disk, &manifest, &set, &load(0, 10)).unwrap();
    let (again, set) = flush(&disk, &manifest, &set, &load(0, 10)).unwrap();
    assert_eq!(given, again);
    assert_eq!(set.files(), 1);
}

#[test]
fn every_crash_keeps_the_codes_that_were_committed() {
    let loads: Vec<Load> = (0..12).map(|seed| load(seed, 6)).collect();
    let work = |disk: &SimDisk, loads: &[Load]| {
        let mut model = Model::new();
        let Ok((manifest, mut set)) = open(disk) else { return (model, 0) };
        for (done, load) in loads.iter().enumerate() {
            match flush(disk, &manifest, &set, load) {
                Ok((given, next)) => {
                    learn(&mut model, given);
                    set = next;
                }
                Err(_) => return (model, done),
            }
        }
        (model, loads.len())
    };
    let disk = SimDisk::new();
    work(&disk, &loads);
    for change in 0..disk.change_count() {
        for (policy, seed) in CrashPolicy::ALL.into_iter().zip(change..) {
            let disk = SimDisk::new();
            disk.crash_at_change(change);
            let (mut model, done) = work(&disk, &loads);
            let disk = disk.crash(policy, seed);
            // The log gives the same rows again, so the codes come out the same or go on.
            let (manifest, mut set) = open(&disk).unwrap();
            for load in &loads[done..] {
                let (given, next) = flush(&disk, &manifest, &set, load).unwrap();
                learn(&mut model, given);
                set = next;
            }
            check(&set, &model);
        }
    }
}

#[test]
fn every_changed_byte_is_an_error_or_the_same_answer() {
    let disk = SimDisk::new();
    let (manifest, set) = open(&disk).unwrap();
    let (model, set) = flush(&disk, &manifest, &set, &load(0, 30)).unwrap();
    drop(set);
    let meta = manifest.version().files_of(FileKind::Dictionary).next().cloned().unwrap();
    for offset in 0..meta.bytes {
        let damaged = disk.kill();
        damaged.corrupt(meta.path(), offset, 0x08);
        let set = match open(&damaged) {
            Ok((_, set)) => set,
            Err(Error::Corrupt { path, .. }) => {
                assert_eq!(path, meta.path());
                continue;
            }
            Err(other) => panic!("{other}"),
        };
        for ((tenant, kind), codes) in &model {
            for (identity, code) in codes {
                match set.code_of(*tenant, *kind, identity) {
                    Ok(found) => assert_eq!(found, Some(*code)),
                    Err(error) => assert!(error.is_damage()),
                }
                match set.identity_of(*tenant, *kind, *code) {
                    Ok(found) => assert_eq!(found.as_deref(), Some(identity.as_slice())),
                    Err(error) => assert!(error.is_damage()),
                }
            }
        }
    }
}

#[test]
fn a_damaged_block_is_left_out_of_merges_and_the_others_go_on() {
    let disk = SimDisk::new();
    let (manifest, set) = open(&disk).unwrap();
    let (known, _) = flush(&disk, &manifest, &set, &load(0, 5000)).unwrap();
    let meta = manifest.version().files_of(FileKind::Dictionary).next().cloned().unwrap();
    let damaged = disk.kill();
    assert!(damaged.corrupt(meta.path(), 100, 0x08));
    let (manifest, mut set) = open(&damaged).unwrap();
    let mut model = Model::new();
    for n in 0..40 {
        let new = Load::from([((TenantNo(77), IdentityKind::User), [format!("u{n}").into_bytes()].into())]);
        let (given, next) = flush(&damaged, &manifest, &set, &new).unwrap();
        learn(&mut model, given);
        set = next;
        assert!(set.files() <= plan::DICTIONARY_FILES_MAX + 2);
    }
    check(&set, &model);
    let users = &known[&(TenantNo(1), IdentityKind::User)];
    let lost = users.keys().filter(|u| set.code_of(TenantNo(1), IdentityKind::User, u).is_err()).count();
    assert!(lost > 0 && lost < users.len(), "{lost} of {}", users.len());
    let name = meta.path().display().to_string();
    assert!(set.findings().iter().any(|f| f.contains(&name)));
}

#[test]
fn the_bytes_of_a_dictionary_are_the_ones_of_before() {
    let disk = SimDisk::new();
    let (manifest, set) = open(&disk).unwrap();
    flush(&disk, &manifest, &set, &load(0, 5)).unwrap();
    let meta = manifest.version().files_of(FileKind::Dictionary).next().cloned().unwrap();
    crate::golden::check("dictionary.dict", &disk.content(meta.path()).unwrap());
}

#[test]
fn a_run_of_many_pages_is_found_both_ways() {
    let disk = SimDisk::new();
    let (manifest, mut set) = open(&disk).unwrap();
    let mut model = Model::new();
    // More than two pages, in two flushes and then merged with small ones.
    let many = |from: u32, to: u32| {
        let users = (from..to).map(|n| format!("user-{}", n.wrapping_mul(2_654_435_761)).into_bytes());
        Load::from([((TenantNo(3), IdentityKind::User), users.collect())])
    };
    let mut loads = vec![many(0, 20_000), many(20_000, 38_000)];
    loads.extend((0..9).map(|n| load(n, 4)));
    for load in &loads {
        let (given, next) = flush(&disk, &manifest, &set, load).unwrap();
        learn(&mut model, given);
        set = next;
    }
    assert!(set.files() < loads.len());
    check(&set, &model);
}

#[test]
fn an_identity_that_many_name_is_kept_once() {
    let bytes_for = |tenants: u32| {
        let disk = SimDisk::new();
        let (manifest, set) = open(&disk).unwrap();
        let names: BTreeSet<Vec<u8>> =
            (0..400_u32).map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761)).into_bytes()).collect();
        let spaces = (1..=tenants).flat_map(|t| IdentityKind::ALL.map(|kind| (TenantNo(t), kind)));
        let load: Load = spaces.map(|space| (space, names.clone())).collect();
        let (model, set) = flush(&disk, &manifest, &set, &load).unwrap();
        check(&set, &model);
        manifest.version().files_of(FileKind::Dictionary).map(|f| f.bytes).sum::<u64>()
    };
    let (one, ten) = (bytes_for(1), bytes_for(10));
    // 18,000 codes more, not 400 identities more for each of 45 spaces.
    assert!(ten - one < 18_000, "{one} {ten}");
}

#[test]
fn what_is_erased_leaves_the_file_and_what_others_name_stays() {
    let disk = SimDisk::new();
    let (manifest, set) = open(&disk).unwrap();
    let space = |tenant| (TenantNo(tenant), IdentityKind::User);
    let all: BTreeSet<Vec<u8>> = (0..3000).map(|n| format!("user-{n:05}").into_bytes()).collect();
    let some: BTreeSet<Vec<u8>> = (0..10).map(|n| format!("user-{n:05}").into_bytes()).collect();
    let load = Load::from([(space(1), all), (space(2), some)]);
    let (mut model, set) = flush(&disk, &manifest, &set, &load).unwrap();
    let is_erased = |tenant: TenantNo, tag: u8, key: &[u8]| {
        tenant == TenantNo(1)
            && tag == IdentityKind::User.tag()
            && (key == b"user-00004" || key == b"user-02000")
    };
    let change = set.without(&is_erased, || manifest.allocate()).unwrap();
    assert_eq!((change.add.len(), change.remove.len()), (1, 1));
    let mut edit = Edit::default();
    edit.absorb(change);
    let set = set.at(&manifest.commit(edit).unwrap()).unwrap();
    let codes = model.get_mut(&space(1)).unwrap();
    for gone in [&b"user-00004"[..], b"user-02000"] {
        let code = codes.remove(gone).unwrap();
        assert_eq!(set.code_of(TenantNo(1), IdentityKind::User, gone).unwrap(), None);
        assert_eq!(set.identity_of(TenantNo(1), IdentityKind::User, code).unwrap(), None);
    }
    for ((tenant, kind), codes) in &model {
        for (identity, code) in codes {
            assert_eq!(set.code_of(*tenant, *kind, identity).unwrap(), Some(*code));
            assert_eq!(set.identity_of(*tenant, *kind, *code).unwrap().as_deref(), Some(&identity[..]));
        }
    }
    // Nothing more to erase: no file is written. When everything goes, the file goes.
    assert_eq!(set.without(&is_erased, || manifest.allocate()).unwrap(), FileChange::default());
    let change = set.without(&|_, _, _| true, || manifest.allocate()).unwrap();
    assert_eq!((change.add.len(), change.remove.len()), (0, 1));
}

/// A page of any codes, each once.
fn any_page() -> impl Strategy<Value = Vec<(u32, u32)>> {
    proptest::collection::btree_map(any::<u32>(), any::<u32>(), 1..60).prop_map(|m| m.into_iter().collect())
}

proptest! {
    #[test]
    fn any_page_comes_back(pairs in any_page()) {
        let page = format::Page::new(pairs.clone());
        let back = format::Page::decode(&page.encode(), pairs.len()).unwrap();
        for (code, rank) in &pairs {
            prop_assert_eq!(back.rank_of(*code), Some(*rank));
        }
        prop_assert_eq!(back, page);
    }

    #[test]
    fn mutated_pages_never_panic(pairs in any_page(), at: prop::sample::Index, byte: u8) {
        let mut bytes = format::Page::new(pairs.clone()).encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        drop(format::Page::decode(&bytes, pairs.len()));
    }

    #[test]
    fn random_runs_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        drop(format::decode_runs(&bytes));
    }
}
