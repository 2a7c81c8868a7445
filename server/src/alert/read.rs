//! Reading the bodies of this room: what [`Fields`] has not, with every problem at its pointer.

use serde_json::Value;

use super::label::{LABELS_MAX, Labels, is_label_name};
use super::length::Length;
use crate::http::error::FieldError;
use crate::report::body::{Fields, step};

/// A member that is an object of its own; its problems are pointed to below it.
pub(super) fn object<T>(
    fields: &mut Fields<'_>,
    name: &'static str,
    read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
) -> Option<T> {
    let value = fields.get(name)?;
    match below(value, &step(name), read) {
        Ok(found) => Some(found),
        Err(problems) => {
            fields.problems.extend(problems);
            None
        }
    }
}

/// An object at `pointer`, read whole.
pub(super) fn below<T>(
    value: &Value,
    pointer: &str,
    read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
) -> Result<T, Vec<FieldError>> {
    let at = |problem: FieldError| FieldError { pointer: format!("{pointer}{}", problem.pointer), ..problem };
    let mut inner = Fields::of(value).map_err(|problem| vec![at(problem)])?;
    let found = read(&mut inner);
    let problems = inner.finish();
    found.filter(|_| problems.is_empty()).ok_or_else(|| problems.into_iter().map(at).collect())
}

/// The objects of a list, each read by `read`.
pub(super) fn objects<T>(
    fields: &mut Fields<'_>,
    name: &'static str,
    len_max: usize,
    read: impl Fn(&mut Fields<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let value = fields.get(name)?;
    let Some(items) = value.as_array().filter(|items| items.len() <= len_max) else {
        fields.problem(name, "invalid", format!("a list of at most {len_max} objects is expected"));
        return None;
    };
    let mut found = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match below(item, &format!("{}/{index}", step(name)), &read) {
            Ok(one) => found.push(one),
            Err(problems) => fields.problems.extend(problems),
        }
    }
    Some(found)
}

/// A length of time within limits; `None` when it is absent or wrong.
pub(super) fn length(
    fields: &mut Fields<'_>,
    name: &'static str,
    (least, most): (Length, Length),
) -> Option<Length> {
    let text = match fields.get(name)? {
        Value::String(text) => text.clone(),
        Value::Number(seconds) => seconds.to_string(),
        _ => {
            fields.problem(name, "invalid_type", "a length of time is expected, such as 30s, 5m or 4h");
            return None;
        }
    };
    match Length::parse(&text) {
        Ok(length) if (least..=most).contains(&length) => Some(length),
        Ok(_) => {
            fields.problem(name, "invalid", format!("{least} to {most} is expected"));
            None
        }
        Err(detail) => {
            fields.problem(name, "invalid", detail);
            None
        }
    }
}

/// A finite number.
pub(super) fn number(fields: &mut Fields<'_>, name: &'static str) -> Option<f64> {
    let found = fields.get(name)?.as_f64().filter(|n| n.is_finite());
    if found.is_none() {
        fields.problem(name, "invalid_type", "a number is expected");
    }
    found
}

/// A member that must be there.
pub(super) fn required<T>(fields: &mut Fields<'_>, name: &'static str, found: Option<T>) -> Option<T> {
    if found.is_none() && !fields.problems.iter().any(|problem| problem.pointer.starts_with(&step(name))) {
        fields.problem(name, "required", "this field is required");
    }
    found
}

/// Text of 1 to `chars_max` characters.
pub(super) fn short_text(fields: &mut Fields<'_>, name: &'static str, chars_max: usize) -> Option<String> {
    let text = fields.text(name)?;
    if text.trim().is_empty() || text.chars().count() > chars_max {
        fields.problem(name, "invalid", format!("1 to {chars_max} characters are expected"));
        return None;
    }
    Some(text.to_owned())
}

/// Texts by the names of labels; empty when absent.
pub(super) fn texts(fields: &mut Fields<'_>, name: &'static str, bytes_max: usize) -> Labels {
    let mut found = Labels::new();
    let Some(value) = fields.get(name) else { return found };
    let Some(members) = value.as_object().filter(|members| members.len() <= LABELS_MAX) else {
        fields.problem(name, "invalid", format!("an object of at most {LABELS_MAX} texts is expected"));
        return found;
    };
    for (key, value) in members {
        let pointer = format!("{}{}", step(name), step(key));
        let mut wrong = |detail: String| fields.problems.push(FieldError::new(&*pointer, "invalid", detail));
        match value.as_str() {
            _ if !is_label_name(key) => wrong("a name is a letter or _, then [A-Za-z0-9_.]".to_owned()),
            Some(text) if text.len() <= bytes_max => {
                found.insert(key.clone(), text.to_owned());
            }
            _ => wrong(format!("text of at most {bytes_max} bytes is expected")),
        }
    }
    found
}
