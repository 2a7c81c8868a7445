//! A believable platform of thirty days, made from a seed: what `insights-server demo` fills and serves.
//!
//! `plan` says who there is, `story` and `incidents` what happens to them, `rhythm` when people work; `activity`, `audit` and
//! `measure` turn these into rows, `rows` into batches, and `fill` writes them step by step. `examples` are the
//! requests that are shown when the server listens. Everything but `fill` and `directory` is a pure function of
//! (seed, end, days).

mod activity;
mod audit;
mod directory;
mod examples;
mod fill;
mod incidents;
mod mark;
mod measure;
mod options;
mod plan;
mod prng;
mod rhythm;
mod rows;
mod step;
mod story;
#[cfg(test)]
mod tests;

pub use directory::claim;
pub use examples::examples;
pub use fill::fill;
pub use options::{DemoError, DemoOptions};
pub use plan::Plan;
