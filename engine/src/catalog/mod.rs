//! Small durable state that is not rows: tenants, keys, settings, progress marks.

pub mod log;
pub mod state;
pub mod store;
pub mod tenant;

pub use store::Catalog;
pub use tenant::TenantRecord;

#[cfg(test)]
mod tests;
