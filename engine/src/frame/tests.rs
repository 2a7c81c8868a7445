//! Frames come back as they were written, and hostile bytes are refused.
#![expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "small counts")]

use proptest::prelude::*;

use super::*;
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
