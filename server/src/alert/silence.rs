//! A silence: alerts of which nobody is told for a time. They are evaluated all the same.

use insights_engine::append::{CatalogKind, CatalogPut};
use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::label::Labels;
use super::length::Length;
use super::matcher::{Matcher, all_hold, matchers};
use super::read;
use super::rule::place;
use crate::domain::instant::{self, Rfc3339};
use crate::http::error::FieldError;
use crate::report::body::Fields;

/// Most silences of an organization, those that are over and not yet forgotten included.
pub const SILENCES_MAX: usize = 500;
/// How long a silence that is over is shown.
pub const SHOWN_AFTER: Length = Length::days(5);
/// The longest silence.
const LENGTH_MAX: Length = Length::days(366);
/// Most characters of a comment.
const COMMENT_CHARS_MAX: usize = 1_000;
/// Version of a stored silence.
const VERSION: u32 = 1;

/// A silence as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SilenceDocument {
    /// Which alerts: those for which every comparison holds
    pub matchers: Vec<Matcher>,
    /// From when on; now when absent
    #[serde(serialize_with = "written")]
    #[schema(value_type = String, format = DateTime, required = false)]
    pub starts_at: TimestampUs,
    /// Until when, not included
    #[serde(serialize_with = "written")]
    #[schema(value_type = String, format = DateTime)]
    pub ends_at: TimestampUs,
    /// Why
    pub comment: String,
}

/// A silence that is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Silence {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub organization: TenantId,
    /// The credential that made it.
    pub created_by: String,
    /// When it was made.
    pub created: TimestampUs,
    /// What it says.
    pub document: SilenceDocument,
}

/// An instant on the wire.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
pub(super) fn written<S: serde::Serializer>(at: &TimestampUs, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Rfc3339(*at))
}

/// An instant: RFC 3339, or a Unix time.
pub(crate) fn instant(fields: &mut Fields<'_>, name: &'static str) -> Option<TimestampUs> {
    let found = match fields.get(name)? {
        Value::String(text) => instant::parse(text).ok(),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => instant::from_integer(whole).ok(),
            None => number.as_f64().and_then(|number| instant::from_double(number).ok()),
        },
        _ => None,
    };
    if found.is_none() {
        fields.problem(name, "invalid", instant::InvalidInstant.to_string());
    }
    found
}

impl SilenceDocument {
    /// Reads a silence.
    ///
    /// # Errors
    ///
    /// Every problem, each with its pointer.
    pub fn read(body: &Value, now: TimestampUs) -> Result<Self, Vec<FieldError>> {
        read::below(body, "", |fields| Self::of_fields(fields, now))
    }

    /// Reads the members of a silence.
    pub(crate) fn of_fields(fields: &mut Fields<'_>, now: TimestampUs) -> Option<Self> {
        let matchers = matchers(fields, 1);
        let starts_at = instant(fields, "starts_at").unwrap_or(now);
        let ends_at = instant(fields, "ends_at");
        let ends_at = read::required(fields, "ends_at", ends_at);
        let comment = read::short_text(fields, "comment", COMMENT_CHARS_MAX);
        let comment = read::required(fields, "comment", comment);
        let ends_at = ends_at?;
        if !(1..=LENGTH_MAX.us()).contains(&ends_at.0.saturating_sub(starts_at.0)) {
            let detail = format!("a silence ends after its start, within {LENGTH_MAX}");
            fields.problem("ends_at", "invalid", detail);
        }
        Some(Self { matchers, starts_at, ends_at, comment: comment? })
    }
}

/// A silence in the catalog.
#[derive(Debug, Deserialize)]
struct Stored {
    version: u32,
    created_us: i64,
    created_by: String,
    silence: Value,
}

impl Silence {
    /// What the keys of silences start with.
    pub const PREFIX: &'static str = "alert/silence/";

    /// The silence as a catalog record.
    pub fn put(&self) -> CatalogPut {
        let value = json!({
            "version": VERSION,
            "created_us": self.created.0,
            "created_by": self.created_by,
            "silence": self.document,
        });
        CatalogPut { value: Some(value.to_string().into_bytes()), ..self.removal() }
    }

    /// Removes it from the catalog.
    pub fn removal(&self) -> CatalogPut {
        let key = format!("{}{}/{}", Self::PREFIX, self.organization.as_str(), self.id).into_bytes();
        CatalogPut { kind: CatalogKind::Setting, key, value: None }
    }

    /// The silence of a catalog record; `None` for one of a later version.
    pub fn of_record(key: &[u8], value: &[u8]) -> Option<Self> {
        let (organization, id) = place(Self::PREFIX, key)?;
        let stored: Stored = serde_json::from_slice(value).ok()?;
        let created = TimestampUs(stored.created_us);
        let document = SilenceDocument::read(&stored.silence, created).ok();
        let document = document.filter(|_| stored.version == VERSION)?;
        Some(Self { id, organization, created_by: stored.created_by, created, document })
    }

    /// Whether it holds at `now`.
    pub fn is_active(&self, now: TimestampUs) -> bool {
        (self.document.starts_at..self.document.ends_at).contains(&now)
    }

    /// Whether it has been over for so long that nobody asks for it.
    pub fn is_forgotten(&self, now: TimestampUs) -> bool {
        now.0.saturating_sub(self.document.ends_at.0) > SHOWN_AFTER.us()
    }

    /// Whether it is about an alert with these labels.
    pub fn is_about(&self, labels: &Labels) -> bool {
        all_hold(&self.document.matchers, labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_comes_back_and_holds_from_its_start_until_before_its_end() {
        let body = json!({"matchers": [{"label": "host", "op": "=~", "value": "web-.*"}],
            "ends_at": "1970-01-01T00:01:00Z", "comment": "a new disk"});
        let document = SilenceDocument::read(&body, TimestampUs(5)).unwrap();
        let silence = Silence {
            id: "s1".into(),
            organization: TenantId::new("acme").unwrap(),
            created_by: "key".into(),
            created: TimestampUs(5),
            document,
        };
        let put = silence.put();
        assert_eq!(put.key, b"alert/silence/acme/s1");
        assert_eq!(Silence::of_record(&put.key, &put.value.unwrap()), Some(silence.clone()));
        let holds = [4, 5, 59_999_999, 60_000_000].map(|at| silence.is_active(TimestampUs(at)));
        assert_eq!(holds, [false, true, true, false]);
        let host = |name: &str| Labels::from([("host".to_owned(), name.to_owned())]);
        assert!(silence.is_about(&host("web-1")) && !silence.is_about(&host("db-1")));
        assert!(!silence.is_forgotten(TimestampUs(60_000_000)));
        assert!(silence.is_forgotten(TimestampUs(60_000_001 + SHOWN_AFTER.us())));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let pointers = |body: Value| -> Vec<String> {
            let read = SilenceDocument::read(&body, TimestampUs(0));
            read.unwrap_err().into_iter().map(|problem| problem.pointer).collect()
        };
        assert_eq!(pointers(json!({})), ["/matchers", "/ends_at", "/comment"]);
        let all = json!([{"label": "a", "op": "=", "value": "b"}]);
        let end = |end: Value| json!({"matchers": all, "comment": "c", "starts_at": 10, "ends_at": end});
        assert_eq!(pointers(end(json!(10))), ["/ends_at"]);
        assert_eq!(pointers(end(json!("soon"))), ["/ends_at"]);
        assert_eq!(pointers(end(json!("2200-01-01T00:00:00Z"))), ["/ends_at"]);
    }
}
