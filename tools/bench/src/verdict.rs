//! Whether what a server takes stays flat while it works: pure judgement of samples.

use serde::Serialize;

use crate::own_metrics::Sample;

/// What a number may grow by beside the tolerance: caches and file sets breathe.
const SLACK_BYTES: f64 = 16.0 * 1024.0 * 1024.0;
const SLACK_FDS: f64 = 16.0;
/// Fewer samples say nothing about a quarter.
const SAMPLES_MIN: usize = 8;

/// One number of the server over a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Line {
    /// What it is.
    pub(crate) name: &'static str,
    /// Median of the second quarter of the run: caches are warm.
    pub(crate) second_quarter: f64,
    /// Median of the last quarter.
    pub(crate) last_quarter: f64,
    /// The greatest value.
    pub(crate) max: f64,
    /// What the last quarter may be at most.
    pub(crate) allowed: f64,
    /// Whether it is.
    pub(crate) flat: bool,
}

/// Judges the samples of a run, in their order; why nothing can be said.
pub(crate) fn judge(samples: &[Sample], tolerance_percent: u8) -> Result<Vec<Line>, String> {
    if samples.len() < SAMPLES_MIN {
        let count = samples.len();
        return Err(format!(
            "{count} samples of /metrics are too few to judge: a longer --duration, a shorter --every"
        ));
    }
    let tell = |name, slack, of: &dyn Fn(&Sample) -> Option<f64>| {
        let values: Option<Vec<f64>> = samples.iter().map(of).collect();
        values.map(|values| line(name, &values, slack, tolerance_percent))
    };
    // Mapped files are the page cache's: where the server tells anonymous memory apart, that is judged.
    let memory = tell("anonymous memory", SLACK_BYTES, &|s| s.anonymous_bytes)
        .or_else(|| tell("resident memory", SLACK_BYTES, &|s| s.resident_bytes));
    let memory = memory.ok_or("the server's /metrics tell no memory")?;
    let fds = tell("open descriptors", SLACK_FDS, &|s| s.open_fds);
    Ok([Some(memory), fds].into_iter().flatten().collect())
}

fn line(name: &'static str, values: &[f64], slack: f64, tolerance_percent: u8) -> Line {
    let quarter = values.len() / 4;
    let of = |values: Option<&[f64]>| median(values.unwrap_or_default());
    let second_quarter = of(values.get(quarter..2 * quarter));
    let last_quarter = of(values.get(values.len() - quarter..));
    let allowed = second_quarter * (1.0 + f64::from(tolerance_percent) / 100.0) + slack;
    let max = values.iter().copied().fold(0.0, f64::max);
    Line { name, second_quarter, last_quarter, max, allowed, flat: last_quarter <= allowed }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1024.0 * 1024.0;

    fn samples(memory_mib: impl Fn(u32) -> u32, fds: impl Fn(u32) -> u32) -> Vec<Sample> {
        let sample = |n| Sample {
            anonymous_bytes: Some(f64::from(memory_mib(n)) * MIB),
            open_fds: Some(f64::from(fds(n))),
            ..Sample::default()
        };
        (0..40).map(sample).collect()
    }

    fn flat(samples: &[Sample]) -> Vec<bool> {
        judge(samples, 10).unwrap().iter().map(|line| line.flat).collect()
    }

    #[test]
    fn warming_up_and_breathing_are_flat_and_growth_is_not() {
        // Grows for a quarter, then goes up and down.
        assert_eq!(flat(&samples(|n| 100.min(n * 10) + n % 5, |n| 30 + n % 7)), [true, true]);
        assert_eq!(flat(&samples(|n| 100 + n * 3, |_| 30)), [false, true]);
        assert_eq!(flat(&samples(|_| 100, |n| 30 + n * 2)), [true, false]);
    }

    #[test]
    fn one_peak_is_not_growth_and_the_slack_covers_a_small_process() {
        assert_eq!(flat(&samples(|n| if n == 39 { 1000 } else { 100 }, |_| 30)), [true, true]);
        assert_eq!(flat(&samples(|n| 10 + n / 4, |_| 30)), [true, true]);
    }

    #[test]
    fn resident_memory_stands_in_and_too_few_samples_are_no_verdict() {
        let resident = |_| Sample { resident_bytes: Some(1.0), ..Sample::default() };
        let samples: Vec<Sample> = (0..8).map(resident).collect();
        assert_eq!(judge(&samples, 10).unwrap().first().unwrap().name, "resident memory");
        assert!(judge(samples.get(..7).unwrap(), 10).is_err());
        assert!(judge(&vec![Sample::default(); 8], 10).is_err());
    }
}
