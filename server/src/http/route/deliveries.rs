//! Deliveries of notifications: what waits, what arrived, dead letters and sending them again.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use insights_engine::time::TimestampUs;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use crate::app::AppState;
use crate::auth::{Principal, Scopes};
use crate::domain::audit::Severity;
use crate::domain::instant::Rfc3339;
use crate::domain::own_act::OwnAct;
use crate::export::{Csv, Format};
use crate::http::error::{ApiError, Code, PROBLEM_JSON, Problem};
use crate::http::extract::{NoParameters, Query};
use crate::http::list::{Limit, Pages, filter, table};
use crate::http::middleware::context::RequestContext;
use crate::notify::delivery::{Delivery, DeliveryId, DeliveryState, Recipient, RecipientState};
use crate::notify::{AlertStatus, Redelivered};

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(
    paths(list, redeliver),
    components(schemas(
        DeliveryList,
        DeliveryView,
        DeliveryState,
        AttemptView,
        RecipientView,
        RecipientState,
        AlertStatus
    ))
)]
pub struct Api;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/insights/alerts/deliveries/", get(list))
        .route("/api/insights/alerts/deliveries/{id}/redeliver/", post(redeliver))
}

/// An attempt that is over.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AttemptView {
    /// When it ended
    #[schema(format = DateTime)]
    at: String,
    /// The status of the answer, of HTTP or SMTP; null without one
    status: Option<u16>,
    /// What went wrong; null when it arrived
    error: Option<String>,
}

/// A recipient of an e-mail.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RecipientView {
    /// The address
    address: String,
    /// What became of it
    state: RecipientState,
    /// The status of the relay's answer; null when it was taken
    status: Option<u16>,
    /// Why it was not taken; null when it was
    error: Option<String>,
}

/// One message on its way to one channel.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DeliveryView {
    /// Its id: what `webhook-id` says
    id: String,
    /// Whose message it is
    organization_id: String,
    /// Where to
    channel_id: String,
    /// How far it is
    state: DeliveryState,
    /// How many attempts have failed since it was queued
    attempts: u32,
    /// The title of the message
    title: String,
    /// Whether it says that something is wrong, or over
    status: AlertStatus,
    /// How grave it is
    severity: Severity,
    /// The group of alerts it is about: what it says comes after what was said of the group before
    group_key: String,
    /// When it was enqueued
    #[schema(format = DateTime)]
    enqueued_at: String,
    /// When it is due next; null when it is over or going on
    #[schema(format = DateTime)]
    next_attempt_at: Option<String>,
    /// When it arrived or was given up
    #[schema(format = DateTime)]
    ended_at: Option<String>,
    /// The last attempt
    last_attempt: Option<AttemptView>,
    /// Each recipient of an e-mail of which not all were taken at once; else empty
    recipients: Vec<RecipientView>,
}

impl From<&Recipient> for RecipientView {
    fn from(recipient: &Recipient) -> Self {
        let Recipient { address, state, status, error } = recipient.clone();
        Self { address, state, status, error }
    }
}

fn written(at: TimestampUs) -> String {
    Rfc3339(at).to_string()
}

impl From<&Delivery> for DeliveryView {
    fn from(delivery: &Delivery) -> Self {
        let message = &delivery.message;
        Self {
            id: delivery.id.to_string(),
            organization_id: message.organization.to_string(),
            channel_id: delivery.channel.to_string(),
            state: delivery.state,
            attempts: delivery.attempts,
            title: message.title.clone(),
            status: message.status,
            severity: message.severity,
            group_key: message.group_key.clone(),
            enqueued_at: written(delivery.enqueued),
            next_attempt_at: delivery
                .due
                .filter(|_| delivery.state != DeliveryState::Delivering)
                .map(written),
            ended_at: delivery.ended.map(written),
            last_attempt: delivery.last.as_ref().map(|last| AttemptView {
                at: written(last.at),
                status: last.status,
                error: last.error.clone(),
            }),
            recipients: delivery.recipients.iter().map(RecipientView::from).collect(),
        }
    }
}

/// Deliveries, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryList {
    /// Those of the page
    results: Vec<DeliveryView>,
    /// The cursor of the next page, null at the end
    next_cursor: Option<String>,
}

impl table::Table for DeliveryList {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "organization_id",
        "channel_id",
        "state",
        "attempts",
        "title",
        "status",
        "severity",
        "group_key",
        "enqueued_at",
        "next_attempt_at",
        "ended_at",
        "last_status",
        "last_error",
        "recipients_left_out",
    ];
    type Row = DeliveryView;

    fn rows(&self) -> &[DeliveryView] {
        &self.results
    }

    fn write_csv(row: &DeliveryView, csv: &mut Csv) {
        let last = row.last_attempt.as_ref();
        let status = last.and_then(|last| last.status).map(|status| status.to_string());
        csv.text(&row.id);
        csv.text(&row.organization_id);
        csv.text(&row.channel_id);
        csv.plain(row.state.name());
        csv.plain(row.attempts);
        csv.text(&row.title);
        csv.plain(row.status.name());
        csv.plain(row.severity.name());
        csv.text(&row.group_key);
        csv.plain(&row.enqueued_at);
        csv.plain(row.next_attempt_at.as_deref().unwrap_or_default());
        csv.plain(row.ended_at.as_deref().unwrap_or_default());
        csv.plain(status.as_deref().unwrap_or_default());
        csv.text(last.and_then(|last| last.error.as_deref()).unwrap_or_default());
        let left_out = row.recipients.iter().filter(|recipient| recipient.state != RecipientState::Taken);
        let left_out: Vec<&str> = left_out.map(|recipient| recipient.address.as_str()).collect();
        csv.text(&left_out.join(" "));
    }
}

/// Which deliveries are listed.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// The organization; a superuser who names none gets the deliveries of all.
    organization_id: Option<String>,
    /// Only those in this state: `dead` are the dead letters.
    state: Option<DeliveryState>,
    /// Only those to this channel.
    channel_id: Option<String>,
    /// Rows of a page, 1 to 1000; `all` gives every row in NDJSON or CSV.
    #[serde(default)]
    #[param(value_type = Option<String>, default = "50")]
    limit: Limit,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// The format; without it `Accept` decides.
    format: Option<Format>,
}

/// Deliveries of notifications, newest first
///
/// What waits, the last hundred that arrived, and the dead letters of the last 30 days. Needs `admin`.
#[utoipa::path(get, path = "/api/insights/alerts/deliveries/", tag = "alerts", params(ListQuery),
    responses(
        (status = 200, description = "The deliveries", body = DeliveryList),
        (status = 403, description = "Without `admin`", body = Problem, content_type = PROBLEM_JSON)))]
async fn list(
    State(state): State<AppState>,
    principal: Principal,
    headers: HeaderMap,
    uri: Uri,
    Query(query): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let scope = principal.read_scope(query.organization_id.as_deref(), Scopes::ADMIN)?;
    let organization = scope.organization();
    let format = Format::wanted(query.format, filter::accept(&headers));
    let page = (query.limit, query.cursor.as_deref(), format);
    let pages = Pages::wanted(&state, &uri, ("deliveries", organization), page).await?;
    let channel = filter::present(query.channel_id.as_deref());
    let mut deliveries = state.notify.deliveries(organization);
    deliveries.retain(|delivery| {
        query.state.is_none_or(|state| delivery.state == state)
            && channel.is_none_or(|channel| delivery.channel.as_str() == channel)
    });
    let (deliveries, next_cursor) =
        pages.cut(deliveries, |delivery| (delivery.seq, delivery.id.as_str())).await?;
    let results = deliveries.iter().map(DeliveryView::from).collect();
    let list = DeliveryList { results, next_cursor };
    pages.respond(&list, list.next_cursor.as_deref())
}

/// Sends a dead letter again
///
/// It is in line again, in the place of its group, with all its attempts and under its old id. Needs `admin`.
#[utoipa::path(post, path = "/api/insights/alerts/deliveries/{id}/redeliver/", tag = "alerts",
    params(("id" = String, Path, description = "The id of the delivery")),
    responses(
        (status = 202, description = "It is in line again", body = DeliveryView),
        (status = 404, description = "No such delivery", body = Problem, content_type = PROBLEM_JSON),
        (status = 409, description = "It is no dead letter", body = Problem, content_type = PROBLEM_JSON)))]
async fn redeliver(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    Path(id): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Response, ApiError> {
    principal.require(Scopes::ADMIN)?;
    let found = DeliveryId::parse(&id).and_then(|id| state.notify.delivery(&id));
    let own = found.filter(|delivery| {
        principal.write_organization(Some(delivery.organization().as_str()), Scopes::ADMIN).is_ok()
    });
    let delivery = own.ok_or_else(ApiError::not_found)?;
    match state.notify.redeliver(&delivery.id).await? {
        Redelivered::Queued(delivery) => {
            let organization = Some(delivery.organization());
            let act = OwnAct::DeliveryRepeated;
            state.own_acts.record(&principal, &context, act, organization, delivery.id.as_str());
            Ok((StatusCode::ACCEPTED, axum::Json(DeliveryView::from(&*delivery))).into_response())
        }
        Redelivered::NotDead => Err(ApiError::new(Code::Conflict, "only a dead letter is sent again")),
    }
}

#[cfg(test)]
mod tests;
