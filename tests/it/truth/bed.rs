//! A server with the golden data in it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use insights_server::Config;
use insights_tests::{Call, ROOT, World};
use serde_json::{Value, json};

use super::data::{DAY, Event, MINUTE, NOW, Single, at};
use super::platform::Organization;

pub(crate) const ANALYTICS: &str = "/api/insights/analytics/";
pub(crate) const PERFORMANCE: &str = "/api/insights/performance/";
pub(crate) const QUERY: &str = "/api/insights/metrics/query/";

/// A server, and a key for each organization.
#[derive(Debug)]
pub(crate) struct Bed {
    pub(crate) world: World,
    keys: Vec<(&'static str, String)>,
    /// What the server called the session of a visit, by organization and visit.
    names: Mutex<BTreeMap<(&'static str, i64), String>>,
}

impl Bed {
    /// A server with these settings, at the moment of the questions, that has nothing.
    pub(crate) fn new(config: Config, organizations: &[Organization]) -> Self {
        let world = World::with(config);
        let ahead = at(NOW) - insights_tests::NOW.0;
        world.clock().advance(Duration::from_micros(u64::try_from(ahead).unwrap()));
        let key = |one: &Organization| {
            let key = if one.name == "_platform" { ROOT.to_owned() } else { world.key(one.name, &["admin"]) };
            (one.name, key)
        };
        let keys = organizations.iter().map(key).collect();
        Self { world, keys, names: Mutex::default() }
    }

    /// A server with these settings that has everything, in memory or wherever it went.
    pub(crate) fn full(config: Config, organizations: &[Organization]) -> Self {
        let bed = Self::new(config, organizations);
        for organization in organizations {
            bed.send(organization);
        }
        bed
    }

    /// The key of an organization.
    pub(crate) fn key(&self, organization: &str) -> &str {
        &self.keys.iter().find(|(name, _)| *name == organization).unwrap().1
    }

    /// Sends everything: what is younger than the late window the usual way, the rest as history.
    pub(crate) fn send(&self, organization: &Organization) {
        let late = at(NOW) - 29 * DAY;
        let name = organization.name;
        let (single, events): (Vec<_>, Vec<_>) =
            organization.events.iter().partition(|event| event.single.is_some());
        let (recent, old): (Vec<_>, Vec<_>) = events.into_iter().partition(|event| event.at > late);
        let json = |all: Vec<&super::data::Event>| all.into_iter().map(super::data::Event::json).collect();
        self.post_all(name, "/api/insights/track/", json(recent));
        self.post_all(name, "/api/insights/import/?stream=events", json(old));
        for first in [true, false] {
            let of = |event: &&&Event| event.single.is_some_and(|single| single.first == first);
            for event in single.iter().filter(of) {
                self.send_single(name, event);
            }
        }
        let (recent, old): (Vec<_>, Vec<_>) = organization.points.iter().partition(|point| point.at > late);
        let json = |all: Vec<&super::data::Point>| all.into_iter().map(super::data::Point::json).collect();
        self.post_all(name, "/api/insights/metrics/", json(recent));
        self.post_all(name, "/api/insights/import/?stream=metrics", json(old));
    }

    /// Whether the server has named the session of the visit that an event is of.
    pub(crate) fn knows(&self, event: &Event) -> bool {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.keys().any(|(_, visit)| event.single.is_some_and(|single| single.visit == *visit))
    }

    /// Sends an event alone, and gives what the server calls its session.
    pub(crate) fn send_single(&self, organization: &'static str, event: &Event) -> String {
        let Some(Single { visit, first }) = event.single else { panic!("{event:?} is none of a visit") };
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = event.json();
        record["organization_id"] = json!(organization);
        if !first {
            record["session_id"] = json!(names.get(&(organization, visit)));
        }
        let path = if event.at > at(NOW) - 29 * DAY {
            "/api/insights/track/"
        } else {
            "/api/insights/import/?stream=events"
        };
        let answer = self.post_again(organization, path, &record);
        let name = answer["session_id"].as_str().unwrap().to_owned();
        names.insert((organization, visit), name.clone());
        name
    }

    /// Sends until it is taken: so little memory is full now and then; a client comes back.
    fn post_again(&self, organization: &str, path: &str, body: &Value) -> Value {
        let call = || Call::new("POST", path).key(self.key(organization)).json(body);
        let mut answers = std::iter::repeat_with(|| self.world.send(call()));
        answers.find(|answer| answer.status != 503).unwrap().expect(202)
    }

    /// Sends records in batches.
    fn post_all(&self, organization: &str, path: &str, mut records: Vec<Value>) {
        for record in &mut records {
            record["organization_id"] = json!(organization);
        }
        for batch in records.chunks(557) {
            let answer = self.post_again(organization, path, &json!(batch));
            assert_eq!(answer["accepted"], batch.len());
        }
    }

    /// Sends this many audit records.
    pub(crate) fn audit(&self, organization: &str, count: usize) {
        let records = audit_records(organization, count);
        self.world.post("/api/insights/audit/", self.key(organization), &json!(records)).expect(201);
    }
    /// Asks for an organization's report, or for that of everybody.
    #[track_caller]
    pub(crate) fn ask(&self, organization: Option<&str>, path: &str, body: &Value) -> Value {
        let mut body = body.clone();
        if let Some(name) = organization {
            body["organization_id"] = json!(name);
        }
        let answer = self.world.post(path, organization.map_or(ROOT, |name| self.key(name)), &body);
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text());
        answer.json()
    }

    /// Moves the clock past the hours in which days that are over wait for more, and merges all days.
    pub(crate) fn merge(&self) {
        self.world.flush();
        self.world.compact();
    }
}

/// Audit records of an organization.
pub(crate) fn audit_records(organization: &str, count: usize) -> Vec<Value> {
    let record = |n: usize| {
        let object = json!({"type": "project", "id": format!("p{}", n % 7), "repr": "=a, \"project\""});
        let (action, severity) =
            (["project.created", "project.deleted", "user.login"][n % 3], ["info", "warning"][n % 2]);
        let outcome = if n % 3 == 1 { "failure" } else { "success" };
        let description = if n.is_multiple_of(4) { "-1,2\n3" } else { "made" };
        let timestamp = super::data::text(at(NOW) - (n as i64 * 7_919 % 1_000) * MINUTE);
        json!({"organization_id": organization, "action_type": action, "user_id": format!("u{}", n % 5),
            "severity": severity, "outcome": outcome, "content_object": object, "metadata": {"n": n},
            "description": description, "timestamp": timestamp})
    };
    (0..count).map(record).collect()
}

/// Settings under which memory is full after a few batches.
pub(crate) fn small_memory() -> Config {
    let mut config = Config::default();
    config.engine.memtable_bytes_max = 512 << 10;
    config.engine.memtable_flush_bytes = 256 << 10;
    config
}
