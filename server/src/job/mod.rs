//! Periodic tasks: [`schedule`] says when, [`scheduler`] which are due, [`task`] what they do, and this file does it:
//! it starts what is due, keeps what became of it, and lets nothing run twice at once.

pub mod record;
pub mod schedule;
pub mod scheduler;
pub mod task;
pub mod zone;

use std::fmt;
use std::time::Duration;

use insights_engine::time::TimestampUs;
use jiff::tz::TimeZone;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::app::AppState;
use crate::collect::host::{Host, SystemHost};
use crate::collect::point::Sample;
use crate::config::JobsConfig;
use crate::organization::OrganizationSettings;
use crate::store::Store;
use record::{RunRecord, TaskState};
use schedule::{Schedule, Timetable, offset_of};
use scheduler::{NotNow, Run, Scheduler};
use task::{TASKS, TaskError};

/// Longest wait before the clock is looked at again: it may have been set.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Shortest wait, so that a clock that stands still does not keep a core busy.
const REST: Duration = Duration::from_millis(100);

/// The periodic tasks of a server.
#[derive(Debug)]
pub struct Jobs {
    scheduler: Mutex<Scheduler>,
    /// A run has ended, and what it kept waiting may begin.
    ended: Notify,
    host: Mutex<Sampler>,
}

/// A task as it is shown.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Its name.
    pub name: &'static str,
    /// When it runs.
    pub schedule: String,
    /// In which zones.
    pub zones: Vec<String>,
    /// When it runs next; none while nothing runs by itself.
    pub next: Option<TimestampUs>,
    /// How far it is.
    pub state: TaskState,
}

impl Jobs {
    /// The tasks as the store has left them.
    pub fn new(store: &Store, config: &JobsConfig, now: TimestampUs) -> Self {
        let mut scheduler = Scheduler::default();
        for task in TASKS {
            let Some(schedule) = config.schedules.get(task.name) else { continue };
            let zones = zones(store, config, schedule, task.in_every_zone);
            let timetable = Timetable::new(schedule.clone(), zones, offset_of(task.name, config.jitter));
            let stored = TaskState::read(task.name, |kind, key| store.catalog_get(kind, key));
            scheduler.add(task.name, timetable, stored, now);
        }
        Self {
            scheduler: Mutex::new(scheduler),
            ended: Notify::new(),
            host: Mutex::new(Sampler { host: Box::new(SystemHost), earlier: None }),
        }
    }

    /// The sampler of the host. Never held across a wait.
    pub fn host(&self) -> MutexGuard<'_, Sampler> {
        self.host.lock()
    }

    /// Begins what is due at the present moment; each is to be given to [`execute`].
    pub fn due(&self, state: &AppState) -> Vec<Run> {
        let mut scheduler = self.scheduler.lock();
        for task in TASKS.iter().filter(|task| task.in_every_zone) {
            if let Some(schedule) = state.config.jobs.schedules.get(task.name) {
                scheduler.set_zones(task.name, zones(&state.store, &state.config.jobs, schedule, true));
            }
        }
        scheduler.due(state.clock.now())
    }

    /// Begins a run that somebody asked for; it is to be given to [`execute`].
    ///
    /// # Errors
    ///
    /// [`NotNow`].
    pub fn begin(&self, name: &str, now: TimestampUs) -> Result<Run, NotNow> {
        self.scheduler.lock().begin(name, now)
    }

    /// Every task with its last runs.
    pub fn shown(&self, config: &JobsConfig) -> Vec<Shown> {
        let shown = |task: &scheduler::Planned| Shown {
            name: task.name,
            schedule: task.timetable.schedule().to_string(),
            zones: task.timetable.zones().map(str::to_owned).collect(),
            next: task.next().filter(|_| config.is_enabled),
            state: task.state.clone(),
        };
        self.scheduler.lock().tasks().iter().map(shown).collect()
    }

    /// How long to wait at `now` before looking again.
    fn wait(&self, now: TimestampUs) -> Duration {
        let next = self.scheduler.lock().next();
        let us = next.map_or(u64::MAX, |next| u64::try_from(next.0.saturating_sub(now.0)).unwrap_or(0));
        Duration::from_micros(us).clamp(REST, LOOK_AGAIN)
    }
}

/// The zones a task runs in. An interval is the same in all of them.
fn zones(
    store: &Store,
    config: &JobsConfig,
    schedule: &Schedule,
    in_every_zone: bool,
) -> Vec<(String, TimeZone)> {
    let mut zones = vec![config.zone.clone()];
    if in_every_zone && matches!(schedule, Schedule::Cron(_)) {
        let default = &config.zone.name;
        zones.extend(OrganizationSettings::zones(store).into_iter().filter(|zone| zone.name != *default));
    }
    zones.into_iter().map(|zone| (zone.name, zone.rules)).collect()
}

/// Samples the host, and remembers the last sample that was kept.
pub struct Sampler {
    host: Box<dyn Host>,
    earlier: Option<Sample>,
}

impl Sampler {
    /// Reads the host now. May wait for files of the system.
    pub fn sample(&mut self, state: &AppState) -> Sample {
        Sample {
            reading: self.host.read(),
            monotonic_us: u64::try_from(state.clock.monotonic().as_micros()).unwrap_or(u64::MAX),
            server_errors: state.http_metrics.server_errors(),
        }
    }

    /// The last sample that was kept.
    pub fn earlier(&self) -> Option<Sample> {
        self.earlier.clone()
    }

    /// What the next sample is compared with.
    pub fn keep(&mut self, sample: Sample) {
        self.earlier = Some(sample);
    }

    /// Reads another host from now on.
    #[cfg(test)]
    pub(crate) fn set_host(&mut self, host: Box<dyn Host>) {
        *self = Self { host, earlier: None };
    }
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampler").field("host", &self.host).finish_non_exhaustive()
    }
}

/// Does a run that has begun, from its mark in the store to the record of how it ended.
///
/// The mark is durable before the work begins, so that a run the server does not outlive is seen afterwards.
pub async fn execute(state: &AppState, run: Run) -> Option<RunRecord> {
    let started = state.clock.monotonic();
    let ended = match keep_state(state, run.task).await {
        Ok(()) => work(state, run).await,
        Err(error) => Err(error),
    };
    let ended = ended.map_err(|error| {
        tracing::warn!(task = run.task, error = &error as &dyn std::error::Error, "a periodic task failed");
        error.to_string()
    });
    let took = state.clock.monotonic().saturating_sub(started);
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let record = state.jobs.scheduler.lock().finish(run.task, duration_ms, ended);
    if let Err(error) = keep_state(state, run.task).await {
        tracing::warn!(
            task = run.task,
            error = &error as &dyn std::error::Error,
            "how a periodic task ended was not written"
        );
    }
    state.jobs.ended.notify_one();
    record
}

/// The work itself, as a task of the runtime: a panic is a failure of it, not of the scheduler.
async fn work(state: &AppState, run: Run) -> Result<serde_json::Value, TaskError> {
    let Some(task) = task::by_name(run.task) else { return Err(TaskError::Panicked) };
    tokio::spawn((task.work)(state.clone(), run)).await.map_err(|_| TaskError::Panicked)?
}

async fn keep_state(state: &AppState, name: &str) -> Result<(), TaskError> {
    let put = state.jobs.scheduler.lock().state(name).map(|kept| kept.put(name));
    match put {
        Some(put) => state.store.put(vec![put]).await.map(drop).map_err(TaskError::from),
        None => Ok(()),
    }
}

/// Runs the tasks by their schedules, for as long as it is polled.
pub async fn drive(state: AppState) {
    if !state.config.jobs.is_enabled {
        return;
    }
    // Rates are of the time between two samples: the first is now.
    let sampled = state.clone();
    let first = tokio::task::spawn_blocking(move || sampled.jobs.host().sample(&sampled)).await;
    if let Ok(first) = first {
        state.jobs.host().keep(first);
    }
    loop {
        for run in state.jobs.due(&state) {
            let state = state.clone();
            tokio::spawn(async move { execute(&state, run).await });
        }
        let wait = state.jobs.wait(state.clock.now());
        // Whether it was the time or the end of a run: what is due is due.
        drop(tokio::time::timeout(wait, state.jobs.ended.notified()).await);
    }
}

#[cfg(test)]
mod tests;
