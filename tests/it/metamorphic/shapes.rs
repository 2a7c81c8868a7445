//! One answer in every format.

use insights_tests::{Call, ROOT};
use serde_json::{Map, Value};

use super::{Asked, Beds};
use crate::truth::bed::Bed;
use crate::truth::flat::{cell_is, csv_rows, flat};
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
