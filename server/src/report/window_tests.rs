//! Tests of windows: days, instants, daylight saving, partial buckets, previous periods.

use serde_json::json;

use super::*;

/// 2024-06-15T12:00:00Z.
const NOW: TimestampUs = TimestampUs(1_718_452_800_000_000);

fn read(body: &Value) -> Result<Window, Vec<(String, String)>> {
    let mut fields = Fields::of(body).unwrap();
    let window = Window::read(&mut fields, Width::GroupByOrStep, NOW);
    let problems: Vec<_> = fields.finish().into_iter().map(|p| (p.pointer, p.code.into_owned())).collect();
    match window {
        Ok(window) if problems.is_empty() => Ok(window),
        Err(NoWindow::TooMany) => Err(vec![("too many".to_owned(), String::new())]),
        _ => Err(problems),
    }
}

fn window(body: &Value) -> Window {
    read(body).unwrap()
}

fn bounds(window: &Window) -> (String, String) {
    (window.text(window.range.start), window.text(window.range.end))
}

#[test]
fn dates_are_inclusive_local_days() {
    let utc = window(&json!({"start_date": "2024-01-01", "end_date": "2024-01-31"}));
    assert_eq!(bounds(&utc), ("2024-01-01T00:00:00Z".into(), "2024-02-01T00:00:00Z".into()));
    assert_eq!(utc.buckets.len(), 31);
    let paris =
        window(&json!({"start_date": "2024-01-01", "end_date": "2024-01-31", "timezone": "Europe/Paris"}));
    assert_eq!(bounds(&paris), ("2024-01-01T00:00:00+01:00".into(), "2024-02-01T00:00:00+01:00".into()));
    let kathmandu =
        window(&json!({"start_date": "2024-01-01", "end_date": "2024-01-01", "timezone": "Asia/Kathmandu"}));
    assert_eq!(bounds(&kathmandu).0, "2024-01-01T00:00:00+05:45");
}

#[test]
fn a_day_has_23_or_25_hours_at_the_change_of_the_clock() {
    let hours = |day: &str| {
        window(
            &json!({"start_date": day, "end_date": day, "group_by": "hour", "timezone": "America/New_York"}),
        )
    };
    assert_eq!(hours("2024-03-10").buckets.len(), 23);
    let autumn = hours("2024-11-03");
    assert_eq!(autumn.buckets.len(), 25);
    // The hour from one to two happens twice; the offset tells the two apart.
    assert_eq!(autumn.key(1), "2024-11-03T01:00:00-04:00");
    assert_eq!(autumn.key(2), "2024-11-03T01:00:00-05:00");
}

#[test]
fn buckets_that_the_window_cuts_are_partial() {
    let weeks = window(&json!({"start_date": "2024-05-01", "end_date": "2024-05-12", "group_by": "week"}));
    let keys: Vec<_> = (0..weeks.buckets.len()).map(|b| (weeks.key(b), weeks.is_partial(b))).collect();
    // 2024-05-01 is a Wednesday, 2024-05-12 a Sunday.
    assert_eq!(keys, [("2024-04-29T00:00:00Z".to_owned(), true), ("2024-05-06T00:00:00Z".to_owned(), false)]);
    assert_eq!(weeks.cut_buckets().get(0).unwrap().start, weeks.range.start);
    let sunday = window(
        &json!({"start_date": "2024-05-05", "end_date": "2024-05-11", "group_by": "week", "week_start": "sunday"}),
    );
    assert_eq!((sunday.buckets.len(), sunday.is_partial(0)), (1, false));
}

#[test]
fn instants_are_half_open_and_may_be_numbers() {
    let by_text =
        window(&json!({"start": "2024-06-15T10:00:00Z", "end": "2024-06-15T13:00:00+01:00", "step": "1m"}));
    assert_eq!(by_text.buckets.len(), 120);
    for (start, end) in [
        (1_718_445_600_i64, 1_718_452_800_i64),
        (1_718_445_600_000, 1_718_452_800_000),
        (1_718_445_600_000_000, 1_718_452_800_000_000),
        (1_718_445_600_000_000_000, 1_718_452_800_000_000_000),
    ] {
        assert_eq!(window(&json!({"start": start, "end": end})).range, by_text.range);
    }
    let empty = window(&json!({"start": 1_718_445_600, "end": 1_718_445_600}));
    assert!(empty.buckets.is_empty());
}

#[test]
fn what_is_wrong_is_named() {
    let at = |body: Value| read(&body).unwrap_err();
    assert_eq!(
        at(json!({"timezone": "Mars/Base", "group_by": "year"})),
        [
            ("/timezone".to_owned(), "invalid".to_owned()),
            ("/group_by".into(), "invalid".into()),
            ("/start_date".into(), "required".into()),
            ("/end_date".into(), "required".into()),
        ]
    );
    assert_eq!(at(json!({"start_date": "2024-02-02", "end_date": "2024-02-01"}))[0].0, "/end_date");
    assert_eq!(
        at(json!({"start_date": "2024-02-30", "end_date": true}))[1],
        ("/end_date".into(), "invalid_type".into())
    );
    assert_eq!(
        at(json!({"start_date": "2024-02-01T00:00:00", "end_date": "2024-02-02"}))[0].0,
        "/start_date"
    );
    assert_eq!(at(json!({"start_date": "2024-02-01", "end_date": "2024-02-02", "step": "0s"}))[0].0, "/step");
    assert_eq!(
        at(json!({"start_date": "2024-02-01", "end_date": "2024-02-02", "timezone": "../etc/passwd"}))[0].0,
        "/timezone"
    );
    assert_eq!(at(json!({"start_date": "9999-12-31", "end_date": "9999-12-31"}))[0].0, "/end_date");
}

#[test]
fn too_many_buckets_are_refused() {
    let error = read(&json!({"start_date": "0001-01-01", "end_date": "9000-12-31", "group_by": "hour"}));
    assert_eq!(error.unwrap_err()[0].0, "too many");
}

#[test]
fn the_previous_period_has_as_many_local_days() {
    // 31 days before 2024-03-01 in Paris: from 2024-01-30, the hour lost on 2024-03-31 notwithstanding.
    let march =
        window(&json!({"start_date": "2024-03-01", "end_date": "2024-03-31", "timezone": "Europe/Paris"}));
    let before = march.previous().unwrap();
    assert_eq!(bounds(&before), ("2024-01-30T00:00:00+01:00".into(), "2024-03-01T00:00:00+01:00".into()));
    let hours = window(&json!({"start": "2024-06-01T06:00:00Z", "end": "2024-06-01T18:00:00Z"}));
    assert_eq!(
        bounds(&hours.previous().unwrap()),
        ("2024-05-31T18:00:00Z".into(), "2024-06-01T06:00:00Z".into())
    );
}

#[test]
fn a_period_that_is_not_over_is_compared_with_the_same_elapsed_part() {
    // At noon of 2024-06-15, of today's window twelve hours have passed.
    let today = window(&json!({"start_date": "2024-06-15", "end_date": "2024-06-15"}));
    assert_eq!(today.text(today.complete_until()), "2024-06-15T12:00:00Z");
    let before = today.previous().unwrap();
    assert_eq!(bounds(&before), ("2024-06-14T00:00:00Z".into(), "2024-06-14T12:00:00Z".into()));
}
