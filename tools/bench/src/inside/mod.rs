//! The engine in this process, without a server: its own figures.

pub(crate) mod ask;
pub(crate) mod calls;
pub(crate) mod fill;
pub(crate) mod flat;
pub(crate) mod load;
pub(crate) mod open;
mod subject;
