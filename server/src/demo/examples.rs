//! Three requests that answer with something: what is shown when the server of a demo listens.

use insights_engine::time::TimestampUs;

use super::plan::Plan;
use super::story::{DEPLOY_ORGANIZATION, STORY_APP};

/// Requests to paste into a shell, against the server at `base_url` with an organization's `key`: one that writes, and
/// two whose dates have data.
///
/// The performance report covers the day of the outage when the plan is long enough to have one.
pub fn examples(plan: &Plan, base_url: &str, key: &str) -> String {
    let Some(organization) = plan.organizations.get(DEPLOY_ORGANIZATION) else { return String::new() };
    let app = organization.apps.get(STORY_APP).map_or("", |app| app.id.as_str());
    let last = TimestampUs(plan.end.0 - 1);
    let week = TimestampUs(plan.start.0.max(last.0 - 6 * insights_engine::time::DAY_US));
    let outage = plan.story.deploy.at.max(plan.start);
    let requests = [
        (
            "Track an event",
            "track",
            r#"{"event_type": "button_click", "event_data": {"button_name": "submit", "page": "dashboard"}}"#
                .to_owned(),
        ),
        (
            "A week of the organization, day by day",
            "analytics",
            format!(
                r#"{{"start_date": "{}", "end_date": "{}", "metrics": ["user_activity", "system_performance", "app_metrics"], "group_by": "day"}}"#,
                date(week),
                date(last),
            ),
        ),
        (
            "The day an app went down",
            "performance",
            format!(
                r#"{{"app_id": "{app}", "start_date": "{}", "end_date": "{}", "metrics": ["response_time", "error_rate", "uptime"], "group_by": "hour"}}"#,
                date(outage),
                date(outage),
            ),
        ),
    ];
    let mut out = format!("Three requests to try, with a key of the organization {}:\n", organization.tenant);
    for (what, route, body) in requests {
        let shell = [
            format!("\n# {what}\n"),
            format!("curl -sS '{base_url}/api/insights/{route}/' \\\n"),
            format!("  -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n"),
            format!("  -d '{body}'\n"),
        ];
        out.extend(shell);
    }
    out
}

/// The UTC date of an instant, `2024-01-31`.
fn date(at: TimestampUs) -> String {
    at.to_jiff()
        .map(|at| at.to_zoned_datetime(jiff::tz::TimeZone::UTC).date().to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use insights_engine::time::DAY_US;

    use super::*;

    #[test]
    fn the_requests_have_the_key_and_dates_inside_the_plan() {
        let plan = Plan::new(1, TimestampUs(20_000 * DAY_US), 30).unwrap();
        let text = examples(&plan, "http://127.0.0.1:8686", "ins_k_s");
        assert_eq!(text.matches("Bearer ins_k_s").count(), 3);
        for part in
            ["/track/'", "/analytics/'", "/performance/'", "\"end_date\": \"2024-10-03\"", "fleet-tracker"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        for body in text.lines().filter_map(|line| line.trim().strip_prefix("-d '")?.strip_suffix('\'')) {
            assert!(serde_json::from_str::<serde_json::Value>(body).is_ok(), "{body}");
        }
    }
}
