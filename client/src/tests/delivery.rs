//! That records arrive once, in order, and are counted.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::world::{KEY, LONG, Reaction, Script, client};
use crate::{AuditRecord, Client, Event, Point, RetryPolicy};

fn numbered(n: u64) -> Event {
    Event::new("test").data("n", n)
}

#[tokio::test(start_paused = true)]
async fn each_stream_goes_to_its_own_path_as_an_array_with_the_credential() {
    let script = Script::of([]);
    let client = client(&script, |builder| builder.organization("o-1").app("shop"));
    assert!(client.track(Event::new("a")) && client.audit(AuditRecord::new("b.c").organization_id("o-2")));
    assert!(client.metric(Point::counter("d", 1.0).app_id("x")));
    client.flush(LONG).await.unwrap();
    let mut seen = script.seen();
    seen.sort_by(|a, b| a.path.cmp(&b.path));
    let paths: Vec<_> = seen.iter().map(|seen| seen.path.as_str()).collect();
    assert_eq!(paths, ["/api/insights/audit/", "/api/insights/metrics/", "/api/insights/track/"]);
    let at = "2023-11-14T22:13:20Z";
    assert_eq!(
        seen[0].body,
        json!([{"action_type": "b.c", "organization_id": "o-2", "app_id": "shop", "severity": "info",
                "outcome": "success", "timestamp": at}])
    );
    assert_eq!(
        seen[1].body,
        json!([{"name": "d", "value": 1.0, "type": "counter", "organization_id": "o-1", "app_id": "x",
                "timestamp": at}])
    );
    assert_eq!(
        seen[2].body,
        json!([{"event_type": "a", "organization_id": "o-1", "app_id": "shop", "timestamp": at}])
    );
    assert!(seen.iter().all(|seen| seen.headers["authorization"] == format!("Bearer {KEY}")));
    assert!(seen.iter().all(|seen| seen.headers["content-type"] == "application/json"));
    assert!(seen[0].key() != seen[1].key() && seen[1].key() != seen[2].key());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_overloaded_gets_each_record_once_under_the_same_key() {
    let script = Script::of([Reaction::Answer(503, "{}"), Reaction::Answer(202, "{}")]);
    let client = client(&script, |builder| builder.batch_records_max(3));
    for n in 0..5 {
        client.track(numbered(n));
    }
    client.flush(LONG).await.unwrap();
    let seen = script.seen();
    let numbers: Vec<_> = seen.iter().map(super::world::Seen::numbers).collect();
    assert_eq!(numbers, [vec![0, 1, 2], vec![0, 1, 2], vec![3, 4]]);
    assert_eq!(seen[0].key(), seen[1].key());
    assert_ne!(seen[1].key(), seen[2].key());
    let stats = client.stats().events;
    assert_eq!((stats.sent, stats.queued, stats.retried, stats.dropped), (5, 0, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_the_server_asks_to_wait_is_waited() {
    for status in [429, 503] {
        let script = Script::of([Reaction::RetryAfter(status, "120")]);
        let client = client(&script, |builder| builder);
        client.track(numbered(0));
        client.flush(LONG).await.unwrap();
        let seen = script.seen();
        assert!(seen[1].at - seen[0].at >= Duration::from_mins(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_back_gets_everything_within_the_limits_of_the_queue() {
    let script = Script::of([]);
    script.set_down(true);
    let client = client(&script, |builder| builder.batch_records_max(10).queue_records_max(100));
    for n in 0..100 {
        assert!(client.track(numbered(n)));
    }
    assert_eq!(client.flush(Duration::from_mins(1)).await.unwrap_err().records, 100);
    assert!(*script.attempts.lock() > 3);
    assert!(client.stats().events.last_error.unwrap().contains("the server is down"));
    script.set_down(false);
    client.flush(LONG).await.unwrap();
    let numbers: Vec<_> = script.seen().iter().flat_map(super::world::Seen::numbers).collect();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    assert_eq!(client.stats().events.sent, 100);
}

#[tokio::test(start_paused = true)]
async fn an_invalid_batch_is_not_sent_again() {
    let script = Script::of([Reaction::Answer(422, r#"{"code": "invalid", "detail": "no"}"#)]);
    let client = client(&script, |builder| builder);
    client.track(numbered(0));
    client.flush(LONG).await.unwrap();
    let stats = client.stats().events;
    assert_eq!((stats.rejected, stats.sent, stats.retried), (1, 0, 0));
    assert_eq!(stats.last_error.unwrap(), "status 422: invalid: no");
    assert_eq!(script.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn records_rejected_out_of_a_batch_are_counted() {
    let answer = r#"{"accepted": 2, "rejected": 1, "errors": [{"index": 1, "pointer": "/n", "code": "invalid", "detail": "no"}]}"#;
    let script = Script::of([Reaction::Answer(202, answer)]);
    let client = client(&script, |builder| builder);
    for n in 0..3 {
        client.track(numbered(n));
    }
    client.flush(LONG).await.unwrap();
    let stats = client.stats().events;
    assert_eq!((stats.sent, stats.rejected, stats.last_error.as_deref()), (2, 1, Some("invalid at /n: no")));
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_given_up_after_its_last_attempt() {
    let script = Script::of(vec![Reaction::Answer(500, "{}"); 3]);
    let retry = RetryPolicy { attempts_max: 3, ..RetryPolicy::default() };
    let client = client(&script, |builder| builder.retry(retry).batch_records_max(1));
    client.track(numbered(0));
    client.track(numbered(1));
    client.flush(LONG).await.unwrap();
    let stats = client.stats().events;
    assert_eq!((stats.sent, stats.dropped, stats.retried), (1, 1, 2));
    assert_eq!(script.seen().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_asked_again() {
    let script = Script::of([Reaction::Silence]);
    let client = client(&script, |builder| builder);
    client.track(numbered(7));
    client.flush(LONG).await.unwrap();
    assert_eq!(script.seen().len(), 2);
    assert_eq!(client.stats().events.last_error.unwrap(), "no answer within 10000 ms");
}

#[tokio::test(start_paused = true)]
async fn a_record_waits_for_others_no_longer_than_the_flush_interval() {
    let script = Script::of([]);
    let client = client(&script, |builder| builder.flush_interval(Duration::from_secs(5)));
    let start = tokio::time::Instant::now();
    client.track(numbered(0));
    client.track(numbered(1));
    script.arrival().await;
    let seen = script.seen();
    assert_eq!(seen[0].numbers(), [0, 1]);
    assert!(seen[0].at - start >= Duration::from_secs(5) && seen[0].at - start < Duration::from_secs(6));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_is_sent_at_once_also_when_it_is_smaller_than_a_batch() {
    let script = Script::of([]);
    let client = client(&script, |builder| builder.queue_records_max(3).flush_interval(LONG));
    let start = tokio::time::Instant::now();
    for n in 0..3 {
        assert!(client.track(numbered(n)));
    }
    script.arrival().await;
    assert_eq!(script.seen()[0].numbers(), [0, 1, 2]);
    assert!(start.elapsed() < LONG);
}

#[tokio::test]
async fn a_server_behind_a_socket_gets_the_records() {
    let script = Script::of([]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/behind/a/proxy", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, script.router()).into_future());
    let client = Client::builder(url, KEY).build().unwrap();
    client.track(numbered(3));
    client.flush(LONG).await.unwrap();
    assert_eq!(script.seen()[0].path, "/behind/a/proxy/api/insights/track/");
    assert_eq!(client.stats().events.sent, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_record_is_settled_once_whatever_the_server_answers(
        statuses in prop::collection::vec(prop::sample::select(vec![202_u16, 400, 422, 429, 500, 503]), 0..20),
        records in 1_u64..40,
        batch_records_max in 1_usize..10,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let script = Script::of(statuses.iter().map(|status| Reaction::Answer(*status, "{}")));
            let client = client(&script, |builder| builder.batch_records_max(batch_records_max));
            for n in 0..records {
                client.track(numbered(n));
            }
            client.flush(LONG).await.unwrap();
            let stats = client.stats().events;
            prop_assert_eq!(stats.tracked, records);
            prop_assert_eq!(stats.sent + stats.rejected, records);
            // By the key, what is new at each request: together every record, once and in order.
            let mut seen = script.seen();
            seen.dedup_by(|a, b| a.key() == b.key());
            let numbers: Vec<_> = seen.iter().flat_map(super::world::Seen::numbers).collect();
            prop_assert_eq!(numbers, (0..records).collect::<Vec<_>>());
            Ok(())
        })?;
    }
}
