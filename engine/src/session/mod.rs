//! Sessions: chains of events of one key with gaps under 30 minutes, cut, joined and folded into buckets.

pub(crate) mod cells;
pub(crate) mod day;
pub(crate) mod gather;
pub(crate) mod key;

mod chain;
mod totals;

pub use chain::{Chain, DURATION_US_MAX, GAP_US, NO_USER, SessionEvent, active, active_chains, chains};
pub use totals::{SessionTotals, totals};
