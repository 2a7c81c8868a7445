//! What every request passes on its way in and out.

pub mod context;
pub mod edge;
pub mod measure;
pub mod path;
pub mod problem;
