//! The same questions at every stage of a store's life, judged by plain loops.

use insights_server::Config;
use insights_tests::{ROOT, World};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::data::{DAY, DAYS, FROM, Organization};
use super::naive;

/// A question: zone, width, first and last day.
type Question = (&'static str, &'static str, &'static str, &'static str);

const QUESTIONS: [Question; 5] = [
    ("UTC", "day", "2024-01-03", "2024-02-08"),
    ("Asia/Kathmandu", "hour", "2024-02-05", "2024-02-06"),
    ("America/New_York", "week", "2024-01-10", "2024-02-07"),
    ("UTC", "month", "2024-01-15", "2024-02-09"),
    ("Pacific/Auckland", "day", "2024-02-03", "2024-02-07"),
];

const ORGANIZATIONS: [(&str, u64); 2] = [("acme", 7), ("bolt", 8)];

/// Sends everything: what is younger than the late window the usual way, the rest as history.
fn fill(world: &World, key: &str, organization: &Organization) {
    let late = FROM + (DAYS - 29) * DAY;
    let (recent, old): (Vec<_>, Vec<_>) = organization.events.iter().partition(|event| event.at > late);
    let events =
        |events: Vec<&super::data::Event>| events.iter().map(|event| event.json()).collect::<Vec<_>>();
    let (recent, old) = (events(recent), events(old));
    send(world, key, "/api/insights/track/", &recent);
    send(world, key, "/api/insights/import/?stream=events", &old);
    let (recent, old): (Vec<_>, Vec<_>) = organization.points.iter().partition(|point| point.at > late);
    let points =
        |points: Vec<&super::data::Point>| points.iter().map(|point| point.json()).collect::<Vec<_>>();
    let (recent, old) = (points(recent), points(old));
    send(world, key, "/api/insights/metrics/", &recent);
    send(world, key, "/api/insights/import/?stream=metrics", &old);
}

/// Sends records in batches, each batch twice under one idempotency key.
fn send(world: &World, key: &str, path: &str, records: &[Value]) {
    for (number, batch) in records.chunks(173).enumerate() {
        let call = || {
            let call = insights_tests::Call::new("POST", path).key(key).json(&json!(batch));
            call.header("idempotency-key", &format!("batch-{number}"))
        };
        for _ in 0..2 {
            // So little memory is full now and then; a client comes back.
            let answer =
                std::iter::repeat_with(|| world.send(call())).find(|answer| answer.status != 503).unwrap();
            assert_eq!(answer.expect(202)["accepted"], batch.len());
        }
    }
}

/// Where the numbers of `found` are not those of `expected`; members that nobody expects are left alone.
fn differences(expected: &Value, found: &Value, at: &str, out: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(members), Value::Object(_)) => {
            for (name, value) in members {
                differences(value, &found[name], &format!("{at}/{name}"), out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                differences(a, b, &format!("{at}/{index}"), out);
            }
        }
        // An instant, in whatever zone it is written.
        (Value::Number(us), Value::String(text)) => {
            let found = text.parse::<Timestamp>().ok().map(Timestamp::as_microsecond);
            if found != us.as_i64() {
                out.push(format!("{at}: {text}, not {us}"));
            }
        }
        _ => {
            let near = expected
                .as_f64()
                .zip(found.as_f64())
                .is_some_and(|(a, b)| (a - b).abs() <= 1e-9 * a.abs().max(1.0));
            if !near && expected != found {
                out.push(format!("{at}: {found}, not {expected}"));
            }
        }
    }
}

#[track_caller]
fn judge(expected: &Value, found: &Value, what: &str) {
    let mut out = Vec::new();
    differences(expected, found, "", &mut out);
    assert!(out.is_empty(), "{what}: {} differences: {:?}", out.len(), &out[..out.len().min(8)]);
}

fn body(question: Question, more: &Value) -> Value {
    let (zone, group_by, first, last) = question;
    let mut body =
        json!({"timezone": zone, "group_by": group_by, "start_date": first, "end_date": last, "exact": true});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// Every answer of an organization at this moment: `metrics` alone.
fn answers(world: &World, key: &str, organization: &str) -> Vec<Value> {
    let ask = |path: &str, body: Value| world.post(path, key, &body).expect(200)["metrics"].clone();
    let mut all = Vec::new();
    for question in QUESTIONS {
        let named = json!({"organization_id": organization});
        all.push(ask("/api/insights/analytics/", body(question, &named)));
        all.push(ask(
            "/api/insights/analytics/",
            body(question, &json!({"metrics": ["user_activity"], "app_id": "shop"})),
        ));
        all.push(ask("/api/insights/performance/", body(question, &json!({"app_id": "shop"}))));
        all.push(ask(
            "/api/insights/performance/",
            body(question, &json!({"app_id": "blog", "exact": false})),
        ));
    }
    all
}

/// What [`answers`] must be; histograms instead of rows where the question says so.
fn check(organization: &Organization, answers: &[Value], what: &str) {
    for (question, answers) in QUESTIONS.iter().zip(answers.chunks(4)) {
        let (zone, group_by, first, last) = question;
        let zone = TimeZone::get(zone).unwrap();
        let window = naive::window(first.parse().unwrap(), last.parse().unwrap(), &zone);
        let buckets = naive::buckets(window, &zone, group_by);
        let (events, points) = (&organization.events, &organization.points);
        let what = format!("{what}, {question:?}");
        let expected = json!({
            "user_activity": naive::user_activity(events, None, window, &buckets),
            "system_performance": naive::system_performance(points, window, &buckets),
            "app_metrics": naive::app_metrics(points, window, &buckets),
        });
        judge(&expected, &answers[0], &what);
        let of_app = json!({"user_activity": naive::user_activity(events, Some("shop"), window, &buckets)});
        judge(&of_app, &answers[1], &what);
        judge(&naive::performance(points, "shop", window, &buckets), &answers[2], &what);
        let mut expected = naive::performance(points, "blog", window, &buckets);
        check_histogram(&expected["response_time"], &answers[3]["response_time"], &what);
        without_quantiles(&mut expected["response_time"]);
        judge(&expected, &answers[3], &what);
    }
}

/// Quantiles of the histogram lie near the rows around them.
fn check_histogram(expected: &Value, found: &Value, what: &str) {
    let (least, most) = (expected["min"].as_f64(), expected["max"].as_f64());
    for name in ["p50", "p90", "p95", "p99"] {
        let found = found[name].as_f64();
        assert_eq!(found.is_some(), least.is_some(), "{what} {name}");
        if let (Some(found), Some(least), Some(most)) = (found, least, most) {
            assert!(found >= least * 0.9945 && found <= most * 1.0055, "{what} {name}: {found}");
        }
    }
}

fn without_quantiles(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !(name.starts_with('p') && name[1..].parse::<u8>().is_ok()));
            members.values_mut().for_each(without_quantiles);
        }
        Value::Array(items) => items.iter_mut().for_each(without_quantiles),
        _ => {}
    }
}

/// All organizations together: counts add up, a person is one per organization.
fn check_everybody(world: &World, answers: &[Vec<Value>]) {
    let question = QUESTIONS[0];
    let all =
        world.post("/api/insights/analytics/", ROOT, &body(question, &json!({}))).expect(200)["metrics"]
            .clone();
    for pointer in
        ["events", "active_users", "sessions", "pages_visited", "actions_performed", "time_on_platform_s"]
    {
        let of = |metrics: &Value| metrics["user_activity"]["summary"][pointer].as_f64().unwrap();
        assert_eq!(of(&all), answers.iter().map(|answers| of(&answers[0])).sum::<f64>(), "{pointer}");
    }
    let requests = |metrics: &Value| metrics["app_metrics"]["summary"]["requests"].as_f64().unwrap();
    assert_eq!(requests(&all), answers.iter().map(|answers| requests(&answers[0])).sum::<f64>());
}

fn small_memory(bytes: u64) -> Config {
    let mut config = Config::default();
    config.engine.memtable_bytes_max = bytes;
    config.engine.memtable_flush_bytes = bytes / 2;
    config
}

/// A store from its first row to a restart: every answer is right, and stays as it is to the last bit.
fn check_life(config: Config) {
    let mut world = World::with(config);
    let organizations =
        ORGANIZATIONS.map(|(name, seed)| (name, world.key(name, &["admin"]), Organization::new(seed)));
    for (_, key, organization) in &organizations {
        fill(&world, key, organization);
    }
    let ask =
        |world: &World| organizations.each_ref().map(|(name, key, _)| answers(world, key, name)).to_vec();
    let first = ask(&world);
    for ((name, _, organization), answers) in organizations.iter().zip(&first) {
        check(organization, answers, name);
    }
    check_everybody(&world, &first);
    world.flush();
    assert!(world.segments() > 0);
    assert!(ask(&world) == first, "after a flush the answers differ");
    world.restart();
    assert!(ask(&world) == first, "after a restart the answers differ");
    check_everybody(&world, &first);
    world.compact();
    // No answer from before is kept.
    world.restart();
    for (name, key, organization) in &organizations {
        check(organization, &answers(&world, key, name), &format!("{name} after days were merged"));
    }
    check_everybody(&world, &first);
    check_cells(&world, &organizations.each_ref().map(|(.., organization)| organization));
}

/// Of merged days, the answer for all organizations comes from cells and is that of the records.
fn check_cells(world: &World, organizations: &[&Organization]) {
    let (zone, group_by, first, last) = QUESTIONS[0];
    let utc = TimeZone::get(zone).unwrap();
    let window = naive::window(first.parse().unwrap(), last.parse().unwrap(), &utc);
    let buckets = naive::buckets(window, &utc, group_by);
    let each: Vec<Value> = organizations
        .iter()
        .map(|organization| naive::user_activity(&organization.events, None, window, &buckets))
        .collect();
    let more = json!({"exact": false, "metrics": ["user_activity", "system_performance"]});
    let answer = world.post("/api/insights/analytics/", ROOT, &body(QUESTIONS[0], &more)).expect(200);
    for number in ["events", "active_users", "sessions", "pages_visited", "actions_performed"] {
        let sum: f64 = each.iter().map(|each| each["summary"][number].as_f64().unwrap()).sum();
        let found = answer["metrics"]["user_activity"]["summary"][number].as_f64();
        assert_eq!(found, Some(sum), "{number}");
    }
    let cost = |what: &str| answer["cost"][what].as_u64().unwrap();
    let rows: usize = organizations.iter().map(|all| all.events.len() + all.points.len()).sum();
    assert!(cost("cells_read") > 0, "{}", answer["cost"]);
    assert!(cost("rows_scanned") * 10 < rows as u64, "{} of {rows} rows", answer["cost"]);
}

#[test]
fn reports_from_memory_are_what_loops_over_the_records_say_and_stay_so() {
    check_life(Config::default());
}

#[test]
fn reports_from_many_small_segments_are_what_loops_over_the_records_say() {
    check_life(small_memory(512 << 10));
}
