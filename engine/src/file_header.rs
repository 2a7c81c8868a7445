//! The first bytes of the files that hold control records: what they are, and that they are not swapped.
//!
//! The bytes are described in `docs/format/common.md`.

use std::path::Path;

use crate::disk::DiskFile;
use crate::error::{Error, Result};
use crate::format_version;
use crate::id::FileId;

/// Bytes of the header.
pub(crate) const HEADER_BYTES: u64 = 32;

const _: () = assert!(8 + 4 + 4 + 8 + 4 + 4 == HEADER_BYTES);

/// What a file is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileType {
    /// The first bytes of the file.
    pub(crate) magic: [u8; 8],
    /// The newest format that is read, and the one that is written.
    pub(crate) version: u32,
    /// The file's name in errors.
    pub(crate) what: &'static str,
}

/// The header of a file.
pub(crate) fn encode(ty: FileType, id: FileId) -> [u8; 32] {
    let mut out = [0; 32];
    out[..8].copy_from_slice(&ty.magic);
    out[8..12].copy_from_slice(&ty.version.to_le_bytes());
    out[16..24].copy_from_slice(&id.0.to_le_bytes());
    let crc = crc32fast::hash(&out[..28]);
    out[28..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The number of the file that has this header.
///
/// # Errors
///
/// [`Error::Corrupt`], or [`Error::NewerFormat`] and [`Error::OlderFormat`] when the header is whole and says so.
pub(crate) fn decode(ty: FileType, path: &Path, header: &[u8; 32]) -> Result<FileId> {
    let corrupt = |reason: &str| Error::corrupt(ty.what, path, 0, reason);
    let [.., c0, c1, c2, c3] = *header;
    if crc32fast::hash(&header[..28]) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(corrupt("a file header whose checksum is wrong"));
    }
    if header[..8] != ty.magic {
        return Err(corrupt("a file of another kind"));
    }
    let found = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
    format_version::judge(path, found, ty.version)?;
    let [.., i0, i1, i2, i3, i4, i5, i6, i7, _, _, _, _, _, _, _, _] = *header;
    Ok(FileId(u64::from_le_bytes([i0, i1, i2, i3, i4, i5, i6, i7])))
}

/// Reads the header of an open file and checks that it is the file `id`.
///
/// # Errors
///
/// As [`decode`], and [`Error::Io`].
pub(crate) fn check(ty: FileType, path: &Path, id: FileId, file: &dyn DiskFile) -> Result<()> {
    if file.bytes()? < HEADER_BYTES {
        return Err(Error::corrupt(ty.what, path, 0, "a file header that ends too early"));
    }
    let mut header = [0; 32];
    file.read_at(0, &mut header)?;
    if decode(ty, path, &header)? != id {
        return Err(Error::corrupt(ty.what, path, 0, "a file with the number of another one"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: FileType = FileType { magic: *b"INSITEST", version: 3, what: "test file" };

    #[test]
    fn the_bytes_of_a_header_are_pinned() {
        let header = encode(TYPE, FileId(7));
        crate::golden::check("file_header.bin", &header);
        assert_eq!(decode(TYPE, Path::new("f"), &header).unwrap(), FileId(7));
    }

    #[test]
    fn a_version_that_is_not_read_is_refused_with_what_to_do() {
        let refused = |version| {
            let header = encode(FileType { version, ..TYPE }, FileId(7));
            decode(TYPE, Path::new("catalog/1.log"), &header).unwrap_err().to_string()
        };
        let newer = refused(4);
        assert!(newer.contains("catalog/1.log has format version 4"), "{newer}");
        assert!(newer.contains("up to version 3") && newer.contains("with that program"), "{newer}");
        let older = refused(0);
        assert!(older.contains("version 0 was never released"), "{older}");
        assert!(older.contains("from version 1 on") && older.contains("empty data directory"), "{older}");
    }

    #[test]
    fn no_changed_byte_passes() {
        let header = encode(TYPE, FileId(7));
        for at in 0..header.len() {
            let mut changed = header;
            changed[at] ^= 0x40;
            assert!(decode(TYPE, Path::new("f"), &changed).is_err(), "{at}");
        }
    }
}
