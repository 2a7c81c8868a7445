//! Rows of the three streams as records.

use insights_engine::Result;
use insights_engine::id::{Stream, TenantId};
use insights_engine::schema::stream::{self, ColumnDef, MetricKind};
use insights_engine::schema::{Batch, BatchBuilder, Column, ColumnId, Schema};
use insights_engine::time::TimestampUs;
use serde::Serialize;
use utoipa::ToSchema;

use super::record::{Cell, Record};
use crate::domain::audit::{Outcome, Severity};
use crate::domain::metric::kind_name;

/// An event as it is listed. Absent values are null.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventRecord {
    /// Its id: the client's, or one that the server derives
    pub id: String,
    /// Its place in its organization's stream, from 1
    pub seq: u64,
    /// When it happened
    pub timestamp: String,
    /// When the server received it
    pub received_at: String,
    /// Whose it is
    pub organization_id: String,
    /// What happened
    pub event_type: String,
    /// Its own data
    #[schema(value_type = Object)]
    pub event_data: serde_json::Value,
    /// The client's session
    pub session_id: Option<String>,
    /// The user
    pub user_id: Option<String>,
    /// The visitor, when there is no user
    pub anonymous_id: Option<String>,
    /// The application
    pub app_id: Option<String>,
    /// The client's address
    pub ip_address: Option<String>,
    /// The client
    pub user_agent: Option<String>,
    /// The request it came in
    pub request_id: Option<String>,
    /// The trace it belongs to
    pub trace_id: Option<String>,
}

/// What an audit record is about.
#[derive(Debug, Serialize, ToSchema)]
pub struct ContentObject {
    /// The type of the object
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The id of the object
    pub id: Option<String>,
    /// How it was shown
    pub repr: Option<String>,
    /// Where it is
    pub url: Option<String>,
}

/// An audit record as it is listed. Absent values are null.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditRecord {
    /// Its id: the client's, or one that the server derives
    pub id: String,
    /// Its place in its organization's log, from 1, without holes
    pub seq: u64,
    /// When it happened
    pub timestamp: String,
    /// When the server received it
    pub received_at: String,
    /// Whose it is
    pub organization_id: String,
    /// What was done, dotted
    pub action_type: String,
    /// In words
    pub description: Option<String>,
    /// Who did it
    pub user_id: Option<String>,
    /// Their name at the time
    pub user_name: Option<String>,
    /// The application
    pub app_id: Option<String>,
    /// What it was done to
    pub content_object: ContentObject,
    /// Further objects
    #[schema(value_type = Option<Vec<Object>>)]
    pub targets: Option<serde_json::Value>,
    /// The client's address
    pub ip_address: Option<String>,
    /// The client
    pub user_agent: Option<String>,
    /// How grave it is
    pub severity: Severity,
    /// Whether it succeeded
    pub outcome: Outcome,
    /// Context
    #[schema(value_type = Object)]
    pub metadata: serde_json::Value,
    /// Field -> [before, after]
    #[schema(value_type = Option<Object>)]
    pub changes: Option<serde_json::Value>,
    /// The request it came in
    pub request_id: Option<String>,
    /// The trace it belongs to
    pub trace_id: Option<String>,
    /// The record's leaf in its organization's tree, hexadecimal
    pub leaf_hash: String,
    /// Whether its personal fields were erased
    pub erased: bool,
}

/// A metric point as it is exported. Absent values are null.
#[derive(Debug, Serialize, ToSchema)]
pub struct PointRecord {
    /// When it was measured
    pub timestamp: String,
    /// When the server received it
    pub received_at: String,
    /// Whose it is
    pub organization_id: String,
    /// The metric
    pub name: String,
    /// `gauge`, `counter` or `histogram`
    #[serde(rename = "type")]
    pub kind: String,
    /// The value
    pub value: f64,
    /// The application
    pub app_id: Option<String>,
    /// The host
    pub host: Option<String>,
    /// The user
    pub user_id: Option<String>,
    /// Its labels
    #[schema(value_type = Object)]
    pub labels: serde_json::Value,
    /// The id that the client gave it
    pub id: Option<String>,
    /// The request it came in
    pub request_id: Option<String>,
    /// The trace it belongs to
    pub trace_id: Option<String>,
}

/// One row of a batch that was read back.
#[derive(Debug, Clone, Copy)]
struct Row<'a> {
    batch: &'a Batch,
    index: usize,
}

impl<'a> Row<'a> {
    fn bytes(self, def: &ColumnDef) -> Option<&'a [u8]> {
        self.batch.column(def)?.as_bytes()?.get(self.index)
    }

    fn text(self, def: &ColumnDef) -> Cell<'a> {
        Cell::text(self.bytes(def).and_then(|bytes| std::str::from_utf8(bytes).ok()))
    }

    fn number(self, def: &ColumnDef) -> u64 {
        let column = self.batch.column(def).and_then(Column::as_u64);
        column.and_then(|values| values.get(self.index)).copied().unwrap_or(0)
    }

    fn double(self, def: &ColumnDef) -> f64 {
        let column = self.batch.column(def).and_then(Column::as_f64);
        column.and_then(|values| values.get(self.index)).copied().unwrap_or(0.0)
    }

    fn time(self, def: &ColumnDef) -> TimestampUs {
        let column = self.batch.column(def).and_then(Column::as_i64);
        TimestampUs(column.and_then(|values| values.get(self.index)).copied().unwrap_or(0))
    }

    fn document(self, def: &ColumnDef, absent: Cell<'a>) -> Cell<'a> {
        self.bytes(def).map_or(absent, Cell::Document)
    }

    /// The id the client gave, or the one that `derive` makes of seq and time of receipt.
    fn id(self, derive: DeriveId<'_>) -> Cell<'a> {
        match self.text(&stream::ID) {
            Cell::Null => {
                let id = derive(self.batch, self.number(&stream::SEQ), self.time(&stream::RECEIVED));
                Cell::Text(id.into())
            }
            given => given,
        }
    }

    fn organization(self) -> Cell<'a> {
        Cell::text(Some(self.batch.tenant().as_str()))
    }
}

/// The columns that some fields of a record are made of; all, as `None`, for the hash of the whole record.
pub fn columns_of(stream: Stream, fields: &[String]) -> Option<Vec<ColumnId>> {
    let mut columns = Vec::new();
    for field in fields {
        match field.as_str() {
            "leaf_hash" => return None,
            "id" if stream == Stream::Metrics => columns.push(stream::ID.id),
            "id" => columns.extend([stream::ID.id, stream::SEQ.id, stream::RECEIVED.id]),
            "type" => columns.push(stream::KIND.id),
            "erased" => columns.push(stream::COMMITMENT.id),
            "content_object" => columns.extend(
                [stream::OBJECT_TYPE, stream::OBJECT_ID, stream::OBJECT_REPR, stream::OBJECT_URL]
                    .map(|c| c.id),
            ),
            other => columns.extend(Schema::of(stream).by_name(other).map(|def| def.id)),
        }
    }
    Some(columns)
}

/// Makes the id of a record whose client gave none, from seq and time of receipt.
pub type DeriveId<'f> = &'f dyn Fn(&Batch, u64, TimestampUs) -> String;

/// Row `index` of a batch as a record; `leaf` is that of an audit record, and not looked at for an event.
pub fn record<'a>(batch: &'a Batch, index: usize, leaf: [u8; 32], derive: DeriveId<'_>) -> Record<'a> {
    match batch.stream() {
        Stream::Audit => audit(batch, index, leaf, derive),
        Stream::Events => event(batch, index, derive),
        Stream::Metrics => point(batch, index),
    }
}

/// One empty row of a stream: what the columns of an empty list are taken from.
///
/// # Errors
///
/// None in practice: the name of its tenant is a constant.
pub fn blank(stream: Stream) -> Result<Batch> {
    let mut batch = BatchBuilder::new(TenantId::new("-")?, stream);
    batch.finish_row();
    Ok(batch.build())
}

fn event<'a>(batch: &'a Batch, index: usize, derive: DeriveId<'_>) -> Record<'a> {
    let row = Row { batch, index };
    Record::new(vec![
        ("id", row.id(derive)),
        ("seq", Cell::Number(row.number(&stream::SEQ))),
        ("timestamp", Cell::Time(row.time(&stream::TIME))),
        ("received_at", Cell::Time(row.time(&stream::RECEIVED))),
        ("organization_id", row.organization()),
        ("event_type", row.text(&stream::EVENT_TYPE)),
        ("event_data", row.document(&stream::EVENT_DATA, Cell::NoMembers)),
        ("session_id", row.text(&stream::SESSION_ID)),
        ("user_id", row.text(&stream::USER_ID)),
        ("anonymous_id", row.text(&stream::ANONYMOUS_ID)),
        ("app_id", row.text(&stream::APP_ID)),
        ("ip_address", row.text(&stream::IP_ADDRESS)),
        ("user_agent", row.text(&stream::USER_AGENT)),
        ("request_id", row.text(&stream::REQUEST_ID)),
        ("trace_id", row.text(&stream::TRACE_ID)),
    ])
}

fn audit<'a>(batch: &'a Batch, index: usize, leaf: [u8; 32], derive: DeriveId<'_>) -> Record<'a> {
    let row = Row { batch, index };
    let severity = Severity::from_tag(row.number(&stream::SEVERITY)).unwrap_or_default();
    let outcome = Outcome::from_tag(row.number(&stream::OUTCOME)).unwrap_or_default();
    let object = vec![
        ("type", row.text(&stream::OBJECT_TYPE)),
        ("id", row.text(&stream::OBJECT_ID)),
        ("repr", row.text(&stream::OBJECT_REPR)),
        ("url", row.text(&stream::OBJECT_URL)),
    ];
    Record::new(vec![
        ("id", row.id(derive)),
        ("seq", Cell::Number(row.number(&stream::SEQ))),
        ("timestamp", Cell::Time(row.time(&stream::TIME))),
        ("received_at", Cell::Time(row.time(&stream::RECEIVED))),
        ("organization_id", row.organization()),
        ("action_type", row.text(&stream::ACTION_TYPE)),
        ("description", row.text(&stream::DESCRIPTION)),
        ("user_id", row.text(&stream::USER_ID)),
        ("user_name", row.text(&stream::USER_NAME)),
        ("app_id", row.text(&stream::APP_ID)),
        ("content_object", Cell::Object(object)),
        ("targets", row.document(&stream::TARGETS, Cell::Null)),
        ("ip_address", row.text(&stream::IP_ADDRESS)),
        ("user_agent", row.text(&stream::USER_AGENT)),
        ("severity", Cell::text(Some(severity.name()))),
        ("outcome", Cell::text(Some(outcome.name()))),
        ("metadata", row.document(&stream::METADATA, Cell::NoMembers)),
        ("changes", row.document(&stream::CHANGES, Cell::Null)),
        ("request_id", row.text(&stream::REQUEST_ID)),
        ("trace_id", row.text(&stream::TRACE_ID)),
        ("leaf_hash", Cell::Text(hex(&leaf).into())),
        ("erased", Cell::Flag(row.bytes(&stream::COMMITMENT).is_some())),
    ])
}

fn point(batch: &Batch, index: usize) -> Record<'_> {
    let row = Row { batch, index };
    let kind = MetricKind::from_tag(row.number(&stream::KIND)).map(kind_name);
    Record::new(vec![
        ("timestamp", Cell::Time(row.time(&stream::TIME))),
        ("received_at", Cell::Time(row.time(&stream::RECEIVED))),
        ("organization_id", row.organization()),
        ("name", row.text(&stream::NAME)),
        ("type", Cell::text(kind)),
        ("value", Cell::Double(row.double(&stream::VALUE))),
        ("app_id", row.text(&stream::APP_ID)),
        ("host", row.text(&stream::HOST)),
        ("user_id", row.text(&stream::USER_ID)),
        ("labels", row.document(&stream::LABELS, Cell::NoMembers)),
        ("id", row.text(&stream::ID)),
        ("request_id", row.text(&stream::REQUEST_ID)),
        ("trace_id", row.text(&stream::TRACE_ID)),
    ])
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        for nibble in [byte >> 4, byte & 15] {
            out.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use utoipa::PartialSchema;

    use super::*;

    fn one_row(stream: Stream, id: Option<&str>) -> Batch {
        let mut batch = BatchBuilder::new(TenantId::new("acme").unwrap(), stream);
        batch.str(&stream::ID, id).u64(&stream::SEQ, 9).i64(&stream::RECEIVED, 5);
        batch.finish_row();
        batch.build()
    }

    fn derive(batch: &Batch, seq: u64, received: TimestampUs) -> String {
        format!("{}-{seq}-{}", batch.tenant(), received.0)
    }

    #[test]
    fn every_field_names_its_columns() {
        for (stream, fields) in [
            (Stream::Events, properties::<EventRecord>()),
            (Stream::Audit, properties::<AuditRecord>()),
            (Stream::Metrics, properties::<PointRecord>()),
        ] {
            for field in fields {
                let columns = columns_of(stream, std::slice::from_ref(&field));
                match field.as_str() {
                    "leaf_hash" => assert_eq!(columns, None),
                    "organization_id" => assert_eq!(columns, Some(Vec::new())),
                    _ => assert!(columns.is_some_and(|columns| !columns.is_empty()), "{field}"),
                }
            }
        }
    }

    fn properties<T: PartialSchema>() -> Vec<String> {
        let schema = serde_json::to_value(T::schema()).unwrap();
        schema["properties"].as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn the_documented_fields_are_the_ones_that_are_written() {
        let sorted = |record: &Record<'_>| {
            let mut names: Vec<String> = record.names().map(str::to_owned).collect();
            names.sort();
            names
        };
        let mut documented = properties::<EventRecord>();
        documented.sort();
        assert_eq!(sorted(&record(&blank(Stream::Events).unwrap(), 0, [0; 32], &derive)), documented);
        documented = properties::<PointRecord>();
        documented.sort();
        assert_eq!(sorted(&record(&blank(Stream::Metrics).unwrap(), 0, [0; 32], &derive)), documented);
        documented = properties::<AuditRecord>();
        documented.sort();
        assert_eq!(sorted(&record(&blank(Stream::Audit).unwrap(), 0, [0; 32], &derive)), documented);
    }

    #[test]
    fn an_id_is_the_clients_or_derived() {
        for (given, expected) in [(Some("mine"), "mine"), (None, "acme-9-5")] {
            let batch = one_row(Stream::Events, given);
            let json = serde_json::to_value(event(&batch, 0, &derive)).unwrap();
            assert_eq!(json["id"], expected);
            assert_eq!(json["event_data"], serde_json::json!({}));
        }
    }

    #[test]
    fn an_audit_record_names_severity_outcome_and_leaf() {
        let batch = one_row(Stream::Audit, None);
        let json = serde_json::to_value(audit(&batch, 0, [0xab; 32], &derive)).unwrap();
        assert_eq!(json["severity"], "info");
        assert_eq!(json["outcome"], "success");
        assert_eq!(json["leaf_hash"], "ab".repeat(32));
        assert_eq!(json["content_object"]["type"], serde_json::Value::Null);
    }
}
