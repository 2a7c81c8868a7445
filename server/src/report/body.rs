//! Reading a report's JSON body: every problem is collected with its pointer, none stops the reading.

use serde_json::{Map, Value};

use crate::domain::identifier::is_identifier;
use crate::http::error::FieldError;
use crate::http::extract::escape;

/// A key as a step of an RFC 6901 pointer.
pub(crate) fn step(key: &str) -> String {
    format!("/{}", escape(key))
}

/// The members of a body, taken one by one; what nobody takes is a problem in the end.
///
/// `null` is the same as absent.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    object: &'a Map<String, Value>,
    known: Vec<&'static str>,
    /// What was wrong so far.
    pub(crate) problems: Vec<FieldError>,
}

impl<'a> Fields<'a> {
    /// The members of `body`.
    ///
    /// # Errors
    ///
    /// A problem when it is no object.
    pub(crate) fn of(body: &'a Value) -> Result<Self, FieldError> {
        let object = body
            .as_object()
            .ok_or_else(|| FieldError::new("", "invalid_type", "a JSON object is expected"))?;
        Ok(Self { object, known: Vec::new(), problems: Vec::new() })
    }

    /// Notes a problem with a member.
    pub(crate) fn problem(&mut self, name: &str, code: &'static str, detail: impl Into<String>) {
        self.problems.push(FieldError::new(step(name), code, detail));
    }

    /// A member, if it is there and not null.
    pub(crate) fn get(&mut self, name: &'static str) -> Option<&'a Value> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// The first of several members that is there, under the name it has.
    pub(crate) fn either(&mut self, names: &[&'static str]) -> Option<(&'static str, &'a Value)> {
        let mut found = None;
        for name in names {
            if let Some(value) = self.get(name) {
                found = found.or(Some((*name, value)));
            }
        }
        found
    }

    /// An identifier; a number is taken as its decimal string, an empty string as absent.
    pub(crate) fn identifier(&mut self, name: &'static str) -> Option<String> {
        let value = self.get(name)?;
        match identifier(value) {
            Ok(found) => found,
            Err(detail) => {
                self.problem(name, if value.is_string() { "invalid" } else { "invalid_type" }, detail);
                None
            }
        }
    }

    /// Text.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<&'a str> {
        let value = self.get(name)?;
        let text = value.as_str();
        if text.is_none() {
            self.problem(name, "invalid_type", "a string is expected");
        }
        text
    }

    /// True or false, `false` when absent.
    pub(crate) fn flag(&mut self, name: &'static str) -> bool {
        let Some(value) = self.get(name) else { return false };
        if !value.is_boolean() {
            self.problem(name, "invalid_type", "true or false is expected");
        }
        value.as_bool().unwrap_or(false)
    }

    /// One of some words, by its place in `words`.
    pub(crate) fn choice(&mut self, name: &'static str, words: &[&str]) -> Option<usize> {
        let text = self.text(name)?;
        let found = words.iter().position(|word| *word == text);
        if found.is_none() {
            self.problem(name, "invalid", format!("one of {} is expected", words.join(", ")));
        }
        found
    }

    /// A list of strings, of which `one` accepts each; a single string is a list of one.
    pub(crate) fn list<T>(
        &mut self,
        name: &'static str,
        len_max: usize,
        one: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let value = self.get(name)?;
        let items = match value {
            Value::Array(items) => items.as_slice(),
            Value::String(_) => std::slice::from_ref(value),
            _ => {
                self.problem(name, "invalid_type", "a list of strings is expected");
                return None;
            }
        };
        if items.len() > len_max {
            self.problem(name, "invalid", format!("at most {len_max} are allowed"));
            return None;
        }
        let mut out = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let pointer = if value.is_array() { format!("{}/{index}", step(name)) } else { step(name) };
            match item.as_str().map(&one) {
                Some(Ok(item)) => out.push(item),
                Some(Err(detail)) => self.problems.push(FieldError::new(pointer, "invalid", detail)),
                None => self.problems.push(FieldError::new(pointer, "invalid_type", "a string is expected")),
            }
        }
        Some(out)
    }

    /// All problems, those of members that nobody knows included.
    pub(crate) fn finish(mut self) -> Vec<FieldError> {
        for name in self.object.keys() {
            if !self.known.iter().any(|known| known == name) {
                let detail = format!("unknown field; known are {}", self.known.join(", "));
                self.problems.push(FieldError::new(step(name), "unknown_field", detail));
            }
        }
        self.problems
    }
}

/// An identifier of the platform: 1-128 characters of `[A-Za-z0-9._:@-]`, not `.` nor `..`; `None` for
/// an empty string.
///
/// # Errors
///
/// What is wrong, in words.
pub(crate) fn identifier(value: &Value) -> Result<Option<String>, &'static str> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Err("a string is expected"),
    };
    if text.is_empty() {
        return Ok(None);
    }
    if !is_identifier(&text) {
        return Err("an identifier has 1 to 128 characters of [A-Za-z0-9._:@-]");
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_problem_is_named_with_its_pointer() {
        let body = json!({"app_id": "a b", "exact": 1, "group_by": "year", "metrics": ["x", 3], "~/": 1});
        let mut fields = Fields::of(&body).unwrap();
        assert_eq!(fields.identifier("app_id"), None);
        assert!(!fields.flag("exact"));
        assert_eq!(fields.choice("group_by", &["hour", "day"]), None);
        let metrics = fields.list("metrics", 10, |m| Err::<(), _>(format!("no metric {m}")));
        assert_eq!(metrics, Some(vec![]));
        let pointers: Vec<_> =
            fields.finish().into_iter().map(|p| (p.pointer, p.code.into_owned())).collect();
        let expected = [
            ("/app_id", "invalid"),
            ("/exact", "invalid_type"),
            ("/group_by", "invalid"),
            ("/metrics/0", "invalid"),
            ("/metrics/1", "invalid_type"),
            ("/~0~1", "unknown_field"),
        ];
        assert_eq!(pointers, expected.map(|(p, c)| (p.to_owned(), c.to_owned())));
    }

    #[test]
    fn an_identifier_may_be_a_number_or_empty() {
        assert_eq!(identifier(&json!(42)), Ok(Some("42".to_owned())));
        assert_eq!(identifier(&json!("")), Ok(None));
        assert!(identifier(&json!("..")).is_err());
        assert!(identifier(&json!([])).is_err());
        assert!(identifier(&json!("x".repeat(129))).is_err());
    }
}
