//! Answers to the questions of the platform, from aggregates of the engine.

mod body;
mod filters;
mod uptime;
mod window;
