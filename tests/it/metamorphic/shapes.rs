//! One answer in every format.

use insights_tests::{Call, ROOT};
use serde_json::{Map, Value};

use super::{Asked, Beds};
use crate::truth::bed::Bed;
use crate::truth::random::Random;

/// M10: CSV, NDJSON and a table have the numbers of the JSON answer, bucket by bucket.
pub(super) fn formats(beds: &Beds, random: &mut Random) -> Result<(), String> {
    let (bed, asked) = (beds.either(random), Asked::random(random));
    let expected = flat(&asked.raw(bed));
    let table: Vec<Map<String, Value>> = serde_json::from_str(&text(bed, &asked, "rows")).unwrap();
    let ndjson = text(bed, &asked, "ndjson");
    let lines: Vec<Map<String, Value>> =
        ndjson.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let csv = csv_rows(&text(bed, &asked, "csv"));
    let (names, rows) = csv.split_first().unwrap();
    let counts = [table.len(), lines.len(), rows.len()];
    if counts.iter().any(|count| *count != expected.len()) {
        return Err(format!("{asked:?}: {counts:?} rows for {} buckets", expected.len()));
    }
    for (place, row) in expected.iter().enumerate() {
        // A table has every column in each row, a line only those that its bucket has.
        let mut padded = row.clone();
        padded.extend(
            table[place]
                .keys()
                .filter(|name| !row.contains_key(*name))
                .map(|name| (name.clone(), Value::Null)),
        );
        if *row != lines[place] || padded != table[place] {
            return Err(format!(
                "{asked:?}: {row:?}, as a line {:?}, in a table {:?}",
                lines[place], table[place]
            ));
        }
        let cells: Map<String, Value> =
            names.iter().cloned().zip(rows[place].iter().cloned().map(Value::from)).collect();
        let names_differ = cells.len() != padded.len() || rows[place].len() != names.len();
        let wrong = padded.iter().find(|(name, value)| {
            names_differ || !cells.get(*name).is_some_and(|cell| cell_is(cell.as_str().unwrap(), value))
        });
        if let Some((name, value)) = wrong {
            return Err(format!("{asked:?}: {name} is {value}, in CSV {:?}", cells.get(name)));
        }
    }
    Ok(())
}

fn text(bed: &Bed, asked: &Asked, format: &str) -> String {
    let mut body = asked.body.clone();
    if let Some(name) = asked.of {
        body["organization_id"] = name.into();
    }
    let path = format!("{}?format={format}", asked.path);
    let key = asked.of.map_or(ROOT, |name| bed.key(name));
    let answer = bed.world.send(Call::new("POST", path).key(key).json(&body));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

/// The flat rows of an answer: of families side by side, of series one below the other.
fn flat(answer: &Value) -> Vec<Map<String, Value>> {
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
pub(super) fn cell_is(cell: &str, value: &Value) -> bool {
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
pub(super) fn csv_rows(text: &str) -> Vec<Vec<String>> {
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
