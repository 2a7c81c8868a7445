//! Other ways to the same answer.

use std::sync::atomic::Ordering;

use super::super::truth::random::Random;
use super::{Asked, Beds, same};

/// What rows in memory say, and what cells of merged days say.
pub(super) fn cells_are_rows(beds: &Beds, random: &mut Random) -> Result<(), String> {
    let asked = Asked::random(random);
    let (rows, cells) = (asked.raw(&beds.rows), asked.raw(&beds.cells));
    let read = |answer: &serde_json::Value| answer["cost"]["cells_read"].as_u64().unwrap();
    if read(&rows) > 0 {
        return Err(format!("{asked:?}: there are cells of rows in memory"));
    }
    beds.cells_read.fetch_add(read(&cells), Ordering::Relaxed);
    let essence = super::essence;
    same(&essence(rows), &essence(cells), &asked)
}
