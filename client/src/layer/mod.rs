//! The two tower layers: what users did, as audit records, and how requests went, as points.

mod act;
mod aggregate;
mod identity;
mod insights;
mod metrics;
mod origin;
mod panicking;
mod route;
mod timed_body;

#[cfg(test)]
mod tests;

pub use act::Act;
pub use identity::{Identify, Identity, IdentitySlot};
pub use insights::{InsightsFuture, InsightsLayer, InsightsService};
pub use metrics::{MetricsFuture, MetricsLayer, MetricsLayerBuilder, MetricsService};
pub use origin::{ClientAddress, forwarded_for};
pub use route::{OTHER_ROUTE, path_template};
pub use timed_body::TimedBody;
