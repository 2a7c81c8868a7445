//! Lists: pages of them are the whole, in every format.

use insights_tests::Call;
use serde_json::{Value, json};

use super::{Beds, same};
use crate::truth::bed::Bed;
use crate::truth::flat::{cell_is, csv_rows};
use crate::truth::platform::FOCUS;
use crate::truth::random::Random;

/// A list with random filters, without page and format.
pub(super) fn any_list(random: &mut Random) -> String {
    let order = random.choose(&["", "&order=asc", "&order=desc"]);
    let window = if random.once_in(2) {
        let mut ends = [random.choose(&FOCUS), random.choose(&FOCUS)];
        ends.sort_unstable();
        format!("&start={}&end={}", ends[0], ends[1])
    } else {
        String::new()
    };
    let filters = match random.below(6) {
        0 | 1 => {
            let filters = [
                "event_type=click",
                "user_id=u7",
                "app_id=shop",
                "event_data.plan=pro",
                "event_data.n=12",
                "q=s.1",
                "session_id=s.3",
            ];
            format!("events/?{}{order}{window}", random.choose(&filters))
        }
        2 => format!("events/?{order}{window}"),
        3 => {
            let filters = [
                "action_prefix=project.",
                "user_id=u1",
                "severity=warning",
                "object_id=p3",
                "outcome=failure",
                "",
            ];
            format!("audit/?{}{order}", random.choose(&filters))
        }
        4 => "audit/actions/?".to_owned(),
        _ => "metrics/?".to_owned(),
    };
    format!("/api/insights/{filters}")
}

/// The results of all pages; between two pages `meanwhile` is done.
pub(super) fn paged(bed: &Bed, key: &str, list: &str, limit: i64, mut meanwhile: impl FnMut()) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let answer = bed.world.get(&format!("{list}&limit={limit}{cursor}"), key);
        let page = answer.expect(200);
        let results = page["results"].as_array().unwrap();
        assert!(results.len() <= limit as usize);
        all.extend(results.iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => {
                assert!(answer.header("link").contains("rel=\"next\""), "{}", answer.header("link"));
                cursor = format!("&cursor={next}");
            }
            None => return all,
        }
        meanwhile();
    }
}

/// Every record of a list at once.
pub(super) fn whole(bed: &Bed, key: &str, list: &str) -> Vec<Value> {
    let answer = bed.world.send(Call::new("GET", format!("{list}&limit=all&format=ndjson")).key(key));
    assert_eq!(answer.status, 200, "{list}: {}", answer.text());
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// M8: a list by its cursor, whatever the size of a page, is the whole list; as CSV it has the same cells.
pub(super) fn pages(beds: &Beds, random: &mut Random) -> Result<(), String> {
    let (bed, list) = (beds.either(random), any_list(random));
    let key = bed.key(random.choose(&["acme", "acme", "bolt"])).to_owned();
    let whole = whole(bed, &key, &list);
    // Small pages of short lists, at most some forty of long ones.
    let limit = 1 + random.below(50) + whole.len() as i64 / 40;
    let paged = paged(bed, &key, &list, limit, || {});
    same(&json!(whole), &json!(paged), &(&list, limit))?;
    let csv = bed.world.get(&format!("{list}&limit=all&format=csv"), &key);
    let rows = csv_rows(&csv.text());
    let (names, rows) = rows.split_first().unwrap();
    if rows.len() != whole.len() {
        return Err(format!("{list}: {} lines of CSV for {} records", rows.len(), whole.len()));
    }
    for (row, record) in rows.iter().zip(&whole) {
        for (name, cell) in names.iter().zip(row) {
            let value = record.pointer(&format!("/{}", name.replace('.', "/"))).unwrap_or(&Value::Null);
            if !cell_is(cell, value) {
                return Err(format!("{list}: {name} is {value}, in CSV {cell}"));
            }
        }
    }
    Ok(())
}
