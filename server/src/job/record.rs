//! What is kept of a task: how far it is, whether it runs, its last runs.

use std::collections::VecDeque;

use insights_engine::append::{CatalogKind, CatalogPut};
use insights_engine::time::TimestampUs;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Version of [`TaskState`] in the catalog.
const VERSION: u32 = 1;
/// Most runs that are kept of a task.
pub const HISTORY_MAX: usize = 32;
/// Most bytes of a stored state, under the 64 KiB of a catalog record.
const STATE_BYTES_MAX: usize = 60 << 10;
/// Most bytes of the text of a failure.
const ERROR_BYTES_MAX: usize = 500;

/// Why a task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunCause {
    /// It was its time.
    Scheduled,
    /// Once, for all the times that have passed meanwhile.
    CaughtUp,
    /// Again, because the server ended in the middle of it.
    Repeated,
    /// Somebody asked for it.
    Asked,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// It did what it does.
    Done,
    /// It did not; `error` says why.
    Failed,
    /// The server ended in the middle of it.
    Interrupted,
}

/// A run that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The time it stands for, in microseconds since 1970.
    pub scheduled_us: i64,
    /// When it began, in microseconds since 1970.
    pub started_us: i64,
    /// Why.
    pub cause: RunCause,
}

/// A run that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The time it stands for, in microseconds since 1970.
    pub scheduled_us: i64,
    /// When it began, in microseconds since 1970.
    pub started_us: i64,
    /// How long it took, in milliseconds; none when it was interrupted.
    pub duration_ms: Option<u64>,
    /// Why it ran.
    pub cause: RunCause,
    /// How it ended.
    pub outcome: RunOutcome,
    /// What it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl RunRecord {
    /// The record of a run that began as `running` says.
    pub fn new(running: Running, duration_ms: Option<u64>, ended: Result<serde_json::Value, String>) -> Self {
        let Running { scheduled_us, started_us, cause } = running;
        let (outcome, result, error) = match ended {
            Ok(result) => (RunOutcome::Done, Some(result), None),
            Err(error) => {
                (RunOutcome::Failed, None, Some(error.chars().take(ERROR_BYTES_MAX / 4).collect::<String>()))
            }
        };
        Self { scheduled_us, started_us, duration_ms, cause, outcome, result, error }
    }

    /// The record of a run that the server did not outlive.
    pub fn interrupted(running: Running) -> Self {
        let record = Self::new(running, None, Err(String::new()));
        Self { outcome: RunOutcome::Interrupted, error: None, ..record }
    }
}

/// How far a task is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskState {
    version: u32,
    /// What the timetable was made of.
    pub timetable: String,
    /// Every time up to here was run, or stands for one that was; in microseconds since 1970.
    pub done_until_us: i64,
    /// The run that is going on.
    pub running: Option<Running>,
    /// Its last runs, the latest first.
    pub history: VecDeque<RunRecord>,
}

impl TaskState {
    /// A task that has never run: what lies before `now` is not made up for.
    pub fn new(timetable: String, now: TimestampUs) -> Self {
        Self { version: VERSION, timetable, done_until_us: now.0, running: None, history: VecDeque::new() }
    }

    /// Adds a run in front, and forgets the last when there are too many.
    pub fn remember(&mut self, record: RunRecord) {
        self.history.push_front(record);
        self.history.truncate(HISTORY_MAX);
    }

    /// Kind and key of a task's state in the catalog.
    fn place(task: &str) -> (CatalogKind, Vec<u8>) {
        (CatalogKind::Setting, format!("job/{task}").into_bytes())
    }

    /// The state as a catalog record. Its oldest runs are left out when it would be too large.
    pub fn put(&self, task: &str) -> CatalogPut {
        let (kind, key) = Self::place(task);
        let mut state = self.clone();
        loop {
            let value = serde_json::to_vec(&state).unwrap_or_default();
            if value.len() <= STATE_BYTES_MAX || state.history.pop_back().is_none() {
                return CatalogPut { kind, key, value: Some(value) };
            }
        }
    }

    /// The state of a task in the catalog; none when there is none, or it is of a later version.
    pub fn read(
        task: &str,
        get: impl FnOnce(CatalogKind, &[u8]) -> Option<std::sync::Arc<[u8]>>,
    ) -> Option<Self> {
        let (kind, key) = Self::place(task);
        let state: Self = serde_json::from_slice(&get(kind, &key)?).ok()?;
        (state.version == VERSION).then_some(state)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RUNNING: Running = Running { scheduled_us: 1, started_us: 2, cause: RunCause::CaughtUp };

    #[test]
    fn the_bytes_of_a_state_are_fixed() {
        let mut state = TaskState::new("every 300s +0us".to_owned(), TimestampUs(7));
        state.running = Some(RUNNING);
        state.remember(RunRecord::new(RUNNING, Some(5), Ok(json!({ "points": 4 }))));
        state.remember(RunRecord::interrupted(RUNNING));
        let put = state.put("some_task");
        assert_eq!((put.kind, &put.key[..]), (CatalogKind::Setting, &b"job/some_task"[..]));
        let value = put.value.unwrap();
        let expected = concat!(
            r#"{"version":1,"timetable":"every 300s +0us","done_until_us":7,"#,
            r#""running":{"scheduled_us":1,"started_us":2,"cause":"caught_up"},"history":["#,
            r#"{"scheduled_us":1,"started_us":2,"duration_ms":null,"cause":"caught_up","outcome":"interrupted"},"#,
            r#"{"scheduled_us":1,"started_us":2,"duration_ms":5,"cause":"caught_up","outcome":"done","#,
            r#""result":{"points":4}}]}"#
        );
        assert_eq!(std::str::from_utf8(&value).unwrap(), expected);
        let read = |bytes: &[u8]| TaskState::read("some_task", |_, _| Some(bytes.into()));
        assert_eq!(read(&value), Some(state));
        for bad in ["", "{}", "[]", &expected.replace(r#""version":1"#, r#""version":2"#)] {
            assert_eq!(read(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_state_is_never_too_large_for_the_catalog() {
        let mut state = TaskState::new(String::new(), TimestampUs(0));
        for n in 0..100 {
            state.remember(RunRecord::new(RUNNING, Some(n), Ok(json!("x".repeat(4_000)))));
        }
        assert_eq!(state.history.len(), HISTORY_MAX);
        let value = state.put("t").value.unwrap();
        assert!(value.len() <= STATE_BYTES_MAX);
        let kept = TaskState::read("t", |_, _| Some(value[..].into())).unwrap().history;
        assert!(kept.len() > 10);
        assert_eq!(kept[0].duration_ms, Some(99), "the latest stay");
    }
}
