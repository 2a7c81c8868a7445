//! The numbers of an answer that add up, and those that do not but lie between.

use std::collections::BTreeMap;

use serde_json::Value;

/// Numbers by the place where they stand; zeros are left out.
pub(super) type Numbers = BTreeMap<String, f64>;

const LISTS: [(&str, &str); 3] = [("event_types", "event_type"), ("pages", "page"), ("features", "feature")];

/// Puts a number down, unless it is nothing.
fn put(out: &mut Numbers, name: String, value: &Value) {
    if let Some(number) = value.as_f64().filter(|number| *number != 0.0) {
        *out.entry(name).or_default() += number;
    }
}

/// How many there are, and their sum: the mean times how many.
fn put_values(out: &mut Numbers, name: &str, values: &Value) {
    put(out, format!("{name}.count"), &values["count"]);
    if let (Some(avg), Some(count)) = (values["avg"].as_f64(), values["count"].as_f64()) {
        put(out, format!("{name}.avg * count"), &Value::from(avg * count));
    }
}

/// What counts events of `user_activity`, without anything of sessions.
pub(super) fn of_events(metrics: &Value) -> Numbers {
    let (mut out, family) = (Numbers::new(), &metrics["user_activity"]);
    for name in ["events", "pages_visited", "actions_performed"] {
        put(&mut out, name.to_owned(), &family["summary"][name]);
    }
    for (list, key) in LISTS {
        for row in family[list].as_array().into_iter().flatten() {
            put(&mut out, format!("{list}/{}", row[key]), &row["count"]);
        }
    }
    for row in family["series"].as_array().into_iter().flatten() {
        for cell in row["breakdown"].as_array().into_iter().flatten() {
            put(&mut out, format!("{}/{}", row["bucket"], cell["key"]), &cell["count"]);
        }
    }
    out
}

/// Everything that adds up over parts of a window, and over organizations.
pub(super) fn additive(metrics: &Value) -> Numbers {
    let mut out = of_events(metrics);
    let activity = &metrics["user_activity"]["summary"];
    for name in ["sessions", "time_on_platform_s"] {
        put(&mut out, name.to_owned(), &activity[name]);
    }
    put_values(
        &mut out,
        "session_duration",
        &serde_json::json!({"avg": activity["session_duration"]["avg_s"], "count": activity["sessions"]}),
    );
    put_values(
        &mut out,
        "bounces",
        &serde_json::json!({"avg": activity["bounce_rate"], "count": activity["sessions"]}),
    );
    let apps = &metrics["app_metrics"];
    let rows = apps["apps"].as_array().into_iter().flatten();
    for (app, row) in
        rows.map(|row| (row["app_id"].to_string(), row)).chain([("all".to_owned(), &apps["summary"])])
    {
        put(&mut out, format!("{app}.requests"), &row["requests"]);
        put(&mut out, format!("{app}.errors"), &row["errors"]);
        put_values(&mut out, &app, &row["response_time"]);
    }
    // Hosts of the platform are nobody's own.
    if metrics["system_performance"]["scope"] != "platform" {
        for (name, values) in metrics["system_performance"]["summary"].as_object().into_iter().flatten() {
            put_values(&mut out, name, values);
            put(&mut out, format!("{name}.sum"), &values["sum"]);
        }
    }
    put_values(&mut out, "response_time", &metrics["response_time"]);
    for (part, name) in [
        ("error_rate", "requests"),
        ("error_rate", "errors"),
        ("uptime", "down_s"),
        ("uptime", "maintenance_s"),
    ] {
        put(&mut out, format!("{part}.{name}"), &metrics[part][name]);
    }
    out
}

/// What adds up of the series, by bucket.
pub(super) fn by_bucket(metrics: &Value) -> Numbers {
    let mut out = Numbers::new();
    for (family, content) in metrics.as_object().into_iter().flatten() {
        if content["scope"] == "platform" {
            continue;
        }
        for row in content["series"].as_array().into_iter().flatten() {
            for name in [
                "events",
                "sessions",
                "pages_visited",
                "actions_performed",
                "time_on_platform_s",
                "requests",
                "errors",
                "count",
            ] {
                put(&mut out, format!("{family}/{}/{name}", row["bucket"]), &row[name]);
            }
            for name in ["network.in", "network.out", "server.errors"] {
                put(&mut out, format!("{family}/{}/{name}", row["bucket"]), &row[name]["sum"]);
            }
        }
    }
    out
}

/// The least and the greatest values of an answer.
pub(super) fn extremes(metrics: &Value) -> (Numbers, Numbers) {
    let (mut least, mut greatest) = (Numbers::new(), Numbers::new());
    let mut both = |name: &str, values: &Value| {
        // Shifted, so that a zero is something.
        for (out, value) in [(&mut least, &values["min"]), (&mut greatest, &values["max"])] {
            if let Some(number) = value.as_f64() {
                out.insert(name.to_owned(), number);
            }
        }
    };
    both("apps", &metrics["app_metrics"]["summary"]["response_time"]);
    both("performance", &metrics["response_time"]);
    for (name, values) in metrics["system_performance"]["summary"].as_object().into_iter().flatten() {
        both(name, values);
    }
    (least, greatest)
}

/// Two sets of numbers in one, as `join` says where both have one.
pub(super) fn joined(mut one: Numbers, other: Numbers, join: fn(f64, f64) -> f64) -> Numbers {
    for (name, number) in other {
        let own = one.entry(name).or_insert(f64::NAN);
        *own = if own.is_nan() { number } else { join(*own, number) };
    }
    one
}

/// The sum of two sets of numbers.
pub(super) fn sum(one: Numbers, other: Numbers) -> Numbers {
    joined(one, other, |a, b| a + b)
}

/// Fails when two sets of numbers are not the same, up to the rounding of sums.
pub(super) fn equal(whole: &Numbers, parts: &Numbers, what: &dyn std::fmt::Debug) -> Result<(), String> {
    let names: std::collections::BTreeSet<&String> = whole.keys().chain(parts.keys()).collect();
    let of = |numbers: &Numbers, name: &String| numbers.get(name).copied().unwrap_or(0.0);
    let mut out = Vec::new();
    for name in names {
        let (whole, parts) = (of(whole, name), of(parts, name));
        if (whole - parts).abs() > 1e-9 * whole.abs().max(1.0) {
            out.push(format!("{name}: {whole} of the whole, {parts} of the parts"));
        }
    }
    if out.is_empty() { Ok(()) } else { Err(format!("{what:?}: {:#?}", &out[..out.len().min(6)])) }
}
