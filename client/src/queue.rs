//! The records of one stream that wait: bounded in number and bytes, and counted to the last one.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::stats::StreamStats;

/// How much waits at most, and how much goes into a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Most records that wait or are being sent.
    pub(crate) queue_records_max: usize,
    /// Most bytes of those.
    pub(crate) queue_bytes_max: usize,
    /// Most records of a request.
    pub(crate) batch_records_max: usize,
    /// Most bytes of a request's body.
    pub(crate) batch_bytes_max: usize,
    /// Longest that a record waits for others to share a request.
    pub(crate) flush_interval: Duration,
}

/// What became of a batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Records that the server has.
    pub(crate) sent: usize,
    /// Records that were found invalid.
    pub(crate) rejected: usize,
    /// Records given up.
    pub(crate) dropped: usize,
    /// What went wrong.
    pub(crate) error: Option<String>,
}

/// What there is to send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The body of a request, and the number of its records.
    Batch(Vec<u8>, usize),
    /// Records that may wait for others.
    Later,
    /// Nothing.
    Nothing,
}

/// Records of one stream as JSON, in the order of their calls.
#[derive(Debug)]
pub(crate) struct Queue {
    limits: Limits,
    state: Mutex<State>,
    /// Wakes the lane: something is due, or the first record came.
    pub(crate) wake: Notify,
    /// Records that are neither waiting nor being sent any more, of all that were ever queued.
    settled: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    /// Bytes of `waiting`.
    waiting_bytes: usize,
    in_flight: usize,
    in_flight_bytes: usize,
    /// Records ever queued.
    queued: u64,
    /// Records up to here are wanted sent without waiting for others.
    wanted: u64,
    closed: bool,
    stats: StreamStats,
}

impl State {
    fn unsettled(&self) -> usize {
        self.waiting.len() + self.in_flight
    }

    fn settled(&self) -> u64 {
        self.queued - self.unsettled() as u64
    }
}

impl Queue {
    pub(crate) fn new(limits: Limits) -> Self {
        let state = Mutex::new(State::default());
        Self { limits, state, wake: Notify::new(), settled: watch::Sender::new(0) }
    }

    /// The limits of this queue.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Queues a record, or counts it as dropped or rejected. Never waits for anything but the lock.
    pub(crate) fn push(&self, record: Vec<u8>) -> bool {
        let Limits { queue_records_max, queue_bytes_max, batch_records_max, batch_bytes_max, .. } =
            self.limits;
        // The brackets around a batch.
        if record.len().saturating_add(2) > batch_bytes_max {
            self.reject(format!("a record of {} bytes is over the limit of a request", record.len()));
            return false;
        }
        let mut state = self.state.lock();
        state.stats.tracked += 1;
        let bytes = state.waiting_bytes + state.in_flight_bytes + record.len();
        if state.closed || state.unsettled() >= queue_records_max || bytes > queue_bytes_max {
            state.stats.dropped += 1;
            let why = if state.closed { "the client was shut down" } else { "the queue was full" };
            state.stats.last_error = Some(why.to_owned());
            return false;
        }
        state.queued += 1;
        state.waiting_bytes += record.len();
        state.waiting.push_back(record);
        let wake = state.waiting.len() == 1 || Self::is_full(&state, batch_records_max, batch_bytes_max);
        drop(state);
        if wake {
            self.wake.notify_one();
        }
        true
    }

    /// Counts a record that cannot be sent.
    pub(crate) fn reject(&self, why: String) {
        let mut state = self.state.lock();
        state.stats.tracked += 1;
        state.stats.rejected += 1;
        state.stats.last_error = Some(why);
    }

    fn is_full(state: &State, batch_records_max: usize, batch_bytes_max: usize) -> bool {
        // One byte for each comma, two for the brackets.
        let bytes = state.waiting_bytes + state.waiting.len() + 1;
        state.waiting.len() >= batch_records_max || bytes >= batch_bytes_max
    }

    /// Takes what is to be sent next: a full batch, or what there is when it was asked for or `now` says so.
    pub(crate) fn take(&self, now: bool) -> Next {
        let Limits { batch_records_max, batch_bytes_max, .. } = self.limits;
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.waiting.is_empty() {
            return Next::Nothing;
        }
        let wanted = state.wanted > state.settled();
        if !now && !wanted && !Self::is_full(state, batch_records_max, batch_bytes_max) {
            return Next::Later;
        }
        let mut body =
            Vec::with_capacity((state.waiting_bytes + state.waiting.len() + 1).min(batch_bytes_max));
        let mut records = 0;
        while let Some(record) = state.waiting.pop_front_if(|record| {
            records < batch_records_max && body.len() + record.len() + 2 <= batch_bytes_max
        }) {
            body.push(if records == 0 { b'[' } else { b',' });
            body.extend_from_slice(&record);
            records += 1;
            state.waiting_bytes -= record.len();
            state.in_flight_bytes += record.len();
        }
        body.push(b']');
        state.in_flight = records;
        Next::Batch(body, records)
    }

    /// Counts what became of the batch that was taken last.
    pub(crate) fn settle(&self, outcome: Outcome) {
        let mut state = self.state.lock();
        state.in_flight = 0;
        state.in_flight_bytes = 0;
        state.stats.sent += outcome.sent as u64;
        state.stats.rejected += outcome.rejected as u64;
        state.stats.dropped += outcome.dropped as u64;
        if outcome.error.is_some() {
            state.stats.last_error = outcome.error;
        }
        self.settled.send_replace(state.settled());
    }

    /// Counts a request that is sent again, and why.
    pub(crate) fn retried(&self, why: String) {
        let mut state = self.state.lock();
        state.stats.retried += 1;
        state.stats.last_error = Some(why);
    }

    /// Takes no more records.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.wake.notify_one();
    }

    /// Gives up everything, the batch that was taken included, and takes no more.
    pub(crate) fn abandon(&self, why: &str) {
        let mut state = self.state.lock();
        state.closed = true;
        let given_up = state.unsettled();
        state.waiting = VecDeque::new();
        (state.waiting_bytes, state.in_flight, state.in_flight_bytes) = (0, 0, 0);
        if given_up > 0 {
            state.stats.dropped += given_up as u64;
            state.stats.last_error = Some(why.to_owned());
        }
        self.settled.send_replace(state.settled());
    }

    /// Waits until everything queued before the call is settled.
    pub(crate) async fn flushed(&self) {
        let target = {
            let mut state = self.state.lock();
            state.wanted = state.queued;
            state.queued
        };
        self.wake.notify_one();
        // The sender lives in `self`, so that waiting cannot fail.
        let _ = self.settled.subscribe().wait_for(|settled| *settled >= target).await;
    }

    /// Records that wait or are being sent.
    pub(crate) fn unsettled(&self) -> usize {
        self.state.lock().unsettled()
    }

    /// What became of all records.
    pub(crate) fn stats(&self) -> StreamStats {
        let state = self.state.lock();
        StreamStats { queued: state.unsettled() as u64, ..state.stats.clone() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn queue(queue_records_max: usize, batch_records_max: usize) -> Queue {
        Queue::new(Limits {
            queue_records_max,
            queue_bytes_max: 100,
            batch_records_max,
            batch_bytes_max: 20,
            flush_interval: Duration::from_secs(1),
        })
    }

    fn batch(body: &str, records: usize) -> Next {
        Next::Batch(body.as_bytes().to_vec(), records)
    }

    #[test]
    fn a_batch_is_sent_when_it_is_full_or_asked_for() {
        let queue = queue(10, 2);
        assert_eq!(queue.take(true), Next::Nothing);
        assert!(queue.push(b"1".to_vec()));
        assert_eq!(queue.take(false), Next::Later);
        assert!(queue.push(b"2".to_vec()) && queue.push(b"3".to_vec()));
        assert_eq!(queue.take(false), batch("[1,2]", 2));
        queue.settle(Outcome { sent: 2, ..Outcome::default() });
        assert_eq!(queue.take(false), Next::Later);
        assert_eq!(queue.take(true), batch("[3]", 1));
    }

    #[test]
    fn a_batch_is_bounded_in_bytes_and_a_record_over_it_is_rejected() {
        let queue = queue(10, 10);
        assert!(!queue.push(vec![b'x'; 19]));
        assert!(queue.push(vec![b'x'; 18]));
        assert!(queue.push(vec![b'y'; 8]) && queue.push(vec![b'z'; 9]) && queue.push(b"4".to_vec()));
        assert_eq!(queue.take(false), batch("[xxxxxxxxxxxxxxxxxx]", 1));
        queue.settle(Outcome { sent: 1, ..Outcome::default() });
        assert_eq!(queue.take(false), batch("[yyyyyyyy,zzzzzzzzz]", 2));
        assert_eq!(queue.stats().rejected, 1);
    }

    #[test]
    fn a_queue_is_bounded_in_bytes() {
        let queue = queue(1_000, 1_000);
        let taken = (0..20).filter(|_| queue.push(vec![b'x'; 10])).count();
        assert_eq!(taken, 10);
        assert_eq!(queue.stats().dropped, 10);
    }

    proptest! {
        #[test]
        fn every_record_is_counted_once(steps in prop::collection::vec(0_u8..8, 0..200)) {
            let queue = queue(7, 3);
            let mut taken = 0;
            for step in steps {
                match step {
                    0..4 => { queue.push(vec![b'1'; usize::from(step) * 7]); }
                    4 | 5 if taken == 0 => {
                        if let Next::Batch(_, records) = queue.take(step == 4) { taken = records; }
                    }
                    6 => {
                        let sent = taken / 2;
                        queue.settle(Outcome { sent, rejected: taken - sent, ..Outcome::default() });
                        taken = 0;
                    }
                    7 => queue.reject("wrong".into()),
                    _ => {}
                }
                let stats = queue.stats();
                prop_assert!(stats.queued <= 7);
                prop_assert_eq!(stats.tracked, stats.queued + stats.sent + stats.dropped + stats.rejected);
            }
            queue.abandon("the end");
            let stats = queue.stats();
            prop_assert_eq!(stats.tracked, stats.sent + stats.dropped + stats.rejected);
        }
    }
}
