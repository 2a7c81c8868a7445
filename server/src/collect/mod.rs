//! What the server knows of the host it runs on and of itself: readings of the system and the metric points made of two of
//! them, and what its own layers see of its requests.

pub mod cgroup;
pub mod host;
pub mod own;
pub mod point;
pub mod proc_stat;
