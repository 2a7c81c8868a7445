//! A body of events from bytes to checked rows, without the engine: parse, validate, columns.
#![expect(clippy::expect_used, reason = "a bench stops when its input is wrong")]

use std::fmt::Write;
use std::hint::black_box;

use axum::http::{HeaderMap, HeaderValue, header};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use insights_engine::entropy::Entropy;
use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;
use insights_server::auth::api_key::{ApiKey, Grant};
use insights_server::auth::keyring::Keyring;
use insights_server::auth::{Authenticator, Principal, Scopes};
use insights_server::config::Secret;
use insights_server::http::middleware::context::RequestContext;
use insights_server::ingest::document::Scratch;
use insights_server::ingest::event::EventSink;
use insights_server::ingest::grammar::{read_json, read_lines};
use insights_server::ingest::intake::Request;
use insights_server::ingest::session::SessionNamer;

/// 2024-02-29T12:00:00Z.
const NOW: TimestampUs = TimestampUs(1_709_208_000_000_000);

/// A key of one organization, as the platform's back end has.
fn principal() -> Principal {
    let grant = Grant::Organization {
        organization: TenantId::new("acme").expect("a name"),
        scopes: Scopes::ALL_OF_ORGANIZATION,
    };
    let (key, secret) = ApiKey::issue("bench", grant, None, NOW, "bench", &Entropy::from_seed([1; 32]));
    let keyring = Keyring::default();
    keyring.insert(key);
    let auth = Authenticator::new(&Secret::new("x".repeat(32)), keyring, None);
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_str(&format!("Bearer {secret}")).expect("visible characters");
    headers.insert(header::AUTHORIZATION, value);
    auth.principal(&headers, NOW).expect("a key that was issued")
}

/// Events of about 320 bytes of JSON, no two alike.
fn events(count: usize, between: &str) -> String {
    let mut out = String::new();
    for n in 0..count {
        let separator = if n == 0 { "" } else { between };
        write!(
            out,
            r#"{separator}{{"event_type":"button_click","user_id":"user-{:05}","app_id":"app-{}","session_id":"5f2b1c{n:08}","timestamp":"2024-02-29T11:{:02}:{:02}.{:06}Z","id":"018f6b1e-7c1e-7d5a-8e2f-{n:012}","event_data":{{"button_name":"submit","page":"/dashboard/{}","position":{n},"ratio":0.{n},"flags":["a","b"],"interactive":true}}}}"#,
            n % 10_000,
            n % 20,
            n / 60 % 60,
            n % 60,
            n,
            n % 50,
        )
        .expect("a string takes everything");
    }
    out
}

fn parse(c: &mut Criterion) {
    let principal = principal();
    let context = RequestContext { request_id: "0123456789abcdef".into(), ..RequestContext::default() };
    let request = Request {
        principal: &principal,
        context: &context,
        now: NOW,
        newest: NOW,
        oldest: TimestampUs(0),
        store: None,
        own_acts: true,
    };
    let namer = SessionNamer::new(&[7; 32]);
    let mut group = c.benchmark_group("ingest");
    for count in [1, 1_000] {
        let array = format!("[{}]", events(count, ","));
        group.throughput(Throughput::Elements(count as u64));
        group.bench_with_input(BenchmarkId::new("parse", count), array.as_bytes(), |b, body| {
            b.iter(|| {
                let mut sink = EventSink::new(&request, &namer);
                read_json(body, 10_000, &mut sink, &mut Scratch::default()).expect("JSON");
                let collected = sink.finish();
                assert!(collected.rejected.is_empty(), "{:?}", collected.faults.first());
                black_box(collected)
            });
        });
    }
    let lines = events(1_000, "\n");
    group.bench_with_input(BenchmarkId::new("parse_lines", 1_000), lines.as_bytes(), |b, body| {
        b.iter(|| {
            let mut sink = EventSink::new(&request, &namer);
            read_lines(body, 10_000, &mut sink, &mut Scratch::default()).expect("lines");
            black_box(sink.finish())
        });
    });
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
