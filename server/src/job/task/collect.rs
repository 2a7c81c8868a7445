//! Takes points of the host: readings in `collect/`, kept as points of the platform.

use insights_engine::append::Append;
use insights_engine::id::TenantId;
use serde_json::{Value, json};

use super::{COLLECT, TaskError};
use crate::app::AppState;
use crate::auth::PLATFORM;
use crate::collect::point::{batch, points};
use crate::job::scheduler::Run;

/// Takes a sample, and keeps what it tells together with the one before. When it cannot be kept, the next one spans
/// both times.
pub(super) async fn collect(state: AppState, run: Run) -> Result<Value, TaskError> {
    let sampled = state.clone();
    let sample = tokio::task::spawn_blocking(move || sampled.jobs.host().sample(&sampled)).await;
    let sample = sample.map_err(|_| TaskError::Panicked)?;
    let points = points(state.jobs.host().earlier().as_ref(), &sample);
    if !points.is_empty() {
        let platform = TenantId::new(PLATFORM)?;
        let host = sample.reading.host.as_deref();
        let batch = batch(platform, COLLECT, run.scheduled, run.started, host, &points);
        state.store.append(Append::batch(batch)).await?;
    }
    let result = json!({ "points": points.len(), "host": sample.reading.host });
    state.jobs.host().keep(sample);
    Ok(result)
}
