//! The body of a report as bytes: canonical JSON, its hash, and what it says first of all.

use insights_engine::id::TenantId;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::VERSION;
use super::ask::StoredRequest;
use crate::export::rows::hex;
use crate::http::error::ApiError;
use crate::report::answer::Bounds;
use crate::report::window::Window;

/// Most bytes of a body.
pub(crate) const BODY_BYTES_MAX: usize = 8 << 20;

/// What every body begins with.
#[derive(Debug, Serialize)]
struct Head<'a> {
    version: u32,
    #[serde(rename = "type")]
    kind: &'static str,
    organization_id: &'a str,
    app_id: Option<&'a str>,
    start_date: String,
    end_date: String,
    timezone: &'a str,
    window: Bounds,
}

/// The members that every body has.
///
/// # Errors
///
/// `internal` when they cannot be written, which only a mistake of ours can cause.
pub(crate) fn head(request: &StoredRequest, organization: &TenantId) -> Result<Map<String, Value>, ApiError> {
    let window = &request.window;
    let (start_date, end_date) = dates(window);
    let head = Head {
        version: VERSION,
        kind: request.kind.name(),
        organization_id: organization.as_str(),
        app_id: request.app_id.as_deref(),
        start_date,
        end_date,
        timezone: window.zone_name(),
        window: Bounds::of(window.range, window),
    };
    match to_value(&head)? {
        Value::Object(members) => Ok(members),
        _ => Err(ApiError::internal()),
    }
}

/// The first and the last local day of a window of days, else its instants.
pub(crate) fn dates(window: &Window) -> (String, String) {
    match window.local_days() {
        Some((first, last)) => (first.to_string(), last.to_string()),
        None => (window.text(window.range.start), window.text(window.range.end)),
    }
}

/// A part of a body as JSON.
///
/// # Errors
///
/// As [`head`].
pub(crate) fn to_value(value: &impl Serialize) -> Result<Value, ApiError> {
    serde_json::to_value(value).map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a report could not be written");
        ApiError::internal()
    })
}

/// JSON without spaces whose members are sorted by name: equal values have equal bytes.
pub(crate) fn canonical(value: &Value) -> Vec<u8> {
    let mut out = String::new();
    write(value, &mut out);
    out.into_bytes()
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by(|one, other| one.0.cmp(other.0));
            out.push('{');
            for (index, (name, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        _ => out.push_str(&value.to_string()),
    }
}

/// The SHA-256 of some bytes, in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn members_are_sorted_at_every_level_and_numbers_stay_as_they_are() {
        let value = json!({"b": [1, 0.1, {"z": null, "a": "\"\u{e9}\n"}], "a": true, "ab": 1e300});
        let text = String::from_utf8(canonical(&value)).unwrap();
        assert_eq!(text, "{\"a\":true,\"ab\":1e+300,\"b\":[1,0.1,{\"a\":\"\\\"\u{e9}\\n\",\"z\":null}]}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn the_hash_is_that_of_the_standard() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), expected);
    }

    proptest! {
        #[test]
        fn what_was_written_is_written_again(number: f64, whole: i64, text in "\\PC{0,20}") {
            let value = json!({"n": number, "w": whole, "t": text.clone(), text: [whole, number]});
            let bytes = canonical(&value);
            let again: Value = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(canonical(&again), bytes);
        }
    }
}
