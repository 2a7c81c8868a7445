//! Twenty thousand tenants with a handful of rows beside a large one: files and syncs do not count tenants.

use std::collections::BTreeMap;
use std::sync::Arc;

use insights_engine::append::Append;
use insights_engine::clock::ManualClock;
use insights_engine::compaction::Effort;
use insights_engine::disk::sim::{OpKind, SimDisk};
use insights_engine::id::{Stream, TenantId};
use insights_engine::query::{Aggregate, Answer, Budget, Filter, Query, Scope};
use insights_engine::schema::{Batch, BatchBuilder, stream};
use insights_engine::time::{DAY_US, TimeRange, TimestampUs};
use insights_engine::{Config, Engine};

/// Noon of a day: two days of the rows are over.
const NOW: TimestampUs = TimestampUs(20_000 * DAY_US + DAY_US / 2);
const ROUNDS: i64 = 4;
/// Rows of each tenant in a round, one a day.
const DAYS: i64 = 3;
/// Rows of the large tenant in a round.
const LARGE: i64 = 6_000;

fn tenant(number: u32) -> TenantId {
    TenantId::new(&format!("org-{number:05}")).unwrap()
}

fn batch(number: u32, rows: i64, round: i64) -> Batch {
    let mut batch = BatchBuilder::new(tenant(number), Stream::Events);
    for row in 0..rows {
        batch
            .i64(&stream::TIME, NOW.0 - row % DAYS * DAY_US - 3_600_000_000 + round * 60_000_000 + row)
            .str(&stream::EVENT_TYPE, Some("click"))
            .str(&stream::USER_ID, Some(["u1", "u2"][(row % 2) as usize]));
        batch.finish_row();
    }
    batch.build()
}

/// The files of each directory, and the syncs of all flushes and merges.
struct Figures {
    engine: Arc<Engine>,
    files: BTreeMap<String, usize>,
    syncs: u64,
}

fn store(tenants: u32) -> Figures {
    let disk = SimDisk::new();
    let clock = ManualClock::new(NOW);
    let config = Config { disk_reserve_bytes: 0, ..Config::default() };
    let engine = Engine::open_stepped(config, Arc::new(disk.clone()), clock, [1; 32]).unwrap();
    let mut syncs = 0;
    let syncs_of = |step: &mut dyn FnMut()| {
        let before = disk.op_count_of(OpKind::Sync);
        step();
        disk.op_count_of(OpKind::Sync) - before
    };
    for round in 0..ROUNDS {
        let numbers: Vec<u32> = (1..=tenants).collect();
        for chunk in numbers.chunks(2_000) {
            let batches = chunk.iter().map(|number| batch(*number, DAYS, round)).collect();
            append(&engine, batches);
        }
        append(&engine, vec![batch(0, LARGE, round)]);
        syncs += syncs_of(&mut || assert!(engine.step_flush().unwrap()));
    }
    syncs += syncs_of(&mut || assert!(engine.compact(Effort::Full).unwrap().jobs > 0));
    let mut files = BTreeMap::new();
    for path in disk.paths() {
        let dir = path.parent().map(|dir| dir.display().to_string()).unwrap_or_default();
        *files.entry(dir).or_default() += 1;
    }
    Figures { engine, files, syncs }
}

fn append(engine: &Engine, batches: Vec<Batch>) {
    let append = Append { batches, puts: Vec::new(), idempotency: None };
    engine.submit(append, Box::new(|result| drop(result.unwrap())));
    while engine.step_log().unwrap() {}
}

fn count(engine: &Engine, scope: Scope) -> (u64, Answer) {
    let question = Query {
        scope,
        stream: Stream::Events,
        window: TimeRange::ALL,
        filter: Filter::all(),
        group_by: Vec::new(),
        aggregates: vec![Aggregate::Count],
        budget: Budget::default(),
        rows_only: true,
        allow_partial: false,
    };
    let answer = engine.aggregate(&question).unwrap();
    (answer.groups[0].values[0].as_u64(), answer)
}

#[test]
fn files_and_syncs_do_not_count_tenants() {
    let few = store(200);
    let many = store(20_000);
    assert_eq!(many.files.get("segments"), Some(&(DAYS as usize)), "one for each day");
    for (dir, files) in &many.files {
        // The log of the WAL and the dictionary's levels grow with bytes, slowly.
        let before = few.files.get(dir).copied().unwrap_or(0);
        assert!(*files <= before + 6, "{dir}: {before} files for 200 tenants, {files} for 20,000");
    }
    assert!(many.syncs <= few.syncs + 8, "{} syncs for 200 tenants, {} for 20,000", few.syncs, many.syncs);

    let own = (DAYS * ROUNDS) as u64;
    let (all, _) = count(&many.engine, Scope::All);
    assert_eq!(all, 20_000 * own + (LARGE * ROUNDS) as u64);
    for number in [1, 77, 20_000] {
        let (rows, answer) = count(&many.engine, Scope::One(tenant(number)));
        assert_eq!((rows, answer.cost.rows_scanned), (own, own), "tenant {number} reads its own rows");
    }
    assert_eq!(count(&many.engine, Scope::One(tenant(0))).0, (LARGE * ROUNDS) as u64);
}
