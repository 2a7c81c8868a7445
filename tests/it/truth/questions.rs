//! Random questions, most of them near what is hard: clocks that are set, odd offsets, cut buckets.

use jiff::ToSpan;
use jiff::civil::Date;
use serde_json::{Value, json};

use super::calendar::{Edge, Span};
use super::data::{DAY, MINUTE, at};
use super::naive::{Activity, MetricQuestion};
use super::platform::FOCUS;
use super::random::Random;

pub(crate) const ZONES: [&str; 7] = [
    "UTC",
    "Europe/Paris",
    "Asia/Kathmandu",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "America/New_York",
];

pub(crate) const WIDTHS: [&str; 4] = ["hour", "day", "week", "month"];

/// A window of at most a few dozen buckets of this width, which holds an instant of the focus or lies near one.
pub(crate) fn span_of(random: &mut Random, group_by: &'static str) -> Span {
    let (zone, focus) = (random.choose(&ZONES), at(random.choose(&FOCUS)));
    let week_start = random.choose(&["monday", "sunday", "saturday"]);
    let days = match group_by {
        "hour" => random.below(3),
        "day" => random.below(16),
        "week" => 1 + random.below(50),
        _ => 1 + random.below(140),
    };
    let before = random.below(days + 1);
    let span = |start, end| Span { zone, group_by, week_start, start, end };
    if random.once_in(3) {
        let start = focus - before * DAY - random.below(40 * 60) * MINUTE - random.below(3);
        return span(Edge::At(start), Edge::At(start + days * DAY + 1 + random.below(DAY)));
    }
    let date = date_of(focus).checked_sub(before.days()).unwrap();
    let last = date.checked_add(days.days()).unwrap();
    span(Edge::Day(date), Edge::Day(last))
}

/// A window of any width.
pub(crate) fn span(random: &mut Random) -> Span {
    let group_by = random.choose(&WIDTHS);
    span_of(random, group_by)
}

fn date_of(at: i64) -> Date {
    super::data::text(at)[..10].parse().unwrap()
}

/// Some filter of events, nested at most this deep.
pub(crate) fn event_filter(random: &mut Random, depth: u8) -> Value {
    if depth > 0 && random.once_in(2) {
        let inner = || (0..=1).map(|_| depth - 1);
        return match random.below(3) {
            0 => json!({"and": inner().map(|depth| event_filter(random, depth)).collect::<Value>()}),
            1 => json!({"or": inner().map(|depth| event_filter(random, depth)).collect::<Value>()}),
            _ => json!({"not": event_filter(random, depth - 1)}),
        };
    }
    let [field, op, value] = event_triple(random);
    json!([field, op, value])
}

/// A field of events, an op, and a value of its type.
pub(crate) fn event_triple(random: &mut Random) -> [Value; 3] {
    let texts: [(&str, &[&str]); 7] = [
        ("event_type", &["click", "login", "page_view", "scroll"]),
        ("user_id", &["u1", "u33", "u7", "walker", "nobody"]),
        ("anonymous_id", &["v51", "v60", "v70"]),
        ("session_id", &["s.1", "s.12", "s.40"]),
        ("app_id", &["shop", "blog", "none"]),
        ("event_data.plan", &["free", "pro"]),
        ("event_data.feature", &["export", "share"]),
    ];
    match random.below(10) {
        0 => [
            json!("event_data.n"),
            json!(random.choose(&["is", "is_not", "gt", "gte", "lt", "lte"])),
            json!(random.below(70)),
        ],
        1 => {
            [json!("event_data.deep.flag"), json!(random.choose(&["is", "is_not"])), json!(random.once_in(2))]
        }
        2 => {
            let op = random.choose(&["gt", "gte", "lt", "lte"]);
            [json!("timestamp"), json!(op), json!(random.choose(&FOCUS))]
        }
        3 => [json!(random.choose(&texts).0), json!("exists"), json!(random.once_in(2))],
        4 => {
            let (field, values) = random.choose(&texts);
            [json!(field), json!("in"), json!(random.some(values))]
        }
        5 => {
            let (field, values) = random.choose(&texts);
            let value = random.choose(values);
            let op = random.choose(&["starts_with", "contains"]);
            [json!(field), json!(op), json!(&value[..value.len() - 1])]
        }
        6 => {
            let (field, values) = random.choose(&texts);
            [json!(field), json!(random.choose(&["gt", "gte", "lt", "lte"])), json!(random.choose(values))]
        }
        _ => {
            let (field, values) = random.choose(&texts);
            [json!(field), json!(random.choose(&["is", "is_not"])), json!(random.choose(values))]
        }
    }
}

/// Something to ask of `user_activity`.
pub(crate) fn activity(random: &mut Random) -> Activity {
    let breakdowns = [
        "event_type",
        "page",
        "feature",
        "app_id",
        "user_id",
        "event_data.plan",
        "event_data.n",
        "event_data.deep.flag",
    ];
    Activity {
        app: if random.once_in(3) { Some(random.choose(&["shop", "blog"])) } else { None },
        filters: random.once_in(2).then(|| event_filter(random, 2)),
        breakdown: random.once_in(2).then(|| random.choose(&breakdowns)),
        exact: random.once_in(2),
    }
}

/// Something to ask of `metrics/query/`.
pub(crate) fn metric_question(random: &mut Random) -> MetricQuestion {
    let names = [
        "queue.depth",
        "room.celsius",
        "response.time",
        "requests.count",
        "cpu.usage",
        "network.in",
        "pages.visited",
        "actions.performed",
        "session.duration",
        "nothing.known",
    ];
    let aggregates =
        ["avg", "sum", "min", "max", "count", "last", "rate", "p50", "p75", "p90", "p95", "p99", "p99.9"];
    let by = if random.once_in(2) {
        random.some(&["app_id", "host", "user_id", "queue", "labels.region", "route"])
    } else {
        Vec::new()
    };
    let filters = [
        json!(["labels.queue", "is", "mail"]),
        json!(["value", "gte", 100]),
        json!({"not": ["app_id", "is", "shop"]}),
        json!({"or": [["user_id", "is", "u1"], ["host", "exists"]]}),
    ];
    MetricQuestion {
        names: random.some(&names),
        aggregates: random.some(&aggregates),
        by,
        filters: random.once_in(3).then(|| random.choose(&filters)),
        only: if random.once_in(4) {
            Some(random.choose(&[("app_id", "blog"), ("host", "web-1"), ("user_id", "u2")]))
        } else {
            None
        },
        exact: random.once_in(2),
    }
}

/// Members of two bodies in one.
pub(crate) fn joined(mut body: Value, more: &Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// The body of an analytics question about all families.
pub(crate) fn analytics_body(span: &Span, asked: &Activity) -> Value {
    let mut body = joined(span.body(), &json!({"exact": asked.exact}));
    for (name, value) in [
        ("app_id", asked.app.map(Value::from)),
        ("filters", asked.filters.clone()),
        ("breakdown", asked.breakdown.map(Value::from)),
    ] {
        if let Some(value) = value {
            body[name] = value;
        }
    }
    body
}
