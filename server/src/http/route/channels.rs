//! Channels of notifications: list, make, look at, change, remove, test.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use crate::app::AppState;
use crate::auth::{PLATFORM, Principal, Scopes};
use crate::domain::instant::Rfc3339;
use crate::domain::own_act::OwnAct;
use crate::export::Csv;
use crate::http::error::{ApiError, Code, FieldError, PROBLEM_JSON, Problem};
use crate::http::extract::{Json, NoParameters, Query};
use crate::http::list::{Pages, TableQuery, table};
use crate::http::middleware::context::RequestContext;
use crate::notify::channel::{Channel, ChannelId, ChannelType, Target};
use crate::notify::channels::CHANNELS_MAX;
use crate::notify::{Lang, Tested};

mod input;
pub use input::ChannelInput;

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(
    paths(list, create, show, change, remove, test),
    components(schemas(ChannelInput, ChannelView, ChannelList, ChannelType, Lang, TestView))
)]
pub struct Api;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/insights/alerts/channels/", get(list).post(create))
        .route("/api/insights/alerts/channels/{id}/", get(show).put(change).delete(remove))
        .route("/api/insights/alerts/channels/{id}/test/", post(test))
}

/// A channel, as it is shown: without its secret, and of its URL only where it leads.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChannelView {
    /// Its id
    id: String,
    /// Whose it is
    organization_id: String,
    /// What people call it
    name: String,
    /// The shape in which it is told
    r#type: ChannelType,
    /// Scheme, host and port of its URL; what comes after them may be a secret
    url: Option<String>,
    /// The addresses of an e-mail channel
    to: Vec<String>,
    /// Whether there is a secret
    has_secret: bool,
    /// The secret that was made; only in the answer that makes it, never again
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// The language of the words around titles and annotations
    lang: Lang,
    /// Whether it is told that something is over
    send_resolved: bool,
    /// Whether it is told anything
    enabled: bool,
    /// When it was made
    #[schema(format = DateTime)]
    created_at: String,
    /// When it was changed last
    #[schema(format = DateTime)]
    updated_at: String,
}

impl From<&Channel> for ChannelView {
    fn from(channel: &Channel) -> Self {
        Self {
            id: channel.id.to_string(),
            organization_id: channel.organization.to_string(),
            name: channel.name.clone(),
            r#type: channel.target.kind(),
            url: channel.target.url().map(crate::notify::target_url::TargetUrl::shown),
            to: match &channel.target {
                Target::Email { to } => to.clone(),
                _ => Vec::new(),
            },
            has_secret: channel.target.secret().is_some(),
            secret: None,
            lang: channel.lang,
            send_resolved: channel.send_resolved,
            enabled: channel.enabled,
            created_at: Rfc3339(channel.created).to_string(),
            updated_at: Rfc3339(channel.updated).to_string(),
        }
    }
}

/// Channels, newest first.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ChannelList {
    /// Those of the page
    results: Vec<ChannelView>,
    /// The cursor of the next page, null at the end
    next_cursor: Option<String>,
}

impl table::Table for ChannelList {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "organization_id",
        "name",
        "type",
        "url",
        "to",
        "has_secret",
        "lang",
        "send_resolved",
        "enabled",
        "created_at",
        "updated_at",
    ];
    type Row = ChannelView;

    fn rows(&self) -> &[ChannelView] {
        &self.results
    }

    fn write_csv(row: &ChannelView, csv: &mut Csv) {
        csv.text(&row.id);
        csv.text(&row.organization_id);
        csv.text(&row.name);
        csv.plain(row.r#type.name());
        csv.text(row.url.as_deref().unwrap_or_default());
        csv.text(&row.to.join(" "));
        csv.plain(row.has_secret);
        csv.plain(row.lang.name());
        csv.plain(row.send_resolved);
        csv.plain(row.enabled);
        csv.plain(&row.created_at);
        csv.plain(&row.updated_at);
    }
}

/// Channels of notifications, newest first
///
/// Needs `admin`. Secrets are never shown again.
#[utoipa::path(get, path = "/api/insights/alerts/channels/", tag = "alerts", params(TableQuery),
    responses(
        (status = 200, description = "The channels", body = ChannelList),
        (status = 403, description = "Without `admin`", body = Problem, content_type = PROBLEM_JSON)))]
async fn list(
    State(state): State<AppState>,
    principal: Principal,
    headers: HeaderMap,
    uri: Uri,
    Query(query): Query<TableQuery>,
) -> Result<Response, ApiError> {
    let scope = principal.read_scope(query.organization_id.as_deref(), Scopes::ADMIN)?;
    let organization = scope.organization();
    let pages = Pages::wanted(&state, &uri, ("channels", organization), query.page(&headers)).await?;
    let channels = state.notify.channels().list(organization);
    let place = |channel: &Arc<Channel>| channel.created.0.cast_unsigned();
    let (channels, next_cursor) =
        pages.cut(channels, |channel| (place(channel), channel.id.as_str())).await?;
    let results = channels.iter().map(|channel| ChannelView::from(&**channel)).collect();
    let list = ChannelList { results, next_cursor };
    pages.respond(&list, list.next_cursor.as_deref())
}

/// Makes a channel of notifications
///
/// Needs `admin` in the organization, which has 50 of them at most. The secret of a webhook is made unless one is given,
/// and is in this answer alone. A URL leads to the public Internet, or where the operator allows.
#[utoipa::path(post, path = "/api/insights/alerts/channels/", tag = "alerts", request_body = ChannelInput,
    responses(
        (status = 201, description = "The channel, with its secret where one was made", body = ChannelView),
        (status = 403, description = "Without `admin`", body = Problem, content_type = PROBLEM_JSON),
        (status = 409, description = "The organization has as many channels as it may", body = Problem,
            content_type = PROBLEM_JSON),
        (status = 422, description = "The body is invalid", body = Problem, content_type = PROBLEM_JSON)))]
async fn create(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    Query(NoParameters {}): Query<NoParameters>,
    Json(input): Json<ChannelInput>,
) -> Result<Response, ApiError> {
    let organization = principal.write_organization(input.organization_id.as_deref(), Scopes::ADMIN)?;
    if organization.as_str() != PLATFORM && !state.store.tenant_exists(&organization) {
        let error = FieldError::new("/organization_id", "invalid", "there is no such organization");
        return Err(ApiError::invalid(vec![error]));
    }
    let checked = input.check(&state, None)?;
    let _alone = state.notify.changing().await;
    if state.notify.channels().count(&organization) >= CHANNELS_MAX {
        let detail = format!("an organization has at most {CHANNELS_MAX} channels");
        return Err(ApiError::new(Code::Conflict, detail));
    }
    let now = state.clock.now();
    let channel = Channel {
        id: ChannelId::random(&state.entropy),
        organization,
        name: input.name.trim().to_owned(),
        target: checked.target,
        lang: input.lang,
        send_resolved: input.send_resolved,
        enabled: input.enabled,
        created: now,
        updated: now,
    };
    state.store.put(vec![channel.put()]).await?;
    let secret = checked.made.map(|secret| secret.expose().to_owned());
    let view = ChannelView { secret, ..ChannelView::from(&channel) };
    let organization = Some(&channel.organization);
    state.own_acts.record(&principal, &context, OwnAct::ChannelCreated, organization, &view.id);
    state.notify.channels().insert(channel);
    Ok((StatusCode::CREATED, axum::Json(view)).into_response())
}

/// The channel that a principal administers. A foreign one and an unknown one get the same answer.
fn administered(state: &AppState, principal: &Principal, id: &str) -> Result<Arc<Channel>, ApiError> {
    principal.require(Scopes::ADMIN)?;
    let found = ChannelId::parse(id).and_then(|id| state.notify.channels().find(&id));
    let own = found.filter(|channel| {
        principal.write_organization(Some(channel.organization.as_str()), Scopes::ADMIN).is_ok()
    });
    own.ok_or_else(ApiError::not_found)
}

/// A channel of notifications
///
/// Needs `admin`. A foreign channel and an unknown one get the same answer.
#[utoipa::path(get, path = "/api/insights/alerts/channels/{id}/", tag = "alerts",
    params(("id" = String, Path, description = "The id of the channel")),
    responses(
        (status = 200, description = "The channel", body = ChannelView),
        (status = 404, description = "No such channel", body = Problem, content_type = PROBLEM_JSON)))]
async fn show(
    State(state): State<AppState>,
    principal: Principal,
    Path(id): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<axum::Json<ChannelView>, ApiError> {
    Ok(axum::Json(ChannelView::from(&*administered(&state, &principal, &id)?)))
}

/// Changes a channel of notifications
///
/// The whole document. A URL that is left out, or given as it is shown, stays; so does a secret that is left out, unless
/// `rotate_secret` asks for a new one, which is in this answer alone. Needs `admin`.
#[utoipa::path(put, path = "/api/insights/alerts/channels/{id}/", tag = "alerts",
    params(("id" = String, Path, description = "The id of the channel")), request_body = ChannelInput,
    responses(
        (status = 200, description = "The channel from now on", body = ChannelView),
        (status = 404, description = "No such channel", body = Problem, content_type = PROBLEM_JSON),
        (status = 422, description = "The body is invalid", body = Problem, content_type = PROBLEM_JSON)))]
async fn change(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    Path(id): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
    Json(input): Json<ChannelInput>,
) -> Result<axum::Json<ChannelView>, ApiError> {
    if input.organization_id.is_some() {
        // A foreign organization is refused whether or not the channel is there.
        principal.write_organization(input.organization_id.as_deref(), Scopes::ADMIN)?;
    }
    let _alone = state.notify.changing().await;
    let before = administered(&state, &principal, &id)?;
    if input.organization_id.as_deref().is_some_and(|id| id != before.organization.as_str()) {
        let detail = "a channel stays in its organization";
        return Err(ApiError::invalid_at("/organization_id", "invalid", detail));
    }
    let checked = input.check(&state, Some(&before))?;
    let channel = Channel {
        name: input.name.trim().to_owned(),
        target: checked.target,
        lang: input.lang,
        send_resolved: input.send_resolved,
        enabled: input.enabled,
        updated: state.clock.now(),
        ..Channel::clone(&before)
    };
    state.store.put(vec![channel.put()]).await?;
    let secret = checked.made.map(|secret| secret.expose().to_owned());
    let view = ChannelView { secret, ..ChannelView::from(&channel) };
    let organization = Some(&channel.organization);
    state.own_acts.record(&principal, &context, OwnAct::ChannelChanged, organization, &view.id);
    state.notify.set_channel(channel);
    Ok(axum::Json(view))
}

/// Removes a channel of notifications
///
/// With it goes everything that was on its way to it. Needs `admin`.
#[utoipa::path(delete, path = "/api/insights/alerts/channels/{id}/", tag = "alerts",
    params(("id" = String, Path, description = "The id of the channel")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "No such channel", body = Problem, content_type = PROBLEM_JSON)))]
async fn remove(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    Path(id): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<StatusCode, ApiError> {
    let _alone = state.notify.changing().await;
    let channel = administered(&state, &principal, &id)?;
    state.notify.remove_channel(&channel).await?;
    let organization = Some(&channel.organization);
    state.own_acts.record(&principal, &context, OwnAct::ChannelRemoved, organization, channel.id.as_str());
    Ok(StatusCode::NO_CONTENT)
}

/// What became of a message that tests a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TestView {
    /// Whether it arrived
    delivered: bool,
    /// The status of the answer, of HTTP or SMTP; null without one
    status: Option<u16>,
    /// What went wrong; null when it arrived
    error: Option<String>,
    /// How long it took, in milliseconds
    duration_ms: u64,
}

/// Sends a message that tests a channel
///
/// Once and at once, also to a channel that is disabled; answers when it has arrived or failed. Needs `admin`.
#[utoipa::path(post, path = "/api/insights/alerts/channels/{id}/test/", tag = "alerts",
    params(("id" = String, Path, description = "The id of the channel")),
    responses(
        (status = 200, description = "What became of it: also when it failed", body = TestView),
        (status = 404, description = "No such channel", body = Problem, content_type = PROBLEM_JSON),
        (status = 503, description = "Too many tests at once", body = Problem, content_type = PROBLEM_JSON)))]
async fn test(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    Path(id): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<axum::Json<TestView>, ApiError> {
    let channel = administered(&state, &principal, &id)?;
    let organization = Some(&channel.organization);
    state.own_acts.record(&principal, &context, OwnAct::ChannelTested, organization, channel.id.as_str());
    let tested = state.notify.test(channel).await;
    let Tested { delivered, status, error, duration_ms } =
        tested.ok_or_else(|| ApiError::new(Code::Overloaded, "other channels are being tested"))?;
    Ok(axum::Json(TestView { delivered, status, error, duration_ms }))
}

#[cfg(test)]
mod tests;
