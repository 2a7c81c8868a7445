//! How long the server has been looking: a time in which it was away is no silence of the world.

use insights_engine::append::{CatalogKind, CatalogPut};
use insights_engine::time::TimestampUs;
use serde::{Deserialize, Serialize};

use super::length::Length;

/// How often it is written down that the server is there.
pub const MARK_EVERY: Length = Length::minutes(1);
/// Where that is.
const KEY: &[u8] = b"alert/watch";
/// Version of the mark.
const VERSION: u32 = 1;
/// A gap of less than this part of the time that is looked at does not hide a silence.
const GAP_PART: i64 = 10;

/// When the server was last seen.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    version: u32,
    at_us: i64,
}

/// Since when the server looks, and since when it had not before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// When it was last there before; none when never.
    left: Option<TimestampUs>,
    /// Since when it is there.
    back: TimestampUs,
    /// When that was last written down.
    marked: Option<TimestampUs>,
}

impl Watch {
    /// A server that begins at `now`, with the mark that it left behind.
    pub fn new(mark: Option<&[u8]>, now: TimestampUs) -> Self {
        let mark: Option<Mark> = mark.and_then(|bytes| serde_json::from_slice(bytes).ok());
        let left = mark.filter(|mark| mark.version == VERSION).map(|mark| TimestampUs(mark.at_us).min(now));
        Self { left, back: now, marked: None }
    }

    /// How long it was away, to about a minute; none when it has never been there.
    pub fn gap(&self) -> Option<Length> {
        self.left.map(|left| Length::of_us(self.back.0.saturating_sub(left.0)))
    }

    /// Until when it has certainly looked before; records that came since may be news.
    pub fn looked_until(&self) -> TimestampUs {
        self.left.unwrap_or(self.back)
    }

    /// Whether a silence of `length` up to `now` may be that of the server.
    pub fn is_in_doubt(&self, now: TimestampUs, length: Length) -> bool {
        let is_hidden = self.gap().is_none_or(|gap| gap.us().saturating_mul(GAP_PART) >= length.us());
        is_hidden && now.0.saturating_sub(length.us()) < self.back.0
    }

    /// The mark to write at `now`, when it is time for one.
    pub fn mark(&mut self, now: TimestampUs) -> Option<CatalogPut> {
        let is_fresh = |at: TimestampUs| (0..MARK_EVERY.us()).contains(&now.0.saturating_sub(at.0));
        if self.marked.is_some_and(is_fresh) {
            return None;
        }
        self.marked = Some(now);
        let value = serde_json::to_vec(&Mark { version: VERSION, at_us: now.0 }).ok()?;
        Some(CatalogPut { kind: CatalogKind::Setting, key: KEY.to_vec(), value: Some(value) })
    }

    /// Where the mark is.
    pub const fn key() -> &'static [u8] {
        KEY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> TimestampUs {
        TimestampUs(second * 1_000_000)
    }

    #[test]
    fn a_mark_is_written_once_a_minute_and_read_by_the_next_start() {
        let mut first = Watch::new(None, at(1_000));
        assert_eq!((first.gap(), first.looked_until()), (None, at(1_000)));
        let put = first.mark(at(1_000)).unwrap();
        assert!(first.mark(at(1_059)).is_none());
        assert!(first.mark(at(1_060)).is_some());
        assert!(first.mark(at(900)).is_some(), "a clock that was set back");
        let next = Watch::new(put.value.as_deref(), at(1_300));
        assert_eq!((next.gap(), next.looked_until()), (Some(Length::minutes(5)), at(1_000)));
        assert_eq!(Watch::new(Some(b"{}"), at(1_300)).gap(), None);
        assert_eq!(Watch::new(put.value.as_deref(), at(0)).gap(), Some(Length::ZERO));
    }

    #[test]
    fn a_silence_is_in_doubt_while_the_server_may_be_its_cause() {
        let never = Watch::new(None, at(1_000));
        let told = |watch: &Watch, now, length| watch.is_in_doubt(at(now), Length::seconds(length));
        assert!(told(&never, 1_059, 60));
        assert!(!told(&never, 1_060, 60));
        let mut before = Watch::new(None, at(0));
        let put = before.mark(at(900)).unwrap();
        let back = Watch::new(put.value.as_deref(), at(1_000));
        // Away for 100 s: that hides a minute, and does not explain an hour.
        assert!(told(&back, 1_030, 60));
        assert!(!told(&back, 1_030, 3_600));
    }
}
