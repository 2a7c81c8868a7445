//! Answers to the questions of the platform, from aggregates of the engine.

mod answer;
mod app_metrics;
mod body;
mod breakdown;
mod fields;
mod filters;
mod flat;
mod metric_numbers;
mod metric_query;
mod performance;
mod probes;
mod reader;
mod request;
mod sessions;
mod system_performance;
mod uptime;
mod user_activity;
mod window;
