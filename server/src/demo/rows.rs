//! Rows of the three streams as the demo makes them, and batches of them.

use insights_engine::id::{Stream, TenantId};
use insights_engine::schema::stream::{self, MetricKind};
use insights_engine::schema::{Batch, BatchBuilder, Document, Value};
use insights_engine::time::TimestampUs;

/// The credential that the rows of a demo are written with.
const WRITING_KEY: &str = "demo";

/// A product event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EventRow {
    /// When it happened.
    pub(crate) at: TimestampUs,
    /// Its id.
    pub(crate) id: String,
    /// What happened.
    pub(crate) event_type: &'static str,
    /// The user; a visitor has none.
    pub(crate) user_id: Option<String>,
    /// The visitor; a user has none.
    pub(crate) anonymous_id: Option<String>,
    /// The session.
    pub(crate) session_id: String,
    /// The app.
    pub(crate) app_id: String,
    /// The client's address.
    pub(crate) ip: String,
    /// The client.
    pub(crate) user_agent: &'static str,
    /// Members of `event_data`.
    pub(crate) data: Vec<(String, Value)>,
}

/// An audit record; what is `None` or empty is absent.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct AuditRow {
    /// When it happened.
    pub(crate) at: TimestampUs,
    /// Its id.
    pub(crate) id: String,
    /// What was done.
    pub(crate) action: &'static str,
    /// In words.
    pub(crate) description: String,
    /// Who did it: identifier and name.
    pub(crate) user: Option<(String, String)>,
    /// The app it was done in.
    pub(crate) app_id: Option<String>,
    /// From where.
    pub(crate) ip: Option<String>,
    /// With what.
    pub(crate) user_agent: Option<&'static str>,
    /// What it was done to: type, identifier, how it is shown.
    pub(crate) object: Option<(&'static str, String, String)>,
    /// 0 info to 4 critical.
    pub(crate) severity: u64,
    /// Whether it did not succeed.
    pub(crate) failed: bool,
    /// The request it came in.
    pub(crate) request_id: Option<String>,
    /// Members of `metadata`.
    pub(crate) metadata: Vec<(String, Value)>,
    /// Field, before, after.
    pub(crate) changes: Vec<(String, String, String)>,
}

/// A point of a metric.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PointRow {
    /// When it was measured.
    pub(crate) at: TimestampUs,
    /// The metric.
    pub(crate) name: &'static str,
    /// What it says.
    pub(crate) kind: MetricKind,
    /// The value, in the metric's unit.
    pub(crate) value: f64,
    /// The app it is about.
    pub(crate) app_id: Option<String>,
    /// The host it is about.
    pub(crate) host: Option<String>,
    /// The user it is about.
    pub(crate) user_id: Option<String>,
    /// Its labels.
    pub(crate) labels: &'static [(&'static str, &'static str)],
}

/// A member of a document.
pub(crate) fn member(key: &str, value: Value) -> (String, Value) {
    (key.to_owned(), value)
}

/// Text in a document.
pub(crate) fn text(value: impl Into<String>) -> Value {
    Value::Str(value.into())
}

/// The events of one organization, oldest first.
pub(crate) fn events(tenant: &TenantId, mut rows: Vec<EventRow>) -> Batch {
    rows.sort_by_key(|row| row.at);
    let mut out = BatchBuilder::new(tenant.clone(), Stream::Events);
    for row in rows {
        out.i64(&stream::TIME, row.at.0)
            .i64(&stream::RECEIVED, row.at.0)
            .str(&stream::ID, Some(&row.id))
            .str(&stream::WRITING_KEY, Some(WRITING_KEY))
            .str(&stream::USER_ID, row.user_id.as_deref())
            .str(&stream::ANONYMOUS_ID, row.anonymous_id.as_deref())
            .str(&stream::APP_ID, Some(&row.app_id))
            .str(&stream::SESSION_ID, Some(&row.session_id))
            .str(&stream::IP_ADDRESS, Some(&row.ip))
            .str(&stream::USER_AGENT, Some(row.user_agent))
            .str(&stream::EVENT_TYPE, Some(row.event_type))
            .bytes(&stream::EVENT_DATA, document(row.data).as_deref());
        out.finish_row();
    }
    out.build()
}

/// The audit records of one organization, oldest first.
pub(crate) fn audit(tenant: &TenantId, mut rows: Vec<AuditRow>) -> Batch {
    rows.sort_by_key(|row| row.at);
    let mut out = BatchBuilder::new(tenant.clone(), Stream::Audit);
    for row in rows {
        let changes = row.changes.into_iter();
        let changes = changes.map(|(k, before, after)| (k, Value::Array(vec![text(before), text(after)])));
        let object = row.object.as_ref();
        out.i64(&stream::TIME, row.at.0)
            .i64(&stream::RECEIVED, row.at.0)
            .str(&stream::ID, Some(&row.id))
            .str(&stream::WRITING_KEY, Some(WRITING_KEY))
            .str(&stream::REQUEST_ID, row.request_id.as_deref())
            .str(&stream::USER_ID, row.user.as_ref().map(|(id, _)| id.as_str()))
            .str(&stream::USER_NAME, row.user.as_ref().map(|(_, name)| name.as_str()))
            .str(&stream::APP_ID, row.app_id.as_deref())
            .str(&stream::IP_ADDRESS, row.ip.as_deref())
            .str(&stream::USER_AGENT, row.user_agent)
            .str(&stream::ACTION_TYPE, Some(row.action))
            .str(&stream::DESCRIPTION, Some(&row.description))
            .str(&stream::OBJECT_TYPE, object.map(|(kind, _, _)| *kind))
            .str(&stream::OBJECT_ID, object.map(|(_, id, _)| id.as_str()))
            .str(&stream::OBJECT_REPR, object.map(|(_, _, shown)| shown.as_str()))
            .u64(&stream::SEVERITY, row.severity)
            .u64(&stream::OUTCOME, u64::from(row.failed))
            .bytes(&stream::METADATA, document(row.metadata).as_deref())
            .bytes(&stream::CHANGES, document(changes.collect()).as_deref());
        out.finish_row();
    }
    out.build()
}

/// The metric points of one organization, oldest first.
pub(crate) fn points(tenant: &TenantId, mut rows: Vec<PointRow>) -> Batch {
    rows.sort_by_key(|row| row.at);
    let mut out = BatchBuilder::new(tenant.clone(), Stream::Metrics);
    for row in rows {
        let labels = row.labels.iter().map(|(key, value)| member(key, text(*value)));
        out.i64(&stream::TIME, row.at.0)
            .i64(&stream::RECEIVED, row.at.0)
            .str(&stream::WRITING_KEY, Some(WRITING_KEY))
            .str(&stream::USER_ID, row.user_id.as_deref())
            .str(&stream::APP_ID, row.app_id.as_deref())
            .str(&stream::NAME, Some(row.name))
            .str(&stream::HOST, row.host.as_deref())
            .bytes(&stream::LABELS, document(labels.collect()).as_deref())
            .u64(&stream::KIND, row.kind as u64)
            .f64(&stream::VALUE, row.value);
        out.finish_row();
    }
    out.build()
}

/// An encoded object; absent without members.
fn document(members: Vec<(String, Value)>) -> Option<Vec<u8>> {
    (!members.is_empty()).then(|| Document::encode(&Value::Object(members)).as_bytes().to_vec())
}
