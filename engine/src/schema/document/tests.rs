//! Canonical form, paths and hostile bytes.

use proptest::prelude::*;

use super::*;
use crate::part::path_of_documents;
use crate::schema::leaves::{put_leaves, walk_leaves};
use crate::schema::{BytesColumn, ColumnVector};

/// Any value that a client can send, nested up to four levels.
pub(crate) fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::I64),
        (-3..3_i64).prop_map(Value::I64),
        (i64::MAX.cast_unsigned() + 1..).prop_map(Value::U64),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(Value::F64),
        prop_oneof![Just(-0.0), Just(1.0), Just(1e300)].prop_map(Value::F64),
        "[a-z]{0,6}".prop_map(Value::Str),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map("|a|b|a\\.b|[a-d]", inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn at(document: &Document, path: &[&str]) -> Option<Scalar> {
    let path: Vec<String> = path.iter().map(|k| (*k).to_owned()).collect();
    Document::get(document.as_bytes(), &path).unwrap()
}

#[test]
fn keys_are_sorted_and_the_last_of_equal_keys_wins() {
    let value = Value::Object(vec![
        ("b".into(), Value::I64(1)),
        ("a".into(), Value::I64(2)),
        ("b".into(), Value::I64(3)),
    ]);
    let expected = Value::Object(vec![("a".into(), Value::I64(2)), ("b".into(), Value::I64(3))]);
    assert_eq!(Document::decode(Document::encode(&value).as_bytes()).unwrap(), expected);
}

#[test]
fn a_path_is_found_or_absent() {
    let inner = Value::Object(vec![("x.y".into(), Value::Str("deep".into())), (String::new(), Value::Null)]);
    let document = Document::encode(&Value::Object(vec![("a".into(), inner), ("b".into(), Value::F64(1.0))]));
    assert_eq!(at(&document, &["a", "x.y"]), Some(Scalar::Str("deep".into())));
    assert_eq!(at(&document, &["a", ""]), Some(Scalar::Other), "null is present");
    assert_eq!(at(&document, &["a"]), Some(Scalar::Other), "an object is present");
    assert_eq!(at(&document, &["b"]), Some(Scalar::F64(1.0)), "a whole double stays a double");
    assert_eq!(at(&document, &["b", "c"]), None);
    assert_eq!(at(&document, &["c"]), None);
}

#[test]
fn bytes_that_are_not_canonical_are_refused() {
    let cases: [(&str, &[u8]); 7] = [
        ("empty", &[]),
        ("a byte after the end", &[0, 0]),
        ("an unknown tag", &[9]),
        ("a long varint", &[3, 0x80, 0]),
        ("a small number under the tag of large ones", &[4, 7]),
        ("keys out of order", &[8, 2, 1, b'b', 0, 1, b'a', 0]),
        ("text that is not UTF-8", &[6, 1, 0xff]),
    ];
    for (what, bytes) in cases {
        assert!(Document::decode(bytes).is_err(), "{what}");
        assert!(walk_leaves(bytes, |_, _| ()).is_err(), "{what}");
    }
    let deep = [[7, 1].repeat(DOCUMENT_DEPTH_MAX + 1), vec![0]].concat();
    assert!(Document::decode(&deep).is_err());
    assert!(walk_leaves(&deep, |_, _| ()).is_err());
}

proptest! {
    #[test]
    fn any_value_comes_back_and_equal_values_have_equal_bytes(value in any_value()) {
        let document = Document::encode(&value);
        let back = Document::decode(document.as_bytes()).unwrap();
        prop_assert_eq!(Document::encode(&back), document);
        prop_assert_eq!(back, value);
    }

    #[test]
    fn the_leaves_of_a_document_make_it_again(value in any_value()) {
        let document = Document::encode(&value);
        let mut leaves = Vec::new();
        walk_leaves(document.as_bytes(), |keys, leaf| leaves.push((keys.to_vec(), leaf))).unwrap();
        prop_assert!(leaves.is_sorted_by(|a, b| a.0 < b.0));
        let leaves: Vec<(&[&str], _)> = leaves.iter().map(|(keys, leaf)| (keys.as_slice(), *leaf)).collect();
        let mut again = Vec::new();
        put_leaves(&leaves, &mut again).unwrap();
        prop_assert_eq!(again, document.as_bytes());
    }

    #[test]
    fn a_path_leads_where_the_members_lead(
        value in any_value(),
        path in prop::collection::vec("|a|b|a\\.b|[a-d]", 0..3),
    ) {
        let mut at = Some(&value);
        for key in &path {
            at = match at {
                Some(Value::Object(members)) => members.iter().find(|(name, _)| name == key).map(|(_, value)| value),
                _ => None,
            };
        }
        let expected = at.map(|value| match value {
            Value::Null | Value::Array(_) | Value::Object(_) => Scalar::Other,
            Value::Bool(b) => Scalar::Bool(*b),
            Value::I64(n) => Scalar::I64(*n),
            Value::U64(n) => Scalar::U64(*n),
            Value::F64(n) => Scalar::F64(*n),
            Value::Str(text) => Scalar::Str(text.as_str().into()),
        });
        let document = Document::encode(&value);
        prop_assert_eq!(Document::get(document.as_bytes(), &path).unwrap(), expected);
    }

    #[test]
    fn documents_by_a_path_are_the_leaves_of_each(
        values in prop::collection::vec(prop::option::of(any_value()), 0..12),
        key in "|a|b|[a-d]",
    ) {
        let documents: Vec<Option<Document>> =
            values.iter().map(|value| value.as_ref().map(Document::encode)).collect();
        let mut column = BytesColumn::new();
        for document in &documents {
            column.push(document.as_ref().map(Document::as_bytes));
        }
        let path = [key];
        let leaf = |document: &Document| Document::get(document.as_bytes(), &path).unwrap();
        let leaves = documents.iter().map(|document| document.as_ref().and_then(leaf)).collect();
        // The column has no equality; its text says all of it.
        let expected = format!("{:?}", ColumnVector::from_scalars(leaves));
        prop_assert_eq!(format!("{:?}", path_of_documents(&column, &path).unwrap()), expected);
    }

    #[test]
    fn random_bytes_are_refused_or_canonical(bytes in prop::collection::vec(0..12_u8, 0..60)) {
        if let Ok(value) = Document::decode(&bytes) {
            let again = Document::encode(&value);
            prop_assert_eq!(again.as_bytes(), &bytes[..]);
        }
        let walked = walk_leaves(&bytes, |_, _| ()).is_ok();
        prop_assert_eq!(walked, Document::decode(&bytes).is_ok());
        let _ = Document::get(&bytes, &["a".to_owned()]);
    }
}

#[test]
fn the_bytes_of_a_document_are_the_ones_of_before() {
    let value = Value::Object(vec![
        ("none".to_owned(), Value::Null),
        ("flags".to_owned(), Value::Array(vec![Value::Bool(false), Value::Bool(true)])),
        ("small".to_owned(), Value::I64(-3)),
        ("large".to_owned(), Value::U64(u64::MAX)),
        ("half".to_owned(), Value::F64(0.5)),
        ("text".to_owned(), Value::Str("caf\u{e9}".to_owned())),
    ]);
    crate::golden::check("document.bin", Document::encode(&value).as_bytes());
}
