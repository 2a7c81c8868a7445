//! Who asks, and what they may see and write.

pub mod api_key;
pub mod authenticator;
pub mod jwt;
pub mod keyring;
pub mod principal;
pub mod scope;
pub mod superuser;

pub use authenticator::Authenticator;
pub use principal::{PLATFORM, Principal, PrincipalKind, user_credential};
pub use scope::{ReadScope, Scopes};
