//! Answers to the questions of the platform, from aggregates of the engine.

pub(crate) mod analytics;
pub(crate) mod answer;
pub(crate) mod apdex;
pub(crate) mod app_metrics;
pub(crate) mod body;
pub(crate) mod breakdown;
pub(crate) mod definitions;
mod derived_metrics;
pub(crate) mod fields;
pub(crate) mod filters;
pub(crate) mod flat;
mod metric_numbers;
pub(crate) mod metric_query;
pub(crate) mod performance;
mod probes;
pub(crate) mod reader;
pub(crate) mod request;
pub(crate) mod rollups;
pub(crate) mod security;
pub(crate) mod sessions;
pub(crate) mod stored;
pub(crate) mod system_performance;
mod uptime;
pub(crate) mod user_activity;
pub(crate) mod window;

#[cfg(test)]
mod tests;
