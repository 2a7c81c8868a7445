//! Reports of times that are kept, beside times that are not kept any more.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{REPORTS, made, send};
use crate::testing::TestApp;

/// Keeps events and metrics of an organization to the end of the day after.
pub(super) async fn keep_one_day(app: &TestApp, key: &str, organization: &str) {
    let short = json!({"raw_days": 1, "rollup_15m_days": 1, "rollup_1h_days": 1, "rollup_1d_days": 1});
    let path = format!("/api/insights/organizations/{organization}/retention/");
    let document = json!({"events": &short, "metrics": &short});
    let set = app.call(Method::PUT, &path, key, &document).await;
    assert_eq!(set.status, StatusCode::OK, "{}", set.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_whose_previous_period_has_expired_is_made_without_the_comparison() {
    let app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    let event = |day: u32| json!({"event_type": "click", "user_id": "ann", "timestamp": format!("2023-11-{day}T12:00:00Z")});
    send(&app, &key, "track", &[event(12), event(13)]).await;
    app.flush();
    let both = made(&app, &key, json!({"type": "daily", "date": "2023-11-13", "timezone": "Etc/UTC"})).await;
    assert!(both["report"]["comparison"]["metrics"].is_object(), "{both}");
    keep_one_day(&app, &key, "acme").await;
    for kind in ["daily", "organization"] {
        let day = |day: &str| json!({"type": kind, "start_date": day, "end_date": day});
        let report = made(&app, &key, day("2023-11-13")).await;
        assert_eq!(report["stored"], true);
        assert_eq!(report["report"]["metrics"]["user_activity"]["summary"]["events"], 1);
        assert_eq!(report["report"]["comparison"], json!({}), "what is not kept is not compared");
        // Of what has expired itself there is none.
        let refused = app.call(Method::POST, REPORTS, &key, &day("2023-11-12")).await;
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &Value::from("rows_expired"))
        );
    }
}
