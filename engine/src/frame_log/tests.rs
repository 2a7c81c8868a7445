//! What a log keeps through crashes, and what it refuses.

use proptest::prelude::*;

use super::*;
use crate::disk::sim::{CrashPolicy, FaultKind, OpKind, SimDisk};

const TYPE: FileType = FileType { magic: *b"TESTLOG\0", version: 3, what: "test log" };
const ID: FileId = FileId(7);

fn path() -> PathBuf {
    PathBuf::from("log")
}

fn create(disk: &SimDisk) -> FrameLog {
    let log = FrameLog::create(disk, &path(), ID, TYPE).unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    log
}

fn read(disk: &SimDisk, durable: u64) -> Result<(Vec<Vec<u8>>, FrameLog)> {
    let mut payloads = Vec::new();
    let (log, _) = FrameLog::open(disk, &path(), ID, TYPE, durable, &mut |_, p| {
        payloads.push(p.to_vec());
        Ok(())
    })?;
    Ok((payloads, log))
}

/// A log of three frames.
fn three() -> SimDisk {
    let disk = SimDisk::new();
    let mut log = create(&disk);
    for payload in [&b"one"[..], b"two two", b"three"] {
        log.append(payload).unwrap();
    }
    disk
}

#[test]
fn the_bytes_of_a_log_are_the_ones_of_before() {
    crate::golden::check("frame_log.log", &three().content("log").unwrap());
}

#[test]
fn what_was_appended_is_read_and_can_be_gone_on_with() {
    let disk = three();
    let (payloads, mut log) = read(&disk, 0).unwrap();
    assert_eq!(payloads, [&b"one"[..], b"two two", b"three"]);
    log.append(b"four").unwrap();
    assert_eq!(read(&disk, log.bytes()).unwrap().0.len(), 4);
}

#[test]
fn a_torn_tail_is_cut_not_fatal() {
    let whole = three();
    let bytes = whole.content("log").unwrap().len() as u64;
    // Without its mark the last frame may be torn at any byte: 16 bytes of mark, 16 + 5 of the frame.
    for cut in bytes - 16 - 20..bytes - 16 {
        let disk = three();
        disk.cut("log", cut);
        let (payloads, mut log) = read(&disk, 0).unwrap();
        assert_eq!(payloads, [&b"one"[..], b"two two"]);
        log.append(b"again").unwrap();
        assert_eq!(read(&disk, 0).unwrap().0, [&b"one"[..], b"two two", b"again"]);
    }
}

#[test]
fn every_changed_byte_is_an_error_that_names_its_frame() {
    let bytes = three().content("log").unwrap().len() as u64;
    for offset in 0..bytes - 16 {
        let disk = three();
        disk.corrupt("log", offset, 0x40);
        match read(&disk, 0) {
            Err(Error::Corrupt { offset: at, .. }) => {
                assert!(at <= offset, "byte {offset} is blamed on {at}");
            }
            Err(Error::NewerFormat { .. }) => panic!("a damaged header is not a newer format"),
            other => panic!("byte {offset}: {:?}", other.map(|(p, _)| p)),
        }
    }
    for offset in bytes - 16..bytes {
        let disk = three();
        disk.corrupt("log", offset, 0x40);
        assert_eq!(read(&disk, 0).unwrap().0.len(), 3);
    }
}

#[test]
fn a_cut_below_what_is_known_to_be_synced_is_damage() {
    let disk = three();
    let (_, log) = read(&disk, 0).unwrap();
    let durable = log.bytes();
    for cut in HEADER_BYTES..durable {
        let disk = three();
        disk.cut("log", cut);
        assert!(read(&disk, durable).is_err_and(|e| e.is_damage()), "cut at {cut}");
    }
}

#[test]
fn a_newer_format_is_refused_untouched() {
    let disk = three();
    let newer = FileType { version: 9, ..TYPE };
    FrameLog::create(&disk, Path::new("new"), ID, newer).unwrap();
    let before = disk.content("new").unwrap();
    let opened = FrameLog::open(&disk, Path::new("new"), ID, TYPE, 0, &mut |_, _| Ok(()));
    assert!(matches!(opened, Err(Error::NewerFormat { found: 9, supported: 3, .. })));
    assert_eq!(disk.content("new").unwrap(), before);
}

#[test]
fn the_file_of_another_number_or_kind_is_refused() {
    let disk = three();
    let open =
        |id, ty| FrameLog::open(&disk, &path(), id, ty, 0, &mut |_, _| Ok(())).is_err_and(|e| e.is_damage());
    assert!(open(FileId(8), TYPE));
    assert!(open(ID, FileType { magic: *b"OTHERLOG", ..TYPE }));
}

#[test]
fn a_failed_sync_stops_the_log_and_a_failed_write_does_not() {
    let disk = three();
    let (_, mut log) = read(&disk, 0).unwrap();
    for kind in [FaultKind::Enospc, FaultKind::ShortWrite] {
        disk.fail_kind_at(OpKind::Write, disk.op_count_of(OpKind::Write), kind, false);
        assert!(log.append(&[5; 300]).is_err());
    }
    log.append(b"short").unwrap();
    assert_eq!(read(&disk, 0).unwrap().0.last().unwrap(), b"short");
    disk.fail_kind_at(OpKind::Sync, disk.op_count_of(OpKind::Sync), FaultKind::Eio, false);
    assert!(matches!(log.append(b"lost"), Err(Error::Io { .. })));
    assert!(matches!(log.append(b"never"), Err(Error::Poisoned)));
}

#[test]
fn every_crash_leaves_what_was_answered_and_at_most_one_frame_more() {
    let payload = |n: u64| vec![u8::try_from(n).unwrap(); usize::try_from(n * n * 40 + 1).unwrap()];
    let work = |disk: &SimDisk| {
        let mut done = 0;
        let Ok((_, mut log)) = read(disk, 0) else { return 0 };
        while done < 6 && log.append(&payload(done)).is_ok() {
            done += 1;
        }
        done
    };
    let start = || {
        let disk = SimDisk::new();
        create(&disk);
        disk
    };
    let (first, last) = {
        let disk = start();
        let first = disk.change_count();
        work(&disk);
        (first, disk.change_count())
    };
    for change in first..=last {
        for policy in CrashPolicy::ALL {
            for seed in 0..8 {
                let disk = start();
                disk.crash_at_change(change);
                let done = work(&disk);
                let disk = disk.crash(policy, seed);
                let (payloads, mut log) = read(&disk, 0).unwrap();
                let found = payloads.len() as u64;
                assert!(found == done || found == done + 1, "{done} answered, {found} found");
                assert!(payloads.iter().zip(0..).all(|(p, n)| *p == payload(n)));
                log.append(b"on").unwrap();
                let disk = disk.crash(CrashPolicy::DropAll, seed);
                assert_eq!(read(&disk, 0).unwrap().0.len() as u64, found + 1);
            }
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(header: bool, tail in proptest::collection::vec(any::<u8>(), 0..200)) {
        let disk = SimDisk::new();
        let start = if header { file_header::encode(TYPE, ID).to_vec() } else { Vec::new() };
        disk.put("log", &[start, tail].concat());
        drop(read(&disk, 0));
    }

    #[test]
    fn mutated_logs_never_panic(offset in 0u64..120, xor: u8, cut in 0u64..140) {
        let disk = three();
        disk.corrupt("log", offset, xor);
        disk.cut("log", cut);
        drop(read(&disk, 0));
    }
}
