//! Which alerts a silence or a maintenance window is about: comparisons of labels, all of which hold.

use regex::{Regex, RegexBuilder};
use serde::Serialize;
use utoipa::ToSchema;

use super::label::{LABEL_BYTES_MAX, LABEL_NAME_BYTES_MAX, Labels};
use super::read;
use crate::report::body::Fields;

/// Most matchers of a silence or a window.
pub const MATCHERS_MAX: usize = 20;
/// Most bytes of a regular expression.
const PATTERN_BYTES_MAX: usize = 512;
/// Most bytes of a compiled regular expression; matching takes time linear in the text, whatever the expression.
const COMPILED_BYTES_MAX: usize = 256 << 10;

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub enum MatchOp {
    /// Equal.
    #[serde(rename = "=")]
    Is,
    /// Not equal.
    #[serde(rename = "!=")]
    IsNot,
    /// The whole value matches a regular expression.
    #[serde(rename = "=~")]
    Matches,
    /// It does not.
    #[serde(rename = "!~")]
    DoesNotMatch,
}

/// A comparison of one label; one that is not there is the empty text.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Matcher {
    /// The label: `alertname`, `severity`, one of the rule, one of the series
    pub label: String,
    /// `=`, `!=`, `=~` or `!~`
    pub op: MatchOp,
    /// With what; for `=~` and `!~` a regular expression for the whole value
    pub value: String,
    #[serde(skip)]
    regex: Option<Regex>,
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.label, self.op, &self.value) == (&other.label, other.op, &other.value)
    }
}

impl Matcher {
    /// Reads a matcher.
    fn of_fields(fields: &mut Fields<'_>) -> Option<Self> {
        let label = fields.text("label").filter(|text| (1..=LABEL_NAME_BYTES_MAX).contains(&text.len()));
        let label = read::required(fields, "label", label.map(str::to_owned));
        let ops = [MatchOp::Is, MatchOp::IsNot, MatchOp::Matches, MatchOp::DoesNotMatch];
        let op = fields.choice("op", &["=", "!=", "=~", "!~"]).and_then(|place| ops.get(place).copied());
        let op = read::required(fields, "op", op);
        let value = fields.text("value").map(str::to_owned);
        let value = read::required(fields, "value", value)?;
        let regex = match op? {
            MatchOp::Matches | MatchOp::DoesNotMatch => match compile(&value) {
                Ok(regex) => Some(regex),
                Err(detail) => {
                    fields.problem("value", "invalid", detail);
                    None
                }
            },
            MatchOp::Is | MatchOp::IsNot => None,
        };
        if value.len() > LABEL_BYTES_MAX {
            fields.problem("value", "invalid", format!("at most {LABEL_BYTES_MAX} bytes are expected"));
        }
        Some(Self { label: label?, op: op?, value, regex })
    }

    /// Whether it holds for labels.
    fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.label).map_or("", String::as_str);
        let matches = || self.regex.as_ref().is_some_and(|regex| regex.is_match(value));
        match self.op {
            MatchOp::Is => value == self.value,
            MatchOp::IsNot => value != self.value,
            MatchOp::Matches => matches(),
            MatchOp::DoesNotMatch => !matches(),
        }
    }
}

fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!("a regular expression has at most {PATTERN_BYTES_MAX} bytes"));
    }
    let whole = format!("^(?:{pattern})$");
    // Alone first: a parenthesis too many must not close the one around it.
    let compiled = Regex::new(pattern).and_then(|_| {
        RegexBuilder::new(&whole).size_limit(COMPILED_BYTES_MAX).dot_matches_new_line(true).build()
    });
    compiled.map_err(|error| format!("this is no regular expression, or too large a one: {error}"))
}

/// Reads `matchers`, at least `len_min` of them.
pub(super) fn matchers(fields: &mut Fields<'_>, len_min: usize) -> Vec<Matcher> {
    let found = read::objects(fields, "matchers", MATCHERS_MAX, Matcher::of_fields);
    let is_wrong = fields.problems.iter().any(|problem| problem.pointer.starts_with("/matchers"));
    let found = found.unwrap_or_default();
    if found.len() < len_min && !is_wrong {
        fields.problem("matchers", "required", "at least one comparison says which alerts are meant");
    }
    found
}

/// Whether every one of them holds.
pub fn all_hold(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.holds(labels))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(value: &Value) -> Result<Vec<Matcher>, Vec<String>> {
        read::below(&json!({ "matchers": value }), "", |fields| Some(matchers(fields, 1)))
            .map_err(|problems| problems.into_iter().map(|problem| problem.pointer).collect())
    }

    fn holds(op: &str, value: &str) -> bool {
        let labels = Labels::from([("host".to_owned(), "web-1".to_owned())]);
        all_hold(&read(&json!([{"label": "host", "op": op, "value": value}])).unwrap(), &labels)
    }

    #[test]
    fn labels_are_compared_whole() {
        let cases = [
            ("=", "web-1", true),
            ("=", "web", false),
            ("!=", "web-2", true),
            ("=~", "web-.*", true),
            ("=~", "web", false),
            ("=~", "db|web-\\d", true),
            ("=~", "(?i)WEB-1", true),
            ("!~", "db.*", true),
            ("!~", "web-1", false),
        ];
        for (op, value, expected) in cases {
            assert_eq!(holds(op, value), expected, "{op} {value}");
        }
    }

    #[test]
    fn a_label_that_is_not_there_is_empty_and_all_must_hold() {
        let labels = Labels::from([("a".to_owned(), "1".to_owned())]);
        let of = |value: Value| all_hold(&read(&value).unwrap(), &labels);
        assert!(of(json!([{"label": "b", "op": "=", "value": ""}])));
        assert!(of(
            json!([{"label": "b", "op": "=~", "value": ".*"}, {"label": "a", "op": "=", "value": "1"}])
        ));
        assert!(!of(
            json!([{"label": "b", "op": "=", "value": ""}, {"label": "a", "op": "=", "value": "2"}])
        ));
    }

    #[test]
    fn what_is_wrong_is_named_and_no_expression_is_too_much() {
        assert_eq!(read(&json!([])).unwrap_err(), ["/matchers"]);
        assert_eq!(read(&json!([{"label": "a"}])).unwrap_err(), ["/matchers/0/op", "/matchers/0/value"]);
        for pattern in ["(", "a)(b", "[", "a{1000}{1000}{1000}", &"a".repeat(513)] {
            let value = json!([{"label": "a", "op": "=~", "value": pattern}]);
            assert_eq!(read(&value).unwrap_err(), ["/matchers/0/value"], "{pattern}");
        }
        let many = vec![json!({"label": "a", "op": "=", "value": "b"}); MATCHERS_MAX + 1];
        assert_eq!(read(&json!(many)).unwrap_err(), ["/matchers"]);
    }
}
