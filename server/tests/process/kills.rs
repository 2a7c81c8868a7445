//! `kill -9` at any moment: what was acknowledged is there once, and nothing else is.

use std::collections::{BTreeMap, HashSet};
use std::iter;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use serde_json::{Value, json};

use crate::http::Request;
use crate::program::{Program, Running};

/// Rounds of writing and killing.
const ROUNDS: usize = 5;
/// Records of one batch.
const BATCH: usize = 20;
/// Batches that are acknowledged in a round before the kill.
const ACKNOWLEDGED_BEFORE_KILL: usize = 30;

/// Where the stories write.
const ROUTES: [(&str, u16); 3] = [("track", 202), ("audit", 201), ("metrics", 202)];

/// One batch: all that is needed to send it again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Batch {
    route: usize,
    name: String,
}

impl Batch {
    /// Its records; each has an id, and the batch's name where it can be asked for.
    fn body(&self) -> Value {
        let record = |index: usize| {
            let id = format!("{}-{index}", self.name);
            match self.route {
                0 => {
                    json!({"id": id, "event_type": "step", "user_id": format!("u{}", index % 7), "session_id": self.name})
                }
                1 => {
                    json!({"id": id, "action_type": "step.taken", "user_id": format!("u{}", index % 7), "content_object": {"type": "batch", "id": self.name}})
                }
                _ => json!({"id": id, "name": "steps.value", "value": index, "labels": {"batch": self.name}}),
            }
        };
        (0..BATCH).map(record).collect()
    }

    fn request(&self, key: &str, idempotent: bool) -> Request {
        let request =
            Request::new("POST", format!("/api/insights/{}/", ROUTES[self.route].0), key).json(&self.body());
        if idempotent { request.header("idempotency-key", &self.name) } else { request }
    }
}

/// A batch that was sent, and its answer when there was one.
type Sent = (Batch, Option<Value>);

/// Sends batch after batch of one route until the server is gone.
fn write_until_killed(address: &str, key: &str, route: usize, round: usize, told: &Sender<Sent>) {
    for number in 0.. {
        let batch = Batch { route, name: format!("r{round}-{route}-{number}") };
        let request = batch.request(key, true);
        // With so little memory a flush may be waited for; a client sends again, as it is told to.
        let answer = iter::repeat_with(|| request.send(address).ok())
            .find(|answer| answer.as_ref().is_none_or(|answer| answer.status != 503))
            .flatten();
        let gone = answer.is_none();
        let answer = answer.map(|answer| answer.expect(ROUTES[route].1));
        if told.send((batch, answer)).is_err() || gone {
            break;
        }
    }
}

/// Writes to all streams at once and kills the server in the middle of it.
fn round(server: Running, key: &str, number: usize) -> Vec<Sent> {
    let (told, hears) = channel();
    let writers: Vec<_> = (0..ROUTES.len())
        .map(|route| {
            let (address, key, told) = (server.address().to_owned(), key.to_owned(), told.clone());
            thread::spawn(move || write_until_killed(&address, &key, route, number, &told))
        })
        .collect();
    drop(told);
    let mut sent: Vec<Sent> = hears.iter().take(ACKNOWLEDGED_BEFORE_KILL).collect();
    server.kill();
    for writer in writers {
        writer.join().expect("a writer ends");
    }
    sent.extend(hears.iter());
    sent
}

/// How often each batch is found, by route.
fn found(server: &Running, key: &str) -> BTreeMap<Batch, usize> {
    let mut found = BTreeMap::new();
    for (route, list) in [(0, "events"), (1, "audit")] {
        let path = format!("/api/insights/{list}/?limit=all&format=ndjson&order=asc&fields=id");
        let answer = server.send(&Request::new("GET", path, key));
        let mut seen = HashSet::new();
        for line in answer.text().lines() {
            let record: Value = serde_json::from_str(line).expect("a record");
            let id = record["id"].as_str().expect("an id").to_owned();
            let (name, _) = id.rsplit_once('-').expect("an id of ours");
            *found.entry(Batch { route, name: name.to_owned() }).or_default() += 1;
            assert!(seen.insert(id.clone()), "{id} is there twice");
        }
    }
    let question = json!({"name": "steps.value", "start": "2025-01-01", "end": "2034-12-31", "group_by": "month", "aggregates": ["count", "sum"], "by": ["batch"]});
    let answer = server.post("/api/insights/metrics/query/", key, &question, 200);
    for series in answer["series"].as_array().expect("series") {
        let Some(name) = series["labels"]["batch"].as_str() else { continue };
        let points = series["points"].as_array().expect("points");
        let total = |number: &str| points.iter().filter_map(|point| point[number].as_u64()).sum::<u64>();
        let count = usize::try_from(total("count")).expect("few");
        // 0 + 1 + ... of a whole batch: each point of it once.
        let sum = (count / BATCH * (BATCH * (BATCH - 1) / 2)) as u64;
        assert_eq!(total("sum"), sum, "{name}");
        found.insert(Batch { route: 2, name: name.to_owned() }, count);
    }
    found
}

/// Every number of both reports.
fn reports(server: &Running, key: &str) -> Value {
    let window = json!({"start_date": "2020-01-01T00:00:00Z", "end_date": "2099-12-31T00:00:00Z", "group_by": "month", "app_id": "none"});
    let mut all = window.clone();
    all.as_object_mut().expect("an object").remove("app_id");
    let analytics = server.post("/api/insights/analytics/", key, &all, 200);
    let performance = server.post("/api/insights/performance/", key, &window, 200);
    json!([analytics["metrics"], performance["metrics"]])
}

/// The seqs of the audit log, the server's own records included, have no holes.
fn check_seqs(server: &Running, key: &str) {
    let path = "/api/insights/audit/?limit=all&format=ndjson&order=asc&fields=seq&include=insights";
    let text = server.send(&Request::new("GET", path, key)).text();
    let mut seqs: Vec<u64> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a record")["seq"].as_u64().expect("a seq"))
        .collect();
    seqs.sort_unstable();
    assert!(seqs.iter().copied().eq(1..=seqs.len() as u64), "{seqs:?}");
}

#[test]
fn what_was_acknowledged_survives_every_kill_once_and_retries_change_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    // Small enough for flushes in the middle of writing.
    let program =
        Program::serve(dir.path()).set("INSIGHTS_MEMTABLE_BYTES", "128KiB").set("INSIGHTS_LOG", "warn");
    let mut server = program.start();
    let key = server.key("acme");
    let mut whole: BTreeMap<Batch, usize> = BTreeMap::new();
    for number in 0..ROUNDS {
        let sent = round(server, &key, number);
        server = program.start();
        let there = found(&server, &key);
        for (batch, answer) in &sent {
            let count = there.get(batch).copied().unwrap_or(0);
            // What was not acknowledged may be there, but never a part of it.
            let fine = if answer.is_some() { count == BATCH } else { count == 0 || count == BATCH };
            assert!(fine, "{batch:?}: {count}, {answer:?}");
            whole.insert(batch.clone(), BATCH);
        }
        assert!(there.keys().all(|batch| whole.contains_key(batch)), "{there:?}");
        for (batch, answer) in &sent {
            let again = server.send(&batch.request(&key, true)).expect(ROUTES[batch.route].1);
            match answer {
                Some(answer) => assert_eq!(again, *answer, "{batch:?}"),
                None => assert_eq!(again["accepted"], BATCH, "{batch:?}"),
            }
            let again = server.send(&batch.request(&key, false)).expect(ROUTES[batch.route].1);
            assert_eq!((&again["accepted"], &again["duplicates"]), (&json!(0), &json!(BATCH)), "{batch:?}");
        }
        assert_eq!(found(&server, &key), whole);
    }
    let before = reports(&server, &key);
    server.kill();
    let server = program.start();
    assert_eq!(reports(&server, &key), before);
    assert_eq!(found(&server, &key), whole);
    check_seqs(&server, &key);
    // From segments alone, too.
    server.stop();
    let server = program.start();
    assert_eq!(reports(&server, &key), before);
    assert_eq!(found(&server, &key), whole);
    check_seqs(&server, &key);
    server.stop();
}
