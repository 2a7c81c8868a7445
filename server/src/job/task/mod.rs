//! The periodic tasks by their names. A new one is a line of [`TASKS`] and its schedule among the settings.

mod aggregate;
mod cleanup;
mod collect;
mod reports;

use std::pin::Pin;

use serde_json::Value;

use super::scheduler::Run;
use crate::app::AppState;

pub use cleanup::cleanup;
pub(crate) use reports::revisit;

/// The task that takes points of the host.
pub const COLLECT: &str = "collect_system_metrics_task";
/// The task that makes days final.
pub const AGGREGATE: &str = "aggregate_daily_metrics_task";
/// The task that removes what has expired.
pub const CLEANUP: &str = "cleanup_old_metrics_task";

/// The task that makes reports.
pub const REPORTS: &str = "generate_analytics_reports_task";

/// What a task does: gives what it did, for people and programs, in at most a few hundred bytes.
pub type Work = fn(AppState, Run) -> Pin<Box<dyn Future<Output = Result<Value, TaskError>> + Send>>;

/// A periodic task.
#[derive(Debug, Clone, Copy)]
pub struct Task {
    /// Its name on the wire.
    pub name: &'static str,
    /// The setting that has its schedule.
    pub setting: &'static str,
    /// Whether its schedule holds in the zone of every organization, and not in that of the settings.
    pub in_every_zone: bool,
    /// What it does, for people.
    pub help: &'static str,
    /// What it does. Doing it again for the same time adds nothing.
    pub work: Work,
}

/// Every task.
pub static TASKS: &[Task] = &[
    Task {
        name: COLLECT,
        setting: "schedule_collect_system_metrics",
        in_every_zone: false,
        help: "Takes points of the host the server runs on: processor, memory, disks, network, errors",
        work: |state, run| Box::pin(collect::collect(state, run)),
    },
    Task {
        name: AGGREGATE,
        setting: "schedule_aggregate_daily_metrics",
        in_every_zone: true,
        help: "Makes the numbers of the day that is over final, in the time zone of each organization",
        work: |state, run| Box::pin(aggregate::aggregate(state, run)),
    },
    Task {
        name: CLEANUP,
        setting: "schedule_cleanup_old_metrics",
        in_every_zone: false,
        help: "Removes what has passed the retention of its organization",
        work: |state, _| Box::pin(cleanup(state, false)),
    },
    Task {
        name: REPORTS,
        setting: "schedule_generate_analytics_reports",
        in_every_zone: true,
        help: "Makes and keeps the reports of the day that is over, in the time zone of each organization",
        work: |state, run| Box::pin(reports::reports(state, run)),
    },
];

/// The task of a name.
pub fn by_name(name: &str) -> Option<&'static Task> {
    TASKS.iter().find(|task| task.name == name)
}

/// Why a task failed.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] insights_engine::Error),
    /// It ended by a panic, which is in the log.
    #[error("it panicked")]
    Panicked,
    /// The server may not read what it has: a mistake of ours.
    #[error("the rows of organizations could not be counted")]
    Scope,
    /// The calendar does not reach that far.
    #[error("the clock shows no day of the calendar")]
    Calendar,
}
