//! The server's own metrics as OpenMetrics text, for a scraper.

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use insights_engine::engine::Stats;
use insights_engine::time::TimestampUs;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use utoipa::OpenApi;

use crate::alert::book;
use crate::app::AppState;
use crate::auth::{Principal, Scopes};
use crate::http::error::{ApiError, PROBLEM_JSON, Problem};
use crate::http::process_state::ProcessState;
use crate::notify::Standing;

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
/// Requests, the engine, alerts, notifications, the process and its disk. Needs a superuser or the scope `metrics`.
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
    let now = state.clock.now();
    let rules = state.alerts.book().standing(now);
    alerts(&mut registry, &rules);
    notify(&mut registry, &state.notify.standing(), now);
    gauge(&mut registry, "answers_bytes", "Bytes of answers that are kept", state.store.kept_bytes());
    let standing = state.store.standing_bytes();
    gauge(&mut registry, "standing_bytes", "Bytes of reports that are kept up to date", standing);
    gauge(&mut registry, "live_viewers", "Viewers of what happens now", state.live.viewers() as u64);
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

/// A number that only grows.
fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    registry.register(name, help, ConstCounter::new(value));
}

/// A number that goes up and down.
pub(in crate::http) fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
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
    gauge(
        registry,
        "engine_block_cache_bytes",
        "Bytes of decoded granules that are kept",
        stats.block_cache_bytes,
    );
    gauge(registry, "engine_segments", "Live segments", stats.segments);
    gauge(registry, "engine_segment_bytes", "Bytes of live segments", stats.segment_bytes);
    gauge(registry, "engine_segment_rows", "Rows in live segments", stats.segment_rows);
}

fn alerts(registry: &mut Registry, standing: &book::Standing) {
    let counts = &standing.counts;
    gauge(registry, "alerts_rules", "Alert rules of all organizations", standing.rules);
    gauge(registry, "alerts_firing", "Alerts that fire", standing.firing);
    gauge(registry, "alerts_pending", "Alerts that are pending", standing.pending);
    gauge(registry, "alerts_series", "Series of rules that are kept", standing.series);
    gauge(
        registry,
        "alerts_series_crowded_out",
        "Series of rules that are not kept for want of room",
        standing.crowded_out,
    );
    counter(registry, "alerts_evaluations", "Evaluations of rules since the start", counts.evaluated);
    counter(registry, "alerts_evaluations_failed", "Evaluations that failed since the start", counts.failed);
    gauge(registry, "alerts_evaluating", "Evaluations that go on", standing.evaluating);
    let seconds = u64::try_from(standing.lag.us() / 1_000_000).unwrap_or(0);
    gauge(registry, "alerts_evaluation_lag_seconds", "How late the most overdue rule is", seconds);
}

fn notify(registry: &mut Registry, standing: &Standing, now: TimestampUs) {
    let counts = &standing.counts;
    counter(registry, "notify_enqueued", "Deliveries enqueued since the start", counts.enqueued);
    counter(registry, "notify_delivered", "Deliveries that arrived since the start", counts.delivered);
    counter(registry, "notify_attempts_failed", "Attempts that failed since the start", counts.failed);
    counter(registry, "notify_dead", "Deliveries that became dead letters since the start", counts.dead);
    counter(
        registry,
        "notify_recipients_refused",
        "Recipients of e-mails that were given up since the start",
        counts.recipients_refused,
    );
    counter(
        registry,
        "notify_refused",
        "Deliveries refused for want of room since the start",
        counts.refused,
    );
    counter(
        registry,
        "notify_forgotten",
        "Dead letters that made room before their time since the start",
        counts.forgotten,
    );
    gauge(registry, "notify_waiting", "Deliveries that wait or are being sent", standing.waiting);
    gauge(registry, "notify_dead_letters", "Dead letters that are kept", standing.dead);
    gauge(registry, "notify_outbox_bytes", "Bytes of the outbox", standing.bytes);
    let waited_us = standing.oldest.map_or(0, |at| now.0.saturating_sub(at.0));
    let seconds = u64::try_from(waited_us / 1_000_000).unwrap_or(0);
    gauge(registry, "notify_oldest_seconds", "How long the oldest delivery has been waiting", seconds);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::length::Length;

    #[test]
    fn the_rules_tell_their_numbers() {
        let mut registry = Registry::default();
        let standing = book::Standing {
            rules: 5,
            firing: 2,
            counts: book::Counts { evaluated: 70, failed: 3 },
            lag: Length::of_us(61_900_000),
            ..book::Standing::default()
        };
        alerts(&mut registry, &standing);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "alerts_rules 5",
            "alerts_firing 2",
            "alerts_pending 0",
            "alerts_evaluations_total 70",
            "alerts_evaluations_failed_total 3",
            "alerts_evaluation_lag_seconds 61",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn the_outbox_tells_its_numbers() {
        let mut registry = Registry::default();
        let oldest = Some(TimestampUs(1_000_000));
        let standing = Standing { waiting: 3, dead: 2, oldest, ..Standing::default() };
        notify(&mut registry, &standing, TimestampUs(61_500_000));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in
            ["notify_waiting 3", "notify_dead_letters 2", "notify_oldest_seconds 60", "notify_dead_total 0"]
        {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn the_engine_tells_its_numbers() {
        let mut registry = Registry::default();
        engine(&mut registry, &Stats { wal_syncs: 7, block_cache_bytes: 9, ..Stats::default() });
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in ["engine_wal_syncs_total 7", "engine_block_cache_bytes 9", "# EOF"] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
