//! The engine in this process, without a server: its own figures.

pub(crate) mod ask;
mod calls;
pub(crate) mod load;
mod open;
mod subject;
