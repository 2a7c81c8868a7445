//! What the golden stores hold, as plain records out of a seed.

use std::collections::BTreeMap;

use insights_engine::id::Stream;
use insights_engine::time::DAY_US;
use serde_json::{Value, json};

/// The first day of the stores, 2024-03-08.
pub(crate) const FIRST_DAY: i64 = 19_790;
/// Days with records.
pub(crate) const DAYS: i64 = 6;
/// When the first record is received: the midnight after the last day.
pub(crate) const NOW: i64 = (FIRST_DAY + DAYS) * DAY_US;
const MINUTE: i64 = 60_000_000;
/// Days with points of metrics, the last ones.
const POINT_DAYS: i64 = 3;

/// A small generator (`SplitMix64`), so that a seed is a store.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// A record as its client knows it, by the names of the columns; what is not there is absent.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) tenant: &'static str,
    pub(crate) stream: Stream,
    pub(crate) at: i64,
    pub(crate) fields: BTreeMap<&'static str, Value>,
    /// Its place in the tenant's stream; 0 for metrics.
    pub(crate) seq: u64,
    pub(crate) received: i64,
}

impl Record {
    fn new(tenant: &'static str, stream: Stream, at: i64, fields: &Value) -> Self {
        let mut named = BTreeMap::new();
        for def in insights_engine::schema::Schema::of(stream).columns {
            if let Some(value) = fields.get(def.name).filter(|value| !value.is_null()) {
                named.insert(def.name, value.clone());
            }
        }
        Self { tenant, stream, at, fields: named, seq: 0, received: 0 }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(Value::as_str)
    }

    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        self.fields.get(name).and_then(Value::as_f64)
    }

    pub(crate) fn day(&self) -> i64 {
        self.at.div_euclid(DAY_US)
    }
}

/// Records of a tenant: events and audit records each at an instant of its own, points of metrics at common ones.
pub(crate) fn records(tenant: &'static str, random: &mut Random, visits: u64) -> Vec<Record> {
    let mut all = events(tenant, random, visits);
    all.extend(audit(tenant, random, visits));
    for (place, record) in (0..).zip(&mut all) {
        record.at += place - record.at.rem_euclid(10_000);
    }
    all.extend(points(tenant, random));
    all
}

fn uuid(random: &mut Random) -> String {
    let mut part =
        |digits: u32| format!("{:0width$x}", random.below(16_u64.pow(digits)), width = digits as usize);
    format!("{}-{}-4{}-8{}-{}", part(8), part(4), part(3), part(3), part(12))
}

/// Visits of a few people, some across midnight.
fn events(tenant: &'static str, random: &mut Random, visits: u64) -> Vec<Record> {
    let mut all = Vec::new();
    for visit in 0..visits {
        let mut at = FIRST_DAY * DAY_US + random.below((DAYS * DAY_US) as u64) as i64;
        let person = random.below(9);
        let user = (person < 6).then(|| ["ann", "bob", "cid", "dee", "eve", "fay"][person as usize]);
        let named = random.below(2) == 0;
        let address = format!("10.1.{}.{}", random.below(4), random.below(250));
        for step in 0..=random.below(6) {
            let event_type = random.pick(&["page_view", "page_view", "click", "export"]);
            let id = (random.below(3) == 0).then(|| uuid(random));
            all.push(Record::new(
                tenant,
                Stream::Events,
                at,
                &json!({
                    "id": id,
                    "writing_key": "key-1",
                    "request_id": uuid(random),
                    "trace_id": format!("{:016x}{:016x}", random.below(u64::MAX), random.below(u64::MAX)),
                    "user_id": user,
                    "anonymous_id": user.is_none().then(|| format!("visitor-{person}")),
                    "session_id": named.then(|| format!("{}", 1_000 + visit)),
                    "app_id": random.pick(&["shop", "blog"]),
                    "ip_address": address,
                    "user_agent": format!("Mozilla/5.0 (X11; screen {})", person * 101),
                    "event_type": event_type,
                    "event_data": event_data(random, visit + step),
                }),
            ));
            at = (at + random.below(35 * MINUTE as u64) as i64).min(NOW - 20_000);
        }
    }
    all
}

/// A document: one path of every type, one path of conflicting types, a deep one, and one that is rare.
fn event_data(random: &mut Random, number: u64) -> Value {
    let mixed = [
        json!(random.below(9)),
        json!("wide"),
        json!(random.below(1 << 53) as f64 / 3e5),
        json!(true),
        Value::Null,
        json!([1, "two"]),
        json!({"deep": 1}),
    ];
    let mut data = json!({
        "page": random.pick(&["/", "/prices", "/help"]),
        "size": random.below(4_000),
        "ratio": random.below(400) as f64 / 4.0,
        "interactive": random.below(4) > 0,
        "mixed": mixed[random.below(7) as usize],
        "big": u64::MAX - random.below(5),
        "cart": {"items": [random.below(3)], "sum": -(random.below(90) as i64)},
    });
    if number % 97 == 5 {
        data["rare"] = json!(format!("only here {number}"));
    }
    if random.below(5) == 0 { Value::Null } else { data }
}

fn audit(tenant: &'static str, random: &mut Random, visits: u64) -> Vec<Record> {
    let record = |(number, random): (u64, &mut Random)| {
        let user = random.pick(&["ann", "bob", "cid"]);
        let at = FIRST_DAY * DAY_US + random.below((DAYS * DAY_US) as u64) as i64;
        Record::new(
            tenant,
            Stream::Audit,
            at,
            &json!({
                "id": (random.below(4) == 0).then(|| uuid(random)),
                "request_id": random.below(1 << 40).to_string(),
                "user_id": (random.below(8) > 0).then_some(user),
                "user_name": format!("{user} of {tenant}"),
                "ip_address": format!("10.2.{}.{}", random.below(250), random.below(250)),
                "app_id": "shop",
                "action_type": random.pick(&["project.created", "project.moved", "file.read"]),
                "description": format!("project #{number} moved to shelf {}", random.below(90)),
                "object_type": random.pick(&["project", "file"]),
                "object_id": format!("{}", 70_000 + random.below(40)),
                "object_repr": format!("Project {number}"),
                "object_url": format!("/projects/{number}/"),
                "severity": random.below(5),
                "outcome": random.below(2),
                "metadata": {"attempt": random.below(3), "from": random.pick(&["web", "api"])},
                "changes": {"name": [format!("before {number}"), format!("after {number}")]},
                "targets": (random.below(9) == 0).then(|| json!([{"type": "file", "id": number}])),
            }),
        )
    };
    (0..visits).map(|number| record((number, random))).collect()
}

/// Values are quarters, so that no sum depends on the order of its parts; `noise` has all bits.
fn points(tenant: &'static str, random: &mut Random) -> Vec<Record> {
    let mut all = Vec::new();
    let (from, end) = ((FIRST_DAY + DAYS - POINT_DAYS) * DAY_US, NOW);
    let mut at = from;
    while at < end {
        let up = random.below(12) > 0;
        let labels = (random.below(10) == 0).then(|| json!({"maintenance": "true"}));
        all.push(Record::new(tenant, Stream::Metrics, at, &json!({
            "name": "uptime", "app_id": "shop", "kind": 0, "value": f64::from(u8::from(up)), "labels": labels,
        })));
        all.push(Record::new(
            tenant,
            Stream::Metrics,
            at,
            &json!({
                "name": "cpu.usage", "host": "web-1", "kind": 0,
                "value": random.below(400) as f64 / 4.0,
            }),
        ));
        all.push(Record::new(
            tenant,
            Stream::Metrics,
            at,
            &json!({
                "name": "requests.count", "app_id": "shop", "kind": 1,
                "value": random.below(100) as f64, "user_id": "ann",
            }),
        ));
        all.push(Record::new(tenant, Stream::Metrics, at, &json!({
            "name": "disk.free", "host": "web-1", "kind": 0, "value": 4e11 + random.below(1 << 20) as f64 * 4096.0,
        })));
        if random.below(3) == 0 {
            all.push(Record::new(
                tenant,
                Stream::Metrics,
                at,
                &json!({
                    "name": "noise", "kind": 3, "host": random.pick(&["web-1", "web-2"]), "value": random.below(1 << 53) as f64 / 7e9,
                    "labels": {"zone": random.pick(&["a", "b"])},
                }),
            ));
        }
        at += 15 * MINUTE;
    }
    all
}
