//! The settings of one server, checked once.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use insights_engine::config::{Config as EngineConfig, Durability};

/// Longest time without a byte of a request body.
pub const BODY_PROGRESS_TIMEOUT: Duration = Duration::from_secs(30);

/// The settings of one server.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Whether an answer to a write waits for the sync.
    pub durability: Durability,
    /// Oldest event time that ingest takes, in days before now.
    pub late_window_days: u32,
    /// Event types that are page views.
    pub page_view_event_types: Vec<String>,
    /// Whether organizations without hosts of their own see the platform's.
    pub share_system_metrics: bool,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Limits of requests and connections.
    pub limits: Limits,
    /// Limits of the engine.
    pub engine: EngineConfig,
}

/// Limits of requests and connections.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one ingest body, decompressed.
    pub ingest_body_bytes_max: u64,
    /// Bytes of any other body, decompressed.
    pub body_bytes_max: u64,
    /// Bytes of all bodies in memory.
    pub bodies_in_flight_bytes_max: u64,
    /// Records of one ingest body.
    pub batch_records_max: usize,
    /// Questions that run at once; further ones wait.
    pub queries_max: usize,
    /// Connections that are open at once; further ones wait to be accepted.
    pub connections_max: usize,
    /// How far in the future an event may lie.
    pub future_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ingest_body_bytes_max: 16 << 20,
            body_bytes_max: 1 << 20,
            bodies_in_flight_bytes_max: 64 << 20,
            batch_records_max: 10_000,
            queries_max: 8,
            connections_max: 4_096,
            future_max: Duration::from_secs(3_600),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./insights-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 8686)),
            durability: Durability::Synced,
            late_window_days: 30,
            page_view_event_types: ["page_view", "page.viewed", "pageview", "$pageview"]
                .map(String::from)
                .to_vec(),
            share_system_metrics: true,
            trusted_proxies: Vec::new(),
            limits: Limits::default(),
            engine: EngineConfig::default(),
        }
    }
}
