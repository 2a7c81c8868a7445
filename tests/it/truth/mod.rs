//! Reports over HTTP against loops over plain records: in memory, in segments, from cells, after a restart,
//! with what comes late.

mod asked;
pub(crate) mod bed;
pub(crate) mod calendar;
pub(crate) mod data;
mod expected;
pub(crate) mod flat;
mod getting;
pub(crate) mod judge;
pub(crate) mod naive;
mod names;
pub(crate) mod platform;
pub(crate) mod questions;
pub(crate) mod random;
mod stored;
mod stories;
