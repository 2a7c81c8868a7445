//! Merges segments of one day and class; the rows stay the same.
//!
//! `plan` says what to merge and is pure, `merge` makes one sorted sequence of rows, `outputs` writes
//! them a file for each UTC day and class, `run` commits; `compactor` does one job after the other.

pub(crate) mod compactor;
mod input;
mod merge;
mod outputs;
pub(crate) mod pace;
pub(crate) mod plan;
pub(crate) mod rewrite;
mod run;

pub use compactor::{CompactionReport, Effort};

#[cfg(test)]
mod merge_tests;
#[cfg(test)]
mod plan_tests;
