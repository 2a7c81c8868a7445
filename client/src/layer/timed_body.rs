//! A response body that tells when it ends.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::metrics::Flight;

pin_project! {
    /// The body of a response that a [`MetricsLayer`](crate::MetricsLayer) watches: the inner one, and when it ends, fails or
    /// is dropped the request is over.
    pub struct TimedBody<B> {
        #[pin]
        inner: B,
        flight: Option<Flight>,
    }
}

impl<B> TimedBody<B> {
    pub(crate) fn new(inner: B, flight: Flight) -> Self {
        Self { inner, flight: Some(flight) }
    }
}

impl<B: fmt::Debug> fmt::Debug for TimedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimedBody").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// Empty, and of no request.
impl<B: Default> Default for TimedBody<B> {
    fn default() -> Self {
        Self { inner: B::default(), flight: None }
    }
}

impl<B: Body> Body for TimedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(context));
        match &frame {
            Some(Ok(_)) => {}
            // Dropping the flight ends it.
            None => drop(this.flight.take()),
            Some(Err(_)) => {
                if let Some(flight) = this.flight.take() {
                    flight.broke_off();
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
