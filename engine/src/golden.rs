//! Files of a known version, beside the tests that pin them.

use std::fs;
use std::path::PathBuf;

/// Compares bytes with a golden file. With `INSIGHTS_WRITE_GOLDEN` set it is written instead: for a
/// format that changes on purpose, before version 1 is frozen.
pub(crate) fn check(name: &str, bytes: &[u8]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/v0").join(name);
    if std::env::var_os("INSIGHTS_WRITE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
    }
    let golden = fs::read(&path).unwrap_or_default();
    assert!(golden == bytes, "{name} is not written as it was before");
}
