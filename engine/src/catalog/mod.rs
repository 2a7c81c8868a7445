//! Small durable state that is not rows: tenants, keys, settings, progress marks.

pub mod erasure;
pub mod log;
pub mod policies;
pub mod retention;
pub mod state;
pub mod store;
pub mod tenant;

pub use erasure::{ErasureId, ErasureRecord};
pub use policies::Policies;
pub use retention::{RetentionDocument, StreamRetention};
pub use store::Catalog;
pub use tenant::TenantRecord;

#[cfg(test)]
mod tests;
