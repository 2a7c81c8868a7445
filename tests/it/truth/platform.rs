//! The golden data: a year of three organizations, dense where clocks are set and days begin.

use serde_json::{Value, json};

use super::data::{DAY, Event, HOUR, MINUTE, NOW, Point, SECOND, Single, at, nobody};
use super::random::Random;

/// Around these instants most of the data lies: clocks that are set, a leap day, a day that does not exist
/// in Apia, midnights of zones with odd offsets, the moment of the questions.
pub(crate) const FOCUS: [&str; 12] = [
    "2024-03-31T01:00:00Z",
    "2024-10-27T01:00:00Z",
    "2024-03-10T05:30:00Z",
    "2024-11-03T04:30:00Z",
    "2024-04-06T15:00:00Z",
    "2024-10-05T15:30:00Z",
    "2024-02-29T00:00:00Z",
    "2024-03-01T00:00:00Z",
    "2024-10-20T18:15:00Z",
    "2011-12-30T10:00:00Z",
    "2024-11-04T23:00:00Z",
    NOW,
];

/// Applications that are probed, and how many seconds apart; `mall` and what has no name at the instants of `blog`.
pub(crate) const PROBED: [(Option<&str>, i64); 6] = [
    (Some("shop"), 60),
    (Some("blog"), 300),
    (Some("mall"), 300),
    (None, 300),
    (Some("slow"), 1_200),
    (Some("pulse"), 30),
];

/// The hour in which `pulse` fails for 90 seconds and else answers.
pub(crate) const PULSE: (&str, &str) = ("2024-10-21T10:00:00Z", "2024-10-21T11:00:00Z");

/// Everything of one organization, in the order in which it is sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Organization {
    pub(crate) name: &'static str,
    pub(crate) events: Vec<Event>,
    pub(crate) points: Vec<Point>,
}

/// The golden platform of a seed: two organizations with everything, one with events alone, and the
/// platform's hosts.
pub(crate) fn golden(seed: u64) -> Vec<Organization> {
    let seed = seed.wrapping_mul(4);
    vec![
        Organization::new("acme", seed, 300),
        Organization::new("bolt", seed + 1, 120),
        Organization { points: Vec::new(), ..Organization::new("quiet", seed + 2, 20) },
        Organization::hosts("_platform", seed + 3, 120),
    ]
}

impl Organization {
    /// An organization of this many visits; half as many other points of each kind.
    fn new(name: &'static str, seed: u64, visits: i64) -> Self {
        let mut random = Random(seed);
        let mut events = Vec::new();
        for _ in 0..visits {
            visit(&mut random, &mut events);
        }
        marathon(&mut random, &mut events);
        for number in 0..visits / 5 {
            named(&mut random, number, &mut events);
        }
        let mut points = Vec::new();
        measure(&mut random, visits, &mut points);
        for (app, apart) in PROBED {
            probe(&mut random, app, apart, &mut points);
        }
        hosts(&mut random, visits, &mut points);
        Self::shuffled(name, &mut random, events, points)
    }

    /// An organization that has hosts and nothing else.
    fn hosts(name: &'static str, seed: u64, count: i64) -> Self {
        let (mut random, mut points) = (Random(seed), Vec::new());
        hosts(&mut random, count, &mut points);
        Self::shuffled(name, &mut random, Vec::new(), points)
    }

    /// What arrives late, or before what it follows, counts all the same.
    fn shuffled(
        name: &'static str,
        random: &mut Random,
        mut events: Vec<Event>,
        mut points: Vec<Point>,
    ) -> Self {
        let now = at(NOW);
        events.retain(|event| event.at < now);
        points.retain(|point| point.at < now);
        // No two points at one instant but probes, so that there is one that is the last.
        points.sort_by_key(|point| point.at);
        let mut before = i64::MIN;
        for point in points.iter_mut().filter(|point| point.name != "uptime") {
            point.at = point.at.max(before + 1);
            before = point.at;
        }
        random.shuffle(&mut events);
        random.shuffle(&mut points);
        Self { name, events, points }
    }
}

/// An instant near one of the focus, now and then exactly on it or right before; else any of the year.
fn instant(random: &mut Random) -> i64 {
    let focus = at(random.choose(&FOCUS));
    match random.below(10) {
        0 => focus + random.choose(&[-1, 0, 1]),
        1..=6 => focus + random.below(72 * HOUR) - 36 * HOUR,
        _ => at("2024-02-20T00:00:00Z") + random.below(259 * DAY),
    }
}

/// A burst of events of one person, with gaps on both sides of half an hour.
fn visit(random: &mut Random, all: &mut Vec<Event>) {
    let who = random.below(75);
    let session = (random.once_in(3)).then(|| format!("s.{}", random.below(60)));
    let app = random.choose(&[None, Some("shop"), Some("blog"), Some("slow")]);
    let mut at = instant(random);
    for _ in 0..=random.below(7) {
        let event_type =
            random.choose(&["page_view", "$pageview", "click", "login", "save", "page.viewed", "scroll"]);
        all.push(Event {
            at,
            event_type,
            user: (who < 60).then(|| format!("u{who}")),
            visitor: (50..72).contains(&who).then(|| format!("v{who}")),
            session: session.clone(),
            app,
            data: data(random, event_type.contains("page")),
            single: None,
        });
        at += gap(random);
    }
}

/// The time between two events of a visit.
fn gap(random: &mut Random) -> i64 {
    let half = 30 * MINUTE;
    let gap = random.choose(&[0, 1, 20 * SECOND, 5 * MINUTE, 29 * MINUTE, half - 1, half, 45 * MINUTE]);
    gap + if random.once_in(2) { random.below(SECOND) } else { 0 }
}

/// A visit whose events come one by one, with the name that the server gave to its session: of a user or a visitor
/// that others are of, too, of a visitor who becomes a user, or of nobody.
fn named(random: &mut Random, visit: i64, all: &mut Vec<Event>) {
    let (kind, who, app) = (random.below(4), random.below(60), random.choose(&[None, Some("shop")]));
    let mut at = instant(random);
    for number in 0..=random.below(6) {
        let first = number == 0;
        let event_type = random.choose(&["page_view", "click", "save", "scroll"]);
        all.push(Event {
            at,
            event_type,
            user: (kind == 0 || (kind == 2 && number > 1)).then(|| format!("u{who}")),
            visitor: (kind == 1 || kind == 2).then(|| format!("v{}", 50 + who % 20)),
            // Of somebody the name is that of the chain, of nobody it is a session like a client's own.
            session: (kind == 3 && !first).then(|| nobody(visit)),
            app,
            data: data(random, event_type.contains("page")),
            single: Some(Single { visit, first }),
        });
        at += gap(random);
    }
}

/// What an event says of itself.
fn data(random: &mut Random, is_view: bool) -> Value {
    let mut data = json!({});
    if is_view && !random.once_in(6) {
        let page = random.choose(&["/", "/prices", "/help", "/prices?b=2"]);
        match random.below(4) {
            0 => data["url"] = json!(page),
            1 => (data["page"], data["path"]) = (json!(null), json!(page)),
            2 => (data["page"], data["url"]) = (json!(page), json!("/never")),
            _ => data["page"] = json!(page),
        }
    }
    if random.once_in(4) {
        data["feature"] = json!(random.choose(&["export", "share", "save"]));
    }
    if random.once_in(4) {
        data["interactive"] = random.choose(&[json!(true), json!(false), json!("no")]);
    }
    if random.once_in(2) {
        data["plan"] = json!(random.choose(&["free", "pro", "team"]));
    }
    if random.once_in(2) {
        data["n"] = json!(random.below(70));
    }
    if random.once_in(3) {
        data["deep"] = json!({"flag": random.once_in(2)});
    }
    data
}

/// Somebody who never leaves: 29 hours of events 29 minutes apart, across a clock that is set.
fn marathon(random: &mut Random, all: &mut Vec<Event>) {
    let from = at("2024-10-26T09:00:00Z") + random.below(HOUR);
    let event = |step: i64| Event {
        at: from + step * 29 * MINUTE,
        event_type: "scroll",
        user: Some("walker".to_owned()),
        visitor: None,
        session: None,
        app: Some("shop"),
        data: json!({"interactive": step == 7}),
        single: None,
    };
    all.extend((0..60).map(event));
}

/// Requests, errors and times of applications, and measurements of no known name.
fn measure(random: &mut Random, visits: i64, all: &mut Vec<Point>) {
    for _ in 0..visits {
        let app = random.choose(&[Some("shop"), Some("blog"), Some("lonely"), None]);
        let mut add = |random: &mut Random, name, value| {
            let routes = [None, Some("/"), Some("/pay"), Some("/cart"), Some("/help"), Some("=cmd()")];
            let labels = random.choose(&routes).map(|route| ("route", route)).into_iter().collect();
            all.push(Point { app, labels, ..Point::of(instant(random), name, value) });
        };
        // Values are quarters, so that no sum depends on the order of its parts.
        let slow = if random.once_in(5) { 4 } else { 1 };
        let time = (random.below(4_000) + 1) as f64 / 4.0 * f64::from(slow);
        let name = random.choose(&["response_time", "response.time"]);
        add(random, name, time);
        let requests = random.below(100);
        add(random, "requests.count", requests as f64);
        let errors = random.below(requests / 8 + 1);
        add(random, "errors.count", errors as f64);
        // Of an application, so no host's.
        add(random, "db.connections", 3.0);
        let value = random.below(2_000) as f64 / 4.0;
        let labels =
            random.choose(&[vec![], vec![("queue", "mail")], vec![("queue", "jobs"), ("region", "eu")]]);
        let (host, user) =
            (random.choose(&[None, Some("web-1")]), random.choose(&[None, Some("u1"), Some("u2")]));
        all.push(Point { app, host, user, labels, ..Point::of(instant(random), "queue.depth", value) });
        all.push(Point { host, ..Point::of(instant(random), "room.celsius", -value) });
    }
    // Exactly satisfied, exactly tolerated, and just not.
    for (place, value) in [500.0, 500.25, 2_000.0, 2_000.25].into_iter().enumerate() {
        let at = at("2024-10-20T12:00:00Z") + place as i64;
        all.push(Point { app: Some("shop"), ..Point::of(at, "response_time", value) });
    }
}

/// Probes of an application: failures alone and in rows, maintenance, holes of hours; now and then of several
/// probers at one instant, who do not always agree.
fn probe(random: &mut Random, app: Option<&'static str>, apart: i64, all: &mut Vec<Point>) {
    let (from, count) = match app {
        Some("shop") => ("2024-03-30T15:00:00Z", 1_000),
        Some("blog") => ("2024-11-01T20:00:07Z", 1_100),
        Some("mall") | None => ("2024-11-01T20:00:07Z", 300),
        Some("slow") => ("2024-10-03T09:00:13Z", 400),
        Some(_) => (PULSE.0, 120),
    };
    let (mut down, mut maintained, mut hole) = (false, false, false);
    for number in 0..count {
        if app == Some("pulse") {
            down = (40..43).contains(&number) || number == 80;
        } else {
            down = if down { !random.once_in(3) } else { random.once_in(25) };
            maintained = if maintained { !random.once_in(6) } else { random.once_in(60) };
            // Not at the ends, where what is usual is seen.
            let inside = (20..count - 20).contains(&number);
            hole = inside && if hole { !random.once_in(12) } else { random.once_in(80) };
        }
        if hole {
            continue;
        }
        let at = at(from) + number * apart * SECOND;
        let mut add = |up: bool, maintained: bool| {
            let labels = if maintained { vec![("maintenance", "true")] } else { Vec::new() };
            all.push(Point { app, labels, ..Point::of(at, "uptime", f64::from(up)) });
        };
        add(!down, maintained);
        while app != Some("pulse") && random.once_in(6) {
            let disagrees = random.once_in(3);
            add(down == disagrees, if random.once_in(8) { !maintained } else { maintained });
        }
    }
}

/// What hosts say of themselves.
fn hosts(random: &mut Random, count: i64, all: &mut Vec<Point>) {
    for _ in 0..count {
        let host = random.choose(&[Some("web-1"), Some("web-2"), None]);
        let name = random.choose(&[
            "cpu.usage",
            "memory.usage",
            "network.in",
            "server.errors",
            "request.latency",
            "db.connections",
        ]);
        all.push(Point { host, ..Point::of(instant(random), name, random.below(400) as f64 / 4.0) });
    }
}
