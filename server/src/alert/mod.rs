//! Alerts: [`rule`] says what is looked at, [`evaluate`] looks, [`board`] and [`state`] judge, [`book`] has it all,
//! [`driver`] makes it happen.

pub mod board;
pub mod book;
pub mod change;
pub mod condition;
pub mod driver;
mod error_kind;
pub mod evaluate;
pub mod history;
pub mod label;
pub mod length;
mod read;
pub mod record;
pub mod rule;
pub mod state;
pub mod threshold;
pub mod watch;

pub use driver::{Alerts, drive, step};
