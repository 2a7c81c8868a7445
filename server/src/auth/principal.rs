//! One who asks: a superuser, an organization's key, or a user; and what each may reach.

use std::sync::Arc;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use insights_engine::id::{Stream, TenantId};

use super::scope::{ReadScope, Scopes};
use crate::app::AppState;
use crate::domain::identifier::is_identifier;
use crate::http::error::{ApiError, Code};

/// The organization of what is about the platform itself; only superusers read it.
pub const PLATFORM: &str = "_platform";

/// The name of the credential of a person with a token of the platform, as what they write keeps it.
pub fn user_credential(user_id: &str) -> String {
    format!("user:{user_id}")
}

/// Where a principal's rights come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrincipalKind {
    /// Sees and writes everything.
    Superuser {
        /// Who it is, when a token says so.
        user_id: Option<Arc<str>>,
    },
    /// The back end of one organization.
    Organization {
        /// The organization.
        organization: TenantId,
        /// What the key may do.
        scopes: Scopes,
    },
    /// A person, by a token of the platform.
    User {
        /// Who it is.
        user_id: Arc<str>,
        /// Their organizations, each once.
        organizations: Vec<TenantId>,
        /// What their roles allow, `track` as themselves included.
        scopes: Scopes,
    },
}

/// One who asks, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    kind: PrincipalKind,
    credential: Arc<str>,
}

impl Principal {
    /// A principal whose credential was checked; `credential` is the id of a key, or `user:<id>`.
    pub(super) fn new(kind: PrincipalKind, credential: impl Into<Arc<str>>) -> Self {
        Self { kind, credential: credential.into() }
    }

    /// Whoever holds the data directory itself: there is nothing to keep from them.
    pub(crate) fn local() -> Self {
        Self::new(PrincipalKind::Superuser { user_id: None }, "local")
    }

    /// A principal that nobody checked.
    #[cfg(test)]
    pub(crate) fn for_test(kind: PrincipalKind) -> Self {
        Self::new(kind, "test")
    }

    /// Where its rights come from.
    pub fn kind(&self) -> &PrincipalKind {
        &self.kind
    }

    /// The name of its credential, kept with what it writes: the id of a key, or `user:<id>`.
    pub fn credential(&self) -> &Arc<str> {
        &self.credential
    }

    /// Whether it sees and writes everything.
    pub fn is_superuser(&self) -> bool {
        matches!(self.kind, PrincipalKind::Superuser { .. })
    }

    /// The person, when the credential names one.
    pub fn user_id(&self) -> Option<&Arc<str>> {
        match &self.kind {
            PrincipalKind::Superuser { user_id } => user_id.as_ref(),
            PrincipalKind::User { user_id, .. } => Some(user_id),
            PrincipalKind::Organization { .. } => None,
        }
    }

    /// Whether it may say for whom and from where a record is: keys may, a person's token may not.
    pub fn may_attribute(&self) -> bool {
        match self.kind {
            PrincipalKind::Superuser { .. } | PrincipalKind::Organization { .. } => true,
            PrincipalKind::User { .. } => false,
        }
    }

    /// Whether it may do all of `needs` (inside its organizations).
    pub fn may(&self, needs: Scopes) -> bool {
        match &self.kind {
            PrincipalKind::Superuser { .. } => true,
            PrincipalKind::Organization { scopes, .. } | PrincipalKind::User { scopes, .. } => {
                scopes.has(needs)
            }
        }
    }

    /// Checks that it may do all of `needs` (inside its organizations).
    ///
    /// # Errors
    ///
    /// `forbidden`.
    pub fn require(&self, needs: Scopes) -> Result<(), ApiError> {
        if self.may(needs) { Ok(()) } else { Err(ApiError::forbidden()) }
    }

    /// Checks that it is a superuser.
    ///
    /// # Errors
    ///
    /// `forbidden`.
    pub fn require_superuser(&self) -> Result<(), ApiError> {
        if self.is_superuser() { Ok(()) } else { Err(ApiError::forbidden()) }
    }

    /// The scope of a read that may cover every organization.
    ///
    /// A superuser who names none gets all; everybody else gets their own.
    ///
    /// # Errors
    ///
    /// `invalid` for a broken identifier, and for a user of several organizations who names none;
    /// `forbidden` without the scopes, or for an organization that is not theirs, whether it exists or not.
    pub fn read_scope(&self, organization_id: Option<&str>, needs: Scopes) -> Result<ReadScope, ApiError> {
        match self.organization(organization_id, needs)? {
            Some(organization) => Ok(ReadScope::one(organization)),
            None => Ok(ReadScope::all()),
        }
    }

    /// The scope of a read that is about one organization.
    ///
    /// # Errors
    ///
    /// As [`Self::read_scope`], and `invalid` when a superuser names none.
    pub fn read_organization(
        &self,
        organization_id: Option<&str>,
        needs: Scopes,
    ) -> Result<ReadScope, ApiError> {
        self.organization(organization_id, needs)?.map(ReadScope::one).ok_or_else(name_one)
    }

    /// The scope of the platform's own hosts, which `share_system_metrics` shows to every reader.
    ///
    /// # Errors
    ///
    /// `forbidden` without the scope `read`; a read of any other stream than metrics fails later.
    pub fn read_platform_metrics(&self) -> Result<ReadScope, ApiError> {
        self.require(Scopes::READ)?;
        Ok(ReadScope::one(tenant(PLATFORM)?).only(Stream::Metrics))
    }

    /// The scope in which the server looks back at an organization's events, to name the session of one
    /// that this principal sends; it never shows them.
    ///
    /// # Errors
    ///
    /// As [`Self::read_organization`], with the scope `track` or `admin`.
    pub(crate) fn session_scope(&self, organization: &TenantId) -> Result<ReadScope, ApiError> {
        let needs = if self.may(Scopes::ADMIN) { Scopes::ADMIN } else { Scopes::TRACK };
        let organization = self.write_organization(Some(organization.as_str()), needs)?;
        Ok(ReadScope::one(organization).only(Stream::Events))
    }

    /// The scope in which the server looks up audit records of an organization that this principal sends
    /// again, for their receipts; it never shows them.
    ///
    /// # Errors
    ///
    /// As [`Self::read_organization`], with the scope `audit:write` or `admin`.
    pub(crate) fn receipt_scope(&self, organization: &TenantId) -> Result<ReadScope, ApiError> {
        let needs = if self.may(Scopes::ADMIN) { Scopes::ADMIN } else { Scopes::AUDIT_WRITE };
        let organization = self.write_organization(Some(organization.as_str()), needs)?;
        Ok(ReadScope::one(organization).only(Stream::Audit))
    }

    /// The organization that a record goes to, or that is administered.
    ///
    /// # Errors
    ///
    /// As [`Self::read_organization`].
    pub fn write_organization(&self, requested: Option<&str>, needs: Scopes) -> Result<TenantId, ApiError> {
        self.organization(requested, needs)?.ok_or_else(name_one)
    }

    /// The organization that is meant; `None` is a superuser's "all".
    fn organization(&self, requested: Option<&str>, needs: Scopes) -> Result<Option<TenantId>, ApiError> {
        let requested = requested.filter(|id| !id.is_empty());
        if let Some(id) = requested
            && !is_identifier(id)
        {
            return Err(ApiError::invalid_at("/organization_id", "invalid", "this is not an identifier"));
        }
        self.require(needs)?;
        let own = match &self.kind {
            PrincipalKind::Superuser { .. } => return requested.map(tenant).transpose(),
            PrincipalKind::Organization { organization, .. } => std::slice::from_ref(organization),
            PrincipalKind::User { organizations, .. } => organizations.as_slice(),
        };
        match (requested, own) {
            (Some(id), own) => {
                own.iter().find(|o| o.as_str() == id).cloned().map(Some).ok_or_else(ApiError::forbidden)
            }
            (None, []) => Err(ApiError::forbidden()),
            (None, [one]) => Ok(Some(one.clone())),
            (None, _) => Err(name_one()),
        }
    }
}

fn tenant(id: &str) -> Result<TenantId, ApiError> {
    TenantId::new(id).map_err(ApiError::from)
}

fn name_one() -> ApiError {
    ApiError::invalid_at("/organization_id", "required", "name an organization")
}

impl FromRequestParts<AppState> for Principal {
    type Rejection = ApiError;

    /// The principal of the request's credential; `unauthenticated` without a valid one.
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        state.auth.principal(&parts.headers, state.clock.now())
    }
}

impl OptionalFromRequestParts<AppState> for Principal {
    type Rejection = ApiError;

    /// The principal of the request's credential, or `None` without a valid one.
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Option<Self>, ApiError> {
        match state.auth.principal(&parts.headers, state.clock.now()) {
            Ok(principal) => Ok(Some(principal)),
            Err(error) if error.code() == Code::Unauthenticated => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant_id(id: &str) -> TenantId {
        TenantId::new(id).unwrap()
    }

    fn user(organizations: &[&str], scopes: Scopes) -> Principal {
        let organizations = organizations.iter().map(|id| tenant_id(id)).collect();
        Principal::for_test(PrincipalKind::User { user_id: "u".into(), organizations, scopes })
    }

    fn key(scopes: Scopes) -> Principal {
        Principal::for_test(PrincipalKind::Organization { organization: tenant_id("acme"), scopes })
    }

    fn root() -> Principal {
        Principal::for_test(PrincipalKind::Superuser { user_id: None })
    }

    /// The organization a read gets, `*` for all, or the code of the refusal.
    fn reads(principal: &Principal, organization_id: Option<&str>) -> String {
        match principal.read_scope(organization_id, Scopes::READ) {
            Ok(scope) => scope.organization().map_or("*".to_owned(), ToString::to_string),
            Err(error) => error.code().name().to_owned(),
        }
    }

    #[test]
    fn a_read_gets_the_organizations_of_its_principal_alone() {
        let viewer = user(&["a", "b"], Scopes::READ);
        for (principal, asked, expected) in [
            (root(), None, "*"),
            (root(), Some("any"), "any"),
            (root(), Some("a b"), "invalid"),
            (root(), Some(".."), "invalid"),
            (key(Scopes::READ), None, "acme"),
            (key(Scopes::READ), Some(""), "acme"),
            (key(Scopes::READ), Some("acme"), "acme"),
            (key(Scopes::READ), Some("other"), "forbidden"),
            (key(Scopes::READ), Some(PLATFORM), "forbidden"),
            (key(Scopes::TRACK), None, "forbidden"),
            (viewer.clone(), Some("b"), "b"),
            (viewer.clone(), Some("c"), "forbidden"),
            (viewer, None, "invalid"),
            (user(&["a"], Scopes::READ), None, "a"),
            (user(&[], Scopes::READ), None, "forbidden"),
        ] {
            assert_eq!(reads(&principal, asked), expected, "{principal:?} {asked:?}");
        }
    }

    #[test]
    fn a_foreign_and_an_unknown_organization_get_the_same_answer() {
        let principal = key(Scopes::READ);
        let refusals = ["exists-elsewhere", "exists-nowhere"]
            .map(|id| principal.read_organization(Some(id), Scopes::READ).unwrap_err());
        assert_eq!(refusals[0], refusals[1]);
    }

    #[test]
    fn a_superuser_names_the_organization_it_writes_to() {
        let error = root().write_organization(None, Scopes::TRACK).unwrap_err();
        assert_eq!(error.errors().first().map(|e| e.pointer.as_str()), Some("/organization_id"));
        assert_eq!(root().write_organization(Some("new"), Scopes::TRACK), Ok(tenant_id("new")));
        assert!(root().read_organization(None, Scopes::READ).is_err());
    }

    #[test]
    fn the_platforms_scope_is_for_metrics_alone() {
        let scope = key(Scopes::READ).read_platform_metrics().unwrap();
        assert!(scope.of(Stream::Metrics).is_ok());
        assert!(scope.of(Stream::Audit).is_err());
        assert!(key(Scopes::TRACK).read_platform_metrics().is_err());
    }
}
