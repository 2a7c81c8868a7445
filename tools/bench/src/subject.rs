//! What questions are about: taken from the arguments, and from the server's newest records where they are silent.

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::args::About;
use crate::client::{Client, Request};
use crate::error::BenchError;
use crate::question::{DAYS, Question, Subject, audit_page, list};

/// Finds what to ask about.
///
/// # Errors
///
/// The first request that fails: without it nothing is measured; a server without records.
pub(crate) async fn find(client: &mut Client, about: &About) -> Result<Subject, BenchError> {
    let end = about.end.unwrap_or_else(jiff::Timestamp::now);
    let mut subject = Subject {
        organization: about.organization.clone(),
        app: String::new(),
        user: String::new(),
        page: String::new(),
        browser: String::new(),
        end,
        cursor: None,
    };
    let end_text = end.to_string();
    let newest =
        json(client, &Request::get(&list(&subject, "events/", &[("limit", "1"), ("end", &end_text)]))?)
            .await?;
    let event = newest.pointer("/results/0");
    let audit = match event {
        Some(_) => None,
        None => json(client, &Request::get(&audit_page(&subject))?).await?.pointer("/results/0").cloned(),
    };
    let Some(record) = event.or(audit.as_ref()) else {
        return Err(BenchError::NothingToAsk(format!(
            "there is no event before {end} and no audit record: name an --organization that has some, or fill the \
             server with `insights-bench ingest`, or serve `insights-server demo`"
        )));
    };
    subject.organization = subject.organization.or_else(|| text(record.get("organization_id")));
    subject.page = event.and_then(|event| text(event.pointer("/event_data/page"))).unwrap_or_default();
    subject.browser = event.and_then(|event| text(event.pointer("/event_data/browser"))).unwrap_or_default();
    subject.app = match &about.app {
        Some(app) => app.clone(),
        None => {
            busiest_app(client, &subject).await?.or_else(|| text(record.get("app_id"))).unwrap_or_default()
        }
    };
    let asked = about.asked();
    let of_audit = [Question::AuditPage, Question::AuditNextPage, Question::AuditSearch];
    if asked.iter().any(|question| of_audit.contains(question)) {
        let page = json(client, &Request::get(&audit_page(&subject))?).await?;
        subject.cursor = text(page.get("next_cursor"));
        subject.user =
            about.user.clone().or_else(|| text(page.pointer("/results/0/user_id"))).unwrap_or_default();
    }
    Ok(subject)
}

/// The requests of each question, one a window; questions that have nothing to ask about are left out.
///
/// # Errors
///
/// When the subject has characters that no path has.
pub(crate) fn requests(
    about: &About,
    subject: &Subject,
) -> Result<Vec<(Question, Vec<Request>)>, BenchError> {
    let mut asked = Vec::new();
    for question in about.asked() {
        let windows: Result<Vec<_>, _> = (0..about.windows).map(|n| question.request(subject, n)).collect();
        let requests: Vec<Request> = windows?.into_iter().flatten().collect();
        if !requests.is_empty() {
            asked.push((question, requests));
        }
    }
    Ok(asked)
}

/// The application with the most response times.
async fn busiest_app(client: &mut Client, subject: &Subject) -> Result<Option<String>, BenchError> {
    let start = subject.end.checked_sub(SignedDuration::from_hours(24 * DAYS)).unwrap_or(subject.end);
    let mut body = json!({
        "name": "response.time", "start": start.to_string(), "end": subject.end.to_string(), "group_by": "month",
        "aggregates": ["count"], "by": ["app_id"],
    });
    if let (Some(organization), Some(body)) = (&subject.organization, body.as_object_mut()) {
        body.insert("organization_id".to_owned(), organization.clone().into());
    }
    let answer = json(client, &Request::post("/api/insights/metrics/query/", body.to_string())?).await?;
    let count = |series: &Value| -> u64 {
        let points = series.get("points").and_then(Value::as_array);
        points.map_or(0, |points| points.iter().filter_map(|point| point.get("count")?.as_u64()).sum())
    };
    let series = answer.get("series").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    Ok(series
        .iter()
        .max_by_key(|series| count(series))
        .and_then(|series| text(series.pointer("/labels/app_id"))))
}

async fn json(client: &mut Client, request: &Request) -> Result<Value, BenchError> {
    let answer = client.send(request).await?;
    serde_json::from_slice(&answer).map_err(|error| BenchError::refused(200, error.to_string()))
}

fn text(value: Option<&Value>) -> Option<String> {
    value?.as_str().map(str::to_owned)
}
