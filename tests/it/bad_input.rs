//! What is wrong is refused with the right status, code and place; what is right beside it is kept.

use std::collections::BTreeSet;

use insights_server::Config;
use insights_tests::{Answer, Call, ROOT, World};
use serde_json::{Value, json};

/// A record with one fault: route, record, pointer, code.
type Faulty = (&'static str, Value, String, &'static str);

const TRACK: &str = "/api/insights/track/";
const AUDIT: &str = "/api/insights/audit/";
const METRICS: &str = "/api/insights/metrics/";
const ANALYTICS: &str = "/api/insights/analytics/";
const PERFORMANCE: &str = "/api/insights/performance/";
const QUERY: &str = "/api/insights/metrics/query/";

/// A record of a route without faults.
fn valid(route: &str) -> Value {
    match route {
        TRACK => json!({"event_type": "login"}),
        AUDIT => json!({"action_type": "user.login"}),
        _ => json!({"name": "cpu.usage", "value": 1}),
    }
}

fn kept(route: &str) -> u16 {
    if route == AUDIT { 201 } else { 202 }
}

/// The valid record with a member set to something else.
fn with(route: &str, name: &str, value: Value) -> Value {
    let mut record = valid(route);
    record[name] = value;
    record
}

/// Objects inside of objects: `levels` of them, the outermost counted.
fn nested(levels: usize) -> Value {
    (1..levels).fold(json!({}), |inner, _| json!({"a": inner}))
}

fn keys(count: usize) -> Value {
    (0..count).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>().into()
}

/// Faults of identifiers, times and documents, wherever they stand.
fn shared_faults(route: &'static str) -> Vec<Faulty> {
    let mut all = Vec::new();
    let mut identifiers = vec!["user_id", "app_id", "id"];
    if route == TRACK {
        identifiers.extend(["session_id", "anonymous_id"]);
    }
    let wrong = ["a b", "a/b", ".", "..", "caf\u{e9}", "a\u{0}b", "a\nb", "<script>"]
        .map(|text| (json!(text), "invalid"));
    let wrong = wrong.into_iter().chain([
        (json!("x".repeat(129)), "invalid"),
        (json!(1.5), "invalid_type"),
        (json!(true), "invalid_type"),
        (json!([]), "invalid_type"),
        (json!({}), "invalid_type"),
    ]);
    for (value, code) in wrong {
        for name in &identifiers {
            all.push((route, with(route, name, value.clone()), format!("/{name}"), code));
        }
    }
    let times = [
        (json!("yesterday"), "invalid"),
        (json!("2024-02-09"), "invalid"),
        (json!("2024-02-09T10:00:00"), "invalid"),
        (json!("2024-02-30T10:00:00Z"), "invalid"),
        (json!("2023-02-29T10:00:00Z"), "invalid"),
        (json!("2024-02-09T24:00:00Z"), "invalid"),
        (json!("2024-02-09T10:61:00Z"), "invalid"),
        (json!("2024-02-09T10:00:00+25:00"), "invalid"),
        (json!("2024-02-09T10:00:00Z "), "invalid"),
        (json!(u64::MAX), "invalid"),
        (json!(1e300), "invalid"),
        (json!(true), "invalid_type"),
        (json!([2024, 2, 9]), "invalid_type"),
        // An hour ahead is fine, a second more is not; 30 days back likewise.
        (json!("2024-02-10T01:00:01Z"), "timestamp_in_future"),
        (json!("9999-12-31T23:59:59Z"), "timestamp_in_future"),
        (json!("2024-01-10T23:59:59Z"), "timestamp_too_old"),
        (json!("0000-01-01T00:00:00Z"), "timestamp_too_old"),
        (json!(0), "timestamp_too_old"),
        (json!(-1), "timestamp_too_old"),
    ];
    all.extend(
        times.map(|(value, code)| (route, with(route, "timestamp", value), "/timestamp".to_owned(), code)),
    );
    all
}

/// Faults of documents under a name.
fn document_faults(route: &'static str, name: &'static str) -> Vec<Faulty> {
    let at = format!("/{name}");
    let mut all: Vec<Faulty> = [json!([]), json!("text"), json!(5), json!(true)]
        .map(|value| (route, with(route, name, value), at.clone(), "invalid_type"))
        .into();
    all.push((route, with(route, name, nested(9)), format!("{at}{}", "/a".repeat(8)), "too_deep"));
    all.push((route, with(route, name, keys(257)), at.clone(), "too_many"));
    all.push((route, with(route, name, json!({"inner": keys(257)})), format!("{at}/inner"), "too_many"));
    all.push((route, with(route, name, json!({"text": "x".repeat(65_600)})), at, "too_large"));
    all
}

fn track_faults() -> Vec<Faulty> {
    let mut all = shared_faults(TRACK);
    all.extend(document_faults(TRACK, "event_data"));
    let own = [
        (json!({}), "/event_type", "required"),
        (json!({"event_type": null}), "/event_type", "required"),
        (json!({"event_type": ""}), "/event_type", "required"),
        (json!({"event_type": "x".repeat(129)}), "/event_type", "too_long"),
        (json!({"event_type": 5}), "/event_type", "invalid_type"),
        (json!({"event_type": "login", "ip_address": "localhost"}), "/ip_address", "invalid"),
        (json!({"event_type": "login", "ip_address": 5}), "/ip_address", "invalid_type"),
        (json!({"event_type": "login", "user_agent": {}}), "/user_agent", "invalid_type"),
        (json!([]), "", "invalid_type"),
        (json!("login"), "", "invalid_type"),
        (json!(null), "", "invalid_type"),
    ];
    all.extend(own.map(|(record, pointer, code)| (TRACK, record, pointer.to_owned(), code)));
    all
}

fn audit_faults() -> Vec<Faulty> {
    let mut all = shared_faults(AUDIT);
    all.extend(document_faults(AUDIT, "metadata"));
    let own = [
        (json!({}), "/action_type", "required"),
        (json!({"action_type": "two words"}), "/action_type", "invalid"),
        (json!({"action_type": ".project"}), "/action_type", "invalid"),
        (json!({"action_type": "a..b"}), "/action_type", "invalid"),
        (json!({"action_type": "insights.read"}), "/action_type", "reserved"),
        (json!({"action_type": "x".repeat(129)}), "/action_type", "too_long"),
        (with(AUDIT, "severity", json!("fatal")), "/severity", "invalid"),
        (with(AUDIT, "severity", json!(3)), "/severity", "invalid_type"),
        (with(AUDIT, "outcome", json!("perhaps")), "/outcome", "invalid"),
        (with(AUDIT, "changes", json!({"a": [1]})), "/changes/a", "invalid"),
        (with(AUDIT, "changes", json!({"a": 1})), "/changes/a", "invalid_type"),
        (with(AUDIT, "changes", json!([])), "/changes", "invalid_type"),
        (with(AUDIT, "targets", json!({})), "/targets", "invalid_type"),
        (with(AUDIT, "content_object", json!([])), "/content_object", "invalid_type"),
        (with(AUDIT, "content_object", json!({"id": "a b"})), "/content_object/id", "invalid"),
        (with(AUDIT, "content_object", json!({"type": 5})), "/content_object/type", "invalid_type"),
    ];
    all.extend(own.map(|(record, pointer, code)| (AUDIT, record, pointer.to_owned(), code)));
    all
}

fn metric_faults() -> Vec<Faulty> {
    let mut all = shared_faults(METRICS);
    let long = "x".repeat(1_025);
    let own = [
        (json!({"value": 1}), "/name".to_owned(), "required"),
        (json!({"name": "cpu.usage"}), "/value".to_owned(), "required"),
        (json!({"name": "cpu.usage", "value": null}), "/value".to_owned(), "required"),
        (with(METRICS, "name", json!("1st")), "/name".to_owned(), "invalid"),
        (with(METRICS, "name", json!("two words")), "/name".to_owned(), "invalid"),
        (with(METRICS, "name", json!("x".repeat(129))), "/name".to_owned(), "too_long"),
        (with(METRICS, "value", json!("5")), "/value".to_owned(), "invalid_type"),
        (with(METRICS, "value", json!([5])), "/value".to_owned(), "invalid_type"),
        (with(METRICS, "type", json!("summary")), "/type".to_owned(), "invalid"),
        (with(METRICS, "type", json!("counter")), "/type".to_owned(), "conflict"),
        (with(METRICS, "unit", json!("x".repeat(33))), "/unit".to_owned(), "too_long"),
        (with(METRICS, "labels", json!([])), "/labels".to_owned(), "invalid_type"),
        (with(METRICS, "labels", keys(33)), "/labels".to_owned(), "too_many"),
        (with(METRICS, "labels", json!({"a": 1})), "/labels/a".to_owned(), "invalid_type"),
        (with(METRICS, "labels", json!({"a": {"b": "c"}})), "/labels/a".to_owned(), "invalid_type"),
        (with(METRICS, "labels", json!({"a": long})), "/labels/a".to_owned(), "too_long"),
        (with(METRICS, "labels", json!({"": "v"})), "/labels/".to_owned(), "invalid"),
        (
            with(METRICS, "labels", json!({"a~/b".repeat(50): "v"})),
            format!("/labels/{}", "a~0~1b".repeat(50)),
            "invalid",
        ),
    ];
    all.extend(own.map(|(record, pointer, code)| (METRICS, record, pointer, code)));
    all
}

#[test]
fn every_fault_of_a_record_has_its_place_and_code_and_spoils_nothing_else() {
    let world = World::new();
    let key = world.key("acme", &["admin"]);
    for (route, record, pointer, code) in
        track_faults().into_iter().chain(audit_faults()).chain(metric_faults())
    {
        let shown: String = record.to_string().chars().take(200).collect();
        let named = |errors: &Value| {
            let first = &errors[0];
            assert_eq!(
                (&first["pointer"], &first["code"]),
                (&json!(pointer), &json!(code)),
                "{route} {shown}: {errors}"
            );
            assert!(first["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{errors}");
        };
        // Alone: a body that is one object. Anything else is no single record.
        if record.is_object() {
            let problem = world.post(route, &key, &record).expect(422);
            assert_eq!(problem["code"], "invalid");
            named(&problem["errors"]);
        }
        // Between two good ones.
        let batch = json!([valid(route), record, valid(route)]);
        let answer = world.post(route, &key, &batch).expect(kept(route));
        assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(2), &json!(1)), "{route} {shown}");
        assert_eq!(answer["errors"][0]["index"], 1);
        named(&answer["errors"]);
        // All or nothing.
        let strict = world.post(&format!("{route}?strict=true"), &key, &batch).expect(422);
        assert_eq!((&strict["code"], &strict["errors"][0]["index"]), (&json!("invalid"), &json!(1)));
        named(&strict["errors"]);
    }
}

#[test]
fn times_in_every_spelling_are_the_same_instant() {
    let world = World::new();
    let key = world.key("acme", &["admin"]);
    let spellings = [
        json!("2024-02-09T10:00:00.25Z"),
        json!("2024-02-09t10:00:00.250000999z"),
        json!("2024-02-09 10:00:00.25+00:00"),
        json!("2024-02-09T15:45:00.25+05:45"),
        json!("2024-02-09T07:30:00.25-02:30"),
        json!(1_707_472_800.25),
        json!("1707472800.25"),
        json!(1_707_472_800_250_u64),
        json!(1_707_472_800_250_000_u64),
        json!(1_707_472_800_250_000_999_u64),
        json!("1707472800250"),
    ];
    for spelling in &spellings {
        world.post(TRACK, &key, &with(TRACK, "timestamp", spelling.clone())).expect(202);
    }
    let listed = world.get("/api/insights/events/?fields=timestamp", &key).expect(200);
    let times: Vec<_> =
        listed["results"].as_array().unwrap().iter().map(|event| event["timestamp"].clone()).collect();
    assert_eq!(times, vec![json!("2024-02-09T10:00:00.250000Z"); spellings.len()]);
    // The edges of what is taken, and history of any age.
    for edge in ["2024-02-10T01:00:00Z", "2024-01-11T00:00:00Z"] {
        world.post(TRACK, &key, &with(TRACK, "timestamp", json!(edge))).expect(202);
    }
    for old in ["0000-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z"] {
        let body = with(TRACK, "timestamp", json!(old));
        world.post("/api/insights/import/?stream=events", &key, &body).expect(202);
        let day = &old[..10];
        let found = world.get(&format!("/api/insights/events/?start={day}&end={day}"), &key).expect(200);
        assert_eq!(found["results"][0]["timestamp"], old);
    }
}

#[test]
fn identifiers_are_kept_as_given_numbers_as_text_and_nothing_as_absent() {
    let world = World::new();
    let key = world.key("acme", &["admin"]);
    let longest = "x".repeat(128);
    let table = [
        (json!("6f9619ff-8b86-d011-b42d-00cf4fc964ff"), json!("6f9619ff-8b86-d011-b42d-00cf4fc964ff")),
        (json!("A.b_c:d@e-f"), json!("A.b_c:d@e-f")),
        (json!("..."), json!("...")),
        (json!(longest), json!(longest)),
        (json!(42), json!("42")),
        (json!(-7), json!("-7")),
        (json!(u64::MAX), json!(u64::MAX.to_string())),
        (json!(""), Value::Null),
        (json!(null), Value::Null),
    ];
    for (given, expected) in table {
        let mut event = with(TRACK, "user_id", given.clone());
        event["app_id"] = given.clone();
        let answer = world.post(TRACK, &key, &event).expect(202);
        let id = answer["id"].clone();
        let listed = world.get("/api/insights/events/?limit=1000", &key).expect(200);
        let found =
            listed["results"].as_array().unwrap().iter().find(|event| event["id"] == id).unwrap().clone();
        assert_eq!((&found["user_id"], &found["app_id"]), (&expected, &expected), "{given}");
    }
}

#[test]
fn documents_come_back_equal_at_their_limits() {
    let world = World::new();
    let key = world.key("acme", &["admin"]);
    let documents = [
        json!({}),
        nested(8),
        keys(256),
        json!({"text": "x".repeat(65_000)}),
        json!({"i": i64::MIN, "u": u64::MAX, "f": 0.1, "e": 1.797e308, "tiny": 5e-324, "z": -0.0, "n": null, "b": [true, false]}),
        json!({"": "an empty key", "a.b": 1, "a": {"b": 2}, "~/": 3, "$x": [[], {}, [null]], "caf\u{e9}": "\u{1f600}\u{0}\u{7f}"}),
        json!({"list": [1, "two", {"three": [3.5]}, null]}),
    ];
    for flushed in [false, true] {
        for document in &documents {
            let answer = world.post(TRACK, &key, &with(TRACK, "event_data", document.clone())).expect(202);
            if flushed {
                world.flush();
            }
            let listed = world.get("/api/insights/events/?limit=1000&fields=id,event_data", &key).expect(200);
            let found = listed["results"]
                .as_array()
                .unwrap()
                .iter()
                .find(|event| event["id"] == answer["id"])
                .unwrap();
            assert_eq!(found["event_data"], *document);
        }
    }
    // Of two members of one name the last one counts.
    let twice = r#"{"event_type": "a", "event_type": "twice", "event_data": {"k": 1, "k": 2}}"#;
    world.send(Call::new("POST", TRACK).key(&key).body(twice)).expect(202);
    let found = world.get("/api/insights/events/?event_type=twice", &key).expect(200);
    assert_eq!(found["results"][0]["event_data"], json!({"k": 2}));
}

fn code(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.text());
    answer.expect(status)["code"].as_str().unwrap().to_owned()
}

#[test]
fn bodies_that_are_no_json_are_400_and_keep_nothing() {
    let world = World::new();
    let key = world.key("acme", &["admin"]);
    let deep = "[".repeat(200_000);
    let deep_data = format!(
        "{{\"event_type\":\"x\",\"event_data\":{}{}}}",
        "{\"a\":".repeat(100_000),
        "}".repeat(100_000)
    );
    let bodies: [&[u8]; 14] = [
        b"",
        b" ",
        b"{",
        b"{\"event_type\": \"login\"",
        b"{\"event_type\": \"login\",}",
        b"{event_type: \"login\"}",
        b"{\"event_type\": 'login'}",
        b"{\"event_type\": \"login\"} {}",
        b"{\"event_type\": \"log\nin\"}",
        b"{\"event_type\": \"\xff\xfe\"}",
        b"[{\"event_type\": \"login\"}, NaN]",
        b"{\"event_type\": \"login\", \"event_data\": {\"n\": Infinity}}",
        deep.as_bytes(),
        deep_data.as_bytes(),
    ];
    for route in [TRACK, AUDIT, METRICS, "/api/insights/import/?stream=events", ANALYTICS, PERFORMANCE, QUERY]
    {
        for body in bodies {
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            let answer = world.send(Call::new("POST", route).key(&key).body(body.to_vec()));
            assert_eq!(code(&answer, 400), "malformed_json", "{route} {shown}");
        }
    }
    // Half a character, where it would be kept.
    let answer = world.send(Call::new("POST", TRACK).key(&key).body(r#"{"event_type": "\ud800"}"#));
    assert_eq!(code(&answer, 400), "malformed_json");
    assert_eq!(world.get("/api/insights/events/", &key).expect(200)["results"], json!([]));
}

#[test]
fn lines_are_judged_one_by_one() {
    let world = World::new();
    let key = world.key("acme", &["admin"]);
    let lines = "{\"event_type\": \"a\"}\n\n{\"event_type\"\n{}\r\n  \n[]\n{\"event_type\": \"b\"}\n{\"event_type\": \"\\udc00\"}\nnull";
    let post = |body: &str| {
        world.send(
            Call::new("POST", TRACK)
                .key(&key)
                .header("content-type", "application/x-ndjson")
                .body(body.to_owned()),
        )
    };
    let answer = post(lines).expect(202);
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(2), &json!(5)));
    let errors: Vec<_> = answer["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["index"].clone(), e["pointer"].clone(), e["code"].clone()))
        .collect();
    let expected = [
        (1, "", "malformed_json"),
        (2, "/event_type", "required"),
        (3, "", "invalid_type"),
        (5, "", "malformed_json"),
        (6, "", "invalid_type"),
    ];
    assert_eq!(errors, expected.map(|(index, pointer, code)| (json!(index), json!(pointer), json!(code))));
    assert_eq!(code(&post("nonsense"), 422), "invalid");
    assert_eq!(post("").expect(202)["accepted"], 0);
    assert_eq!(post("\n \n").expect(202)["accepted"], 0);
}

#[test]
fn every_wrapper_of_a_batch_is_one_grammar() {
    let world = World::new();
    let key = world.key("acme", &["admin"]);
    for route in [TRACK, AUDIT, METRICS] {
        let one = valid(route);
        for body in [
            json!([one]),
            json!({"events": [one]}),
            json!({"records": [one]}),
            json!({"points": [one]}),
            json!({"batch": [one]}),
        ] {
            assert_eq!(world.post(route, &key, &body).expect(kept(route))["accepted"], 1, "{body}");
        }
        for body in [json!([]), json!({"events": []})] {
            let answer = world.post(route, &key, &body);
            assert!((200..300).contains(&answer.status), "{}", answer.text());
            assert_eq!((&answer.json()["accepted"], &answer.json()["rejected"]), (&json!(0), &json!(0)));
        }
    }
}

#[test]
fn ten_thousand_records_are_one_batch_and_one_more_is_too_many() {
    let world = World::new();
    let key = world.key("acme", &["admin"]);
    let batch =
        |count: usize| -> Vec<Value> { (0..count).map(|n| json!({"name": "jobs", "value": n})).collect() };
    let mut records = batch(10_000);
    for (index, name) in [(0, "value"), (5_000, "name"), (9_999, "value")] {
        records[index][name] = json!([]);
    }
    let answer = world.post(METRICS, &key, &json!(records)).expect(202);
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(9_997), &json!(3)));
    let places: Vec<_> = answer["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["index"].as_u64(), e["pointer"].as_str()))
        .collect();
    assert_eq!(
        places,
        [(Some(0), Some("/value")), (Some(5_000), Some("/name")), (Some(9_999), Some("/value"))]
    );
    for body in [json!(batch(10_001)), json!({"points": batch(10_001)})] {
        assert_eq!(code(&world.post(METRICS, &key, &body), 413), "payload_too_large");
    }
    let lines = "{\"name\":\"jobs\",\"value\":1}\n".repeat(10_001);
    let answer = world.send(
        Call::new("POST", METRICS).key(&key).header("content-type", "application/x-ndjson").body(lines),
    );
    assert_eq!(code(&answer, 413), "payload_too_large");
    let listed = world.get(METRICS, &key).expect(200);
    let jobs = listed["results"].as_array().unwrap().iter().find(|metric| metric["name"] == "jobs").unwrap();
    assert_eq!(jobs["points"], 9_997);
}

/// A gzip file of `count` spaces, a thousandth of their size: one literal, then copies of what was before it.
fn bomb(count: usize) -> Vec<u8> {
    let (mut out, mut held, mut bits) = (vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], 0_u32, 0);
    let mut put = |value: u32, len: u32| {
        held |= value << bits;
        bits += len;
        while bits >= 8 {
            out.push((held & 0xff) as u8);
            held >>= 8;
            bits -= 8;
        }
    };
    let code = |value: u32, len: u32| value.reverse_bits() >> (32 - len);
    // One last block with the fixed codes of RFC 1951, 3.2.6: the literal 0x20 is 0x50 in eight bits.
    put(0b011, 3);
    put(code(0x50, 8), 8);
    for _ in 0..count / 258 {
        // Length 258 is the code 285, which is 0xc5 in eight bits; distance 1 is 0 in five.
        put(code(0xc5, 8), 8);
        put(0, 5);
    }
    put(0, 7);
    put(0, 8);
    out
}

#[test]
fn bodies_over_the_limit_are_413_however_they_are_packed() {
    let world = World::new();
    let key = world.key("acme", &["admin"]);
    let send = |route: &str, encoding: &str, body: Vec<u8>| {
        let call = Call::new("POST", route).key(&key).header("content-type", "application/json");
        world.send(
            if encoding.is_empty() { call } else { call.header("content-encoding", encoding) }.body(body),
        )
    };
    let spaces = |count: usize| vec![b' '; count];
    for (route, limit) in [
        (TRACK, 16 << 20),
        ("/api/insights/import/?stream=audit", 16 << 20),
        (ANALYTICS, 1 << 20),
        (QUERY, 1 << 20),
    ] {
        assert_eq!(code(&send(route, "", spaces(limit + 1)), 413), "payload_too_large", "{route}");
        let packed = bomb(64 << 20);
        assert!(packed.len() < 500_000);
        assert_eq!(code(&send(route, "gzip", packed), 413), "payload_too_large", "{route}");
        let packed = zstd::bulk::compress(&spaces(64 << 20), 1).unwrap();
        assert_eq!(code(&send(route, "zstd", packed), 413), "payload_too_large", "{route}");
        assert_eq!(code(&send(route, "gzip", b"no gzip at all".to_vec()), 400), "malformed_json", "{route}");
        assert_eq!(code(&send(route, "lzma", b"{}".to_vec()), 415), "unsupported_media_type", "{route}");
        let call = Call::new("POST", route).key(&key).header("content-type", "text/csv").body("a,b");
        assert_eq!(code(&world.send(call), 415), "unsupported_media_type", "{route}");
    }
    // At the limit the body is read: it is no JSON, which is another matter.
    assert_eq!(code(&send(TRACK, "", spaces(16 << 20)), 400), "malformed_json");
    let packed = zstd::bulk::compress(valid(TRACK).to_string().as_bytes(), 3).unwrap();
    assert_eq!(send(TRACK, "zstd", packed).expect(202)["accepted"], 1);
}

/// A question with one fault: route, body, pointer, code.
fn wrong_questions() -> Vec<(&'static str, Value, &'static str, &'static str)> {
    let mut all = Vec::new();
    for route in [ANALYTICS, PERFORMANCE, QUERY] {
        let faults = [
            ("start_date", json!(null), "required"),
            ("start_date", json!("soon"), "invalid"),
            ("start_date", json!("2024-02-30"), "invalid"),
            ("start_date", json!([]), "invalid_type"),
            ("end_date", json!("2024-13-01"), "invalid"),
            ("group_by", json!("fortnight"), "invalid"),
            ("group_by", json!(7), "invalid_type"),
            ("timezone", json!("Mars/Olympus"), "invalid"),
            ("timezone", json!("../../etc/passwd"), "invalid"),
            ("week_start", json!("friday"), "invalid"),
            ("exact", json!("yes"), "invalid_type"),
            ("allow_partial", json!(1), "invalid_type"),
            ("organization_id", json!("a b"), "invalid"),
            ("organisation_id", json!("acme"), "unknown_field"),
        ];
        let more: &[_] = match route {
            ANALYTICS => &[
                ("metrics", json!(["money"]), "invalid"),
                ("compare", json!("tomorrow"), "invalid"),
                ("breakdown", json!("colour"), "invalid"),
                ("app_id", json!("a b"), "invalid"),
            ],
            PERFORMANCE => &[
                ("app_id", json!(null), "required"),
                ("app_id", json!(".."), "invalid"),
                ("metrics", json!(["uptime", "money"]), "invalid"),
                ("apdex_t_ms", json!(0), "invalid"),
                ("apdex_t_ms", json!("fast"), "invalid"),
            ],
            _ => &[
                ("name", json!(null), "required"),
                ("name", json!("two words"), "invalid"),
                ("aggregates", json!(["mode"]), "invalid"),
                ("by", json!({}), "invalid_type"),
            ],
        };
        for (name, value, code) in faults.iter().chain(more) {
            let mut body = question(route);
            body[*name] = value.clone();
            all.push((route, body, *name, *code));
        }
    }
    all
}

/// A question without faults.
fn question(route: &str) -> Value {
    let mut body = json!({"start_date": "2024-02-01", "end_date": "2024-02-09"});
    match route {
        PERFORMANCE => body["app_id"] = json!("shop"),
        QUERY => body["name"] = json!("cpu.usage"),
        _ => {}
    }
    body
}

#[test]
fn every_fault_of_a_question_has_its_place_and_code() {
    let world = World::new();
    let key = world.key("acme", &["admin"]);
    for (route, body, name, expected) in wrong_questions() {
        let answer = world.post(route, &key, &body);
        assert_eq!(code(&answer, 422), "invalid", "{route} {body}");
        let errors = answer.json()["errors"].clone();
        let at = format!("/{name}");
        let found = errors
            .as_array()
            .unwrap()
            .iter()
            .find(|e| e["pointer"].as_str().is_some_and(|p| p == at || p.starts_with(&format!("{at}/"))));
        assert_eq!(found.map(|e| &e["code"]), Some(&json!(expected)), "{route} {body}: {errors}");
    }
    for route in [ANALYTICS, PERFORMANCE, QUERY] {
        let mut late = question(route);
        late["start_date"] = json!("2024-02-10");
        assert_eq!(code(&world.post(route, &key, &late), 422), "invalid");
        for body in [json!([]), json!("x"), json!(null)] {
            assert_eq!(code(&world.post(route, &key, &body), 422), "invalid", "{route} {body}");
        }
        let mut wide = question(route);
        wide["start_date"] = json!("1900-01-01");
        wide["group_by"] = json!("hour");
        assert_eq!(code(&world.post(route, &key, &wide), 422), "too_many_cells", "{route}");
        world.post(route, &key, &question(route)).expect(200);
    }
    let mut filters = question(ANALYTICS);
    for wrong in [
        json!("x"),
        json!([["a"]]),
        json!([["nothing", "is", 1]]),
        json!([["user_id", "like", "x"]]),
        json!({"xor": []}),
        json!([["user_id", "in", "x"]]),
    ] {
        filters["filters"] = wrong.clone();
        let answer = world.post(ANALYTICS, &key, &filters);
        assert_eq!(code(&answer, 422), "invalid", "{wrong}");
        assert!(
            answer.json()["errors"][0]["pointer"].as_str().unwrap().starts_with("/filters"),
            "{}",
            answer.text()
        );
    }
    // Nested without end, and wider than anybody asks.
    filters["filters"] = (0..100).fold(json!(["user_id", "is", "x"]), |inner, _| json!({"not": inner}));
    assert!(world.post(ANALYTICS, &key, &filters).status < 500);
    filters["filters"] = (0..50_000).map(|n| json!(["user_id", "is", n.to_string()])).collect();
    assert!(world.post(ANALYTICS, &key, &filters).status < 500);
}

#[test]
fn parameters_of_lists_are_judged_like_bodies() {
    let world = World::new();
    let key = world.key("acme", &["admin"]);
    for list in ["events", "audit"] {
        for query in [
            "limit=0",
            "limit=1001",
            "limit=-1",
            "limit=x",
            "limit=all",
            "order=up",
            "format=xml",
            "start=soon",
            "end=2024-02-30",
            "start=2024-02-09&end=2024-02-01",
            "user_id=a%20b",
            "fields=nothing",
            "nothing=1",
            "organization_id=a%2Fb",
            "severity=loud",
            "limit=5&limit=6",
            "event_data.=1",
        ] {
            let answer = world.get(&format!("/api/insights/{list}/?{query}"), &key);
            assert_eq!(code(&answer, 422), "invalid", "{list} {query}");
            assert!(!answer.json()["errors"].as_array().unwrap().is_empty(), "{list} {query}");
        }
        for query in
            ["q=%00", "q=%FF%FE", "q=%F0%9F%98%80", "user_id=", "start=0", "limit=1000", "format=csv", "%"]
        {
            assert!(
                world.get(&format!("/api/insights/{list}/?{query}"), &key).status < 500,
                "{list} {query}"
            );
        }
    }
}

#[test]
fn tables_have_pages_and_judge_their_parameters() {
    let world = World::new();
    let (key, other) = (world.key("acme", &["admin"]), world.key("other", &["admin"]));
    world.key("acme", &["read"]);
    let actions = ["a.one", "b.two", "c.three"].map(|action| json!({"action_type": action, "user_id": "u"}));
    world.post(AUDIT, &key, &json!(actions)).expect(201);
    for (list, name) in [("keys", "id"), ("metrics", "name"), ("audit/actions", "action_type")] {
        let path = |rest: &str| format!("/api/insights/{list}/?{rest}");
        for query in ["limit=0", "limit=1001", "limit=x", "limit=all", "limit=5&limit=6", "nothing=1"] {
            assert_eq!(code(&world.get(&path(query), &key), 422), "invalid", "{list} {query}");
        }
        let whole = world.get(&path(""), &key).expect(200);
        let (mut walked, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = world.get(&path(&format!("limit=1&cursor={cursor}")), &key).expect(200);
            walked.extend(page["results"].as_array().unwrap().iter().map(|row| row[name].clone()));
            let Some(next) = page["next_cursor"].as_str() else { break };
            next.clone_into(&mut cursor);
        }
        let expected: Vec<_> =
            whole["results"].as_array().unwrap().iter().map(|row| row[name].clone()).collect();
        assert!(expected.len() > 1, "{list}");
        assert_eq!(walked, expected, "{list}");
        for (credential, rest) in [
            (&other, format!("cursor={cursor}")),
            (&key, "cursor=AAAA".to_owned()),
            (&key, "cursor=%00%FF".to_owned()),
            (&key, format!("cursor={}", "A".repeat(5_000))),
        ] {
            let answer = world.get(&path(&rest), credential);
            assert_eq!(code(&answer, 422), "invalid_cursor", "{list} {rest}");
        }
    }
}

#[test]
fn a_cursor_is_good_for_its_own_question_alone() {
    let world = World::new();
    let (key, other) = (world.key("acme", &["admin"]), world.key("other", &["admin"]));
    for (list, route) in [("events", TRACK), ("audit", AUDIT)] {
        for key in [&key, &other] {
            world.post(route, key, &json!([valid(route), valid(route), valid(route)])).expect(kept(route));
        }
        let path = |rest: &str| format!("/api/insights/{list}/?limit=1{rest}");
        let first = world.get(&path(""), &key).expect(200);
        let cursor = first["next_cursor"].as_str().expect("a cursor").to_owned();
        let next = world.get(&path(&format!("&cursor={cursor}")), &key).expect(200);
        assert_ne!(next["results"], first["results"]);
        let idle = format!("&order=desc&user_id=&cursor={cursor}");
        assert_eq!(world.get(&path(&idle), &key).expect(200)["results"], next["results"], "{list}");
        let last = cursor.chars().last().unwrap();
        let bent = format!("{}{}", &cursor[..cursor.len() - 1], if last == 'A' { 'B' } else { 'A' });
        for (credential, rest) in [
            (&other, format!("&cursor={cursor}")),
            (&key, format!("&user_id=u1&cursor={cursor}")),
            (&key, format!("&order=asc&cursor={cursor}")),
            (&key, format!("&cursor={bent}")),
            (&key, format!("&cursor={}", &cursor[..cursor.len() / 2])),
            (&key, "&cursor=AAAA".to_owned()),
            (&key, "&cursor=%00%FF".to_owned()),
            (&key, format!("&cursor={}", "A".repeat(5_000))),
        ] {
            let answer = world.get(&path(&rest), credential);
            assert_eq!(code(&answer, 422), "invalid_cursor", "{list} {rest}");
        }
        let crossed = if list == "events" { "audit" } else { "events" };
        let answer = world.get(&format!("/api/insights/{crossed}/?limit=1&cursor={cursor}"), &key);
        assert_eq!(code(&answer, 422), "invalid_cursor", "{list}");
    }
}

#[test]
fn an_idempotency_key_stands_for_one_body() {
    let world = World::new();
    let key = world.key("acme", &["admin"]);
    for route in [TRACK, AUDIT, METRICS, "/api/insights/import/?stream=events"] {
        let send = |name: &str, body: &Value| {
            world.send(Call::new("POST", route).key(&key).header("idempotency-key", name).json(body))
        };
        let route_of = if route.contains("import") { TRACK } else { route };
        let batch = json!([valid(route_of), {}, valid(route_of)]);
        let first = send("k1", &batch);
        let again = send("k1", &batch);
        assert_eq!((again.status, again.json()), (first.status, first.json()), "{route}");
        assert_eq!(first.json()["accepted"], 2);
        assert_eq!(code(&send("k1", &json!([valid(route_of)])), 422), "idempotency_mismatch", "{route}");
        for wrong in ["", "two words", &"x".repeat(256)] {
            assert_eq!(code(&send(wrong, &batch), 422), "invalid", "{route} {wrong}");
        }
    }
}

#[test]
fn a_server_that_cannot_take_more_says_when_to_come_back() {
    let mut config = Config::default();
    config.limits.bodies_in_flight_bytes_max = 64 << 10;
    let world = World::with(config);
    let key = world.key("acme", &["admin"]);
    let body = json!({"event_type": "x", "event_data": {"a": "x".repeat(60_000)}});
    let batch = json!([body, body, body]);
    let answer = world.post(TRACK, &key, &batch);
    assert_eq!(code(&answer, 503), "overloaded");
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
    // The budget is given back.
    world.post(TRACK, &key, &valid(TRACK)).expect(202);
    world.close();
    let answer = world.post(TRACK, &key, &valid(TRACK));
    assert_eq!(code(&answer, 503), "not_ready");
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
}

#[test]
fn what_is_not_there_is_404_whoever_owns_it() {
    let world = World::new();
    let (key, other) = (world.key("acme", &["admin"]), world.key("other", &["admin"]));
    let theirs =
        world.post(AUDIT, &other, &valid(AUDIT)).expect(201)["records"][0]["id"].as_str().unwrap().to_owned();
    let key_id = other.split('_').nth(1).unwrap();
    let mut said = BTreeSet::new();
    for (method, path) in [
        ("GET", format!("audit/{theirs}")),
        ("GET", "audit/01890000-0000-7000-8000-000000000000".to_owned()),
        ("DELETE", format!("keys/{key_id}")),
        ("DELETE", "keys/nothing".to_owned()),
    ] {
        let answer = world.send(Call::new(method, format!("/api/insights/{path}/")).key(&key));
        assert_eq!(code(&answer, 404), "not_found", "{path}");
        said.insert(answer.json()["detail"].to_string());
    }
    assert_eq!(said.len(), 1);
    for path in
        ["audit/a%20b", "audit/..", "keys/a%2Fb", "organizations/a%20b/usage", "organizations/%2E%2E/usage"]
    {
        let method = if path.starts_with("keys") { "DELETE" } else { "GET" };
        let answer = world.send(Call::new(method, format!("/api/insights/{path}/")).key(ROOT));
        assert!([404, 422].contains(&answer.status), "{path}: {}", answer.text());
    }
}
