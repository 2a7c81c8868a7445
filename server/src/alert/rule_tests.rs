//! Rules as bodies: what comes back, what is refused and where.

use super::*;

fn organization() -> TenantId {
    TenantId::new("acme").unwrap()
}

/// A rule of each kind, with as little said as may be.
fn least() -> [Value; 5] {
    let of = |condition: Value| json!({ "name": "A rule", "condition": condition });
    [
        of(json!({"type": "metric", "metric": "cpu.usage", "window": "5m", "op": "gt", "threshold": 90})),
        of(json!({"type": "report", "report": "performance", "number": "error_rate.rate", "app_id": "shop",
            "window": "5m", "op": "gt", "threshold": 0.05})),
        of(json!({"type": "absence", "event_type": "order.placed", "window": "1h"})),
        of(
            json!({"type": "heartbeat", "metric": "backup.done", "by": ["host"], "every": "1d", "grace": "1h"}),
        ),
        of(json!({"type": "errors"})),
    ]
}

#[test]
fn what_is_left_out_has_a_default_and_every_rule_comes_back() {
    for body in least() {
        let document = RuleDocument::read(&body).unwrap();
        let written = serde_json::to_value(&document).unwrap();
        assert_eq!(RuleDocument::read(&written).unwrap(), document, "{written}");
        let rule = Rule {
            id: "r1".into(),
            organization: organization(),
            created: TimestampUs(1),
            updated: TimestampUs(2),
            document,
        };
        let put = rule.put().unwrap();
        assert_eq!(put.key, b"alert/rule/acme/r1");
        assert_eq!(Rule::of_record(&put.key, &put.value.unwrap()), Some(rule));
    }
    let document = RuleDocument::read(&least()[4]).unwrap();
    let written = serde_json::to_value(&document).unwrap();
    let expected = json!({
        "name": "A rule", "enabled": true, "severity": "critical",
        "condition": {"type": "errors", "min_severity": "critical", "event_types": super::super::condition::ERROR_EVENT_TYPES},
        "for": "0s", "keep_firing_for": "4h", "interval": "5s", "no_data": "ok", "labels": {}, "annotations": {},
        "channels": [], "repeat_interval": "4h", "group_by": ["alertname"], "group_wait": "30s",
        "group_interval": "5m", "lang": "en",
    });
    assert_eq!(written, expected);
}

#[test]
fn every_problem_is_named_where_it_is() {
    let pointers = |body: Value| -> Vec<String> {
        RuleDocument::read(&body).unwrap_err().into_iter().map(|problem| problem.pointer).collect()
    };
    assert_eq!(pointers(json!([])), [""]);
    assert_eq!(pointers(json!({})), ["/name", "/condition"]);
    let wrong = json!({
        "name": "", "severity": "grave", "for": "soon", "interval": "1s", "labels": {"alertname": "x", "1": "y", "a": 1},
        "channels": ["a/b"], "what": 1,
        "condition": {"type": "metric", "metric": "1", "aggregate": "median", "by": ["user_id"], "window": "40d",
            "op": "above", "resolve_threshold": "x", "filters": [["name"]]},
    });
    let expected = [
        "/name",
        "/severity",
        "/condition/metric",
        "/condition/aggregate",
        "/condition/by/0",
        "/condition/filters/0",
        "/condition/window",
        "/condition/op",
        "/condition/threshold",
        "/condition/resolve_threshold",
        "/interval",
        "/for",
        "/labels/1",
        "/labels/a",
        "/labels/alertname",
        "/channels/0",
        "/what",
    ];
    assert_eq!(pointers(wrong), expected);
    let of_condition = |condition: Value| pointers(json!({ "name": "n", "condition": condition }));
    let cases = [
        (json!({}), vec!["/condition/type"]),
        (json!({"type": "errors", "window": "5m"}), vec!["/condition/window"]),
        (json!({"type": "absence", "window": "5m"}), vec!["/condition/event_type"]),
        (
            json!({"type": "absence", "window": "5m", "event_type": "a", "metric": "b"}),
            vec!["/condition/event_type"],
        ),
        (
            json!({"type": "heartbeat", "event_type": "a", "by": ["host"], "every": "1m"}),
            vec!["/condition/by/0"],
        ),
        (
            json!({"type": "report", "report": "performance", "number": "x", "window": "5m", "op": "gt", "threshold": 1}),
            vec!["/condition/app_id"],
        ),
        (
            json!({"type": "metric", "metric": "a", "window": "5m", "op": "gt", "threshold": 1, "resolve_threshold": 2}),
            vec!["/condition/resolve_threshold"],
        ),
    ];
    for (condition, expected) in cases {
        assert_eq!(of_condition(condition.clone()), expected, "{condition}");
    }
}

#[test]
fn a_record_that_is_not_understood_is_left_alone() {
    let rule = Rule {
        id: "r1".into(),
        organization: organization(),
        created: TimestampUs(0),
        updated: TimestampUs(0),
        document: RuleDocument::read(&least()[0]).unwrap(),
    };
    let put = rule.put().unwrap();
    let text = String::from_utf8(put.value.unwrap()).unwrap();
    for (from, to) in [("\"version\":1", "\"version\":2"), ("\"gt\"", "\"above\""), ("{", "")] {
        assert_eq!(Rule::of_record(&put.key, text.replacen(from, to, 1).as_bytes()), None, "{from}");
    }
    assert_eq!(Rule::of_record(b"alert/rule/acme", text.as_bytes()), None);
}

#[test]
fn an_alert_has_the_labels_of_its_rule_and_of_its_series() {
    let mut body = least()[0].clone();
    body["labels"] = json!({"team": "ops", "host": "rule"});
    let document = RuleDocument::read(&body).unwrap();
    let rule = Rule {
        id: "r1".into(),
        organization: organization(),
        created: TimestampUs(0),
        updated: TimestampUs(0),
        document,
    };
    let labels = rule.labels_of(&Labels::from([("host".to_owned(), "web-1".to_owned())]));
    let told: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(told, ["alertname=A rule", "host=web-1", "severity=warning", "team=ops"]);
}
