//! The first superuser's key: configured, or made at the first start into a file of its own.

use std::path::Path;

use insights_engine::disk::Disk;
use insights_engine::entropy::Entropy;
use insights_engine::{Error, Result};

use super::api_key::random_text;
use crate::config::Secret;

/// The file it is in, inside the data directory.
pub const SUPERUSER_KEY_FILE: &str = "superuser.key";

/// The file while it is written.
const TEMPORARY_FILE: &str = "superuser.key.tmp";

/// Characters of a key that is made: 285 bits.
const KEY_CHARS: usize = 48;

/// Fewest characters of a key that is read back.
const KEY_CHARS_MIN: usize = 32;

/// Most bytes of the file that are read.
const FILE_BYTES_MAX: u64 = 4096;

/// The superuser's key and where it comes from.
#[derive(Debug)]
pub enum SuperuserKey {
    /// From the settings.
    Configured(Secret),
    /// From the file of an earlier start.
    Stored(Secret),
    /// Made just now, into the file.
    Made(Secret),
}

impl SuperuserKey {
    /// The configured key, else the one in the data directory, else a new one.
    ///
    /// The new one is durable when this returns, with mode 0600.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], and [`Error::Corrupt`] when the file holds no key.
    pub fn find(configured: Option<&Secret>, disk: &dyn Disk, entropy: &Entropy) -> Result<Self> {
        if let Some(secret) = configured {
            return Ok(Self::Configured(secret.clone()));
        }
        let path = Path::new(SUPERUSER_KEY_FILE);
        if disk.exists(path)? {
            return read(disk, path).map(Self::Stored);
        }
        let key = random_text(entropy, KEY_CHARS);
        let temporary = Path::new(TEMPORARY_FILE);
        if disk.exists(temporary)? {
            disk.remove(temporary)?;
        }
        let file = disk.create(temporary)?;
        file.write_at(0, format!("{key}\n").as_bytes())?;
        file.sync()?;
        disk.rename(temporary, path)?;
        disk.sync_dir(Path::new(""))?;
        Ok(Self::Made(Secret::new(key)))
    }

    /// The key.
    pub fn secret(&self) -> &Secret {
        match self {
            Self::Configured(secret) | Self::Stored(secret) | Self::Made(secret) => secret,
        }
    }
}

fn read(disk: &dyn Disk, path: &Path) -> Result<Secret> {
    let corrupt = |reason: &str| Error::corrupt("superuser key", path, 0, reason);
    let file = disk.open_read(path)?;
    let bytes = file.bytes()?;
    if bytes > FILE_BYTES_MAX {
        return Err(corrupt("the file is longer than any key"));
    }
    let mut buf = vec![0; usize::try_from(bytes).unwrap_or(0)];
    file.read_at(0, &mut buf)?;
    let text = String::from_utf8(buf).map_err(|_| corrupt("it is no text"))?;
    let key = text.trim();
    if key.chars().count() < KEY_CHARS_MIN {
        return Err(corrupt("it is shorter than 32 characters; remove the file to get a new key"));
    }
    Ok(Secret::new(key))
}

#[cfg(test)]
mod tests {
    use insights_engine::disk::OsDisk;

    use super::*;

    fn find(dir: &Path, seed: u8) -> Result<SuperuserKey> {
        SuperuserKey::find(None, &OsDisk::open(dir).unwrap(), &Entropy::from_seed([seed; 32]))
    }

    #[test]
    fn a_key_is_made_once_for_the_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let SuperuserKey::Made(first) = find(dir.path(), 1).unwrap() else { panic!("it is made") };
        let SuperuserKey::Stored(second) = find(dir.path(), 2).unwrap() else { panic!("it is found") };
        assert_eq!(first, second);
        let mode = std::fs::metadata(dir.path().join(SUPERUSER_KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_configured_key_makes_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let disk = OsDisk::open(dir.path()).unwrap();
        let secret = Secret::new("x".repeat(32));
        let found = SuperuserKey::find(Some(&secret), &disk, &Entropy::from_seed([0; 32])).unwrap();
        assert_eq!(found.secret(), &secret);
        assert!(!disk.exists(Path::new(SUPERUSER_KEY_FILE)).unwrap());
    }

    #[test]
    fn a_broken_file_is_named_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        for text in [&b""[..], b"short\n", &[0xff; 40], &[b'x'; 5000]] {
            std::fs::write(dir.path().join(SUPERUSER_KEY_FILE), text).unwrap();
            let message = find(dir.path(), 1).unwrap_err().to_string();
            assert!(message.contains(SUPERUSER_KEY_FILE), "{message}");
        }
    }
}
