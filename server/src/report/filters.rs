//! The filters of a question: JSON triples and their nesting into the engine's `Filter`.

use insights_engine::id::Stream;
use insights_engine::query::{Field, Filter, Literal, Op};
use insights_engine::schema::{ColumnType, Schema, stream};
use serde_json::Value;

use crate::domain::instant;
use crate::http::error::FieldError;

/// Deepest nesting of `and`, `or` and `not`.
const DEPTH_MAX: usize = 16;
/// Most comparisons of one question.
const COMPARISONS_MAX: usize = 200;
/// Most values of one `in`.
const IN_VALUES_MAX: usize = 1_000;
/// Most keys of a path.
const PATH_KEYS_MAX: usize = 8;
/// Longest value or name, in bytes.
const TEXT_BYTES_MAX: usize = 8_192;

/// Columns of events that a question may name.
const EVENT_COLUMNS: [&str; 10] = [
    "event_type",
    "user_id",
    "anonymous_id",
    "session_id",
    "app_id",
    "ip_address",
    "user_agent",
    "timestamp",
    "received_at",
    "trace_id",
];
/// Columns of metric points that a question may name.
const METRIC_COLUMNS: [&str; 7] = ["name", "app_id", "host", "user_id", "value", "timestamp", "received_at"];

const OPS: &str = "is, is_not, contains, starts_with, in, gt, gte, lt, lte, exists";

/// Reads `filters`: a list joined by and, one triple, or a nested `{"and": [..]}`, `{"or": [..]}`, `{"not": ..}`.
///
/// # Errors
///
/// Every problem, each with its pointer below `pointer`.
pub(crate) fn parse(value: &Value, pointer: &str, stream: Stream) -> Result<Filter, Vec<FieldError>> {
    let mut parser = Parser { stream, problems: Vec::new(), comparisons: 0 };
    let filter = parser.node(value, pointer, 0);
    if parser.problems.is_empty() { Ok(filter) } else { Err(parser.problems) }
}

/// The engine's field of a name: a column, `organization_id`, or a path such as `event_data.plan`.
///
/// A path splits at dots, except that everything after `labels.` is one label's name.
pub(crate) fn field(name: &str, stream: Stream) -> Option<Field> {
    if name == "organization_id" {
        return Some(Field::Tenant);
    }
    let (columns, document): (&[&str], _) = match stream {
        Stream::Events => (&EVENT_COLUMNS, stream::EVENT_DATA),
        Stream::Metrics => (&METRIC_COLUMNS, stream::LABELS),
        Stream::Audit => return None,
    };
    if let Some(path) = name.strip_prefix(document.name).and_then(|rest| rest.strip_prefix('.')) {
        let keys: Vec<String> = match stream {
            Stream::Metrics => vec![path.to_owned()],
            Stream::Events | Stream::Audit => path.split('.').map(str::to_owned).collect(),
        };
        let fine = keys.len() <= PATH_KEYS_MAX
            && keys.iter().all(|key| !key.is_empty())
            && path.len() <= TEXT_BYTES_MAX;
        return fine.then_some(Field::Path(document.id, keys));
    }
    let name = columns.iter().find(|column| **column == name)?;
    Schema::of(stream).by_name(name).map(|column| Field::Column(column.id))
}

/// What the values of a field are compared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Instant,
    Number,
    Any,
}

fn kind(field: &Field, stream: Stream) -> Kind {
    let Field::Column(id) = field else {
        return if *field == Field::Tenant { Kind::Text } else { Kind::Any };
    };
    match Schema::of(stream).get(*id).map(|column| column.ty) {
        Some(ColumnType::Time) => Kind::Instant,
        Some(ColumnType::U64 | ColumnType::F64) => Kind::Number,
        _ => Kind::Text,
    }
}

struct Parser {
    stream: Stream,
    problems: Vec<FieldError>,
    comparisons: usize,
}

impl Parser {
    fn problem(&mut self, pointer: &str, detail: impl Into<String>) -> Filter {
        self.problems.push(FieldError::new(pointer, "invalid", detail));
        Filter::all()
    }

    fn node(&mut self, value: &Value, pointer: &str, depth: usize) -> Filter {
        if depth > DEPTH_MAX {
            return self.problem(pointer, format!("filters are nested at most {DEPTH_MAX} deep"));
        }
        match value {
            Value::Array(items) if items.first().is_some_and(Value::is_string) => self.triple(items, pointer),
            Value::Array(items) => Filter::And(self.nodes(items, pointer, depth)),
            Value::Object(members) => {
                let mut members = members.iter();
                let (Some((word, inner)), None) = (members.next(), members.next()) else {
                    return self.problem(pointer, "exactly one of and, or, not is expected");
                };
                let pointer = format!("{pointer}/{word}");
                match (word.as_str(), inner) {
                    ("and", Value::Array(items)) => Filter::And(self.nodes(items, &pointer, depth)),
                    ("or", Value::Array(items)) => Filter::Or(self.nodes(items, &pointer, depth)),
                    ("not", inner) => Filter::Not(Box::new(self.node(inner, &pointer, depth + 1))),
                    ("and" | "or", _) => self.problem(&pointer, "a list is expected"),
                    _ => self.problem(&pointer, "one of and, or, not is expected"),
                }
            }
            _ => self.problem(pointer, "[field, op, value], a list of them, or an object is expected"),
        }
    }

    fn nodes(&mut self, items: &[Value], pointer: &str, depth: usize) -> Vec<Filter> {
        let node = |(index, item)| self.node(item, &format!("{pointer}/{index}"), depth + 1);
        items.iter().enumerate().map(node).collect()
    }

    fn triple(&mut self, items: &[Value], pointer: &str) -> Filter {
        self.comparisons += 1;
        if self.comparisons > COMPARISONS_MAX {
            // Named once: the rest of a huge filter would only repeat it.
            if self.comparisons == COMPARISONS_MAX + 1 {
                return self.problem(pointer, format!("at most {COMPARISONS_MAX} comparisons are allowed"));
            }
            return Filter::all();
        }
        let (Some(Value::String(name)), Some(op), 2..=3) = (items.first(), items.get(1), items.len()) else {
            return self.problem(pointer, "[field, op, value] is expected");
        };
        let field = field(name, self.stream);
        if field.is_none() {
            self.problem(&format!("{pointer}/0"), format!("no field {name:?} to filter by"));
        }
        let Some(op) = op.as_str() else {
            return self.problem(&format!("{pointer}/1"), format!("one of {OPS} is expected"));
        };
        let Some(field) = field else { return Filter::all() };
        let value = items.get(2).unwrap_or(&Value::Null);
        match comparison(op, value, kind(&field, self.stream)) {
            Ok(Comparison::Is(op)) => Filter::Compare(field, op),
            Ok(Comparison::IsAbsent) => Filter::Not(Box::new(Filter::Compare(field, Op::Exists))),
            Err(Wrong::Op) => self.problem(&format!("{pointer}/1"), format!("one of {OPS} is expected")),
            Err(Wrong::Value(detail)) => self.problem(&format!("{pointer}/2"), detail),
        }
    }
}

enum Comparison {
    Is(Op),
    IsAbsent,
}

enum Wrong {
    Op,
    Value(&'static str),
}

fn comparison(op: &str, value: &Value, kind: Kind) -> Result<Comparison, Wrong> {
    let one = || literal(value, kind).map_err(Wrong::Value);
    let ordered = || match one()? {
        Literal::Bool(_) => Err(Wrong::Value("a number or text is expected")),
        literal => Ok(literal),
    };
    let text = || match value {
        Value::String(text) if text.len() <= TEXT_BYTES_MAX => Ok(text.clone()),
        _ => Err(Wrong::Value("text is expected")),
    };
    Ok(Comparison::Is(match op {
        "is" => Op::Is(one()?),
        "is_not" => Op::IsNot(one()?),
        "contains" => Op::Contains(text()?),
        "starts_with" => Op::StartsWith(text()?),
        "gt" => Op::Gt(ordered()?),
        "gte" => Op::Gte(ordered()?),
        "lt" => Op::Lt(ordered()?),
        "lte" => Op::Lte(ordered()?),
        "in" => match value {
            Value::Array(items) if items.len() <= IN_VALUES_MAX => {
                let values = items.iter().map(|item| literal(item, kind)).collect::<Result<_, _>>();
                Op::In(values.map_err(Wrong::Value)?)
            }
            Value::Array(_) => return Err(Wrong::Value("at most 1000 values are allowed")),
            _ => return Err(Wrong::Value("a list of values is expected")),
        },
        "exists" => match value {
            Value::Null | Value::Bool(true) => Op::Exists,
            Value::Bool(false) => return Ok(Comparison::IsAbsent),
            _ => return Err(Wrong::Value("true, false or nothing is expected")),
        },
        _ => return Err(Wrong::Op),
    }))
}

/// What a column of instants is compared with.
const INSTANT: &str = "an instant is expected: RFC 3339, or a Unix time in s, ms, us or ns";

/// A value to compare a field with. A column of text takes numbers as their decimal text, as identifiers
/// do; a column of instants takes what times in take: RFC 3339 or a Unix time.
fn literal(value: &Value, kind: Kind) -> Result<Literal, &'static str> {
    match (value, kind) {
        (Value::String(text), Kind::Instant) => {
            let at = instant::parse(text).map_err(|_| INSTANT)?;
            Ok(Literal::I64(at.0))
        }
        (Value::Number(number), Kind::Instant) => {
            let at = match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => instant::from_integer(whole).ok(),
                (None, Some(double)) => instant::from_double(double).ok(),
                (None, None) => None,
            };
            at.map(|at| Literal::I64(at.0)).ok_or(INSTANT)
        }
        (_, Kind::Instant) => Err(INSTANT),
        (Value::Number(number), Kind::Text) => Ok(Literal::Str(number.to_string())),
        (Value::Number(number), _) => Ok(number
            .as_i64()
            .map(Literal::I64)
            .or_else(|| number.as_u64().map(Literal::U64))
            .or_else(|| number.as_f64().map(Literal::F64))
            .ok_or("a number inside a double is expected")?),
        (_, Kind::Number) => Err("a number is expected"),
        (Value::String(text), _) if text.len() > TEXT_BYTES_MAX => {
            Err("text of at most 8192 bytes is expected")
        }
        (Value::String(text), _) => Ok(Literal::Str(text.clone())),
        (Value::Bool(bool), Kind::Any) => Ok(Literal::Bool(*bool)),
        (_, Kind::Any) => Err("text, a number, true or false is expected; use exists for absent fields"),
        (_, Kind::Text) => Err("text is expected; use exists for absent fields"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn events(value: &Value) -> Result<Filter, Vec<String>> {
        parse(value, "/filters", Stream::Events).map_err(|p| p.into_iter().map(|p| p.pointer).collect())
    }

    fn column(name: &str) -> Field {
        field(name, Stream::Events).unwrap()
    }

    fn str(text: &str) -> Literal {
        Literal::Str(text.to_owned())
    }

    #[test]
    fn triples_are_joined_by_and() {
        let both = json!([["event_type", "is", "click"], ["user_id", "in", ["u1", 2]]]);
        let expected = Filter::And(vec![
            Filter::Compare(column("event_type"), Op::Is(str("click"))),
            Filter::Compare(column("user_id"), Op::In(vec![str("u1"), str("2")])),
        ]);
        assert_eq!(events(&both), Ok(expected));
        let one = json!(["event_type", "exists"]);
        assert_eq!(events(&one), Ok(Filter::Compare(column("event_type"), Op::Exists)));
        assert_eq!(events(&json!([])), Ok(Filter::all()));
    }

    #[test]
    fn nesting_and_paths_are_read() {
        let nested =
            json!({"or": [["event_data.plan.name", "is", "pro"], {"not": ["event_data.n", "gte", 2.5]}]});
        let path = |keys: &[&str]| {
            Field::Path(stream::EVENT_DATA.id, keys.iter().map(|k| (*k).to_owned()).collect())
        };
        let expected = Filter::Or(vec![
            Filter::Compare(path(&["plan", "name"]), Op::Is(str("pro"))),
            Filter::Not(Box::new(Filter::Compare(path(&["n"]), Op::Gte(Literal::F64(2.5))))),
        ]);
        assert_eq!(events(&nested), Ok(expected));
        let label = parse(&json!(["labels.a.b", "is", "x"]), "", Stream::Metrics).unwrap();
        let field = Field::Path(stream::LABELS.id, vec!["a.b".to_owned()]);
        assert_eq!(label, Filter::Compare(field, Op::Is(str("x"))));
    }

    #[test]
    fn instants_compare_as_microseconds() {
        let filter = events(&json!(["timestamp", "gte", "1970-01-01T00:00:01Z"]));
        assert_eq!(filter, Ok(Filter::Compare(column("timestamp"), Op::Gte(Literal::I64(1_000_000)))));
        let seconds = events(&json!(["timestamp", "gte", 3]));
        assert_eq!(seconds, Ok(Filter::Compare(column("timestamp"), Op::Gte(Literal::I64(3_000_000)))));
        assert_eq!(events(&json!(["timestamp", "gte", true])).unwrap_err(), ["/filters/2"]);
    }

    #[test]
    fn an_absent_field_is_asked_for_by_exists() {
        let absent = Filter::Not(Box::new(Filter::Compare(column("user_id"), Op::Exists)));
        assert_eq!(events(&json!(["user_id", "exists", false])), Ok(absent));
        assert_eq!(events(&json!(["user_id", "is", null])).unwrap_err(), ["/filters/2"]);
    }

    #[test]
    fn every_problem_has_its_pointer() {
        let bad = json!({"and": [["lsn", "is", 1], ["event_type", "like", "x"], ["app_id", "in", "x"], 7, {"nor": []}]});
        let expected = [
            "/filters/and/0/0",
            "/filters/and/1/1",
            "/filters/and/2/2",
            "/filters/and/3",
            "/filters/and/4/nor",
        ];
        assert_eq!(events(&bad).unwrap_err(), expected);
        assert_eq!(events(&json!({"and": [], "or": []})).unwrap_err(), ["/filters"]);
        assert_eq!(events(&json!(["event_data.", "exists"])).unwrap_err(), ["/filters/0"]);
    }

    #[test]
    fn a_huge_filter_is_refused_once() {
        let deep = (0..20).fold(json!(["user_id", "exists"]), |inner, _| json!({"not": inner}));
        assert_eq!(events(&deep).unwrap_err().len(), 1);
        let wide = Value::Array(vec![json!(["user_id", "exists"]); 1_000]);
        assert_eq!(events(&wide).unwrap_err(), ["/filters/200"]);
    }
}
