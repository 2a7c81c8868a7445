//! Lists of reports and single ones: pages, filters, formats, and who may see what.

use axum::http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};

use super::{REPORTS, get, made, path_of};
use crate::testing::{ROOT, TestApp};

fn ids(list: &Value) -> Vec<String> {
    list["results"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

/// Five days, an application, and a security report; a minute between each and the next.
async fn filled(app: &TestApp, key: &str) -> Vec<String> {
    let mut wanted: Vec<Value> =
        (8..13).map(|day| json!({"type": "daily", "date": format!("2023-11-{day:02}")})).collect();
    wanted.push(json!({"type": "application", "app_id": "shop", "date": "2023-11-12"}));
    wanted.push(json!({"type": "security", "date": "2023-11-12"}));
    let mut out = Vec::new();
    for body in wanted {
        out.push(made(app, key, body).await["id"].as_str().unwrap().to_owned());
        app.clock.advance(std::time::Duration::from_mins(1));
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_listed_in_pages_with_the_newest_first() {
    let app = TestApp::new();
    let key = app.key("acme", &["read", "audit:read"]).await;
    let all = filled(&app, &key).await;
    let newest: Vec<String> = all.iter().rev().cloned().collect();
    for flushed in [false, true] {
        if flushed {
            app.flush();
        }
        let (mut walked, mut path) = (Vec::new(), format!("{REPORTS}?limit=3"));
        loop {
            let answer = get(&app, &key, &path).await;
            let page = answer.json();
            walked.extend(ids(&page));
            let Some(next) = page["next_cursor"].as_str() else { break };
            assert!(answer.headers[header::LINK].to_str().unwrap().contains(next));
            path = format!("{REPORTS}?limit=3&cursor={next}");
        }
        assert_eq!(walked, newest);
    }
    let listed = async |query: &str| ids(&get(&app, &key, &format!("{REPORTS}?{query}")).await.json());
    assert_eq!(listed("type=daily").await, newest[2..]);
    assert_eq!(listed("type=security").await, newest[..1]);
    assert_eq!(listed("app_id=shop").await, newest[1..2]);
    assert_eq!(listed("start=2023-11-14T22:18:20Z").await, newest[..2]);
    assert_eq!(listed("end=2023-11-14T22:15:20Z").await, newest[5..]);
    let row = &get(&app, &key, &format!("{REPORTS}?type=application")).await.json()["results"][0];
    assert_eq!(row["window"], json!({"start": "2023-11-12T00:00:00Z", "end": "2023-11-13T00:00:00Z"}));
    assert_eq!((&row["app_id"], &row["timezone"]), (&json!("shop"), &json!("UTC")));
    let csv = get(&app, &key, &format!("{REPORTS}?format=csv&limit=all")).await;
    let text = String::from_utf8(csv.bytes).unwrap();
    assert_eq!(text.lines().count(), 8, "{text}");
    assert!(text.starts_with("id,type,organization_id"), "{text}");
    let ndjson = get(&app, &key, &format!("{REPORTS}?format=ndjson")).await;
    let first: Value = serde_json::from_slice(ndjson.bytes.split(|b| *b == b'\n').next().unwrap()).unwrap();
    assert_eq!(first["id"], newest[0].as_str());
    for bad in ["limit=all", "type=weather", "nope=1", "cursor=x", "start=soon"] {
        let answer = get(&app, &key, &format!("{REPORTS}?{bad}")).await;
        assert!(answer.status.is_client_error(), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_see_a_report_does_not_learn_of_it() {
    let app = TestApp::new();
    let auditor = app.key("acme", &["read", "audit:read"]).await;
    let reader = app.key("acme", &["read"]).await;
    let other = app.key("other", &["read", "audit:read"]).await;
    let writer = app.key("acme", &["track"]).await;
    let all = filled(&app, &auditor).await;
    let (daily, security) = (&all[0], all.last().unwrap());
    let path = |id: &str| format!("{REPORTS}{id}/");
    let mut refused = Vec::new();
    for id in [daily, security, "rep_00000000000000000000000000000000", "nothing", "a%20b"] {
        let answer = get(&app, &other, &path(id)).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{id}");
        let mut problem = answer.json();
        for name in ["request_id", "instance"] {
            problem.as_object_mut().unwrap().remove(name);
        }
        refused.push(problem);
    }
    assert!(refused.iter().all(|problem| *problem == refused[0]), "{refused:?}");
    assert_eq!(ids(&get(&app, &other, REPORTS).await.json()), [""; 0]);
    let foreign = format!("{}?organization_id=acme", path(daily));
    assert_eq!(get(&app, &other, &foreign).await.status, StatusCode::FORBIDDEN);
    assert_eq!(get(&app, &writer, &path(daily)).await.status, StatusCode::FORBIDDEN);
    assert_eq!(get(&app, &writer, REPORTS).await.status, StatusCode::FORBIDDEN);
    // Without the audit log: no security reports, and nothing of the log in a daily one.
    assert_eq!(get(&app, &reader, &path(security)).await.status, StatusCode::FORBIDDEN);
    assert_eq!(get(&app, &reader, &format!("{REPORTS}?type=security")).await.status, StatusCode::FORBIDDEN);
    assert!(!ids(&get(&app, &reader, REPORTS).await.json()).contains(security));
    assert_eq!(get(&app, &reader, &path(daily)).await.json()["report"]["audit"], Value::Null);
    assert!(get(&app, &auditor, &path(daily)).await.json()["report"]["audit"].is_object());
    // A superuser names the organization.
    assert_eq!(get(&app, ROOT, REPORTS).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let named = get(&app, ROOT, &format!("{}?organization_id=acme", path(security))).await;
    assert_eq!((named.status, named.json()["id"].as_str()), (StatusCode::OK, Some(security.as_str())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_fetched_in_every_format_and_language() {
    let app = TestApp::new();
    let key = app.key("acme", &["read", "audit:read"]).await;
    let report = made(&app, &key, json!({"type": "daily", "date": "2023-11-13"})).await;
    let path = path_of(&report);
    let content = |headers: &HeaderMap| headers[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    let csv = get(&app, &key, &format!("{path}?format=csv")).await;
    assert!(content(&csv.headers).starts_with("text/csv"));
    let text = String::from_utf8(csv.bytes).unwrap();
    assert_eq!(text.lines().count(), 25, "a header and an hour a line: {text}");
    let ndjson = get(&app, &key, &format!("{path}?format=ndjson")).await;
    assert_eq!(ndjson.bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()).count(), 24);
    let rows = get(&app, &key, &format!("{path}?format=rows")).await.json();
    assert_eq!(rows.as_array().unwrap().len(), 24);
    let html = get(&app, &key, &format!("{path}?format=html&lang=fr")).await;
    assert_eq!(content(&html.headers), "text/html; charset=utf-8");
    let policy = html.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert_eq!(policy, *crate::report::stored::html::POLICY);
    let page = String::from_utf8(html.bytes).unwrap();
    assert!(page.contains("<html lang=\"fr\">") && page.contains("13 novembre 2023"), "{page}");
    let request = axum::http::Request::get(&path)
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .header(header::ACCEPT, "text/html,*/*;q=0.8")
        .header(header::ACCEPT_LANGUAGE, "fr-CA, en;q=0.5");
    let browser = app.send(request.body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!(String::from_utf8(browser.bytes).unwrap(), page);
    for bad in ["format=xml", "lang=de", "nope=1"] {
        assert_eq!(
            get(&app, &key, &format!("{path}?{bad}")).await.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{bad}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_report_is_named() {
    let app = TestApp::new();
    let key = app.key("acme", &["read", "audit:read"]).await;
    let day = |more: Value| {
        let mut body = json!({"type": "daily", "date": "2023-11-13"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (body, pointer) in [
        (day(json!({"date": null})), "/start_date"),
        (day(json!({"date": "soon"})), "/date"),
        (day(json!({"date": null, "start_date": "2023-11-12", "end_date": "2023-11-13"})), "/date"),
        (day(json!({"start_date": "2023-11-12", "end_date": "2023-11-13"})), "/date"),
        (day(json!({"start_date": "2023-11-13", "end_date": "2023-11-13"})), "/date"),
        (day(json!({"type": "security", "start_date": "2023-11-12"})), "/date"),
        (day(json!({"type": "security", "end": "2023-11-12"})), "/date"),
        (day(json!({"date": "2023-11-31"})), "/date"),
        (day(json!({"date": 7.5})), "/date"),
        (day(json!({"app_id": "shop"})), "/app_id"),
        (day(json!({"type": "application"})), "/app_id"),
        (day(json!({"timezone": "Mars/Base"})), "/timezone"),
        (day(json!({"exact": true})), "/exact"),
        (json!({"type": "organization", "start_date": "2022-01-01", "end_date": "2023-11-13"}), "/end_date"),
    ] {
        let answer = app.call(Method::POST, REPORTS, &key, &body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{body}: {}", answer.json());
    }
    let missing =
        made(&app, ROOT, json!({"type": "daily", "date": "2023-11-13", "organization_id": "nobody"})).await;
    assert_eq!(missing["stored"], false, "asking about an organization does not make it");
}

#[tokio::test(flavor = "multi_thread")]
async fn days_are_those_of_the_organization_and_may_have_25_hours() {
    use insights_engine::append::{CatalogKind, CatalogPut};
    let app = TestApp::new();
    let key = app.key("acme", &["read", "audit:read"]).await;
    let zone = br#"{"version":1,"timezone":"Europe/Paris"}"#.to_vec();
    let put =
        CatalogPut { kind: CatalogKind::Setting, key: b"organization/acme".to_vec(), value: Some(zone) };
    app.state.store.put(vec![put]).await.unwrap();
    let report = made(&app, &key, json!({"type": "daily", "date": "2023-10-29"})).await;
    assert_eq!(report["timezone"], "Europe/Paris");
    let window = json!({"start": "2023-10-29T00:00:00+02:00", "end": "2023-10-30T00:00:00+01:00"});
    assert_eq!(report["window"], window);
    assert_eq!(report["report"]["metrics"]["user_activity"]["series"].as_array().unwrap().len(), 25);
    let utc = made(&app, &key, json!({"type": "daily", "date": "2023-10-29", "timezone": "UTC"})).await;
    assert_ne!(utc["id"], report["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_at_once_it_is_made_once() {
    let app = TestApp::new();
    let key = app.key("acme", &["read", "audit:read"]).await;
    let body = json!({"type": "security", "date": "2023-11-13"});
    let ask = || app.call(Method::POST, REPORTS, &key, &body);
    let (one, two, three) = tokio::join!(ask(), ask(), ask());
    let mut statuses = [one.status.as_u16(), two.status.as_u16(), three.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 201]);
    assert_eq!(ids(&get(&app, &key, REPORTS).await.json()).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_does_not_fill_the_log_without_end() {
    let mut config = crate::config::Config::default();
    config.limits.reports_a_day_max = 2;
    let app = TestApp::with(config);
    let key = app.key("acme", &["read", "audit:read"]).await;
    let kept = async |day: u32| {
        let body = json!({"type": "daily", "date": format!("2023-11-{day:02}")});
        made(&app, &key, body).await["stored"].as_bool().unwrap()
    };
    assert_eq!([kept(1).await, kept(2).await, kept(3).await, kept(1).await], [true, true, false, true]);
    app.clock.advance(std::time::Duration::from_hours(25));
    assert!(kept(3).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_has_the_id_of_a_report_does_not_stand_in_its_place() {
    let app = TestApp::new();
    let key = app.key("acme", &["read", "audit:read", "audit:write"]).await;
    let body = json!({"type": "daily", "date": "2023-11-13"});
    let other = TestApp::new();
    let there = other.key("acme", &["read", "audit:read"]).await;
    let id = made(&other, &there, body.clone()).await["id"].as_str().unwrap().to_owned();
    let record = json!({"action_type": "project.created", "id": id,
                        "content_object": {"type": "report", "id": id}});
    super::send(&app, &key, "audit", &[record]).await;
    let forged =
        json!({"action_type": "insights.report.generated", "content_object": {"type": "report", "id": id}});
    let refused = app.call(Method::POST, "/api/insights/audit/", &key, &forged).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.json());
    let report = made(&app, &key, body.clone()).await;
    assert_eq!((report["id"].as_str(), &report["stored"]), (Some(id.as_str()), &json!(true)));
    assert_eq!(get(&app, &key, &path_of(&report)).await.json()["report"], report["report"]);
    assert_eq!(made(&app, &key, body).await["report"], report["report"]);
}
