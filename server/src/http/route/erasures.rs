//! Erasure of an organization or a user, and the receipts.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use insights_engine::append::{CatalogKind, CatalogPut};
use insights_engine::catalog::erasure::{EraseTarget, Erased, ErasureId, ErasureRecord};
use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use crate::app::AppState;
use crate::auth::api_key::ApiKey;
use crate::auth::keyring::last_use_put;
use crate::auth::{PLATFORM, Principal, Scopes, user_credential};
use crate::domain::identifier::{IDENTIFIER_RULE, is_identifier};
use crate::domain::instant::Rfc3339;
use crate::domain::metric::MetricRecord;
use crate::domain::own_act::OwnAct;
use crate::http::error::ApiError;
use crate::http::extract::{NoParameters, Query};
use crate::http::middleware::context::RequestContext;
use crate::organization;

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(
    paths(organization, user, receipt),
    components(schemas(Erasure, ErasureStatus, ErasureSubject, Removed))
)]
pub struct Api;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/insights/organizations/{id}/", delete(organization))
        .route("/api/insights/organizations/{id}/users/{user_id}/", delete(user))
        .route("/api/insights/organizations/{id}/erasures/{erasure_id}/", get(receipt))
}

/// How far an erasure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ErasureStatus {
    /// Nothing answers with it any more; bytes are still in files.
    Hidden,
    /// No file of the data directory has it any more.
    Completed,
}

/// What an erasure is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ErasureSubject {
    /// The organization with all it had.
    Organization,
    /// A user; who it was is not kept.
    User,
}

/// Records that are gone, by stream.
#[derive(Debug, Serialize, ToSchema)]
struct Removed {
    /// Events
    events: u64,
    /// Metric points
    metrics: u64,
    /// Audit records; those of a user are there without their personal fields
    audit: u64,
}

/// An erasure: what was asked for, and when it was done the receipt.
#[derive(Debug, Serialize, ToSchema)]
struct Erasure {
    /// Its id
    id: String,
    /// The organization
    organization_id: String,
    /// What of it
    subject: ErasureSubject,
    /// How far it is
    status: ErasureStatus,
    /// When it was asked for
    #[schema(format = DateTime)]
    requested_at: String,
    /// Since when nothing answers with it
    #[schema(format = DateTime)]
    hidden_at: String,
    /// Since when no file has it; null until then
    #[schema(format = DateTime)]
    completed_at: Option<String>,
    /// What is gone; null until then
    removed: Option<Removed>,
    /// Files that were written anew
    files: u64,
    /// Their bytes
    bytes: u64,
    /// Of the files those of rollups whose rows had expired before: nobody is named in them any more, sums over
    /// everybody stay as they were
    rollup_files: u64,
}

impl Erasure {
    fn new(id: ErasureId, record: &ErasureRecord) -> Self {
        let text = |at: TimestampUs| Rfc3339(at).to_string();
        let outcome = record.outcome;
        Self {
            id: id.to_string(),
            organization_id: record.name.clone(),
            subject: match record.erased {
                Erased::Tenant => ErasureSubject::Organization,
                Erased::User(_) => ErasureSubject::User,
            },
            status: if outcome.is_some() { ErasureStatus::Completed } else { ErasureStatus::Hidden },
            requested_at: text(record.requested),
            hidden_at: text(record.hidden),
            completed_at: outcome.map(|outcome| text(outcome.completed)),
            removed: outcome.map(|o| Removed { events: o.events, metrics: o.metrics, audit: o.audit }),
            files: outcome.map_or(0, |outcome| outcome.files),
            bytes: outcome.map_or(0, |outcome| outcome.bytes),
            rollup_files: outcome.map_or(0, |outcome| outcome.cells),
        }
    }

    /// 202 with the address of the receipt.
    fn accepted(id: ErasureId, record: &ErasureRecord) -> Response {
        let address = format!("/api/insights/organizations/{}/erasures/{id}/", record.name);
        let body = axum::Json(Self::new(id, record));
        (StatusCode::ACCEPTED, [(header::LOCATION, address)], body).into_response()
    }
}

/// Erases an organization
///
/// Its records, keys, settings, channels and metrics are gone from every answer at once, and from every file within a day; a
/// later organization of the same name begins anew. Needs `admin` in it. Asked again, a superuser gets the same receipt.
#[utoipa::path(delete, path = "/api/insights/organizations/{id}/", tag = "organizations",
    params(("id" = String, Path, description = "The organization")),
    responses(
        (status = 202, description = "It is hidden; the receipt is at `Location`", body = Erasure),
        (status = 404, description = "No such organization, for a superuser"),
    ),
)]
async fn organization(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    Path(id): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Response, ApiError> {
    let organization = principal.write_organization(Some(&id), Scopes::ADMIN)?;
    if organization.as_str() == PLATFORM {
        return Err(ApiError::invalid_at("/id", "invalid", "this organization is the platform's own"));
    }
    if !state.store.tenant_exists(&organization) {
        let (id, record) = last_of(&state, &organization).ok_or_else(ApiError::not_found)?;
        return Ok(Erasure::accepted(id, &record));
    }
    let keys = state.auth.keyring().list(Some(&organization));
    let mut puts: Vec<CatalogPut> = Vec::new();
    for entry in &keys {
        puts.extend([ApiKey::removal(&entry.key.id), last_use_put(&entry.key.id, None)]);
    }
    let metrics = state.store.catalog_scan(CatalogKind::Metric, &MetricRecord::key_prefix(&id));
    puts.extend(metrics.into_iter().map(|(key, _)| CatalogPut {
        kind: CatalogKind::Metric,
        key,
        value: None,
    }));
    puts.push(CatalogPut { kind: CatalogKind::Setting, key: organization::key(&organization), value: None });
    // On a task of its own: a client that leaves must not leave its keys behind.
    let (store, auth, shared) = (state.store.clone(), Arc::clone(&state.auth), state.clone());
    let erase = async move {
        // No evaluation of a rule, and no message about one, may write what is being removed.
        let _turn = shared.alerts.turn(&organization).await;
        puts.extend(shared.alerts.removals(&store, &organization));
        puts.extend(shared.notify.removals(&organization));
        let erased = store.erase(EraseTarget::Tenant(organization.clone()), puts).await?;
        shared.notify.forget(&organization).await;
        for entry in auth.keyring().list(Some(&organization)) {
            auth.keyring().remove(&entry.key.id);
        }
        shared.alerts.remove_all(&organization);
        Ok::<_, ApiError>(erased)
    };
    let (erasure, record) = tokio::spawn(erase).await.map_err(|_| ApiError::internal())??;
    tracing::info!(organization = id, by = &**principal.credential(), "an organization was erased");
    state.own_acts.record(&principal, &context, OwnAct::OrganizationErased, None, &id);
    Ok(Erasure::accepted(erasure, &record))
}

/// The last erasure of an organization of this name.
fn last_of(state: &AppState, organization: &TenantId) -> Option<(ErasureId, ErasureRecord)> {
    let all = state.store.catalog_scan(CatalogKind::Erasure, &[]);
    let of_name = all.iter().filter_map(|(key, _)| {
        let id = ErasureId::from_key(key).ok()?;
        let record = state.store.erasure(id)?;
        (record.erased == Erased::Tenant && record.name == organization.as_str()).then_some((id, record))
    });
    of_name.max_by_key(|(_, record)| record.requested)
}

/// Erases a user of an organization
///
/// Events and points of the user are gone from every answer at once; audit records of and about the user stay in their
/// place without personal fields, and still prove the log. Every file follows within a day. What the user does later
/// is not touched. Needs `admin`.
#[utoipa::path(delete, path = "/api/insights/organizations/{id}/users/{user_id}/", tag = "organizations",
    params(("id" = String, Path, description = "The organization"), ("user_id" = String, Path, description = "The user")),
    responses(
        (status = 202, description = "The user is hidden; the receipt is at `Location`", body = Erasure),
        (status = 404, description = "No such organization, for a superuser"),
    ),
)]
async fn user(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    Path((id, user_id)): Path<(String, String)>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Response, ApiError> {
    let organization = principal.write_organization(Some(&id), Scopes::ADMIN)?;
    if !is_identifier(&user_id) {
        let detail = format!("an identifier has {IDENTIFIER_RULE}");
        return Err(ApiError::invalid_at("/user_id", "invalid", detail));
    }
    if !state.store.tenant_exists(&organization) {
        return Err(ApiError::not_found());
    }
    let credential = user_credential(&user_id);
    let puts = state.alerts.forget_maker(&organization, &credential);
    let target = EraseTarget::User { tenant: organization.clone(), user: user_id, credential };
    let (erasure, record) = state.store.erase(target, puts).await?;
    tracing::info!(organization = id, erasure = %erasure, "a user was erased");
    // The record names the receipt, never the user.
    let object = erasure.to_string();
    state.own_acts.record(&principal, &context, OwnAct::UserErased, Some(&organization), &object);
    Ok(Erasure::accepted(erasure, &record))
}

/// The receipt of an erasure
///
/// Needs `admin`; that of an organization, whose keys are gone with it, is a superuser's.
#[utoipa::path(get, path = "/api/insights/organizations/{id}/erasures/{erasure_id}/", tag = "organizations",
    params(("id" = String, Path, description = "The organization"), ("erasure_id" = String, Path, description = "The id of the erasure")),
    responses(
        (status = 200, description = "What was asked for, and what was done", body = Erasure),
        (status = 404, description = "There is none that the credential may see"),
    ),
)]
async fn receipt(
    State(state): State<AppState>,
    principal: Principal,
    Path((id, erasure_id)): Path<(String, String)>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<axum::Json<Erasure>, ApiError> {
    let scope = principal.read_organization(Some(&id), Scopes::ADMIN)?;
    let organization = scope.organization().ok_or_else(ApiError::forbidden)?;
    let erasure: ErasureId = erasure_id.parse().map_err(|_| ApiError::not_found())?;
    let record = state.store.erasure(erasure).filter(|record| record.name == organization.as_str());
    let record = record.ok_or_else(ApiError::not_found)?;
    if record.erased == Erased::Tenant && !principal.is_superuser() {
        return Err(ApiError::not_found());
    }
    Ok(axum::Json(Erasure::new(erasure, &record)))
}

#[cfg(test)]
mod tests;
