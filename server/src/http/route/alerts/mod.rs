//! Alerts: how they stand, their rules, and what keeps them silent.

use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

use axum::Router;
use insights_engine::id::TenantId;

use crate::app::AppState;
use crate::auth::{Principal, Scopes};
use crate::http::error::ApiError;

mod current;
mod rules;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new().merge(current::routes()).merge(rules::routes())
}

/// The part of the OpenAPI document that is about these routes.
pub fn document() -> Document {
    [rules::Api::openapi()].into_iter().fold(current::Api::openapi(), Document::merge_from)
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
