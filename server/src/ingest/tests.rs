//! Bodies into a real engine and back: who may write what, what is kept, and what the answer says.

use std::sync::Arc;
use std::time::Duration;

use insights_engine::Engine;
use insights_engine::clock::{Clock, ManualClock};
use insights_engine::disk::OsDisk;
use insights_engine::entropy::Entropy;
use insights_engine::id::{Stream, TenantId};
use insights_engine::query::{Order, ScanVector};
use insights_engine::schema::stream::{
    CHANGES, EVENT_DATA, EVENT_TYPE, ID, IP_ADDRESS, KIND, NAME, SESSION_ID, TIME, USER_AGENT, USER_ID,
    WRITING_KEY,
};
use insights_engine::schema::{Batch, ColumnDef};
use insights_engine::time::{TimeRange, TimestampUs};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::answer::Answer;
use super::*;
use crate::auth::keyring::Keyring;
use crate::auth::{Authenticator, Principal, PrincipalKind, Scopes};
use crate::config::Secret;
use crate::domain::document_json::to_json;
use crate::http::error::ApiError;
use crate::http::extract::{Body, MediaType};
use crate::http::middleware::context::RequestContext;
use crate::store::Asking;
use crate::{AppState, Config, Store};

/// 2024-02-29T12:00:00Z.
const NOW: i64 = 1_709_208_000_000_000;
const MINUTE: Duration = Duration::from_mins(1);

/// A server without a socket.
struct Server {
    dir: TempDir,
    clock: Arc<ManualClock>,
    engine: Arc<Engine>,
    state: AppState,
}

impl Server {
    fn new() -> Self {
        Self::open(TempDir::new().unwrap(), ManualClock::new(TimestampUs(NOW)))
    }

    fn open(dir: TempDir, clock: Arc<ManualClock>) -> Self {
        let disk = Arc::new(OsDisk::open(dir.path()).unwrap());
        let shared: Arc<dyn Clock> = clock.clone();
        let config = Config::default();
        let engine = Engine::open(config.engine.clone(), disk, Arc::clone(&shared), [7; 32]).unwrap();
        let store = Store::new(Arc::clone(&engine), config.limits.queries);
        let auth = Authenticator::new(&Secret::new("x".repeat(32)), Keyring::default(), None);
        let state = AppState::new(store, config, shared, auth, Entropy::from_seed([7; 32]));
        Self { dir, clock, engine, state }
    }

    /// The same data directory, opened by a new process.
    fn restarted(self) -> Self {
        let Self { dir, clock, engine, state } = self;
        engine.close().unwrap();
        drop((state, engine));
        Self::open(dir, clock)
    }

    async fn send(
        &self,
        who: &Principal,
        options: Options,
        body: impl Into<Vec<u8>>,
    ) -> Result<Answer, ApiError> {
        self.send_as(who, options, body, MediaType::Json).await
    }

    async fn send_as(
        &self,
        who: &Principal,
        options: Options,
        body: impl Into<Vec<u8>>,
        media: MediaType,
    ) -> Result<Answer, ApiError> {
        let context = RequestContext {
            request_id: "r-1".into(),
            trace_id: None,
            ip_address: Some("192.0.2.7".parse().unwrap()),
            user_agent: Some("curl/8".into()),
        };
        write(&self.state, who.clone(), context, Body::for_test(body.into(), media), options).await
    }

    /// Every row of an organization in a stream, oldest first.
    async fn rows(&self, organization: &str, stream: Stream) -> Vec<Batch> {
        let needs = if stream == Stream::Audit { Scopes::AUDIT_READ } else { Scopes::READ };
        let scope = superuser().read_scope(Some(organization), needs).unwrap();
        let mut request = scope.row_request(stream, TimeRange::ALL, 100_000);
        request.order = Order::Asc;
        self.state.store.rows(&scope, request).await.unwrap().batches
    }

    /// The text of a column of every event of `acme`.
    async fn column(&self, column: &ColumnDef) -> Vec<Option<String>> {
        let rows = self.rows("acme", Stream::Events).await;
        let values = rows.iter().flat_map(|batch| batch.column(column).unwrap().as_bytes().unwrap().iter());
        values.map(|value| value.map(|v| String::from_utf8_lossy(v).into_owned())).collect()
    }
}

fn superuser() -> Principal {
    Principal::for_test(PrincipalKind::Superuser { user_id: None })
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn acme() -> Principal {
    let scopes = Scopes::ALL_OF_ORGANIZATION;
    Principal::for_test(PrincipalKind::Organization { organization: tenant("acme"), scopes })
}

fn user(organizations: &[&str]) -> Principal {
    let organizations = organizations.iter().map(|name| tenant(name)).collect();
    Principal::for_test(PrincipalKind::User { user_id: "ada".into(), organizations, scopes: Scopes::TRACK })
}

fn to(stream: Stream) -> Options {
    Options { stream, import: false, strict: false, idempotency_key: None }
}

fn keyed(stream: Stream, key: &str) -> Options {
    Options { idempotency_key: Some(key.to_owned()), ..to(stream) }
}

/// (pointer, code) of a fault.
type Place<'a> = (&'a str, &'a str);

/// Every place in an error.
fn places(error: &ApiError) -> Vec<Place<'_>> {
    error.errors().iter().map(|e| (e.pointer.as_str(), e.code.as_ref())).collect()
}

#[tokio::test]
async fn the_seeds_event_is_kept_as_it_was_sent() {
    let server = Server::new();
    let body = r#"{"event_type":"button_click","event_data":{"button_name":"submit","page":"dashboard"},
                   "session_id":"optional_session_id"}"#;
    let answer = server.send(&acme(), to(Stream::Events), body).await.unwrap();
    assert_eq!((answer.accepted, answer.duplicates, answer.rejected, answer.durable), (1, 0, 0, true));
    assert_eq!(answer.session_id.as_deref(), Some("optional_session_id"));
    assert_eq!(answer.id.as_ref().unwrap().len(), 36);
    let rows = server.rows("acme", Stream::Events).await;
    assert_eq!(rows[0].column(&TIME).unwrap().as_i64(), Some(&[NOW][..]));
    let data = rows[0].column(&EVENT_DATA).unwrap().as_bytes().unwrap().get(0).unwrap();
    assert_eq!(to_json(data).unwrap(), json!({"button_name": "submit", "page": "dashboard"}));
    assert_eq!(server.column(&EVENT_TYPE).await, [Some("button_click".into())]);
    assert_eq!(server.column(&SESSION_ID).await, [Some("optional_session_id".into())]);
    assert_eq!(server.column(&IP_ADDRESS).await, [Some("192.0.2.7".into())]);
    assert_eq!(server.column(&USER_AGENT).await, [Some("curl/8".into())]);
    assert_eq!(server.column(&WRITING_KEY).await, [Some("test".into())]);
    let scope = superuser().read_scope(Some("acme"), Scopes::READ).unwrap();
    let found = server.state.store.row_by_id(&scope, Stream::Events, answer.id.unwrap());
    assert_eq!(found.await.unwrap().unwrap().rows(), 1);
}

#[tokio::test]
async fn of_ten_thousand_records_with_three_bad_the_others_are_kept() {
    let server = Server::new();
    let records: Vec<Value> = (0..10_000)
        .map(|n| match n {
            7 => json!({"event_type": 5}),
            5_000 => json!({"event_type": "a", "timestamp": "yesterday"}),
            9_999 => json!(null),
            n => json!({"event_type": "a", "user_id": n, "event_data": {"n": n, "list": [1, "two", null]}}),
        })
        .collect();
    let answer =
        server.send(&acme(), to(Stream::Events), json!({"events": records}).to_string()).await.unwrap();
    assert_eq!((answer.accepted, answer.duplicates, answer.rejected), (9_997, 0, 3));
    let told: Vec<_> = answer.errors.iter().map(|e| (e.index, e.pointer.as_str(), &*e.code)).collect();
    assert_eq!(
        told,
        [(7, "/event_type", "invalid_type"), (5_000, "/timestamp", "invalid"), (9_999, "", "invalid_type")]
    );
    assert_eq!((&answer.id, &answer.session_id), (&None, &None));
    let rows: usize = server.rows("acme", Stream::Events).await.iter().map(Batch::rows).sum();
    assert_eq!(rows, 9_997);
    let strict = Options { strict: true, ..to(Stream::Events) };
    let error = server.send(&acme(), strict, json!(records).to_string()).await.unwrap_err();
    assert_eq!((error.code().name(), error.errors().len()), ("invalid", 3));
    assert_eq!(error.errors()[1].index, Some(5_000));
}

#[tokio::test]
async fn every_fault_of_a_record_is_told_with_its_pointer() {
    let server = Server::new();
    let nine = json!({"a": {"b": {"c": {"d": {"e": {"f": {"g": [{}]}}}}}}});
    let many: serde_json::Map<String, Value> = (0..257).map(|n| (format!("k{n}"), json!(n))).collect();
    let long = "x".repeat(129);
    let table: [(Stream, Value, &[Place<'_>]); 14] = [
        (Stream::Events, json!({}), &[("/event_type", "required")]),
        (Stream::Events, json!({"event_type": ""}), &[("/event_type", "required")]),
        (Stream::Events, json!({"event_type": long}), &[("/event_type", "too_long")]),
        (
            Stream::Events,
            json!({"event_type": ["a"], "user_id": "a b", "app_id": 1.5, "session_id": "..", "event_data": "x"}),
            &[
                ("/app_id", "invalid_type"),
                ("/event_data", "invalid_type"),
                ("/event_type", "invalid_type"),
                ("/session_id", "invalid"),
                ("/user_id", "invalid"),
            ],
        ),
        (
            Stream::Events,
            json!({"event_type": "a", "event_data": nine}),
            &[("/event_data/a/b/c/d/e/f/g/0", "too_deep")],
        ),
        (Stream::Events, json!({"event_type": "a", "event_data": many}), &[("/event_data", "too_many")]),
        (
            Stream::Events,
            json!({"event_type": "a", "event_data": {"k": "x".repeat(65_537)}}),
            &[("/event_data", "too_large")],
        ),
        (Stream::Events, json!({"event_type": "a", "ip_address": "here"}), &[("/ip_address", "invalid")]),
        (
            Stream::Audit,
            json!({"action_type": "a b", "severity": "fatal", "outcome": 1}),
            &[("/action_type", "invalid"), ("/outcome", "invalid_type"), ("/severity", "invalid")],
        ),
        (Stream::Audit, json!({"action_type": "insights.read"}), &[("/action_type", "reserved")]),
        (
            Stream::Audit,
            json!({"action_type": "a", "content_object": {"id": "a b", "type": {}}, "targets": {}}),
            &[
                ("/content_object/id", "invalid"),
                ("/content_object/type", "invalid_type"),
                ("/targets", "invalid_type"),
            ],
        ),
        (
            Stream::Audit,
            json!({"action_type": "a", "changes": {"x/y": [1], "z": 5}}),
            &[("/changes/x~1y", "invalid"), ("/changes/z", "invalid_type")],
        ),
        (
            Stream::Metrics,
            json!({"name": "1a", "value": "5", "type": "meter"}),
            &[("/name", "invalid"), ("/type", "invalid"), ("/value", "invalid_type")],
        ),
        (
            Stream::Metrics,
            json!({"name": "a", "value": 1, "labels": {"x": 5}}),
            &[("/labels/x", "invalid_type")],
        ),
    ];
    for (stream, body, expected) in table {
        let error = server.send(&acme(), to(stream), body.to_string()).await.unwrap_err();
        assert_eq!((error.code().name(), places(&error)), ("invalid", expected.to_vec()), "{body}");
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_has_too_many_records_or_none() {
    let server = Server::new();
    let code = async |body: &str| {
        server
            .send(&acme(), to(Stream::Events), body)
            .await
            .map_err(|error| (error.code().name(), error.detail().to_owned()))
    };
    let (name, detail) = code("[{\"event_type\":\"a\"},\n {]").await.unwrap_err();
    assert_eq!(name, "malformed_json");
    assert!(detail.contains("line 2 column 3"), "{detail}");
    assert_eq!(code(&format!("[{}1]", "1,".repeat(10_000))).await.unwrap_err().0, "payload_too_large");
    for empty in ["[]", r#"{"events":[]}"#] {
        let answer = code(empty).await.unwrap();
        assert_eq!(answer, Answer { durable: true, ..Answer::default() });
    }
    let lines = "{\"event_type\":\"a\"}\n{bad\n\n{\"event_type\":\"b\"}";
    let answer = server.send_as(&acme(), to(Stream::Events), lines, MediaType::Ndjson).await.unwrap();
    assert_eq!((answer.accepted, answer.rejected, answer.errors[0].index), (2, 1, 1));
}

#[tokio::test]
async fn records_go_only_where_their_writer_may_write() {
    let server = Server::new();
    let event = |fields: Value| {
        let mut event = json!({"event_type": "a"});
        event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        event
    };
    let table = [
        (acme(), json!({}), "ok"),
        (acme(), json!({"organization_id": "acme"}), "ok"),
        (acme(), json!({"organization_id": "other"}), "forbidden"),
        (acme(), json!({"organization_id": "a b"}), "invalid"),
        (acme(), json!({"user_id": "anybody"}), "ok"),
        (superuser(), json!({}), "invalid"),
        (superuser(), json!({"organization_id": "other"}), "ok"),
        (user(&["acme"]), json!({}), "ok"),
        (user(&["acme"]), json!({"user_id": "ada"}), "ok"),
        (user(&["acme"]), json!({"user_id": "bob"}), "forbidden"),
        (user(&["acme"]), json!({"organization_id": "other"}), "forbidden"),
        (user(&["acme", "other"]), json!({}), "invalid"),
        (user(&["acme", "other"]), json!({"organization_id": "other"}), "ok"),
        (user(&[]), json!({}), "forbidden"),
    ];
    for (who, fields, expected) in table {
        let body = event(fields);
        for text in [body.to_string(), json!([event(json!({"organization_id": "acme"})), body]).to_string()] {
            let batch = text.starts_with('[');
            let result = server.send(&who, to(Stream::Events), text.as_str()).await;
            let got = result.as_ref().map_or_else(|error| error.code().name(), |_| "ok");
            // One bad record of a batch is told in the answer; a foreign one refuses the whole.
            let expected = if batch && expected == "invalid" { "ok" } else { expected };
            assert_eq!(got, expected, "{who:?} {text}");
        }
    }
    let error = server.send(&superuser(), to(Stream::Events), r#"{"event_type":"a"}"#).await.unwrap_err();
    assert_eq!(places(&error), [("/organization_id", "required")]);
}

#[tokio::test]
async fn a_user_cannot_say_where_they_are() {
    let server = Server::new();
    let body = r#"{"event_type":"a","ip_address":"203.0.113.9","user_agent":"made up"}"#;
    server.send(&user(&["acme"]), to(Stream::Events), body).await.unwrap();
    server.clock.advance(MINUTE);
    server.send(&acme(), to(Stream::Events), body).await.unwrap();
    assert_eq!(server.column(&USER_ID).await, [Some("ada".into()), None]);
    assert_eq!(server.column(&IP_ADDRESS).await, [Some("192.0.2.7".into()), Some("203.0.113.9".into())]);
    assert_eq!(server.column(&USER_AGENT).await, [Some("curl/8".into()), Some("made up".into())]);
}

#[tokio::test]
async fn what_a_superusers_token_sends_is_their_own_act_unless_it_names_another() {
    let server = Server::new();
    let root = Principal::for_test(PrincipalKind::Superuser { user_id: Some("root".into()) });
    for fields in [json!({}), json!({"user_id": "ada"}), json!({"anonymous_id": "v-1"})] {
        let mut event = json!({"event_type": "a", "organization_id": "acme"});
        event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        server.send(&root, to(Stream::Events), event.to_string()).await.unwrap();
        server.clock.advance(MINUTE);
    }
    let import = Options { import: true, ..to(Stream::Events) };
    server.send(&root, import, r#"{"event_type":"a","organization_id":"acme"}"#).await.unwrap();
    assert_eq!(server.column(&USER_ID).await, [Some("root".into()), Some("ada".into()), None, None]);
}

#[tokio::test]
async fn times_lie_between_the_late_window_and_an_hour_ahead_and_import_takes_any_age() {
    let server = Server::new();
    let day = 86_400;
    let now = NOW / 1_000_000;
    let table = [
        (now, None),
        (now + 3_600, None),
        (now + 3_601, Some("timestamp_in_future")),
        (now - 30 * day, None),
        (now - 30 * day - 1, Some("timestamp_too_old")),
        (0, Some("timestamp_too_old")),
    ];
    for (at, expected) in table {
        let body = json!({"event_type": "a", "timestamp": at}).to_string();
        let result = server.send(&acme(), to(Stream::Events), body).await;
        let code = result.as_ref().err().map(|error| places(error));
        assert_eq!(code, expected.map(|code| vec![("/timestamp", code)]), "{at}");
    }
    let import = Options { import: true, ..to(Stream::Events) };
    let old = json!({"event_type": "a", "timestamp": "1971-01-01T00:00:00Z"}).to_string();
    assert_eq!(server.send(&acme(), import.clone(), old).await.unwrap().accepted, 1);
    let ahead = json!({"event_type": "a", "timestamp": now + 3_601}).to_string();
    assert!(server.send(&acme(), import, ahead).await.is_err());
}

#[tokio::test]
async fn ids_of_clients_are_kept_once_also_across_a_restart() {
    let server = Server::new();
    let body = r#"[{"event_type":"a","id":"e-1"},{"event_type":"a","id":"e-1"},{"event_type":"a","id":42}]"#;
    let answer = server.send(&acme(), to(Stream::Events), body).await.unwrap();
    assert_eq!((answer.accepted, answer.duplicates), (2, 1));
    let server = server.restarted();
    let answer = server.send(&acme(), to(Stream::Events), body).await.unwrap();
    assert_eq!((answer.accepted, answer.duplicates), (0, 3));
    let single = server.send(&acme(), to(Stream::Events), r#"{"event_type":"a","id":42}"#).await.unwrap();
    assert_eq!((single.duplicates, single.id.as_deref()), (1, Some("42")));
    assert_eq!(server.column(&ID).await, [Some("e-1".into()), Some("42".into())]);
}

#[tokio::test]
async fn a_request_with_an_idempotency_key_is_answered_again() {
    let server = Server::new();
    let body = r#"[{"action_type":"a.b","organization_id":"one"},{"action_type":""},{"action_type":"a.c","organization_id":"two","id":"mine"}]"#;
    let first = server.send(&superuser(), keyed(Stream::Audit, "k"), body).await.unwrap();
    assert_eq!((first.accepted, first.rejected), (2, 1));
    server.clock.advance(10 * MINUTE);
    let again = server.send(&superuser(), keyed(Stream::Audit, "k"), body).await.unwrap();
    assert_eq!(again, first);
    let server = server.restarted();
    let again = server.send(&superuser(), keyed(Stream::Audit, "k"), body).await.unwrap();
    assert_eq!(again, first);
    let other = server.send(&superuser(), keyed(Stream::Audit, "k"), body.replace("a.b", "a.x")).await;
    assert_eq!(other.unwrap_err().code().name(), "idempotency_mismatch");
    assert_eq!(
        server.send(&superuser(), keyed(Stream::Audit, "l"), body).await.unwrap().records.unwrap()[0].seq,
        2
    );
}

#[tokio::test]
async fn a_request_is_answered_again_when_its_records_are_too_old_by_now() {
    let server = Server::new();
    // An hour before the late window ends, and one that is refused at once.
    let time = NOW / 1_000_000 - 30 * 86_400 + 3_600;
    let late = json!([{"event_type": "a", "timestamp": time}, {"event_type": ""}]).to_string();
    let one = json!({"event_type": "b", "timestamp": time, "user_id": "u"}).to_string();
    let strict = |key: &str| Options { strict: true, ..keyed(Stream::Events, key) };
    let options =
        [(keyed(Stream::Events, "k"), &late), (keyed(Stream::Events, "l"), &one), (strict("m"), &one)];
    let mut firsts = Vec::new();
    for (options, body) in &options {
        firsts.push(server.send(&acme(), options.clone(), body.as_bytes()).await.unwrap());
    }
    server.clock.advance(120 * MINUTE);
    let too_old = server.send(&acme(), to(Stream::Events), one.as_bytes()).await.unwrap_err();
    assert_eq!(too_old.code().name(), "invalid");
    for ((options, body), first) in options.iter().zip(&firsts) {
        let again = server.send(&acme(), options.clone(), body.as_bytes()).await.unwrap();
        assert_eq!(&again, first);
    }
    let other = server.send(&acme(), keyed(Stream::Events, "k"), r#"{"event_type": ""}"#).await;
    assert_eq!(other.unwrap_err().code().name(), "idempotency_mismatch");
    // A refused request is not kept: its key is free for a corrected body.
    let refused = server.send(&acme(), keyed(Stream::Events, "n"), r#"{"event_type": ""}"#).await;
    assert_eq!(refused.unwrap_err().code().name(), "invalid");
    let corrected = server.send(&acme(), keyed(Stream::Events, "n"), r#"{"event_type": "c"}"#).await;
    assert_eq!(corrected.unwrap().accepted, 1);
}

#[tokio::test]
async fn a_duplicate_has_the_leaf_of_its_first_copy() {
    let server = Server::new();
    let first = json!([{"action_type": "a", "id": "x", "user_id": "u"}, {"action_type": "b", "id": "y"}]);
    let sent = server.send(&acme(), to(Stream::Audit), first.to_string()).await.unwrap();
    let leaves: Vec<_> = sent.records.unwrap().into_iter().map(|r| r.leaf_hash).collect();
    assert!(leaves.iter().all(Option::is_some) && leaves[0] != leaves[1]);
    let again = server.send(&acme(), to(Stream::Audit), first.to_string()).await.unwrap();
    let receipts = again.records.unwrap();
    assert_eq!(receipts.iter().map(|r| r.leaf_hash.clone()).collect::<Vec<_>>(), leaves);
    let mixed = json!([{"action_type": "c"}, {"action_type": "a", "id": "y"}]).to_string();
    let mixed = server.send(&acme(), to(Stream::Audit), mixed).await.unwrap().records.unwrap();
    assert_eq!((mixed[0].seq, mixed[1].seq, &mixed[1].leaf_hash), (3, 2, &leaves[1]));
    let server = server.restarted();
    let again = server.send(&acme(), to(Stream::Audit), first.to_string()).await.unwrap();
    assert_eq!(again.records.unwrap()[0].leaf_hash, leaves[0]);
}

#[tokio::test]
async fn audit_records_have_their_place_and_leaf_and_mask_secrets() {
    let server = Server::new();
    let record = json!({"action_type": "user.updated", "changes": {
        "password": ["old", "new"], "name": ["a", "b"], "settings": [{"api_key": "k", "theme": "x"}, null]}});
    let first = server.send(&acme(), to(Stream::Audit), record.to_string()).await.unwrap();
    let receipts = first.records.clone().unwrap();
    assert_eq!((first.accepted, receipts.len(), receipts[0].seq), (1, 1, 1));
    assert_eq!(first.id.as_ref(), Some(&receipts[0].id));
    assert_eq!(receipts[0].leaf_hash.as_ref().map(String::len), Some(64));
    let two = json!([{"action_type": 1}, {"action_type": "a"}, {"action_type": "b", "id": "x"}, {"action_type": "b", "id": "x"}]);
    let answer = server.send(&acme(), to(Stream::Audit), two.to_string()).await.unwrap();
    let places: Vec<_> = answer.records.as_ref().unwrap().iter().map(|r| (r.index, r.seq)).collect();
    assert_eq!((answer.accepted, answer.duplicates, answer.rejected), (2, 1, 1));
    assert_eq!(places, [(1, 2), (2, 3), (3, 3)]);
    let rows = server.rows("acme", Stream::Audit).await;
    let leaves: Vec<String> = rows
        .iter()
        .flat_map(|batch| server.state.store.leaves(batch).unwrap())
        .map(|leaf| super::answer::hex(&leaf))
        .collect();
    assert_eq!(Some(&leaves[0]), receipts[0].leaf_hash.as_ref());
    let changes = rows[0].column(&CHANGES).unwrap().as_bytes().unwrap().get(0).unwrap();
    let masked = json!({"password": ["***", "***"], "name": ["a", "b"], "settings": [{"api_key": "***", "theme": "x"}, null]});
    assert_eq!(to_json(changes).unwrap(), masked);
}

#[tokio::test]
async fn metrics_have_one_kind_and_known_names_one_spelling() {
    let server = Server::new();
    let send = async |body: Value| server.send(&acme(), to(Stream::Metrics), body.to_string()).await;
    let answer = send(json!({"points": [
        {"name": "response_time", "value": 12.5},
        {"name": "response.time", "value": 13, "type": "histogram"},
        {"name": "queue.depth", "value": 3, "type": "counter", "unit": "jobs"},
        {"name": "queue.depth", "value": 3},
        {"name": "cpu.usage", "value": 3, "type": "counter"},
        {"name": "cpu.usage", "value": -0.0, "labels": {"core": "1"}, "host": "web-1"}
    ]}))
    .await
    .unwrap();
    let told: Vec<_> = answer.errors.iter().map(|e| (e.index, e.pointer.as_str(), &*e.code)).collect();
    assert_eq!((answer.accepted, told), (4, vec![(3, "/type", "conflict"), (4, "/type", "conflict")]));
    let server = server.restarted();
    let send = async |body: Value| server.send(&acme(), to(Stream::Metrics), body.to_string()).await;
    let error = send(json!({"name": "queue.depth", "value": 1, "type": "gauge"})).await.unwrap_err();
    assert_eq!(places(&error), [("/type", "conflict")]);
    assert!(send(json!({"name": "queue.depth", "value": 1, "type": "counter"})).await.is_ok());
    let scope = superuser().read_scope(Some("acme"), Scopes::READ).unwrap();
    let mut request = scope.scan_request(Stream::Metrics, TimeRange::ALL);
    request.fields =
        vec![NAME, KIND].into_iter().map(|c| insights_engine::query::Field::Column(c.id)).collect();
    let count = move |asking: &Asking| {
        let mut rows = 0;
        let mut each = |vector: &ScanVector| {
            rows += vector.rows;
            Ok(())
        };
        asking.scan(&scope, request, &mut each).map(|end| (rows, end))
    };
    let (rows, end) = server.state.store.ask(count).await.unwrap().unwrap();
    assert_eq!(rows, 5);
    let mut names: Vec<&str> = end.names[0].iter().map(|name| &**name).collect();
    names.sort_unstable();
    assert_eq!(names, ["cpu.usage", "queue.depth", "response.time"]);
}

#[tokio::test]
async fn an_identitys_session_keeps_its_name_for_29_minutes_also_across_a_restart() {
    let mut server = Server::new();
    let event = json!({"event_type": "a", "user_id": "ada"}).to_string();
    let first = server.send(&acme(), to(Stream::Events), event.as_str()).await.unwrap().session_id.unwrap();
    for _ in 0..3 {
        server.clock.advance(29 * MINUTE);
        let name = server.send(&acme(), to(Stream::Events), event.as_str()).await.unwrap().session_id;
        assert_eq!(name.as_ref(), Some(&first));
        server = server.restarted();
    }
    // A batch and a name that is sent back carry the chain on.
    server.clock.advance(29 * MINUTE);
    server.send(&acme(), to(Stream::Events), format!("[{event}]")).await.unwrap();
    server.clock.advance(29 * MINUTE);
    let back = json!({"event_type": "a", "user_id": "ada", "session_id": first}).to_string();
    let name = server.send(&acme(), to(Stream::Events), back).await.unwrap().session_id;
    assert_eq!(name.as_ref(), Some(&first));
    assert!(
        server.column(&SESSION_ID).await.iter().all(Option::is_none),
        "a name of the server is not stored"
    );
    server.clock.advance(31 * MINUTE);
    let next = server.send(&acme(), to(Stream::Events), event.as_str()).await.unwrap().session_id.unwrap();
    assert_ne!(next, first);
    let late = json!({"event_type": "a", "user_id": "ada", "timestamp": NOW / 1_000_000 + 60}).to_string();
    let name = server.send(&acme(), to(Stream::Events), late).await.unwrap().session_id;
    assert_eq!(name, Some(first), "an event that arrives late is in the chain that holds it");
}

#[tokio::test]
async fn without_an_identity_the_connection_has_a_session_and_its_name_is_taken_back() {
    let server = Server::new();
    let event = json!({"event_type": "a"}).to_string();
    let first = server.send(&acme(), to(Stream::Events), event.as_str()).await.unwrap().session_id.unwrap();
    server.clock.advance(29 * MINUTE);
    let second = server.send(&acme(), to(Stream::Events), event.as_str()).await.unwrap().session_id.unwrap();
    assert_eq!(first, second);
    server.clock.advance(MINUTE);
    let back = json!({"event_type": "a", "session_id": first}).to_string();
    assert_eq!(
        server.send(&acme(), to(Stream::Events), back).await.unwrap().session_id.as_ref(),
        Some(&first)
    );
    assert_eq!(server.column(&SESSION_ID).await, [None, None, Some(first)]);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no NaN", |n| n.is_finite()).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(".{0,4}", inner, 0..6)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_document_comes_back_equal_in_value(object in prop::collection::hash_map(".{0,6}", any_json(), 0..8)) {
        let value = Value::Object(object.into_iter().collect());
        let text = value.to_string();
        let mut scratch = document::Scratch::default();
        let seed = document::DocumentSeed { rule: document::Rule::Object, pointer: "/d", scratch: &mut scratch };
        let mut deserializer = serde_json::Deserializer::from_str(&text);
        let range = serde::de::DeserializeSeed::deserialize(seed, &mut deserializer).unwrap();
        let back = to_json(scratch.document(range.as_ref()).unwrap()).unwrap();
        prop_assert_eq!(back, value);
    }
}

#[test]
fn numbers_keep_their_type_and_the_last_of_equal_keys_wins() {
    let text = r#"{"b":1,"a":1.0,"n":18446744073709551615,"m":-9223372036854775808,"big":1e300,"b":{"x":[]},"z":-0.0}"#;
    let mut scratch = document::Scratch::default();
    let seed = document::DocumentSeed { rule: document::Rule::Object, pointer: "/d", scratch: &mut scratch };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let range = serde::de::DeserializeSeed::deserialize(seed, &mut deserializer).unwrap();
    let back = to_json(scratch.document(range.as_ref()).unwrap()).unwrap();
    let expected =
        r#"{"a":1.0,"b":{"x":[]},"big":1e300,"m":-9223372036854775808,"n":18446744073709551615,"z":-0.0}"#;
    assert_eq!(back.to_string().replace("1e+300", "1e300"), expected);
}
