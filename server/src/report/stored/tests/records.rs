//! Reports as records and back: a round trip, the limits, and records that are not what they were.

use insights_engine::id::TenantId;
use insights_engine::schema::{Batch, BatchBuilder, stream};
use insights_engine::time::TimestampUs;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::domain::document_json::{from_json, to_json};
use crate::report::stored::ReportType;
use crate::report::stored::body::BODY_BYTES_MAX;
use crate::report::stored::record::{Found, Meta, NoReport, Parts, read_heads, write};

const NOW: TimestampUs = TimestampUs(1_700_000_000_000_000);

fn meta() -> Meta {
    let text = |text: &str| text.to_owned();
    Meta {
        version: 1,
        report_type: ReportType::Security,
        app_id: None,
        start_date: text("2023-11-01"),
        end_date: text("2023-11-02"),
        start: text("2023-11-01T00:00:00Z"),
        end: text("2023-11-03T00:00:00Z"),
        timezone: text("UTC"),
        sha256: String::new(),
        bytes: 0,
        parts: 0,
        user_parts: 0,
    }
}

fn written(body: Value) -> Result<Batch, NoReport> {
    write("rep_1", &TenantId::new("acme").unwrap(), NOW, meta(), body)
}

/// The first record, and the batch of all others.
fn split(batch: &Batch) -> (Found, Batch) {
    let rows: Vec<u32> = (1..u32::try_from(batch.rows()).unwrap()).collect();
    (read_heads(&batch.take(&[0])).remove(0), batch.take(&rows))
}

fn read(batch: &Batch) -> Result<Value, NoReport> {
    let (found, rest) = split(batch);
    let mut parts = Parts::default();
    parts.take(&rest)?;
    parts.body(&found.meta)
}

/// Text that zstd cannot make smaller.
fn noise(bytes: usize) -> String {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b' ' + u8::try_from(state >> 57).unwrap() % 90)
    };
    (0..bytes).map(|_| next()).collect()
}

fn finding(user: &str) -> Value {
    json!({"rule": "new_address", "subject": {"kind": "user", "value": user}, "evidence": [user], "text": user})
}

#[test]
fn a_large_body_has_parts_and_users_have_records_of_their_own() {
    let findings: Vec<Value> = (0..120).map(|n| finding(if n < 101 { "ann" } else { "bob" })).collect();
    let body = json!({"noise": noise(100_000), "findings": findings});
    let batch = written(body.clone()).unwrap();
    let (found, _) = split(&batch);
    assert!(found.meta.parts > 2, "{:?}", found.meta);
    // 101 findings of 50 a record, and one record.
    assert_eq!((found.meta.user_parts, found.id.as_str(), found.at), (4, "rep_1", NOW));
    assert_eq!(batch.rows() as u64, 1 + found.meta.parts + found.meta.user_parts);
    let documents = batch.column(&stream::METADATA).unwrap().as_bytes().unwrap();
    assert!(documents.iter().flatten().all(|document| document.len() < 64 << 10));
    assert_eq!(read(&batch).unwrap(), body);
}

#[test]
fn a_body_above_the_limit_is_no_report() {
    assert!(written(json!({"noise": "x".repeat(BODY_BYTES_MAX)})).is_err());
    assert!(written(json!({"noise": "x".repeat(BODY_BYTES_MAX - 20)})).is_ok());
}

#[test]
fn what_is_missing_or_changed_is_told() {
    let batch = written(json!({"noise": noise(80_000), "findings": []})).unwrap();
    let (found, rest) = split(&batch);
    let mut missing = Parts::default();
    missing.take(&rest.take(&[0])).unwrap();
    assert_eq!(missing.body(&found.meta), Err(NoReport("a part is missing")));
    let mut swapped = Parts::default();
    swapped.take(&rest.take(&[1, 0, 2])).unwrap();
    assert!(swapped.body(&found.meta).is_err());
    let mut parts = Parts::default();
    parts.take(&rest).unwrap();
    let other = Meta { sha256: "0".repeat(64), ..found.meta.clone() };
    assert_eq!(parts.body(&other), Err(NoReport("its body has another hash")));
    let mut parts = Parts::default();
    parts.take(&rest).unwrap();
    let huge = Meta { bytes: u64::MAX, ..found.meta.clone() };
    assert_eq!(parts.body(&huge), Err(NoReport("its body is above the limit")));
}

/// The same rows with other metadata in one of them.
fn with_metadata(batch: &Batch, row: usize, metadata: &[u8]) -> Batch {
    let text =
        |def, row| batch.column(def).and_then(|column| column.as_bytes()).and_then(|texts| texts.get(row));
    let mut out = BatchBuilder::new(batch.tenant().clone(), batch.stream());
    for at in 0..batch.rows() {
        out.i64(&stream::TIME, NOW.0)
            .bytes(&stream::OBJECT_TYPE, text(&stream::OBJECT_TYPE, at))
            .bytes(&stream::OBJECT_ID, text(&stream::OBJECT_ID, at))
            .bytes(&stream::METADATA, if at == row { Some(metadata) } else { text(&stream::METADATA, at) });
        out.finish_row();
    }
    out.build()
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        proptest::num::f64::NORMAL.prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,6}", inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_body_comes_back(metrics in any_json(), users in prop::collection::vec("[a-z]{1,3}", 0..8)) {
        let findings: Vec<Value> = users.iter().map(|user| finding(user)).collect();
        let body = json!({"metrics": metrics, "findings": findings});
        prop_assert_eq!(read(&written(body.clone()).unwrap()).unwrap(), body);
    }

    #[test]
    fn changed_metadata_is_an_error_or_another_finding_and_never_a_panic(
        row in 0_usize..3,
        at: prop::sample::Index,
        byte: u8,
        other in any_json(),
    ) {
        let batch = written(json!({"findings": [finding("ann")], "n": 1})).unwrap();
        let metadata = batch.column(&stream::METADATA).unwrap().as_bytes().unwrap().get(row).unwrap();
        let mut bytes = metadata.to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        for metadata in [bytes.as_slice(), from_json(&other).as_bytes()] {
            let changed = with_metadata(&batch, row, metadata);
            let heads = read_heads(&changed.take(&[0]));
            let Some(found) = heads.into_iter().next() else { continue };
            let mut parts = Parts::default();
            let taken = parts.take(&changed.take(&[1, 2]));
            if taken.is_ok() && let Ok(body) = parts.body(&found.meta) {
                prop_assert_eq!(&body["n"], &json!(1));
            }
        }
        let _ = to_json(&bytes);
    }
}
