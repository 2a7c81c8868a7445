//! Windows that overlap as sets of windows that do not, each a question of its own. Pure.

use insights_engine::time::{Buckets, TimeRange, TimestampUs};

use crate::alert::length::Length;

/// Most windows of one question.
pub(super) const WINDOWS_MAX: usize = 1_000;

/// Windows that do not overlap, as buckets of one question; those between them are of no interest.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    /// The buckets.
    pub(super) buckets: Buckets,
    /// For each bucket the place of the window that it is.
    pub(super) windows: Vec<Option<usize>>,
}

/// The windows of length `window` that end at `instants`, which ascend, in as few questions as may be.
pub(super) fn questions(instants: &[TimestampUs], window: Length) -> Vec<Question> {
    let mut sets: Vec<Vec<(usize, TimeRange)>> = Vec::new();
    for (place, end) in instants.iter().enumerate() {
        let range = TimeRange { start: TimestampUs(end.0.saturating_sub(window.us())), end: *end };
        let fits = |set: &&mut Vec<(usize, TimeRange)>| {
            set.len() < WINDOWS_MAX && set.last().is_none_or(|(_, last)| last.end <= range.start)
        };
        match sets.iter_mut().find(fits) {
            Some(set) => set.push((place, range)),
            None => sets.push(vec![(place, range)]),
        }
    }
    sets.iter().filter_map(|set| question(set)).collect()
}

/// How many questions as many evaluations make when they are asked in looks of [`WINDOWS_MAX`].
pub(super) fn count(instants: usize, interval: Length, window: Length) -> usize {
    let (interval, window) = (interval.us().max(1), window.us().max(1));
    let overlapping = usize::try_from((window - 1) / interval + 1).unwrap_or(usize::MAX);
    let looks = instants.div_ceil(WINDOWS_MAX);
    looks.saturating_mul(overlapping.min(instants).min(WINDOWS_MAX))
}

fn question(set: &[(usize, TimeRange)]) -> Option<Question> {
    let mut edges: Vec<TimestampUs> = Vec::with_capacity(set.len() * 2);
    let mut windows = Vec::with_capacity(set.len() * 2);
    for (place, range) in set {
        match edges.last() {
            Some(last) if *last == range.start => {}
            Some(_) => {
                windows.push(None);
                edges.push(range.start);
            }
            None => edges.push(range.start),
        }
        windows.push(Some(*place));
        edges.push(range.end);
    }
    Some(Question { buckets: Buckets::between(edges).ok()?, windows })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instants(count: i64, interval_s: i64) -> Vec<TimestampUs> {
        (1..=count).map(|n| TimestampUs(n * interval_s * 1_000_000)).collect()
    }

    /// Every window, once, and exactly as it is.
    fn check(count: i64, interval: Length, window: Length, expected: usize) {
        let instants = instants(count, interval.us() / 1_000_000);
        let questions = questions(&instants, window);
        if instants.len() <= WINDOWS_MAX {
            assert_eq!(super::count(instants.len(), interval, window), expected);
        }
        assert_eq!(questions.len(), expected, "{count} of {window} every {interval}");
        let mut seen = vec![false; instants.len()];
        for question in &questions {
            assert_eq!(question.windows.len(), question.buckets.len());
            for (bucket, place) in question.buckets.iter().zip(&question.windows) {
                let Some(place) = place else { continue };
                assert!(!std::mem::replace(&mut seen[*place], true));
                assert_eq!(
                    (bucket.start.0, bucket.end),
                    (instants[*place].0 - window.us(), instants[*place])
                );
            }
        }
        assert!(seen.iter().all(|seen| *seen));
    }

    #[test]
    fn overlapping_windows_are_as_many_questions_as_overlap() {
        check(1, Length::minutes(1), Length::minutes(5), 1);
        check(100, Length::minutes(1), Length::minutes(1), 1);
        check(100, Length::minutes(1), Length::minutes(5), 5);
        check(100, Length::minutes(1), Length::seconds(90), 2);
        check(100, Length::minutes(5), Length::minutes(1), 1);
        check(2_500, Length::minutes(5), Length::minutes(1), 3);
        assert!(questions(&[], Length::minutes(1)).is_empty());
    }
}
