//! One file per endpoint, with its request and response types. Paths are canonical: they end in `/`.

pub mod alerts;
pub mod analytics;
pub mod audit;
pub mod audit_records;
pub mod channels;
pub mod deliveries;
pub mod docs;
pub mod erasures;
pub mod events;
pub mod export;
pub mod health;
pub mod import;
pub mod keys;
pub mod live;
pub mod metric_catalogue;
pub mod metric_query;
pub mod metrics;
pub mod openapi;
pub mod organization_settings;
pub mod organizations;
pub mod own_metrics;
pub mod performance;
pub mod reports;
pub mod retention;
pub mod tasks;
pub mod track;
