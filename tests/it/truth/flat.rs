//! Answers as flat rows, by their definition: a row a bucket, a column for each number, named by its path.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::judge::{bound, differences};

/// The flat rows of an answer: of families side by side, of series one below the other.
pub(crate) fn flat(answer: &Value) -> Vec<Map<String, Value>> {
    let mut rows: Vec<Map<String, Value>> = Vec::new();
    for series in answer["series"].as_array().into_iter().flatten() {
        for point in series["points"].as_array().unwrap() {
            let mut row = Map::new();
            for (name, value) in point.as_object().unwrap() {
                row.insert(name.clone(), value.clone());
            }
            row.insert("name".to_owned(), series["name"].clone());
            for (name, value) in series["labels"].as_object().unwrap() {
                row.insert(format!("labels.{name}"), value.clone());
            }
            rows.push(row);
        }
    }
    for (family, content) in answer["metrics"].as_object().into_iter().flatten() {
        for (place, bucket) in content["series"].as_array().unwrap().iter().enumerate() {
            if rows.len() <= place {
                rows.push(Map::new());
            }
            for (name, value) in bucket.as_object().unwrap() {
                let own = !["bucket", "partial"].contains(&name.as_str());
                let name = if own { format!("{family}.{name}") } else { name.clone() };
                spread(name, value, &mut rows[place]);
            }
        }
    }
    rows
}

/// Members of members by their dotted names; counts by their keys.
fn spread(name: String, value: &Value, row: &mut Map<String, Value>) {
    match value {
        // A number that must be near another one.
        Value::Object(_) if bound(value).is_some() => drop(row.insert(name, value.clone())),
        Value::Object(members) => {
            for (inner, value) in members {
                spread(format!("{name}.{inner}"), value, row);
            }
        }
        Value::Array(counts) => {
            for count in counts {
                row.insert(format!("{name}.{}", count["key"].as_str().unwrap()), count["count"].clone());
            }
        }
        _ => drop(row.insert(name, value.clone())),
    }
}

/// Whether a cell of CSV is a value of JSON.
pub(crate) fn cell_is(cell: &str, value: &Value) -> bool {
    match value {
        Value::Null => cell.is_empty(),
        Value::String(text) if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => {
            cell.strip_prefix('\'') == Some(text)
        }
        Value::String(text) => cell == text,
        Value::Object(_) | Value::Array(_) => {
            serde_json::from_str::<Value>(cell).is_ok_and(|found| found == *value)
        }
        Value::Number(number) => cell.parse().ok() == number.as_f64(),
        Value::Bool(flag) => cell.parse() == Ok(*flag),
    }
}

/// The lines of a CSV file, RFC 4180, each as its cells.
pub(crate) fn csv_rows(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => cell.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !quoted && chars.peek() == Some(&'\n') => {
                chars.next();
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            other => cell.push(other),
        }
    }
    assert!(row.is_empty() && cell.is_empty(), "the last line has its end");
    rows
}

/// Where rows of a table, of lines or of CSV are not what is expected.
pub(crate) fn flat_differences(expected: &[Map<String, Value>], text: &str, format: &str) -> Vec<String> {
    let names: BTreeSet<&String> = expected.iter().flat_map(Map::keys).collect();
    // A table has every column in each row, a line only those that its bucket has.
    let padded = |row: &Map<String, Value>| -> Value {
        let member = |name: &&String| ((*name).clone(), row.get(*name).cloned().unwrap_or_default());
        names.iter().map(member).collect::<Map<_, _>>().into()
    };
    let table: Value = expected.iter().map(padded).collect();
    match format {
        "rows" => differences(&table, &serde_json::from_str(text).unwrap()),
        "ndjson" => {
            let lines: Value =
                text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect();
            differences(&json!(expected), &lines)
        }
        _ => {
            let rows = csv_rows(text);
            let (head, rows) = rows.split_first().unwrap();
            let row = |(place, cells): (usize, &Vec<String>)| -> Value {
                assert_eq!(cells.len(), head.len());
                let cell = |(name, cell): (&String, &String)| {
                    let like = table[place].get(name).unwrap_or(&Value::Null);
                    (name.clone(), read_cell(cell, like))
                };
                head.iter().zip(cells).map(cell).collect::<Map<_, _>>().into()
            };
            differences(&table, &rows.iter().enumerate().map(row).collect())
        }
    }
}

/// The value of a cell, of the type that is expected there.
fn read_cell(cell: &str, like: &Value) -> Value {
    if cell.is_empty() {
        return Value::Null;
    }
    match like {
        Value::String(text) if cell_is(cell, like) => json!(text),
        Value::Bool(_) => cell.parse::<bool>().map_or_else(|_| json!(cell), Value::from),
        _ if bound(like).is_some() => cell.parse::<f64>().map_or_else(|_| json!(cell), Value::from),
        _ => json!(cell),
    }
}
