//! What a thread of the engine does every hour: files expire, erasures are carried out, rows change class.

use std::time::Duration;

use super::{expire, reclass};
use crate::core::Core;
use crate::erasure::pass;
use crate::error::{Error, Result};

impl Core {
    /// Removes what has expired, carries erasures out that have waited for most of a day, and moves rows whose
    /// class has changed; true when there was something. One that fails does not keep the others.
    ///
    /// # Errors
    ///
    /// The first of those of [`crate::Engine::enforce_retention`], [`crate::Engine::run_erasures`] and of a
    /// change of class.
    pub(crate) fn step_retention(&self) -> Result<bool> {
        let expired = expire::enforce(self, false).map(|report| report.files.len() as u64);
        let erased = if pass::is_due(self) { pass::run(self).map(|pass| pass.completed) } else { Ok(0) };
        let moved = reclass::run(self);
        let done = expired.and_then(|expired| Ok(expired + erased? + moved? > 0));
        let failure = done.as_ref().err().map(|error: &Error| format!("retention or erasure: {error}"));
        *self.retention_failure.lock() = failure;
        done
    }

    /// Sleeps until the engine closes or `timeout` has passed.
    pub(crate) fn wait_for_retention(&self, timeout: Duration) {
        let mut guard = self.retention_wanted.0.lock();
        if !self.is_closing() {
            self.retention_wanted.1.wait_for(&mut guard, timeout);
        }
    }
}
