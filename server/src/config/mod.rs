//! The settings of one server: layers of text ([`raw`]) checked once into a [`Config`].

mod check;
pub mod error;
pub mod jobs;
pub mod notify;
pub mod raw;
pub mod secret;
pub mod security;
pub mod setting;
pub mod show;
pub mod units;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use error::ConfigError;
use insights_engine::config::{Config as EngineConfig, Durability};

use crate::report::{rollups, sessions};
use crate::store::QueryLimits;
pub use jobs::JobsConfig;
pub use notify::NotifyConfig;
pub use raw::RawConfig;
pub use secret::Secret;
pub use security::SecuritySettings;
pub use units::Network;

/// Longest time without a byte of a request body.
pub const BODY_PROGRESS_TIMEOUT: Duration = Duration::from_secs(30);

/// The settings of one server.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The superuser's key; made at the first start when there is none.
    pub superuser_key: Option<Secret>,
    /// How tokens of the platform are checked; without it no token is valid.
    pub jwt: Option<JwtConfig>,
    /// Whether an answer to a write waits for the sync.
    pub durability: Durability,
    /// Oldest event time that ingest takes, in days before now.
    pub late_window_days: u32,
    /// Event types that are page views.
    pub page_view_event_types: Vec<String>,
    /// Whether organizations without hosts of their own see the platform's.
    pub share_system_metrics: bool,
    /// What the security report looks for.
    pub security: SecuritySettings,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// What is logged.
    pub log: String,
    /// How it is logged.
    pub log_format: LogFormat,
    /// How long open requests may take after the signal to stop.
    pub shutdown_timeout: Duration,
    /// The periodic tasks.
    pub jobs: JobsConfig,
    /// Notifications.
    pub notify: NotifyConfig,
    /// Limits of requests and connections.
    pub limits: Limits,
    /// Limits of the engine.
    pub engine: EngineConfig,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How tokens of the platform are checked.
#[derive(Debug, Clone)]
pub struct JwtConfig {
    /// The one algorithm they may have.
    pub algorithm: jsonwebtoken::Algorithm,
    /// What they are signed with.
    pub keys: JwtKeys,
    /// What `aud` must contain.
    pub audience: Option<String>,
    /// What `iss` must be.
    pub issuer: Option<String>,
    /// The names of the claims.
    pub claims: ClaimNames,
}

/// What tokens are signed with.
#[derive(Debug, Clone)]
pub enum JwtKeys {
    /// A shared secret.
    Secret(Secret),
    /// A public key, PEM.
    Pem(Vec<u8>),
    /// A JSON Web Key Set.
    Jwks(Vec<u8>),
}

/// The names of the claims that are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimNames {
    /// May name the user; the first that is there counts.
    pub users: Vec<String>,
    /// Names one organization.
    pub organization: String,
    /// Lists organizations.
    pub organizations: String,
    /// Names one role.
    pub role: String,
    /// Lists roles.
    pub roles: String,
    /// Is true for a superuser.
    pub superuser: String,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self {
            users: vec!["sub".to_owned(), "user_id".to_owned()],
            organization: "organization_id".to_owned(),
            organizations: "organizations".to_owned(),
            role: "role".to_owned(),
            roles: "roles".to_owned(),
            superuser: "is_superuser".to_owned(),
        }
    }
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
    /// What questions may use.
    pub queries: QueryLimits,
    /// Connections that are open at once; further ones wait to be accepted.
    pub connections_max: usize,
    /// How far in the future an event may lie.
    pub future_max: Duration,
    /// Reports of an organization that are kept in 24 hours because somebody asked for them.
    pub reports_a_day_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ingest_body_bytes_max: 16 << 20,
            body_bytes_max: 1 << 20,
            bodies_in_flight_bytes_max: 64 << 20,
            batch_records_max: 10_000,
            queries: QueryLimits {
                queries_max: 8,
                deadline: Duration::from_secs(30),
                memory_bytes_max: 256 << 20,
                kept_bytes_max: 16 << 20,
                standing_bytes_max: 64 << 20,
            },
            connections_max: 4_096,
            future_max: Duration::from_hours(1),
            reports_a_day_max: 1_000,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let page_view_event_types: Vec<String> =
            ["page_view", "page.viewed", "pageview", "$pageview"].map(String::from).to_vec();
        let engine = with_rollups(EngineConfig::default(), &page_view_event_types);
        Self {
            data_dir: PathBuf::from("./insights-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 8686)),
            superuser_key: None,
            jwt: None,
            durability: Durability::Synced,
            late_window_days: 30,
            page_view_event_types,
            share_system_metrics: true,
            security: SecuritySettings::default(),
            trusted_proxies: Vec::new(),
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            shutdown_timeout: Duration::from_secs(30),
            jobs: JobsConfig::default(),
            notify: NotifyConfig::default(),
            limits: Limits::default(),
            engine,
        }
    }
}

/// Declares to the engine what reports ask.
fn with_rollups(engine: EngineConfig, page_view_types: &[String]) -> EngineConfig {
    EngineConfig {
        rollups: rollups::definitions(page_view_types),
        sessions: Some(sessions::classes(page_view_types)),
        ..engine
    }
}

#[cfg(test)]
mod tests;
