//! Who made a request: known before the inner service, after it, or told by it.

use std::fmt;
use std::sync::Arc;

use http::{request, response};
use parking_lot::Mutex;

/// Who made a request.
///
/// Authentication that runs *inside* a layer says who it found in one of two ways: it puts an `Identity` into the
/// extensions of its response, or fills the [`IdentitySlot`] that the layer has put into the extensions of the
/// request, which also works when the inner service answers with an error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// The user.
    pub user_id: Option<String>,
    /// What the user is called.
    pub user_name: Option<String>,
    /// The organization.
    pub organization_id: Option<String>,
    /// The application.
    pub app_id: Option<String>,
}

impl Identity {
    setters! {
        /// Sets the user.
        user_id: String,
        /// Sets what the user is called.
        user_name: String,
        /// Sets the organization.
        organization_id: String,
        /// Sets the application.
        app_id: String,
    }

    /// Takes from `other` what it knows, field by field; what it does not know stays.
    pub(crate) fn update(&mut self, other: Identity) {
        let Identity { user_id, user_name, organization_id, app_id } = other;
        for (field, value) in [
            (&mut self.user_id, user_id),
            (&mut self.user_name, user_name),
            (&mut self.organization_id, organization_id),
            (&mut self.app_id, app_id),
        ] {
            if value.is_some() {
                *field = value;
            }
        }
    }
}

/// Where the inner service says who made the request; found in the extensions of the request.
///
/// Layers on top of one another share one slot.
#[derive(Clone, Default)]
pub struct IdentitySlot(Arc<Mutex<Option<Identity>>>);

impl IdentitySlot {
    /// Says who made the request. Of several calls the last one counts.
    pub fn set(&self, identity: Identity) {
        *self.0.lock() = Some(identity);
    }

    /// Who made the request, as far as was said.
    pub fn get(&self) -> Option<Identity> {
        self.0.lock().clone()
    }

    /// The slot of a request, made when it has none.
    pub(crate) fn of(parts: &mut request::Parts) -> Self {
        parts.extensions.get_or_insert_default::<Self>().clone()
    }
}

impl fmt::Debug for IdentitySlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IdentitySlot").field(&self.get()).finish()
    }
}

/// Finds out who made a request.
///
/// What is learned later overrides what was known before, field by field: [`request`](Self::request), then
/// [`response`](Self::response), then an [`Identity`] in the response's extensions, then the [`IdentitySlot`]. A function
/// `Fn(&request::Parts) -> Identity` is an `Identify` too.
pub trait Identify: Send + Sync + 'static {
    /// What the request says by itself, before the inner service sees it: extensions that an outer layer has put there,
    /// or headers that a trusted proxy sets.
    fn request(&self, parts: &request::Parts) -> Identity {
        let _ = parts;
        Identity::default()
    }

    /// What the response says: extensions that the inner service has put there.
    fn response(&self, parts: &response::Parts) -> Identity {
        let _ = parts;
        Identity::default()
    }
}

impl<F: Fn(&request::Parts) -> Identity + Send + Sync + 'static> Identify for F {
    fn request(&self, parts: &request::Parts) -> Identity {
        self(parts)
    }
}

/// Knows nothing but what the inner service tells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told;

impl Identify for Told {}

/// What is known of a request's maker while the inner service runs.
#[derive(Debug)]
pub(crate) struct Known {
    before: Identity,
    slot: IdentitySlot,
}

impl Known {
    /// What is known before the inner service.
    pub(crate) fn before(identify: &dyn Identify, parts: &mut request::Parts) -> Self {
        Self { before: identify.request(parts), slot: IdentitySlot::of(parts) }
    }

    /// What is known after it.
    pub(crate) fn after(self, identify: &dyn Identify, parts: Option<&response::Parts>) -> Identity {
        let mut known = self.before;
        if let Some(parts) = parts {
            known.update(identify.response(parts));
            known.update(parts.extensions.get().cloned().unwrap_or_default());
        }
        known.update(self.slot.get().unwrap_or_default());
        known
    }
}
