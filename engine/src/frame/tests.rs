//! Frames come back as they were written, and hostile bytes are refused.
#![expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "small counts")]

use proptest::prelude::*;

use super::*;
use crate::append::{CatalogKind, Rejection};
use crate::schema::BatchBuilder;

fn batch(rows: usize) -> Batch {
    let mut out = BatchBuilder::new(TenantId::new("acme").unwrap(), Stream::Events);
    for row in 0..rows {
        out.i64(&stream::TIME, 1_700_000_000_000_000 + row as i64)
            .str(&stream::EVENT_TYPE, Some("button_click"))
            .str(&stream::USER_ID, (row % 3 != 0).then_some("user-1"))
            .bytes(&stream::EVENT_DATA, Some(&[8, 0]));
        out.finish_row();
    }
    out.build()
}

fn header(rows: usize) -> FrameHeader {
    FrameHeader {
        received: TimestampUs(1_700_000_001_000_000),
        batches: vec![BatchHeader {
            tenant: "acme".to_owned(),
            tenant_no: TenantNo(7),
            stream: Stream::Events,
            rows: rows as u32,
            first_seq: 41,
            key_ids: Vec::new(),
        }],
        puts: Vec::new(),
        idempotency: None,
    }
}

#[test]
fn a_frame_comes_back_with_what_the_engine_fills() {
    for rows in [1, 2, 63, 64, 65, 1000] {
        let (batch, header) = (batch(rows), header(rows));
        let bytes = encode(&header, &[&encode_columns(&batch)]).unwrap();
        let frame = decode(&bytes, Lsn(9)).unwrap();
        assert_eq!(frame.header, header);
        let expected = fill(batch, &header.batches[0], header.received, Lsn(9));
        assert_eq!(frame.columns, vec![expected]);
    }
}

/// A frame with every kind of column, a catalog record and a named request.
fn golden() -> Vec<u8> {
    let mut header = header(3);
    header.puts.push(CatalogPut {
        kind: CatalogKind::Setting,
        key: b"k".to_vec(),
        value: Some(b"v".to_vec()),
    });
    let key = IdempotencyKey {
        tenant: "acme".to_owned(),
        principal: "key:1".to_owned(),
        route: "track".to_owned(),
        key: "once".to_owned(),
    };
    let rejection = Rejection {
        index: 3,
        code: "invalid".to_owned(),
        pointer: "/event_type".to_owned(),
        detail: "is required".to_owned(),
    };
    let request = Idempotency { key, body_hash: [5; 32], rejected: vec![rejection] };
    let batches = vec![AppendedBatch {
        tenant: "acme".to_owned(),
        first_seq: 41,
        rows: 4,
        duplicates: vec![(1, 7)],
        leaves: Vec::new(),
    }];
    header.idempotency = Some(StoredRequest { request, batches });
    encode(&header, &[&encode_columns(&batch(3))]).unwrap()
}

#[test]
fn the_bytes_of_a_frame_are_pinned() {
    let bytes = golden();
    crate::golden::check("frame.bin", &bytes);
    assert_eq!(decode(&bytes, Lsn(1)).unwrap().header.batches[0].first_seq, 41);
}

#[test]
fn the_engine_fills_seq_lsn_and_receipt() {
    let header = header(2);
    let columns = fill(batch(2), &header.batches[0], header.received, Lsn(9));
    let column =
        |def: &crate::schema::ColumnDef| &columns[Schema::of(Stream::Events).index_of(def.id).unwrap()];
    assert_eq!(column(&stream::SEQ).as_u64(), Some(&[41, 42][..]));
    assert_eq!(column(&stream::LSN).as_u64(), Some(&[9, 9][..]));
    assert_eq!(column(&stream::RECEIVED).as_i64(), Some(&[1_700_000_001_000_000; 2][..]));
}

proptest! {
    #[test]
    fn mutated_frames_never_panic(at in 0_usize..4_000, byte: u8, cut in 0_usize..4_000) {
        let mut bytes = encode(&header(20), &[&encode_columns(&batch(20))]).unwrap();
        let len = bytes.len();
        bytes[at % len] = byte;
        bytes.truncate(len - cut % len);
        let _ = decode(&bytes, Lsn(1));
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = decode(&bytes, Lsn(1));
    }
}
