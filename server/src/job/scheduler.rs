//! Which tasks are due: each alone, once for all the times that were missed, again when it was interrupted. Knows
//! no clock and does no work.

use insights_engine::time::{DAY_US, TimestampUs};
use jiff::tz::TimeZone;

use super::record::{RunCause, RunOutcome, RunRecord, Running, TaskState};
use super::schedule::Timetable;

/// Within this a clock that goes back runs nothing again; beyond it, it was wrong before and is believed now.
const BACK_MAX_US: i64 = DAY_US;
/// Most runs of one time that end with the server before it is given up: the run may be what ends it.
const INTERRUPTED_MAX: usize = 3;

/// A task of a scheduler.
#[derive(Debug)]
pub struct Planned {
    /// Its name.
    pub name: &'static str,
    /// When it runs.
    pub timetable: Timetable,
    /// How far it is.
    pub state: TaskState,
    /// When it runs next, as far as the calendar goes.
    next: Option<TimestampUs>,
    /// The time of an interrupted run that is to be repeated.
    repeat: Option<TimestampUs>,
}

impl Planned {
    fn look_ahead(&mut self) {
        self.next = self.timetable.next_after(TimestampUs(self.state.done_until_us));
    }

    /// When it runs next; none when it does not.
    pub fn next(&self) -> Option<TimestampUs> {
        self.repeat.or(self.next)
    }

    /// Why, and for what time, it is to run now.
    fn due(&self, now: TimestampUs) -> Option<(TimestampUs, RunCause)> {
        if self.state.running.is_some() {
            return None;
        }
        if let Some(time) = self.repeat {
            return Some((time, RunCause::Repeated));
        }
        let time = self.next.filter(|next| *next <= now)?;
        let missed = self.timetable.next_after(time).is_some_and(|following| following <= now);
        Some((time, if missed { RunCause::CaughtUp } else { RunCause::Scheduled }))
    }
}

/// A run that is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The task.
    pub task: &'static str,
    /// The time it stands for. The same time again is the same run again.
    pub scheduled: TimestampUs,
    /// When it began.
    pub started: TimestampUs,
    /// Why.
    pub cause: RunCause,
}

/// Why a task cannot be run now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotNow {
    /// No such task.
    #[error("there is no task of this name")]
    Unknown,
    /// One run at a time.
    #[error("the task is running")]
    Running,
}

/// The tasks and how far each is.
#[derive(Debug, Default)]
pub struct Scheduler {
    tasks: Vec<Planned>,
}

impl Scheduler {
    /// Adds a task with what was stored of it. A run that had not ended is told as interrupted, and is due again.
    pub fn add(
        &mut self,
        name: &'static str,
        timetable: Timetable,
        stored: Option<TaskState>,
        now: TimestampUs,
    ) {
        let text = timetable.text();
        let mut state = stored.unwrap_or_else(|| TaskState::new(text.clone(), now));
        if state.timetable != text {
            // Times of another timetable were not missed.
            (state.timetable, state.done_until_us) = (text, now.0);
        }
        let mut repeat = None;
        if let Some(running) = state.running.take() {
            state.remember(RunRecord::interrupted(running));
            let of_it = |record: &&RunRecord| {
                record.scheduled_us == running.scheduled_us && record.outcome == RunOutcome::Interrupted
            };
            let times = state.history.iter().take_while(of_it).count();
            repeat = (times < INTERRUPTED_MAX).then_some(TimestampUs(running.scheduled_us));
        }
        let mut task = Planned { name, timetable, state, next: None, repeat };
        task.look_ahead();
        self.tasks.push(task);
    }

    /// The tasks, in the order they were added.
    pub fn tasks(&self) -> &[Planned] {
        &self.tasks
    }

    fn task(&mut self, name: &str) -> Option<&mut Planned> {
        self.tasks.iter_mut().find(|task| task.name == name)
    }

    /// The state of a task.
    pub fn state(&self, name: &str) -> Option<&TaskState> {
        self.tasks.iter().find(|task| task.name == name).map(|task| &task.state)
    }

    /// The zones a task runs in from now on.
    pub fn set_zones(&mut self, name: &str, zones: Vec<(String, TimeZone)>) {
        if let Some(task) = self.task(name)
            && task.timetable.set_zones(zones)
        {
            task.look_ahead();
        }
    }

    /// The runs that are due; they count as running from now on.
    pub fn due(&mut self, now: TimestampUs) -> Vec<Run> {
        let mut runs = Vec::new();
        for task in &mut self.tasks {
            if task.state.done_until_us.saturating_sub(now.0) > BACK_MAX_US {
                task.state.done_until_us = now.0;
                task.look_ahead();
            }
            let Some((scheduled, cause)) = task.due(now) else { continue };
            if cause == RunCause::Repeated {
                task.repeat = None;
            } else {
                task.state.done_until_us = now.0;
                task.look_ahead();
            }
            task.state.running = Some(Running { scheduled_us: scheduled.0, started_us: now.0, cause });
            runs.push(Run { task: task.name, scheduled, started: now, cause });
        }
        runs
    }

    /// Begins a run that somebody asked for; what is scheduled stays scheduled.
    ///
    /// # Errors
    ///
    /// [`NotNow`].
    pub fn begin(&mut self, name: &str, now: TimestampUs) -> Result<Run, NotNow> {
        let task = self.task(name).ok_or(NotNow::Unknown)?;
        if task.state.running.is_some() {
            return Err(NotNow::Running);
        }
        let cause = RunCause::Asked;
        task.state.running = Some(Running { scheduled_us: now.0, started_us: now.0, cause });
        Ok(Run { task: task.name, scheduled: now, started: now, cause })
    }

    /// Ends the run of a task, and gives the record of it; none when it was not running.
    pub fn finish(
        &mut self,
        name: &str,
        duration_ms: u64,
        ended: Result<serde_json::Value, String>,
    ) -> Option<RunRecord> {
        let task = self.task(name)?;
        let running = task.state.running.take()?;
        let record = RunRecord::new(running, Some(duration_ms), ended);
        task.state.remember(record.clone());
        Some(record)
    }

    /// When to look again at the latest; none when nothing is to come. A task that runs is looked at when it ends.
    pub fn next(&self) -> Option<TimestampUs> {
        self.tasks.iter().filter(|task| task.state.running.is_none()).filter_map(Planned::next).min()
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
