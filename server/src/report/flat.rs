//! Reports as flat rows: one for every bucket, for NDJSON and CSV.
//!
//! Columns are named by their path, joined with dots; a list of `{"key", "count"}` becomes a column a key.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::export::Csv;

/// One flat row.
pub(crate) type Row = BTreeMap<String, Value>;

/// Columns that come first, in this order.
const FIRST: [&str; 3] = ["name", "bucket", "partial"];

/// The rows of an answer's `metrics`: the families' series side by side, by bucket.
pub(crate) fn of_families(metrics: &Value) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (family, content) in metrics.as_object().into_iter().flatten() {
        let series = content.get("series").and_then(Value::as_array);
        for (index, bucket) in series.into_iter().flatten().enumerate() {
            if rows.len() <= index {
                rows.push(Row::new());
            }
            let Some(row) = rows.get_mut(index) else { continue };
            for (name, value) in bucket.as_object().into_iter().flatten() {
                if FIRST.contains(&name.as_str()) {
                    row.insert(name.clone(), value.clone());
                } else {
                    flatten(&format!("{family}.{name}"), value, row);
                }
            }
        }
    }
    rows
}

/// The rows of series: one for each series and bucket, with the labels.
pub(crate) fn of_series(series: &Value) -> Vec<Row> {
    let mut rows = Vec::new();
    for one in series.as_array().into_iter().flatten() {
        for point in one.get("points").and_then(Value::as_array).into_iter().flatten() {
            let mut row = Row::new();
            flatten("name", one.get("name").unwrap_or(&Value::Null), &mut row);
            flatten("labels", one.get("labels").unwrap_or(&Value::Null), &mut row);
            for (name, value) in point.as_object().into_iter().flatten() {
                flatten(name, value, &mut row);
            }
            rows.push(row);
        }
    }
    rows
}

/// The rows of a list: one for each item, lists of texts in them joined by spaces.
pub(crate) fn of_list(items: &Value) -> Vec<Row> {
    let row = |item: &Value| {
        let mut row = Row::new();
        for (name, value) in item.as_object().into_iter().flatten() {
            match value {
                Value::Array(texts) => {
                    let texts: Vec<_> = texts.iter().filter_map(Value::as_str).collect();
                    row.insert(name.clone(), texts.join(" ").into());
                }
                _ => flatten(name, value, &mut row),
            }
        }
        row
    };
    items.as_array().into_iter().flatten().map(row).collect()
}

fn flatten(name: &str, value: &Value, row: &mut Row) {
    match value {
        Value::Object(members) => {
            for (key, inner) in members {
                flatten(&format!("{name}.{key}"), inner, row);
            }
        }
        Value::Array(items) => {
            for item in items {
                if let (Some(key), Some(count)) = (item.get("key").and_then(Value::as_str), item.get("count"))
                {
                    row.insert(format!("{name}.{key}"), count.clone());
                }
            }
        }
        _ => drop(row.insert(name.to_owned(), value.clone())),
    }
}

/// A JSON object a line.
pub(crate) fn ndjson(rows: Vec<Row>) -> Vec<u8> {
    let mut out = Vec::new();
    for row in rows {
        let object: Map<String, Value> = row.into_iter().collect();
        out.extend_from_slice(Value::Object(object).to_string().as_bytes());
        out.push(b'\n');
    }
    out
}

/// The columns that rows have, in the order of a table.
fn columns(rows: &[Row]) -> Vec<&str> {
    let names: BTreeSet<&str> = rows.iter().flat_map(BTreeMap::keys).map(String::as_str).collect();
    let first = FIRST.iter().filter(|name| names.contains(**name)).copied();
    first.chain(names.iter().filter(|name| !FIRST.contains(*name)).copied()).collect()
}

/// A JSON array of objects, each with all columns: a tool that looks at the first row alone knows them.
pub(crate) fn table(rows: &[Row]) -> Vec<u8> {
    let names = columns(rows);
    let member = |row: &Row, name: &str| row.get(name).cloned().unwrap_or(Value::Null);
    let object = |row: &Row| names.iter().map(|name| ((*name).to_owned(), member(row, name))).collect();
    let objects: Vec<Value> = rows.iter().map(|row| Value::Object(object(row))).collect();
    Value::Array(objects).to_string().into_bytes()
}

/// A header line and a line for each row.
pub(crate) fn csv(rows: &[Row]) -> Vec<u8> {
    let names = columns(rows);
    let mut csv = Csv::new();
    for name in &names {
        csv.text(name);
    }
    csv.end_line();
    for row in rows {
        for name in &names {
            match row.get(*name) {
                Some(Value::String(text)) => csv.text(text),
                Some(Value::Null) | None => csv.empty(),
                Some(other) => csv.plain(other),
            }
        }
        csv.end_line();
    }
    csv.take()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn families_stand_side_by_side() {
        let metrics = json!({
            "user_activity": {"series": [{"bucket": "b", "partial": true, "events": 1, "breakdown": [{"key": "=x", "count": 1}]}]},
            "app_metrics": {"series": [{"bucket": "b", "partial": true, "response_time": {"avg": null}}]},
        });
        let rows = of_families(&metrics);
        let text = String::from_utf8(csv(&rows)).unwrap();
        let expected = "bucket,partial,app_metrics.response_time.avg,user_activity.breakdown.=x,user_activity.events\r\nb,true,,1,1\r\n";
        assert_eq!(text, expected);
        let line = "{\"app_metrics.response_time.avg\":null,\"bucket\":\"b\",\"partial\":true,\"user_activity.breakdown.=x\":1,\"user_activity.events\":1}\n";
        assert_eq!(String::from_utf8(ndjson(rows)).unwrap(), line);
    }

    #[test]
    fn series_have_a_row_for_each_bucket_and_no_formula() {
        let series = json!([{"name": "a", "labels": {"host": "=cmd()"}, "points": [{"bucket": "b", "partial": false, "avg": -1.5}]}]);
        let text = String::from_utf8(csv(&of_series(&series))).unwrap();
        assert_eq!(text, "name,bucket,partial,avg,labels.host\r\na,b,false,-1.5,'=cmd()\r\n");
    }
}
