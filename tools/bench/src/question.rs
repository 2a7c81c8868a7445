//! The questions that are asked: each one a request of the HTTP API.

use clap::ValueEnum;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::client::Request;
use crate::error::BenchError;

/// Days of the long windows.
pub(crate) const DAYS: i64 = 30;
/// What the audit search looks for.
pub(crate) const ACTION_PREFIX: &str = "user.";
/// The metrics that are asked by the minute.
pub(crate) const LIVE_METRICS: [&str; 3] = ["response.time", "requests.count", "errors.count"];
/// Records of a page.
pub(crate) const PAGE_ROWS: usize = 50;
/// Records of an audit search.
pub(crate) const SEARCH_ROWS: usize = 100;

/// A question by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Question {
    /// 30 days of one organization by day: users, sessions, pages, systems, apps
    Analytics,
    /// The same with event types told apart: activity alone
    Activity,
    /// 30 days of all organizations by day (a superuser's key)
    AnalyticsAll,
    /// 30 days of one application: response times, error rate, uptime
    Performance,
    /// The newest 50 audit records
    AuditPage,
    /// The 50 after those
    AuditNextPage,
    /// The newest 100 audit records of one user with actions that start with `user.`
    AuditSearch,
    /// The last hour of three metrics by minute
    MetricsHour,
    /// The newest 50 events with one page and one browser in their data
    EventsFilter,
}

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    /// The organization; the key's own without it.
    pub(crate) organization: Option<String>,
    /// An application.
    pub(crate) app: String,
    /// A user.
    pub(crate) user: String,
    /// A page, as an event's data has it.
    pub(crate) page: String,
    /// A browser, as an event's data has it.
    pub(crate) browser: String,
    /// The end of the windows.
    pub(crate) end: Timestamp,
    /// Where the second page of audit records starts.
    pub(crate) cursor: Option<String>,
}

impl Question {
    /// Its name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The end of window `n`: as many days, or minutes, before the subject's.
    pub(crate) fn end(self, subject: &Subject, n: u32) -> Timestamp {
        let back = match self {
            Self::MetricsHour => SignedDuration::from_mins(n.into()),
            _ => SignedDuration::from_hours(24 * i64::from(n)),
        };
        subject.end.checked_sub(back).unwrap_or(subject.end)
    }

    /// The request of window `n`; `None` where the subject has nothing to ask about.
    ///
    /// # Errors
    ///
    /// When the subject has characters that no path has.
    pub(crate) fn request(self, subject: &Subject, n: u32) -> Result<Option<Request>, BenchError> {
        let end = self.end(subject, n);
        let request = match self {
            Self::Analytics => post("analytics/", &report(subject, end, json!({}))),
            Self::Activity => {
                let more = json!({"metrics": ["user_activity"], "breakdown": "event_type"});
                post("analytics/", &report(subject, end, more))
            }
            Self::AnalyticsAll => {
                let mut body = report(subject, end, json!({"metrics": ["user_activity", "app_metrics"]}));
                body.as_object_mut().and_then(|body| body.remove("organization_id"));
                post("analytics/", &body)
            }
            Self::Performance => post("performance/", &report(subject, end, json!({"app_id": subject.app}))),
            Self::MetricsHour => post("metrics/query/", &live(subject, end)),
            Self::AuditPage => Request::get(&audit_page(subject)),
            Self::AuditNextPage => match &subject.cursor {
                Some(cursor) => Request::get(&format!("{}&cursor={cursor}", audit_page(subject))),
                None => return Ok(None),
            },
            Self::AuditSearch => Request::get(&list(
                subject,
                "audit/",
                &[
                    ("user_id", &subject.user),
                    ("action_prefix", ACTION_PREFIX),
                    ("limit", &SEARCH_ROWS.to_string()),
                ],
            )),
            Self::EventsFilter => Request::get(&list(
                subject,
                "events/",
                &[
                    ("event_data.page", &subject.page),
                    ("event_data.browser", &subject.browser),
                    ("end", &end.to_string()),
                ],
            )),
        };
        request.map(Some)
    }
}

/// The first page of the audit log.
pub(crate) fn audit_page(subject: &Subject) -> String {
    list(subject, "audit/", &[("limit", &PAGE_ROWS.to_string())])
}

/// A path below the API with a query.
pub(crate) fn list(subject: &Subject, route: &str, parameters: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    if let Some(organization) = &subject.organization {
        query.append_pair("organization_id", organization);
    }
    query.extend_pairs(parameters);
    format!("/api/insights/{route}?{}", query.finish())
}

fn post(route: &str, body: &Value) -> Result<Request, BenchError> {
    Request::post(&format!("/api/insights/{route}"), body.to_string())
}

/// A report over the days before `end`, with further members.
fn report(subject: &Subject, end: Timestamp, more: Value) -> Value {
    let start = end.checked_sub(SignedDuration::from_hours(24 * DAYS)).unwrap_or(end);
    with(
        json!({"start_date": start.to_string(), "end_date": end.to_string(), "group_by": "day"}),
        more,
        subject,
    )
}

/// The hour before `end` by minute.
fn live(subject: &Subject, end: Timestamp) -> Value {
    let start = end.checked_sub(SignedDuration::from_hours(1)).unwrap_or(end);
    let body = json!({
        "names": LIVE_METRICS, "start": start.to_string(), "end": end.to_string(), "step": "1m",
        "aggregates": ["avg", "sum"],
    });
    with(body, json!({"app_id": subject.app}), subject)
}

/// A body with further members and the organization.
fn with(mut body: Value, more: Value, subject: &Subject) -> Value {
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
        if let Some(organization) = &subject.organization {
            body.insert("organization_id".to_owned(), organization.clone().into());
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject {
            organization: Some("acme".to_owned()),
            app: "app-1".to_owned(),
            user: "user-1".to_owned(),
            page: "/a b".to_owned(),
            browser: "Chrome".to_owned(),
            end: "2024-03-01T00:00:00Z".parse().unwrap(),
            cursor: Some("c".to_owned()),
        }
    }

    #[test]
    fn every_question_is_a_request_and_its_windows_move_back() {
        for question in Question::value_variants() {
            assert!(question.request(&subject(), 1).unwrap().is_some(), "{question:?}");
        }
        assert_eq!(Question::Analytics.end(&subject(), 1).to_string(), "2024-02-29T00:00:00Z");
        assert_eq!(Question::MetricsHour.end(&subject(), 1).to_string(), "2024-02-29T23:59:00Z");
        let without = Subject { cursor: None, ..subject() };
        assert!(Question::AuditNextPage.request(&without, 0).unwrap().is_none());
    }

    #[test]
    fn a_query_is_escaped_and_all_organizations_are_asked_without_one() {
        let path = list(&subject(), "events/", &[("event_data.page", "/a b")]);
        assert_eq!(path, "/api/insights/events/?organization_id=acme&event_data.page=%2Fa+b");
        let all = Question::AnalyticsAll.request(&subject(), 0).unwrap().unwrap();
        assert!(!format!("{all:?}").contains("acme"));
        let one = Question::Analytics.request(&subject(), 0).unwrap().unwrap();
        assert!(format!("{one:?}").contains("acme"));
    }
}
