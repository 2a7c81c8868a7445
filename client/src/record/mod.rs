//! What is sent: events, audit records and points, with every field of the HTTP contract.

mod audit;
mod event;
mod point;

pub use audit::{AuditRecord, ContentObject, Outcome, Severity};
pub use event::Event;
pub use point::{MetricType, Point};
