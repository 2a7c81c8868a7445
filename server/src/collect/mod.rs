//! What the server knows of the host it runs on: readings of the system, and the metric points made of two of them.

pub mod cgroup;
pub mod host;
pub mod point;
pub mod proc_stat;
