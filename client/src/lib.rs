//! Sends what happens in a Rust service to Insights: events, audit records and metrics.
//!
//! [`Client`] queues records and sends them in batches, safely repeated, without ever blocking its caller.
//! [`InsightsLayer`] and [`MetricsLayer`] are tower layers that record what users did and how requests went, for any
//! service over HTTP requests, axum's among them.
//!
//! ```
//! use std::time::Duration;
//!
//! use insights_client::{AuditRecord, Client, ContentObject, Event, Point};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("http://127.0.0.1:8686", "ins_1_secret").app("shop").build()?;
//! client.track(Event::new("page_view").user_id("u-7").data("page", "/pricing"));
//! client.audit(AuditRecord::new("project.created").content_object(ContentObject::new("project", "p-3")));
//! client.metric(Point::gauge("queue.depth", 12.0));
//! client.shutdown(Duration::from_secs(5)).await?;
//! assert_eq!(client.stats().events.sent, 1);
//! # Ok(())
//! # }
//! ```
//!
//! Both layers around one axum application:
//!
//! ```
//! use axum::{Router, routing::post};
//! use insights_client::{Client, Identity, InsightsLayer, MetricsLayer};
//!
//! async fn create() -> (axum::Extension<Identity>, &'static str) {
//!     // Authentication that runs inside the layers says who it was; here the handler does.
//!     (axum::Extension(Identity::default().user_id("u-7")), "made")
//! }
//!
//! fn app(client: &Client) -> Router {
//!     let (audit, metrics) = (InsightsLayer::new(client.clone()), MetricsLayer::new(client.clone()));
//!     Router::new().route("/projects", post(create)).layer(audit).layer(metrics)
//! }
//! # let _ = app;
//! ```
//!
//! # Features
//!
//! * `tls`: `https` URLs, by rustls with aws-lc-rs and the roots of Mozilla's list. Without it they are refused.

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
mod layer;
mod queue;
mod record;
mod retry;
mod sink;
mod stats;

#[cfg(test)]
mod tests;

pub use builder::{BuildError, ClientBuilder};
pub use client::{Client, Unsettled};
pub use layer::{
    Act, ClientAddress, Identify, Identity, IdentitySlot, InsightsFuture, InsightsLayer, InsightsService,
    MetricsFuture, MetricsLayer, MetricsLayerBuilder, MetricsService, OTHER_ROUTE, TimedBody, forwarded_for,
    path_template,
};
pub use record::{AuditRecord, ContentObject, Event, MetricType, Outcome, Point, Severity};
pub use retry::RetryPolicy;
pub use sink::Sink;
pub use stats::{Stats, StreamStats};
