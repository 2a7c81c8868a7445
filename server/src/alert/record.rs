//! What a restart must not forget of a rule's alerts: those that are not well, in a few catalog records.

use insights_engine::append::{CatalogKind, CatalogPut};
use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;
use serde::{Deserialize, Serialize};

use super::board::Board;
use super::label::Labels;
use super::rule::place;
use super::state::{AlertState, Series};

/// Version of a part.
const VERSION: u32 = 1;
/// Bytes after which a part is full, under the 64 KiB of a catalog record.
const PART_BYTES_MAX: usize = 56 << 10;
/// Most bytes of a number with its name.
const VALUE_BYTES: usize = 40;
/// What the keys of states start with; the organization, the rule and the number of the part follow.
pub const PREFIX: &str = "alert/state/";

/// A part of the state of a rule's alerts.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Part {
    version: u32,
    series: Vec<Kept>,
}

/// A series that is not well.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    labels: Labels,
    state: AlertState,
    since_us: i64,
    started_us: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    no_data: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    clear_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    told_us: Option<i64>,
}

impl Kept {
    fn of(labels: &Labels, series: &Series) -> Self {
        Self {
            labels: labels.clone(),
            state: series.state,
            since_us: series.since.0,
            started_us: series.started.0,
            value: series.value.filter(|value| value.is_finite()),
            no_data: series.no_data,
            clear_us: series.clear_since.map(|at| at.0),
            told_us: series.told.map(|at| at.0),
        }
    }

    /// The series as it was; it counts as seen at `now`, when the server is back.
    fn series(self, now: TimestampUs) -> (Labels, Series) {
        let series = Series {
            state: self.state,
            since: TimestampUs(self.since_us),
            started: TimestampUs(self.started_us),
            value: self.value,
            no_data: self.no_data,
            clear_since: self.clear_us.map(TimestampUs),
            seen: now,
            told: self.told_us.map(TimestampUs),
        };
        (self.labels, series)
    }
}

/// The state of a rule's alerts as catalog records: one for each part, without those of `before` that are the same.
///
/// `before` is what was written last, and becomes what is to be written now: both as [`essence`]s, as a number that is
/// another at every look is no change. It is written with the changes that it comes with.
pub fn puts(
    organization: &TenantId,
    rule: &str,
    board: &Board,
    before: &mut Vec<Vec<u8>>,
) -> Vec<CatalogPut> {
    let parts = parts(board);
    let mut puts = Vec::new();
    let essences: Vec<Vec<u8>> = parts.iter().map(|part| part.clone().without_values().bytes()).collect();
    for number in 0..parts.len().max(before.len()) {
        let part = parts.get(number);
        if essences.get(number) != before.get(number) {
            let key = format!("{PREFIX}{}/{rule}/{number}", organization.as_str()).into_bytes();
            puts.push(CatalogPut { kind: CatalogKind::Setting, key, value: part.map(Part::bytes) });
        }
    }
    *before = essences;
    puts
}

impl Part {
    fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    fn without_values(mut self) -> Self {
        self.series.iter_mut().for_each(|kept| kept.value = None);
        self
    }
}

/// A part as it is compared: without the numbers. Of what is not understood all of it.
pub fn essence(part: &[u8]) -> Vec<u8> {
    match serde_json::from_slice::<Part>(part) {
        Ok(part) => part.without_values().bytes(),
        Err(_) => part.to_vec(),
    }
}

/// The parts, in the order of labels.
fn parts(board: &Board) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut bytes = usize::MAX;
    for (labels, series) in board.series.iter().filter(|(_, series)| !series.is_forgettable()) {
        let kept = Kept::of(labels, series);
        // As if every number were as long as one can be: a part must not end elsewhere because of it.
        let without = Kept { value: None, ..kept.clone() };
        let len = serde_json::to_vec(&without).map_or(0, |text| text.len() + 1) + VALUE_BYTES;
        if bytes.saturating_add(len) > PART_BYTES_MAX {
            parts.push(Part { version: VERSION, series: Vec::new() });
            bytes = 0;
        }
        bytes += len;
        if let Some(part) = parts.last_mut() {
            part.series.push(kept);
        }
    }
    parts
}

/// The rule that a record of a state belongs to.
pub fn rule_of(key: &[u8]) -> Option<(TenantId, String)> {
    let (organization, rest) = place(PREFIX, key)?;
    let (rule, _) = rest.split_once('/')?;
    Some((organization, rule.to_owned()))
}

/// Adds the series of a part to a board; one of a later version, or broken, adds none.
pub fn restore(board: &mut Board, value: &[u8], now: TimestampUs) {
    let part: Option<Part> = serde_json::from_slice(value).ok();
    if let Some(part) = part.filter(|part| part.version == VERSION) {
        board.series.extend(part.series.into_iter().map(|kept| kept.series(now)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::board::Readings;
    use super::super::room::Room;
    use super::super::rule::NoData;
    use super::super::state::{Observation, Policy};
    use super::super::threshold::{Comparator, Threshold};
    use super::super::{label, length::Length};
    use super::*;

    fn organization() -> TenantId {
        TenantId::new("acme").unwrap()
    }

    /// A board with `count` firing alerts whose labels have `bytes` bytes each.
    fn board(count: usize, bytes: usize) -> Board {
        let policy = Policy {
            threshold: Threshold::fixed(Comparator::Gt, 0.0),
            hold: Length::ZERO,
            keep_firing_for: Length::ZERO,
            no_data: NoData::Ok,
            tells_silence: false,
        };
        let series = (0..=count).map(|n| {
            let labels = Labels::from([("host".to_owned(), format!("{n:0bytes$}"))]);
            (labels, Observation::Value(if n == count { 0.0 } else { 1.5 }))
        });
        let mut board = Board::default();
        let readings = Readings { series: series.collect(), ..Readings::default() };
        board.take(&policy, TimestampUs(7), readings, Room::UNLIMITED);
        board
    }

    #[test]
    fn the_bytes_of_a_state_are_fixed_and_what_is_well_is_not_kept() {
        let mut board = board(1, 1);
        let series = board.series.values_mut().next().unwrap();
        (series.told, series.clear_since) = (Some(TimestampUs(8)), Some(TimestampUs(9)));
        let mut before = Vec::new();
        let puts = puts(&organization(), "r1", &board, &mut before);
        assert_eq!(puts.len(), 1);
        assert_eq!(puts[0].key, b"alert/state/acme/r1/0");
        let expected = concat!(
            r#"{"version":1,"series":[{"labels":{"host":"0"},"state":"firing","since_us":7,"started_us":7,"#,
            r#""value":1.5,"clear_us":9,"told_us":8}]}"#
        );
        assert_eq!(std::str::from_utf8(puts[0].value.as_ref().unwrap()).unwrap(), expected);
        assert_eq!(rule_of(&puts[0].key), Some((organization(), "r1".to_owned())));
    }

    #[test]
    fn a_state_comes_back_part_by_part_and_only_what_changed_is_written() {
        let mut full = board(900, 200);
        let mut before = Vec::new();
        let written = puts(&organization(), "r1", &full, &mut before);
        assert!(written.len() > 3, "{}", written.len());
        assert!(written.iter().all(|put| put.value.as_ref().unwrap().len() < 64 << 10));
        let mut back = Board::default();
        for put in &written {
            restore(&mut back, put.value.as_ref().unwrap(), TimestampUs(7));
        }
        full.drop_well();
        assert_eq!(back, full);
        assert_eq!(puts(&organization(), "r1", &full, &mut before), []);
        full.series.values_mut().next_back().unwrap().told = Some(TimestampUs(1));
        assert_eq!(puts(&organization(), "r1", &full, &mut before).len(), 1);
        full.series.clear();
        let removed = puts(&organization(), "r1", &full, &mut before);
        assert_eq!(removed.len(), written.len());
        assert!(removed.iter().all(|put| put.value.is_none()) && before.is_empty());
    }

    #[test]
    fn another_number_alone_is_nothing_to_write() {
        let mut firing = board(900, 200);
        let mut before = Vec::new();
        let written = puts(&organization(), "r1", &firing, &mut before);
        let restored: Vec<Vec<u8>> = written.iter().map(|put| essence(put.value.as_ref().unwrap())).collect();
        assert_eq!(restored, before, "a restart writes nothing");
        let numbers = [f64::MIN, -1.234_567_890_123_456e-300, 0.0];
        for (series, number) in firing.series.values_mut().zip(numbers.into_iter().cycle()) {
            series.value = Some(number);
        }
        assert_eq!(puts(&organization(), "r1", &firing, &mut before), []);
        firing.series.values_mut().next().unwrap().told = Some(TimestampUs(9));
        let written = puts(&organization(), "r1", &firing, &mut before);
        assert_eq!(written.len(), 1);
        let text = String::from_utf8(written[0].value.clone().unwrap()).unwrap();
        assert!(text.contains("e-300") && text.len() < 64 << 10, "with the numbers of now");
    }

    #[test]
    fn the_longest_labels_fit() {
        let long = board(board_len(), label::LABEL_BYTES_MAX);
        let written = puts(&organization(), "r1", &long, &mut Vec::new());
        assert!(written.len() <= 5, "{}", written.len());
        restore(&mut Board::default(), b"{\"version\":2,\"series\":[]}", TimestampUs(0));
        restore(&mut Board::default(), b"nothing", TimestampUs(0));
    }

    const fn board_len() -> usize {
        super::super::board::SERIES_MAX
    }
}
