//! Who gives which keys to whom, and what becomes of them.

use axum::http::{Method, StatusCode};
use insights_engine::append::CatalogKind;
use insights_engine::entropy::Entropy;
use serde_json::json;

use super::*;
use crate::auth::PrincipalKind;
use crate::http::error::Code;
use crate::http::extract::parse_json;
use crate::testing::{ROOT, TestApp};

const PATH: &str = "/api/insights/keys/";

const NOW: TimestampUs = TimestampUs(1_700_000_000_000_000);

fn admin() -> Principal {
    let organization = TenantId::new("acme").unwrap();
    Principal::for_test(PrincipalKind::Organization { organization, scopes: Scopes::ALL_OF_ORGANIZATION })
}

fn root() -> Principal {
    Principal::for_test(PrincipalKind::Superuser { user_id: None })
}

fn check(principal: &Principal, body: &serde_json::Value) -> Result<(Grant, Option<TimestampUs>), ApiError> {
    parse_json::<NewKey>(body.to_string().as_bytes())?.check(principal, NOW)
}

#[test]
fn an_admin_gives_keys_of_its_own_organization() {
    let (grant, expires) = check(&admin(), &json!({ "name": "k", "scopes": ["track"] })).unwrap();
    let organization = TenantId::new("acme").unwrap();
    assert_eq!(grant, Grant::Organization { organization, scopes: Scopes::TRACK });
    assert_eq!(expires, None);
    let foreign = json!({ "name": "k", "scopes": ["track"], "organization_id": "other" });
    assert_eq!(check(&admin(), &foreign).unwrap_err().code(), Code::Forbidden);
}

#[test]
fn nobody_gives_more_than_they_have() {
    for body in [json!({ "name": "k", "superuser": true }), json!({ "name": "k", "scopes": ["metrics"] })] {
        assert_eq!(check(&admin(), &body).unwrap_err().code(), Code::Forbidden, "{body}");
    }
    assert_eq!(check(&root(), &json!({ "name": "k", "superuser": true })).unwrap().0, Grant::Superuser);
    let viewer = Principal::for_test(PrincipalKind::Organization {
        organization: TenantId::new("acme").unwrap(),
        scopes: Scopes::READ,
    });
    let body = json!({ "name": "", "scopes": [] });
    assert_eq!(check(&viewer, &body).unwrap_err().code(), Code::Forbidden);
}

#[test]
fn every_wrong_place_is_named() {
    let body = json!({ "name": " ", "scopes": ["track", "fly"], "expires_at": "2001-01-01T00:00:00Z" });
    let error = check(&root(), &body).unwrap_err();
    let pointers: Vec<_> = error.errors().iter().map(|e| e.pointer.as_str()).collect();
    assert_eq!(pointers, ["/name", "/expires_at", "/scopes/1"]);
    for (body, pointer) in [
        (json!({ "scopes": ["track"] }), "/name"),
        (json!({ "name": "k", "scopes": ["track"] }), "/organization_id"),
        (json!({ "name": "k", "organization_id": "acme" }), "/scopes"),
        (json!({ "name": "k", "scopes": ["track"], "organization_id": "a b" }), "/organization_id"),
        (json!({ "name": "k", "scopes": ["track"], "organization_id": PLATFORM }), "/organization_id"),
        (json!({ "name": "k", "superuser": true, "organization_id": "acme" }), "/organization_id"),
        (json!({ "name": "k", "scope": ["track"] }), "/scope"),
        (json!({ "name": "k", "scopes": [1] }), "/scopes/0"),
        (json!({ "name": "k", "scopes": ["track"], "expires_at": true }), "/expires_at"),
    ] {
        let error = check(&root(), &body).unwrap_err();
        assert_eq!(error.errors().first().map(|e| e.pointer.as_str()), Some(pointer), "{body}");
    }
}

#[test]
fn an_organization_may_be_a_number_and_an_expiry_a_unix_time() {
    let body = json!({ "name": "k", "scopes": ["read"], "organization_id": 7, "expires_at": 1_800_000_000 });
    let (grant, expires) = check(&root(), &body).unwrap();
    let organization = TenantId::new("7").unwrap();
    assert_eq!(grant, Grant::Organization { organization, scopes: Scopes::READ });
    assert_eq!(expires, Some(TimestampUs(1_800_000_000_000_000)));
}

#[test]
fn the_text_of_a_key_is_in_one_answer_alone() {
    let (key, _) = ApiKey::issue("k", Grant::Superuser, None, NOW, "t", &Entropy::from_seed([0; 32]));
    let shown = serde_json::to_value(KeyView::new(&key, None)).unwrap();
    assert!(shown.get("key").is_none());
    assert_eq!(shown["created_at"], "2023-11-14T22:13:20Z");
    assert_eq!(shown["last_used_at"], serde_json::Value::Null);
}

#[tokio::test]
async fn a_key_works_from_its_answer_to_its_revocation() {
    let app = TestApp::new();
    let body = json!({ "name": "backend", "organization_id": "acme", "scopes": ["admin"] });
    let made = app.call(Method::POST, PATH, ROOT, &body).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let (key, id) = (made.json()["key"].as_str().unwrap().to_owned(), made.json()["id"].clone());
    assert!(app.state.store.tenant_exists(&TenantId::new("acme").unwrap()));

    app.clock.advance(std::time::Duration::from_secs(5));
    let listed = app.call(Method::GET, PATH, &key, &json!(null)).await.json();
    assert_eq!(listed["results"][0]["id"], id);
    assert_eq!(listed["results"][0]["last_used_at"], "2023-11-14T22:13:25Z");
    assert!(listed["results"][0].get("key").is_none());

    let path = format!("{PATH}{}/", id.as_str().unwrap());
    assert_eq!(app.call(Method::DELETE, &path, &key, &json!(null)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(app.call(Method::GET, PATH, &key, &json!(null)).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(app.call(Method::DELETE, &path, ROOT, &json!(null)).await.status, StatusCode::NOT_FOUND);
    assert!(app.state.store.catalog_scan(CatalogKind::ApiKey, b"").is_empty());
}

#[tokio::test]
async fn a_foreign_key_and_an_unknown_one_are_told_apart_by_nobody() {
    let app = TestApp::new();
    let (ours, theirs) = (app.key("ours", &["admin"]).await, app.key("theirs", &["track"]).await);
    let foreign_id = theirs.split('_').nth(1).unwrap();
    let answers = [foreign_id, "000000000000"].map(|id| format!("{PATH}{id}/"));
    for path in answers {
        let answer = app.call(Method::DELETE, &path, &ours, &json!(null)).await;
        assert_eq!((answer.status, &answer.json()["code"]), (StatusCode::NOT_FOUND, &json!("not_found")));
    }
    for query in ["theirs", "nobody"] {
        let answer =
            app.call(Method::GET, &format!("{PATH}?organization_id={query}"), &ours, &json!(null)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
    let listed = app.call(Method::GET, PATH, &ours, &json!(null)).await.json();
    assert_eq!(listed["results"].as_array().map(Vec::len), Some(1));
    let without = app.call(Method::GET, PATH, &theirs, &json!(null)).await;
    assert_eq!(without.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_wrong_request_is_answered_with_its_place() {
    let app = TestApp::new();
    for (path, status, code, pointer) in [
        ("?organization=acme", 422, "invalid", json!("/organization")),
        ("?organization_id=a%20b", 422, "invalid", json!("/organization_id")),
    ] {
        let answer = app.call(Method::GET, &format!("{PATH}{path}"), ROOT, &json!(null)).await;
        let problem = answer.json();
        assert_eq!((answer.status.as_u16(), problem["code"].as_str()), (status, Some(code)), "{path}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{path}");
    }
    let answer = app.call(Method::DELETE, &format!("{PATH}a%20b/"), ROOT, &json!(null)).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
}
