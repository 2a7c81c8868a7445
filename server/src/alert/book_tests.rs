//! What the series of all rules take together, whatever becomes of their evaluations.

use serde_json::json;

use super::*;
use crate::alert::board::SERIES_MAX;
use crate::alert::label::Labels;
use crate::alert::room::{LABEL_BYTES_OF_ALL_MAX, SERIES_OF_ALL_MAX};
use crate::alert::rule::RuleDocument;
use crate::alert::state::Observation;

fn at(minute: i64) -> TimestampUs {
    TimestampUs(minute * 60_000_000)
}

fn rule(organization: &str, id: &str) -> Rule {
    let body = json!({"name": id, "condition": {"type": "metric", "metric": "m", "by": ["host"], "window": "1m", "op": "gt",
        "threshold": 0}});
    let document = RuleDocument::read(&body).unwrap();
    let organization = TenantId::new(organization).unwrap();
    Rule { id: id.into(), organization, created: at(0), updated: at(0), document }
}

fn key(organization: &str, id: &str) -> Key {
    (TenantId::new(organization).unwrap(), id.to_owned())
}

fn readings(count: usize, value: f64) -> Readings {
    let of = |n: usize| (Labels::from([("host".to_owned(), format!("{n:05}"))]), Observation::Value(value));
    Readings { series: (0..count).map(of).collect(), ..Readings::default() }
}

fn book(rules: &[(&str, &str)]) -> Book {
    let mut book = Book::default();
    for (organization, id) in rules {
        book.put(Entry::new(rule(organization, id), at(0)), at(0));
    }
    book
}

/// Begins an evaluation of a rule and judges what it found.
fn judged(book: &mut Book, key: &Key, found: Readings) -> (Evaluation, Board) {
    let rule = Arc::clone(&book.get(key).unwrap().rule);
    let evaluation = Evaluation { rule, at: at(1), since: Since::new(at(0)) };
    let (board, _, _) = book.judge(&evaluation, found).unwrap();
    (evaluation, board)
}

/// Evaluates a rule.
fn evaluate(book: &mut Book, key: &Key, found: Readings) {
    let (evaluation, board) = judged(book, key, found);
    book.finish(&evaluation, Ok((board, Vec::new(), Since::new(at(0)))), at(1));
}

/// The sums are those of the boards.
fn check(book: &Book) {
    let all = book.entries.values().map(|entry| entry.board.taken()).fold(Taken::default(), Taken::and);
    assert_eq!(book.taken, all);
    let of = book.taken_of.values().copied().fold(Taken::default(), Taken::and);
    assert_eq!(of, all);
}

#[test]
fn what_series_take_is_counted_whatever_becomes_of_rules() {
    let mut book = book(&[("acme", "a"), ("acme", "b"), ("beta", "c")]);
    for (organization, id, count) in [("acme", "a", 10), ("acme", "b", 20), ("beta", "c", 30)] {
        evaluate(&mut book, &key(organization, id), readings(count, 1.0));
        check(&book);
    }
    assert_eq!(book.standing(at(1)).series, 60);
    // What is judged counts before it is written; what could not be written does not any more.
    let (evaluation, board) = judged(&mut book, &key("acme", "a"), readings(15, 1.0));
    assert_eq!((board.series.len(), book.taken.series), (15, 65));
    book.finish(&evaluation, Err("disk".to_owned()), at(1));
    check(&book);
    // A rule that is changed meanwhile keeps what it has.
    let (evaluation, board) = judged(&mut book, &key("acme", "a"), readings(15, 1.0));
    let changed = book.get(&key("acme", "a")).unwrap().clone().with_rule(Arc::new(rule("acme", "a")));
    book.put(changed, at(1));
    book.finish(&evaluation, Ok((board, Vec::new(), Since::new(at(0)))), at(1));
    check(&book);
    assert_eq!(book.taken.series, 60);
    book.set_board(&key("acme", "b"), Board::default(), Vec::new());
    check(&book);
    book.remove(&key("acme", "a"));
    check(&book);
    book.remove_all(&TenantId::new("beta").unwrap());
    check(&book);
    assert_eq!((book.taken, book.taken_of.len()), (Taken::default(), 0));
}

#[test]
fn no_organization_takes_the_room_of_all_and_all_of_them_no_more_than_there_is() {
    let mut book = Book::default();
    let (mut refused, mut asked) = (0, 0);
    let mut shares = Vec::new();
    for organization in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        for n in 0..60 {
            let key = key(organization, &format!("r{n:03}"));
            book.put(Entry::new(rule(organization, &key.1), at(0)), at(0));
            evaluate(&mut book, &key, readings(SERIES_MAX, 1.0));
            refused += book.get(&key).unwrap().board.crowded_out.bad;
            asked += SERIES_MAX;
        }
        shares.push(book.taken_of[&TenantId::new(organization).unwrap()].series);
    }
    assert_eq!(shares[..4], [50_000, 25_000, 12_500, 6_250], "each leaves for others what it has");
    assert!(book.taken.series < SERIES_OF_ALL_MAX && shares[7] > 300, "{shares:?}");
    assert!(book.taken.label_bytes <= LABEL_BYTES_OF_ALL_MAX);
    assert_eq!(refused, (asked - book.taken.series) as u64, "nothing is lost silently");
    assert_eq!(book.standing(at(1)).crowded_out, refused);
}
