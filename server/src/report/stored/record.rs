//! A report as audit records of its organization, and back.
//!
//! | record | object | metadata |
//! |---|---|---|
//! | `insights.report.generated`, the first | `report`, the report's id | [`Meta`] |
//! | `insights.report.part`, one or more | `report.part`, the report's id | `index`, `body`: base64 of a piece of the zstd of the body |
//! | `insights.report.finding`, any number | `report.user`, the user | `report_id`, `findings`: what they say of the user |
//!
//! All are rows of one append, so that they have one time and follow each other in the log: the first one says how
//! many there are, and those whose user was erased are found by their place. A body may be larger than a document of
//! the log, which is why it has parts; the first record stays small, so that lists read little.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use insights_engine::id::{Stream, TenantId};
use insights_engine::schema::{Batch, BatchBuilder, BytesColumn, ColumnDef, stream};
use insights_engine::time::TimestampUs;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::body::{BODY_BYTES_MAX, canonical, sha256};
use super::personal::{FINDINGS_OF_RECORD_MAX, Personal, put_back, take_out};
use super::{ReportType, VERSION};
use crate::domain::document_json::{from_json, to_json};

/// The action of the first record.
pub(crate) const GENERATED: &str = "insights.report.generated";
/// The action of a record with a piece of the body.
const PART: &str = "insights.report.part";
/// The action of a record with what findings say of a user.
const FINDING: &str = "insights.report.finding";
/// The type of the object of the first record.
pub(crate) const REPORT: &str = "report";
/// The type of the object of a record with a piece.
const REPORT_PART: &str = "report.part";
/// The type of the object of a record about a user: erasing the user empties what ends so.
const REPORT_USER: &str = "report.user";
/// Who writes the records.
const WRITER: &str = "reports";
/// Bytes of a piece before base64, so that a record is far below the limit of a document, 64 KiB.
const PIECE_BYTES: usize = 32 << 10;
/// Level of zstd: bodies are written once and small.
const LEVEL: i32 = 9;
/// Most records of a report: pieces of the largest body that nothing compresses, and one a finding.
pub(crate) const RECORDS_MAX: u64 = 2_000;

/// What the first record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// [`VERSION`].
    pub(crate) version: u32,
    /// What the report is about.
    pub(crate) report_type: ReportType,
    /// Of which application.
    pub(crate) app_id: Option<String>,
    /// The first local day, or the first instant.
    pub(crate) start_date: String,
    /// The last local day, or the first instant after.
    pub(crate) end_date: String,
    /// The first instant, in RFC 3339.
    pub(crate) start: String,
    /// The first instant after.
    pub(crate) end: String,
    /// The time zone of days.
    pub(crate) timezone: String,
    /// The hash of the canonical body, without what names users.
    pub(crate) sha256: String,
    /// Bytes of the canonical body, without what names users.
    pub(crate) bytes: u64,
    /// Records with pieces.
    pub(crate) parts: u64,
    /// Records about users.
    pub(crate) user_parts: u64,
}

/// A report that was found: its first record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its id.
    pub(crate) id: String,
    /// Whose.
    pub(crate) organization: TenantId,
    /// When it was made.
    pub(crate) at: TimestampUs,
    /// Its place in the log.
    pub(crate) seq: u64,
    /// What it is.
    pub(crate) meta: Meta,
}

/// Why records are no report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stored report is not what its first record says: {0}")]
pub(crate) struct NoReport(pub(crate) &'static str);

/// Writes a report as records.
///
/// # Errors
///
/// [`NoReport`] for a body above its limit, which no report may have.
pub(crate) fn write(
    id: &str,
    organization: &TenantId,
    now: TimestampUs,
    mut meta: Meta,
    mut body: Value,
) -> Result<Batch, NoReport> {
    let users = take_out(&mut body);
    let bytes = canonical(&body);
    if bytes.len() > BODY_BYTES_MAX {
        return Err(NoReport("its body is above the limit"));
    }
    let packed =
        zstd::bulk::compress(&bytes, LEVEL).map_err(|_| NoReport("its body cannot be compressed"))?;
    let pieces = packed.chunks(PIECE_BYTES);
    let of_users: Vec<(&str, &[Personal])> = users
        .iter()
        .flat_map(|(user, all)| all.chunks(FINDINGS_OF_RECORD_MAX).map(move |some| (user.as_str(), some)))
        .collect();
    (meta.sha256, meta.bytes) = (sha256(&bytes), bytes.len() as u64);
    (meta.parts, meta.user_parts) = (pieces.len() as u64, of_users.len() as u64);
    let mut batch = Rows { batch: BatchBuilder::new(organization.clone(), Stream::Audit), now };
    let app = meta.app_id.clone();
    let head = serde_json::to_value(&meta).map_err(|_| NoReport("its head cannot be written"))?;
    batch.row(app.as_deref(), (GENERATED, REPORT, id), &head);
    for (index, piece) in pieces.enumerate() {
        let part = json!({ "index": index, "body": STANDARD.encode(piece) });
        batch.row(None, (PART, REPORT_PART, id), &part);
    }
    for (user, findings) in of_users {
        batch.row(None, (FINDING, REPORT_USER, user), &json!({ "report_id": id, "findings": findings }));
    }
    Ok(batch.batch.build())
}

struct Rows {
    batch: BatchBuilder,
    now: TimestampUs,
}

impl Rows {
    fn row(
        &mut self,
        app: Option<&str>,
        (action, object_type, object_id): (&str, &str, &str),
        metadata: &Value,
    ) {
        self.batch
            .i64(&stream::TIME, self.now.0)
            .i64(&stream::RECEIVED, self.now.0)
            .str(&stream::WRITING_KEY, Some(WRITER))
            .str(&stream::APP_ID, app)
            .str(&stream::ACTION_TYPE, Some(action))
            .str(&stream::OBJECT_TYPE, Some(object_type))
            .str(&stream::OBJECT_ID, Some(object_id))
            .bytes(&stream::METADATA, Some(from_json(metadata).as_bytes()));
        self.batch.finish_row();
    }
}

/// The first records of a batch that was read back; what is none is left out.
pub(crate) fn read_heads(batch: &Batch) -> Vec<Found> {
    let (ids, metas) = (texts(batch, &stream::OBJECT_ID), texts(batch, &stream::METADATA));
    let times = batch.column(&stream::TIME).and_then(|column| column.as_i64()).unwrap_or_default();
    let seqs = batch.column(&stream::SEQ).and_then(|column| column.as_u64()).unwrap_or_default();
    let one = |row: usize| {
        let meta: Meta = serde_json::from_value(to_json(metas?.get(row)?).ok()?).ok()?;
        let records = meta.parts.checked_add(meta.user_parts)?;
        (meta.version == VERSION && records <= RECORDS_MAX).then_some(())?;
        Some(Found {
            id: ids?.get_str(row)?.to_owned(),
            organization: batch.tenant().clone(),
            at: TimestampUs(*times.get(row)?),
            seq: *seqs.get(row)?,
            meta,
        })
    };
    (0..batch.rows()).filter_map(one).collect()
}

/// The other records of a report, put together.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pieces: Vec<Vec<u8>>,
    personal: Vec<Personal>,
}

impl Parts {
    /// Takes the records of a batch that was read back, in the order of the log.
    ///
    /// # Errors
    ///
    /// [`NoReport`] when they are no parts of a report.
    pub(crate) fn take(&mut self, batch: &Batch) -> Result<(), NoReport> {
        let (types, metas) = (texts(batch, &stream::OBJECT_TYPE), texts(batch, &stream::METADATA));
        for row in 0..batch.rows() {
            let kind = types.and_then(|types| types.get_str(row)).unwrap_or_default();
            let metadata = metas.and_then(|metas| metas.get(row)).filter(|metadata| !metadata.is_empty());
            let metadata = metadata.and_then(|metadata| to_json(metadata).ok());
            match (kind, metadata) {
                (REPORT_PART, Some(metadata)) => self.pieces.push(piece(&metadata)?),
                // Without metadata the user was erased: the finding will say so.
                (REPORT_USER, None) => {}
                (REPORT_USER, Some(mut metadata)) => {
                    let findings: Vec<Personal> = serde_json::from_value(
                        metadata.get_mut("findings").map(Value::take).unwrap_or_default(),
                    )
                    .map_err(|_| NoReport("a part about a user"))?;
                    self.personal.extend(findings);
                }
                _ => return Err(NoReport("a record that is no part of it")),
            }
        }
        Ok(())
    }

    /// The body of the report that `meta` describes.
    ///
    /// # Errors
    ///
    /// [`NoReport`] when a piece is missing or is not what was written.
    pub(crate) fn body(self, meta: &Meta) -> Result<Value, NoReport> {
        let bytes = usize::try_from(meta.bytes).ok().filter(|bytes| *bytes <= BODY_BYTES_MAX);
        let bytes = bytes.ok_or(NoReport("its body is above the limit"))?;
        if self.pieces.len() as u64 != meta.parts {
            return Err(NoReport("a part is missing"));
        }
        let body = zstd::bulk::decompress(&self.pieces.concat(), bytes);
        let body = body.map_err(|_| NoReport("its body cannot be decompressed"))?;
        if sha256(&body) != meta.sha256 {
            return Err(NoReport("its body has another hash"));
        }
        let mut body = serde_json::from_slice(&body).map_err(|_| NoReport("its body is no JSON"))?;
        put_back(&mut body, self.personal);
        Ok(body)
    }
}

fn piece(metadata: &Value) -> Result<Vec<u8>, NoReport> {
    let text = metadata.get("body").and_then(Value::as_str).ok_or(NoReport("a part without its piece"))?;
    STANDARD.decode(text).map_err(|_| NoReport("a part that is no base64"))
}

fn texts<'b>(batch: &'b Batch, def: &ColumnDef) -> Option<&'b BytesColumn> {
    batch.column(def).and_then(|column| column.as_bytes())
}
