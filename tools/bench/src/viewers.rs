//! `live`: many viewers of one organization, and how long until each of them sees an event.
//!
//! The organization is new, so the events of its last five minutes are those that were sent: a message that tells of `n` of
//! them shows the first `n`, whatever else it says. The time of each counts from when its request was begun, the
//! acknowledgement included.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

use crate::args::Live;
use crate::client::{Client, Request, Server};
use crate::error::BenchError;
use crate::histogram::Histogram;
use crate::own_metrics;
use crate::pace::Span;
use crate::progress::{Done, Progress};
use crate::report::{Latency, memory_line};

/// What is in front of the count of events in a message.
const COUNT: &[u8] = b"\"last_5_minutes\":{\"events\":";
/// How long viewers may take for the last events.
const LAST: Duration = Duration::from_secs(3);
/// Bytes of a message that are kept to look at; longer ones are looked at piece by piece.
const MESSAGE_BYTES_MAX: usize = 256 << 10;

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct LiveReport {
    viewers: u32,
    rate: u32,
    seconds: f64,
    events: u64,
    messages: u64,
    /// Viewers that saw every event.
    complete: u64,
    visible_ms: Latency,
    acknowledged_ms: Latency,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_memory_peak_bytes: Option<u64>,
}

/// When each event was sent.
type Sent = Arc<Mutex<Vec<Instant>>>;

/// What one viewer saw.
#[derive(Debug, Default)]
struct Seen {
    events: usize,
    messages: u64,
    visible: Histogram,
}

/// Connects the viewers, sends events, and waits until they were seen.
///
/// # Errors
///
/// When the server cannot be reached or refuses.
pub(crate) async fn run(args: &Live) -> Result<LiveReport, BenchError> {
    let server = Server::new(&args.server.url, &args.server.key)?;
    let organization = format!("live-{}", jiff::Timestamp::now().as_microsecond());
    let (sent, (stop, stopped)) = (Sent::default(), watch::channel(false));
    let mut viewers = tokio::task::JoinSet::new();
    for _ in 0..args.viewers {
        let path = format!("/api/insights/live/?organization_id={organization}");
        let body = Client::new(server.clone()).stream(&Request::get(&path)?).await?;
        viewers.spawn(view(body, Arc::clone(&sent), stopped.clone()));
    }
    let (acknowledged, memory) = tokio::join!(
        send(&server, args, &organization, &sent),
        own_metrics::memory_peak(&server, args.run.duration)
    );
    let acknowledged = acknowledged?;
    tokio::time::sleep(LAST).await;
    stop.send_replace(true);
    let events = sent.lock().len();
    let mut report = LiveReport {
        viewers: args.viewers,
        rate: args.rate,
        seconds: args.run.duration.as_secs_f64(),
        events: events as u64,
        messages: 0,
        complete: 0,
        visible_ms: Latency::of(&Histogram::default()),
        acknowledged_ms: Latency::of(&acknowledged),
        server_memory_peak_bytes: memory,
    };
    let mut visible = Histogram::default();
    while let Some(seen) = viewers.join_next().await {
        let Ok(seen) = seen else { continue };
        report.messages += seen.messages;
        report.complete += u64::from(seen.events == events);
        visible.merge(&seen.visible);
    }
    report.visible_ms = Latency::of(&visible);
    Ok(report)
}

/// Sends one event after the other, at the rate that was asked for.
async fn send(
    server: &Server,
    args: &Live,
    organization: &str,
    sent: &Sent,
) -> Result<Histogram, BenchError> {
    let mut client = Client::new(server.clone());
    let done = Done::default();
    let span = Span::of(args.run.duration);
    let _progress = Progress::show(span, &done, "events");
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / args.rate);
    let mut acknowledged = Histogram::default();
    while Instant::now() < span.deadline {
        ticks.tick().await;
        let number = done.get();
        let event = serde_json::json!({
            "organization_id": organization, "event_type": "click", "user_id": format!("u{}", number % 50),
        });
        let begun = Instant::now();
        sent.lock().push(begun);
        client.send(&Request::post("/api/insights/track/", event.to_string())?).await?;
        acknowledged.record(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        done.add(1);
    }
    Ok(acknowledged)
}

/// Reads a stream until it is told to stop.
async fn view(mut body: Incoming, sent: Sent, mut stopped: watch::Receiver<bool>) -> Seen {
    let mut seen = Seen::default();
    let mut message: Vec<u8> = Vec::new();
    loop {
        let frame = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return seen,
            frame = body.frame() => frame,
        };
        let Some(Ok(frame)) = frame else { return seen };
        let Ok(bytes): Result<Bytes, _> = frame.into_data() else { continue };
        message.extend_from_slice(&bytes);
        if message.ends_with(b"\n\n") || message.len() > MESSAGE_BYTES_MAX {
            seen.look(&message, &sent);
            message.clear();
        }
    }
}

impl Seen {
    /// Looks at messages: the last count in them is the newest.
    fn look(&mut self, messages: &[u8], sent: &Sent) {
        let Some(count) = last_count(messages) else { return };
        self.messages += 1;
        let now = Instant::now();
        let sent = sent.lock();
        for begun in sent.iter().take(count).skip(self.events) {
            let us = now.saturating_duration_since(*begun).as_micros();
            self.visible.record(u64::try_from(us).unwrap_or(u64::MAX));
        }
        self.events = self.events.max(count.min(sent.len()));
    }
}

/// The number behind the last [`COUNT`].
fn last_count(messages: &[u8]) -> Option<usize> {
    let at = messages.windows(COUNT.len()).rposition(|window| window == COUNT)? + COUNT.len();
    let digits: Vec<u8> = messages.get(at..)?.iter().copied().take_while(u8::is_ascii_digit).collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

impl LiveReport {
    /// Whether every viewer saw every event.
    pub(crate) fn passed(&self) -> bool {
        self.complete == u64::from(self.viewers)
    }

    /// Lines for people.
    pub(crate) fn table(&self) -> String {
        let line = |name: &str, Latency { p50, p90, p99, p999, max }: &Latency| {
            format!("{name} p50 {p50:.1}  p90 {p90:.1}  p99 {p99:.1}  p99.9 {p999:.1}  max {max:.1}")
        };
        let mut lines = vec![
            format!("viewers     {}, {} of them saw every event", self.viewers, self.complete),
            format!("events      {} in {:.1} s", self.events, self.seconds),
            format!("messages    {} taken", self.messages),
            line("visible ms ", &self.visible_ms),
            line("acknowledged", &self.acknowledged_ms),
        ];
        lines.extend(self.server_memory_peak_bytes.map(memory_line));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_count_of_a_piece_is_the_one_that_counts() {
        let message =
            |n: u32| format!("event: update\ndata: {{\"last_5_minutes\":{{\"events\":{n},\"x\":1}}}}\n\n");
        assert_eq!(last_count((message(7) + &message(12)).as_bytes()), Some(12));
        assert_eq!(last_count(b": still here\n\n"), None);
        assert_eq!(last_count(b"\"last_5_minutes\":{\"events\":"), None);
    }

    #[test]
    fn an_event_is_seen_once_by_each_viewer() {
        let sent: Sent = Arc::new(Mutex::new(vec![Instant::now(); 3]));
        let mut seen = Seen::default();
        for count in [0, 2, 2, 3, 9] {
            seen.look(format!("\"last_5_minutes\":{{\"events\":{count},").as_bytes(), &sent);
        }
        assert_eq!((seen.events, seen.visible.count(), seen.messages), (3, 3, 5));
    }
}
