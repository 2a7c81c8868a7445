//! The paths of a document column in one granule: which were shredded, and where their blocks are.
//!
//! The bytes are described in `docs/format/segment.md`.

use super::format::Place;
use super::shred::PATHS_MAX;
use super::zone_map;
use crate::codec::{Cursor, Decoded, Malformed, put_varint};
use crate::part::ZoneMap;
use crate::schema::document::DOCUMENT_DEPTH_MAX;

/// Types of sub-columns.
pub(super) const KINDS: usize = 4;
const IN_RESIDUAL: u8 = 1 << KINDS;
/// Types of sub-columns that have zone maps: text, i64, f64.
pub(super) const ZONES: usize = 3;

/// One shredded path.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PathEntry {
    pub(super) keys: Vec<String>,
    pub(super) in_residual: bool,
    /// Text, i64, f64, bool.
    pub(super) places: [Option<Place>; KINDS],
    /// Text, i64, f64; none where the sub-column has none.
    pub(super) zones: [Option<ZoneMap>; ZONES],
}

/// The `sub` of a sub-column.
pub(super) fn sub_of(path: usize, kind: usize) -> u32 {
    u32::try_from(path * KINDS + kind).unwrap_or(u32::MAX)
}

/// The paths of a document column in one granule.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Paths {
    pub(super) residual: Option<Place>,
    pub(super) entries: Vec<PathEntry>,
}

impl Paths {
    /// The number of a path, if it was shredded.
    pub(super) fn find(&self, path: &[String]) -> Option<usize> {
        self.entries.binary_search_by(|e| e.keys.as_slice().cmp(path)).ok()
    }

    /// Whether `path` leads to objects that were shredded.
    pub(super) fn is_above(&self, path: &[String]) -> bool {
        self.entries.iter().any(|e| e.keys.len() > path.len() && e.keys.starts_with(path))
    }

    /// Zone maps of which each value at `path` lies in one; `None` when that is not known.
    pub(super) fn zones(&self, path: &[String]) -> Option<Vec<ZoneMap>> {
        if path.is_empty() || self.is_above(path) {
            return None;
        }
        let Some(entry) = self.find(path).and_then(|number| self.entries.get(number)) else {
            return self.residual.is_none().then(Vec::new);
        };
        if entry.in_residual || entry.places.get(ZONES..).is_some_and(|rest| rest.iter().any(Option::is_some))
        {
            return None;
        }
        let of_places = entry.zones.iter().zip(&entry.places).filter(|(_, place)| place.is_some());
        of_places.map(|(zone, _)| zone.clone()).collect()
    }

    /// Bytes of memory this takes, about.
    pub(super) fn memory_bytes(&self) -> usize {
        self.entries.iter().map(|e| 384 + e.keys.iter().map(|k| k.len() + 24).sum::<usize>()).sum()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        Place::encode_option(self.residual, &mut out);
        put_varint(self.entries.len() as u64, &mut out);
        for entry in &self.entries {
            put_varint(entry.keys.len() as u64, &mut out);
            for key in &entry.keys {
                put_varint(key.len() as u64, &mut out);
                out.extend_from_slice(key.as_bytes());
            }
            let mut flags = if entry.in_residual { IN_RESIDUAL } else { 0 };
            for (kind, place) in entry.places.iter().enumerate() {
                flags |= u8::from(place.is_some()) << kind;
            }
            out.push(flags);
            entry.places.iter().flatten().for_each(|place| place.encode(&mut out));
            for (zone, _) in entry.zones.iter().zip(&entry.places).filter(|(_, place)| place.is_some()) {
                zone_map::encode(zone.as_ref(), &mut out);
            }
        }
        out
    }

    pub(super) fn decode(payload: &[u8]) -> Decoded<Self> {
        let mut cursor = Cursor::new(payload);
        let residual = Place::decode_option(&mut cursor)?;
        let mut entries: Vec<PathEntry> = Vec::new();
        for _ in 0..cursor.len(PATHS_MAX)? {
            let entry = decode_entry(&mut cursor)?;
            if entries.last().is_some_and(|last| last.keys >= entry.keys) {
                return Err(Malformed("paths out of order"));
            }
            entries.push(entry);
        }
        cursor.end()?;
        Ok(Self { residual, entries })
    }
}

fn decode_entry(cursor: &mut Cursor<'_>) -> Decoded<PathEntry> {
    let mut keys = Vec::new();
    for _ in 0..cursor.len(DOCUMENT_DEPTH_MAX)? {
        let len = cursor.len(cursor.rest().len())?;
        let key = std::str::from_utf8(cursor.take(len)?).map_err(|_| Malformed("a key that is not UTF-8"))?;
        keys.push(key.to_owned());
    }
    let flags = cursor.u8()?;
    if keys.is_empty() || flags >= IN_RESIDUAL << 1 {
        return Err(Malformed("a path without keys, or with unknown flags"));
    }
    let mut places = [None; KINDS];
    for (kind, place) in places.iter_mut().enumerate() {
        if flags >> kind & 1 == 1 {
            *place = Some(Place::decode(cursor)?);
        }
    }
    let mut zones = [const { None }; ZONES];
    for (zone, _) in zones.iter_mut().zip(&places).filter(|(_, place)| place.is_some()) {
        *zone = zone_map::decode(cursor)?;
    }
    Ok(PathEntry { keys, in_residual: flags & IN_RESIDUAL != 0, places, zones })
}
