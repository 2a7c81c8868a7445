//! A whole and its parts: of a window, of a filter, of everybody, of a day.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Beds;
use super::numbers::{
    Numbers, additive, by_bucket, equal, extremes, joined as joined_numbers, of_events, sum,
};
use crate::truth::bed::{ANALYTICS, Bed, PERFORMANCE, QUERY};
use crate::truth::calendar::Span;
use crate::truth::questions::{self, analytics_body, joined};
use crate::truth::random::Random;

/// M2: Q[a, c) is Q[a, b) and Q[b, c).
pub(super) fn windows(beds: &Beds, random: &mut Random) -> Result<(), String> {
    let (bed, span) = (beds.either(random), questions::span(random));
    let range = span.range();
    let middle = range.start + random.below(range.len());
    let of = random.choose(&[Some("acme"), Some("bolt"), None]);
    let (path, more) = if random.once_in(3) {
        (PERFORMANCE, json!({"app_id": random.choose(&["shop", "blog", "slow"])}))
    } else {
        let asked = crate::truth::naive::Activity { breakdown: None, ..questions::activity(random) };
        (ANALYTICS, analytics_body(&span, &asked))
    };
    let ask = |start, end| {
        let span = Span::instants(span.zone, span.group_by, start, end);
        bed.ask(of, path, &joined(more.clone(), &span.body()))["metrics"].take()
    };
    let (whole, left, right) =
        (ask(range.start, range.end), ask(range.start, middle), ask(middle, range.end));
    let what = (of, path, span, middle, more);
    equal(&additive(&whole), &sum(additive(&left), additive(&right)), &what)?;
    let ((least, greatest), left_ends, right_ends) = (extremes(&whole), extremes(&left), extremes(&right));
    equal(&least, &joined_numbers(left_ends.0, right_ends.0, f64::min), &what)?;
    equal(&greatest, &joined_numbers(left_ends.1, right_ends.1, f64::max), &what)?;
    between(users(&whole), &[users(&left), users(&right)], &what)
}

fn users(metrics: &Value) -> f64 {
    metrics["user_activity"]["summary"]["active_users"].as_f64().unwrap_or(0.0)
}

/// Distinct ones of a whole are at least those of any part, and at most those of all.
fn between(whole: f64, parts: &[f64], what: &dyn std::fmt::Debug) -> Result<(), String> {
    let most = parts.iter().sum::<f64>();
    let least = parts.iter().copied().fold(0.0, f64::max);
    if (least..=most).contains(&whole) {
        Ok(())
    } else {
        Err(format!("{what:?}: {whole} users of {parts:?}"))
    }
}

/// M3: what passes a filter, what does not although it has the field, and what lacks the field are the whole;
/// of what lacks the field nothing passes but `is_not` and `not`.
pub(super) fn filters(beds: &Beds, random: &mut Random) -> Result<(), String> {
    let (bed, span) = (beds.either(random), questions::span(random));
    let of = random.choose(&[Some("acme"), Some("bolt"), None]);
    let [field, op, value] = questions::event_triple(random);
    let (simple, has, lacks) =
        (json!([field, op, value]), json!([field, "exists"]), json!([field, "exists", false]));
    let base = questions::event_filter(random, 1);
    let breakdown = random.choose(&["event_type", "app_id", "feature"]);
    let ask = |filter: Value| -> Numbers {
        let body =
            json!({"metrics": ["user_activity"], "breakdown": breakdown, "filters": {"and": [base, filter]}});
        of_events(&bed.ask(of, ANALYTICS, &joined(span.body(), &body))["metrics"])
    };
    let not = |filter: &Value| json!({"not": filter});
    let whole = ask(json!([]));
    let what = (of, span, &base, &simple);
    let (passing, missing) = (ask(json!({"and": [has, simple]})), ask(lacks.clone()));
    let failing = ask(json!({"and": [has, not(&simple)]}));
    equal(&whole, &sum(sum(passing, failing), missing.clone()), &what)?;
    // A filter of any shape and its opposite leave nothing out.
    let any = questions::event_filter(random, 2);
    equal(&whole, &sum(ask(any.clone()), ask(not(&any))), &(&what, &any))?;
    let lacking = |filter: Value| ask(json!({"and": [lacks, filter]}));
    let passes_without = op == "is_not" || (op == "exists" && value == json!(false));
    let (missing, nothing) = (&missing, &Numbers::new());
    let (passing, failing) = if passes_without { (missing, nothing) } else { (nothing, missing) };
    equal(passing, &lacking(simple.clone()), &what)?;
    equal(failing, &lacking(not(&simple)), &what)
}

/// M4: what a superuser sees of everybody is the sum of what each organization sees of itself.
pub(super) fn organizations(beds: &Beds, random: &mut Random) -> Result<(), String> {
    let (bed, span) = (beds.either(random), questions::span(random));
    let (path, body) = if random.once_in(3) {
        (PERFORMANCE, joined(span.body(), &json!({"app_id": random.choose(&["shop", "blog", "lonely"])})))
    } else {
        let asked = crate::truth::naive::Activity { breakdown: None, ..questions::activity(random) };
        (ANALYTICS, analytics_body(&span, &asked))
    };
    // A person of two organizations is two.
    let all = |metrics: &Value| {
        let mut all = sum(additive(metrics), by_bucket(metrics));
        for row in metrics["user_activity"]["series"].as_array().into_iter().flatten() {
            for name in ["active_users", "active_sessions"] {
                all.insert(format!("{}/{name}", row["bucket"]), row[name].as_f64().unwrap());
            }
        }
        all.insert("active_users".to_owned(), users(metrics));
        all
    };
    let everybody = all(&bed.ask(None, path, &body)["metrics"]);
    let each = beds.all.iter().map(|one| all(&bed.ask(Some(one.name), path, &body)["metrics"]));
    equal(&everybody, &each.fold(Numbers::new(), sum), &(path, body))
}

/// M5: the hours of a window put together are its days, weeks and months.
pub(super) fn hours(beds: &Beds, random: &mut Random) -> Result<(), String> {
    let (bed, of) = (beds.either(random), random.choose(&[Some("acme"), Some("bolt"), None]));
    let near = random.choose(&["day", "week"]);
    let mut span = questions::span_of(random, near);
    span.group_by = random.choose(&["day", "week", "month"]);
    let hourly = Span { group_by: "hour", ..span };
    let what = (of, span);
    let more = match random.below(3) {
        0 => json!({"path": PERFORMANCE, "body": {"app_id": random.choose(&["shop", "blog", "slow"])}}),
        1 => json!({"path": ANALYTICS, "body": {"app_id": random.choose(&["shop", "blog"])}}),
        _ => json!({"path": ANALYTICS, "body": {}}),
    };
    let ask = |span: &Span| {
        bed.ask(of, more["path"].as_str().unwrap(), &joined(span.body(), &more["body"]))["metrics"].take()
    };
    let (coarse, fine) = (ask(&span), ask(&hourly));
    for (family, content) in coarse.as_object().unwrap() {
        let Some(starts) = starts(&content["series"]) else { continue };
        let mut fine = json!({family: {"series": fine[family]["series"].clone()}});
        rename_buckets(&mut fine[family]["series"], &starts);
        let mut of_family = coarse[family].clone();
        rename_buckets(&mut of_family["series"], &starts);
        equal(&by_bucket(&json!({family: of_family})), &by_bucket(&fine), &what)?;
        for name in ["active_users", "active_sessions"] {
            for (place, row) in of_family["series"].as_array().unwrap().iter().enumerate() {
                let Some(whole) = row[name].as_f64() else { continue };
                let hours = fine[family]["series"].as_array().unwrap().iter();
                let hours = hours
                    .filter(|hour| hour["bucket"] == json!(place))
                    .map(|hour| hour[name].as_f64().unwrap());
                between(whole, &hours.collect::<Vec<_>>(), &(&what, name, place))?;
            }
        }
    }
    points(
        bed,
        of,
        &span,
        random.choose(&["queue.depth", "room.celsius", "pages.visited", "session.duration"]),
    )
}

/// The same of any metric: how many, their sum, the ends, and the last one.
fn points(bed: &Bed, of: Option<&str>, span: &Span, name: &str) -> Result<(), String> {
    let hourly = Span { group_by: "hour", ..*span };
    let ask = |span: &Span| {
        let body = json!({"name": name, "aggregates": ["count", "sum", "min", "max", "last"]});
        bed.ask(of, QUERY, &joined(span.body(), &body))["series"][0]["points"].take()
    };
    let (mut coarse, mut fine) = (ask(span), ask(&hourly));
    let Some(starts) = starts(&coarse) else { return Ok(()) };
    rename_buckets(&mut coarse, &starts);
    rename_buckets(&mut fine, &starts);
    for (place, whole) in coarse.as_array().unwrap().iter().enumerate() {
        let hours: Vec<&Value> =
            fine.as_array().unwrap().iter().filter(|hour| hour["bucket"] == json!(place)).collect();
        let of = |name: &str| hours.iter().filter_map(|hour| hour[name].as_f64()).collect::<Vec<f64>>();
        let expected = json!({"bucket": place, "partial": whole["partial"],
            "count": of("count").iter().sum::<f64>(), "sum": of("sum").iter().sum::<f64>(),
            "min": of("min").into_iter().reduce(f64::min), "max": of("max").into_iter().reduce(f64::max),
            "last": of("last").last()});
        let out = super::differences(&expected, whole);
        if !out.is_empty() {
            return Err(format!("{name} of {span:?}: {out:#?}"));
        }
    }
    Ok(())
}

fn instant(bucket: &Value) -> i64 {
    bucket.as_str().unwrap().parse::<Timestamp>().unwrap().as_microsecond()
}

/// The starts of the buckets of a series; none of what has no series.
fn starts(series: &Value) -> Option<Vec<i64>> {
    Some(series.as_array()?.iter().map(|row| instant(&row["bucket"])).collect())
}

/// Names each bucket after the place of the wider one that it begins in.
fn rename_buckets(series: &mut Value, starts: &[i64]) {
    for row in series.as_array_mut().unwrap() {
        let at = instant(&row["bucket"]);
        row["bucket"] = json!(starts.partition_point(|start| *start <= at) - 1);
    }
}
