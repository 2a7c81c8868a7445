//! Maintenance windows: times in which nobody is told of alerts, once or again and again.

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
use super::silence::{instant, written};
use crate::http::error::FieldError;
use crate::job::schedule::Schedule;
use crate::job::zone::Zone;
use crate::report::body::Fields;

/// Most maintenance windows of an organization.
pub const MAINTENANCE_MAX: usize = 200;
/// The longest window.
const LENGTH_MAX: Length = Length::days(31);
/// Most characters of a name, and of a schedule.
const NAME_CHARS_MAX: usize = 128;
/// Version of a stored window.
const VERSION: u32 = 1;

/// A maintenance window as it is written: from `starts_at` to `ends_at`, or by a schedule.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct MaintenanceDocument {
    /// What it is about
    pub name: String,
    /// Which alerts; all of the organization when there is none
    #[schema(required = false)]
    pub matchers: Vec<Matcher>,
    /// When
    #[serde(flatten)]
    pub when: When,
}

/// When a window is.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum When {
    /// Once.
    Once {
        /// From when on
        #[serde(serialize_with = "written")]
        #[schema(value_type = String, format = DateTime)]
        starts_at: TimestampUs,
        /// Until when, not included
        #[serde(serialize_with = "written")]
        #[schema(value_type = String, format = DateTime)]
        ends_at: TimestampUs,
    },
    /// Again and again.
    Again {
        /// When it begins: a cron expression of minute, hour, day, month and weekday
        #[schema(example = "0 3 * * 0")]
        schedule: String,
        /// The IANA time zone of the schedule
        #[schema(default = "UTC")]
        timezone: String,
        /// How long it is
        duration: Length,
    },
}

/// A window that is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Maintenance {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub organization: TenantId,
    /// The credential that made it.
    pub created_by: String,
    /// When it was made.
    pub created: TimestampUs,
    /// What it says.
    pub document: MaintenanceDocument,
}

impl MaintenanceDocument {
    /// Reads a window.
    ///
    /// # Errors
    ///
    /// Every problem, each with its pointer.
    pub fn read(body: &Value) -> Result<Self, Vec<FieldError>> {
        read::below(body, "", Self::of_fields)
    }

    /// Reads the members of a window.
    pub(crate) fn of_fields(fields: &mut Fields<'_>) -> Option<Self> {
        let name = read::short_text(fields, "name", NAME_CHARS_MAX);
        let name = read::required(fields, "name", name);
        let matchers = matchers(fields, 0);
        let when = if fields.get("schedule").is_some() { again(fields) } else { once(fields) };
        Some(Self { name: name?, matchers, when: when? })
    }
}

fn once(fields: &mut Fields<'_>) -> Option<When> {
    let starts_at = instant(fields, "starts_at");
    let starts_at = read::required(fields, "starts_at", starts_at);
    let ends_at = instant(fields, "ends_at");
    let ends_at = read::required(fields, "ends_at", ends_at);
    let (starts_at, ends_at) = (starts_at?, ends_at?);
    if !(1..=LENGTH_MAX.us()).contains(&ends_at.0.saturating_sub(starts_at.0)) {
        fields.problem("ends_at", "invalid", format!("a window ends after its start, within {LENGTH_MAX}"));
    }
    Some(When::Once { starts_at, ends_at })
}

fn again(fields: &mut Fields<'_>) -> Option<When> {
    let schedule = read::short_text(fields, "schedule", NAME_CHARS_MAX);
    let parsed = schedule.as_deref().map(Schedule::parse);
    match &parsed {
        Some(Ok(Schedule::Every(_))) => {
            fields.problem("schedule", "invalid", "a cron expression such as `0 3 * * 0` is expected");
        }
        Some(Err(detail)) => fields.problem("schedule", "invalid", detail.clone()),
        Some(Ok(Schedule::Cron(_))) | None => {}
    }
    let timezone = fields.text("timezone").unwrap_or("UTC").to_owned();
    if let Err(detail) = Zone::find(&timezone) {
        fields.problem("timezone", "invalid", detail);
    }
    let duration = read::length(fields, "duration", (Length::minutes(1), LENGTH_MAX));
    let duration = read::required(fields, "duration", duration);
    Some(When::Again { schedule: schedule?, timezone, duration: duration? })
}

/// A window in the catalog.
#[derive(Debug, Deserialize)]
struct Stored {
    version: u32,
    created_us: i64,
    created_by: String,
    maintenance: Value,
}

impl Maintenance {
    /// What the keys of windows start with.
    pub const PREFIX: &'static str = "alert/maintenance/";

    /// The window as a catalog record.
    pub fn put(&self) -> CatalogPut {
        let value = json!({
            "version": VERSION,
            "created_us": self.created.0,
            "created_by": self.created_by,
            "maintenance": self.document,
        });
        CatalogPut { value: Some(value.to_string().into_bytes()), ..self.removal() }
    }

    /// Removes it from the catalog.
    pub fn removal(&self) -> CatalogPut {
        let key = format!("{}{}/{}", Self::PREFIX, self.organization.as_str(), self.id).into_bytes();
        CatalogPut { kind: CatalogKind::Setting, key, value: None }
    }

    /// The window of a catalog record; `None` for one of a later version.
    pub fn of_record(key: &[u8], value: &[u8]) -> Option<Self> {
        let (organization, id) = place(Self::PREFIX, key)?;
        let stored: Stored = serde_json::from_slice(value).ok()?;
        let document = MaintenanceDocument::read(&stored.maintenance).ok();
        let document = document.filter(|_| stored.version == VERSION)?;
        let created = TimestampUs(stored.created_us);
        Some(Self { id, organization, created_by: stored.created_by, created, document })
    }

    /// Whether it is going on at `now`.
    pub fn is_active(&self, now: TimestampUs) -> bool {
        match &self.document.when {
            When::Once { starts_at, ends_at } => (*starts_at..*ends_at).contains(&now),
            When::Again { schedule, timezone, duration } => {
                let (Ok(schedule), Ok(zone)) = (Schedule::parse(schedule), Zone::find(timezone)) else {
                    return false;
                };
                // It is going on when it began within its duration: the first beginning after that long ago has come.
                let since = TimestampUs(now.0.saturating_sub(duration.us()));
                schedule.next_after(since, &zone.rules).is_some_and(|began| began <= now)
            }
        }
    }

    /// Whether it is about an alert with these labels.
    pub fn is_about(&self, labels: &Labels) -> bool {
        all_hold(&self.document.matchers, labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(body: &Value) -> Maintenance {
        Maintenance {
            id: "m1".into(),
            organization: TenantId::new("acme").unwrap(),
            created_by: "key".into(),
            created: TimestampUs(5),
            document: MaintenanceDocument::read(body).unwrap(),
        }
    }

    fn active(window: &Maintenance, at: &str) -> bool {
        window.is_active(crate::domain::instant::parse(at).unwrap())
    }

    #[test]
    fn windows_come_back() {
        for body in [
            json!({"name": "Move", "starts_at": "2024-01-01T00:00:00Z", "ends_at": "2024-01-01T01:00:00Z"}),
            json!({"name": "Backup", "schedule": "0 3 * * 0", "duration": "2h", "timezone": "Europe/Paris",
                "matchers": [{"label": "host", "op": "=", "value": "db"}]}),
        ] {
            let window = window(&body);
            let put = window.put();
            assert_eq!(Maintenance::of_record(&put.key, &put.value.unwrap()), Some(window));
        }
    }

    #[test]
    fn a_window_that_comes_again_follows_its_zone() {
        let body =
            json!({"name": "Backup", "schedule": "30 2 * * *", "duration": "1h", "timezone": "Europe/Paris"});
        let window = window(&body);
        for (at, expected) in [
            ("2024-01-10T01:29:59Z", false),
            ("2024-01-10T01:30:00Z", true),
            ("2024-01-10T02:29:59Z", true),
            ("2024-01-10T02:30:00Z", false),
            // Summer time.
            ("2024-07-10T00:30:00Z", true),
            ("2024-07-10T01:30:00Z", false),
            // On the day whose 02:30 does not exist it begins at the jump.
            ("2024-03-31T01:00:00Z", true),
            ("2024-03-31T00:59:59Z", false),
        ] {
            assert_eq!(active(&window, at), expected, "{at}");
        }
        assert!(window.is_about(&Labels::new()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let pointers = |body: Value| -> Vec<String> {
            let read = MaintenanceDocument::read(&body);
            read.unwrap_err().into_iter().map(|problem| problem.pointer).collect()
        };
        assert_eq!(pointers(json!({})), ["/name", "/starts_at", "/ends_at"]);
        let both = json!({"name": "a", "schedule": "every 5m", "timezone": "Mars", "starts_at": 0});
        assert_eq!(pointers(both), ["/schedule", "/timezone", "/duration", "/starts_at"]);
        assert_eq!(pointers(json!({"name": "a", "starts_at": 1, "ends_at": 1})), ["/ends_at"]);
    }
}
