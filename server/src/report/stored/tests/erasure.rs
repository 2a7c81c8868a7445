//! A report must not keep what an erasure takes away: what findings say of a user goes with the user.

use axum::http::Method;
use serde_json::{Value, json};

use super::{REPORTS, get, made, path_of, send};
use crate::testing::{ROOT, TestApp};

/// Names that occur nowhere else.
const ERASED: &str = "zaphod.beeblebrox.7741";
const KEPT: &str = "trillian.mcmillan.3350";

/// Two users each of whom turns a second factor off, with an id of the record that names the user, among a spraying
/// from an address whose records do too.
async fn attacked(app: &TestApp) -> String {
    let key = app.key("acme", &["admin"]).await;
    let mut records: Vec<Value> = (0..10)
        .map(|n| {
            json!({"action_type": "user.login_failed", "ip_address": "192.0.2.7", "outcome": "failure",
                   "user_id": if n == 0 { ERASED.to_owned() } else { format!("u{n}") },
                   "id": format!("login-of-{}-{n}", if n == 0 { ERASED } else { "u" }),
                   "timestamp": format!("2023-11-13T10:0{n}:00Z")})
        })
        .collect();
    for (user, minute) in [(ERASED, 30), (KEPT, 31)] {
        records.push(
            json!({"action_type": "security.2fa_disabled", "user_id": user, "id": format!("off-{user}"),
                            "timestamp": format!("2023-11-13T10:{minute}:00Z")}),
        );
    }
    send(app, &key, "audit", &records).await;
    let event = |user: &str| {
        json!({"event_type": "page_view", "user_id": user, "timestamp": "2023-11-13T10:00:00Z",
               "event_data": {"page": "/home"}})
    };
    send(app, &key, "track", &[event(ERASED), event(KEPT)]).await;
    key
}

fn of_rule<'a>(report: &'a Value, rule: &str) -> Vec<&'a Value> {
    report["report"]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["rule"] == rule)
        .collect()
}

/// Whether a name is anywhere in the data directory, as it is.
fn is_on_disk(app: &TestApp, name: &str) -> bool {
    let mut folders = vec![app.data_dir().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                let bytes = std::fs::read(entry.path()).unwrap();
                if bytes.windows(name.len()).any(|window| window == name.as_bytes()) {
                    return true;
                }
            }
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_user_leaves_every_report_and_the_rest_of_it_stays() {
    let app = TestApp::new();
    let key = attacked(&app).await;
    let day = json!({"type": "security", "date": "2023-11-13"});
    let before = made(&app, &key, day.clone()).await;
    let off = of_rule(&before, "two_factor_disabled");
    assert_eq!((off.len(), &off[0]["subject"]["value"]), (2, &json!(ERASED)), "{before}");
    assert_eq!(off[0]["evidence"], json!([format!("off-{ERASED}")]));
    let spraying = of_rule(&before, "password_spraying")[0].clone();
    assert!(!spraying.to_string().contains(ERASED), "evidence that a client named is not in it: {spraying}");
    made(&app, &key, json!({"type": "daily", "date": "2023-11-13"})).await;
    app.flush();
    let user = format!("/api/insights/organizations/acme/users/{ERASED}/");
    assert_eq!(app.call(Method::DELETE, &user, &key, &Value::Null).await.status.as_u16(), 202);
    let check = async || {
        let after = get(&app, &key, &path_of(&before)).await.json();
        let off = of_rule(&after, "two_factor_disabled");
        assert_eq!((&off[0]["subject"], &off[0]["erased"]), (&Value::Null, &json!(true)), "{after}");
        assert_eq!((&off[0]["severity"], &off[0]["count"]), (&json!("warning"), &json!(1)));
        assert_eq!(off[1], of_rule(&before, "two_factor_disabled")[1], "the other user's finding");
        assert_eq!(of_rule(&after, "password_spraying"), [&spraying]);
        assert_eq!((&after["sha256"], &after["stored"]), (&before["sha256"], &json!(true)));
        let again = made(&app, &key, day.clone()).await;
        assert_eq!(again["report"], after["report"], "it is not computed anew");
        let listed = get(&app, &key, REPORTS).await.json();
        for report in listed["results"].as_array().unwrap() {
            for format in ["json", "csv", "ndjson", "rows", "html"] {
                let answer = get(&app, &key, &format!("{}?format={format}", path_of(report))).await;
                let text = String::from_utf8(answer.bytes).unwrap();
                assert!(!text.is_empty() && !text.contains(ERASED), "{format}: {text}");
            }
        }
        let records = get(&app, ROOT, "/api/insights/audit/?include=insights&limit=1000").await;
        let text = String::from_utf8(records.bytes).unwrap();
        assert!(!text.contains(ERASED) && text.contains(KEPT));
    };
    check().await;
    app.engine().run_erasures().unwrap();
    check().await;
    app.flush();
    check().await;
    assert!(!is_on_disk(&app, ERASED), "the name is in the data directory");
    assert!(is_on_disk(&app, KEPT), "the search finds what is there");
}
