//! Small control records as bytes: the only file that names `bincode` (`docs/adr/0004`).
//!
//! The layout is that of bincode's legacy configuration: integers little-endian at their full width,
//! lengths as `u64`, enum variants as `u32`, fields in the order they are declared, options as one byte.
//! It is written down here and pinned by tests, so that the crate can be replaced by hand-written code.
//!
//! Bytes are given to [`decode`] after their checksum was verified.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Most bytes of one record; what claims to be longer is refused before memory is taken for it.
pub(crate) const RECORD_BYTES_MAX: usize = 64 << 20;

const CONFIG: Configuration<LittleEndian, Fixint, Limit<RECORD_BYTES_MAX>> =
    bincode::config::legacy().with_limit::<RECORD_BYTES_MAX>();

/// The bytes of a record.
///
/// # Errors
///
/// [`Error::Invalid`] when it is longer than [`RECORD_BYTES_MAX`].
pub(crate) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>> {
    let bytes = bincode::serde::encode_to_vec(record, CONFIG)
        .map_err(|e| Error::invalid(format!("a record that cannot be encoded: {e}")))?;
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(Error::invalid(format!("a record has at most {RECORD_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// The record that fills `bytes`.
///
/// # Errors
///
/// [`Error::Invalid`] when the bytes are not such a record, or go on after it.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let (record, read) = bincode::serde::decode_from_slice(bytes, CONFIG)
        .map_err(|e| Error::invalid(format!("a record that cannot be decoded: {e}")))?;
    if read != bytes.len() {
        return Err(Error::invalid("a record with bytes after its end"));
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::append::{CatalogKind, CatalogPut, IdempotencyKey, Rejection};
    use crate::manifest::FileKind;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        number: u32,
        signed: i64,
        maybe: Option<u16>,
        text: String,
        list: Vec<u8>,
        hash: [u8; 2],
    }

    #[test]
    fn the_layout_is_the_one_that_is_written_down() {
        let sample = Sample {
            number: 0x0102_0304,
            signed: -2,
            maybe: Some(0x0506),
            text: "ab".to_owned(),
            list: vec![9, 8],
            hash: [7, 6],
        };
        let expected = [
            &[4, 3, 2, 1][..],
            &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[1, 6, 5],
            &[2, 0, 0, 0, 0, 0, 0, 0, b'a', b'b'],
            &[2, 0, 0, 0, 0, 0, 0, 0, 9, 8],
            &[7, 6],
        ]
        .concat();
        assert_eq!(encode(&sample).unwrap(), expected);
        assert_eq!(decode::<Sample>(&expected).unwrap(), sample);
    }

    #[test]
    fn an_enum_is_the_number_of_its_variant() {
        let put = CatalogPut { kind: CatalogKind::Secret, key: vec![1], value: None };
        assert_eq!(encode(&put).unwrap(), [4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn kinds_keep_their_places_for_ever() {
        use CatalogKind as Kind;
        let places = [
            (Kind::Tenant, 0),
            (Kind::SubjectKey, 1),
            (Kind::Sequence, 2),
            (Kind::AuditRoot, 3),
            (Kind::Secret, 4),
            (Kind::Metric, 5),
            (Kind::ApiKey, 6),
            (Kind::Setting, 7),
            (Kind::Retention, 8),
            (Kind::Erasure, 9),
            (Kind::RetentionMark, 10),
            (Kind::AuditCover, 11),
        ];
        assert_eq!(places.len(), Kind::ALL.len());
        for (kind, place) in places {
            assert_eq!(encode(&kind).unwrap(), [place, 0, 0, 0]);
        }
        for (place, kind) in (0..).zip(FileKind::ALL) {
            assert_eq!(encode(&kind).unwrap(), [place, 0, 0, 0]);
        }
    }

    #[test]
    fn bytes_after_the_record_are_refused() {
        assert!(decode::<u8>(&[1, 2]).is_err());
    }

    #[test]
    fn a_length_that_no_memory_holds_is_refused() {
        assert!(decode::<Vec<u8>>(&[0xff; 8]).is_err());
        assert!(decode::<Vec<u64>>(&[0, 0, 0, 0, 0, 1, 0, 0]).is_err());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(decode::<Vec<CatalogPut>>(&bytes));
            drop(decode::<IdempotencyKey>(&bytes));
            drop(decode::<Vec<Rejection>>(&bytes));
        }
    }
}
