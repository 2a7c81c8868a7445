//! Polling a future that may panic: what panics has been served too.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Polls a future. When it panics, `told` runs first, outside the unwinding, and the panic goes on.
pub(crate) fn poll<F: Future>(
    future: Pin<&mut F>,
    context: &mut Context<'_>,
    told: impl FnOnce(),
) -> Poll<F::Output> {
    // The future is not touched again: the panic goes on to whoever polls us.
    match catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
        Ok(poll) => poll,
        Err(panic) => {
            told();
            resume_unwind(panic)
        }
    }
}
