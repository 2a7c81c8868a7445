//! API keys: list, make, revoke.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use crate::app::AppState;
use crate::auth::api_key::{ApiKey, Grant};
use crate::auth::keyring::{KeyEntry, last_use_put};
use crate::auth::{PLATFORM, Principal, Scopes};
use crate::domain::identifier::{IDENTIFIER_RULE, is_identifier};
use crate::domain::instant::{self, Rfc3339};
use crate::domain::own_act::OwnAct;
use crate::export::Csv;
use crate::http::error::{ApiError, FieldError, PROBLEM_JSON, Problem};
use crate::http::extract::{Json, NoParameters, Query, identifier_text};
use crate::http::list::{Pages, TableQuery, table};
use crate::http::middleware::context::RequestContext;

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(paths(list, create, revoke), components(schemas(NewKey, KeyView, KeyList)))]
pub struct Api;

/// Most characters of a key's name.
const NAME_CHARS_MAX: usize = 128;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/insights/keys/", get(list).post(create))
        .route("/api/insights/keys/{id}/", delete(revoke))
}

/// A key that is asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// What people call it, 1 to 128 characters.
    #[schema(example = "web back end")]
    pub name: String,
    /// The organization it is bound to; the credential's own when absent.
    #[serde(default, deserialize_with = "identifier_text", skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    /// What it may do: `track`, `metrics:write`, `audit:write`, `read`, `audit:read`, `admin`; `metrics` from a superuser.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Whether it may do everything everywhere; then it has no organization and no scopes.
    #[serde(default)]
    pub superuser: bool,
    /// From when on it is worth nothing: RFC 3339, or a Unix time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<serde_json::Value>,
}

impl NewKey {
    /// What the key would allow and until when, if `principal` may give that away.
    ///
    /// # Errors
    ///
    /// `invalid` with every place that is wrong, `forbidden` for more than the principal has.
    pub fn check(
        &self,
        principal: &Principal,
        now: TimestampUs,
    ) -> Result<(Grant, Option<TimestampUs>), ApiError> {
        principal.require(Scopes::ADMIN)?;
        let mut errors = Vec::new();
        if self.name.trim().is_empty() || self.name.chars().count() > NAME_CHARS_MAX {
            errors.push(FieldError::new("/name", "invalid", "a name has 1 to 128 characters"));
        }
        let expires = self.expires_at.as_ref().and_then(|value| match instant_of(value) {
            Some(at) if at > now => Some(at),
            Some(_) => {
                errors.push(FieldError::new("/expires_at", "invalid", "the key would have expired already"));
                None
            }
            None => {
                errors.push(FieldError::new("/expires_at", "invalid", instant::InvalidInstant.to_string()));
                None
            }
        });
        let scopes = self.checked_scopes(&mut errors);
        if !errors.is_empty() {
            return Err(ApiError::invalid(errors));
        }
        if self.superuser {
            principal.require_superuser()?;
            return Ok((Grant::Superuser, expires));
        }
        if scopes.has(Scopes::METRICS) {
            // The server's own metrics are about every organization.
            principal.require_superuser()?;
        }
        let organization = principal.write_organization(self.organization_id.as_deref(), Scopes::ADMIN)?;
        if organization.as_str() == PLATFORM {
            return Err(ApiError::invalid_at(
                "/organization_id",
                "invalid",
                "this organization is the platform's own",
            ));
        }
        Ok((Grant::Organization { organization, scopes }, expires))
    }

    fn checked_scopes(&self, errors: &mut Vec<FieldError>) -> Scopes {
        let mut scopes = Scopes::NONE;
        for (index, name) in self.scopes.iter().enumerate() {
            match Scopes::from_name(name) {
                Some(scope) => scopes = scopes | scope,
                None => errors.push(FieldError::new(
                    format!("/scopes/{index}"),
                    "invalid",
                    "there is no such scope",
                )),
            }
        }
        if self.superuser {
            if !self.scopes.is_empty() {
                errors.push(FieldError::new("/scopes", "invalid", "a superuser's key has no scopes"));
            }
            if self.organization_id.is_some() {
                errors.push(FieldError::new(
                    "/organization_id",
                    "invalid",
                    "a superuser's key has no organization",
                ));
            }
        } else if self.scopes.is_empty() {
            errors.push(FieldError::new("/scopes", "required", "name one scope at least"));
        }
        scopes
    }
}

fn instant_of(value: &serde_json::Value) -> Option<TimestampUs> {
    match value {
        serde_json::Value::String(text) => instant::parse(text).ok(),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(whole) => instant::from_integer(whole).ok(),
            None => instant::from_double(number.as_f64()?).ok(),
        },
        _ => None,
    }
}

/// A key, as it is shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct KeyView {
    /// Its id, the middle part of its text.
    pub id: String,
    /// The key itself; only in the answer that makes it, never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What people call it.
    pub name: String,
    /// The organization it is bound to; null for a superuser's.
    pub organization_id: Option<String>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Whether it may do everything everywhere.
    pub superuser: bool,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// From when on it is worth nothing.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// When it was used last, to the minute across restarts.
    #[schema(format = DateTime)]
    pub last_used_at: Option<String>,
}

impl KeyView {
    /// A key with when it was used last.
    pub fn new(key: &ApiKey, last_use: Option<TimestampUs>) -> Self {
        let text = |at: TimestampUs| Rfc3339(at).to_string();
        let scopes = match &key.grant {
            Grant::Superuser => Vec::new(),
            Grant::Organization { scopes, .. } => scopes.names().into_iter().map(String::from).collect(),
        };
        Self {
            id: key.id.to_string(),
            key: None,
            name: key.name.clone(),
            organization_id: key.organization().map(ToString::to_string),
            scopes,
            superuser: key.grant == Grant::Superuser,
            created_at: text(key.created),
            expires_at: key.expires.map(text),
            last_used_at: last_use.map(text),
        }
    }
}

impl From<&KeyEntry> for KeyView {
    fn from(entry: &KeyEntry) -> Self {
        Self::new(&entry.key, entry.last_use())
    }
}

/// Keys, newest first.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct KeyList {
    /// Those of the page.
    pub results: Vec<KeyView>,
    /// The cursor of the next page, null at the end.
    pub next_cursor: Option<String>,
}

/// API keys, newest first
///
/// Needs `admin` in the organization. The keys themselves are never shown again.
#[utoipa::path(get, path = "/api/insights/keys/", tag = "keys", params(TableQuery),
    responses(
        (status = 200, description = "The keys", body = KeyList),
        (status = 401, description = "No valid credential", body = Problem, content_type = PROBLEM_JSON),
        (status = 403, description = "Without `admin`", body = Problem, content_type = PROBLEM_JSON),
        (status = 422, description = "`invalid`, `invalid_cursor`", body = Problem, content_type = PROBLEM_JSON)))]
async fn list(
    State(state): State<AppState>,
    principal: Principal,
    headers: HeaderMap,
    uri: Uri,
    Query(query): Query<TableQuery>,
) -> Result<Response, ApiError> {
    let scope = principal.read_scope(query.organization_id.as_deref(), Scopes::ADMIN)?;
    let organization = scope.organization();
    let pages = Pages::wanted(&state, &uri, ("keys", organization), query.page(&headers)).await?;
    let entries = state.auth.keyring().list(organization);
    let (entries, next_cursor) =
        pages.cut(entries, |entry| (entry.key.created.0.cast_unsigned(), &entry.key.id)).await?;
    let results = entries.iter().map(|entry| KeyView::from(&**entry)).collect();
    let keys = KeyList { results, next_cursor };
    pages.respond(&keys, keys.next_cursor.as_deref())
}

impl table::Table for KeyList {
    const COLUMNS: &'static [&'static str] =
        &["id", "name", "organization_id", "scopes", "superuser", "created_at", "expires_at", "last_used_at"];
    type Row = KeyView;

    fn rows(&self) -> &[KeyView] {
        &self.results
    }

    fn write_csv(row: &KeyView, csv: &mut Csv) {
        csv.text(&row.id);
        csv.text(&row.name);
        csv.text(row.organization_id.as_deref().unwrap_or_default());
        csv.text(&row.scopes.join(" "));
        csv.plain(row.superuser);
        csv.plain(&row.created_at);
        csv.plain(row.expires_at.as_deref().unwrap_or_default());
        csv.plain(row.last_used_at.as_deref().unwrap_or_default());
    }
}

/// Makes an API key
///
/// Needs `admin` in the organization; the first key of an organization makes the organization.
/// The key is in this answer alone: only a hash of it is kept.
#[utoipa::path(post, path = "/api/insights/keys/", tag = "keys", request_body = NewKey,
    responses(
        (status = 201, description = "The key, shown once", body = KeyView),
        (status = 401, description = "No valid credential", body = Problem, content_type = PROBLEM_JSON),
        (status = 403, description = "More than the credential may give", body = Problem, content_type = PROBLEM_JSON),
        (status = 422, description = "The body is invalid", body = Problem, content_type = PROBLEM_JSON)))]
async fn create(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    Query(NoParameters {}): Query<NoParameters>,
    Json(new): Json<NewKey>,
) -> Result<Response, ApiError> {
    let now = state.clock.now();
    let (grant, expires) = new.check(&principal, now)?;
    let (key, text) = ApiKey::issue(&new.name, grant, expires, now, principal.credential(), &state.entropy);
    if let Some(organization) = key.organization() {
        state.store.create_tenant(organization.clone()).await?;
    }
    state.store.put(vec![key.put()]).await?;
    let view = KeyView { key: Some(text), ..KeyView::new(&key, None) };
    tracing::info!(id = view.id, by = &**principal.credential(), "an API key was made");
    state.own_acts.record(&principal, &context, OwnAct::KeyCreated, key.organization(), &key.id);
    state.auth.keyring().insert(key);
    Ok((StatusCode::CREATED, axum::Json(view)).into_response())
}

/// Revokes an API key, from now on
///
/// Needs `admin` in the key's organization. A foreign key and an unknown one get the same answer.
#[utoipa::path(delete, path = "/api/insights/keys/{id}/", tag = "keys",
    params(("id" = String, Path, description = "The id of the key")),
    responses(
        (status = 204, description = "The key is worth nothing any more"),
        (status = 401, description = "No valid credential", body = Problem, content_type = PROBLEM_JSON),
        (status = 403, description = "Without `admin`", body = Problem, content_type = PROBLEM_JSON),
        (status = 404, description = "No such key", body = Problem, content_type = PROBLEM_JSON)))]
async fn revoke(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    Path(id): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<StatusCode, ApiError> {
    principal.require(Scopes::ADMIN)?;
    if !is_identifier(&id) {
        return Err(ApiError::invalid_at("/id", "invalid", format!("an identifier has {IDENTIFIER_RULE}")));
    }
    let entry =
        state.auth.keyring().get(&id).filter(|entry| administers(&principal, entry.key.organization()));
    let entry = entry.ok_or_else(ApiError::not_found)?;
    state.store.put(vec![ApiKey::removal(&entry.key.id), last_use_put(&entry.key.id, None)]).await?;
    state.auth.keyring().remove(&entry.key.id);
    let organization = entry.key.organization();
    state.own_acts.record(&principal, &context, OwnAct::KeyRevoked, organization, &entry.key.id);
    tracing::info!(id = &*entry.key.id, by = &**principal.credential(), "an API key was revoked");
    Ok(StatusCode::NO_CONTENT)
}

/// Whether a principal may manage the keys of an organization; without one, a superuser's key.
fn administers(principal: &Principal, organization: Option<&TenantId>) -> bool {
    match organization {
        None => principal.is_superuser(),
        Some(organization) => {
            principal.write_organization(Some(organization.as_str()), Scopes::ADMIN).is_ok()
        }
    }
}

#[cfg(test)]
mod tests;
