//! What a durable write costs on this disk without any server: overwrite four KiB and fdatasync.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Instant;

use crate::histogram::Histogram;

/// Bytes of one write: a block of most file systems.
const BLOCK: usize = 4096;
/// Blocks of the file; it is written whole before it is measured, so that no sync allocates.
const BLOCKS: u64 = 256;
/// Syncs of one sample.
const SAMPLES: u64 = 200;

/// Latencies of raw syncs.
#[derive(Debug)]
pub(crate) struct Fsyncs {
    file: File,
    latencies: Histogram,
}

impl Fsyncs {
    /// A file without a name in `directory`, written once.
    ///
    /// # Errors
    ///
    /// When it cannot be made or written.
    pub(crate) fn in_directory(directory: &Path) -> io::Result<Self> {
        let mut file = tempfile::tempfile_in(directory)?;
        for _ in 0..BLOCKS {
            file.write_all(&[0xa5; BLOCK])?;
        }
        file.sync_all()?;
        Ok(Self { file, latencies: Histogram::default() })
    }

    /// Measures a few hundred syncs.
    ///
    /// # Errors
    ///
    /// When a write or a sync fails.
    pub(crate) fn sample(&mut self) -> io::Result<()> {
        for n in 0..SAMPLES {
            let started = Instant::now();
            self.file.seek(SeekFrom::Start((n % BLOCKS) * BLOCK as u64))?;
            self.file.write_all(&[n.to_le_bytes()[0]; BLOCK])?;
            self.file.sync_data()?;
            self.latencies.record(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    /// The latencies so far, in microseconds.
    pub(crate) fn latencies(&self) -> &Histogram {
        &self.latencies
    }
}
