//! The settings of the periodic tasks.

use std::collections::BTreeMap;
use std::time::Duration;

use super::setting::Setting;
use crate::job::schedule::Schedule;
use crate::job::task::TASKS;
use crate::job::zone::Zone;
use crate::report::stored::ReportType;

/// The settings of the periodic tasks.
#[derive(Debug, Clone)]
pub struct JobsConfig {
    /// Whether they run by themselves.
    pub is_enabled: bool,
    /// The zone of their schedules, and of organizations that have none of their own.
    pub zone: Zone,
    /// Each is later by a time below this.
    pub jitter: Duration,
    /// When each runs, by its name.
    pub schedules: BTreeMap<&'static str, Schedule>,
    /// The reports that are made every day.
    pub(crate) report_types: Vec<ReportType>,
}

impl Default for JobsConfig {
    fn default() -> Self {
        let schedule = |setting: &str| {
            let text = Setting::by_name(setting).and_then(|setting| setting.default).unwrap_or_default();
            Schedule::parse(text).ok()
        };
        let schedules = TASKS.iter().filter_map(|task| Some((task.name, schedule(task.setting)?))).collect();
        Self {
            is_enabled: true,
            zone: Zone::utc(),
            jitter: Duration::ZERO,
            schedules,
            report_types: ReportType::ALL.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_has_a_schedule() {
        assert!(
            JobsConfig::default().schedules.keys().eq(TASKS
                .iter()
                .map(|t| t.name)
                .collect::<std::collections::BTreeSet<_>>()
                .iter())
        );
    }
}
