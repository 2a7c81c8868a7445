//! Files of another version of the format: refused by name and number, and no byte of the directory changes.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use insights_engine::clock::ManualClock;
use insights_engine::disk::{Disk, OsDisk};
use insights_engine::inspect::Inspection;
use insights_engine::time::TimestampUs;
use insights_engine::{Engine, Error};

use super::write::{Kind, files};
use super::{config, copied};

/// Puts a version into the header of a file, under a checksum that is right.
fn set_version(path: &Path, version: u32) {
    let mut bytes = fs::read(path).unwrap();
    let kind = path.extension().and_then(|e| e.to_str());
    let headers: &[usize] = if kind == Some("wal") { &[0, 2048] } else { &[0] };
    for at in headers {
        let header = &mut bytes[*at..];
        header[8..12].copy_from_slice(&version.to_le_bytes());
        let (crc_at, covered) = match kind {
            Some("wal") => (12, [&header[..12], &header[16..32]].concat()),
            Some("seg") => (20, header[..20].to_vec()),
            _ => (28, header[..28].to_vec()),
        };
        header[crc_at..crc_at + 4].copy_from_slice(&crc32fast::hash(&covered).to_le_bytes());
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_file_of_another_version_of_any_kind_is_refused_and_nothing_is_touched() {
    let (dir, expected) = copied(Kind::Forgotten);
    let clock = ManualClock::new(TimestampUs(expected["now"].as_i64().unwrap()));
    let all = files(dir.path());
    let mut kinds = 0;
    for name in [
        "manifest/CURRENT",
        "manifest/",
        "wal/",
        "catalog/",
        "segments/",
        "cells/",
        "dictionary/",
        "ids/",
        "idempotency/",
    ] {
        let is_one = |file: &&std::path::PathBuf| {
            let (path, spare) = (file.to_str().unwrap(), file.extension().is_some_and(|e| e == "spare"));
            path.starts_with(name) && !spare && (path == name || !path.ends_with("CURRENT"))
        };
        let file = all.iter().find(is_one).unwrap_or_else(|| panic!("no file of {name}"));
        let path = dir.path().join(file);
        let own = fs::read(&path).unwrap();
        for version in [2, 0, u32::MAX] {
            set_version(&path, version);
            let before: Vec<_> = all.iter().map(|f| fs::read(dir.path().join(f)).unwrap()).collect();
            let disk: Arc<dyn Disk> = Arc::new(OsDisk::existing(dir.path()).unwrap());
            let opened = Engine::open_stepped(config(), Arc::clone(&disk), Arc::clone(&clock) as _, [1; 32]);
            let looked = Inspection::open(&disk);
            for refused in [opened.unwrap_err(), looked.unwrap_err()] {
                match refused {
                    Error::NewerFormat { path, found, supported: 1 } if version > 1 => {
                        assert_eq!((path.as_path(), found), (file.as_path(), version));
                    }
                    Error::OlderFormat { path, found: 0, oldest: 1 } if version == 0 => {
                        assert_eq!(&path, file);
                    }
                    other => panic!("{name} of version {version}: {other}"),
                }
            }
            assert_eq!(files(dir.path()), all, "{name}");
            let after: Vec<_> = all.iter().map(|f| fs::read(dir.path().join(f)).unwrap()).collect();
            assert!(after == before, "{name}: a byte was changed");
        }
        fs::write(&path, own).unwrap();
        kinds += 1;
    }
    assert_eq!(kinds, 9);
}
