//! Reports beside a segment whose bytes are not what they were.

use std::io::Write as _;

use axum::http::Method;
use serde_json::{Value, json};

use super::nightly::{at, reports, told};
use super::{REPORTS, made, send};
use crate::testing::TestApp;

/// An organization whose rows of the 13th and 14th of November are in a segment, and cannot be read.
async fn damaged() -> (TestApp, String) {
    let app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    for day in [13, 14] {
        let time = format!("2023-11-{day}T12:00:00Z");
        send(&app, &key, "track", &[json!({"event_type": "click", "user_id": "ann", "timestamp": time})])
            .await;
        send(
            &app,
            &key,
            "audit",
            &[json!({"action_type": "user.login", "user_id": "ann", "timestamp": time})],
        )
        .await;
    }
    app.flush();
    for entry in std::fs::read_dir(app.data_dir().join("segments")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        // The columns, behind the header.
        let columns = 24..bytes.len() / 2;
        bytes[columns].iter_mut().for_each(|byte| *byte ^= 0x5a);
        // In place, as a disk does it: the file is open.
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().write_all(&bytes).unwrap();
    }
    (app, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_report_says_so_in_every_format() {
    let (app, key) = damaged().await;
    for kind in ["daily", "organization", "security"] {
        let day = json!({"type": kind, "start_date": "2023-11-13", "end_date": "2023-11-13"});
        let refused = app.call(Method::POST, REPORTS, &key, &day).await;
        assert_eq!(refused.json()["code"], "damaged", "{kind}: {}", refused.json());
        let mut wanted = day.clone();
        wanted["allow_partial"] = true.into();
        let partial = made(&app, &key, wanted.clone()).await;
        assert_eq!((&partial["partial"], &partial["stored"]), (&json!(true), &json!(false)), "{partial}");
        let ranges = partial["damaged"].as_array().unwrap();
        assert!(ranges.iter().any(|range| range["stream"].is_string()), "{partial}");
        assert_eq!(partial["damaged"], partial["report"]["damaged"]);
        for format in ["json", "ndjson", "csv", "rows", "html"] {
            let answer = app.call(Method::POST, &format!("{REPORTS}?format={format}"), &key, &wanted).await;
            let header = answer.headers.get("x-insights-partial").map(|value| value.to_str().unwrap());
            assert_eq!(header, (format != "json").then_some("true"), "{kind} {format}");
        }
    }
    let whole = made(&app, &key, json!({"type": "daily", "date": "2023-11-10"})).await;
    assert_eq!(
        (&whole["partial"], &whole["damaged"], &whole["stored"]),
        (&Value::Null, &Value::Null, &json!(true))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_of_one_organization_leaves_the_others_their_reports() {
    let (app, _) = damaged().await;
    let other = app.key("other", &["admin"]).await;
    send(&app, &other, "track", &[json!({"event_type": "click", "timestamp": "2023-11-14T13:00:00Z"})]).await;
    let ran = at(&app, "2023-11-15T00:30:00Z").await.unwrap();
    let [made, _, _, failed] = told(&ran);
    assert!(made >= 3 && failed >= 1, "{ran:?}");
    let kinds: Vec<_> = reports(&app, "other").await.into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(kinds, ["daily", "organization", "security"]);
    // A day of which a report failed is looked at again.
    let again = told(&at(&app, "2023-11-16T00:30:00Z").await.unwrap());
    assert!(again[1] >= 3 && again[3] >= 1, "{again:?}");
}
