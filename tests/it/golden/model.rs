//! The answers of a golden store, by plain loops over its records; nothing here asks the engine.

use std::collections::{BTreeMap, BTreeSet};

use hmac::{Hmac, KeyInit, Mac};
use insights_engine::id::Stream;
use insights_engine::schema::{Document, Schema, Value as DocumentValue};
use insights_engine::time::DAY_US;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::data::{DAYS, FIRST_DAY, Record};

const HOUR: i64 = DAY_US / 24;
const GAP: i64 = DAY_US / 48;

/// What became of the records: how long rows are kept, and who was erased.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fate {
    /// Rows of earlier days are gone; their cells are there.
    pub(crate) kept_day: Option<i64>,
    /// This tenant is gone.
    pub(crate) tenant: Option<&'static str>,
    /// This user of this tenant is forgotten.
    pub(crate) user: Option<(&'static str, &'static str)>,
}

impl Fate {
    pub(crate) fn has_row(&self, record: &Record) -> bool {
        self.kept_day.is_none_or(|day| record.day() >= day)
    }

    pub(crate) fn is_of_user(&self, record: &Record) -> bool {
        self.user
            .is_some_and(|(tenant, user)| record.tenant == tenant && record.text("user_id") == Some(user))
    }

    /// Whether it is among the numbers: a sum that outlived its rows keeps everybody.
    fn counts(&self, record: &Record) -> bool {
        !self.is_of_user(record) || !self.has_row(record)
    }
}

/// A document of the engine from JSON.
pub(crate) fn document(value: &Value) -> DocumentValue {
    match value {
        Value::Null => DocumentValue::Null,
        Value::Bool(bit) => DocumentValue::Bool(*bit),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => DocumentValue::I64(number),
            (None, Some(number)) => DocumentValue::U64(number),
            (None, None) => DocumentValue::F64(number.as_f64().unwrap()),
        },
        Value::String(text) => DocumentValue::Str(text.clone()),
        Value::Array(values) => DocumentValue::Array(values.iter().map(document).collect()),
        Value::Object(members) => {
            DocumentValue::Object(members.iter().map(|(key, value)| (key.clone(), document(value))).collect())
        }
    }
}

fn of<'r>(records: &'r [Record], tenant: &str, stream: Stream) -> impl Iterator<Item = &'r Record> {
    let tenant = tenant.to_owned();
    records.iter().filter(move |record| record.tenant == tenant && record.stream == stream)
}

/// Everything that is asked of a store, by tenant.
pub(crate) fn answers(records: &[Record], fate: &Fate) -> Value {
    let tenants: BTreeSet<&str> = records.iter().map(|record| record.tenant).collect();
    let left = tenants.into_iter().filter(|tenant| fate.tenant != Some(*tenant));
    let mut all = Map::new();
    for tenant in left {
        let answers = json!({
            "events": rows(records, fate, tenant, Stream::Events),
            "audit": rows(records, fate, tenant, Stream::Audit),
            "series": series(records, fate, tenant),
            "events_by_day": events_by_day(records, fate, tenant),
            "events_by_hour": events_by_hour(records, fate, tenant),
            "points_by_day": points_by_day(records, fate, tenant),
            "documents": documents(records, fate, tenant),
            "sessions": sessions(records, fate, tenant),
            "probes": probes(records, fate, tenant),
        });
        all.insert(tenant.to_owned(), answers);
    }
    Value::Object(all)
}

/// Columns of an audit record that an erasure leaves.
const ENVELOPE: [&str; 4] = ["action_type", "object_type", "severity", "outcome"];

/// The rows of a stream that are there, oldest first.
fn rows(records: &[Record], fate: &Fate, tenant: &str, stream: Stream) -> Vec<Value> {
    let mut rows: Vec<(i64, u64, Value)> = Vec::new();
    for record in of(records, tenant, stream).filter(|record| fate.has_row(record)) {
        let erased = fate.is_of_user(record);
        if erased && stream != Stream::Audit {
            continue;
        }
        let mut row = Map::new();
        for (name, value) in &record.fields {
            if !erased || ENVELOPE.contains(name) {
                row.insert((*name).to_owned(), value.clone());
            }
        }
        if stream == Stream::Audit {
            row.insert("erased".to_owned(), json!(erased));
        }
        row.insert("timestamp".to_owned(), json!(record.at));
        row.insert("received_at".to_owned(), json!(record.received));
        row.insert("seq".to_owned(), json!(record.seq));
        rows.push((record.at, record.seq, Value::Object(row)));
    }
    rows.sort_by_key(|(at, seq, _)| (*at, *seq));
    rows.into_iter().map(|(_, _, row)| row).collect()
}

/// Points of metrics that are there, by series: name, app, host, labels, kind, then (time, value).
fn series(records: &[Record], fate: &Fate, tenant: &str) -> Vec<Value> {
    let mut all: BTreeMap<String, (Value, Vec<(i64, f64)>)> = BTreeMap::new();
    for point in of(records, tenant, Stream::Metrics).filter(|p| fate.has_row(p) && !fate.is_of_user(p)) {
        let get = |name| point.fields.get(name).cloned().unwrap_or_default();
        let name = json!([get("name"), get("app_id"), get("host"), get("labels"), get("kind")]);
        let samples = &mut all.entry(name.to_string()).or_insert_with(|| (name, Vec::new())).1;
        samples.push((point.at, point.number("value").unwrap()));
    }
    all.into_values()
        .map(|(name, mut samples)| {
            samples.sort_by_key(|(at, _)| *at);
            json!({"series": name, "samples": samples})
        })
        .collect()
}

fn add_users<'r>(users: &mut BTreeSet<&'r str>, record: &'r Record, fate: &Fate) {
    if !fate.is_of_user(record) {
        users.extend(record.text("user_id"));
    }
}

/// [day, type, events, users].
fn events_by_day(records: &[Record], fate: &Fate, tenant: &str) -> Vec<Value> {
    let mut groups: BTreeMap<(i64, &str), (u64, BTreeSet<&str>)> = BTreeMap::new();
    for event in of(records, tenant, Stream::Events).filter(|event| fate.counts(event)) {
        let group = groups.entry((event.day() - FIRST_DAY, event.text("event_type").unwrap())).or_default();
        group.0 += 1;
        add_users(&mut group.1, event, fate);
    }
    let row = |((day, name), (count, users)): ((i64, &str), (u64, BTreeSet<&str>))| {
        json!([day, name, count, users.len()])
    };
    groups.into_iter().map(row).collect()
}

/// [hour, events, page views].
fn events_by_hour(records: &[Record], fate: &Fate, tenant: &str) -> Vec<Value> {
    let mut groups: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
    for event in of(records, tenant, Stream::Events).filter(|event| fate.counts(event)) {
        let group = groups.entry((event.at - FIRST_DAY * DAY_US) / HOUR).or_default();
        group.0 += 1;
        group.1 += u64::from(event.text("event_type") == Some("page_view"));
    }
    groups.into_iter().map(|(hour, (count, views))| json!([hour, count, views])).collect()
}

/// [day, name, points, sum, least, greatest, last, median].
fn points_by_day(records: &[Record], fate: &Fate, tenant: &str) -> Vec<Value> {
    let mut groups: BTreeMap<(i64, &str), Vec<(i64, f64)>> = BTreeMap::new();
    for point in of(records, tenant, Stream::Metrics).filter(|point| fate.counts(point)) {
        let group = groups.entry((point.day() - FIRST_DAY, point.text("name").unwrap())).or_default();
        group.push((point.at, point.number("value").unwrap()));
    }
    let row = |((day, name), mut points): ((i64, &str), Vec<(i64, f64)>)| {
        points.sort_by_key(|(at, _)| *at);
        let last = points.last().map(|(_, value)| *value);
        let mut values: Vec<f64> = points.into_iter().map(|(_, value)| value).collect();
        let sum: f64 = values.iter().sum();
        values.sort_by(f64::total_cmp);
        let place = (values.len() - 1) as f64 / 2.0;
        let median = f64::midpoint(values[place.floor() as usize], values[place.ceil() as usize]);
        json!([day, name, values.len(), sum, values[0], values[values.len() - 1], last, median])
    };
    groups.into_iter().map(row).collect()
}

/// Of the events that are there: how many have a size above 2,000, text in `mixed`, and the rare path.
fn documents(records: &[Record], fate: &Fate, tenant: &str) -> Value {
    let has = |pick: &dyn Fn(&Value) -> bool| {
        let rows = of(records, tenant, Stream::Events).filter(|e| fate.has_row(e) && !fate.is_of_user(e));
        rows.filter(|event| event.fields.get("event_data").is_some_and(pick)).count()
    };
    json!([
        has(&|data| data["size"].as_u64().is_some_and(|size| size > 2_000)),
        has(&|data| data["mixed"].is_string()),
        has(&|data| !data["rare"].is_null()),
    ])
}

/// Days whose sessions are asked for: a day behind the first one with rows.
fn first_whole_day(fate: &Fate) -> i64 {
    fate.kept_day.map_or(0, |day| day - FIRST_DAY + 1)
}

/// By day: [day, started, bounces, duration, events, pages, actions].
fn sessions(records: &[Record], fate: &Fate, tenant: &str) -> Vec<Value> {
    let mut keys: BTreeMap<(u8, &str), Vec<&Record>> = BTreeMap::new();
    for event in of(records, tenant, Stream::Events).filter(|e| fate.has_row(e) && !fate.is_of_user(e)) {
        let mut keyed = ["session_id", "user_id", "anonymous_id"].iter().zip(0..);
        if let Some(key) = keyed.find_map(|(name, place)| Some((place, event.text(name)?))) {
            keys.entry(key).or_default().push(event);
        }
    }
    let mut days = vec![[0_i64; 6]; DAYS as usize];
    for mut events in keys.into_values() {
        events.sort_by_key(|event| event.at);
        for session in events.chunk_by(|a, b| b.at - a.at < GAP) {
            let is_view = |event: &&&Record| event.text("event_type") == Some("page_view");
            let is_passive = |event: &&&Record| {
                event.fields.get("event_data").is_some_and(|data| data["interactive"] == json!(false))
            };
            let pages = session.iter().filter(is_view).count() as i64;
            let actions = session.iter().filter(|e| !is_view(e) && !is_passive(e)).count() as i64;
            let duration = (session[session.len() - 1].at - session[0].at).min(DAY_US);
            let day = &mut days[(session[0].day() - FIRST_DAY) as usize];
            let own = [1, i64::from(pages + actions == 1), duration, session.len() as i64, pages, actions];
            day.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
        }
    }
    let first = first_whole_day(fate);
    let row = |(day, [started, bounces, duration, events, pages, actions]): (i64, [i64; 6])| {
        json!([day, started, bounces, duration, events, pages, actions])
    };
    (0..).zip(days).filter(|(day, _)| *day >= first).map(row).collect()
}

/// Of the shop, on the days with rows: [time, up, in maintenance].
fn probes(records: &[Record], fate: &Fate, tenant: &str) -> Vec<Value> {
    let mut all: Vec<(i64, bool, bool)> = of(records, tenant, Stream::Metrics)
        .filter(|point| point.text("name") == Some("uptime") && fate.has_row(point))
        .map(|point| {
            let maintenance = point.fields.get("labels").is_some_and(|l| l["maintenance"] == json!("true"));
            (point.at, point.number("value").unwrap() >= 0.5, maintenance)
        })
        .collect();
    all.sort_unstable();
    all.into_iter().map(|(at, up, maintenance)| json!([at, up, maintenance])).collect()
}

/// A hash of an audit tree.
pub(crate) type Hash = [u8; 32];

fn mac(key: &[u8], parts: &[&[u8]]) -> Hash {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn put_text(value: Option<&[u8]>, out: &mut Vec<u8>) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
        out.extend_from_slice(value);
    }
}

/// The leaf of an audit record, as `docs/format/identifiers.md` has it.
pub(crate) fn leaf(record: &Record, key_id: u64, key: &[u8]) -> Hash {
    let of = |name: &str| {
        record.fields.get(name).map(|value| match value {
            Value::String(text) => text.clone().into_bytes(),
            other => Document::encode(&document(other)).as_bytes().to_vec(),
        })
    };
    let envelope = ["timestamp", "received_at", "lsn", "seq", "key_id", "severity", "outcome", "commitment"];
    let mut fields = Vec::new();
    let mut columns: Vec<_> = Schema::of(Stream::Audit).columns.iter().collect();
    columns.sort_by_key(|def| def.id);
    for def in columns {
        if !envelope.contains(&def.name) && !ENVELOPE.contains(&def.name) {
            fields.extend_from_slice(&def.id.0.to_le_bytes());
            put_text(of(def.name).as_deref(), &mut fields);
        }
    }
    let record_key = mac(key, &[b"insights audit commitment", &record.seq.to_le_bytes()]);
    let commitment = mac(&record_key, &[&fields]);
    let number = |name: &str| record.fields.get(name).and_then(Value::as_u64).unwrap_or(0);
    let mut bytes = vec![0, 1];
    let times = [record.at.cast_unsigned(), record.received.cast_unsigned()];
    for number in [record.seq, times[0], times[1], number("severity"), number("outcome"), key_id] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for name in ["action_type", "object_type"] {
        put_text(of(name).as_deref(), &mut bytes);
    }
    bytes.extend_from_slice(&commitment);
    Sha256::digest(&bytes).into()
}

/// The root over leaves (RFC 6962, section 2.1).
pub(crate) fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest([]).into(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            let (left, right) = (root(left), root(right));
            Sha256::digest([&[1], &left[..], &right[..]].concat()).into()
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
