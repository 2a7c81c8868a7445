//! Builders for the tests.

mod world;

pub use world::{Answer, Call, NOW, ROOT, World};
