//! The directory: of every column block its place, null count and zone map.
//!
//! The bytes are described in `docs/format/segment.md`.

use super::format::{GRANULE_ROWS, Place};
use super::zone_map;
use crate::codec::{Cursor, Decoded, put_section, put_varint};
use crate::part::ZoneMap;

/// A column in a granule.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chunk {
    pub(super) place: Option<Place>,
    pub(super) nulls: u32,
    pub(super) zone: Option<ZoneMap>,
}

/// The chunks of a stream, by column, then by granule.
pub(super) type StreamDirectory = Vec<Vec<Chunk>>;

pub(super) fn encode(streams: &[StreamDirectory]) -> Vec<u8> {
    let mut raw = Vec::new();
    for chunk in streams.iter().flatten().flatten() {
        Place::encode_option(chunk.place, &mut raw);
        put_varint(u64::from(chunk.nulls), &mut raw);
        zone_map::encode(chunk.zone.as_ref(), &mut raw);
    }
    let mut out = Vec::new();
    put_section(&raw, &mut out);
    out
}

/// Decodes the directory of streams with these (columns, granules).
pub(super) fn decode(payload: &[u8], shape: &[(usize, usize)]) -> Decoded<Vec<StreamDirectory>> {
    let mut outer = Cursor::new(payload);
    let raw = outer.section()?;
    outer.end()?;
    let mut cursor = Cursor::new(&raw);
    let mut streams = Vec::with_capacity(shape.len());
    for &(columns, granules) in shape {
        let mut directory = StreamDirectory::with_capacity(columns);
        for _ in 0..columns {
            // Each chunk takes bytes, so the number of granules is no reason to allocate.
            let mut chunks = Vec::new();
            for _ in 0..granules {
                chunks.push(decode_chunk(&mut cursor)?);
            }
            directory.push(chunks);
        }
        streams.push(directory);
    }
    cursor.end()?;
    Ok(streams)
}

fn decode_chunk(cursor: &mut Cursor<'_>) -> Decoded<Chunk> {
    let place = Place::decode_option(cursor)?;
    let nulls = u32::try_from(cursor.len(GRANULE_ROWS)?).unwrap_or(u32::MAX);
    Ok(Chunk { place, nulls, zone: zone_map::decode(cursor)? })
}
