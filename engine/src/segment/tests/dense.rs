//! Segments of days that are over: columns that others tell, runs that repeat each other, parts by metric.

use super::*;
use crate::schema::stream;

const ROWS: u64 = 700;

/// Replaces a column.
fn set(rows: &mut StreamRows, def: &crate::schema::ColumnDef, column: SegmentColumn) {
    let index = Schema::of(rows.stream).index_of(def.id).unwrap();
    assert_eq!(column.len(), rows.columns[index].len());
    rows.columns[index] = column;
}

fn text(count: usize, value: impl Fn(usize) -> Option<String>) -> SegmentColumn {
    let mut out = BytesColumn::new();
    (0..count).for_each(|row| out.push(value(row).as_ref().map(String::as_bytes)));
    SegmentColumn::Bytes(out)
}

fn codes(count: usize, value: impl Fn(usize) -> usize) -> SegmentColumn {
    SegmentColumn::Codes((0..count).map(|row| u32::try_from(value(row)).unwrap()).collect())
}

/// Rows as a platform has them; the same codes mean other users in the second tenant. One row in `odd` is not
/// as its session tells.
fn platform(sizes: &[u64], odd: usize) -> SegmentInput {
    let mut input = input(sizes, 11);
    for rows in &mut input.streams {
        let count = rows.columns[0].len();
        let second = usize::try_from(rows.runs.get(2).map_or(u64::MAX, |r| r.rows.start)).unwrap_or(count);
        let tenant = |row: usize| usize::from(row >= second);
        let session = |row: usize| row / 6;
        let user = |row: usize| session(row) % 9;
        let is_odd = |row: usize| row % odd == odd - 1;
        match rows.stream {
            Stream::Events => {
                set(rows, &stream::SESSION_ID, text(count, |row| Some(format!("session {}", session(row)))));
                set(rows, &stream::USER_ID, codes(count, user));
                let address = |row: usize| {
                    (user(row) != 3)
                        .then(|| format!("10.{}.{}.7", tenant(row), if is_odd(row) { 99 } else { user(row) }))
                };
                set(rows, &stream::IP_ADDRESS, text(count, address));
                let document = |row: usize| {
                    let members = vec![
                        (
                            "browser".to_owned(),
                            Value::Str(format!(
                                "browser {}",
                                (session(row) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58
                            )),
                        ),
                        ("page".to_owned(), Value::Str(format!("/page/{}", row * 7 % 13))),
                    ];
                    Document::encode(&Value::Object(members))
                };
                let mut documents = BytesColumn::new();
                (0..count).for_each(|row| documents.push(Some(document(row).as_bytes())));
                set(rows, &stream::EVENT_DATA, SegmentColumn::Bytes(documents));
            }
            Stream::Audit => {
                set(rows, &stream::ACTION_TYPE, codes(count, |row| row * row % 17));
                set(rows, &stream::OBJECT_TYPE, codes(count, |row| row * row % 17 / 3));
                let severity = |row: usize| if is_odd(row) { 4 } else { (row * row % 17 / 5) as u64 };
                set(rows, &stream::SEVERITY, SegmentColumn::U64((0..count).map(severity).collect()));
            }
            Stream::Metrics => {
                set(rows, &stream::APP_ID, codes(count, |_| 1));
                set(rows, &stream::HOST, codes(count, |row| row / 400));
                set(rows, &stream::NAME, codes(count, |row| row / 100 % 4));
                let value = |row: usize| match row / 100 % 4 {
                    0 => (row * 37 % 1000) as f64 / 100.0,
                    1 => (row * 7_919 % 65_536) as f64 * 1e6,
                    2 => 1.0,
                    _ => f64::from_bits((row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                };
                set(rows, &stream::VALUE, SegmentColumn::F64((0..count).map(value).collect()));
                let lsn = |row: usize| 1_000 + (row % 100 * 37 / 5) as u64 + u64::from(is_odd(row));
                set(rows, &stream::LSN, SegmentColumn::U64((0..count).map(lsn).collect()));
            }
        }
    }
    input
}

fn write_dense(disk: &SimDisk, input: &SegmentInput) -> SegmentSummary {
    write_at(disk, (&path(), FILE), input, Density::Dense, || 97).unwrap()
}

/// The encodings of a column, by the name that `column_stats` has.
fn encodings(reader: &SegmentReader, stream: Stream, name: &str) -> Vec<&'static str> {
    let stats = reader.column_stats(stream).unwrap();
    stats.into_iter().filter(|s| s.name == name).map(|s| s.encoding).collect()
}

#[test]
fn what_other_columns_tell_comes_back_with_its_exceptions() {
    for odd in [10, 50, 1_000_000] {
        let input = platform(&[ROWS, 9, ROWS, 1], odd);
        let disk = SimDisk::new();
        let summary = write_dense(&disk, &input);
        let reader = open(&disk, Some(summary.footer_hash)).unwrap();
        check_equal(&reader, &input).unwrap();
        assert!(reader.verify().is_empty());
    }
}

#[test]
fn a_day_that_is_over_is_told_repeated_and_cut_into_parts() {
    let input = platform(&[ROWS, 9, ROWS, 1], 50);
    let disk = SimDisk::new();
    let summary = write_dense(&disk, &input);
    let reader = open(&disk, Some(summary.footer_hash)).unwrap();
    for name in ["user_id", "ip_address"] {
        assert_eq!(encodings(&reader, Stream::Events, name), ["told"], "{name}");
    }
    assert_eq!(encodings(&reader, Stream::Events, "session_id"), ["recent"]);
    for name in ["object_type", "severity"] {
        assert_eq!(encodings(&reader, Stream::Audit, name), ["told"], "{name}");
    }
    assert_eq!(encodings(&reader, Stream::Metrics, "value"), ["partitions"]);
    let fast = SimDisk::new();
    assert!(summary.bytes < write(&fast, &input).bytes * 9 / 10);
}

#[test]
fn every_changed_byte_of_a_dense_file_is_noticed() {
    let input = platform(&[24, 1, 24, 1], 9);
    let disk = SimDisk::new();
    let summary = write_dense(&disk, &input);
    for offset in 0..summary.bytes {
        let bits = 1 << (offset % 8);
        assert!(disk.corrupt(path(), offset, bits));
        assert!(check_damaged(&disk, Some(summary.footer_hash), &input), "byte {offset} is not covered");
        disk.corrupt(path(), offset, bits);
    }
}

#[test]
fn the_golden_dense_segment_is_what_is_written_and_opens() {
    let input = platform(&[ROWS, 9, ROWS, 1], 50);
    let disk = SimDisk::new();
    write_dense(&disk, &input);
    crate::golden::check("segment-dense.seg", &disk.content(path()).unwrap());
}
