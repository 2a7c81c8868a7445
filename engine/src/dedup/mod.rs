//! What was seen before: ids of records and names of requests, remembered for a window of time.

mod hours;
pub mod idempotency;
pub mod ids;

pub use hours::{Prepared, hour_of};
pub use idempotency::{IdempotencyIndex, StoredAnswer};
pub use ids::{ID_BYTES_MAX, IdIndex, SeenId};

#[cfg(test)]
mod tests;
