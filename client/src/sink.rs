//! Where the layers write to: a client, or something in the same process.

use std::sync::Arc;

use crate::record::{AuditRecord, Event, Point};

/// Takes records without blocking.
///
/// A [`Client`](crate::Client) is one; a server that observes itself implements its own. Every method says
/// whether the record was taken, so that what counts can be given again later.
pub trait Sink: Send + Sync + 'static {
    /// Takes an event.
    fn track(&self, event: Event) -> bool;
    /// Takes an audit record.
    fn audit(&self, record: AuditRecord) -> bool;
    /// Takes a point.
    fn metric(&self, point: Point) -> bool;
}

impl<S: Sink + ?Sized> Sink for Arc<S> {
    fn track(&self, event: Event) -> bool {
        (**self).track(event)
    }

    fn audit(&self, record: AuditRecord) -> bool {
        (**self).audit(record)
    }

    fn metric(&self, point: Point) -> bool {
        (**self).metric(point)
    }
}
