//! Reports over HTTP against loops over plain records: in memory, in segments, after a restart.

mod data;
mod naive;
mod stories;
