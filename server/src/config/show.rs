//! Settings as text: what is in force, or an example file that explains each one.

use std::fmt::Write;

use super::raw::{Origin, RawConfig};
use super::setting::{Kind, SETTINGS, Setting};

/// What is in force, as TOML with who said it; secrets are not shown.
pub fn effective(raw: &RawConfig) -> String {
    let mut out = String::new();
    for setting in SETTINGS {
        let Some(value) = raw.get(setting.name) else { continue };
        let text = if setting.kind == Kind::Secret {
            "\"(secret)\"".to_owned()
        } else {
            literal(setting, &value.items)
        };
        writeln!(out, "{} = {text}  # {}", setting.name, value.origin).unwrap_or_default();
    }
    out
}

/// What is in force, as one JSON object: `{name: {"value", "from"}}`; secrets are not shown.
pub fn effective_json(raw: &RawConfig) -> serde_json::Value {
    let entry = |setting: &Setting| {
        let value = raw.get(setting.name)?;
        let shown = match setting.kind {
            Kind::Secret => serde_json::Value::Null,
            Kind::List => value.items.clone().into(),
            Kind::One => value.items.first().cloned().into(),
        };
        let from = value.origin.to_string();
        Some((setting.name.to_owned(), serde_json::json!({ "value": shown, "from": from })))
    };
    serde_json::Value::Object(SETTINGS.iter().filter_map(entry).collect())
}

/// A file of settings with every default, explained; what has none is commented out.
pub fn example() -> String {
    let mut out = String::from("# Settings of insights-server. What is commented out is the default.\n");
    let defaults = RawConfig::defaults();
    for setting in SETTINGS {
        let text = defaults
            .get(setting.name)
            .map_or_else(|| "\"\"".to_owned(), |value| literal(setting, &value.items));
        let variable = setting.variable();
        write!(out, "\n# {}\n# {variable}\n# {} = {text}\n", setting.help, setting.name).unwrap_or_default();
        if setting.kind == Kind::Secret {
            writeln!(out, "# {}_file = \"\"", setting.name).unwrap_or_default();
        }
    }
    out
}

/// A TOML literal. Numbers and booleans are written bare, all else as text.
fn literal(setting: &Setting, items: &[String]) -> String {
    let quoted = |text: &String| toml::Value::String(text.clone()).to_string();
    match (setting.kind, items) {
        (Kind::List, items) => format!("[{}]", items.iter().map(quoted).collect::<Vec<_>>().join(", ")),
        (Kind::One | Kind::Secret, [one])
            if one.parse::<i64>().is_ok() || matches!(one.as_str(), "true" | "false") =>
        {
            one.clone()
        }
        (Kind::One | Kind::Secret, items) => quoted(&items.concat()),
    }
}

/// How a warning about a variable that is no setting reads.
pub fn unknown_variable(variable: &str) -> String {
    format!("{} is no setting and is ignored", Origin::Environment(variable.to_owned()))
}
