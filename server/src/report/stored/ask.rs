//! Which report is wanted: `POST reports/`, read whole, or what the periodic task asks for.

use insights_engine::id::TenantId;
use insights_engine::time::{BucketUnit, DAY_US, TimeRange, TimestampUs};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{ReportType, VERSION, WINDOW_DAYS_MAX};
use crate::export::rows::hex;
use crate::http::error::{ApiError, FieldError};
use crate::job::zone::Zone;
use crate::report::body::{Fields, identifier};
use crate::report::request;
use crate::report::window::{Width, Window};

/// Bytes of the hash that names a report.
const ID_BYTES: usize = 16;
/// Windows up to this long are cut into hours where a report may choose.
const HOURS_UNTIL_US: i64 = 2 * DAY_US;

/// A report that is wanted.
#[derive(Debug, Clone)]
pub(crate) struct StoredRequest {
    /// What it is about.
    pub(crate) kind: ReportType,
    /// Of which application.
    pub(crate) app_id: Option<String>,
    /// Of which time, in the buckets of its type.
    pub(crate) window: Window,
    /// Whether damage is answered with what is left; such a report is not kept.
    pub(crate) allow_partial: bool,
}

/// The organization that a body names, when it names one; what is wrong with it is said by [`StoredRequest::read`].
pub(crate) fn organization_of(body: &Value) -> Option<String> {
    body.get("organization_id").and_then(|value| identifier(value).ok().flatten())
}

impl StoredRequest {
    /// Reads a body. Days are those of `zone` unless it names another time zone.
    ///
    /// # Errors
    ///
    /// `invalid` with every problem, `too_many_cells`.
    pub(crate) fn read(body: &Value, zone: &Zone, now: TimestampUs) -> Result<Self, ApiError> {
        let asked = body;
        let body = with_defaults(body, zone);
        let mut fields = request::begin(&body)?;
        let kind = read_type(&mut fields);
        // `date` became the window above, unless there is another one.
        if fields.get("date").is_some() && names_window(asked) {
            fields.problem("date", "invalid", "name one day in date, or a window by start_date and end_date");
        }
        let common = request::common(&mut fields, Width::GroupBy, now)?;
        if fields.get("date").is_some() && !names_window(asked) {
            say_date(&mut fields.problems);
        }
        for name in ["group_by", "step", "week_start", "exact"] {
            if fields.get(name).is_some() {
                fields.problem(name, "unknown_field", "a report has the buckets and quantiles of its type");
            }
        }
        let app_id = fields.identifier("app_id");
        check_app(&mut fields, kind, app_id.is_some());
        let window = match (kind, &common) {
            (Some(kind), Some(common)) => checked(&mut fields, kind, &common.window),
            _ => None,
        };
        let allow_partial = common.is_some_and(|common| common.allow_partial);
        let request = kind.zip(window).map(|(kind, window)| Self { kind, app_id, window, allow_partial });
        request::finish(fields, request)
    }

    /// A report of a time that nobody had to write down; `None` when the calendar does not reach that far.
    pub(crate) fn of(
        kind: ReportType,
        app_id: Option<String>,
        range: TimeRange,
        zone: &Zone,
        now: TimestampUs,
    ) -> Option<Self> {
        let window = Window::of(range, unit(kind, range), zone.rules.clone(), now).ok()?;
        Some(Self { kind, app_id, window, allow_partial: false })
    }

    /// Whether its time is over, so that it may be kept.
    pub(crate) fn is_closed(&self) -> bool {
        self.window.range.end <= self.window.now()
    }

    /// The name of the report: the same question of the same organization is the same report.
    pub(crate) fn id(&self, organization: &TenantId) -> String {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            // Each with its length in front, so that no two questions run together.
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(b"insights report");
        part(&VERSION.to_le_bytes());
        part(self.kind.name().as_bytes());
        part(organization.as_str().as_bytes());
        part(self.app_id.as_deref().unwrap_or_default().as_bytes());
        part(&self.window.range.start.0.to_le_bytes());
        part(&self.window.range.end.0.to_le_bytes());
        part(self.window.zone_name().as_bytes());
        let hash = hash.finalize();
        format!("rep_{}", hex(hash.get(..ID_BYTES).unwrap_or_default()))
    }
}

/// The body with the time zone of the organization where it names none, and with `date` as both ends.
fn with_defaults(body: &Value, zone: &Zone) -> Value {
    let has_window = names_window(body);
    let mut body = body.clone();
    let Some(members) = body.as_object_mut() else { return body };
    if members.get("timezone").is_none_or(Value::is_null) {
        members.insert("timezone".to_owned(), zone.name.clone().into());
    }
    if let Some(date) = members.get("date").filter(|date| !date.is_null() && !has_window).cloned() {
        members.insert("start_date".to_owned(), date.clone());
        members.insert("end_date".to_owned(), date);
    }
    body
}

/// What is wrong with the window that `date` became is wrong with `date`, and said once.
fn say_date(problems: &mut Vec<FieldError>) {
    let is_of_window =
        |problem: &FieldError| ["/start_date", "/end_date"].contains(&problem.pointer.as_str());
    let before = problems.len();
    problems.retain(|problem| !is_of_window(problem));
    if problems.len() < before {
        problems.push(FieldError::new("/date", "invalid", "a day of the calendar (YYYY-MM-DD) is expected"));
    }
}

/// Whether a body says when its window starts or ends.
fn names_window(body: &Value) -> bool {
    let is_named = |name: &&str| body.get(*name).is_some_and(|value| !value.is_null());
    ["start_date", "start", "end_date", "end"].iter().any(is_named)
}

fn read_type(fields: &mut Fields<'_>) -> Option<ReportType> {
    let names = ReportType::ALL.map(ReportType::name);
    let chosen = fields.choice("type", &names).and_then(|place| ReportType::ALL.get(place).copied());
    if chosen.is_none() && !fields.problems.iter().any(|problem| problem.pointer == "/type") {
        fields.problem("type", "required", format!("name a type of report: {}", names.join(", ")));
    }
    chosen
}

fn check_app(fields: &mut Fields<'_>, kind: Option<ReportType>, is_named: bool) {
    let is_wrong = fields.problems.iter().any(|problem| problem.pointer == "/app_id");
    match kind {
        Some(ReportType::Application) if !is_named && !is_wrong => {
            fields.problem("app_id", "required", "name an application");
        }
        Some(ReportType::Daily | ReportType::Organization | ReportType::Security) if is_named => {
            fields.problem("app_id", "invalid", "this type of report is of a whole organization");
        }
        Some(_) | None => {}
    }
}

/// The window in the buckets of the type, when it is one that the type may have.
fn checked(fields: &mut Fields<'_>, kind: ReportType, window: &Window) -> Option<Window> {
    let range = window.range;
    let window = window.by(unit(kind, range)).ok()?;
    let is_one_day = window.local_days().is_some_and(|(first, last)| first == last);
    let is_told = fields.problems.iter().any(|problem| problem.pointer == "/date");
    if kind == ReportType::Daily && !is_one_day && !is_told {
        fields.problem("date", "invalid", "a daily report is of one local day: name it in date");
        return None;
    }
    if range.end.0.saturating_sub(range.start.0) > WINDOW_DAYS_MAX * DAY_US {
        fields.problem("end_date", "invalid", format!("a report is of at most {WINDOW_DAYS_MAX} days"));
        return None;
    }
    Some(window)
}

fn unit(kind: ReportType, range: TimeRange) -> BucketUnit {
    match kind {
        ReportType::Daily => BucketUnit::Hour,
        ReportType::Application if range.end.0.saturating_sub(range.start.0) <= HOURS_UNTIL_US => {
            BucketUnit::Hour
        }
        ReportType::Organization | ReportType::Application | ReportType::Security => BucketUnit::Day,
    }
}
