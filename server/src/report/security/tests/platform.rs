//! A believable platform: its attacks are found and nothing else, and where nothing happens nothing is.

use insights_engine::append::Append;
use insights_engine::compaction::Effort;
use insights_engine::id::{Stream, TenantId};
use insights_engine::schema::{Batch, BatchBuilder, stream};
use insights_engine::time::{DAY_US, TimeRange, TimestampUs};
use serde_json::{Value, json};

use crate::auth::{Principal, Scopes};
use crate::demo::{DemoOptions, fill};
use crate::job::zone::Zone;
use crate::report::stored::ReportType;
use crate::report::stored::ask::StoredRequest;
use crate::report::stored::compute::{Computed, Source, compute};
use crate::testing::TestApp;

/// Midnight of a day before the moment of the tests.
pub(super) const END: TimestampUs = TimestampUs(19_675 * DAY_US);

/// The demo, with its clock at its end.
async fn platform(seed: u64, days: u32) -> TestApp {
    let app = TestApp::new();
    let options = DemoOptions { seed: Some(seed), end: Some(END), days: Some(days) };
    fill(&app.state.store, options, END, |_, _| {}).await.unwrap();
    app
}

/// The report of the last `days` days of an organization, computed anew.
pub(super) async fn report(app: &TestApp, organization: &str, days: i64) -> Value {
    computed(app, organization, days).await.body
}

async fn computed(app: &TestApp, organization: &str, days: i64) -> Computed {
    let range = TimeRange { start: TimestampUs(END.0 - days * DAY_US), end: END };
    let request = StoredRequest::of(ReportType::Security, None, range, &Zone::utc(), END).unwrap();
    let scope = Principal::local().read_organization(Some(organization), Scopes::READ).unwrap();
    let config = app.state.config.clone();
    let answer = app.state.store.ask(move |asking| {
        let organization = scope.organization().unwrap();
        let source = Source { asking, scope: &scope, platform: None, organization, config: &config };
        compute(&source, &request).unwrap()
    });
    answer.await.unwrap()
}

/// (rule, day of the first record before the end, subject, records) of each finding.
fn told(report: &Value) -> Vec<(String, i64, String, u64)> {
    let findings = report["findings"].as_array().unwrap().iter().map(|finding| {
        let text = |name: &str| finding[name].as_str().unwrap().to_owned();
        let first = crate::domain::instant::parse(&text("first")).unwrap().0;
        let subject = finding["subject"]["value"].as_str().unwrap().to_owned();
        (text("rule"), (first - END.0).div_euclid(DAY_US), subject, finding["count"].as_u64().unwrap())
    });
    findings.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_attacks_of_the_demo_are_found_and_nothing_else() {
    for seed in [1, 20_241_105] {
        check_attacks(seed).await;
    }
}

async fn check_attacks(seed: u64) {
    let app = platform(seed, 30).await;
    let report_of = async |organization| report(&app, organization, 10).await;
    let attacked = report_of("lumiere-studio").await;
    let told = told(&attacked);
    let rules: Vec<_> = told.iter().map(|(rule, day, _, count)| (&**rule, *day, *count)).collect();
    let expected = [
        ("credential_stuffing", -8, 24),
        ("mass_delete", -7, 30),
        ("mass_export", -6, 25),
        ("password_spraying", -3, 260),
        ("two_factor_disabled", -3, 1),
        ("dormant_account_active", -2, 1),
        ("first_privileged_action", -5, 1),
        ("new_address", -3, 1),
        ("new_agent", -3, 1),
    ];
    assert_eq!(rules, expected, "seed {seed}: {attacked}");
    assert_eq!(told[3].2, "198.51.100.250");
    assert_eq!(told[5].2, "ottilie.winter");
    assert_eq!(attacked["truncated"], json!({"findings": 0, "records": 0}));
    for quiet in ["acme-logistics", "orchid-health", "papaya-games", "tilia-school"] {
        let report = report_of(quiet).await;
        assert_eq!(report["findings"], json!([]), "{quiet}");
        assert!(report["summary"]["activities"]["logins"].as_u64() > Some(10), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_weeks_are_silent_and_a_time_that_is_over_is_told_again_with_the_same_bytes() {
    let app = platform(5, 14).await;
    for quiet in ["acme-logistics", "orchid-health", "papaya-games", "tilia-school"] {
        for days in [1, 7, 14] {
            assert_eq!(report(&app, quiet, days).await["findings"], json!([]), "{quiet} {days}");
        }
    }
    let first = report(&app, "lumiere-studio", 14).await;
    app.flush();
    assert_eq!(report(&app, "lumiere-studio", 14).await.to_string(), first.to_string());
}

/// Quiet audit records of an organization, as many batches as there must be, over thirty days until the end.
fn quiet(organization: &str, count: i64) -> Vec<Batch> {
    let actions = ["user.login", "project.updated", "workflow.executed", "user.logout"];
    let batch = |from: i64| {
        let mut out = BatchBuilder::new(TenantId::new(organization).unwrap(), Stream::Audit);
        for n in from..count.min(from + 5_000) {
            out.i64(&stream::TIME, END.0 - 30 * DAY_US + 30 * DAY_US / count * n)
                .str(&stream::USER_ID, Some(&format!("user-{}", n % 97)))
                .str(&stream::IP_ADDRESS, Some(&format!("10.0.0.{}", n % 97)))
                .str(&stream::USER_AGENT, Some("agent"))
                .str(&stream::ACTION_TYPE, Some(actions[usize::try_from(n % 4).unwrap()]));
            out.finish_row();
        }
        out.build()
    };
    (0..count).step_by(5_000).map(batch).collect()
}

/// Rows that a report of the last twenty days reads.
async fn rows_read(count: i64, merged: bool) -> u64 {
    let app = TestApp::new();
    for batch in quiet("acme", count) {
        app.state.store.append(Append { batches: vec![batch], ..Append::default() }).await.unwrap();
    }
    if merged {
        app.flush();
        app.engine().compact(Effort::Full).unwrap();
    }
    let computed = computed(&app, "acme", 20).await;
    assert_eq!(computed.body["findings"], json!([]));
    assert_eq!(computed.body["summary"]["records"], count * 2 / 3);
    computed.cost.rows_scanned
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_times_the_records_three_times_as_many_rows_are_read_and_not_nine() {
    for merged in [false, true] {
        let (few, many) = (rows_read(15_000, merged).await, rows_read(45_000, merged).await);
        // A page has 10,000 records: were each page to read all of them, it would be the square.
        assert!(
            many <= 4 * few && many <= 5 * 45_000,
            "{few} rows of 15,000 records, {many} of 45,000, merged: {merged}"
        );
    }
}
