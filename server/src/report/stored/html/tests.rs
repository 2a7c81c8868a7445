//! Pages: well-formed, self-contained, safe against names that are markup, complete in both languages.

use serde_json::{Value, json};

use super::*;
use crate::config::security::Rule;

const STAMP: Stamp<'static> =
    Stamp { id: Some("rep_1"), generated_at: "2024-02-01T00:30:00Z", sha256: Some("ab12") };

/// The elements of a document in the order in which they begin, checked to be well-formed: every element is closed
/// where it must be, every attribute is quoted and there once, no stray `<`, `>`, `&` or `"`.
fn elements(text: &str) -> Vec<(String, Vec<(String, String)>)> {
    let (mut out, mut open) = (Vec::new(), Vec::new());
    let mut rest = text.strip_prefix("<!DOCTYPE html>\n").expect("a doctype");
    while let Some(start) = rest.find('<') {
        let (before, tag) = rest.split_at(start);
        let is_style = open.last().is_some_and(|tag| tag == "style");
        assert!(is_style || !before.contains('>'), "a stray > in {before:?}");
        assert!(is_style || references_are_known(before), "a stray & in {before:?}");
        let end = tag.find('>').expect("an end of the tag");
        let inner = &tag[1..end];
        rest = &tag[end + 1..];
        if let Some(name) = inner.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed out of order");
            continue;
        }
        let is_void = inner.ends_with(" /");
        let inner = inner.strip_suffix(" /").unwrap_or(inner);
        let (name, attributes) = inner.split_once(' ').unwrap_or((inner, ""));
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric()), "{name:?} is no name");
        let attributes = attributes_of(attributes);
        out.push((name.to_owned(), attributes));
        if !is_void {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty(), "{open:?} are not closed");
    out
}

fn attributes_of(mut text: &str) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").expect("a quoted value");
        let (value, rest) = rest.split_once('"').expect("the end of a value");
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{name:?} is no name");
        assert!(references_are_known(value), "a stray & in {value:?}");
        assert!(out.iter().all(|(known, _)| known != name), "{name} twice");
        out.push((name.to_owned(), value.to_owned()));
        text = rest.strip_prefix(' ').unwrap_or(rest);
    }
    out
}

fn references_are_known(text: &str) -> bool {
    let known = ["amp;", "lt;", "gt;", "quot;", "#39;"];
    text.split('&').skip(1).all(|after| known.iter().any(|name| after.starts_with(name)))
}

/// What every page must be.
fn check(text: &str, lang: Lang) -> Vec<(String, Vec<(String, String)>)> {
    let elements = elements(text);
    assert_eq!(elements[0], ("html".to_owned(), vec![("lang".to_owned(), lang.name().to_owned())]));
    let allowed = [
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "main",
        "footer",
        "h1",
        "h2",
        "h3",
        "p",
        "div",
        "span",
        "strong",
        "code",
        "figure",
        "figcaption",
        "svg",
        "g",
        "line",
        "text",
        "rect",
        "circle",
        "path",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "dl",
        "dt",
        "dd",
    ];
    for (name, attributes) in &elements {
        assert!(allowed.contains(&name.as_str()), "{name}");
        for (attribute, _) in attributes {
            let loads = ["src", "href", "style", "srcset", "xlink:href"].contains(&attribute.as_str());
            assert!(!loads && !attribute.starts_with("on"), "{name} {attribute}");
        }
    }
    let without_namespace = text.replace("http://www.w3.org/2000/svg", "");
    assert!(!without_namespace.contains("://") && !text.contains("url(") && !text.contains("@import"));
    for empty in ["<h2></h2>", "<h3></h3>", "<dt></dt>", "<dd></dd>", "\"label\"></", "<strong></strong>"] {
        assert!(!text.contains(empty), "{empty} in a page in {}", lang.name());
    }
    assert!(!text.contains("scope=\"col\"></th>"), "a column without a name");
    elements
}

fn activity(name: &str) -> Value {
    let bucket = |hour: usize| {
        json!({"bucket": format!("2024-01-31T{hour:02}:00:00Z"), "partial": false, "events": hour * 3,
               "active_users": hour, "pages_visited": hour, "requests": 10, "errors": 1,
               "response_time": {"avg": 12.5, "p95": null}, "cpu.usage": {"avg": 40.0}})
    };
    let series: Vec<Value> = (0..24).map(bucket).collect();
    json!({
        "type": "daily", "organization_id": name, "app_id": null, "start_date": "2024-01-31",
        "end_date": "2024-01-31", "timezone": "Europe/Paris", "group_by": "hour",
        "metrics": {
            "user_activity": {
                "summary": {"active_users": 1234, "events": 5000, "session_duration": {"avg_s": 192.0},
                            "bounce_rate": 0.125},
                "series": series, "pages": [{"page": name, "count": 3, "users": 2}],
                "features": [], "event_types": [],
            },
            "app_metrics": {"summary": {"requests": 10, "response_time": {"p95": 1500.0}}, "series": series,
                            "apps": [{"app_id": name, "requests": 10, "uptime": 0.9995}]},
            "system_performance": {"scope": "platform", "series": series,
                                   "summary": {"cpu.usage": {"avg": 40.0}, "network.in": {"avg": 1e6}}},
        },
        "comparison": {"metrics": {"user_activity": {"change": {
            "active_users": {"absolute": 234, "relative": 0.234},
            "session_duration.avg_s": {"absolute": -8, "relative": -0.04}}}}},
        "audit": {"records": 7, "failures": 1, "by_severity": {"critical": 0},
                  "actions": [{"action_type": name, "count": 7, "failures": 1}]},
    })
}

fn finding(rule: &str, subject: &Value) -> Value {
    json!({"rule": rule, "severity": "error", "first": "2024-01-31T10:00:00+01:00", "value": "ahead",
           "last": "2024-01-31T10:09:00+01:00", "subject": subject, "count": 12, "evidence": ["a", "b"]})
}

fn security() -> Value {
    let about = |rule: &Rule| finding(rule.name(), &json!({"kind": "user", "value": "ann"}));
    let mut findings: Vec<Value> = Rule::ALL.iter().map(about).collect();
    findings.push(finding("mass_export", &Value::Null));
    let definition = |rule: &Rule| {
        let names =
            ["users", "addresses", "records", "window_s", "factor", "active_days", "look_back_days", "days"];
        let threshold: serde_json::Map<_, _> =
            names.map(|name| (name.to_owned(), json!(600))).into_iter().collect();
        json!({"rule": rule.name(), "on": true, "threshold": threshold})
    };
    json!({
        "type": "security", "organization_id": "acme", "app_id": null, "start_date": "2024-01-01",
        "end_date": "2024-01-31", "timezone": "UTC",
        "summary": {"records": 100, "findings": 12, "by_severity": {"error": 12}, "activities": {"logins": 5}},
        "findings": findings, "definitions": Rule::ALL.iter().map(definition).collect::<Vec<_>>(),
    })
}

fn application() -> Value {
    let series = json!([
        {"bucket": "2024-01-30T00:00:00Z", "requests": 100, "errors": 4, "p50": 10, "p95": 40, "p99": 90, "ratio": 1.0},
        {"bucket": "2024-01-31T00:00:00Z", "requests": 80, "errors": 0, "p50": null, "ratio": 0.5},
    ]);
    json!({
        "type": "application", "organization_id": "acme", "app_id": "shop", "start_date": "2024-01-30",
        "end_date": "2024-01-31", "timezone": "UTC", "group_by": "day",
        "metrics": {
            "response_time": {"p50": 10.0, "p95": 40.0, "p99": 90.0, "apdex": {"score": 0.94}, "series": series},
            "error_rate": {"requests": 180, "errors": 4, "rate": 0.0222, "series": series},
            "uptime": {"ratio": 0.9986, "down_s": 125, "series": series, "incidents": [
                {"start": "2024-01-31T09:05:00Z", "end": "2024-01-31T09:07:05Z", "duration_s": 125}]},
        },
        "comparison": {"metrics": {"response_time": {"change": {"apdex.score": {"relative": 0.5}}}}},
        "routes": {"count": 1, "by_requests": [{"route": "/a/{id}", "requests": 180, "p95_ms": 40.0}],
                   "slowest": [], "by_errors": []},
    })
}

#[test]
fn pages_are_well_formed_and_complete_in_both_languages() {
    for lang in Lang::ALL {
        for (kind, body) in [
            (ReportType::Daily, activity("acme")),
            (ReportType::Organization, activity("acme")),
            (ReportType::Application, application()),
            (ReportType::Security, security()),
            (ReportType::Daily, json!({})),
            (ReportType::Application, json!({})),
            (ReportType::Security, json!({})),
        ] {
            let text = page(kind, &body, STAMP, lang);
            check(&text, lang);
            assert_eq!(page(kind, &body, STAMP, lang), text, "the same body is the same page");
        }
    }
}

#[test]
fn a_daily_page_has_its_numbers_charts_and_changes() {
    let text = page(ReportType::Daily, &activity("acme"), STAMP, Lang::En);
    let count = |name: &str| check(&text, Lang::En).iter().filter(|(tag, _)| tag == name).count();
    assert_eq!((count("h1"), count("svg"), count("style")), (1, 5, 1));
    for part in [
        "Daily report \u{2013} acme",
        "31 January 2024 (Europe/Paris)",
        "1,234",
        "\u{25b2} +23.4% vs. previous period",
        "\u{25bc} -4% vs. previous period",
        "3\u{202f}min 12\u{202f}s",
        "1.5\u{202f}s",
        "99.95%",
        "1\u{202f}MB",
        "09:00 \u{b7} Active users: 9",
        "rep_1 \u{b7} SHA-256 ab12",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn numbers_and_dates_are_french_in_french() {
    let text = page(ReportType::Daily, &activity("acme"), STAMP, Lang::Fr);
    for part in [
        "Rapport quotidien \u{2013} acme",
        "31 janvier 2024",
        "1\u{202f}234",
        "+23,4\u{202f}% par rapport",
        "12,5\u{202f}%",
        "1\u{202f}Mo",
        "9\u{202f}h \u{b7} Utilisateurs actifs: 9",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn names_that_are_markup_stay_names() {
    let hostile = "\"><script>alert(1)</script><img src=x onerror='x'>&amp;";
    let mut body = activity(hostile);
    body["metrics"]["user_activity"]["series"][0]["bucket"] = json!(hostile);
    body["timezone"] = json!(hostile);
    let stamp = Stamp { id: Some(hostile), ..STAMP };
    let text = page(ReportType::Daily, &body, stamp, Lang::En);
    check(&text, Lang::En);
    assert!(text.contains("&lt;script&gt;") && !text.contains("<script"), "{text}");
    let mut body = security();
    for member in ["rule", "value", "first"] {
        body["findings"][0][member] = json!(hostile);
    }
    body["findings"][1]["subject"]["value"] = json!("{value}{count}<b>");
    body["findings"][1]["evidence"] = json!([hostile]);
    let text = page(ReportType::Security, &body, STAMP, Lang::En);
    let elements = elements(&text);
    assert!(elements.iter().all(|(name, _)| name != "script" && name != "img" && name != "b"));
    assert!(text.contains("{value}{count}&lt;b&gt;"), "what is filled in is not filled in again");
}

#[test]
fn every_text_is_there_in_both_languages() {
    let names = |lang| TEXTS.of(lang).keys().copied().collect::<Vec<_>>();
    assert_eq!(names(Lang::En), names(Lang::Fr));
    for rule in Rule::ALL {
        let name = rule.name();
        let mut wanted = vec![format!("rule.{name}"), format!("rule.{name}.text")];
        match rule {
            Rule::ClockStep => {
                wanted.extend(["set_back", "ahead"].map(|value| format!("finding.{name}.{value}")));
            }
            _ => wanted.push(format!("finding.{name}")),
        }
        for text in wanted {
            assert!(TEXTS.find(Lang::Fr, &text).is_some(), "{text}");
        }
    }
}

#[test]
fn the_policy_lets_the_style_in_and_nothing_else() {
    assert!(POLICY.starts_with("default-src 'none'; style-src 'sha256-"), "{}", *POLICY);
    assert!(!POLICY.contains("unsafe") && !POLICY.contains('*'), "{}", *POLICY);
}

#[test]
fn rows_that_are_not_on_the_page_are_counted() {
    let mut body = activity("acme");
    let rows: Vec<Value> = (0..100).map(|n| json!({"page": format!("/{n}"), "count": 1})).collect();
    body["metrics"]["user_activity"]["pages"] = rows.clone().into();
    body["metrics"]["user_activity"]["features"] = rows.into();
    body["omitted"] = json!({"pages": 1_500, "apps": 3});
    body["audit"]["actions_omitted"] = json!(7);
    let text = page(ReportType::Daily, &body, STAMP, Lang::En);
    for part in [
        "<p class=\"note\">1,575 more, 75 of them in the other formats</p>",
        "<p class=\"note\">75 more in the other formats</p>",
        "<p class=\"note\">3 more, 0 of them in the other formats</p>",
        "<p class=\"note\">7 more, 0 of them in the other formats</p>",
    ] {
        assert_eq!(text.matches(part).count(), 1, "{part}: {text}");
    }
    let mut body = application();
    body["omitted"] = json!({"incidents": 12});
    let text = page(ReportType::Application, &body, STAMP, Lang::Fr);
    assert_eq!(text.matches("12 de plus, dont 0 dans les autres formats").count(), 1, "{text}");
    let mut body = security();
    body["truncated"] = json!({"findings": 40});
    let text = page(ReportType::Security, &body, STAMP, Lang::En);
    assert_eq!(text.matches("40 more, 0 of them").count(), 1, "{text}");
}
