//! One file a story.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::float_cmp,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and its numbers are small"
)]

mod bad_input;
mod client;
mod contract;
mod crash_model;
mod damage;
mod expired;
mod golden;
mod metamorphic;
mod mutations;
mod schema;
mod sessions;
mod tenants;
mod truth;
