//! The page of a security report.

use serde_json::Value;

use super::date;
use super::number::{Unit, plain};
use super::view::View;

/// Evidence of a finding that is shown.
const EVIDENCE_MAX: usize = 5;
/// Findings that are shown; all are in the other formats.
const FINDINGS_MAX: usize = 200;
/// Severities of findings, the gravest first; each is a class of the style.
const SEVERITIES: [&str; 4] = ["critical", "error", "warning", "notice"];

/// Writes the sections.
pub(super) fn sections(view: &mut View<'_>) {
    view.heading("summary");
    view.markup.open("div", &[("class", "tiles")]);
    let all = view.number("/summary/findings");
    view.tile("metric.findings", all, Unit::Count, None);
    for severity in SEVERITIES {
        let count = view.number(&format!("/summary/by_severity/{severity}"));
        view.tile(&format!("severity.{severity}"), count, Unit::Count, None);
    }
    let records = view.number("/summary/records");
    view.tile("records", records, Unit::Count, None);
    view.markup.close();
    view.heading("activities");
    view.markup.open("div", &[("class", "tiles")]);
    for activity in
        ["logins", "failed_logins", "privileged_actions", "deletions", "exports", "two_factor_disabled"]
    {
        let count = view.number(&format!("/summary/activities/{activity}"));
        view.tile(&format!("activity.{activity}"), count, Unit::Count, None);
    }
    view.markup.close();
    findings(view);
    rules(view);
}

fn findings(view: &mut View<'_>) {
    view.heading("metric.findings");
    let rows = view.rows("/findings");
    if rows.is_empty() {
        let nothing = view.text("no_findings");
        view.markup.leaf("p", &[("class", "nothing")], nothing);
    }
    for finding in rows.iter().take(FINDINGS_MAX) {
        one(view, finding);
    }
    let truncated = view.number("/truncated/findings");
    view.more(rows.len().saturating_sub(FINDINGS_MAX), truncated);
}

fn one(view: &mut View<'_>, finding: &Value) {
    let member = |name: &str| finding.get(name).and_then(Value::as_str).unwrap_or_default();
    let severity = SEVERITIES.into_iter().find(|known| *known == member("severity")).unwrap_or("notice");
    view.markup.open("div", &[("class", &format!("finding {severity}"))]);
    view.markup.open("p", &[]);
    let (badge, rule) =
        (view.text(&format!("severity.{severity}")), view.text(&format!("rule.{}", member("rule"))));
    view.markup.leaf("span", &[("class", &format!("badge {severity}"))], badge);
    view.markup.leaf("strong", &[], rule);
    view.markup.close();
    let sentence = sentence(view, finding);
    view.markup.leaf("p", &[("class", "name")], &sentence);
    let (first, last) = (date::moment(member("first"), view.lang), date::moment(member("last"), view.lang));
    let when = if first == last { first } else { format!("{first} \u{2013} {last}") };
    view.markup.leaf("p", &[("class", "note")], &when);
    let evidence = finding.get("evidence").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !evidence.is_empty() {
        view.markup.open("p", &[("class", "note")]);
        let label = view.text("evidence");
        view.markup.text(label);
        for id in evidence.iter().take(EVIDENCE_MAX).filter_map(Value::as_str) {
            view.markup.text(" ");
            view.markup.leaf("code", &[], id);
        }
        if evidence.len() > EVIDENCE_MAX {
            view.markup.text(" \u{2026}");
        }
        view.markup.close();
    }
    view.markup.close();
}

/// What a finding says, in the language of the page.
fn sentence(view: &View<'_>, finding: &Value) -> String {
    let member = |name: &str| finding.get(name).and_then(Value::as_str);
    let Some(subject) = finding.pointer("/subject/value").and_then(Value::as_str) else {
        return view.text("erased_user").to_owned();
    };
    let (rule, value) = (member("rule").unwrap_or_default(), member("value").unwrap_or_default());
    let name =
        if rule == "clock_step" { format!("finding.{rule}.{value}") } else { format!("finding.{rule}") };
    let count = finding.get("count").and_then(Value::as_f64).unwrap_or_default();
    let template = view.text(&name);
    // In one pass, so that what is filled in is not filled in again.
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let Some((name, after)) = after.split_once('}') else { break };
        match name {
            "count" => out.push_str(&plain(count, view.lang)),
            "subject" => out.push_str(subject),
            "value" => out.push_str(value),
            _ => {}
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn rules(view: &mut View<'_>) {
    view.heading("rules");
    view.markup.open("dl", &[]);
    for definition in view.rows("/definitions") {
        if definition.get("on").and_then(Value::as_bool) != Some(true) {
            continue;
        }
        let rule = definition.get("rule").and_then(Value::as_str).unwrap_or_default();
        let (name, text) = (view.text(&format!("rule.{rule}")), view.text(&format!("rule.{rule}.text")));
        view.markup.leaf("dt", &[], name);
        view.markup.open("dd", &[]);
        view.markup.text(text);
        for (threshold, value) in definition.get("threshold").and_then(Value::as_object).into_iter().flatten()
        {
            let unit = if threshold == "window_s" { Unit::Seconds } else { Unit::Count };
            let shown = view.shown(value.as_f64(), unit);
            let label = view.text(&format!("threshold.{threshold}"));
            view.markup.text(&format!(" \u{b7} {label}: {shown}"));
        }
        view.markup.close();
    }
    view.markup.close();
}
