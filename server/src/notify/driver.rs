//! Sends what is due: a step for tests, and the loop around it.

use std::sync::Arc;
use std::time::Duration;

use insights_engine::append::CatalogPut;
use insights_engine::time::TimestampUs;

use super::Notify;
use super::channel::Channel;
use super::delivery::Delivery;
use super::outbox::{Outcome, Turn};

/// Longest wait before the clock is looked at again: it may have been set.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Shortest wait, so that a clock that stands still does not keep a core busy.
const REST: Duration = Duration::from_millis(20);
/// How often what ended long ago is looked for.
const SWEEP_EVERY: Duration = Duration::from_hours(1);
/// How long one attempt may take, whatever its channel does with its own limits.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_mins(1);

impl Notify {
    /// The attempts that are due at the present moment; each is to be given to [`Self::attempt`].
    pub fn due(&self) -> Vec<Turn> {
        self.0.outbox.lock().turns(self.0.clock.now())
    }

    /// Makes an attempt and keeps how it ended.
    pub async fn attempt(&self, turn: Turn) {
        let outcome = self.outcome(&turn).await;
        if let Outcome::Failed { error, status, .. } = &outcome {
            tracing::info!(
                delivery = turn.delivery.id.as_str(),
                channel = turn.delivery.channel.as_str(),
                organization = turn.delivery.organization().as_str(),
                status,
                error,
                "a notification did not arrive"
            );
        }
        let puts = self.0.outbox.lock().settle(&turn, outcome, self.0.clock.now());
        self.keep(puts).await;
        self.0.outbox.lock().release(&turn);
        self.0.changed.notify_one();
    }

    /// Makes every attempt that is due, at once, and says how many they were.
    pub async fn step(&self) -> usize {
        let attempts: Vec<_> = self.due().into_iter().map(|turn| self.spawn(turn)).collect();
        let made = attempts.len();
        for attempt in attempts {
            // Only a runtime that ends keeps an attempt from its end.
            drop(attempt.await);
        }
        made
    }

    fn spawn(&self, turn: Turn) -> tokio::task::JoinHandle<()> {
        let this = self.clone();
        tokio::spawn(async move { this.attempt(turn).await })
    }

    /// How an attempt ends. As a task of the runtime: a panic is a failure of it, not of the outbox.
    async fn outcome(&self, turn: &Turn) -> Outcome {
        let gone = |error: &str| Outcome::Failed {
            status: None,
            error: error.to_owned(),
            retry_after: None,
            is_final: true,
        };
        let delivery = &turn.delivery;
        let channel = match self.0.channels.get(delivery.organization(), &delivery.channel) {
            None => return gone("the channel is gone"),
            Some(channel) if !channel.enabled => return gone("the channel is disabled"),
            Some(channel) => channel,
        };
        self.try_once(channel, turn).await
    }

    async fn try_once(&self, channel: Arc<Channel>, turn: &Turn) -> Outcome {
        let (this, delivery) = (self.clone(), turn.delivery.clone());
        let mut attempt = tokio::spawn(async move {
            let Delivery { id, message, recipients, .. } = &delivery;
            this.0.sender.send(&channel, id, message, recipients, this.0.clock.now()).await
        });
        let failed = |error: &str| Outcome::Failed {
            status: None,
            error: error.to_owned(),
            retry_after: None,
            is_final: false,
        };
        match tokio::time::timeout(ATTEMPT_TIMEOUT, &mut attempt).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => failed("the attempt failed in the server"),
            Err(_) => {
                attempt.abort();
                failed("the attempt took too long")
            }
        }
    }

    /// Writes records of the outbox. It goes on in memory without them: a restart then makes an attempt again.
    pub(super) async fn keep(&self, puts: Vec<CatalogPut>) {
        if !puts.is_empty()
            && let Err(error) = self.0.store.put(puts).await
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "how notifications ended was not written"
            );
        }
    }

    /// How long to wait at `now` before looking again.
    fn wait(&self, now: TimestampUs) -> Duration {
        let next = self.0.outbox.lock().next();
        let us = next.map_or(u64::MAX, |next| u64::try_from(next.0.saturating_sub(now.0)).unwrap_or(0));
        Duration::from_micros(us).clamp(REST, LOOK_AGAIN)
    }
}

/// Sends what is due, for as long as it is polled. What is being sent when it ends is sent again after a restart.
pub async fn drive(notify: Notify) {
    let mut swept = None;
    loop {
        for turn in notify.due() {
            notify.spawn(turn);
        }
        let now = notify.0.clock.monotonic();
        if swept.is_none_or(|at| now >= at + SWEEP_EVERY) {
            swept = Some(now);
            let puts = notify.0.outbox.lock().sweep(notify.0.clock.now());
            notify.keep(puts).await;
        }
        let wait = notify.wait(notify.0.clock.now());
        // Whether it was the time, a new message or the end of an attempt: what is due is due.
        drop(tokio::time::timeout(wait, notify.0.changed.notified()).await);
    }
}
