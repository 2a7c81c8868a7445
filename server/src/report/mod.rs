//! Answers to the questions of the platform, from aggregates of the engine.

mod answer;
mod body;
mod breakdown;
mod fields;
mod filters;
mod reader;
mod sessions;
mod uptime;
mod user_activity;
mod window;
