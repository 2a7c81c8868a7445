//! The periodic tasks: how they stand, and running one now.

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use insights_engine::time::TimestampUs;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use crate::app::AppState;
use crate::auth::{Principal, Scopes};
use crate::domain::instant::Rfc3339;
use crate::domain::own_act::OwnAct;
use crate::http::error::{ApiError, Code};
use crate::http::extract::{NoParameters, Query};
use crate::http::middleware::context::RequestContext;
use crate::job::record::{RunCause, RunOutcome, RunRecord};
use crate::job::scheduler::NotNow;
use crate::job::task::{CLEANUP, by_name, cleanup};
use crate::job::{Shown, execute};

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(paths(list, run), components(schemas(TaskList, TaskView, RunView, RunCause, RunOutcome)))]
pub struct Api;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/api/insights/tasks/", get(list)).route("/api/insights/tasks/{name}/run/", post(run))
}

/// A run of a task.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct RunView {
    /// The time it stands for; the same again is the same run again
    #[schema(format = DateTime)]
    scheduled_at: String,
    /// When it began
    #[schema(format = DateTime)]
    started_at: String,
    /// How long it took, in milliseconds; null while it runs and when it was interrupted
    duration_ms: Option<u64>,
    /// Why it ran
    cause: RunCause,
    /// How it ended; null while it runs
    outcome: Option<RunOutcome>,
    /// What it did, by the task; a superuser's alone, as it is about every organization
    #[schema(value_type = Option<Object>)]
    result: Option<serde_json::Value>,
    /// Why it failed; a superuser's alone
    error: Option<String>,
}

/// A periodic task.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TaskView {
    /// Its name
    name: &'static str,
    /// What it does
    description: &'static str,
    /// `every <n>s`, or a cron expression of minute, hour, day, month and weekday
    schedule: String,
    /// Time zone of the schedule
    timezone: String,
    /// All zones it runs in: those of organizations too, where it follows them
    timezones: Vec<String>,
    /// When it runs next; null when tasks do not run by themselves
    #[schema(format = DateTime)]
    next_run_at: Option<String>,
    /// The run that is going on
    running: Option<RunView>,
    /// The last run that is over
    last_run: Option<RunView>,
    /// The last runs, the latest first; at most 32
    history: Vec<RunView>,
}

/// Every periodic task.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TaskList {
    /// The tasks
    results: Vec<TaskView>,
}

impl RunView {
    fn of(record: &RunRecord, in_full: bool) -> Self {
        Self {
            scheduled_at: written(TimestampUs(record.scheduled_us)),
            started_at: written(TimestampUs(record.started_us)),
            duration_ms: record.duration_ms,
            cause: record.cause,
            outcome: Some(record.outcome),
            result: record.result.clone().filter(|_| in_full),
            error: record.error.clone().filter(|_| in_full),
        }
    }
}

impl TaskView {
    fn of(shown: Shown, zone: &str, in_full: bool) -> Self {
        let running = shown.state.running.map(|running| RunView {
            scheduled_at: written(TimestampUs(running.scheduled_us)),
            started_at: written(TimestampUs(running.started_us)),
            duration_ms: None,
            cause: running.cause,
            outcome: None,
            result: None,
            error: None,
        });
        let history: Vec<RunView> =
            shown.state.history.iter().map(|record| RunView::of(record, in_full)).collect();
        Self {
            name: shown.name,
            description: by_name(shown.name).map_or("", |task| task.help),
            schedule: shown.schedule,
            timezone: zone.to_owned(),
            timezones: if in_full { shown.zones } else { vec![zone.to_owned()] },
            next_run_at: shown.next.map(written),
            running,
            last_run: history.first().cloned(),
            history,
        }
    }
}

fn written(at: TimestampUs) -> String {
    Rfc3339(at).to_string()
}

/// Periodic tasks
///
/// Schedule, last runs and next run of each. Needs `read`. What runs did is told to superusers.
#[utoipa::path(get, path = "/api/insights/tasks/", tag = "tasks",
    responses((status = 200, description = "The tasks", body = TaskList)),
)]
async fn list(
    State(state): State<AppState>,
    principal: Principal,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<TaskList>, ApiError> {
    principal.require(Scopes::READ)?;
    let in_full = principal.is_superuser();
    let zone = &state.config.jobs.zone.name;
    let shown = state.jobs.shown(&state.config.jobs);
    Ok(Json(TaskList { results: shown.into_iter().map(|task| TaskView::of(task, zone, in_full)).collect() }))
}

/// How a task is run.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RunQuery {
    /// Whether only to say what would be done; of `cleanup_old_metrics_task` alone. Leaves no run behind
    #[serde(default)]
    dry_run: bool,
}

/// Runs a task now
///
/// Answers when it is over. What is scheduled stays scheduled. A superuser's.
#[utoipa::path(post, path = "/api/insights/tasks/{name}/run/", tag = "tasks",
    params(("name" = String, Path, description = "The task"), RunQuery),
    responses(
        (status = 200, description = "How the run ended: also when it failed", body = RunView),
        (status = 404, description = "No such task"),
        (status = 409, description = "It is running"),
    ),
)]
async fn run(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    Path(name): Path<String>,
    Query(query): Query<RunQuery>,
) -> Result<Json<RunView>, ApiError> {
    principal.require_superuser()?;
    let task = by_name(&name).ok_or_else(ApiError::not_found)?;
    if query.dry_run {
        return dry_run(&state, task.name).await.map(Json);
    }
    let begun = state.jobs.begin(task.name, state.clock.now()).map_err(|error| match error {
        NotNow::Unknown => ApiError::not_found(),
        NotNow::Running => ApiError::new(Code::Conflict, "the task is running; wait for its end"),
    })?;
    state.own_acts.record(&principal, &context, OwnAct::TaskRun, None, task.name);
    // As a task of the runtime: it goes on when the client leaves.
    let running = state.clone();
    let record = tokio::spawn(async move { execute(&running, begun).await }).await;
    let record = record.ok().flatten().ok_or_else(ApiError::internal)?;
    Ok(Json(RunView::of(&record, true)))
}

async fn dry_run(state: &AppState, name: &str) -> Result<RunView, ApiError> {
    if name != CLEANUP {
        let detail = "only cleanup_old_metrics_task can say beforehand what it would do";
        return Err(ApiError::invalid_at("/dry_run", "invalid", detail));
    }
    let (now, began) = (state.clock.now(), state.clock.monotonic());
    let result = cleanup(state.clone(), true).await.map_err(|error| match error {
        crate::job::task::TaskError::Store(error) => ApiError::from(error),
        _ => ApiError::internal(),
    })?;
    let took = state.clock.monotonic().saturating_sub(began);
    Ok(RunView {
        scheduled_at: written(now),
        started_at: written(now),
        duration_ms: u64::try_from(took.as_millis()).ok(),
        cause: RunCause::Asked,
        outcome: Some(RunOutcome::Done),
        result: Some(result),
        error: None,
    })
}

#[cfg(test)]
mod tests;
