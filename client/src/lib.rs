//! Sends what happens in a Rust service to Insights.

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty),* $(,)?) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name(mut self, $name: impl Into<$type>) -> Self {
                self.$name = Some($name.into());
                self
            }
        )*
    };
}

mod builder;
mod client;
mod clock;
mod exchange;
mod lane;
mod queue;
mod record;
mod retry;
mod sink;
mod stats;

#[cfg(test)]
mod tests;

pub use builder::{BuildError, ClientBuilder};
pub use client::{Client, Unsettled};
pub use record::{AuditRecord, ContentObject, Event, MetricType, Outcome, Point, Severity};
pub use retry::RetryPolicy;
pub use sink::Sink;
pub use stats::{Stats, StreamStats};
