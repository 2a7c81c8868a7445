//! The engine in this process, without a server: how it is opened, and what the processor spent.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use insights_engine::clock::SystemClock;
use insights_engine::disk::{OsDisk, raise_open_files_limit};
use insights_engine::{Config, Engine};
use insights_server::config::RawConfig;
use rustix::time::{ClockId, clock_gettime};

use crate::error::BenchError;

/// The engine of a bench: open until [`Inside::close`].
#[derive(Debug)]
pub(crate) struct Inside<'a> {
    /// The engine.
    pub(crate) engine: Arc<Engine>,
    path: &'a Path,
}

impl<'a> Inside<'a> {
    /// Opens a data directory with the settings that a server has by itself, or makes it.
    ///
    /// # Errors
    ///
    /// Those of [`Engine::open`]; at once when a server has the directory.
    pub(crate) fn open(path: &'a Path) -> Result<Self, BenchError> {
        raise_open_files_limit();
        let disk = OsDisk::open(path).map_err(at(path))?;
        // The seed makes keys and ids: those of a bench are nobody's secret.
        let engine =
            Engine::open(settings(), Arc::new(disk), SystemClock::new(), [7; 32]).map_err(at(path))?;
        Ok(Self { engine, path })
    }

    /// An error of this engine.
    pub(crate) fn error(&self, source: insights_engine::Error) -> BenchError {
        at(self.path)(source)
    }

    /// Flushes and closes.
    ///
    /// # Errors
    ///
    /// The error of the last flush.
    pub(crate) fn close(self) -> Result<(), BenchError> {
        self.engine.close().map_err(at(self.path))
    }
}

fn at(path: &Path) -> impl Fn(insights_engine::Error) -> BenchError {
    move |source| BenchError::Engine { path: path.to_owned(), source }
}

/// What the server gives its engine when nothing is set: limits, and what it pre-aggregates.
fn settings() -> Config {
    let server = insights_server::Config::try_from(&RawConfig::defaults()).unwrap_or_default();
    server.engine
}

/// Processor time of all threads of this process so far.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}
