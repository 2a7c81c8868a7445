//! Alerts: how they stand, their rules, and what keeps them silent.

use axum::Router;
use insights_engine::id::TenantId;
use serde::Deserialize;
use utoipa::openapi::OpenApi as Document;
use utoipa::{IntoParams, OpenApi};

use crate::app::AppState;
use crate::auth::{Principal, Scopes};
use crate::export::Format;
use crate::http::error::ApiError;
use crate::http::list::Limit;
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

/// Which rules, silences or windows are listed.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TableQuery {
    /// Whose; a superuser who names none gets all
    organization_id: Option<String>,
    /// Rows of a page, 1 to 1000; `all` gives every row in NDJSON or CSV
    #[serde(default)]
    #[param(value_type = Option<String>, default = "50")]
    limit: Limit,
    /// `next_cursor` of the page before
    cursor: Option<String>,
    /// The format; without it `Accept` decides
    format: Option<Format>,
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
