//! A fill that is cut off goes on with the same result.

use insights_engine::append::Append;
use insights_engine::time::{DAY_US, TimestampUs};
use serde_json::Value;

use super::mark::Mark;
use super::plan::Plan;
use super::{DemoOptions, fill};
use crate::testing::{ROOT, TestApp};

const END: TimestampUs = TimestampUs(19_675 * DAY_US);
const OPTIONS: DemoOptions = DemoOptions { seed: Some(3), end: Some(END), days: Some(2) };

/// What the store answers of every stream, without what depends on the clock and the store's secrets.
async fn answers(app: &TestApp) -> Vec<String> {
    let mut out = Vec::new();
    for path in [
        "events/?limit=all&format=ndjson&fields=id,seq,timestamp,organization_id,event_type,event_data,user_id",
        "audit/?limit=all&format=ndjson&fields=id,seq,timestamp,organization_id,action_type,metadata,changes",
        "metrics/?format=ndjson",
    ] {
        let path = format!("/api/insights/{path}");
        let answer = app.call(axum::http::Method::GET, &path, ROOT, &Value::Null).await;
        assert!(answer.status.is_success(), "{answer:?}");
        out.push(String::from_utf8(answer.bytes).unwrap());
    }
    out
}

#[tokio::test]
async fn a_fill_that_was_cut_off_goes_on_with_the_same_result() {
    let straight = TestApp::new();
    fill(&straight.state.store, OPTIONS, END, |_, _| {}).await.unwrap();

    let cut = TestApp::new();
    let plan = Plan::new(3, END, 2).unwrap();
    for step in 0..7 {
        let mark = Mark { seed: 3, end: END, days: 2, next_step: step + 1 };
        let append = Append { batches: plan.batches(step), puts: vec![mark.put()], ..Append::default() };
        cut.state.store.append(append).await.unwrap();
    }
    cut.flush();
    let mut first = None;
    fill(&cut.state.store, DemoOptions::default(), TimestampUs(0), |done, _| {
        first.get_or_insert(done);
    })
    .await
    .unwrap();
    assert_eq!(first, Some(7));
    let expected = answers(&straight).await;
    assert!(expected.iter().all(|text| text.lines().count() > 10));
    assert!(answers(&cut).await == expected, "the two stores answer alike");

    // A store that is full is left as it is.
    let mut steps = Vec::new();
    fill(&cut.state.store, OPTIONS, END, |done, all| steps.push((done, all))).await.unwrap();
    assert_eq!(steps, [(plan.steps(), plan.steps())]);
}
