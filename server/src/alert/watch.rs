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

/// How long a gap is remembered: nothing looks further back.
const GAPS_KEPT: Length = Length::days(31);
/// Most gaps that are remembered; of more, those that are nearest to each other become one.
const GAPS_MAX: usize = 64;

/// When the server was last seen.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    version: u32,
    at_us: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gaps_us: Vec<Gap>,
}

/// A time in which the server was not there: after the first instant and before the second, in microseconds. It begins
/// with time itself when the server had never been there.
type Gap = (i64, i64);

/// Since when the server looks, and when it had not before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// When it was last there before; none when never.
    left: Option<TimestampUs>,
    /// Since when it is there.
    back: TimestampUs,
    /// When it was away, in order of time; the last one ends with `back`.
    gaps: Vec<Gap>,
    /// When that was last written down.
    marked: Option<TimestampUs>,
}

impl Watch {
    /// A server that begins at `now`, with the mark that it left behind.
    pub fn new(mark: Option<&[u8]>, now: TimestampUs) -> Self {
        let mark: Option<Mark> = mark.and_then(|bytes| serde_json::from_slice(bytes).ok());
        let mark = mark.filter(|mark| mark.version == VERSION);
        let left = mark.as_ref().map(|mark| TimestampUs(mark.at_us).min(now));
        let mut gaps = mark.map(|mark| mark.gaps_us).unwrap_or_default();
        gaps.retain(|(from, to)| from <= to);
        gaps.push((left.map_or(i64::MIN, |left| left.0), now.0));
        gaps.sort_unstable();
        let mut watch = Self { left, back: now, gaps, marked: None };
        watch.bound(now);
        watch
    }

    /// Forgets the gaps that are long over, and keeps the others few.
    fn bound(&mut self, now: TimestampUs) {
        let kept_after = now.0.saturating_sub(GAPS_KEPT.us());
        self.gaps.retain(|(_, to)| *to > kept_after);
        while self.gaps.len() > GAPS_MAX {
            let between = self.gaps.windows(2).map(|two| match two {
                [(_, to), (from, _)] => from.saturating_sub(*to),
                _ => i64::MAX,
            });
            let nearest = between.enumerate().min_by_key(|(_, between)| *between);
            let Some((at, _)) = nearest else { return };
            let (_, end) = self.gaps.remove(at + 1);
            if let Some((_, to)) = self.gaps.get_mut(at) {
                *to = end.max(*to);
            }
        }
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
        let start = now.0.saturating_sub(length.us());
        let away = self.gaps.iter().filter(|(_, to)| start < *to).map(|(from, to)| to.saturating_sub(*from));
        let mut away = away.peekable();
        let is_touched = away.peek().is_some();
        let away = away.fold(0_i64, i64::saturating_add);
        is_touched && away.saturating_mul(GAP_PART) >= length.us()
    }

    /// The mark to write at `now`, when it is time for one.
    pub fn mark(&mut self, now: TimestampUs) -> Option<CatalogPut> {
        let is_fresh = |at: TimestampUs| (0..MARK_EVERY.us()).contains(&now.0.saturating_sub(at.0));
        if self.marked.is_some_and(is_fresh) {
            return None;
        }
        self.marked = Some(now);
        self.bound(now);
        let mark = Mark { version: VERSION, at_us: now.0, gaps_us: self.gaps.clone() };
        let value = serde_json::to_vec(&mark).ok()?;
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
        let mut before = Watch::new(None, at(-10_000));
        let put = before.mark(at(900)).unwrap();
        let back = Watch::new(put.value.as_deref(), at(1_000));
        // Away for 100 s: that hides a minute, and does not explain an hour.
        assert!(told(&back, 1_030, 60));
        assert!(!told(&back, 1_030, 3_600));
    }

    #[test]
    fn a_second_restart_does_not_forget_the_first_gap() {
        let restarted = |watch: &mut Watch, left: i64, back: i64| {
            let put = watch.mark(at(left)).unwrap();
            Watch::new(put.value.as_deref(), at(back))
        };
        let mut watch = Watch::new(None, at(0));
        watch = restarted(&mut watch, 100_000, 103_000);
        watch = restarted(&mut watch, 103_060, 103_070);
        let doubt = |watch: &Watch, now, length| watch.is_in_doubt(at(now), Length::seconds(length));
        assert!(doubt(&watch, 104_000, 3_600), "it was away for most of the hour");
        assert!(!doubt(&watch, 107_000, 3_600) && !doubt(&watch, 104_000, 900));
        // After a month it is history.
        let put = watch.mark(at(103_000 + 32 * 86_400)).unwrap();
        let text = String::from_utf8(put.value.unwrap()).unwrap();
        assert!(!text.contains("gaps"), "{text}");
    }

    #[test]
    fn gaps_without_end_stay_few_and_none_is_forgotten() {
        let mut watch = Watch::new(None, at(0));
        for n in 1..=500 {
            let put = watch.mark(at(n * 1_000)).unwrap();
            assert!(put.value.as_ref().unwrap().len() < 8 << 10);
            watch = Watch::new(put.value.as_deref(), at(n * 1_000 + 500));
        }
        assert_eq!(watch.gaps.len(), GAPS_MAX);
        for n in 1..=500 {
            let gap = (n * 1_000_000_000, n * 1_000_000_000 + 500_000_000);
            assert!(watch.gaps.iter().any(|(from, to)| *from <= gap.0 && gap.1 <= *to));
        }
    }
}
