//! Alerts: how they stand, their rules, and what keeps them silent.

use axum::Router;
use insights_engine::append::CatalogPut;
use insights_engine::id::TenantId;
use serde_json::Value;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

use crate::alert::mute::Mutes;
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

/// Reads what is to be made, and in which organization, from a body.
fn read_new<T>(
    state: &AppState,
    principal: &Principal,
    body: &Value,
    document: impl FnOnce(&mut Fields<'_>) -> Option<T>,
) -> Result<(TenantId, T), ApiError> {
    let mut fields = Fields::of(body).map_err(|problem| ApiError::invalid(vec![problem]))?;
    let named = organization_of(&mut fields);
    let document = document(&mut fields);
    // Who may not make it is not told what would be wrong with it.
    let organization = writable(state, principal, named.as_deref())?;
    let problems = fields.finish();
    let document = document.filter(|_| problems.is_empty()).ok_or_else(|| ApiError::invalid(problems))?;
    Ok((organization, document))
}

/// Ends something that keeps alerts of an organization silent: its record goes, then it itself by `remove`, and what it
/// kept silent is looked at.
async fn unmute(
    state: &AppState,
    organization: &TenantId,
    removal: CatalogPut,
    remove: impl FnOnce(&mut Mutes),
) -> Result<(), ApiError> {
    let turn = state.alerts.turn(organization).await;
    state.store.put(vec![removal]).await?;
    remove(&mut state.alerts.mutes());
    state.alerts.book().tell(organization.clone(), state.clock.now());
    drop(turn);
    state.alerts.wake();
    Ok(())
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
