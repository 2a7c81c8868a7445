//! A believable platform of thirty days, made from a seed: what `insights-server demo` fills and serves.
//!
//! [`plan`] says who there is, [`story`] what happens to them, [`rhythm`] when people work; [`activity`],
//! [`audit`] and [`measure`] turn these into rows, [`rows`] into batches, and [`fill`] writes them step by step.
//! Everything but [`fill`] and [`command`] is a pure function of (seed, end, days).

pub(crate) mod activity;
pub(crate) mod audit;
pub(crate) mod fill;
pub(crate) mod measure;
pub(crate) mod plan;
pub(crate) mod prng;
pub(crate) mod rhythm;
pub(crate) mod rows;
pub(crate) mod step;
pub(crate) mod story;
