//! The server's own metrics as OpenMetrics text, for a scraper.

use std::path::PathBuf;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use insights_engine::engine::Stats;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use sysinfo::{Disks, ProcessRefreshKind, ProcessesToUpdate, System};
use utoipa::OpenApi;

use crate::app::AppState;
use crate::auth::{Principal, Scopes};
use crate::http::error::{ApiError, PROBLEM_JSON, Problem};

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(paths(own_metrics))]
pub struct Api;

/// The media type of OpenMetrics text.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/metrics", get(own_metrics))
}

/// The server's own metrics
///
/// Requests, the engine, the process and its disk. Needs a superuser or the scope `metrics`.
#[utoipa::path(get, path = "/metrics", tag = "server",
    responses(
        (status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text"),
        (status = 401, description = "No valid credential", body = Problem, content_type = PROBLEM_JSON),
        (status = 403, description = "Without the scope", body = Problem, content_type = PROBLEM_JSON)))]
async fn own_metrics(State(state): State<AppState>, principal: Principal) -> Result<Response, ApiError> {
    principal.require(Scopes::METRICS)?;
    let data_dir = state.config.data_dir.clone();
    // The system is asked through files; that may wait.
    let process = tokio::task::spawn_blocking(move || ProcessState::now(data_dir)).await;
    let mut registry = Registry::with_prefix("insights");
    state.http_metrics.register(&mut registry);
    engine(&mut registry, &state.store.stats());
    let health = state.store.health();
    gauge(
        &mut registry,
        "engine_read_only",
        "1 when writes are refused",
        u64::from(health.read_only.is_some()),
    );
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|_| ApiError::internal())?;
    // The names of a process are agreed on and have no prefix of ours.
    let mut own = Registry::default();
    process.unwrap_or_default().register(&mut own);
    let mut process_text = String::new();
    encode(&mut process_text, &own).map_err(|_| ApiError::internal())?;
    let text = text.strip_suffix("# EOF\n").unwrap_or(&text).to_owned() + &process_text;
    Ok(([(header::CONTENT_TYPE, OPENMETRICS), (header::CACHE_CONTROL, "no-store")], text).into_response())
}

fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    registry.register(name, help, ConstCounter::new(value));
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    registry.register(name, help, ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)));
}

fn engine(registry: &mut Registry, stats: &Stats) {
    counter(registry, "engine_rows_appended", "Rows appended since the start", stats.rows_appended);
    counter(registry, "engine_wal_frames", "Frames written to the write-ahead log", stats.frames_written);
    counter(registry, "engine_wal_syncs", "Syncs of the write-ahead log", stats.wal_syncs);
    counter(registry, "engine_flushes", "Memtables written into segments", stats.flushes);
    counter(registry, "engine_damage_found", "Damaged places found since the start", stats.damage_found);
    gauge(registry, "engine_wal_bytes", "Bytes of the write-ahead log that are not flushed", stats.wal_bytes);
    gauge(registry, "engine_memtable_bytes", "Bytes of rows in memory", stats.memtable_bytes);
    gauge(registry, "engine_memtable_rows", "Rows in memory", stats.memtable_rows);
    gauge(registry, "engine_segments", "Live segments", stats.segments);
    gauge(registry, "engine_segment_bytes", "Bytes of live segments", stats.segment_bytes);
    gauge(registry, "engine_segment_rows", "Rows in live segments", stats.segment_rows);
}

/// What the system says of this process and of the disk of its data.
#[derive(Debug, Default)]
struct ProcessState {
    resident_bytes: u64,
    virtual_bytes: u64,
    cpu_ms: u64,
    start_s: u64,
    open_files: Option<usize>,
    disk_total_bytes: u64,
    disk_free_bytes: u64,
}

impl ProcessState {
    fn now(data_dir: PathBuf) -> Self {
        let mut state = Self::default();
        if let (Ok(pid), Ok(mut system)) = (sysinfo::get_current_pid(), System::new()) {
            let refresh = ProcessRefreshKind::nothing().with_memory().with_cpu();
            system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, refresh);
            if let Some(process) = system.process(pid) {
                state.resident_bytes = process.memory();
                state.virtual_bytes = process.virtual_memory();
                state.cpu_ms = process.accumulated_cpu_time();
                state.start_s = process.start_time();
                state.open_files = process.open_files();
            }
        }
        let data_dir = data_dir.canonicalize().unwrap_or(data_dir);
        if let Ok(disks) = Disks::new_with_refreshed_list() {
            let holds = |disk: &&sysinfo::Disk| data_dir.starts_with(disk.mount_point());
            let nearest = disks.iter().filter(holds).max_by_key(|d| d.mount_point().as_os_str().len());
            state.disk_total_bytes = nearest.map_or(0, sysinfo::Disk::total_space);
            state.disk_free_bytes = nearest.map_or(0, sysinfo::Disk::available_space);
        }
        state
    }

    #[expect(clippy::cast_precision_loss, reason = "milliseconds of CPU are far below 2^53")]
    fn register(&self, registry: &mut Registry) {
        let cpu = ConstCounter::new(self.cpu_ms as f64 / 1000.0);
        registry.register_with_unit("process_cpu", "CPU time of the process", Unit::Seconds, cpu);
        gauge(
            registry,
            "process_resident_memory_bytes",
            "Resident memory of the process",
            self.resident_bytes,
        );
        gauge(registry, "process_virtual_memory_bytes", "Virtual memory of the process", self.virtual_bytes);
        gauge(registry, "process_start_time_seconds", "Start of the process, in Unix time", self.start_s);
        if let Some(open) = self.open_files {
            gauge(registry, "process_open_fds", "Open file descriptors", open as u64);
        }
        gauge(
            registry,
            "insights_disk_bytes",
            "Size of the file system of the data directory",
            self.disk_total_bytes,
        );
        gauge(registry, "insights_disk_free_bytes", "Free bytes of that file system", self.disk_free_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_knows_its_own_size() {
        let state = ProcessState::now(PathBuf::from("/"));
        assert!(state.resident_bytes > 0 && state.start_s > 0);
        let mut registry = Registry::default();
        state.register(&mut registry);
        engine(&mut registry, &Stats { wal_syncs: 7, ..Stats::default() });
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in ["engine_wal_syncs_total 7", "# TYPE process_cpu_seconds counter", "# EOF"] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
