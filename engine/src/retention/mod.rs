//! How long rows and cells stay: which files have expired, and whether the clock can be trusted to say so.

pub(crate) mod class;
pub(crate) mod clock;
pub(crate) mod expire;
pub(crate) mod reclass;
mod step;

#[cfg(test)]
mod outlive_tests;

pub use class::{CLASSES, class_of};
pub use expire::{ExpiredFile, ExpiredRows, RetentionReport};
