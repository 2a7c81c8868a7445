//! Alerts: [`rule`] says what is looked at, [`evaluate`] looks, [`board`] and [`state`] judge, [`book`] has it all,
//! [`driver`] makes it happen.

pub mod agenda;
pub mod board;
pub mod book;
pub mod change;
pub mod condition;
pub mod dispatch;
pub mod driver;
mod erase;
mod error_kind;
pub mod evaluate;
pub mod group;
pub mod history;
pub mod label;
pub mod length;
pub mod maintenance;
pub mod matcher;
pub mod mute;
pub mod overview;
mod read;
pub mod record;
pub mod rehearse;
pub mod room;
pub mod rule;
pub mod silence;
pub mod state;
pub mod threshold;
pub mod watch;

pub use driver::{Alerts, drive, step};

#[cfg(test)]
mod tests;
