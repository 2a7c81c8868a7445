//! Processor time of the whole host, from `/proc/stat`.

/// Ticks of all cores since the host started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuTicks {
    /// Ticks in which something ran.
    pub busy: u64,
    /// All ticks.
    pub total: u64,
}

/// Reads the line `cpu` of `proc_stat(5)`: user, nice, system, idle, iowait, irq, softirq, steal; time of guests is
/// in that of users already.
pub fn parse(text: &str) -> Option<CpuTicks> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> =
        line.split_ascii_whitespace().take(8).map(|n| n.parse().ok()).collect::<Option<_>>()?;
    let total = ticks.iter().try_fold(0_u64, |sum, n| sum.checked_add(*n))?;
    // Older kernels have fewer fields; without idle it is no line of ours.
    let idle = ticks.get(3)?.checked_add(ticks.get(4).copied().unwrap_or(0))?;
    Some(CpuTicks { busy: total.checked_sub(idle)?, total })
}

/// The percentage of all cores that was busy between two readings; none when no time has passed, or counters went
/// back.
pub fn percent(earlier: CpuTicks, later: CpuTicks) -> Option<f64> {
    let total = later.total.checked_sub(earlier.total).filter(|total| *total > 0)?;
    // iowait may go back by a tick, so that more was busy than there was.
    let busy = later.busy.checked_sub(earlier.busy)?.min(total);
    #[expect(clippy::cast_precision_loss, reason = "ticks are far below 2^53")]
    let share = busy as f64 / total as f64;
    Some(share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_all_that_is_not_idle_and_not_waiting() {
        let text = "cpu  100 20 30 800 50 1 2 3 7 8\ncpu0 50 10 15 400 25 0 1 1 3 4\nintr 1 2\n";
        assert_eq!(parse(text), Some(CpuTicks { busy: 156, total: 1006 }));
        assert_eq!(parse("cpu 1 2 3 4"), Some(CpuTicks { busy: 6, total: 10 }));
        for bad in ["", "cpu0 1 2 3 4", "cpu 1 2 3", "cpu a b c d", "cpu 18446744073709551615 1 1 1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn use_is_that_of_the_time_between_and_not_since_the_start() {
        let earlier = CpuTicks { busy: 9_000, total: 10_000 };
        assert_eq!(percent(earlier, CpuTicks { busy: 9_050, total: 10_200 }), Some(25.0));
        assert_eq!(percent(earlier, earlier), None);
        assert_eq!(percent(earlier, CpuTicks { busy: 10, total: 100 }), None, "the host was started again");
        assert_eq!(percent(earlier, CpuTicks { busy: 9_201, total: 10_200 }), Some(100.0));
    }
}
