//! Series of all rules have one room: who finds none says so, and alerts come first.

use serde_json::json;

use super::*;
use crate::alert::board::Board;
use crate::alert::book::{Entry, key_of};
use crate::alert::label::Labels;
use crate::alert::room::SERIES_OF_ALL_MAX;
use crate::alert::rule::{Rule, RuleDocument};
use crate::alert::state::Series;

fn body(lang: &str) -> Value {
    json!({"name": "Load", "lang": lang, "condition": {"type": "metric", "metric": "cpu.usage", "aggregate": "max",
        "by": ["host"], "window": "1m", "op": "gt", "threshold": 90}})
}

/// Takes room for so many series, as the rules of others would.
fn take(app: &TestApp, count: usize) {
    let (now, mut document) = (app.state.clock.now(), RuleDocument::read(&body("en")).unwrap());
    document.enabled = false;
    let organization = TenantId::new("big").unwrap();
    let rule = Rule { id: "rule_big".to_owned(), organization, created: now, updated: now, document };
    let key = key_of(&rule);
    let series = |n: usize| (Labels::from([("n".to_owned(), n.to_string())]), Series::default());
    let board = Board { series: (0..count).map(series).collect(), ..Board::default() };
    let mut book = app.state.alerts.book();
    book.put(Entry::new(rule, now), now);
    book.set_board(&key, board, Vec::new());
}

async fn hosts(app: &TestApp, key: &str, bad: &str) {
    for n in 0..20 {
        let host = format!("web-{n:02}");
        point(app, key, &host, if host == bad { 97.0 } else { 7.0 }).await;
    }
}

#[tokio::test]
async fn a_rule_without_room_says_so_and_its_alerts_are_told_all_the_same() {
    let app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    let (english, french) = (rule(&app, &key, &body("en")).await, rule(&app, &key, &body("fr")).await);
    let show = async |id: &str| {
        let shown = app.call(Method::GET, &format!("{RULES}{id}/"), &key, &Value::Null).await.json();
        let text = shown["finding"].as_str().unwrap_or_default().to_owned();
        (shown["omitted_series"].as_u64().unwrap(), shown["firing"].as_u64().unwrap(), text)
    };
    let all_omitted = async || show(&english).await.0 + show(&french).await.0;
    // Series that are well have four fifths; of what is left of that acme has as much as others then have.
    take(&app, SERIES_OF_ALL_MAX / 5 * 4 - 20);
    hosts(&app, &key, "").await;
    pass(&app, MINUTE).await;
    assert_eq!(all_omitted().await, 30);
    let (omitted, firing, text) = show(&english).await;
    assert_eq!(firing, 0);
    assert!(
        text.starts_with(&format!("there is no room to keep {omitted} series, all of them well.")),
        "{text}"
    );
    assert!(show(&french).await.2.contains("s\u{e9}ries, qui vont toutes bien"));
    let answer = app.call(Method::GET, "/metrics", crate::testing::ROOT, &Value::Null).await;
    let text = String::from_utf8(answer.bytes).unwrap();
    assert!(text.contains("insights_alerts_series_crowded_out 30"), "{text}");
    // One that neither rule keeps is an alert of both as soon as it is bad.
    hosts(&app, &key, "web-19").await;
    pass(&app, MINUTE).await;
    assert_eq!((show(&english).await.1, show(&french).await.1), (1, 1));
    // Room that others leave is taken.
    take(&app, 0);
    hosts(&app, &key, "web-19").await;
    pass(&app, MINUTE).await;
    assert_eq!((all_omitted().await, show(&english).await), (0, (0, 1, String::new())));
    // Without room for alerts it says that nobody is told of them.
    take(&app, SERIES_OF_ALL_MAX);
    let late = rule(&app, &key, &body("en")).await;
    hosts(&app, &key, "web-07").await;
    pass(&app, MINUTE).await;
    let (omitted, firing, text) = show(&late).await;
    assert_eq!((omitted, firing), (20, 0));
    assert!(text.contains("20 series, and nobody is told of 1 of them that are bad"), "{text}");
}
