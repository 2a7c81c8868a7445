//! That nothing waits, grows or leaks: full queues, the end of a client, wrong settings, secrets.

use std::time::Duration;

use super::world::{KEY, LONG, Reaction, Script, client};
use crate::{BuildError, Client, ClientBuilder, Event, Point, RetryPolicy};

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_and_counts_and_does_not_block() {
    let script = Script::of([]);
    script.set_down(true);
    let client = client(&script, |builder| builder.queue_records_max(10));
    // No await: the background task does not run at all here.
    let taken = (0..25).filter(|_| client.track(Event::new("a"))).count();
    assert_eq!(taken, 10);
    let stats = client.stats().events;
    assert_eq!((stats.tracked, stats.queued, stats.dropped), (25, 10, 15));
    assert_eq!(stats.last_error.as_deref(), Some("the queue was full"));
    assert_eq!(client.stats().metrics.tracked, 0);
}

#[tokio::test(start_paused = true)]
async fn a_shut_down_client_has_sent_everything_and_takes_no_more() {
    let script = Script::of([Reaction::Answer(503, "{}")]);
    let client = client(&script, |builder| builder.batch_records_max(2));
    for _ in 0..5 {
        client.track(Event::new("a"));
        client.metric(Point::gauge("b", 1.0));
    }
    client.shutdown(LONG).await.unwrap();
    assert!(!client.track(Event::new("late")));
    let stats = client.stats();
    assert_eq!((stats.events.sent, stats.metrics.sent, stats.events.dropped), (5, 5, 1));
    client.shutdown(LONG).await.unwrap();
    client.flush(LONG).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_that_takes_too_long_drops_the_rest_and_counts_it() {
    let script = Script::of([]);
    script.set_down(true);
    let client = client(&script, |builder| builder);
    client.track(Event::new("a"));
    let start = tokio::time::Instant::now();
    assert_eq!(client.shutdown(Duration::from_secs(3)).await.unwrap_err().records, 1);
    assert_eq!(start.elapsed(), Duration::from_secs(3));
    let stats = client.stats().events;
    assert_eq!((stats.queued, stats.dropped), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn the_tasks_end_with_the_last_handle_after_one_more_attempt() {
    for is_down in [false, true] {
        let script = Script::of([]);
        script.set_down(is_down);
        let client = client(&script, |builder| builder.batch_records_max(1));
        let second = client.clone();
        second.track(Event::new("a").data("n", 1));
        drop(client);
        second.track(Event::new("a").data("n", 2));
        drop(second);
        // The three tasks, and the connections that end with them.
        let metrics = tokio::runtime::Handle::current().metrics();
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(metrics.num_alive_tasks(), 0);
        assert_eq!(script.seen().len(), if is_down { 0 } else { 2 });
    }
}

#[tokio::test]
async fn a_point_that_is_no_number_and_a_record_over_a_request_are_rejected_here() {
    let script = Script::of([]);
    let client = client(&script, |builder| builder.batch_bytes_max(200));
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(!client.metric(Point::gauge("a", value)));
    }
    assert!(!client.track(Event::new("a").data("long", "x".repeat(200))));
    let stats = client.stats();
    assert_eq!((stats.metrics.rejected, stats.events.rejected), (3, 1));
}

#[tokio::test]
async fn the_api_key_is_in_no_text() {
    let builder = || Client::builder("http://user:hunter2@localhost", KEY);
    let refused = [builder().build(), Client::builder("http://localhost", format!("{KEY}\n")).build()];
    let good = Client::builder("http://localhost", KEY).build().unwrap();
    let shown = format!("{:?} {refused:?} {good:?}", builder());
    assert!(!shown.contains("secret") && !shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn wrong_settings_are_refused_before_anything_starts() {
    let url = |url: &str| Client::builder(url, KEY).build().map(drop);
    for wrong in [
        "",
        "localhost:8686",
        "/path",
        "ftp://localhost",
        "http://",
        "http://a@localhost",
        "http://localhost?a",
    ] {
        assert!(matches!(url(wrong), Err(BuildError::Url(_))), "{wrong}");
    }
    assert_eq!(url("https://localhost").is_ok(), cfg!(feature = "tls"));
    for key in ["", "a b", "a\nb", "\u{e9}"] {
        assert!(matches!(Client::builder("http://localhost", key).build(), Err(BuildError::ApiKey)), "{key}");
    }
    let limit =
        |set: fn(ClientBuilder) -> ClientBuilder| set(Client::builder("http://localhost", KEY)).build();
    let retry =
        |builder: ClientBuilder| builder.retry(RetryPolicy { attempts_max: 0, ..RetryPolicy::never() });
    for set in [
        |builder: ClientBuilder| builder.queue_records_max(0),
        |builder: ClientBuilder| builder.batch_records_max(10_001),
        |builder: ClientBuilder| builder.batch_bytes_max(0),
        |builder: ClientBuilder| builder.queue_bytes_max(0),
        retry,
    ] {
        assert!(matches!(limit(set), Err(BuildError::Limit { .. })));
    }
}

#[test]
fn a_client_needs_a_runtime() {
    assert!(matches!(Client::builder("http://localhost", KEY).build(), Err(BuildError::NoRuntime)));
}
