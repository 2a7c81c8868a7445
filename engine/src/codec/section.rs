//! A run of bytes that is compressed when that pays.
//!
//! The bytes are described in `docs/format/common.md`.

use std::cell::RefCell;

use zstd::bulk::{Compressor, Decompressor};

use super::cursor::{Cursor, Decoded, Malformed};
use super::density::Density;
use super::varint::put_varint;

/// Most bytes that one section may have before compression.
pub const SECTION_BYTES_MAX: usize = 256 << 20;

/// Below this, compression costs more than it saves.
const COMPRESS_BYTES_MIN: usize = 128;

/// The level for fresh data; both decode alike.
const LEVEL_FAST: i32 = 1;
/// The level for rows that stay: higher ones gain under 1 % on what was measured.
const LEVEL_DENSE: i32 = 9;

thread_local! {
    // A context is a few hundred KiB that a new one for each block would allocate again.
    static FAST: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DENSE: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The zstd frame of `raw` when it is at least a tenth shorter.
fn compress(raw: &[u8], density: Density) -> Option<Vec<u8>> {
    if raw.len() < COMPRESS_BYTES_MIN {
        return None;
    }
    let (compressor, level) = match density {
        Density::Fast => (&FAST, LEVEL_FAST),
        Density::Dense => (&DENSE, LEVEL_DENSE),
    };
    let frame = compressor.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Compressor::new(level).ok();
        }
        slot.as_mut().and_then(|c| c.compress(raw).ok())
    })?;
    (frame.len() <= raw.len() / 10 * 9).then_some(frame)
}

/// Writes a section, compressed as fresh data is.
///
/// # Panics
///
/// As [`put_section_at`].
pub(crate) fn put_section(raw: &[u8], out: &mut Vec<u8>) {
    put_section_at(raw, Density::Fast, out);
}

/// Writes a section.
///
/// # Panics
///
/// When `raw` is longer than [`SECTION_BYTES_MAX`], which the writer of a segment excludes.
pub(crate) fn put_section_at(raw: &[u8], density: Density, out: &mut Vec<u8>) {
    assert!(raw.len() <= SECTION_BYTES_MAX, "a section is bounded");
    put_varint(raw.len() as u64, out);
    let frame = compress(raw, density);
    let stored = frame.as_deref().unwrap_or(raw);
    put_varint(stored.len() as u64, out);
    out.extend_from_slice(stored);
}

impl<'a> Cursor<'a> {
    /// A section, decompressed if it must be.
    pub(crate) fn section(&mut self) -> Decoded<std::borrow::Cow<'a, [u8]>> {
        let raw = self.len(SECTION_BYTES_MAX)?;
        let stored = self.len(raw)?;
        let bytes = self.take(stored)?;
        if stored == raw {
            return Ok(bytes.into());
        }
        let out = DECOMPRESSOR
            .with_borrow_mut(|slot| {
                if slot.is_none() {
                    *slot = Decompressor::new().ok();
                }
                slot.as_mut().and_then(|d| d.decompress(bytes, raw).ok())
            })
            .ok_or(Malformed("a zstd frame that cannot be decoded"))?;
        if out.len() != raw {
            return Err(Malformed("a zstd frame of the wrong length"));
        }
        Ok(out.into())
    }
}
