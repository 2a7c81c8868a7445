//! Relations between answers that hold whatever the data: a table of them, each over random questions.
//!
//! `INSIGHTS_TEST_SEED` is another platform and other questions, `INSIGHTS_TEST_QUESTIONS` is how many of them.

mod life;
mod listed;
mod numbers;
mod parts;
mod shapes;
mod ways;

use std::sync::atomic::{AtomicU64, Ordering};

use insights_server::Config;
use serde_json::{Value, json};

use crate::truth::bed::{ANALYTICS, Bed, PERFORMANCE, QUERY};
use crate::truth::judge::{differences, essence};
use crate::truth::platform::{Organization, golden};
use crate::truth::questions::{self, analytics_body, joined};
use crate::truth::random::{self, Random};

/// A relation between answers.
struct Relation {
    /// What it says.
    name: &'static str,
    /// Its part of the 400 random questions of all judges.
    share: u64,
    /// Asks one random question, and says where the relation does not hold.
    ask: fn(&Beds, &mut Random) -> Result<(), String>,
}

const RELATIONS: [Relation; 7] = [
    Relation { name: "M1 cells say what rows say", share: 50, ask: ways::cells_are_rows },
    Relation { name: "M2 a window is the sum of its parts", share: 40, ask: parts::windows },
    Relation {
        name: "M3 a filter, its opposite and what has no such field are the whole",
        share: 40,
        ask: parts::filters,
    },
    Relation { name: "M4 everybody is the sum of the organizations", share: 40, ask: parts::organizations },
    Relation { name: "M5 hours add up to days, weeks and months", share: 30, ask: parts::hours },
    Relation { name: "M8 pages are the whole list", share: 30, ask: listed::pages },
    Relation { name: "M10 CSV, NDJSON, rows and JSON are one answer", share: 30, ask: shapes::formats },
];

/// Two servers with the same data.
struct Beds {
    all: Vec<Organization>,
    /// Everything is in memory.
    rows: Bed,
    /// Every day is merged.
    cells: Bed,
    /// Cells that were read.
    cells_read: AtomicU64,
}

impl Beds {
    fn new() -> Self {
        let all = golden(random::seed());
        let full = || {
            let bed = Bed::full(Config::default(), &all);
            bed.audit("acme", 330);
            bed
        };
        let (rows, cells) = (full(), full());
        cells.merge();
        Self { all, rows, cells, cells_read: AtomicU64::new(0) }
    }

    /// One of the two.
    fn either(&self, random: &mut Random) -> &Bed {
        if random.once_in(2) { &self.rows } else { &self.cells }
    }
}

/// A question of any report route, asked for an organization or for everybody.
#[derive(Debug, Clone)]
struct Asked {
    of: Option<&'static str>,
    path: &'static str,
    body: Value,
}

impl Asked {
    fn random(random: &mut Random) -> Self {
        let of = random.choose(&[Some("acme"), Some("acme"), Some("bolt"), Some("quiet"), None]);
        let span = questions::span(random);
        match random.below(4) {
            0 => {
                let app = random.choose(&["shop", "blog", "slow", "lonely"]);
                let t_ms = random.choose(&[500, 80]);
                let more = json!({"app_id": app, "apdex_t_ms": t_ms, "exact": random.once_in(2)});
                Self { of, path: PERFORMANCE, body: joined(span.body(), &more) }
            }
            1 => {
                let body = joined(span.body(), &questions::metric_question(random).body());
                Self { of, path: QUERY, body }
            }
            _ => {
                let mut body = analytics_body(&span, &questions::activity(random));
                if random.once_in(3) {
                    body["compare"] = json!("previous_period");
                }
                Self { of, path: ANALYTICS, body }
            }
        }
    }

    /// The answer, as it is.
    fn raw(&self, bed: &Bed) -> Value {
        bed.ask(self.of, self.path, &self.body)
    }

    /// The answer without its cost.
    fn answer(&self, bed: &Bed) -> Value {
        essence(self.raw(bed))
    }
}

/// Fails when two answers that say the same are not the same to the last bit.
fn same(one: &Value, other: &Value, what: &dyn std::fmt::Debug) -> Result<(), String> {
    if one == other {
        return Ok(());
    }
    let out = differences(one, other);
    Err(format!("{what:?}: {} differences: {:#?}", out.len(), &out[..out.len().min(6)]))
}

/// The choices of one question of a relation.
fn choices(relation: u64, question: u64) -> Random {
    let mut random = Random(random::seed() ^ (relation << 40) ^ question);
    random.below(1);
    random
}

#[test]
fn relations_between_answers_hold_for_random_questions() {
    let beds = Beds::new();
    let mut broken = Vec::new();
    for (place, relation) in RELATIONS.iter().enumerate() {
        for question in 0..random::questions(relation.share) {
            let mut random = choices(place as u64, question);
            if let Err(why) = (relation.ask)(&beds, &mut random) {
                broken.push(format!("{}, question {question}: {why}", relation.name));
            }
        }
    }
    let shown = broken.iter().take(6).cloned().collect::<Vec<_>>().join("\n");
    assert!(broken.is_empty(), "seed {}: {} questions\n{shown}", random::seed(), broken.len());
    assert!(beds.cells_read.load(Ordering::Relaxed) > 0, "no answer came from cells");
}
