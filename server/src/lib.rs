//! The server of Insights: HTTP on top of the engine.
//!
//! One direction: [`http`] -> [`ingest`], [`report`] -> [`domain`]; all of them reach the engine
//! through [`store`] alone, and only a [`auth::Principal`] can make the scope that a read needs.

pub mod alert;
pub mod answers;
pub mod app;
pub mod auth;
pub mod cli;
pub mod collect;
pub mod config;
pub mod demo;
pub mod domain;
pub mod export;
pub mod http;
pub mod ingest;
pub mod job;
pub mod live;
pub mod notify;
pub mod openapi;
pub mod organization;
pub mod report;
mod shared_memory;
mod standing;
pub mod store;
#[cfg(test)]
mod testing;

pub use app::{AppState, app};
pub use config::Config;
pub use store::Store;
