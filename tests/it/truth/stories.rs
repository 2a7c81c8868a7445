//! Every number of the reports, at every stage of a store's life, judged by plain loops.

use insights_server::Config;
use serde_json::{Value, json};

use super::asked::{Question, chosen_analytics, chosen_performance, random_questions};
use super::bed::{Bed, PERFORMANCE, small_memory};
use super::calendar::Span;
use super::data::{Event, HOUR, NOW, Point, at};
use super::judge::{differences, essence, take_undefined};
use super::naive::Activity;
use super::platform::{Organization, PULSE, golden};
use super::questions::joined;
use super::random::{self, Random};

/// Fails when an answer is not the expected one; gives the answers, and the cells that they were made of.
fn check(bed: &Bed, questions: &[(Question, Value)], stage: &str) -> (Vec<Value>, u64) {
    let mut wrong = Vec::new();
    let mut answers = Vec::new();
    let mut cells = 0;
    for (question, expected) in questions {
        let answer = question.ask(bed);
        cells += answer["cost"]["cells_read"].as_u64().unwrap();
        let mut answer = essence(answer);
        answers.push(answer.clone());
        let mut out = take_undefined(&mut answer);
        out.extend(differences(expected, &answer));
        if !out.is_empty() {
            wrong.push(format!("{question:?}: {} differences: {:#?}", out.len(), &out[..out.len().min(6)]));
        }
    }
    let shown = wrong.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{stage}, seed {}: {} answers are wrong\n{shown}", random::seed(), wrong.len());
    (answers, cells)
}

/// The answers of now are those of before, to the last bit.
fn check_same(bed: &Bed, questions: &[(Question, Value)], before: &[Value], stage: &str) {
    for ((question, _), before) in questions.iter().zip(before) {
        let out = differences(before, &essence(question.ask(bed)));
        assert!(essence(question.ask(bed)) == *before, "{stage}: {question:?}: {out:#?}");
    }
}

/// A store from its first row to a restart of merged days: every answer is right at every stage.
fn check_life(config: Config, questions: Vec<Question>) {
    let mut organizations = golden(random::seed());
    let late = late_records(&mut organizations[0]);
    let mut bed = Bed::full(config, &organizations);
    let with_answers = |questions: Vec<Question>, all: &[Organization]| -> Vec<(Question, Value)> {
        questions.into_iter().map(|question| (question.clone(), question.expected(all))).collect()
    };
    let judged = with_answers(questions.clone(), &organizations);
    let (first, cells) = check(&bed, &judged, "first");
    assert_eq!(cells, 0, "nothing is merged yet");
    bed.world.flush();
    assert!(bed.world.segments() > 0);
    check_same(&bed, &judged, &first, "after a flush, out of what was kept");
    bed.world.restart();
    check_same(&bed, &judged, &first, "after a restart");
    bed.merge();
    bed.world.restart();
    // Means of sums may be rounded in another order.
    let (_, cells) = check(&bed, &judged, "after days were merged");
    assert!(cells > 0, "no answer came from cells");
    // What comes weeks late counts at once, beside cells that are final.
    bed.send(&late);
    organizations[0].events.extend(late.events);
    organizations[0].points.extend(late.points);
    let judged = with_answers(questions, &organizations);
    check(&bed, &judged, "with late records");
    bed.merge();
    bed.world.restart();
    check(&bed, &judged, "after late records were merged");
}

/// Takes every twentieth record away, to be sent later.
fn late_records(of: &mut Organization) -> Organization {
    let mut late = Organization { name: of.name, ..Organization::default() };
    let is_late = |place: &mut usize| {
        *place += 1;
        place.is_multiple_of(20)
    };
    let mut place = 0;
    late.events =
        of.events.extract_if(.., |event: &mut Event| event.single.is_none() && is_late(&mut place)).collect();
    late.points = of.points.extract_if(.., |_: &mut Point| is_late(&mut place)).collect();
    late
}

/// What the expected answers must hold somewhere, or a part of the reports has no judge.
const HELD: [&str; 9] = [
    "__other__",
    r#""basis":"requests""#,
    r#""basis":"probe""#,
    r#""scope":"platform""#,
    r#""incidents":[{"#,
    r#""ratio":null"#,
    r#""partial":true"#,
    r#""comparison":{}"#,
    "$near",
];

#[test]
fn the_golden_data_has_something_of_everything() {
    let all = golden(random::seed());
    let plain = Question::Analytics(
        "quiet",
        Span::days("UTC", "day", "2024-06-01", "2024-06-01"),
        Activity::default(),
        false,
    );
    let questions = [chosen_analytics(), chosen_performance(), vec![plain]].concat();
    let expected: String = questions.iter().map(|question| question.expected(&all).to_string()).collect();
    for held in HELD {
        assert!(expected.contains(held), "nothing is {held}");
    }
    let maintenance = |question: &Question| {
        question.expected(&all)["metrics"]["uptime"]["maintenance_s"].as_f64() > Some(0.0)
    };
    assert!(chosen_performance().iter().any(maintenance));
}

#[test]
fn numbers_of_hard_days_are_what_loops_over_the_records_say_at_every_stage() {
    check_life(Config::default(), [chosen_analytics(), chosen_performance()].concat());
}

#[test]
fn numbers_of_random_questions_are_what_loops_over_the_records_say_at_every_stage() {
    let mut random = Random(random::seed());
    check_life(small_memory(), random_questions(&mut random, random::questions(60)));
}

#[test]
fn ninety_seconds_down_of_an_hour_are_97_5_percent() {
    let pulse = golden(random::seed()).remove(0);
    let pulse =
        Organization { points: pulse.points, ..Organization { name: "acme", ..Organization::default() } };
    let bed = Bed::full(Config::default(), std::slice::from_ref(&pulse));
    let (from, to) = (at(PULSE.0), at(PULSE.1));
    let ask = |to: i64| {
        let body = joined(
            Span::instants("UTC", "hour", from, to).body(),
            &json!({"app_id": "pulse", "metrics": ["uptime"]}),
        );
        bed.ask(Some("acme"), PERFORMANCE, &body)["metrics"]["uptime"].clone()
    };
    let uptime = ask(to);
    // Three probes in a row fail, half a minute apart; the one that fails alone is none.
    let incident = json!({"start": "2024-10-21T10:20:00Z", "end": "2024-10-21T10:21:30Z", "duration_s": 90});
    assert_eq!(uptime["incidents"], json!([incident]));
    assert_eq!((&uptime["ratio"], &uptime["percent"]), (&json!(0.975), &json!(97.5)));
    assert_eq!(
        (&uptime["down_s"], &uptime["coverage"], &uptime["basis"]),
        (&json!(90), &json!(1.0), &json!("probe"))
    );
    // The last probe, of 10:59:30, stands for ten minutes: 69.5 of 120 minutes are known.
    let uptime = ask(to + HOUR);
    assert_eq!(uptime["coverage"], json!(69.5 / 120.0));
    assert_eq!(uptime["series"][1]["ratio"], 1.0);
    assert!(at(NOW) > to + HOUR);
}
