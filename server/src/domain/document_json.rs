//! Documents of the engine as JSON: integers stay exact, doubles stay doubles.

use insights_engine::schema::{Document, Value};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// Serializes a decoded document.
#[derive(Debug, Clone, Copy)]
pub struct JsonValue<'a>(pub &'a Value);

impl Serialize for JsonValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(b) => serializer.serialize_bool(*b),
            Value::I64(n) => serializer.serialize_i64(*n),
            Value::U64(n) => serializer.serialize_u64(*n),
            Value::F64(n) => serializer.serialize_f64(*n),
            Value::Str(s) => serializer.serialize_str(s),
            Value::Array(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    seq.serialize_element(&JsonValue(item))?;
                }
                seq.end()
            }
            Value::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (key, value) in members {
                    map.serialize_entry(key, &JsonValue(value))?;
                }
                map.end()
            }
        }
    }
}

/// Serializes an encoded document.
#[derive(Debug, Clone, Copy)]
pub struct DocumentJson<'a>(pub &'a [u8]);

impl Serialize for DocumentJson<'_> {
    /// # Errors
    ///
    /// Also when the bytes are not a document.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = Document::decode(self.0).map_err(serde::ser::Error::custom)?;
        JsonValue(&value).serialize(serializer)
    }
}

/// An encoded document as a JSON value.
///
/// # Errors
///
/// [`insights_engine::Error::Invalid`] when the bytes are not a document.
pub fn to_json(document: &[u8]) -> insights_engine::Result<serde_json::Value> {
    let value = Document::decode(document)?;
    serde_json::to_value(JsonValue(&value))
        .map_err(|error| insights_engine::Error::invalid(error.to_string()))
}

/// A JSON value as a document. Numbers that are neither whole nor finite doubles do not occur in JSON.
pub fn from_json(json: &serde_json::Value) -> Document {
    Document::encode(&value_of(json))
}

fn value_of(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(b) => Value::Bool(*b),
        serde_json::Value::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(n), _) => Value::I64(n),
            (None, Some(n)) => Value::U64(n),
            (None, None) => n.as_f64().map_or(Value::Null, Value::F64),
        },
        serde_json::Value::String(text) => Value::Str(text.clone()),
        serde_json::Value::Array(items) => Value::Array(items.iter().map(value_of).collect()),
        serde_json::Value::Object(members) => {
            Value::Object(members.iter().map(|(key, value)| (key.clone(), value_of(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_comes_out_as_json_of_equal_value() {
        let value = Value::Object(vec![
            ("a".into(), Value::Array(vec![Value::Null, Value::Bool(true), Value::I64(-5)])),
            ("b".into(), Value::U64(u64::MAX)),
            ("c".into(), Value::F64(1.0)),
            ("d".into(), Value::Str("\"\n".into())),
        ]);
        let document = Document::encode(&value);
        let expected = json!({"a": [null, true, -5], "b": u64::MAX, "c": 1.0, "d": "\"\n"});
        assert_eq!(to_json(document.as_bytes()).unwrap(), expected);
        let text = serde_json::to_string(&DocumentJson(document.as_bytes())).unwrap();
        assert_eq!(text, r#"{"a":[null,true,-5],"b":18446744073709551615,"c":1.0,"d":"\"\n"}"#);
    }

    #[test]
    fn json_goes_into_a_document_and_comes_back() {
        let json = json!({"z": [null, true, -5, u64::MAX, 0.25], "a": {"b": "\"\n"}});
        assert_eq!(to_json(from_json(&json).as_bytes()).unwrap(), json);
    }

    #[test]
    fn bytes_that_are_no_document_are_an_error() {
        assert!(to_json(b"\xff").is_err());
        assert!(serde_json::to_string(&DocumentJson(b"\x08\x05")).is_err());
    }
}
