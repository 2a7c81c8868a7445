//! The words around what rules say, in the languages that there are: one table.

use std::fmt::Write;

use crate::domain::audit::Severity;
use crate::domain::instant::Rfc3339;
use crate::notify::message::{AlertNotice, AlertStatus, Lang, Message};

/// A word or a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// In front of the title of what fires.
    Firing,
    /// In front of the title of what is over.
    Resolved,
    /// The number that was looked at.
    Value,
    /// What it is compared with.
    Threshold,
    /// Since when.
    Since,
    /// Until when.
    Until,
    /// The organization.
    Organization,
    /// How grave it is.
    Severity,
    /// More alerts than are told; their number stands in front.
    MoreAlerts,
    /// Who says it.
    Footer,
    /// The title of a message that tests a channel.
    TestTitle,
    /// What it says.
    TestSummary,
}

/// A text in a language.
pub const fn text(lang: Lang, text: Text) -> &'static str {
    match (lang, text) {
        (Lang::En, Text::Firing) => "Alert",
        (Lang::Fr, Text::Firing) => "Alerte",
        (Lang::En, Text::Resolved) => "Resolved",
        (Lang::Fr, Text::Resolved) => "R\u{e9}solu",
        (Lang::En, Text::Value) => "Value",
        (Lang::Fr, Text::Value) => "Valeur",
        (Lang::En, Text::Threshold) => "Threshold",
        (Lang::Fr, Text::Threshold) => "Seuil",
        (Lang::En, Text::Since) => "Since",
        (Lang::Fr, Text::Since) => "Depuis",
        (Lang::En, Text::Until) => "Until",
        (Lang::Fr, Text::Until) => "Jusqu'\u{e0}",
        (Lang::En, Text::Organization) => "Organization",
        (Lang::Fr, Text::Organization) => "Organisation",
        (Lang::En, Text::Severity) => "Severity",
        (Lang::Fr, Text::Severity) => "Gravit\u{e9}",
        (Lang::En, Text::MoreAlerts) => "more alerts",
        (Lang::Fr, Text::MoreAlerts) => "autres alertes",
        (Lang::En, Text::Footer) => "Sent by Insights",
        (Lang::Fr, Text::Footer) => "Envoy\u{e9} par Insights",
        (Lang::En, Text::TestTitle) => "Test of a notification channel",
        (Lang::Fr, Text::TestTitle) => "Test d'un canal de notification",
        (Lang::En, Text::TestSummary) => "Nothing is wrong. Somebody checks that messages arrive here.",
        (Lang::Fr, Text::TestSummary) => {
            "Tout va bien. Quelqu'un v\u{e9}rifie que les messages arrivent ici."
        }
    }
}

/// The name of a severity in a language.
pub const fn severity(lang: Lang, severity: Severity) -> &'static str {
    match (lang, severity) {
        (Lang::En, severity) => severity.name(),
        (Lang::Fr, Severity::Info) => "information",
        (Lang::Fr, Severity::Notice) => "avis",
        (Lang::Fr, Severity::Warning) => "avertissement",
        (Lang::Fr, Severity::Error) => "erreur",
        (Lang::Fr, Severity::Critical) => "critique",
    }
}

/// A number as people of a language write it.
pub fn number(lang: Lang, number: f64) -> String {
    match lang {
        Lang::En => number.to_string(),
        Lang::Fr => number.to_string().replace('.', ","),
    }
}

/// The word for a status in a language.
pub const fn status(lang: Lang, status: AlertStatus) -> &'static str {
    match status {
        AlertStatus::Firing => text(lang, Text::Firing),
        AlertStatus::Resolved => text(lang, Text::Resolved),
    }
}

/// The one line of a message: its status, how grave it is, its title.
pub fn headline(lang: Lang, message: &Message) -> String {
    format!("[{}: {}] {}", status(lang, message.status), severity(lang, message.severity), message.title)
}

/// How many alerts a message counts without telling them; none when it tells them all.
pub fn more(lang: Lang, count: u64) -> Option<String> {
    (count > 0).then(|| format!("+ {count} {}", text(lang, Text::MoreAlerts)))
}

/// What is known of an alert besides its name and words: a name and a value each, in order.
pub fn facts(lang: Lang, alert: &AlertNotice) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut push = |name: Text, value: String| facts.push((text(lang, name).to_owned(), value));
    push(Text::Severity, severity(lang, alert.severity).to_owned());
    if let Some(value) = alert.value {
        push(Text::Value, number(lang, value));
    }
    if let Some(threshold) = alert.threshold {
        push(Text::Threshold, number(lang, threshold));
    }
    push(Text::Since, Rfc3339(alert.starts_at).to_string());
    if let Some(ends) = alert.ends_at {
        push(Text::Until, Rfc3339(ends).to_string());
    }
    facts
}

/// Labels as `name=value`, separated by commas.
pub fn labels(alert: &AlertNotice) -> String {
    let mut out = String::new();
    for (name, value) in &alert.labels {
        let separator = if out.is_empty() { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(out, "{separator}{name}={value}");
    }
    out
}

/// The words of an alert: its summary and its description, as far as its rule has them.
pub fn words(alert: &AlertNotice) -> impl Iterator<Item = &str> {
    ["summary", "description"].into_iter().filter_map(|name| alert.annotations.get(name)).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use insights_engine::time::TimestampUs;

    use super::*;
    use crate::notify::message::tests::message;

    #[test]
    fn a_message_is_told_in_the_language_of_its_readers() {
        let message = message("shop", TimestampUs(0));
        assert_eq!(headline(Lang::En, &message), "[Alert: critical] Errors of the shop");
        assert_eq!(headline(Lang::Fr, &message), "[Alerte: critique] Errors of the shop");
        assert_eq!((more(Lang::Fr, 3).as_deref(), more(Lang::En, 0)), (Some("+ 3 autres alertes"), None));
        assert_eq!((number(Lang::En, 12.5), number(Lang::Fr, 12.5)), ("12.5".to_owned(), "12,5".to_owned()));
        let names: Vec<_> = facts(Lang::Fr, &message.alerts[0]).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["Gravit\u{e9}", "Valeur", "Seuil", "Depuis"]);
    }
}
