//! Whose data directory it is: a demo takes an empty one and says so in a file, and no other.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::options::DemoError;

/// The file that says that a directory was filled by a demo.
const SIGN: &str = "DEMO";
/// What it says to a person.
const SIGN_TEXT: &str = "This data directory was filled by `insights-server demo`. It holds nothing real.\n";

/// Takes `directory` for a demo: makes it when it is missing, signs it when it is empty.
///
/// # Errors
///
/// [`DemoError::NotADemo`] when it has files but no sign of a demo, [`DemoError::Io`].
pub fn claim(directory: &Path) -> Result<(), DemoError> {
    let failed = |action, path: &Path| {
        let path = path.to_path_buf();
        move |source| DemoError::Io { action, path, source }
    };
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(failed("make", directory))?;
    let sign = directory.join(SIGN);
    if sign.is_file() {
        return Ok(());
    }
    let mut entries = fs::read_dir(directory).map_err(failed("read", directory))?;
    if entries.next().is_some() {
        return Err(DemoError::NotADemo { path: directory.to_path_buf() });
    }
    let written = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&sign);
    let written = written.and_then(|mut file| {
        file.write_all(SIGN_TEXT.as_bytes())?;
        file.sync_all()
    });
    match written {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        result => result.map_err(failed("write", &sign)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_or_missing_directory_is_taken_and_known_again() {
        let root = tempfile::tempdir().unwrap();
        for directory in [root.path().join("missing/deep"), root.path().join("missing")] {
            let empty = !directory.exists();
            assert_eq!(claim(&directory).is_ok(), empty, "{}", directory.display());
        }
        assert!(claim(&root.path().join("missing/deep")).is_ok());
    }

    #[test]
    fn a_directory_with_other_files_is_refused_untouched() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("thesis.txt"), "mine").unwrap();
        assert!(matches!(claim(root.path()), Err(DemoError::NotADemo { .. })));
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
