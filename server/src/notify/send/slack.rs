//! The body of an incoming webhook of Slack, in the older form with attachments, which Mattermost, Rocket.Chat and
//! Discord (`/slack`) understand too.

use serde_json::{Value, json};

use super::texts::{self, Text, text};
use crate::domain::audit::Severity;
use crate::notify::channel::Channel;
use crate::notify::message::{AlertNotice, AlertStatus, Message};

/// Most alerts that are told one by one: Slack shows no more than 20 attachments, and nobody reads as many.
const ATTACHMENTS_MAX: usize = 10;

/// The body of a message.
pub fn body(channel: &Channel, message: &Message) -> Vec<u8> {
    let lang = channel.lang;
    let told = message.alerts.iter().take(ATTACHMENTS_MAX);
    let mut attachments: Vec<Value> = told.map(|alert| attachment(channel, alert)).collect();
    let untold = message.alerts.len().saturating_sub(ATTACHMENTS_MAX) as u64;
    if let Some(more) = texts::more(lang, message.truncated_alerts.saturating_add(untold)) {
        attachments.push(json!({ "color": "#888888", "text": more, "fallback": more }));
    }
    let body = json!({ "text": escape(&texts::headline(lang, message)), "attachments": attachments });
    body.to_string().into_bytes()
}

fn attachment(channel: &Channel, alert: &AlertNotice) -> Value {
    let lang = channel.lang;
    let title = format!("[{}] {}", texts::status(lang, alert.status), alert.name);
    let mut lines: Vec<String> = texts::words(alert).map(escape).collect();
    if !alert.labels.is_empty() {
        lines.push(escape(&texts::labels(alert)));
    }
    let fields: Vec<Value> = texts::facts(lang, alert)
        .into_iter()
        .map(|(name, value)| json!({ "title": name, "value": escape(&value), "short": true }))
        .collect();
    json!({
        "color": colour(alert),
        "fallback": escape(&title),
        "title": escape(&title),
        "text": lines.join("\n"),
        "fields": fields,
        "footer": format!("{} - {}", text(lang, Text::Footer), channel.organization),
        "ts": alert.ends_at.unwrap_or(alert.starts_at).0.div_euclid(1_000_000),
    })
}

const fn colour(alert: &AlertNotice) -> &'static str {
    match (alert.status, alert.severity) {
        (AlertStatus::Resolved, _) => "#2e7d32",
        (AlertStatus::Firing, Severity::Critical | Severity::Error) => "#c62828",
        (AlertStatus::Firing, Severity::Warning) => "#f9a825",
        (AlertStatus::Firing, Severity::Info | Severity::Notice) => "#1565c0",
    }
}

/// Text in which nothing is a link, a mention or an entity: `<!channel>` calls nobody.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use insights_engine::time::TimestampUs;

    use super::*;
    use crate::notify::channel::tests::webhook;
    use crate::notify::message::Lang;
    use crate::notify::message::tests::message;

    #[test]
    fn a_message_has_a_line_and_an_attachment_for_each_alert() {
        let channel = Channel { lang: Lang::Fr, ..webhook("ch_1", "https://hooks.example/") };
        let told: Value =
            serde_json::from_slice(&body(&channel, &message("shop", TimestampUs(2_000_000)))).unwrap();
        assert_eq!(told["text"], "[Alerte: critique] Errors of the shop");
        let attachment = &told["attachments"][0];
        assert_eq!(attachment["title"], "[Alerte] Errors of the shop");
        assert_eq!(attachment["text"], "12 % of requests fail\napp=shop");
        assert_eq!((&attachment["color"], &attachment["ts"]), (&json!("#c62828"), &json!(2)));
        assert_eq!(attachment["fields"][1], json!({"title": "Valeur", "value": "12", "short": true}));
    }

    #[test]
    fn a_storm_is_short_and_nobody_is_called_by_a_name() {
        let mut storm = message("shop", TimestampUs(0));
        storm.title = "<!channel> & <https://evil.example|click>".to_owned();
        storm.alerts = vec![storm.alerts[0].clone(); 50];
        storm.truncated_alerts = 950;
        let told = body(&webhook("ch_1", "https://hooks.example/"), &storm);
        let told: Value = serde_json::from_slice(&told).unwrap();
        assert_eq!(told["attachments"].as_array().unwrap().len(), 11);
        assert_eq!(told["attachments"][10]["text"], "+ 990 more alerts");
        let line = "[Alert: critical] &lt;!channel&gt; &amp; &lt;https://evil.example|click&gt;";
        assert_eq!(told["text"], line);
    }
}
