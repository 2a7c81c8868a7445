//! Files of a known version, beside the tests that pin them.

use std::fs;
use std::path::PathBuf;

/// Compares bytes with a golden file of format version 1. With `INSIGHTS_WRITE_GOLDEN` set a file that is
/// missing is written; one that is there never is, because stores with such bytes exist.
#[track_caller]
pub(crate) fn check(name: &str, bytes: &[u8]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/v1").join(name);
    let may_write = std::env::var_os("INSIGHTS_WRITE_GOLDEN").is_some();
    if may_write && !path.exists() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
    }
    let golden = fs::read(&path).unwrap_or_default();
    let refused = if may_write {
        ": format version 1 is frozen and INSIGHTS_WRITE_GOLDEN writes missing files alone; other bytes are a new \
         version of the format, with files of its own (docs/adr/0014-format-version-1.md)"
    } else {
        ""
    };
    assert!(golden == bytes, "tests/fixtures/v1/{name} is not written as it was before{refused}");
}
