//! Opens the data directory: engine, superuser's key, keyring.

use std::io::Write;
use std::sync::Arc;

use insights_engine::Engine;
use insights_engine::clock::{Clock, SystemClock};
use insights_engine::disk::{Disk, OsDisk, raise_open_files_limit};
use insights_engine::entropy::Entropy;

use super::ProgramError;
use crate::auth::Authenticator;
use crate::auth::jwt::TokenVerifier;
use crate::auth::keyring::Keyring;
use crate::auth::superuser::{SUPERUSER_KEY_FILE, SuperuserKey};
use crate::config::Config;
use crate::http::cursor;
use crate::{AppState, Store};

/// A data directory that this process has to itself.
pub(super) struct Opened {
    /// The engine; to be closed at the end.
    pub(super) engine: Arc<Engine>,
    /// All time.
    pub(super) clock: Arc<dyn Clock>,
    /// Randomness from the operating system.
    pub(super) entropy: Entropy,
    disk: Arc<dyn Disk>,
}

impl Opened {
    /// Opens the data directory of the settings, or makes it.
    ///
    /// # Errors
    ///
    /// Those of [`Engine::open`]; at once when another process has the directory.
    pub(super) fn open(config: &Config) -> Result<Self, ProgramError> {
        let (entropy, engine_seed) = (Entropy::from_seed(seed()?), seed()?);
        let open_files = raise_open_files_limit();
        tracing::debug!(open_files, "limit of open files");
        let disk: Arc<dyn Disk> = Arc::new(OsDisk::open(&config.data_dir)?);
        let clock: Arc<dyn Clock> = SystemClock::new();
        let engine = Engine::open(config.engine.clone(), Arc::clone(&disk), Arc::clone(&clock), engine_seed)?;
        for finding in engine.health().findings {
            tracing::error!(%finding, "stored bytes are damaged; the rest is served");
        }
        let torn = engine.stats().wal_torn_bytes;
        if torn > 0 {
            tracing::info!(torn, "bytes of unacknowledged writes were cut from the end of the log");
        }
        Ok(Self { engine, clock, entropy, disk })
    }

    /// The state of the application, and the superuser's key.
    ///
    /// # Errors
    ///
    /// When the superuser's key cannot be read or made, or a key of tokens cannot be read.
    pub(super) fn into_state(self, config: Config) -> Result<(AppState, SuperuserKey), ProgramError> {
        let superuser = SuperuserKey::find(config.superuser_key.as_ref(), &*self.disk, &self.entropy)?;
        if let SuperuserKey::Made(_) = superuser {
            let path = config.data_dir.join(SUPERUSER_KEY_FILE);
            // Not through the log: whatever its level, this must be seen.
            let _ = writeln!(std::io::stderr(), "the superuser's key is new; it is in {}", path.display());
        }
        let keyring = Keyring::load(|kind, prefix| self.engine.catalog_scan(kind, prefix));
        let tokens = config.jwt.as_ref().map(TokenVerifier::new).transpose()?;
        let auth = Authenticator::new(superuser.secret(), keyring, tokens);
        // Now, and not at the first list: then the disk may be full, and lists are still answered.
        if let Err(error) = self.engine.secret(cursor::SECRET) {
            tracing::warn!(%error, "the secret of cursors could not be made");
        }
        let store = Store::new(Arc::clone(&self.engine), config.limits.queries);
        Ok((AppState::new(store, config, self.clock, auth, self.entropy), superuser))
    }
}

/// A seed from the operating system.
fn seed() -> Result<[u8; 32], ProgramError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| ProgramError::Io(std::io::Error::other(error)))?;
    Ok(seed)
}
