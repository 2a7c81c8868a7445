//! The comparison of a summary with that of the period before.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::judge::{bound, within};

/// `{"summary", "change"}` of a family.
pub(crate) fn comparison(now: &Value, then: &Value) -> Value {
    let (mut after, mut before) = (BTreeMap::new(), BTreeMap::new());
    numbers(now, "", &mut after);
    numbers(then, "", &mut before);
    let change: serde_json::Map<String, Value> = after
        .into_iter()
        .map(|(name, now)| {
            let then = before.get(&name).copied().flatten();
            (name, change(now, then))
        })
        .collect();
    json!({"summary": then, "change": change})
}

/// A change of two numbers, each with the radius in which it may lie.
fn change(now: Option<(f64, f64)>, then: Option<(f64, f64)>) -> Value {
    let Some(((now, off), (then, then_off))) = now.zip(then) else {
        return json!({"absolute": null, "relative": null});
    };
    let (by, radius) = (now - then, off + then_off);
    let relative = (then != 0.0).then(|| {
        // The base is off too, by as much of the change.
        within(by / then.abs(), 1.01 * (radius / then.abs() + by.abs() / then.abs() * then_off / then.abs()))
    });
    json!({"absolute": within(by, radius), "relative": relative})
}

fn numbers(value: &Value, name: &str, out: &mut BTreeMap<String, Option<(f64, f64)>>) {
    match value {
        Value::Null => drop(out.insert(name.to_owned(), None)),
        _ if bound(value).is_some() => drop(out.insert(name.to_owned(), bound(value))),
        Value::Object(members) => {
            for (key, inner) in members {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                numbers(inner, &name, out);
            }
        }
        _ => {}
    }
}
