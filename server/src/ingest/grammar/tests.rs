//! Bodies of every shape, good and bad.

use proptest::prelude::*;
use serde::de::{IgnoredAny, MapAccess};

use super::*;
use crate::ingest::fault::Fault;
use crate::ingest::record::text;

#[derive(Debug, Default, PartialEq)]
struct Named(Option<String>);

impl<'de> Record<'de> for Named {
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        scratch: &mut Scratch,
    ) -> Result<(), A::Error> {
        if key == "name" {
            self.0 = text(map, "/name", 8, &mut scratch.faults)?.map(Into::into);
        } else {
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// (index, pointer, code) of a fault.
type Told<'a> = (usize, &'a str, &'a str);

/// What became of each record: its name, or its faults.
#[derive(Debug, Default)]
struct Recorder(Vec<Result<Option<String>, Vec<Fault>>>);

impl Sink<'_> for Recorder {
    type Record = Named;

    fn take(&mut self, record: Named, scratch: &mut Scratch) {
        let faults: Vec<Fault> = scratch.faults.drain().collect();
        self.0.push(if faults.is_empty() { Ok(record.0) } else { Err(faults) });
    }

    fn refuse(&mut self, scratch: &mut Scratch) {
        self.0.push(Err(scratch.faults.drain().collect()));
    }

    fn reset(&mut self) {
        self.0.clear();
    }
}

fn json(body: &[u8]) -> (Result<Shape, BodyError>, Recorder) {
    let mut recorder = Recorder::default();
    let result = read_json(body, 5, &mut recorder, &mut Scratch::default());
    (result, recorder)
}

fn lines(body: &[u8]) -> (Result<Shape, BodyError>, Recorder) {
    let mut recorder = Recorder::default();
    let result = read_lines(body, 5, &mut recorder, &mut Scratch::default());
    (result, recorder)
}

/// The names of the good records, and index, pointer and code of the faults of the others.
fn told(recorder: &Recorder) -> (Vec<&str>, Vec<Told<'_>>) {
    let names = recorder.0.iter().flatten().map(|name| name.as_deref().unwrap_or("-")).collect();
    let faults = recorder.0.iter().enumerate().flat_map(|(index, record)| {
        let faults = record.as_ref().err().into_iter().flatten();
        faults.map(move |fault| (index, fault.pointer.as_str(), fault.code.as_ref()))
    });
    (names, faults.collect())
}

#[test]
fn one_object_an_array_and_a_wrapped_list_are_read_alike() {
    let table: [(&str, Shape, &[&str]); 12] = [
        (r#"{"name":"a"}"#, Shape::Single, &["a"]),
        (r#"  {"name":"a","x":[{"y":1}]}  "#, Shape::Single, &["a"]),
        ("{}", Shape::Single, &["-"]),
        (r#"[{"name":"a"},{"name":"b"}]"#, Shape::Batch, &["a", "b"]),
        ("[]", Shape::Batch, &[]),
        (r#"{"events":[{"name":"a"},{"name":"b"}]}"#, Shape::Batch, &["a", "b"]),
        (r#"{"records":[{"name":"a"}]}"#, Shape::Batch, &["a"]),
        (r#"{"points":[{"name":"a"}]}"#, Shape::Batch, &["a"]),
        (r#"{"sent_at":"x","batch":[{"name":"a"}],"name":"no","context":{}}"#, Shape::Batch, &["a"]),
        (r#"{"events":[]}"#, Shape::Batch, &[]),
        (r#"{"name":"a","name":"b"}"#, Shape::Single, &["b"]),
        ("\u{feff}{\"name\":\"\\u00e9\"}", Shape::Single, &["\u{e9}"]),
    ];
    for (body, shape, names) in table {
        let (result, recorder) = json(body.as_bytes());
        assert_eq!(result, Ok(shape), "{body}");
        assert_eq!(told(&recorder), (names.to_vec(), vec![]), "{body}");
    }
}

#[test]
fn what_is_no_record_is_a_fault_with_its_place() {
    let table: [(&str, &[Told<'_>]); 9] = [
        ("5", &[(0, "", "invalid_type")]),
        ("null", &[(0, "", "invalid_type")]),
        (r#""a""#, &[(0, "", "invalid_type")]),
        (r#"{"name":5}"#, &[(0, "/name", "invalid_type")]),
        (r#"{"name":"123456789"}"#, &[(0, "/name", "too_long")]),
        (
            r#"[1,{"name":"a"},[],{"name":{}}]"#,
            &[(0, "", "invalid_type"), (2, "", "invalid_type"), (3, "/name", "invalid_type")],
        ),
        (r#"{"events":5}"#, &[(0, "/events", "invalid_type")]),
        (r#"{"batch":{"a":1}}"#, &[(0, "/batch", "invalid_type")]),
        (r#"[{"name":"a"},{"name":"b","x":{"y/z":[0,1e999]}}]"#, &[]),
    ];
    for (body, faults) in table {
        let (result, recorder) = json(body.as_bytes());
        assert!(result.is_ok(), "{body}");
        assert_eq!(told(&recorder).1, faults, "{body}");
    }
}

#[test]
fn a_number_that_no_double_holds_is_a_fault_of_its_record_alone() {
    let table: [(&str, &[&str], &[Told<'_>]); 4] = [
        (r#"{"name":1e999}"#, &[], &[(0, "/name", "number_out_of_range")]),
        (
            r#"[{"name":"a"},{"name":-1e400},{"name":"c"}]"#,
            &["a", "c"],
            &[(1, "/name", "number_out_of_range")],
        ),
        (r#"{"x":1,"events":[{"name":"a"},{"name":1e400}]}"#, &["a"], &[(1, "/name", "number_out_of_range")]),
        (
            r#"[{"name":"a"},{"name":1e400},7]"#,
            &["a"],
            &[(1, "/name", "number_out_of_range"), (2, "", "invalid_type")],
        ),
    ];
    for (body, names, faults) in table {
        let (result, recorder) = json(body.as_bytes());
        assert!(result.is_ok(), "{body}: {result:?}");
        assert_eq!(told(&recorder), (names.to_vec(), faults.to_vec()), "{body}");
    }
    let (result, recorder) = lines(b"{\"name\":1e999}\n{\"name\":\"b\"}");
    assert_eq!(result, Ok(Shape::Batch));
    assert_eq!(told(&recorder), (vec!["b"], vec![(0, "/name", "number_out_of_range")]));
}

#[test]
fn text_that_is_no_json_is_told_with_line_and_column() {
    let table: [(&[u8], usize, usize); 6] = [
        (b"", 1, 0),
        (b"{", 1, 1),
        (b"[{\"name\":\"a\"},\n {\"name\" 5}]", 2, 10),
        (b"{\"name\":\"a\"} x", 1, 14),
        (b"[{\"name\":\"a\"}\n,{\"name\":\"\xff\"}]", 2, 11),
        (b"[1,]", 1, 4),
    ];
    for (body, expected_line, expected_column) in table {
        let Err(BodyError::Malformed { line, column, .. }) = json(body).0 else {
            panic!("{body:?} is no JSON");
        };
        assert_eq!((line, column), (expected_line, expected_column), "{:?}", String::from_utf8_lossy(body));
    }
}

#[test]
fn a_bad_line_is_a_fault_and_the_others_count() {
    let (result, recorder) =
        lines(b"{\"name\":\"a\"}\r\n\n{bad}\n[]\n{\"name\":\"\xff\"}\n  {\"name\":\"b\"} ");
    assert_eq!(result, Ok(Shape::Batch));
    let faults = vec![(1, "", "malformed_json"), (2, "", "invalid_type"), (3, "", "malformed_json")];
    assert_eq!(told(&recorder), (vec!["a", "b"], faults));
    let Err(first) = &recorder.0[1] else { panic!("a bad line") };
    assert!(first[0].detail.ends_with("at line 3 column 2"), "{}", first[0].detail);
    assert_eq!(told(&lines(b"").1), (vec![], vec![]));
    assert_eq!(told(&lines(b"{\"name\":\"a\"} {\"name\":\"b\"}").1).1, vec![(0, "", "malformed_json")]);
}

#[test]
fn more_records_than_allowed_are_refused_whole() {
    for body in ["[{},{},{},{},{},{}]", r#"{"batch":[{},{},{},{},{},{}]}"#, "[1,2,3,4,5,{\"x\":1e999}]"] {
        assert_eq!(json(body.as_bytes()).0, Err(BodyError::TooMany { max: 5 }), "{body}");
    }
    assert_eq!(lines(b"{}\n{}\n{}\n{}\n{}\n{}\n").0, Err(BodyError::TooMany { max: 5 }));
    assert!(json(b"[{},{},{},{},{}]").0.is_ok());
    assert!(lines(b"{}\n{}\n{}\n{}\n{}\n").0.is_ok());
}

fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("1e999".to_owned()),
        Just(r#"{"name":"a"}"#.to_owned()),
        any::<i32>().prop_map(|n| n.to_string()),
        "[a-z]{0,4}".prop_map(|s| format!("{s:?}")),
    ];
    leaf.prop_recursive(3, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|v| format!("[{}]", v.join(","))),
            prop::collection::vec(("name|events|batch|x", inner), 0..4).prop_map(|m| {
                let members: Vec<String> = m.iter().map(|(k, v)| format!("{k:?}:{v}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn every_json_value_is_read_and_every_record_of_a_list_is_told(body in any_json()) {
        let (result, recorder) = json(body.as_bytes());
        let parsed: Result<Vec<IgnoredAny>, _> = serde_json::from_str(&body);
        match (result, parsed) {
            (Ok(_), Ok(list)) => prop_assert_eq!(recorder.0.len(), list.len()),
            (Ok(Shape::Single), Err(_)) => prop_assert_eq!(recorder.0.len(), 1),
            (Ok(Shape::Batch), Err(_)) | (Err(BodyError::TooMany { .. }), _) => {}
            (Err(error), _) => prop_assert!(false, "{}: {}", body, error),
        }
    }

    #[test]
    fn mutated_bytes_never_panic(body in any_json(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = body.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = json(&bytes);
        let _ = lines(&bytes);
        bytes.truncate(at);
        let _ = json(&bytes);
    }
}
