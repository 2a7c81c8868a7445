//! The bytes of a WAL file: a header page, then frames without gaps, then a seal.
//!
//! The bytes are described in `docs/format/wal.md`.
//!
//! # Invariants
//!
//! * A frame is written to a file only after the header and the name of that file are synced, and
//!   after all files before it are sealed and synced. A seal names a file only once that file's header
//!   and name are synced.
//! * Reused files need no wiping to be safe: bytes of an earlier use carry another epoch, which nobody
//!   outside of the process knows, and a checksum over another `file_id`.

use std::path::Path;

use crc32fast::Hasher;
use sha2::{Digest, Sha256};

use crate::error::Result;
use crate::format_version;
use crate::id::{FileId, Lsn};

/// Bytes of the page in front of the first frame.
pub const HEADER_PAGE_BYTES: u64 = 4096;
/// Bytes of one copy of the file header.
pub const FILE_HEADER_BYTES: usize = 32;
/// Places of the copies of the file header.
pub const FILE_HEADER_OFFSETS: [usize; 2] = [0, 2048];
/// Bytes of a frame in front of its payload.
pub const FRAME_HEADER_BYTES: usize = 48;
/// Bytes of a seal.
pub const SEAL_BYTES: u64 = 56;
/// The kind of a seal; callers use the kinds below it.
pub const KIND_SEAL: u8 = u8::MAX;
/// The newest version this program reads, and the one it writes.
pub const VERSION: u32 = 1;
/// Frames start at multiples of this.
pub const ALIGN: u64 = 8;

const MAGIC: [u8; 8] = *b"INSIGWAL";

const _: () = assert!(8 + 4 + 4 + 8 + 8 == FILE_HEADER_BYTES);
const _: () = assert!(4 + 4 + 8 + 8 + 8 + 8 + 1 + 7 == FRAME_HEADER_BYTES);
const _: () = assert!(FRAME_HEADER_BYTES as u64 + 8 == SEAL_BYTES && SEAL_BYTES.is_multiple_of(ALIGN));

/// What makes a file's frames its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileHeader {
    /// Number of the file.
    pub file_id: FileId,
    /// Secret number of the log.
    pub log_id: u64,
}

/// A file header that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadHeader {
    /// Not a header, or damaged.
    Damaged,
    /// Intact, but of a version that is not read.
    OtherVersion(u32),
}

/// Splits the first `N` bytes off; `None` when there are fewer.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

fn crc_of(parts: &[&[u8]]) -> u32 {
    let mut hasher = Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

impl FileHeader {
    /// The header page of a file.
    pub fn encode_page(self) -> Vec<u8> {
        let identity = [self.file_id.0.to_le_bytes(), self.log_id.to_le_bytes()].concat();
        let start = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
        let crc = crc_of(&[&start, &identity]).to_le_bytes();
        let mut page = Vec::new();
        for offset in FILE_HEADER_OFFSETS {
            page.resize(offset, 0);
            page.extend_from_slice(&start);
            page.extend_from_slice(&crc);
            page.extend_from_slice(&identity);
        }
        page.resize(usize::try_from(HEADER_PAGE_BYTES).unwrap_or(page.len()), 0);
        page
    }

    /// Reads one copy of the header.
    ///
    /// # Errors
    ///
    /// [`BadHeader`] when it is damaged or of a version that is not read.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let mut rest = bytes;
        let mut fields = || {
            let magic = take::<8>(&mut rest)?;
            let version = u32::from_le_bytes(take(&mut rest)?);
            let crc = u32::from_le_bytes(take(&mut rest)?);
            let file_id = take::<8>(&mut rest)?;
            let log_id = take::<8>(&mut rest)?;
            let intact = crc == crc_of(&[&magic, &version.to_le_bytes(), &file_id, &log_id]);
            let header =
                Self { file_id: FileId(u64::from_le_bytes(file_id)), log_id: u64::from_le_bytes(log_id) };
            (magic == MAGIC && intact).then_some((version, header))
        };
        match fields() {
            None => Err(BadHeader::Damaged),
            Some((version, _)) if !format_version::is_read(version, VERSION) => {
                Err(BadHeader::OtherVersion(version))
            }
            Some((_, header)) => Ok(header),
        }
    }

    /// Reads the header from its page, from whichever copy is intact.
    ///
    /// # Errors
    ///
    /// [`BadHeader`] when no copy is.
    pub fn decode_page(page: &[u8]) -> Result<Self, BadHeader> {
        let mut bad = BadHeader::Damaged;
        for offset in FILE_HEADER_OFFSETS {
            match Self::decode(page.get(offset..).unwrap_or_default()) {
                Ok(header) => return Ok(header),
                Err(BadHeader::OtherVersion(version)) => bad = BadHeader::OtherVersion(version),
                Err(BadHeader::Damaged) => {}
            }
        }
        Err(bad)
    }

    /// The mark that every frame of the file carries.
    pub fn epoch(self) -> u64 {
        let mut hash = Sha256::new();
        hash.update(self.log_id.to_le_bytes());
        hash.update(self.file_id.0.to_le_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        // Never zero, so that zeroes are never a frame.
        digest.first_chunk().map_or(1, |first| u64::from_le_bytes(*first) | 1)
    }
}

/// Refuses a header page of a version that is not read; one that is damaged says nothing.
///
/// # Errors
///
/// [`crate::Error::NewerFormat`], [`crate::Error::OlderFormat`].
pub fn check_version(path: &Path, page: &[u8]) -> Result<()> {
    match FileHeader::decode_page(page) {
        Err(BadHeader::OtherVersion(found)) => format_version::judge(path, found, VERSION),
        _ => Ok(()),
    }
}

/// Where a frame is: a part of its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Number of the file.
    pub file_id: FileId,
    /// The mark of the file.
    pub epoch: u64,
    /// First byte of the frame, from the start of the file.
    pub offset: u64,
}

/// The fields in front of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of payload.
    pub payload_bytes: u32,
    /// Number of the frame.
    pub lsn: Lsn,
    /// Number of the frame before.
    pub prev_lsn: Lsn,
    /// Everything up to it was synced.
    pub synced_lsn: Lsn,
    /// What the payload is.
    pub kind: u8,
}

/// Bytes of a frame with that much payload, padding included.
pub fn frame_bytes(payload_bytes: u64) -> u64 {
    (FRAME_HEADER_BYTES as u64).saturating_add(payload_bytes).next_multiple_of(ALIGN)
}

impl FrameHeader {
    /// Bytes of the whole frame.
    pub fn frame_bytes(self) -> u64 {
        frame_bytes(u64::from(self.payload_bytes))
    }

    /// Appends the frame at `place`, whose payload is `parts` one after the other, to `out`.
    ///
    /// # Panics
    ///
    /// If `payload_bytes` is not the length of the parts.
    pub fn encode(self, place: Place, parts: &[&[u8]], out: &mut Vec<u8>) {
        let payload_bytes: usize = parts.iter().map(|part| part.len()).sum();
        assert_eq!(
            payload_bytes as u64,
            u64::from(self.payload_bytes),
            "a frame's length is that of its payload"
        );
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.payload_bytes.to_le_bytes());
        for field in [place.epoch, self.lsn.0, self.prev_lsn.0, self.synced_lsn.0, u64::from(self.kind)] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        for part in parts {
            out.extend_from_slice(part);
        }
        let padding = self.frame_bytes() - FRAME_HEADER_BYTES as u64 - u64::from(self.payload_bytes);
        out.extend((0..padding).map(|_| 0));
        if let Some((crc, body)) = out.get_mut(start..).and_then(<[u8]>::split_first_chunk_mut::<4>) {
            *crc = frame_crc(place, body).to_le_bytes();
        }
    }

    /// Reads the fields without trusting them: only the epoch and the length are looked at.
    ///
    /// `None` when this is not a frame of that file, or would end after `file_bytes`.
    pub fn peek(place: Place, file_bytes: u64, bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let _crc = take::<4>(&mut rest)?;
        let payload_bytes = u32::from_le_bytes(take(&mut rest)?);
        if u64::from_le_bytes(take(&mut rest)?) != place.epoch {
            return None;
        }
        let lsn = Lsn(u64::from_le_bytes(take(&mut rest)?));
        let prev_lsn = Lsn(u64::from_le_bytes(take(&mut rest)?));
        let synced_lsn = Lsn(u64::from_le_bytes(take(&mut rest)?));
        let [kind, zeroes @ ..] = take::<8>(&mut rest)?;
        let header = Self { payload_bytes, lsn, prev_lsn, synced_lsn, kind };
        let fits = place.offset.checked_add(header.frame_bytes())? <= file_bytes;
        (fits && zeroes == [0; 7]).then_some(header)
    }

    /// Whether the bytes of a whole frame are what was written at `place`.
    pub fn verify(place: Place, frame: &[u8]) -> bool {
        frame
            .split_first_chunk::<4>()
            .is_some_and(|(crc, body)| u32::from_le_bytes(*crc) == frame_crc(place, body))
    }
}

fn frame_crc(place: Place, body: &[u8]) -> u32 {
    crc_of(&[&place.file_id.0.to_le_bytes(), &place.offset.to_le_bytes(), body])
}

/// The name of a WAL file.
pub fn file_name(id: FileId) -> String {
    format!("{:016x}.wal", id.0)
}

/// The name of a file that waits to be used.
pub fn spare_name(number: u64) -> String {
    format!("{number:016x}.spare")
}

/// The number in a name with this ending, if the engine gave the name.
pub fn parse_name(name: &str, ending: &str) -> Option<u64> {
    let digits = name.strip_suffix(ending)?;
    let plain = digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if plain { u64::from_str_radix(digits, 16).ok() } else { None }
}
