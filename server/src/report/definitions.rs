//! What each number of the reports means, in the language of the reader. A number whose meaning changes gets a higher
//! version, in both languages.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::system_performance::SYSTEM_METRICS;
use crate::domain::lang::Lang;
use crate::domain::texts::Texts;

static TEXTS: LazyLock<Texts> = LazyLock::new(|| {
    Texts::parse(include_str!("texts/definitions.en.txt"), include_str!("texts/definitions.fr.txt"))
});

/// The numbers of `user_activity`.
const ACTIVITY: [&str; 9] = [
    "events",
    "active_users",
    "sessions",
    "session_duration",
    "bounce_rate",
    "pages_visited",
    "actions_performed",
    "features_used",
    "time_on_platform",
];
/// The numbers of `app_metrics`.
const APPS: [&str; 5] = ["requests", "errors", "error_rate", "uptime", "response_time"];

/// What an answer may have, and the numbers of it.
const PARTS: [(&str, &[&str]); 9] = [
    ("/metrics/user_activity", &ACTIVITY),
    ("/metrics/system_performance", &SYSTEM_METRICS),
    ("/metrics/app_metrics", &APPS),
    ("/metrics/response_time", &["response_time", "apdex"]),
    ("/metrics/error_rate", &["requests", "errors", "error_rate"]),
    ("/metrics/uptime", &["uptime", "coverage"]),
    ("/routes", &["routes"]),
    ("/audit", &["audit"]),
    ("/findings", &["findings"]),
];

/// What a number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct MetricDefinition {
    /// Counts the changes of its meaning, from 1.
    pub(crate) version: u32,
    /// In words.
    #[schema(value_type = String)]
    pub(crate) text: &'static str,
}

/// What numbers mean, by their names.
pub(crate) type Definitions = BTreeMap<&'static str, MetricDefinition>;

/// What the numbers of an answer mean: those of the families under `metrics`, and of what else it has.
pub(crate) fn of_answer(answer: &Value, lang: Lang) -> Definitions {
    of_parts(|pointer| answer.pointer(pointer).is_some_and(|part| !part.is_null()), lang)
}

/// What the numbers of the families mean that an answer has under `metrics`, by their names.
pub(crate) fn of_families(has: impl Fn(&str) -> bool, lang: Lang) -> Definitions {
    of_parts(|pointer| pointer.strip_prefix("/metrics/").is_some_and(&has), lang)
}

fn of_parts(has: impl Fn(&str) -> bool, lang: Lang) -> Definitions {
    let names = PARTS.iter().filter(|(pointer, _)| has(pointer)).flat_map(|(_, names)| *names);
    names.filter_map(|name| known(name, lang)).collect()
}

/// What a number means, and its name as it is in the files.
fn known(name: &str, lang: Lang) -> Option<(&'static str, MetricDefinition)> {
    let (name, text) = TEXTS.of(lang).get_key_value(name)?;
    let (version, text) = text.split_once(' ')?;
    Some((*name, MetricDefinition { version: version.parse().ok()?, text }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_number_has_the_same_version_in_every_language() {
        let versions = |lang| {
            let of = |name: &&'static str| (*name, known(name, lang).unwrap().1.version);
            TEXTS.of(lang).keys().map(of).collect::<Vec<_>>()
        };
        assert_eq!(versions(Lang::En), versions(Lang::Fr));
        for name in ACTIVITY.iter().chain(&SYSTEM_METRICS).chain(&APPS) {
            assert!(known(name, Lang::Fr).is_some(), "{name}");
        }
    }

    #[test]
    fn only_what_is_in_the_answer_is_explained() {
        let names = |answer: &Value| of_answer(answer, Lang::En).into_keys().collect::<Vec<_>>();
        assert_eq!(names(&json!({"metrics": {"uptime": {}}})), ["coverage", "uptime"]);
        assert_eq!(names(&json!({"metrics": {}, "audit": null})), [""; 0]);
        assert_eq!(names(&json!({"metrics": {"user_activity": {}}})).len(), ACTIVITY.len());
        assert_eq!(
            of_families(|name| name == "uptime", Lang::En),
            of_answer(&json!({"metrics": {"uptime": {}}}), Lang::En)
        );
        let fr = of_answer(&json!({"findings": []}), Lang::Fr);
        assert!(fr["findings"].text.starts_with("Ce que"));
    }
}
