//! Bad bytes, lost and exchanged files: what is left comes back, what is not is named.

use proptest::prelude::*;

use super::*;

/// A log of `count` acknowledged frames of 200 bytes.
fn log_of(count: u64) -> SimDisk {
    let disk = SimDisk::new();
    let (_, _, mut wal) = reopen(&disk, 0).unwrap();
    for lsn in 1..=count {
        commit(&mut wal, lsn, 200).unwrap();
    }
    disk
}

/// The numbers that a report says are missing.
fn missing(replayed: &Replayed, last: u64) -> Vec<u64> {
    let ranges = replayed.damage.iter().flat_map(|d| d.lsn_from.0..=d.lsn_to.map_or(last, |to| to.0));
    let mut all: Vec<_> = ranges.collect();
    all.dedup();
    all
}

/// Every frame is there and right, or named as missing, or at the end of the log.
fn check_found(found: &[Found], replayed: &Replayed, count: u64, case: &str) {
    for (lsn, kind, bytes) in found {
        assert_eq!((*kind, bytes), (1, &payload(*lsn, 200)), "{case}");
    }
    let last = replayed.last_lsn.0;
    let mut all = [lsns(found), missing(replayed, count)].concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all, (1..=all.len() as u64).collect::<Vec<_>>(), "{case}");
    assert!(all.len() as u64 >= last, "{case}");
}

#[test]
fn any_flipped_byte_loses_at_most_its_own_frame_and_is_reported() {
    let count = 20;
    let disk = log_of(count);
    for path in disk.paths() {
        let bytes = disk.content(&path).unwrap().len() as u64;
        for offset in 0..bytes {
            let case = format!("{} at {offset}", path.display());
            let xor = if offset % 2 == 0 { 1 } else { 0x80 };
            disk.corrupt(&path, offset, xor);
            let (replayed, found) = replay_all(&disk, 0).unwrap();
            check_found(&found, &replayed, count, &case);
            assert!(found.len() as u64 >= count - 1, "{case}");
            if found.len() as u64 != count && replayed.last_lsn.0 == count {
                assert_eq!(replayed.damage.len(), 1, "{case}: {:?}", replayed.damage);
                assert_eq!(replayed.damage[0].path, path, "{case}");
                assert!(replayed.damage[0].offset <= offset, "{case}");
            }
            disk.corrupt(&path, offset, xor);
        }
    }
}

#[test]
fn damaged_bytes_are_set_aside_and_what_follows_is_kept() {
    let disk = log_of(10);
    let path = disk.paths().into_iter().next().unwrap();
    let place = 4096 + 2 * record::frame_bytes(200);
    disk.corrupt(&path, place + 100, 0xFF);
    let (found, replayed, mut wal) = reopen(&disk, 0).unwrap();
    assert_eq!(lsns(&found), [1, 2, 4, 5, 6, 7, 8, 9, 10]);
    let expected = WalDamage {
        path: path.clone(),
        offset: place,
        bytes: record::frame_bytes(200),
        lsn_from: Lsn(3),
        lsn_to: Some(Lsn(3)),
        quarantine: replayed.damage[0].quarantine.clone(),
    };
    assert_eq!(replayed.damage, [expected]);
    let copy = disk.content(replayed.damage[0].quarantine.clone().unwrap()).unwrap();
    let offset = usize::try_from(place).unwrap();
    assert_eq!(copy, disk.content(&path).unwrap()[offset..offset + copy.len()]);
    // It is still there and still told after another restart, until it is flushed.
    commit(&mut wal, 11, 200).unwrap();
    let (found, replayed, _) = reopen(&disk, 0).unwrap();
    assert_eq!((found.len(), replayed.damage.len()), (10, 1));
    assert!(reopen(&disk, 3).unwrap().1.damage.is_empty());
}

#[test]
fn a_lost_file_is_named_as_a_gap() {
    let whole = log_of(60);
    for (index, path) in whole.paths().into_iter().enumerate() {
        let disk = log_of(60);
        disk.lose(&path);
        let case = format!("file {index}");
        let (found, replayed, mut wal) = reopen(&disk, 0).unwrap();
        assert!(!replayed.damage.is_empty(), "{case}");
        check_found(&found, &replayed, 60, &case);
        commit(&mut wal, 61, 10).unwrap();
        let (found, replayed, _) = reopen(&disk, 0).unwrap();
        assert_eq!(found.last().unwrap().0, 61, "{case}");
        assert!(replayed.damage.len() <= 1, "{case}: {:?}", replayed.damage);
    }
}

#[test]
fn exchanged_cut_stale_and_zeroed_files_never_give_wrong_frames() {
    let paths = log_of(60).paths();
    for (index, path) in paths.iter().enumerate() {
        let len = log_of(60).content(path).unwrap().len() as u64;
        for kind in 0..4 {
            let disk = log_of(60);
            match kind {
                0 => assert!(disk.swap(path, &paths[(index + 1) % paths.len()])),
                1 => assert!(disk.cut(path, len / 3 * 2)),
                2 => disk.put(path, &vec![0; usize::try_from(len).unwrap()]),
                _ => {
                    // The same file as it was earlier in its life.
                    let old = log_of(60 - 5).content(path).unwrap_or_default();
                    disk.put(path, &old);
                }
            }
            let case = format!("file {index}, kind {kind}");
            let (found, replayed, mut wal) = reopen(&disk, 0).unwrap();
            check_found(&found, &replayed, 60, &case);
            let last_file = index + 1 == paths.len();
            assert!(found.len() == 60 || !replayed.damage.is_empty() || last_file, "{case}");
            let next = replayed.last_lsn.0 + 1;
            commit(&mut wal, next, 200).unwrap();
            assert_eq!(replay_all(&disk, 0).unwrap().1.last().unwrap().0, next, "{case}");
        }
    }
}

#[test]
fn a_frame_inside_of_a_payload_is_never_taken_for_one() {
    let disk = log_of(1);
    let (_, _, mut wal) = reopen(&disk, 1).unwrap();
    // Somebody who knew everything but the secret sends a frame in.
    let mut forged = Vec::new();
    let guess = record::FileHeader { file_id: crate::id::FileId(2), log_id: 1 };
    let place = record::Place { file_id: guess.file_id, epoch: guess.epoch(), offset: 4096 + 48 };
    let header =
        record::FrameHeader { payload_bytes: 4, lsn: Lsn(3), prev_lsn: Lsn(1), synced_lsn: Lsn(2), kind: 1 };
    header.encode(place, &[b"evil"], &mut forged);
    wal.append(Lsn(2), 1, &[&forged]).unwrap();
    wal.write().unwrap();
    commit(&mut wal, 3, 10).unwrap();
    let path = disk.paths().pop().unwrap();
    disk.corrupt(&path, 4096 + 1, 1);
    let (replayed, found) = replay_all(&disk, 1).unwrap();
    assert_eq!(found.iter().map(|f| f.0).collect::<Vec<_>>(), Vec::<u64>::new());
    assert!(replayed.torn_tail_bytes > 0);
}

#[test]
fn a_newer_version_is_refused_untouched() {
    let disk = log_of(3);
    let path = disk.paths().pop().unwrap();
    let mut bytes = disk.content(&path).unwrap();
    for at in record::FILE_HEADER_OFFSETS {
        bytes[at + 8] = 9;
        let crc = crc32fast::hash(&[&bytes[at..at + 12], &bytes[at + 16..at + 32]].concat());
        bytes[at + 12..at + 16].copy_from_slice(&crc.to_le_bytes());
    }
    disk.put(&path, &bytes);
    let error = replay_all(&disk, 0).unwrap_err();
    assert!(matches!(error, crate::Error::NewerFormat { found: 9, supported: 1, .. }), "{error}");
    assert_eq!(disk.content(&path).unwrap(), bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn mutated_files_never_panic_and_never_give_a_frame_that_was_not_written(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 1usize..64), 1..6),
    ) {
        let disk = log_of(30);
        let paths = disk.paths();
        for (file, place, byte, len) in &edits {
            let path = &paths[file.index(paths.len())];
            let mut bytes = disk.content(path).unwrap();
            let at = place.index(bytes.len());
            let end = (at + len).min(bytes.len());
            bytes[at..end].fill(*byte);
            disk.put(path, &bytes);
        }
        let (found, replayed, _) = reopen(&disk, 0).unwrap();
        check_found(&found, &replayed, 30, "mutated");
    }

    #[test]
    fn random_bytes_never_panic_and_never_give_a_frame(
        bytes in prop::collection::vec(any::<u8>(), 0..9000),
        keep_header in any::<bool>(),
    ) {
        let disk = log_of(1);
        let path = disk.paths().pop().unwrap();
        let mut file = if keep_header { disk.content(&path).unwrap()[..4096].to_vec() } else { Vec::new() };
        file.extend(&bytes);
        disk.put(&path, &file);
        let (found, _, mut wal) = reopen(&disk, 0).unwrap();
        prop_assert!(found.is_empty());
        commit(&mut wal, 1, 10).unwrap();
        prop_assert_eq!(lsns(&replay_all(&disk, 0).unwrap().1), [1]);
    }
}
