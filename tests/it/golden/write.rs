//! Makes the golden stores: files of a data directory, and beside them the answers of the model.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use insights_engine::Engine;
use insights_engine::append::{Append, CatalogKind, CatalogPut, Idempotency, IdempotencyKey};
use insights_engine::catalog::erasure::EraseTarget;
use insights_engine::catalog::{RetentionDocument, StreamRetention};
use insights_engine::clock::ManualClock;
use insights_engine::compaction::Effort;
use insights_engine::id::{Stream, TenantId};
use insights_engine::schema::{Batch, BatchBuilder, ColumnType, Document, Schema};
use insights_engine::time::{DAY_US, TimestampUs};
use serde_json::{Map, Value, json};

use super::data::{self, NOW, Random, Record};
use super::model::{self, Fate, Hash};
use super::open;

/// A golden store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The process was killed: segments of level 0, and rows that are in the log alone.
    Killed,
    /// Days that are over, merged into dense segments with cells at all tiers; closed in order.
    Compacted,
    /// Rows expired and their cells stayed, a tenant and a user were erased.
    Forgotten,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Killed, Self::Compacted, Self::Forgotten];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Compacted => "compacted",
            Self::Forgotten => "forgotten",
        }
    }
}

/// A store that is being filled, and what was put into it.
pub(crate) struct Filling {
    pub(crate) engine: Arc<Engine>,
    clock: Arc<ManualClock>,
    random: Random,
    pub(crate) records: Vec<Record>,
    requests: Vec<Value>,
    /// What the names of its requests start with.
    named: &'static str,
    now: i64,
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

/// What catalog keys of a tenant start with: its number, which its record starts with, with the highest byte first.
pub(crate) fn tenant_prefix(engine: &Engine, name: &str) -> [u8; 4] {
    let record = engine.catalog_get(CatalogKind::Tenant, name.as_bytes()).unwrap();
    let mut number = *record.first_chunk::<4>().unwrap();
    number.reverse();
    number
}

/// One batch of rows of one tenant and stream.
fn batch(records: &[Record]) -> Batch {
    let first = &records[0];
    let mut rows = BatchBuilder::new(tenant(first.tenant), first.stream);
    for record in records {
        rows.i64(&insights_engine::schema::stream::TIME, record.at);
        for def in Schema::of(first.stream).columns {
            let Some(value) = record.fields.get(def.name) else { continue };
            match def.ty {
                ColumnType::Time => panic!("the store sets its own instants"),
                ColumnType::U64 => rows.u64(def, value.as_u64().unwrap()),
                ColumnType::F64 => rows.f64(def, value.as_f64().unwrap()),
                ColumnType::Str | ColumnType::Code(_) => rows.str(def, value.as_str()),
                ColumnType::Document => {
                    rows.bytes(def, Some(Document::encode(&model::document(value)).as_bytes()))
                }
            };
        }
        rows.finish_row();
    }
    rows.build()
}

pub(crate) fn idempotency(key: &str) -> Idempotency {
    let key = IdempotencyKey {
        tenant: "acme".to_owned(),
        principal: "key:1".to_owned(),
        route: "track".to_owned(),
        key: key.to_owned(),
    };
    Idempotency { key, body_hash: [5; 32], rejected: Vec::new() }
}

impl Filling {
    pub(crate) fn new(dir: &Path, seed: u64, now: i64) -> Self {
        let clock = ManualClock::new(TimestampUs(now));
        let engine = open(dir, &clock, 11);
        Self {
            engine,
            clock,
            random: Random(seed),
            records: Vec::new(),
            requests: Vec::new(),
            named: "request",
            now,
        }
    }

    /// Goes on with a store that is open.
    pub(crate) fn of(engine: Arc<Engine>, clock: Arc<ManualClock>, now: i64) -> Self {
        Self {
            engine,
            clock,
            random: Random(99),
            records: Vec::new(),
            requests: Vec::new(),
            named: "more",
            now,
        }
    }

    pub(crate) fn append(&self, append: Append) -> insights_engine::append::Appended {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.engine.submit(append, Box::new(move |result| drop(sender.send(result))));
        while self.engine.step_log().unwrap() {}
        receiver.recv().unwrap().unwrap()
    }

    /// Appends records in batches of a stream, each a second after the one before.
    pub(crate) fn fill(&mut self, mut records: Vec<Record>) {
        for stream in Stream::ALL {
            let (own, rest) = records.into_iter().partition(|record| record.stream == stream);
            records = rest;
            let mut own: Vec<Record> = own;
            for chunk in own.chunks_mut(200) {
                self.clock.advance(Duration::from_secs(1));
                self.now += 1_000_000;
                for record in chunk.iter_mut() {
                    let of = |r: &&Record| r.tenant == record.tenant && r.stream == stream;
                    let before = self.records.iter().filter(of).count() as u64;
                    record.seq = if stream == Stream::Metrics { 0 } else { before + 1 };
                    record.received = self.now;
                    self.records.push(record.clone());
                }
                let named = format!("{}-{}", self.named, self.requests.len());
                let setting = CatalogPut {
                    kind: CatalogKind::Setting,
                    key: named.clone().into_bytes(),
                    value: Some(b"on".to_vec()),
                };
                let appended = self.append(Append {
                    batches: vec![batch(chunk)],
                    puts: vec![setting],
                    idempotency: Some(idempotency(&named)),
                });
                assert!(!appended.replayed && appended.batches[0].duplicates.is_empty());
                let first = chunk.iter().map(|record| record.seq).min();
                self.requests.push(json!([named, first, chunk.len()]));
            }
        }
    }

    fn records_of(&mut self, name: &'static str, visits: u64) -> Vec<Record> {
        data::records(name, &mut self.random, visits)
    }

    fn advance(&mut self, hours: u64) {
        self.clock.advance(Duration::from_hours(hours));
        self.now += hours as i64 * DAY_US / 24;
    }

    /// The audit leaves of a tenant, under the keys that the catalog has now.
    fn leaves(&self, name: &str) -> Vec<Hash> {
        let prefix = tenant_prefix(&self.engine, name);
        let mut own: Vec<&Record> = self.records.iter().filter(|r| r.tenant == name).collect();
        own.retain(|record| record.stream == Stream::Audit);
        own.sort_by_key(|record| record.seq);
        own.into_iter()
            .map(|record| {
                let subject = record.text("user_id").unwrap_or_default().as_bytes();
                let key = [prefix.as_slice(), subject].concat();
                let value = self.engine.catalog_get(CatalogKind::SubjectKey, &key).unwrap();
                let (id, key) = value.split_first_chunk().unwrap();
                model::leaf(record, u64::from_le_bytes(*id), key)
            })
            .collect()
    }

    /// Of each tenant how many leaves its audit tree has, its root, and those of full blocks.
    fn trees(&self) -> Value {
        let mut names: Vec<&str> = self.records.iter().map(|record| record.tenant).collect();
        names.sort_unstable();
        names.dedup();
        let tree = |name: &str| {
            let leaves = self.leaves(name);
            let blocks: Vec<String> = leaves.chunks_exact(256).map(|b| model::hex(&model::root(b))).collect();
            json!({"leaves": leaves.len(), "root": model::hex(&model::root(&leaves)), "blocks": blocks})
        };
        names.iter().map(|name| ((*name).to_owned(), tree(name))).collect::<Map<_, _>>().into()
    }
}

/// Makes a store in an empty directory of its own and keeps a copy of its files, with the expected answers.
pub(crate) fn make(kind: Kind, target: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let mut filling = Filling::new(dir.path(), 1 + kind as u64, NOW);
    let expected = match kind {
        Kind::Killed => killed(&mut filling),
        Kind::Compacted => compacted(&mut filling),
        Kind::Forgotten => forgotten(&mut filling),
    };
    copy(dir.path(), &target.join("data"));
    fs::write(target.join("expected.json"), pretty(&expected)).unwrap();
}

fn expected(filling: &Filling, fate: &Fate, trees: &Value, erasures: &Value) -> Value {
    json!({
        "now": filling.now,
        "kept_day": fate.kept_day,
        "requests": filling.requests,
        "answers": model::answers(&filling.records, fate),
        "trees": trees,
        "erasures": erasures,
    })
}

fn killed(filling: &mut Filling) -> Value {
    let mut parts: Vec<Vec<Record>> = ["acme", "beta"].map(|name| filling.records_of(name, 32)).into();
    // One of them sends what happens when it happens.
    parts[1].sort_by_key(|record| record.at);
    for part in 0..4 {
        for records in &parts {
            let quarter = records.iter().skip(part).step_by(4).cloned().collect();
            filling.fill(quarter);
        }
        if part < 3 {
            assert!(filling.engine.step_flush().unwrap());
        }
    }
    let trees = filling.trees();
    expected(filling, &Fate::default(), &trees, &json!([]))
}

fn merged(filling: &mut Filling, names: &[&'static str], visits: u64) {
    for name in names {
        let records = filling.records_of(name, visits);
        let (late, early): (Vec<_>, Vec<_>) = records.into_iter().enumerate().partition(|(n, _)| n % 5 == 4);
        for part in [early, late] {
            filling.fill(part.into_iter().map(|(_, record)| record).collect());
            filling.engine.flush().unwrap();
        }
    }
    filling.advance(4);
    assert!(filling.engine.compact(Effort::Full).unwrap().jobs > 0);
}

fn compacted(filling: &mut Filling) -> Value {
    merged(filling, &["acme", "beta", "cato"], 45);
    let trees = filling.trees();
    let expected = expected(filling, &Fate::default(), &trees, &json!([]));
    filling.engine.close().unwrap();
    expected
}

fn forgotten(filling: &mut Filling) -> Value {
    merged(filling, &["acme", "beta", "cato"], 290);
    let mut trees = filling.trees();
    trees.as_object_mut().unwrap().remove("cato");
    let kept_day = filling.now.div_euclid(DAY_US) - 2;
    let limits = StreamRetention { raw_days: Some(2), ..StreamRetention::FOREVER };
    let document = RetentionDocument { events: limits, audit: limits, metrics: limits };
    for name in ["acme", "beta", "cato"] {
        filling.engine.set_retention(&tenant(name), Some(document)).unwrap();
    }
    assert!(!filling.engine.enforce_retention(false).unwrap().files.is_empty());
    let fate = Fate { kept_day: Some(kept_day), tenant: Some("cato"), user: Some(("acme", "ann")) };
    let user = EraseTarget::User {
        tenant: tenant("acme"),
        user: "ann".to_owned(),
        credential: "user:ann".to_owned(),
    };
    let ids = [EraseTarget::Tenant(tenant("cato")), user].map(|target| {
        let erase = filling.engine.erase(target, Append::default());
        while filling.engine.step_log().unwrap() {}
        erase.unwrap().0.to_string()
    });
    filling.engine.flush().unwrap();
    assert_eq!(filling.engine.run_erasures().unwrap().completed, 2);
    let receipt = |id: &str, of: &dyn Fn(&Record) -> bool| {
        let rows = |stream| {
            let rows = filling.records.iter().filter(|r| r.stream == stream && fate.has_row(r) && of(r));
            rows.count()
        };
        json!({"id": id, "events": rows(Stream::Events), "audit": rows(Stream::Audit), "metrics": rows(Stream::Metrics)})
    };
    let erasures = json!([
        receipt(&ids[0], &|record| record.tenant == "cato"),
        receipt(&ids[1], &|record| fate.is_of_user(record)),
    ]);
    expected(filling, &fate, &trees, &erasures)
}

/// One line for each of the values in the two outer levels of answers.
fn pretty(expected: &Value) -> String {
    fn put(value: &Value, depth: usize, out: &mut String) {
        match value {
            Value::Object(members) if depth < 3 && !members.is_empty() => {
                out.push('{');
                for (place, (key, value)) in members.iter().enumerate() {
                    out.push_str(if place == 0 { "\n" } else { ",\n" });
                    out.extend([&json!(key).to_string(), ": "]);
                    put(value, depth + 1, out);
                }
                out.push_str("\n}");
            }
            Value::Array(values) if !values.is_empty() && depth < 4 => {
                let lines: Vec<String> = values.iter().map(Value::to_string).collect();
                out.extend(["[\n", &lines.join(",\n"), "\n]"]);
            }
            other => out.push_str(&other.to_string()),
        }
    }
    let mut out = String::new();
    put(expected, 0, &mut out);
    out + "\n"
}

/// The files below a directory, by their paths relative to it.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    fn walk(root: &Path, dir: &Path, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, out);
            } else {
                out.push(path.strip_prefix(root).unwrap().to_owned());
            }
        }
    }
    let mut out = Vec::new();
    walk(dir, dir, &mut out);
    out.sort();
    out
}

/// Copies the files of a directory. Empty directories are left out, as a repository leaves them out, and so are
/// files that the log keeps to use again.
pub(crate) fn copy(from: &Path, to: &Path) {
    for file in files(from).into_iter().filter(|file| file.extension().is_none_or(|e| e != "spare")) {
        let target = to.join(&file);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, fs::read(from.join(&file)).unwrap()).unwrap();
    }
}
