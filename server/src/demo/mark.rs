//! How far a fill has come, kept in the catalog with the rows of each step.

use insights_engine::append::{CatalogKind, CatalogPut};
use insights_engine::time::TimestampUs;

/// Version of [`Mark::encode`].
const VERSION: u8 = 1;
/// The catalog's key of the mark.
const KEY: &[u8] = b"demo";

/// What a store was filled with, and the next step that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The plan's seed.
    pub(crate) seed: u64,
    /// The plan's end.
    pub(crate) end: TimestampUs,
    /// The plan's days.
    pub(crate) days: u32,
    /// The first step that is not in the store.
    pub(crate) next_step: u64,
}

impl Mark {
    /// Kind and key of the mark in the catalog.
    pub(crate) const fn place() -> (CatalogKind, &'static [u8]) {
        (CatalogKind::Setting, KEY)
    }

    /// The mark as a catalog record.
    pub(crate) fn put(self) -> CatalogPut {
        let (kind, key) = Self::place();
        CatalogPut { kind, key: key.to_vec(), value: Some(self.encode()) }
    }

    /// Its bytes: version, then seed, end (microseconds), days and next step, little-endian. The catalog's frame has
    /// the checksum.
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.seed.to_le_bytes());
        out.extend_from_slice(&self.end.0.to_le_bytes());
        out.extend_from_slice(&self.days.to_le_bytes());
        out.extend_from_slice(&self.next_step.to_le_bytes());
        out
    }

    /// Reads [`Self::encode`]'s bytes; `None` when they are not.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[version], rest) = bytes.split_first_chunk()?;
        let (seed, rest) = rest.split_first_chunk()?;
        let (end, rest) = rest.split_first_chunk()?;
        let (days, rest) = rest.split_first_chunk()?;
        let next_step = rest.try_into().ok()?;
        (version == VERSION).then(|| Self {
            seed: u64::from_le_bytes(*seed),
            end: TimestampUs(i64::from_le_bytes(*end)),
            days: u32::from_le_bytes(*days),
            next_step: u64::from_le_bytes(next_step),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_mark_are_fixed() {
        let mark = Mark { seed: 1, end: TimestampUs(-2), days: 30, next_step: 258 };
        let bytes = b"\x01\x01\0\0\0\0\0\0\0\xfe\xff\xff\xff\xff\xff\xff\xff\x1e\0\0\0\x02\x01\0\0\0\0\0\0";
        assert_eq!(mark.encode(), bytes);
        assert_eq!(Mark::decode(bytes), Some(mark));
        for bad in
            [&bytes[..28], &b""[..], &[bytes.as_slice(), b"\0"].concat(), &[b"\x00", &bytes[1..]].concat()]
        {
            assert_eq!(Mark::decode(bad), None);
        }
    }
}
