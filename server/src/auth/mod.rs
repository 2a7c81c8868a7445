//! Who asks, and what they may see and write.

pub mod authenticator;
pub mod principal;
pub mod scope;

pub use authenticator::Authenticator;
pub use principal::{PLATFORM, Principal, PrincipalKind};
pub use scope::{ReadScope, Scopes};
