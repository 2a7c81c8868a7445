//! The engine on a simulated disk, cut off at every operation, against a model of plain maps.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use insights_engine::append::{Append, Appended, CatalogKind, CatalogPut, Idempotency, IdempotencyKey};
use insights_engine::clock::ManualClock;
use insights_engine::compaction::Effort;
use insights_engine::config::CompactionLimits;
use insights_engine::disk::sim::{CrashPolicy, FaultKind, SimDisk};
use insights_engine::id::{Stream, TenantId};
use insights_engine::query::{
    Aggregate, Budget, Field, Filter, GroupBy, Order, Query, RowRequest, ScanColumn, ScanRequest, Scope,
};
use insights_engine::rollup::{Kept, RollupDefinition, Tier, TierAggregates};
use insights_engine::schema::{Batch, BatchBuilder, Column, ColumnDef, NULL_CODE, stream};
use insights_engine::time::{TimeRange, TimestampUs};
use insights_engine::{Config, Engine, Error};
use parking_lot::Mutex;

const START: TimestampUs = TimestampUs(1_700_000_000_000_000);
const TENANTS: [&str; 3] = ["acme", "bolt", "cato"];
const POLICIES: [CrashPolicy; 5] = [
    CrashPolicy::DropAll,
    CrashPolicy::KeepAll,
    CrashPolicy::KeepRandomPrefix,
    CrashPolicy::KeepRandomSubset,
    CrashPolicy::TearLast,
];

/// Small steps of a 64-bit generator (Steele et al., `SplitMix64`), so that a seed is a workload.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// What was asked of the engine in one append, and what became of it.
#[derive(Clone)]
struct Asked {
    tenant: &'static str,
    stream: Stream,
    /// The rows, each named by its trace id.
    traces: Vec<String>,
    /// The client's ids, where it gave one.
    ids: Vec<Option<String>>,
    request_key: Option<String>,
    setting: Option<(String, String)>,
    outcome: Arc<Mutex<Option<Result<Appended, String>>>>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Append,
    Log,
    Flush,
    Compact,
    Reopen,
}

pub(crate) struct World {
    pub(crate) disk: SimDisk,
    clock: Arc<ManualClock>,
    pub(crate) engine: Option<Arc<Engine>>,
    asked: Vec<Asked>,
    random: Random,
    row: u64,
}

fn config() -> Config {
    Config {
        wal_file_bytes: 16 << 10,
        wal_bytes_max: 1 << 20,
        memtable_bytes_max: 1 << 20,
        memtable_flush_bytes: 512 << 10,
        disk_reserve_bytes: 0,
        // Few files are many here, so that short workloads have every kind of merge.
        compaction: CompactionLimits {
            fresh_files: 2,
            day_files: 2,
            day_quiet: Duration::ZERO,
            late_files: 2,
            ..CompactionLimits::default()
        },
        rollups: rollups(),
        ..Config::default()
    }
}

/// Rollups of events and of metrics, so that merges write cells.
fn rollups() -> Vec<RollupDefinition> {
    let of = |id, stream, key: &ColumnDef, aggregate: Aggregate| RollupDefinition {
        id,
        stream,
        filter: Filter::all(),
        keys: vec![Field::Column(key.id)],
        tiers: Tier::ALL.map(|tier| TierAggregates { tier, aggregates: vec![aggregate.clone()] }).to_vec(),
        priority: id,
        kept: Kept::Always,
    };
    let users = Aggregate::Distinct(Field::Column(stream::USER_ID.id));
    let sum = Aggregate::Sum(Field::Column(stream::VALUE.id));
    vec![of(1, Stream::Events, &stream::EVENT_TYPE, users), of(2, Stream::Metrics, &stream::NAME, sum)]
}

fn open(disk: &SimDisk, clock: &Arc<ManualClock>, seed: u8) -> Result<Arc<Engine>, Error> {
    Engine::open_stepped(config(), Arc::new(disk.clone()), Arc::clone(clock) as _, [seed; 32])
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            disk: SimDisk::new(),
            clock: ManualClock::new(START),
            engine: None,
            asked: Vec::new(),
            random: Random(seed),
            row: 0,
        }
    }

    /// Runs the workload until it ends or the power goes off.
    fn run(&mut self, steps: usize) {
        self.engine = open(&self.disk, &self.clock, 1).ok();
        for _ in 0..steps {
            self.clock.advance(Duration::from_millis(250));
            let step = match self.random.below(12) {
                0..=4 => Step::Append,
                5..=7 => Step::Log,
                8..=9 => Step::Flush,
                10 => Step::Compact,
                _ => Step::Reopen,
            };
            if !self.step(step) {
                return;
            }
        }
    }

    /// False when the power is off.
    fn step(&mut self, step: Step) -> bool {
        let Some(engine) = self.engine.clone() else { return false };
        match step {
            Step::Append => {
                let asked = self.ask();
                submit(&engine, &asked);
                self.asked.push(asked);
                true
            }
            Step::Log => engine.step_log().is_ok(),
            Step::Flush => engine.step_flush().is_ok(),
            Step::Compact => {
                let effort = if self.random.below(2) == 0 { Effort::Due } else { Effort::Full };
                engine.compact(effort).is_ok()
            }
            Step::Reopen => {
                self.engine = None;
                let closed = engine.close().is_ok();
                drop(engine);
                self.engine = if closed { open(&self.disk, &self.clock, 2).ok() } else { None };
                self.engine.is_some()
            }
        }
    }

    fn ask(&mut self) -> Asked {
        let tenant = TENANTS[self.random.below(3) as usize];
        let stream = Stream::ALL[self.random.below(3) as usize];
        let rows = 1 + self.random.below(6);
        let mut asked = Asked {
            tenant,
            stream,
            traces: Vec::new(),
            ids: Vec::new(),
            request_key: (self.random.below(4) == 0).then(|| format!("key-{}", self.row)),
            setting: (self.random.below(4) == 0)
                .then(|| (format!("s{}", self.row % 3), self.row.to_string())),
            outcome: Arc::default(),
        };
        for _ in 0..rows {
            self.row += 1;
            asked.traces.push(format!("t{:05}", self.row));
            asked.ids.push((self.random.below(3) == 0).then(|| format!("id-{:05}", self.row)));
        }
        asked
    }
}

fn batch(asked: &Asked) -> Batch {
    let mut rows = BatchBuilder::new(TenantId::new(asked.tenant).unwrap(), asked.stream);
    for (trace, id) in asked.traces.iter().zip(&asked.ids) {
        let n: i64 = trace[1..].parse().unwrap();
        // Three days, so that a flush makes several runs; two of them are over.
        rows.i64(&stream::TIME, START.0 - (n % 3) * 86_400_000_000 + n)
            .str(&stream::TRACE_ID, Some(trace))
            .str(&stream::ID, id.as_deref())
            .str(&stream::USER_ID, (n % 4 != 0).then_some(["u1", "u2", "u3"][(n % 3) as usize]));
        match asked.stream {
            Stream::Events => {
                rows.str(&stream::EVENT_TYPE, Some("click")).bytes(&stream::EVENT_DATA, Some(&[8, 0]));
            }
            Stream::Audit => {
                rows.str(&stream::ACTION_TYPE, Some("project.created")).u64(&stream::SEVERITY, 2);
            }
            Stream::Metrics => {
                rows.str(&stream::NAME, Some("cpu.usage")).f64(&stream::VALUE, n as f64);
            }
        }
        rows.finish_row();
    }
    rows.build()
}

fn append_of(asked: &Asked) -> Append {
    let idempotency = asked.request_key.as_ref().map(|key| Idempotency {
        key: IdempotencyKey {
            tenant: asked.tenant.to_owned(),
            principal: "p".to_owned(),
            route: asked.stream.name().to_owned(),
            key: key.clone(),
        },
        body_hash: [7; 32],
        rejected: Vec::new(),
    });
    let puts = asked.setting.iter().map(|(key, value)| CatalogPut {
        kind: CatalogKind::Setting,
        key: key.clone().into_bytes(),
        value: Some(value.clone().into_bytes()),
    });
    Append { batches: vec![batch(asked)], puts: puts.collect(), idempotency }
}

fn submit(engine: &Engine, asked: &Asked) {
    let outcome = Arc::clone(&asked.outcome);
    engine.submit(
        append_of(asked),
        Box::new(move |result| *outcome.lock() = Some(result.map_err(|e| e.to_string()))),
    );
}

/// trace id -> (tenant, stream, seq) of every row that can be read.
type Found = BTreeMap<String, (String, Stream, u64)>;

fn read_all(engine: &Engine) -> Found {
    let mut found = Found::new();
    let mut add = |trace: &str, value: (String, Stream, u64)| {
        assert!(found.insert(trace.to_owned(), value).is_none(), "row {trace} is there twice");
    };
    for stream in [Stream::Events, Stream::Audit] {
        let mut after = None;
        loop {
            let page = engine
                .rows(&RowRequest {
                    scope: Scope::All,
                    stream,
                    window: TimeRange::ALL,
                    filter: Filter::all(),
                    order: Order::Asc,
                    limit: 7,
                    after,
                    columns: None,
                    allow_partial: false,
                })
                .unwrap();
            for batch in &page.batches {
                let traces = batch.column(&stream::TRACE_ID).and_then(Column::as_bytes).unwrap();
                let seqs = batch.column(&stream::SEQ).and_then(Column::as_u64).unwrap();
                for (row, seq) in seqs.iter().enumerate() {
                    let trace = traces.get_str(row).unwrap();
                    add(trace, (batch.tenant().as_str().to_owned(), stream, *seq));
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    let request = ScanRequest {
        scope: Scope::All,
        stream: Stream::Metrics,
        window: TimeRange::ALL,
        filter: Filter::all(),
        fields: vec![Field::Column(stream::TRACE_ID.id), Field::Column(stream::VALUE.id), Field::Tenant],
        allow_partial: false,
    };
    let mut points = Vec::new();
    let end = engine
        .scan(&request, &mut |vector| {
            let [ScanColumn::Codes(traces), ScanColumn::F64(values, _), ScanColumn::Codes(tenants)] =
                vector.columns.as_slice()
            else {
                panic!("columns of other types: {:?}", vector.columns)
            };
            for ((trace, value), tenant) in traces.iter().zip(values).zip(tenants) {
                assert_ne!(*trace, NULL_CODE);
                points.push((*trace, *value, *tenant));
            }
            Ok(())
        })
        .unwrap();
    for (trace, value, tenant) in points {
        let trace = end.names[0][trace as usize].to_string();
        assert_eq!(value, trace[1..].parse::<f64>().unwrap());
        add(&trace, (end.names[2][tenant as usize].to_string(), Stream::Metrics, 0));
    }
    found
}

/// Cells give the numbers that rows give.
fn check_cells(engine: &Engine) {
    for rollup in rollups() {
        let mut question = Query {
            scope: Scope::All,
            stream: rollup.stream,
            window: TimeRange::ALL,
            filter: Filter::all(),
            group_by: rollup.keys.into_iter().map(GroupBy::Field).collect(),
            aggregates: [vec![Aggregate::Count], rollup.tiers[0].aggregates.clone()].concat(),
            budget: Budget::default(),
            rows_only: false,
            allow_partial: false,
        };
        let answer = engine.aggregate(&question).unwrap();
        question.rows_only = true;
        assert_eq!(answer.groups, engine.aggregate(&question).unwrap().groups);
    }
}

/// What must hold after a crash, whatever was lost.
fn check(engine: &Engine, asked: &[Asked]) {
    let found = read_all(engine);
    check_cells(engine);
    let mut expected = BTreeSet::new();
    for append in asked {
        let outcome = append.outcome.lock().clone();
        let there = append.traces.iter().filter(|t| found.contains_key(*t)).count();
        match outcome {
            Some(Ok(kept)) => {
                for (row, trace) in (0_u32..).zip(&append.traces) {
                    let (seq, duplicate) = kept.batches[0].seq_of(row);
                    assert!(!duplicate);
                    let place = (append.tenant.to_owned(), append.stream, seq);
                    assert_eq!(found.get(trace), Some(&place), "acknowledged row {trace}");
                }
            }
            _ => assert!(there == 0 || there == append.traces.len(), "half of an append is there"),
        }
        if there > 0 {
            expected.extend(append.traces.iter().cloned());
        }
    }
    let names: BTreeSet<_> = found.keys().cloned().collect();
    assert_eq!(names, expected, "rows that nobody wrote");
    for tenant in TENANTS {
        for stream in [Stream::Events, Stream::Audit] {
            let seqs: BTreeSet<u64> = found
                .values()
                .filter(|(t, s, _)| t == tenant && *s == stream)
                .map(|(_, _, seq)| *seq)
                .collect();
            let gapless: BTreeSet<u64> = (1..=seqs.len() as u64).collect();
            assert_eq!(seqs, gapless, "seq of {tenant} {stream} has a hole");
        }
    }
    check_settings(engine, asked);
    check_leaves(engine, asked);
}

fn check_settings(engine: &Engine, asked: &[Asked]) {
    for name in ["s0", "s1", "s2"] {
        let writes =
            asked.iter().filter_map(|a| Some((a, a.setting.as_ref().filter(|(key, _)| key == name)?)));
        let (mut last_kept, mut allowed) = (None, Vec::new());
        for (append, (_, value)) in writes {
            if matches!(*append.outcome.lock(), Some(Ok(_))) {
                last_kept = Some(value.clone());
                allowed.clear();
            }
            allowed.push(value.clone());
        }
        let stored = engine.catalog_get(CatalogKind::Setting, name.as_bytes());
        let stored = stored.map(|v| String::from_utf8(v.to_vec()).unwrap());
        match stored {
            Some(value) => {
                assert!(allowed.contains(&value), "setting {name} is {value}, none of {allowed:?}");
            }
            None => assert_eq!(last_kept, None, "setting {name} was acknowledged"),
        }
    }
}

/// The leaves that were answered are the leaves of the rows that are read back.
fn check_leaves(engine: &Engine, asked: &[Asked]) {
    let page = engine
        .rows(&RowRequest {
            scope: Scope::All,
            stream: Stream::Audit,
            window: TimeRange::ALL,
            filter: Filter::all(),
            order: Order::Desc,
            limit: 100_000,
            after: None,
            columns: None,
            allow_partial: false,
        })
        .unwrap();
    let mut read = BTreeMap::new();
    for batch in &page.batches {
        let traces = batch.column(&stream::TRACE_ID).and_then(Column::as_bytes).unwrap();
        for (row, leaf) in engine.leaves(batch).unwrap().into_iter().enumerate() {
            read.insert(traces.get_str(row).unwrap().to_owned(), leaf);
        }
    }
    for append in asked.iter().filter(|a| a.stream == Stream::Audit) {
        if let Some(Ok(kept)) = append.outcome.lock().as_ref() {
            for (trace, leaf) in append.traces.iter().zip(&kept.batches[0].leaves) {
                assert_eq!(read.get(trace), Some(leaf), "leaf of {trace}");
            }
        }
    }
}

/// Sending everything again adds nothing that was acknowledged under an id or a request's name.
fn check_retries(engine: &Engine, asked: &[Asked]) {
    let before = read_all(engine);
    for append in asked.iter().filter(|a| matches!(*a.outcome.lock(), Some(Ok(_)))) {
        let first = append.outcome.lock().clone().unwrap().unwrap();
        let named = append.request_key.is_some();
        if !named && append.ids.iter().any(Option::is_none) {
            continue;
        }
        // Its setting would be a new write, also with rows that are known.
        let again = Asked { outcome: Arc::default(), setting: None, ..append.clone() };
        submit(engine, &again);
        engine.step_log().unwrap();
        let second = again.outcome.lock().clone().unwrap().unwrap();
        assert_eq!(second.replayed, named);
        if named {
            assert_eq!(second.batches, first.batches);
        } else {
            assert_eq!(second.batches[0].accepted(), 0, "{:?}", append.ids);
            let seqs = |kept: &Appended| {
                (0..append.traces.len() as u32).map(|r| kept.batches[0].seq_of(r).0).collect::<Vec<_>>()
            };
            assert_eq!(seqs(&second), seqs(&first));
        }
    }
    assert_eq!(read_all(engine), before);
}

/// Runs the workload of a seed with the power cut at `cut`; gives how many operations it has.
pub(crate) fn cut_at(seed: u64, steps: usize, cut: Option<u64>) -> World {
    let mut world = World::new(seed);
    if let Some(cut) = cut {
        world.disk.crash_at_change(cut);
    }
    world.run(steps);
    world
}

fn survive(world: &World, policy: CrashPolicy, seed: u64, context: &str) {
    let disk = world.disk.crash(policy, seed);
    let engine = open(&disk, &world.clock, 3).unwrap_or_else(|e| panic!("{context}: does not open: {e:?}"));
    check(&engine, &world.asked);
    check_retries(&engine, &world.asked);
    engine.step_flush().unwrap();
    check(&engine, &world.asked.iter().filter(|a| a.outcome.lock().is_some()).cloned().collect::<Vec<_>>());
}

/// The seeds of a test; `INSIGHTS_CRASH_SEEDS=FROM..TO` gives others, for a long run.
fn seeds(usual: Range<u64>) -> Range<u64> {
    let Ok(asked) = std::env::var("INSIGHTS_CRASH_SEEDS") else { return usual };
    let parsed = asked.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    parsed.expect("INSIGHTS_CRASH_SEEDS is FROM..TO")
}

#[test]
fn nothing_acknowledged_is_lost_at_any_operation() {
    let mut states = 0;
    for seed in seeds(0..12) {
        let whole = cut_at(seed, 40, None);
        let operations = whole.disk.change_count();
        let stride = (operations / 34).max(1);
        let offset = seed % stride;
        for cut in (offset..operations).step_by(stride as usize) {
            let mut world = cut_at(seed, 40, Some(cut));
            world.engine = None;
            for policy in POLICIES {
                survive(&world, policy, seed ^ cut, &format!("seed {seed}, operation {cut}, {policy:?}"));
                states += 1;
            }
        }
    }
    eprintln!("{states} crash states, each another workload, operation or policy of loss");
    assert!(states >= 2_000, "only {states} crash states");
}

#[test]
fn the_workloads_merge_segments() {
    let mut merges = 0;
    let mut dense = 0;
    for seed in seeds(0..12) {
        let mut world = cut_at(seed, 40, None);
        let Some(engine) = world.engine.take() else { continue };
        merges += engine.stats().compactions;
        let before = read_all(&engine);
        dense += engine.compact(Effort::Full).unwrap().jobs;
        assert_eq!(read_all(&engine), before);
        assert_eq!(engine.compact(Effort::Full).unwrap().jobs, 0, "nothing is left to do");
    }
    assert!(merges > 12 && dense > 12, "{merges} merges, and {dense} more at the end");
}

#[test]
fn a_killed_process_loses_nothing_that_was_written() {
    for seed in 100..110 {
        let mut world = cut_at(seed, 60, None);
        world.engine = None;
        let disk = world.disk.kill();
        let engine = open(&disk, &world.clock, 3).unwrap();
        check(&engine, &world.asked);
        check_retries(&engine, &world.asked);
    }
}

#[test]
fn a_workload_repeats_exactly() {
    let run = || {
        let world = cut_at(5, 60, None);
        (world.disk.op_count(), world.disk.paths(), read_all(world.engine.as_ref().unwrap()))
    };
    assert_eq!(run(), run());
}

/// Whatever fails once or for ever, at whatever operation: no acknowledged row is lost, no call panics,
/// and a restart recovers.
#[test]
fn a_failing_operation_loses_nothing_acknowledged() {
    for seed in seeds(200..204) {
        let operations = cut_at(seed, 40, None).disk.op_count();
        let stride = (operations / 40).max(1);
        for at in (seed % stride..operations).step_by(stride as usize) {
            for (kind, sticky) in
                [(FaultKind::Eio, false), (FaultKind::Eio, true), (FaultKind::Enospc, false)]
            {
                let mut world = World::new(seed);
                world.disk.fail_at(at, kind, sticky);
                world.run(40);
                world.engine = None;
                world.disk.clear_faults();
                for disk in [world.disk.kill(), world.disk.crash(CrashPolicy::DropAll, at)] {
                    let engine = open(&disk, &world.clock, 3)
                        .unwrap_or_else(|e| panic!("seed {seed}, operation {at}, {kind:?}: {e:?}"));
                    check(&engine, &world.asked);
                }
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_before_acceptance_and_recovers_by_itself() {
    let (disk, clock) = (SimDisk::new(), ManualClock::new(START));
    let config = Config { disk_reserve_bytes: 256 << 10, ..config() };
    disk.set_capacity(Some(1 << 20));
    let engine =
        Engine::open_stepped(config, Arc::new(disk.clone()), Arc::clone(&clock) as _, [1; 32]).unwrap();
    let mut world = World {
        disk: disk.clone(),
        clock,
        engine: Some(engine),
        asked: Vec::new(),
        random: Random(7),
        row: 0,
    };
    let engine = world.engine.clone().unwrap();
    let mut refused = 0;
    for _ in 0..2_000 {
        engine.look_at_disk();
        let asked = world.ask();
        submit(&engine, &asked);
        engine.step_log().unwrap();
        refused += u32::from(matches!(*asked.outcome.lock(), Some(Err(_))));
        world.asked.push(asked);
    }
    assert!(refused > 0, "the disk never became full");
    assert!(engine.health().read_only.is_some());
    check(&engine, &world.asked);
    disk.set_capacity(None);
    engine.look_at_disk();
    assert_eq!(engine.health().read_only, None);
    let asked = world.ask();
    submit(&engine, &asked);
    engine.step_log().unwrap();
    engine.step_flush().unwrap();
    world.asked.push(asked);
    check(&engine, &world.asked);
}

#[test]
fn a_damaged_segment_is_named_and_the_rest_answers() {
    let mut world = cut_at(300, 60, None);
    let engine = world.engine.take().unwrap();
    while engine.step_log().unwrap() {}
    engine.step_flush().unwrap();
    drop(engine);
    let disk = world.disk.kill();
    let segments: Vec<_> = disk.paths().into_iter().filter(|p| p.starts_with("segments")).collect();
    let victim = segments.first().unwrap();
    assert!(disk.cut(victim, 100));
    let engine = open(&disk, &world.clock, 3).unwrap();
    assert!(engine.health().findings.iter().any(|f| f.contains(&victim.display().to_string())));
    let mut request = RowRequest {
        scope: Scope::All,
        stream: Stream::Audit,
        window: TimeRange::ALL,
        filter: Filter::all(),
        order: Order::Asc,
        limit: 1_000,
        after: None,
        columns: None,
        allow_partial: false,
    };
    for stream in [Stream::Audit, Stream::Events] {
        request = RowRequest { stream, allow_partial: false, ..request };
        let damaged = engine.health().damaged.iter().any(|d| d.stream == stream);
        assert_eq!(engine.rows(&request).is_err(), damaged);
        let page = engine.rows(&RowRequest { allow_partial: true, ..request.clone() }).unwrap();
        assert_eq!(page.damaged.is_empty(), !damaged);
    }
    let asked = world.ask();
    submit(&engine, &asked);
    engine.step_log().unwrap();
    assert!(matches!(*asked.outcome.lock(), Some(Ok(_))), "writes go on");
}

#[test]
fn a_view_stands_still_while_rows_come_in_and_are_flushed() {
    let mut world = cut_at(400, 20, None);
    let engine = world.engine.clone().unwrap();
    while engine.step_log().unwrap() {}
    let count = |answer: insights_engine::query::Answer| answer.groups[0].values[0].as_u64();
    let question = Query {
        scope: Scope::All,
        stream: Stream::Events,
        window: TimeRange::ALL,
        filter: Filter::all(),
        group_by: Vec::new(),
        aggregates: vec![Aggregate::Count],
        budget: Budget::default(),
        rows_only: false,
        allow_partial: false,
    };
    let view = engine.view();
    let before = count(view.aggregate(&question).unwrap());
    let mut added = 0;
    while added < 20 {
        let asked = world.ask();
        added += if asked.stream == Stream::Events { asked.traces.len() } else { 0 };
        submit(&engine, &asked);
        engine.step_log().unwrap();
    }
    engine.step_flush().unwrap();
    assert_eq!(count(view.aggregate(&question).unwrap()), before);
    assert_eq!(count(engine.aggregate(&question).unwrap()), before + added as u64);
}
