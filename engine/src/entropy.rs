//! Random bytes from a seed that is passed in, so that a simulation repeats.

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

/// A deterministic generator: SHA-256 of a secret seed and a counter.
///
/// With a seed from the operating system its output is unpredictable; with a fixed seed it is the
/// same on every run.
pub struct Entropy {
    seed: [u8; 32],
    counter: Mutex<u64>,
}

impl Entropy {
    /// A generator that starts at `seed`.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self { seed, counter: Mutex::new(0) }
    }

    /// The next 32 bytes.
    pub fn next(&self) -> [u8; 32] {
        let counter = {
            let mut guard = self.counter.lock();
            *guard += 1;
            *guard
        };
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update(counter.to_le_bytes());
        hash.finalize().into()
    }
}

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entropy(..)")
    }
}
