//! The engine as a peer of `benches/peers`: loads the harness's bodies, answers its questions, in one process.

mod intake;
mod questions;
mod serve;

pub(crate) use serve::run;
