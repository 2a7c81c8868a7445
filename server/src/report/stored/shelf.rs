//! Where reports stand: the audit log of their organization.

use std::collections::HashSet;

use insights_engine::append::Append;
use insights_engine::id::{Stream, TenantId};
use insights_engine::query::{Aggregate, Cursor, Field, Filter, Literal, Op, Order, RowPage, RowRequest};
use insights_engine::schema::{ColumnDef, stream};
use insights_engine::time::{DAY_US, TimeRange, TimestampUs};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;

use super::ReportType;
use super::ask::StoredRequest;
use super::body::dates;
use super::compute::{Computed, Source, compute};
use super::record::{Found, GENERATED, Meta, NoReport, Parts, REPORT, read_heads, write};
use crate::app::AppState;
use crate::auth::ReadScope;
use crate::domain::instant::Rfc3339;
use crate::http::error::{ApiError, Code};
use crate::report::answer::CostBlock;
use crate::report::fields::column;

/// Records that are read at once when a report is put together.
const PAGE_ROWS: usize = 100;

/// A report, made now or long ago.
#[derive(Debug)]
pub(crate) struct Made {
    /// Where it stands; `None` when it is not kept: its time is not over, or something could not be read.
    pub(crate) found: Option<Found>,
    /// Its body.
    pub(crate) body: Value,
    /// Whether it was made by this call, and what that cost.
    pub(crate) cost: Option<CostBlock>,
}

/// Which reports are listed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// Only of this type.
    pub(crate) kind: Option<ReportType>,
    /// None of this type: what the reader may not see.
    pub(crate) but: Option<ReportType>,
    /// Only of this application.
    pub(crate) app_id: Option<String>,
}

/// The reports that are being made, so that none is made twice.
#[derive(Debug, Default)]
pub struct Making {
    ids: Mutex<HashSet<String>>,
    done: Notify,
}

/// Holds the right to make a report, for as long as it lives.
#[derive(Debug)]
struct Turn {
    state: AppState,
    id: String,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let making = &self.state.making;
        making.ids.lock().remove(&self.id);
        making.done.notify_waiters();
    }
}

impl Turn {
    /// Waits until nobody else makes the report of this id. There are at most as many ids as requests.
    async fn wait(state: &AppState, id: &str) -> Self {
        loop {
            // Registered before the look, so that an end in between is not missed.
            let done = state.making.done.notified();
            tokio::pin!(done);
            done.as_mut().enable();
            if state.making.ids.lock().insert(id.to_owned()) {
                return Self { state: state.clone(), id: id.to_owned() };
            }
            done.await;
        }
    }
}

/// Makes and keeps reports of one organization.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Maker<'a> {
    /// The application.
    pub(crate) state: &'a AppState,
    /// Whose rows.
    pub(crate) scope: &'a ReadScope,
    /// The platform's own hosts, when organizations without hosts see them.
    pub(crate) platform: Option<&'a ReadScope>,
    /// Whose reports.
    pub(crate) organization: &'a TenantId,
    /// Most reports that are kept in 24 hours; further ones are answered and not kept.
    pub(crate) a_day_max: u64,
}

impl Maker<'_> {
    /// The report that is asked for: as it is kept, else made now, and kept when its time is over.
    ///
    /// # Errors
    ///
    /// Those of the engine on the wire.
    pub(crate) async fn make(&self, request: StoredRequest) -> Result<Made, ApiError> {
        if !request.is_closed() {
            let made = self.computed(&request).await?;
            return Ok(Made { found: None, body: made.body, cost: Some(made.cost) });
        }
        let id = request.id(self.organization);
        let turn = Turn::wait(self.state, &id).await;
        // A report is never made before its time is over. One that a clock made that ran ahead does not stand.
        let until = TimestampUs(self.state.clock.now().0.saturating_add(1));
        let made = TimeRange { start: request.window.range.end, end: until };
        if let Some(found) = find(self.state, self.scope, &id, made).await? {
            let body = fetch(self.state, self.scope, &found).await?;
            return Ok(Made { found: Some(found), body, cost: None });
        }
        let made = self.computed(&request).await?;
        let found = if made.is_whole() && self.has_room().await? {
            Some(self.keep(turn, &request, made.body.clone()).await?)
        } else {
            None
        };
        Ok(Made { found, body: made.body, cost: Some(made.cost) })
    }

    async fn computed(&self, request: &StoredRequest) -> Result<Computed, ApiError> {
        let (scope, platform) = (self.scope.clone(), self.platform.cloned());
        let (organization, config) = (self.organization.clone(), self.state.config.clone());
        let request = request.clone();
        let answer = self.state.store.ask(move |asking| {
            let source = Source {
                asking,
                scope: &scope,
                platform: platform.as_ref(),
                organization: &organization,
                config: &config,
            };
            compute(&source, &request)
        });
        answer.await?
    }

    /// Whether one more may be kept: reading must not fill the log without end, nor make an organization.
    async fn has_room(&self) -> Result<bool, ApiError> {
        if !self.state.store.tenant_exists(self.organization) {
            return Ok(false);
        }
        if self.a_day_max == u64::MAX {
            return Ok(true);
        }
        let start = TimestampUs(self.state.clock.now().0.saturating_sub(DAY_US));
        let heads = heads(self.scope, TimeRange { start, end: TimeRange::ALL.end }, 0);
        let mut query = self.scope.query(Stream::Audit, heads.window);
        query.filter = heads.filter;
        query.aggregates = vec![Aggregate::Count];
        let answer = self.state.store.aggregate(self.scope, query).await?;
        let count = answer.groups.first().and_then(|group| group.values.first()).map_or(0, |n| n.as_u64());
        Ok(count < self.a_day_max)
    }

    async fn keep(&self, turn: Turn, request: &StoredRequest, body: Value) -> Result<Found, ApiError> {
        let range = request.window.range;
        let (start_date, end_date) = dates(&request.window);
        let meta = Meta {
            version: super::VERSION,
            report_type: request.kind,
            app_id: request.app_id.clone(),
            start_date,
            end_date,
            start: Rfc3339(range.start).to_string(),
            end: Rfc3339(range.end).to_string(),
            timezone: request.window.zone_name().to_owned(),
            sha256: String::new(),
            bytes: 0,
            parts: 0,
            user_parts: 0,
        };
        let now = self.state.clock.now();
        let batch = write(&turn.id, self.organization, now, meta, body).map_err(damaged)?;
        let mut found = read_heads(&batch).into_iter().next().ok_or_else(ApiError::internal)?;
        // As a task of the runtime: when the client leaves meanwhile, the turn ends only once the report can be found.
        let appended = tokio::spawn(async move { turn.state.store.append(Append::batch(batch)).await });
        let appended = appended.await.map_err(|_| ApiError::internal())??;
        let kept = appended.batches.first().ok_or_else(ApiError::internal)?;
        found.seq = kept.seq_of(0).0;
        Ok(found)
    }
}

/// The report of an id that was made in a time; the first one should there be two.
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) async fn find(
    state: &AppState,
    scope: &ReadScope,
    id: &str,
    made: TimeRange,
) -> Result<Option<Found>, ApiError> {
    let mut request = heads(scope, made, 1);
    request.order = Order::Asc;
    request.filter = Filter::And(vec![request.filter, is(&stream::OBJECT_ID, id)]);
    let page = rows(state, scope, request).await?;
    Ok(page.batches.iter().flat_map(read_heads).next())
}

/// Reports, the newest first, and where the next page starts.
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) async fn list(
    state: &AppState,
    scope: &ReadScope,
    range: TimeRange,
    wanted: &Wanted,
    (limit, after): (usize, Option<Cursor>),
) -> Result<(Vec<Found>, Option<Cursor>), ApiError> {
    let mut request = heads(scope, range, limit);
    let kind = |kind: ReportType| {
        let field = Field::Path(stream::METADATA.id, vec!["report_type".to_owned()]);
        Filter::Compare(field, Op::Is(Literal::Str(kind.name().to_owned())))
    };
    let mut all = vec![request.filter];
    all.extend(wanted.kind.map(kind));
    all.extend(wanted.but.map(|but| Filter::Not(Box::new(kind(but)))));
    all.extend(wanted.app_id.as_deref().map(|app| is(&stream::APP_ID, app)));
    request.filter = Filter::And(all);
    request.after = after;
    let page = rows(state, scope, request).await?;
    Ok((page.batches.iter().flat_map(read_heads).collect(), page.next))
}

/// The body of a report that was found.
///
/// # Errors
///
/// `damaged` when its records are not what they were, and those of the engine on the wire.
pub(crate) async fn fetch(state: &AppState, scope: &ReadScope, found: &Found) -> Result<Value, ApiError> {
    let last = found.seq.saturating_add(found.meta.parts + found.meta.user_parts);
    let seq = |op| Filter::Compare(column(&stream::SEQ), op);
    let number = |n: u64| i64::try_from(n).map_or(Literal::U64(n), Literal::I64);
    // They have the time of the first one.
    let range = TimeRange { start: found.at, end: TimestampUs(found.at.0.saturating_add(1)) };
    let mut request = scope.row_request(Stream::Audit, range, PAGE_ROWS);
    request.order = Order::Asc;
    request.filter = Filter::And(vec![seq(Op::Gt(number(found.seq))), seq(Op::Lte(number(last)))]);
    request.columns = Some([stream::SEQ, stream::OBJECT_TYPE, stream::METADATA].map(|def| def.id).into());
    let mut parts = Parts::default();
    loop {
        let page = rows(state, scope, request.clone()).await?;
        for batch in &page.batches {
            parts.take(batch).map_err(damaged)?;
        }
        request.after = page.next;
        if request.after.is_none() {
            return parts.body(&found.meta).map_err(damaged);
        }
    }
}

/// A question for first records.
fn heads(scope: &ReadScope, range: TimeRange, limit: usize) -> RowRequest {
    let mut request = scope.row_request(Stream::Audit, range, limit);
    request.filter = Filter::And(vec![is(&stream::ACTION_TYPE, GENERATED), is(&stream::OBJECT_TYPE, REPORT)]);
    let columns = [stream::TIME, stream::SEQ, stream::OBJECT_ID, stream::METADATA];
    request.columns = Some(columns.map(|def| def.id).into());
    request
}

fn is(def: &ColumnDef, text: &str) -> Filter {
    Filter::Compare(column(def), Op::Is(Literal::Str(text.to_owned())))
}

async fn rows(state: &AppState, scope: &ReadScope, request: RowRequest) -> Result<RowPage, ApiError> {
    let range = request.window;
    let page = state.store.rows(scope, request).await;
    page.map_err(|error| ApiError::of_read(error, Stream::Audit, range, &state.store.health().damaged))
}

fn damaged(error: NoReport) -> ApiError {
    tracing::error!(error = &error as &dyn std::error::Error, "a stored report cannot be read");
    ApiError::new(Code::Damaged, "a stored report is damaged")
}
