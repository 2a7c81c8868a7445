//! A report that is asked by query parameters: they become the body that `POST` takes, so that both are read alike.

use serde_json::{Map, Value};

use super::error::{ApiError, FieldError};
use super::report::{ReportFormat, ReportQuery};
use crate::domain::lang::Lang;

/// Parameters that have several values, repeated or joined by commas.
const LISTS: [&str; 4] = ["metrics", "names", "aggregates", "by"];
/// Parameters that are true or false.
const FLAGS: [&str; 2] = ["exact", "allow_partial"];
/// Parameters that are numbers, or may be.
const NUMBERS: [&str; 5] = ["apdex_t_ms", "start_date", "end_date", "start", "end"];
/// Parameters that are dates or instants.
const INSTANTS: [&str; 4] = ["start_date", "end_date", "start", "end"];
/// The parameter that is JSON.
const FILTERS: &str = "filters";
/// The parameter of the answer's format.
const FORMAT: &str = "format";
/// The parameter of the language of texts.
const LANG: &str = "lang";

/// The format and the body that a query string asks with. An empty value is as an absent one; what a body must be
/// is left to who reads it.
///
/// # Errors
///
/// `invalid` for an unknown format, a parameter that is given twice, and filters that are no JSON.
pub(crate) fn read(query: &str) -> Result<(ReportQuery, Value), ApiError> {
    let (mut body, mut format, mut lang, mut problems) = (Map::new(), None, None, Vec::new());
    let mut problem = |name: &str, code: &'static str, detail: String| {
        problems.push(FieldError::new(format!("/{}", super::extract::escape(name)), code, detail));
    };
    for (name, text) in form_urlencoded::parse(query.as_bytes()).filter(|(_, text)| !text.is_empty()) {
        if LISTS.contains(&name.as_ref()) {
            let more = text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(Value::from);
            match body.entry(name.into_owned()).or_insert_with(|| Value::Array(Vec::new())) {
                Value::Array(list) => list.extend(more),
                other => *other = more.collect(),
            }
            continue;
        }
        if name == FORMAT {
            match ReportFormat::named(&text) {
                Some(_) if format.is_some() => problem(&name, "duplicate", given_twice()),
                Some(wanted) => format = Some(wanted),
                None => problem(&name, "invalid", "one of json, ndjson, csv, rows is expected".to_owned()),
            }
            continue;
        }
        if name == LANG {
            match Lang::ALL.into_iter().find(|lang| lang.name() == text) {
                Some(_) if lang.is_some() => problem(&name, "duplicate", given_twice()),
                Some(wanted) => lang = Some(wanted),
                None => problem(&name, "invalid", "one of en, fr is expected".to_owned()),
            }
            continue;
        }
        let value = match value(&name, &text) {
            Ok(value) => value,
            Err(detail) => {
                problem(&name, "invalid", detail);
                continue;
            }
        };
        if body.contains_key(name.as_ref()) {
            problem(&name, "duplicate", given_twice());
        }
        body.insert(name.into_owned(), value);
    }
    if problems.is_empty() {
        Ok((ReportQuery { format, lang }, Value::Object(body)))
    } else {
        Err(ApiError::invalid(problems))
    }
}

fn given_twice() -> String {
    "this parameter is given twice".to_owned()
}

/// What a body would have in the place of a parameter's text.
fn value(name: &str, text: &str) -> Result<Value, String> {
    if name == FILTERS {
        return serde_json::from_str(text).map_err(|error| format!("filters are JSON: {error}"));
    }
    if FLAGS.contains(&name)
        && let Ok(flag) = text.parse::<bool>()
    {
        return Ok(flag.into());
    }
    if NUMBERS.contains(&name)
        && let Ok(number @ Value::Number(_)) = serde_json::from_str(text)
    {
        return Ok(number);
    }
    if INSTANTS.contains(&name) {
        return Ok(with_plus(text).into());
    }
    Ok(text.into())
}

/// An instant whose offset was written with a `+` that is not encoded: it is read as a space, and `01:00` after it
/// can be nothing else.
pub(super) fn with_plus(text: &str) -> String {
    match text.rsplit_once(' ') {
        Some((time, offset))
            if time.contains(['T', 't']) && offset.starts_with(|c: char| c.is_ascii_digit()) =>
        {
            format!("{time}+{offset}")
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_become_the_members_of_a_body() {
        let query = "start_date=2024-01-01&end_date=1706659200&metrics=user_activity,%20app_metrics&metrics=a&exact=true\
                     &apdex_t_ms=250.5&filters=%5B%5B%22page%22%2C%22is%22%2C%22%2F%22%5D%5D&app_id=&timezone=Europe/Paris\
                     &format=rows&organization_id=42";
        let (asked, body) = read(query).unwrap();
        assert_eq!(asked.format, Some(ReportFormat::Rows));
        assert_eq!(
            body,
            json!({"start_date": "2024-01-01", "end_date": 1_706_659_200, "metrics": ["user_activity", "app_metrics", "a"],
                   "exact": true, "apdex_t_ms": 250.5, "filters": [["page", "is", "/"]], "timezone": "Europe/Paris",
                   "organization_id": "42"})
        );
    }

    #[test]
    fn a_plus_that_is_not_encoded_is_a_plus_in_instants_alone() {
        let query = "start=2024-01-01T00:00:00+01:00&end=2024-01-02T00:00:00%2B05:45&end_date=2024-01-02+00:00:00Z&name=a+b";
        let (_, body) = read(query).unwrap();
        assert_eq!(
            body,
            json!({"start": "2024-01-01T00:00:00+01:00", "end": "2024-01-02T00:00:00+05:45",
                   "end_date": "2024-01-02 00:00:00Z", "name": "a b"})
        );
    }

    #[test]
    fn what_cannot_be_read_is_said_with_its_name() {
        let pointers = |query: &str| {
            let problems = read(query).unwrap_err().errors().to_vec();
            problems.into_iter().map(|error| error.pointer).collect::<Vec<_>>()
        };
        assert_eq!(pointers("filters=[&format=xml&a=1&a=2"), ["/filters", "/format", "/a"]);
        assert_eq!(pointers("format=csv&format=csv"), ["/format"]);
        // What a member must be is said by who reads the body.
        assert_eq!(read("exact=maybe&metrics=,").unwrap().1, json!({"exact": "maybe", "metrics": []}));
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused(query in "\\PC{0,60}|([a-z_]{1,10}=[^&]{0,9}&?){0,5}") {
            if let Ok((_, body)) = read(&query) {
                prop_assert!(body.is_object());
            }
        }
    }
}
