//! Compares an answer with what it must be, and says at which places it differs.

use serde_json::{Value, json};

/// Greatest relative error that a quantile of the histogram is promised to have.
const QUANTILE_ERROR: f64 = 0.0055;

/// What a quantile of the histogram must be: near the one that is interpolated over all values.
pub(crate) fn near(value: f64) -> Value {
    json!({"$near": [value, QUANTILE_ERROR * value.abs()]})
}

/// A number at most this far from another one.
pub(crate) fn within(value: f64, radius: f64) -> Value {
    json!({"$near": [value, radius]})
}

/// The number and the radius of what [`near`] and [`within`] made, or of a number.
pub(crate) fn bound(expected: &Value) -> Option<(f64, f64)> {
    match expected.get("$near") {
        Some(near) => near[0].as_f64().zip(near[1].as_f64()),
        None => expected.as_f64().map(|exact| (exact, 0.0)),
    }
}

/// Where `found` is not what is `expected`, members too many or too few included. Numbers are equal up to the
/// rounding of doubles.
pub(crate) fn differences(expected: &Value, found: &Value) -> Vec<String> {
    let mut out = Vec::new();
    compare(expected, found, "", &mut out);
    out
}

fn compare(expected: &Value, found: &Value, at: &str, out: &mut Vec<String>) {
    match (expected, found) {
        (_, Value::Number(number)) if bound(expected).is_some() => {
            let ((value, radius), number) = (bound(expected).unwrap(), number.as_f64().unwrap());
            if (number - value).abs() > radius + 1e-9 * value.abs().max(1e-3) {
                out.push(format!("{at}: {number}, not {expected}"));
            }
        }
        (Value::Object(a), Value::Object(b)) if expected.get("$near").is_none() => {
            for (name, value) in a {
                match b.get(name) {
                    Some(found) => compare(value, found, &format!("{at}/{name}"), out),
                    None => out.push(format!("{at}/{name}: missing, not {value}")),
                }
            }
            out.extend(
                b.keys().filter(|name| !a.contains_key(*name)).map(|name| format!("{at}/{name}: unexpected")),
            );
        }
        (Value::Array(a), Value::Array(b)) => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(a, b, &format!("{at}/{index}"), out);
            }
            if a.len() != b.len() {
                out.push(format!("{at}: {} items, not {}", b.len(), a.len()));
            }
        }
        _ if expected == found => {}
        _ => out.push(format!("{at}: {found}, not {expected}")),
    }
}

/// An answer without what may differ between two that say the same: what it cost, and whether it was kept.
pub(crate) fn essence(mut answer: Value) -> Value {
    if let Some(members) = answer.as_object_mut() {
        members.remove("cost");
        members.remove("cached");
    }
    answer
}

/// Takes the definitions out of an answer; says which numbers of its summaries have none.
pub(crate) fn take_undefined(answer: &mut Value) -> Vec<String> {
    let definitions = answer.as_object_mut().unwrap().remove("definitions").unwrap_or_default();
    let is_defined = |name: &str| {
        let definition = &definitions[name.strip_suffix("_s").unwrap_or(name)];
        definition["version"].as_u64() >= Some(1)
            && definition["text"].as_str().is_some_and(|text| !text.is_empty())
    };
    let mut names: Vec<&String> = Vec::new();
    for (part, content) in answer["metrics"].as_object().into_iter().flatten() {
        match content["summary"].as_object() {
            Some(summary) => names.extend(summary.keys()),
            None => names.push(part),
        }
    }
    names
        .into_iter()
        .filter(|name| !is_defined(name))
        .map(|name| format!("/definitions/{name}: missing"))
        .collect()
}

#[test]
fn the_judge_sees_every_kind_of_difference() {
    let expected = json!({"a": 1, "b": [1.5, null], "c": "x", "q": near(200.0), "n": null});
    let fine = json!({"a": 1.0, "b": [1.5, null], "c": "x", "q": 201.0, "n": null});
    assert_eq!(differences(&expected, &fine), Vec::<String>::new());
    for (pointer, wrong) in [
        ("/a", json!(2)),
        ("/b/0", json!(1.500_001)),
        ("/b/1", json!(0)),
        ("/b", json!([1.5])),
        ("/c", json!("y")),
        ("/q", json!(201.2)),
        ("/q", json!(null)),
        ("/n", json!(0)),
    ] {
        let mut found = fine.clone();
        *found.pointer_mut(pointer).unwrap() = wrong;
        assert!(differences(&expected, &found)[0].starts_with(pointer), "{pointer}");
    }
    let mut more = fine;
    more["more"] = json!(0);
    assert_eq!(differences(&expected, &more), ["/more: unexpected"]);
}
