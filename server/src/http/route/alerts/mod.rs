//! Alerts: how they stand, their rules, and what keeps them silent.

use axum::Router;
use insights_engine::id::TenantId;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

use crate::app::AppState;
use crate::auth::{Principal, Scopes};
use crate::http::error::ApiError;
use crate::report::body::Fields;

mod current;
mod history;
mod maintenance;
mod rehearse;
mod rules;
mod silences;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .merge(current::routes())
        .merge(history::routes())
        .merge(rules::routes())
        .merge(rehearse::routes())
        .merge(silences::routes())
        .merge(maintenance::routes())
}

/// The part of the OpenAPI document that is about these routes.
pub fn document() -> Document {
    let parts = [
        history::Api::openapi(),
        rules::Api::openapi(),
        rehearse::Api::openapi(),
        silences::Api::openapi(),
        maintenance::Api::openapi(),
    ];
    parts.into_iter().fold(current::Api::openapi(), Document::merge_from)
}

/// The organization that a body names.
fn organization_of(fields: &mut Fields<'_>) -> Option<String> {
    fields.identifier("organization_id")
}

/// The organization in which something is made, which must exist.
fn writable(state: &AppState, principal: &Principal, named: Option<&str>) -> Result<TenantId, ApiError> {
    let organization = principal.write_organization(named, Scopes::ADMIN)?;
    if state.store.tenant_exists(&organization) { Ok(organization) } else { Err(ApiError::not_found()) }
}

/// Refuses what a principal may not see or change; a foreign thing and an unknown one get the same answer.
fn allowed(principal: &Principal, organization: &TenantId, needs: Scopes) -> Result<(), ApiError> {
    principal
        .read_organization(Some(organization.as_str()), needs)
        .map(drop)
        .map_err(|_| ApiError::not_found())
}

#[cfg(test)]
mod tests;
