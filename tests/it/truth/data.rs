//! A seeded platform: events, measurements and probes of two organizations.

use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const DAY: i64 = 24 * 60 * MINUTE;

/// The first instant of the data: 2024-01-01T00:00:00Z.
pub(crate) const FROM: i64 = 1_704_067_200 * SECOND;

/// Days of data; the clock of the tests shows the instant after them.
pub(crate) const DAYS: i64 = 40;

/// Small steps of a 64-bit generator (Steele et al., `SplitMix64`), so that a seed is a platform.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as i64
    }

    fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as i64) as usize]
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as i64 + 1) as usize);
        }
    }
}

/// An event as its client knows it.
#[expect(clippy::struct_field_names, reason = "the field's name on the wire")]
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) at: i64,
    pub(crate) event_type: &'static str,
    pub(crate) user: Option<String>,
    pub(crate) visitor: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) app: Option<&'static str>,
    pub(crate) page: Option<&'static str>,
    pub(crate) feature: Option<&'static str>,
    pub(crate) interactive: Option<bool>,
}

impl Event {
    pub(crate) fn json(&self) -> Value {
        let mut data = json!({});
        if let Some(page) = self.page {
            data["page"] = json!(page);
        }
        if let Some(feature) = self.feature {
            data["feature"] = json!(feature);
        }
        if let Some(interactive) = self.interactive {
            data["interactive"] = json!(interactive);
        }
        json!({"event_type": self.event_type, "user_id": self.user, "anonymous_id": self.visitor, "session_id": self.session,
            "app_id": self.app, "timestamp": text(self.at), "event_data": data})
    }
}

/// A metric point as its client knows it.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) at: i64,
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    pub(crate) app: Option<&'static str>,
    pub(crate) host: Option<&'static str>,
}

impl Point {
    pub(crate) fn json(&self) -> Value {
        json!({"name": self.name, "value": self.value, "app_id": self.app, "host": self.host, "timestamp": text(self.at)})
    }
}

/// RFC 3339 of an instant.
pub(crate) fn text(at: i64) -> String {
    Timestamp::from_microsecond(at).unwrap().to_string()
}

/// Everything of one organization, in the order in which it is sent.
#[derive(Debug)]
pub(crate) struct Organization {
    pub(crate) events: Vec<Event>,
    pub(crate) points: Vec<Point>,
}

impl Organization {
    /// The organization of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let (mut events, mut points) = (events(&mut random), points(&mut random));
        // What arrives late, or before what it follows, counts all the same.
        random.shuffle(&mut events);
        random.shuffle(&mut points);
        Self { events, points }
    }
}

/// Bursts of a person's events, with gaps on both sides of half an hour.
fn events(random: &mut Random) -> Vec<Event> {
    let mut all = Vec::new();
    for _ in 0..260 {
        let who = random.below(12);
        let session = (random.below(3) == 0).then(|| format!("s{}", random.below(40)));
        let app = random.choose(&[None, Some("shop"), Some("blog")]);
        let mut at = FROM + random.below(DAYS * 24 * 60 - 600) * MINUTE;
        for _ in 0..=random.below(6) {
            at += random.choose(&[
                1,
                20 * SECOND,
                5 * MINUTE,
                29 * MINUTE,
                30 * MINUTE - 1,
                30 * MINUTE,
                45 * MINUTE,
            ]) + random.below(SECOND);
            let event_type = random.choose(&["page_view", "$pageview", "click", "login", "save"]);
            let is_view = event_type.contains("page");
            all.push(Event {
                at,
                event_type,
                user: (who < 7).then(|| format!("u{who}")),
                visitor: (5..11).contains(&who).then(|| format!("v{who}")),
                session: session.clone(),
                app,
                page: (is_view && random.below(5) > 0).then(|| random.choose(&["/", "/prices", "/help"])),
                feature: if random.below(4) == 0 { Some(random.choose(&["export", "share"])) } else { None },
                interactive: if !is_view && random.below(4) == 0 { Some(random.below(2) == 0) } else { None },
            });
        }
    }
    all
}

/// Values are quarters, so that no sum depends on the order of its parts.
fn points(random: &mut Random) -> Vec<Point> {
    let mut all = Vec::new();
    for app in ["shop", "blog"] {
        for _ in 0..400 {
            let at = FROM + random.below(DAYS * DAY);
            let mut add = |name, value| all.push(Point { at, name, value, app: Some(app), host: None });
            add("response_time", (random.below(8_000) + 1) as f64 / 4.0);
            let requests = random.below(100);
            add("requests.count", requests as f64);
            add("errors.count", random.below(requests / 10 + 1) as f64);
        }
        // Probes every five minutes of five days, with a hole of hours in the middle.
        let mut down = false;
        for probe in 0..5 * 24 * 12 {
            down = if down { random.below(3) > 0 } else { random.below(40) == 0 };
            if !(700..740).contains(&probe) {
                let (at, value) = (FROM + 33 * DAY + probe * 5 * MINUTE, f64::from(!down));
                all.push(Point { at, name: "uptime", value, app: Some(app), host: None });
            }
        }
    }
    for _ in 0..500 {
        let (at, host) = (FROM + random.below(DAYS * DAY), random.choose(&["web-1", "web-2"]));
        let value = random.below(400) as f64 / 4.0;
        all.push(Point {
            at,
            name: random.choose(&["cpu.usage", "network.in"]),
            value,
            app: None,
            host: Some(host),
        });
    }
    all
}
