//! Every number of the reports, at every stage of a store's life, judged by plain loops.

use insights_server::Config;
use serde_json::{Value, json};

use super::bed::{ANALYTICS, Bed, PERFORMANCE, QUERY, small_memory};
use super::calendar::Span;
use super::data::{Event, HOUR, NOW, Point, at};
use super::expected;
use super::judge::{differences, essence, take_undefined};
use super::naive::{Activity, MetricQuestion};
use super::platform::{Organization, PULSE, golden};
use super::questions::{self, analytics_body, joined};
use super::random::{self, Random};

/// A question and who asks it.
#[derive(Debug, Clone)]
enum Question {
    Analytics(&'static str, Span, Activity, bool),
    Performance(&'static str, &'static str, Span, f64, bool),
    Query(&'static str, Span, MetricQuestion),
}

impl Question {
    fn ask(&self, bed: &Bed) -> Value {
        match self {
            Self::Analytics(of, span, asked, compare) => {
                let mut body = analytics_body(span, asked);
                if *compare {
                    body["compare"] = json!("previous_period");
                }
                bed.ask(Some(of), ANALYTICS, &body)
            }
            Self::Performance(of, app, span, t_ms, exact) => {
                let more = json!({"app_id": app, "apdex_t_ms": t_ms, "exact": exact});
                bed.ask(Some(of), PERFORMANCE, &joined(span.body(), &more))
            }
            Self::Query(of, span, asked) => {
                let mut body = joined(span.body(), &asked.body());
                if span.group_by.ends_with('m') {
                    body["step"] = body["group_by"].take();
                }
                bed.ask(Some(of), QUERY, &body)
            }
        }
    }

    fn expected(&self, all: &[Organization]) -> Value {
        let of = |name: &str| all.iter().find(|one| one.name == name).unwrap();
        match self {
            Self::Analytics(name, span, asked, compare) => {
                expected::analytics(all, of(name), asked, span, *compare)
            }
            Self::Performance(name, app, span, t_ms, exact) => {
                expected::performance(of(name), app, span, *t_ms, *exact)
            }
            Self::Query(name, span, asked) => expected::metric_query(of(name), asked, span),
        }
    }
}

/// One question of analytics for each thing that is hard about time.
fn chosen_analytics() -> Vec<Question> {
    let plain = Activity::default;
    let exact = || Activity { exact: true, ..Activity::default() };
    let by = |breakdown| Activity { breakdown: Some(breakdown), ..exact() };
    let week = |week_start, zone, first, last| Span { week_start, ..Span::days(zone, "week", first, last) };
    let days = Span::days;
    [
        // Clocks that are set, a leap day, a day that there is not.
        ("acme", days("Europe/Paris", "hour", "2024-03-30", "2024-03-31"), exact()),
        ("acme", days("Europe/Paris", "hour", "2024-10-27", "2024-10-27"), plain()),
        ("acme", days("America/St_Johns", "day", "2024-03-08", "2024-03-12"), exact()),
        ("acme", days("America/St_Johns", "hour", "2024-11-03", "2024-11-03"), plain()),
        ("acme", days("Australia/Lord_Howe", "hour", "2024-04-06", "2024-04-07"), exact()),
        ("acme", days("Australia/Lord_Howe", "day", "2024-10-04", "2024-10-07"), plain()),
        ("bolt", days("Asia/Kathmandu", "day", "2024-10-18", "2024-10-23"), by("user_id")),
        ("acme", days("Pacific/Apia", "day", "2011-12-28", "2012-01-01"), exact()),
        ("acme", days("UTC", "month", "2024-02-01", "2024-03-31"), by("page")),
        // Buckets that the window cuts, and each first day of a week.
        ("acme", days("Europe/Paris", "month", "2024-02-15", "2024-11-20"), by("user_id")),
        ("acme", days("America/St_Johns", "week", "2024-02-15", "2024-11-20"), by("event_data.n")),
        ("acme", week("sunday", "Pacific/Apia", "2024-03-01", "2024-04-14"), exact()),
        ("bolt", week("saturday", "UTC", "2024-02-27", "2024-03-15"), by("feature")),
        ("bolt", week("monday", "America/New_York", "2024-02-28", "2024-03-13"), by("event_data.n")),
        // Running periods.
        ("acme", days("Europe/Paris", "day", "2024-11-01", "2024-11-07"), exact()),
        ("acme", days("UTC", "month", "2024-11-01", "2024-11-30"), plain()),
        ("acme", days("Asia/Kathmandu", "hour", "2024-11-05", "2024-11-05"), by("event_type")),
        // The hosts of the platform; nothing at all.
        ("quiet", days("UTC", "day", "2024-10-20", "2024-11-05"), exact()),
        ("quiet", days("UTC", "day", "2024-06-01", "2024-06-02"), by("app_id")),
    ]
    .map(|(of, span, asked)| Question::Analytics(of, span, asked, true))
    .to_vec()
}

/// The same of performance: probes of each interval, requests alone, nothing at all.
fn chosen_performance() -> Vec<Question> {
    let days = Span::days;
    [
        ("acme", "shop", days("Europe/Paris", "hour", "2024-03-30", "2024-03-31"), 500.0, true),
        ("acme", "shop", days("UTC", "day", "2024-03-25", "2024-04-02"), 500.0, false),
        ("acme", "shop", days("UTC", "day", "2024-10-20", "2024-10-20"), 500.0, false),
        ("acme", "slow", days("Australia/Lord_Howe", "hour", "2024-10-05", "2024-10-06"), 120.0, true),
        ("acme", "blog", days("Asia/Kathmandu", "day", "2024-11-01", "2024-11-08"), 500.0, false),
        ("bolt", "lonely", days("UTC", "month", "2024-02-10", "2024-11-20"), 300.0, false),
        ("bolt", "lonely", days("UTC", "day", "2024-10-01", "2024-10-31"), 500.0, true),
        ("quiet", "nothing", days("UTC", "day", "2024-10-01", "2024-10-02"), 500.0, false),
    ]
    .map(|(of, app, span, t_ms, exact)| Question::Performance(of, app, span, t_ms, exact))
    .to_vec()
}

/// Random questions of every kind.
fn random_questions(random: &mut Random, count: u64) -> Vec<Question> {
    let one = |_| {
        let of = random.choose(&["acme", "acme", "bolt", "quiet"]);
        match random.below(4) {
            0 => {
                let app = random.choose(&["shop", "blog", "slow", "pulse", "lonely"]);
                let (t_ms, span) = (random.choose(&[500.0, 500.0, 80.5]), questions::span(random));
                Question::Performance(of, app, span, t_ms, random.once_in(2))
            }
            1 => {
                let width = random.choose(&["hour", "day", "week", "month", "30m", "45m", "720m"]);
                // A step is as narrow as an hour.
                let mut span = questions::span_of(random, if width.ends_with('m') { "hour" } else { width });
                span.group_by = width;
                Question::Query(of, span, questions::metric_question(random))
            }
            _ => {
                let (span, asked) = (questions::span(random), questions::activity(random));
                Question::Analytics(of, span, asked, random.once_in(3))
            }
        }
    };
    (0..count).map(one).collect()
}

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
    late.events = of.events.extract_if(.., |_: &mut Event| is_late(&mut place)).collect();
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
