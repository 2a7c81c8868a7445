//! The bytes of a file are pinned: a change of the format is a new version.

use super::*;
use crate::disk::sim::CrashPolicy;
use crate::id::FileId;

/// A file with three frames and a seal.
fn written() -> Vec<u8> {
    let disk = SimDisk::new();
    let (_, _, mut wal) = reopen(&disk, 0).unwrap();
    commit(&mut wal, 1, 5).unwrap();
    append(&mut wal, 2, 0).unwrap();
    append(&mut wal, 7, 70).unwrap();
    wal.close().unwrap();
    disk.crash(CrashPolicy::DropAll, 0).content("wal/0000000000000001.wal").unwrap()
}

#[test]
fn a_file_of_version_1_is_read_and_written_byte_for_byte() {
    let golden = written();
    crate::golden::check("wal/0000000000000001.wal", &golden);
    let disk = SimDisk::new();
    disk.put("wal/0000000000000001.wal", &golden);
    let (replayed, found) = replay_all(&disk, 0).unwrap();
    assert_eq!(found, [(1, 1, payload(1, 5)), (2, 1, vec![]), (7, 1, payload(7, 70))]);
    assert!(replayed.damage.is_empty());
}

#[test]
fn a_header_is_read_from_whichever_copy_is_intact() {
    let header = record::FileHeader { file_id: FileId(7), log_id: 9 };
    let page = header.encode_page();
    assert_eq!(page.len() as u64, record::HEADER_PAGE_BYTES);
    for at in 0..page.len() {
        let mut bad = page.clone();
        bad[at] ^= 0x40;
        assert_eq!(record::FileHeader::decode_page(&bad), Ok(header), "byte {at}");
    }
    assert_eq!(record::FileHeader::decode_page(&page[..31]), Err(record::BadHeader::Damaged));
}

#[test]
fn only_names_that_the_engine_gives_are_its_files() {
    assert_eq!(record::parse_name(&record::file_name(FileId(0xAB)), ".wal"), Some(0xAB));
    for name in ["ab.wal", "00000000000000AB.wal", "+000000000000001.wal", "0000000000000001.spare"] {
        assert_eq!(record::parse_name(name, ".wal"), None, "{name}");
    }
}
